# SPDX-License-Identifier: Apache-2.0
"""The guest's network: its card, what the agent sets up, and the process that is the other end of it."""
import contextlib
import hashlib
import json
import os
import random
import select
import signal
import socket
import threading
import time

import pytest

from conftest import IMAGE, SEED
from sandboxes import complaint, until

pytestmark = pytest.mark.show_04_guest
MIB = 1 << 20


def slot_of(name):
    """16 bits of a name, as contract 4.1 has addresses by slot: FNV-1a, folded."""
    h = 0x811c9dc5
    for byte in name.encode():
        h = (h ^ byte) * 0x01000193 & 0xffffffff
    return (h ^ h >> 16) & 0xffff


def addresses_of(name):
    slot = slot_of(name)
    base = (172 << 24 | 16 << 16) + 4 * slot
    v4 = lambda n: ".".join(str(n >> s & 255) for s in (24, 16, 8, 0))
    return {"mac": f"02:6d:73:{slot >> 8:02x}:{slot & 255:02x}:02", "gateway4": v4(base + 1), "guest4": v4(base + 2),
            "gateway6": f"fd42:6d73:62:{slot:x}::1", "guest6": f"fd42:6d73:62:{slot:x}::2"}


def host_has_v6():
    with contextlib.suppress(OSError), open("/proc/net/ipv6_route", encoding="ascii") as f:
        return any(line.split()[-1] != "lo" and not line.startswith(("fe8", "ff")) for line in f)
    return False


def out(done):
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return done.stdout.decode()


@contextlib.contextmanager
def server(handle, host="127.0.0.1"):
    """A TCP server of the host: handle(connection) for each. Yields its port."""
    with socket.create_server((host, 0)) as listener:
        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection = listener.accept()[0]
                    threading.Thread(target=handle, args=(connection,), daemon=True).start()
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_interfaces(boxes):
    """Exactly lo and eth0, up, with the addresses of the name's slot; the gateway answers."""
    a, six = addresses_of("net"), host_has_v6()
    boxes.create("net")
    assert out(boxes.sh("net", "ls /sys/class/net")).split() == ["eth0", "lo"]
    assert out(boxes.sh("net", "cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu")).split() == [a["mac"], "1500"]
    eth0 = [line.split()[2:4] for line in out(boxes.sh("net", "ip -o addr show eth0")).splitlines()]
    expected = [["inet", a["guest4"] + "/30"]] + ([["inet6", a["guest6"] + "/64"]] if six else [])
    assert eth0 == expected
    assert "tentative" not in out(boxes.sh("net", "ip addr")) and ",UP" in out(boxes.sh("net", "ip addr show lo"))
    assert f"default via {a['gateway4']} dev eth0" in out(boxes.sh("net", "ip route"))
    assert out(boxes.sh("net", "cat /etc/resolv.conf")) == f"nameserver {a['gateway4']}\n"
    assert f"{a['gateway4']}\thost.microsandbox.internal\n" in out(boxes.sh("net", "cat /etc/hosts"))
    assert "3 packets received" in out(boxes.sh("net", f"ping -c 3 -W 5 {a['gateway4']}"))
    if six:
        assert "3 packets received" in out(boxes.sh("net", f"ping -c 3 -W 5 {a['gateway6']}"))
    assert set(boxes.below("net")) - {"qemu"} == {"monitor", "gateway"}


def test_none(boxes):
    """--no-network: lo alone, nothing to ask, no process for it."""
    boxes.create("alone", "--no-network")
    assert out(boxes.sh("alone", "ls /sys/class/net")).split() == ["lo"]
    assert "1 packets received" in out(boxes.sh("alone", "ping -c 1 127.0.0.1"))
    assert "nameserver" not in out(boxes.sh("alone", "cat /etc/resolv.conf"))
    assert boxes.sh("alone", "wget -T 5 http://192.0.2.1/").returncode != 0
    assert set(boxes.below("alone")) - {"qemu"} == {"monitor"}


def test_transfer(boxes):
    """Both ways at once, each byte once and in order."""
    data = random.Random(SEED).randbytes(8 * MIB)
    wanted = hashlib.sha256(data).hexdigest()
    got = []

    def echo_hash(connection):
        with connection:
            h = hashlib.sha256()
            sender = threading.Thread(target=connection.sendall, args=(data,))
            sender.start()
            while chunk := connection.recv(MIB):
                h.update(chunk)
            sender.join()
            got.append(h.hexdigest())

    boxes.create("big", "--net", "public,host")
    done = boxes("exec", "-i", "big", "--", "sh", "-c", "cat > /tmp/data && sha256sum /tmp/data", input=data)
    assert out(done).split()[0] == wanted
    with server(echo_hash) as port:
        done = boxes.sh("big", f"nc host.microsandbox.internal {port} < /tmp/data | sha256sum", timeout=120)
        assert out(done).split()[0] == wanted
        until(lambda: got, 10, "the end of the guest's stream")
    assert got == [wanted]
    metrics = json.loads(boxes.ok("metrics", "--format", "json", "big"))
    rx, tx = metrics["net_rx_bytes"], metrics["net_tx_bytes"]
    assert len(data) < rx < 1.2 * len(data) and len(data) < tx < 1.2 * len(data)


def test_gateway_ends(boxes):
    """A sandbox without its gateway is none; and says why."""
    boxes.create("cut")
    os.kill(boxes.below("cut")["gateway"], signal.SIGKILL)
    until(lambda: boxes.states()["cut"] == "Crashed", 5, "the end of the sandbox")
    assert "network gateway ended" in boxes.ok("inspect", "cut")


def test_supervisor_ends(boxes):
    """The gateway goes with it, within a second."""
    boxes.create("orphan")
    gateway = os.pidfd_open(boxes.below("orphan")["gateway"])
    os.kill(boxes.supervisor("orphan"), signal.SIGKILL)
    assert select.select([gateway], [], [], 1)[0], "the gateway lives on"
    os.close(gateway)


def fetch(port):
    """What the guest's web server has at /x."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as c:
        c.sendall(b"GET /x HTTP/1.0\r\n\r\n")
        answer = b""
        while chunk := c.recv(4096):
            answer += chunk
    return answer


SERVE = "mkdir /www; echo from the guest > /www/x; httpd -p 80 -h /www"


def test_publish(boxes):
    """A guest's port on the host; and who has it is said when it is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        complaint(boxes("create", "-q", "-n", "late", "-p", f"{port}:80", IMAGE), 1, f"port {port} is taken by",
                  f"process {os.getpid()}")
        assert boxes.list() == []
    boxes.create("web", "-p", f"{port}:80")
    boxes.ok("exec", "web", "--", "sh", "-c", SERVE)
    answer = fetch(port)
    assert answer.endswith(b"\r\n\r\nfrom the guest\n"), answer


def test_published_traffic_is_activity(boxes):
    """--idle-timeout counts from the last that came to a published port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    boxes.create("busy", "-p", f"{port}:80", "--idle-timeout", "4s")
    boxes.ok("exec", "busy", "--", "sh", "-c", SERVE)
    end = time.monotonic() + 9
    while time.monotonic() < end:
        last = time.monotonic()
        assert fetch(port).endswith(b"from the guest\n")
        time.sleep(1)  # the traffic of a user who is not in a hurry
    until(lambda: boxes.states()["busy"] == "Stopped", 30, "the end of the idle sandbox")
    assert time.monotonic() - last > 4
