# SPDX-License-Identifier: Apache-2.0
"""The guest's wall clock: within a second of the host's, also after the machine stood still."""
import os
import select
import signal
import subprocess
import time

import pytest

from conftest import Msb
from leftovers import Census, descendants

STOP_S = 60 if os.environ.get("MSB_LONG") else 10
KEPT_S = 5
CLOCK = "import sys, time\nfor line in sys.stdin: print(time.time(), flush=True)"


def distance(child):
    """Seconds by which the guest is off at the most, from one question and its answer."""
    before = time.time()
    child.stdin.write(b"?\n")
    child.stdin.flush()
    guest = float(child.stdout.readline())
    return max(before - guest, guest - time.time(), 0)


@pytest.mark.show_01_3
def test_clock(tmp_path, python_archive):
    msb = Msb(tmp_path / "home")
    assert msb("load", "-i", python_archive, "-t", "python:1").returncode == 0
    census = Census()
    child = msb.popen("run", "python:1", "--", "python3", "-c", CLOCK, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert distance(child) <= 1
    machine = [pid for pid in descendants(child.pid) if os.readlink(f"/proc/{pid}/exe").find("qemu") >= 0 or
               open(f"/proc/{pid}/comm").read().strip() == "msb-monitor"]
    assert machine
    for pid in machine:
        os.kill(pid, signal.SIGSTOP)
    select.select([], [], [], STOP_S)  # the machine stands still: this is the time under test
    for pid in machine:
        os.kill(pid, signal.SIGCONT)
    end = time.monotonic() + KEPT_S
    first = distance(child)
    while time.monotonic() < end:
        last = distance(child)
        select.select([], [], [], 0.2)
    print(f"off by at most {first:.3f} s at once and {last:.3f} s {KEPT_S} s after a stop of {STOP_S} s")
    assert last <= 1
    child.stdin.close()
    assert child.wait(timeout=30) == 0
    child.stdout.close()
    census.check()
