# SPDX-License-Identifier: Apache-2.0
"""A QEMU that leaves one of its devices but lives on: the sandbox ends with an error, and nothing stays."""
import ctypes
import os
import re
import socket
import subprocess

import pytest

from conftest import IMAGE
from leftovers import descendants

PIDFD_GETFD = 438


def qemu_of(child):
    """Process id and command line of the QEMU below this msb."""
    for pid in descendants(child.pid):
        if os.readlink(f"/proc/{pid}/exe").rsplit("/", 1)[-1].startswith("qemu-system"):
            with open(f"/proc/{pid}/cmdline") as f:
                return pid, f.read().split("\0")
    raise AssertionError("no QEMU")


@pytest.mark.bad_input
@pytest.mark.parametrize("device", [0, 2])  # a disk, which has a thread of its own, and vsock
def test_hang_up(msb, device):
    child = msb.popen("run", "--hypervisor", "qemu", IMAGE, "--", "sh", "-c", "echo up; sleep 60", stdout=subprocess.PIPE,
                      stderr=subprocess.PIPE)
    assert child.stdout.readline() == b"up\n"
    pid, line = qemu_of(child)
    number = next(m.group(1) for m in map(re.compile(rf"socket,id=c{device},fd=(\d+)$").match, line) if m)
    taken = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, os.pidfd_open(pid), int(number), 0)
    assert taken >= 0, os.strerror(ctypes.get_errno())
    with socket.socket(fileno=taken) as end:
        end.shutdown(socket.SHUT_RDWR)
    _, said = child.communicate(timeout=20)
    assert child.returncode == 125 and said.count(b"error:") == 1 and b"broke off the connection" in said, said
