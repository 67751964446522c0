# SPDX-License-Identifier: Apache-2.0
"""msb-gateway without a machine: the guest is the Linux stack of a namespace, on a TAP."""
import hashlib
import json
import os
import random
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

import pytest

from conftest import MSB, SEED
from netlab import (GATEWAY, GATEWAY6, HOST, HOST6, PRIVATE, PRIVATE6, PUBLIC, PUBLIC6, Lab, listening, until)

pytestmark = pytest.mark.root
SIZE = 64 << 20 if os.environ.get("MSB_LONG") else 8 << 20


@pytest.fixture
def lab():
    it = Lab()
    yield it
    it.close()


def expected(n, seed):
    digest, dice = hashlib.sha256(), random.Random(seed)
    for at in range(0, n, 1 << 18):
        digest.update(dice.randbytes(min(n - at, 1 << 18)))
    return digest.hexdigest()


def connect(space, host, port, seconds=5):
    """What becomes of a TCP connection: "yes", or the exception's name."""
    code = (f"import socket\ntry:\n    socket.create_connection(({host!r}, {port}), {seconds}).close()\n    print('yes')\n"
            "except OSError as e:\n    print(type(e).__name__)\n")
    return space(sys.executable, "-c", code).strip()


def cpu_of(pid):
    """Seconds that it has worked."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def transfers(lab, addresses, size=SIZE, guest=None, port=7000, published=7001):
    """Four directions: who opens, who sends. Every byte arrives, and nothing pauses for 5 s."""
    guest, longest = guest or lab.guest, 0
    for address in addresses:
        for verb in ("put", "get"):
            digest, pause = guest.ask(verb, address, port, size, 1, timeout=600)
            assert digest == expected(size, 1), (verb, address)
            longest = max(longest, float(pause))
    for verb in ("put", "get"):
        digest, pause = lab.host.ask(verb, "127.0.0.1", published, size, 2, timeout=600)
        assert digest == expected(size, 2), verb
        longest = max(longest, float(pause))
    assert longest < 5
    return longest


def test_ping_and_neighbours(lab):
    lab.host("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
    lab.gateway("--rules", "allow@public,allow@10.0.0.10:icmpv4")
    for address in (GATEWAY, GATEWAY6, PUBLIC, PUBLIC6, "10.0.0.10"):
        out = lab.guest("ping", "-c", 3, "-i", 0.05, "-W", 2, address)
        assert " 0% packet loss" in out, out
    # In fragments both ways, and what the policy refuses.
    for size in (1472, 1473, 8000, 60000):
        assert " 0% packet loss" in lab.guest("ping", "-c", 1, "-W", 2, "-s", size, PUBLIC)
        assert " 0% packet loss" in lab.guest("ping", "-c", 1, "-W", 2, "-s", size, PUBLIC6)
    assert lab.guest("ping", "-c", 1, "-W", 1, "192.168.7.10", check=False).returncode == 1
    # A guest that tries the gateway's address for itself is told that it is taken.
    lab.guest("ip", "addr", "add", GATEWAY6 + "/64", "dev", "tap0")
    assert until(lambda: "dadfailed" in lab.guest("ip", "-6", "addr", "show", "dev", "tap0"))


def test_udp(lab):
    lab.gateway("--publish", f"udp/127.0.0.1:7002/7003", "--publish", "udp/127.0.0.1:5353/5353")
    lab.serve(lab.world, "udp", "::", 7000)
    sizes = [0, 1, 512, 1400, 1472, 1473, 9000, 65000]
    for address in (PUBLIC, PUBLIC6):
        assert lab.guest.ask("ask", address, 7000, *sizes) == [w for n in sizes for w in (str(n), "True")]
    # Nobody listens: the client hears of it at once, from the second datagram on at the latest.
    assert "ConnectionRefusedError" in lab.guest.ask("ask", PUBLIC, 7009, 1, 2)
    assert lab.guest.ask("ask", "10.0.0.10", 7000, 1) == ["1", "TimeoutError"]
    # mDNS of the world is refused, a published port of that number works.
    lab.serve(lab.world, "udp", PUBLIC, 5353)
    assert lab.guest.ask("ask", PUBLIC, 5353, 1) == ["1", "TimeoutError"]
    for inside, outside in ((7003, 7002), (5353, 5353)):
        lab.serve(lab.guest, "udp", "0.0.0.0", inside)
        assert lab.host.ask("ask", "127.0.0.1", outside, *sizes) == [w for n in sizes for w in (str(n), "True")]
    assert lab.activity() >= 1
    assert lab.count()["udp_sessions"] >= 5


def test_more_sessions_than_places(lab):
    """The 257th session of UDP takes the place of the one that was quiet longest."""
    lab.gateway()
    lab.serve(lab.world, "udp", PUBLIC, 7000)
    code = f"""
import socket
socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(300)]
for s in socks:
    s.settimeout(3)
    s.connect(({PUBLIC!r}, 7000))
    s.send(b"x")
    assert s.recv(10) == b"x"
for s in socks[-200:]:
    s.send(b"y")
    assert s.recv(10) == b"y"
"""
    lab.guest(sys.executable, "-c", code)
    assert lab.count()["udp_sessions"] == 256


def test_tcp_bytes(lab):
    lab.gateway("--publish", "tcp/127.0.0.1:7001/7001")
    lab.serve(lab.world, "serve", "::", 7000)
    lab.serve(lab.guest, "serve", "0.0.0.0", 7001)
    transfers(lab, (PUBLIC, PUBLIC6))
    # Half-close both ways: the answer comes after the end of what was sent.
    assert lab.guest.ask("half", PUBLIC, 7000, 1 << 20, 3)[0] == expected(1 << 20, 3)
    assert lab.host.ask("half", "127.0.0.1", 7001, 1 << 20, 3)[0] == expected(1 << 20, 3)
    assert until(lambda: lab.count()["connections"] == 0)
    assert lab.activity() >= 1


@pytest.mark.show_04_3
def test_tcp_refusals(lab):
    lab.gateway("--publish", "tcp/127.0.0.1:7001/7001", "--publish", "tcp/0.0.0.0:7004/7005",
                "--rules", "allow@dns,allow@public,deny:ingress@1.2.3.0/24")
    lab.serve(lab.world, "serve", "::", 7000)
    lab.serve(lab.world, "serve", PUBLIC, 853)
    lab.serve(lab.host, "serve", "::", 22)
    lab.serve(lab.guest, "serve", "0.0.0.0", 7005)
    assert connect(lab.guest, PUBLIC, 7000) == "yes"
    for address in [*PRIVATE, *PRIVATE6, "::ffff:10.0.0.10"]:
        assert connect(lab.guest, address, 7000, 2) != "yes", address
    for address in (GATEWAY, GATEWAY6, HOST, HOST6, "192.168.50.1"):
        assert connect(lab.guest, address, 22) == "ConnectionRefusedError", address
    assert connect(lab.guest, PUBLIC, 853) == "ConnectionRefusedError"
    assert connect(lab.guest, PUBLIC, 7009) == "ConnectionRefusedError"
    # Published, but nobody listens in the guest; published, and the peer is refused.
    assert lab.host(sys.executable, "-c", "import socket; s = socket.create_connection(('127.0.0.1', 7001))\n"
                    "try: print(s.recv(1))\nexcept ConnectionResetError: print('reset')").strip() == "reset"
    assert lab.world(sys.executable, "-c", f"import socket; s = socket.create_connection(({HOST!r}, 7004))\n"
                     "try: print(s.recv(1))\nexcept ConnectionResetError: print('reset')").strip() == "reset"
    assert lab.host.ask("put", "127.0.0.1", 7004, 1000)[0] == expected(1000, 0)
    # An address that the host gets later is its own, too.
    lab.host("ip", "addr", "add", "1.2.4.9/32", "dev", "out0")
    assert connect(lab.guest, "1.2.4.9", 22) == "ConnectionRefusedError"
    assert lab.count()["denied"] > 10


@pytest.mark.show_04_3
def test_host_group(lab):
    """allow@host: the gateway's addresses are the host's loopback."""
    lab.gateway("--rules", "allow@host")
    lab.serve(lab.host, "serve", "127.0.0.1", 8000)
    lab.serve(lab.host, "serve", "::1", 8000)
    lab.serve(lab.host, "udp", "127.0.0.1", 8001)
    for address in (GATEWAY, GATEWAY6):
        assert lab.guest.ask("put", address, 8000, 10000)[0] == expected(10000, 0)
    assert lab.guest.ask("ask", GATEWAY, 8001, 100) == ["100", "True"]


def test_limit_of_connections(lab):
    lab.gateway("--connections", 10)
    lab.serve(lab.world, "serve", PUBLIC, 7000)
    code = f"""
import socket, time
held = [socket.create_connection(({PUBLIC!r}, 7000)) for _ in range(10)]
before = time.monotonic()
try:
    socket.create_connection(({PUBLIC!r}, 7000), 5)
    print("accepted")
except ConnectionRefusedError:
    print("refused", time.monotonic() - before < 0.1)
held.pop().close()
for _ in range(100):
    try:
        held.append(socket.create_connection(({PUBLIC!r}, 7000), 5))
        print("again")
        break
    except ConnectionRefusedError:
        time.sleep(0.01)
"""
    assert lab.guest(sys.executable, "-c", code).split() == ["refused", "True", "again"]


def test_many_connections(lab):
    lab.gateway("--connections", 1200)
    lab.serve(lab.world, "serve", PUBLIC, 7000)
    assert lab.guest.ask("many", PUBLIC, 7000, 1000) == ["1000"]
    assert until(lambda: lab.count()["connections"] == 0)


def test_every_kind_of_end(lab):
    """Connections that end in every way there is, from both sides: nothing of them stays in the gateway."""
    count = 20000 if os.environ.get("MSB_LONG") else 2000
    lab.gateway("--publish", "tcp/127.0.0.1:7001/7001")
    server = """
import os, socket, struct, sys, threading
def end(s, how):
    s.settimeout(0.2)
    if how == 1:
        s.recv(100000)
    elif how == 2:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif how == 3:
        s.sendall(b"x" * 100000)
    elif how == 4:
        s.shutdown(socket.SHUT_WR)
        while s.recv(100000): pass
def one(s, how):
    with s:
        try: end(s, how)
        except OSError: pass
if sys.argv[1] == "serve":
    l = socket.create_server((sys.argv[2], int(sys.argv[3])), backlog=4096)
    print("serving", flush=True)
    n = 0
    while True:
        n += 1
        threading.Thread(target=one, args=(l.accept()[0], n % 5), daemon=True).start()
for n in range(int(sys.argv[4])):
    try:
        s = socket.create_connection((sys.argv[2], int(sys.argv[3])), 10)
    except OSError:
        continue
    one(s, n // 5 % 5)
"""
    for space, address, port in ((lab.world, PUBLIC, 7000), (lab.guest, "0.0.0.0", 7001)):
        p = lab.start(space.popen(sys.executable, "-c", server, "serve", address, port, stdout=subprocess.PIPE))
        assert p.stdout.readline() == b"serving\n"
    pid = int(lab.host("pgrep", "-P", lab.gateway_process.pid, "msb-gateway"))
    files = len(os.listdir(f"/proc/{pid}/fd"))
    clients = [lab.guest.popen(sys.executable, "-c", server, "go", PUBLIC, 7000, count),
               lab.host.popen(sys.executable, "-c", server, "go", "127.0.0.1", 7001, count)]
    assert [c.wait(timeout=300) for c in clients] == [0, 0]
    assert until(lambda: lab.count()["connections"] == 0, 30), lab.count()
    assert lab.count()["connections_total"] > 1.9 * count
    assert len(os.listdir(f"/proc/{pid}/fd")) == files


def test_slow_readers(lab):
    """200 connections whose guest reads nothing, on a gateway whose memory is bounded: another one goes on."""
    lab.gateway("--connections", 400)
    lab.serve(lab.world, "serve", PUBLIC, 7000)
    pid = int(lab.host("pgrep", "-P", lab.gateway_process.pid, "msb-gateway"))
    code = f"""
import socket, sys
held = []
for _ in range(200):
    s = socket.create_connection(({PUBLIC!r}, 7000))
    s.sendall(b"get 100000000 1\\n")
    held.append(s)
print("held", flush=True)
sys.stdin.read()
"""
    slow = lab.guest.popen(sys.executable, "-c", code, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert slow.stdout.readline() == b"held\n"
    assert lab.guest.ask("get", PUBLIC, 7000, SIZE, 1)[0] == expected(SIZE, 1)
    resident = int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1])
    print(f"resident with 200 slow readers: {resident / 1024:.1f} MiB")
    assert resident < 96 * 1024
    before = cpu_of(pid)
    time.sleep(1)  # the measured span: it must not spin meanwhile
    assert cpu_of(pid) - before < 0.2
    slow.stdin.close()
    slow.wait()
    assert until(lambda: lab.count()["connections"] == 0, 30), lab.count()


# Of 1,000 frames each way, and milliseconds.
WIRES = {"clean": None, "loss": "loss=10", "reorder": "reorder=50", "duplicate": "duplicate=10", "delay": "delay=50,jitter=10",
         "flips": "flip=2", "all": "loss=5,reorder=20,duplicate=10,flip=1,delay=10,jitter=3"}


@pytest.mark.show_04_1
@pytest.mark.parametrize("wire", WIRES)
def test_bad_wires(lab, wire):
    """Four directions, every byte, on wires that lose, swap, double, delay and damage frames; and many at a time."""
    lab.gateway("--publish", "tcp/127.0.0.1:7001/7001", "--connections", 1200,
                *(["--relay", f"seed={SEED},{WIRES[wire]}"] if WIRES[wire] else []))
    lab.serve(lab.world, "serve", "::", 7000)
    lab.serve(lab.guest, "serve", "0.0.0.0", 7001)
    longest = transfers(lab, (PUBLIC,), min(SIZE, 8 << 20) if wire == "all" else SIZE)
    before = time.monotonic()
    assert lab.guest.ask("many", PUBLIC, 7000, 1000) == ["1000"]
    print(f"{wire}: {'8' if wire == 'all' else SIZE >> 20} MiB in 4 directions, longest pause {longest:.2f} s; "
          f"1000 connections in {time.monotonic() - before:.1f} s")
    assert until(lambda: lab.count()["connections"] == 0, 30)


def test_idle_connections(lab):
    """As many as there may be, and what they cost."""
    lab.gateway("--connections", 4096)
    raise_limit = "import resource, socket, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (10000, 10000))\n"
    server = lab.start(lab.world.popen(sys.executable, "-c", raise_limit + f"""
listener, held = socket.create_server(({PUBLIC!r}, 7000), backlog=4096), []
print("serving", flush=True)
while True:
    held.append(listener.accept()[0])
""", stdout=subprocess.PIPE))
    assert server.stdout.readline() == b"serving\n"
    client = lab.guest.popen(sys.executable, "-c", raise_limit + f"""
held = [socket.create_connection(({PUBLIC!r}, 7000)) for _ in range(4096)]
try:
    socket.create_connection(({PUBLIC!r}, 7000))
except ConnectionRefusedError:
    print("held", flush=True)
sys.stdin.read()
""", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert client.stdout.readline() == b"held\n"
    assert lab.count()["connections"] == 4096
    pid = int(lab.host("pgrep", "-P", lab.gateway_process.pid, "msb-gateway"))
    resident = int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1])
    print(f"resident with 4096 idle connections: {resident / 1024:.1f} MiB")
    assert resident < 25_000_000 / 1024
    client.stdin.close()
    client.wait()
    server.kill()  # until it closes its ends, the connections are half open
    assert until(lambda: lab.count()["connections"] == 0, 30), lab.count()


@pytest.fixture
def resolver(lab, tmp_path):
    """dnsmasq in the world, and its log."""
    lab.start(lab.world.popen("dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root",
                              "--pid-file=", "--local-ttl=60", "--address=/example.com/1.2.3.10", "--address=/inside.test/10.0.0.10",
                              "--address=/other.com/1.2.3.10", "--address=/example.com/2606:4700::10",
                              "--txt-record=big.example.com," + ",".join(["x" * 200] * 10),
                              stderr=subprocess.DEVNULL))
    listening(lab.world, 53, "u")
    return PUBLIC + ":53"


def dig(lab, *words):
    return lab.guest("dig", "+tries=1", "+time=6", *words)


def test_dns(lab, resolver):
    lab.gateway("--nameserver", resolver)
    for at in (GATEWAY, GATEWAY6, PUBLIC):
        for how in ([], ["+tcp"]):
            assert dig(lab, "+short", "@" + at, *how, "example.com").split() == [PUBLIC], (at, how)
    assert dig(lab, "+short", "@" + GATEWAY, "example.com", "AAAA").split() == [PUBLIC6]
    assert dig(lab, "+short", "@" + GATEWAY, "host.microsandbox.internal").split() == [GATEWAY]
    assert "NXDOMAIN" in dig(lab, "@" + GATEWAY, "inside.test")
    assert dig(lab, "+short", "@" + GATEWAY, "big.example.com", "TXT").count("x" * 200) == 10
    # Somebody else's resolver that the policy does not allow.
    assert "NXDOMAIN" in dig(lab, "@10.0.0.10", "example.com")


@pytest.mark.show_04_3
def test_names_of_streams(lab, resolver, tmp_path):
    """allow@example.com:tcp:443: only that host, and only under that name."""
    lab.gateway("--nameserver", resolver, "--rules", "allow@example.com:tcp")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "key", "-out",
                    tmp_path / "cert", "-subj", "/CN=example.com", "-days", "2"], check=True, stderr=subprocess.DEVNULL)
    lab.start(lab.world.popen("openssl", "s_server", "-quiet", "-www", "-accept", "443", "-cert", tmp_path / "cert", "-key",
                              tmp_path / "key", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    lab.serve(lab.world, "serve", PUBLIC, 7000)
    listening(lab.world, 443)

    def curl(name):
        return lab.guest("curl", "-sk", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", "--resolve",
                         f"{name}:443:{PUBLIC}", f"https://{name}/", check=False).stdout

    assert curl("example.com") == "000"  # nobody asked for the name yet
    assert dig(lab, "+short", "@" + GATEWAY, "example.com").split() == [PUBLIC]
    assert curl("example.com") == "200"
    assert curl("other.com") == "000"
    assert "NXDOMAIN" in dig(lab, "@" + GATEWAY, "other.com")
    # No name in the stream: the address alone counts, also when the client waits for the server to speak.
    assert lab.guest.ask("put", PUBLIC, 7000, 1000)[0] == expected(1000, 0)
    # A client that is silent first, and then says another name, is cut off.
    code = f"""
import socket, ssl, time
s = socket.create_connection(({PUBLIC!r}, 443), 5)
time.sleep(2)
try:
    c = ssl.create_default_context()
    c.check_hostname = False
    c.verify_mode = ssl.CERT_NONE
    c.wrap_socket(s, server_hostname="other.com")
    print("through")
except OSError as e:
    print("cut off")
"""
    assert lab.guest(sys.executable, "-c", code).strip() == "cut off"
    assert lab.guest(sys.executable, "-c", code.replace("other.com", "example.com")).strip() == "through"


def packets(data):
    """The frames of a pcapng file, each with its direction: 1 to the guest, 2 from it."""
    found, at = [], 0
    while at < len(data):
        kind, total = struct.unpack_from("<II", data, at)
        assert struct.unpack_from("<I", data, at + total - 4)[0] == total
        if kind == 6:
            n = struct.unpack_from("<I", data, at + 20)[0]
            flags = struct.unpack_from("<I", data, at + 28 + (n + 3) // 4 * 4 + 4)[0]
            found.append((flags, data[at + 28:at + 28 + n]))
        at += total
    assert data[:4] == b"\x0a\x0d\x0d\x0a" and at == len(data)
    return found


def test_capture(lab, tmp_path):
    lab.gateway("--pcap", tmp_path / "capture", "--rules", "allow@public")
    lab.serve(lab.world, "udp", PUBLIC, 7000)
    assert lab.guest.ask("ask", PUBLIC, 7000, 33) == ["33", "True"]
    lab.stop_gateway()
    body = random.Random(33).randbytes(33)
    seen = [(way, frame[14 + 20 + 8:]) for way, frame in packets((tmp_path / "capture").read_bytes())
            if frame[12:14] == b"\x08\0" and frame[23] == 17]
    assert seen == [(2, body), (1, body)]


def test_tools(lab, resolver, tmp_path):
    """curl and iperf3, as people use them."""
    (tmp_path / "file").write_bytes(random.Random(5).randbytes(3 << 20))
    lab.gateway("--nameserver", resolver)
    lab.start(lab.world.popen(sys.executable, "-m", "http.server", "-b", "::", "-d", tmp_path, "80",
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    lab.start(lab.world.popen("iperf3", "-s", stdout=subprocess.DEVNULL))
    listening(lab.world, 80)
    listening(lab.world, 5201)
    for address in (PUBLIC, f"[{PUBLIC6}]"):
        lab.guest("curl", "-sfg", "-m", "20", "-o", tmp_path / "got", f"http://{address}/file")
        assert (tmp_path / "got").read_bytes() == (tmp_path / "file").read_bytes()
    listening(lab.world, 5201)
    base = json.loads(lab.world("iperf3", "-J", "-t", "2", "-c", "127.0.0.1"))["end"]["sum_received"]["bits_per_second"]
    for name, options in (("out", []), ("in", ["-R"]), ("out 8", ["-P", "8"]), ("in 8", ["-R", "-P", "8"])):
        listening(lab.world, 5201)  # between two tests iperf3 does not listen for a moment
        said = json.loads(lab.guest("iperf3", "-J", "-t", "2", "-c", PUBLIC, *options, check=False).stdout)
        assert "error" not in said, said["error"]
        rate = said["end"]["sum_received"]["bits_per_second"]
        print(f"iperf3 {name}: {rate / 1e9:.2f} Gbit/s, {rate / base:.2f} of loopback ({base / 1e9:.2f})")
        assert rate > 1e8


def host_state(space):
    """Everything of a host that a network program could change."""
    commands = (["ip", "-o", "addr"], ["ip", "-o", "link"], ["ip", "route", "show", "table", "all"],
                ["ip", "-6", "route", "show", "table", "all"], ["ip", "rule"], ["ip", "-6", "rule"], ["nft", "list", "ruleset"],
                ["sysctl", "-a", "--pattern", "^net"], ["ss", "-Hlnutwx", "-f", "inet"])
    return {" ".join(c): space(*c) for c in commands}


@pytest.mark.show_04_6
def test_nothing_changes_and_no_privilege(lab, resolver):
    """The gateway and all that it is given, but for the TAP, are those of a user without any capability."""
    lab.host("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
    lab.serve(lab.world, "serve", "::", 7000)
    lab.serve(lab.world, "udp", "::", 7000)
    assert until(lambda: "tentative" not in lab.host("ip", "-6", "addr"))
    before = host_state(lab.host)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        for program in ("msb-gateway", "tests/gateway/gateway-tap"):
            shutil.copy(MSB.parent / program, folder)
        guest = lab.guest
        lab.gateway("--nameserver", resolver, user=12345, folder=pathlib.Path(folder))
        during = host_state(lab.host)
        for address in (PUBLIC, PUBLIC6):
            for verb in ("put", "get"):
                assert guest.ask(verb, address, 7000, 1 << 20, 1)[0] == expected(1 << 20, 1)
            assert guest.ask("ask", address, 7000, 1400, 9000) == ["1400", "True", "9000", "True"]
            assert " 0% packet loss" in guest("ping", "-c", 1, "-W", 2, address)
        assert guest("dig", "+short", "@" + GATEWAY, "example.com").split() == [PUBLIC]
        assert connect(guest, "10.0.0.10", 7000, 2) == "ConnectionRefusedError"
        pid = int(lab.host("pgrep", "-P", lab.gateway_process.pid, "msb-gateway"))
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        assert re.search(r"^CapEff:\s+0+$", status, re.M) and re.search(r"^Uid:\s+12345\s", status, re.M)
        assert re.search(r"^NoNewPrivs:\s+1$", status, re.M) and re.search(r"^Seccomp:\s+2$", status, re.M)
        lab.stop_gateway()
    assert host_state(lab.host) == during == before
    print("unchanged on the host: " + "; ".join(before))
