# SPDX-License-Identifier: Apache-2.0
"""msb metrics: what sandboxes use, for people and for programs; what msb says when a guest runs out of something."""
import json
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time

import pytest

from conftest import IMAGE

FIELDS = {"name", "state", "cpus", "timestamp", "cpu_percent", "vcpu_time_ns", "memory_bytes", "memory_available_bytes",
          "memory_host_resident_bytes", "memory_limit_bytes", "disk_read_bytes", "disk_write_bytes", "net_rx_bytes", "net_tx_bytes",
          "upper_used_bytes", "upper_free_bytes", "upper_host_allocated_bytes", "uptime_secs"}
MIB = 1 << 20


@pytest.fixture
def two(msb):
    """One that idles and one whose only CPU is busy."""
    assert msb("create", "-n", "idle", "-m", "128M", IMAGE).returncode == 0
    assert msb("run", "-d", "-n", "busy", "-m", "96M", IMAGE, "--", "sh", "-c", "while :; do :; done").returncode == 0
    yield
    assert msb("rm", "--force", "idle", "busy").returncode == 0


def metrics(msb, *args):
    done = msb("metrics", "--format", "json", *args)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.show_03_5
def test_figures(msb, two):
    before = {m["name"]: m for m in metrics(msb)}
    assert msb("exec", "idle", "--", "sh", "-c", "dd if=/dev/zero of=/big bs=1M count=24 && sync && rm -f /nothing").returncode == 0
    now = {m["name"]: m for m in metrics(msb)}
    assert list(before) == list(now) == ["busy", "idle"]
    idle, busy = now["idle"], now["busy"]
    for m in now.values():
        assert FIELDS <= set(m) and m["state"] == "running" and None not in m.values()
        assert 0 <= m["cpu_percent"] <= 100 and m["cpus"] == 1
        assert 0 < m["memory_bytes"] < m["memory_limit_bytes"]
    assert busy["memory_limit_bytes"] == 96 * MIB and idle["memory_limit_bytes"] == 128 * MIB
    # How much of a CPU the busy one gets is this host's business; never much more than the one it has.
    assert busy["cpu_percent"] > idle["cpu_percent"]
    spent = (busy["vcpu_time_ns"] - before["busy"]["vcpu_time_ns"]) / 1e9
    elapsed = busy["uptime_secs"] - before["busy"]["uptime_secs"]
    assert 0 < spent < 1.3 * elapsed
    # What the guest wrote, and not what the host has on its disk by now.
    assert 24 * MIB <= idle["disk_write_bytes"] - before["idle"]["disk_write_bytes"] < 32 * MIB
    assert idle["disk_read_bytes"] > 500000
    assert 24 * MIB <= idle["upper_used_bytes"] - before["idle"]["upper_used_bytes"] < 32 * MIB
    assert idle["upper_host_allocated_bytes"] >= 24 * MIB
    assert idle["sessions"] == 0 and busy["sessions"] == 1


def test_table_states_and_order(msb, two):
    lines = msb("metrics", "--sort", "cpu").stdout.decode().splitlines()
    assert lines[0].split() == "NAME STATE CPU MEM DISK R/W /s NET RX/TX /s UPTIME".split()
    assert [line.split()[0] for line in lines[1:]] == ["busy", "idle"]
    assert re.search(r"^idle +running +[0-9.]+% +[0-9.]+ MiB / 128.0 MiB +", lines[2])
    assert msb("stop", "busy").returncode == 0
    assert [m["name"] for m in metrics(msb)] == ["idle"]
    gone = metrics(msb, "busy")
    assert gone["state"] == "exited" and gone["cpu_percent"] is None and gone["memory_limit_bytes"] == 96 * MIB
    assert [m["state"] for m in metrics(msb, "-a", "--sort", "mem")] == ["running", "exited"]
    assert msb("metrics", "nobody").returncode == 1
    for bad in (["-w", "-f"], ["-a", "idle"], ["--interval", "1s"], ["-f", "--interval", "50ms"], ["--sort", "disk"], ["-w"]):
        assert msb("metrics", *bad).returncode == 2, bad


def test_stalled_agent_is_seen(msb, two):
    """A supervisor whose machine stands still answers without it, and nobody waits long for it."""
    monitor = next(p for p in map(int, filter(str.isdigit, os.listdir("/proc"))) if is_monitor_of(p, msb.home / "sandboxes/busy"))
    os.kill(monitor, signal.SIGSTOP)
    try:
        start = time.monotonic()
        state = {m["name"]: m["state"] for m in metrics(msb)}
        assert state == {"busy": "stalled", "idle": "running"} and time.monotonic() - start < 8
    finally:
        os.kill(monitor, signal.SIGCONT)


def is_monitor_of(pid, folder):
    try:
        if open(f"/proc/{pid}/comm").read() != "msb-monitor\n":
            return False
        return any(os.readlink(f"/proc/{pid}/fd/{fd}").startswith(str(folder)) for fd in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False


def test_prometheus(msb, two):
    done = msb("metrics", "--format", "prometheus")
    assert done.returncode == 0
    families, samples = {}, {}
    for line in done.stdout.decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            families[name] = kind
        elif not line.startswith("#"):
            name, sandbox, value = re.fullmatch(r'([a-z_]+)\{name="([a-z]+)"\} ([0-9.e+-]+)', line).groups()
            samples[name, sandbox] = float(value)
    assert {name for name, _ in samples} == set(families)
    assert all(name.endswith("_total") == (kind == "counter") for name, kind in families.items())
    assert samples["msb_sandbox_up", "busy"] == 1 and samples["msb_sandbox_cpu_seconds_total", "busy"] > 0.1
    assert samples["msb_sandbox_memory_limit_bytes", "idle"] == 128 * MIB


def test_follow(msb, two):
    child = msb.popen("metrics", "-f", "--interval", "200ms", stdout=subprocess.PIPE)
    lines = [json.loads(child.stdout.readline()) for _ in range(6)]
    assert [m["name"] for m in lines] == 3 * ["busy", "idle"]
    assert all(m["cpu_percent"] is not None for m in lines)
    child.stdout.close()
    assert child.wait(timeout=10) in (0, 128 + signal.SIGPIPE)  # seen between two lines, or in the middle of one


def test_watch_restores_the_terminal(msb, two):
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    child = msb.popen("metrics", "-w", "--interval", "100ms", stdin=theirs, stdout=theirs, preexec_fn=lambda: own_terminal(theirs))
    out = b""
    while out.count(b"busy ") < 4:
        assert select.select([ours], [], [], 20)[0], out
        out += os.read(ours, 65536)
    assert termios.tcgetattr(theirs) != before
    os.write(ours, b"\x03")
    while b"\033[?25h" not in out:
        assert select.select([ours], [], [], 20)[0], out
        out += os.read(ours, 65536)
    assert child.wait(timeout=10) == 0
    assert termios.tcgetattr(theirs) == before
    text = out.decode()
    assert text.startswith("\033[?25l") and re.search("busy +running +[▁▂▃▄▅▆▇█]+", text)
    os.close(ours)
    os.close(theirs)


def own_terminal(fd):
    import fcntl
    os.setsid()
    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)


def test_what_the_guest_ran_out_of(msb):
    fill = ("sh", "-c", "cat /dev/zero > /full")
    done = msb("run", "-n", "small", "-m", "96M", "--root-disk", "64M", IMAGE, "--", *fill)
    try:
        assert done.returncode == 1
        assert b"note: the guest's disk is full: --root-disk gives it more\n" in done.stderr
        assert b"--root-disk" in msb("exec", "small", "--", "false").stderr
        assert b"--root-disk" not in msb("exec", "small", "--", "rm", "/full").stderr  # no failure, no note
        assert b"note:" not in msb("exec", "small", "--", "false").stderr
        done = msb("exec", "small", "--", "tail", "/dev/zero")
        assert done.returncode == 137
        assert b"note: the guest ran out of memory (96M): msb modify small -m SIZE gives it more\n" in done.stderr
    finally:
        assert msb("rm", "--force", "small").returncode == 0
        (msb.home / "cache/templates/ext4j-64-v1.img").unlink()  # of this size, for the next one
    done = msb("run", "-m", "96M", IMAGE, "--", "tail", "/dev/zero")
    assert done.returncode == 137 and b"note: the guest ran out of memory (96M): -m gives it more\n" in done.stderr
