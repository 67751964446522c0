# SPDX-License-Identifier: Apache-2.0
"""Memory that the guest has freed is the host's again. On the back end of MSB_HYPERVISOR; on KVM in the rig."""
import os
import re
import time

import pytest

from sandboxes import until

MIB = 1 << 20
DIRTY = 200 * MIB
# The same block again and again, since a software CPU makes few bytes; a look at some of them.
LOOK = f"for n in 0 50 100 150 199; do dd if=x bs={MIB} skip=$n count=1 2> /dev/null | cmp - block || exit 1; done"
FILL = f"""head -c {MIB} /dev/urandom > block; n=0
    while [ $((n += 1)) -le {DIRTY // MIB // 20} ]; do cat {"block " * 20}; done > x
    {LOOK}"""


def guest_ram(pid):
    """What the memfd that is QEMU's guest memory takes, mapped or not: a hole that is not punched shows here."""
    for fd in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{fd}"
        if os.readlink(path).startswith("/memfd:guest-ram"):
            return os.stat(path).st_blocks * 512
    return None


def resident(boxes, name):
    """What the sandbox's processes take, shared memory counted once."""
    total = 0
    below = boxes.below(name)
    for pid in below.values():
        with open(f"/proc/{pid}/smaps_rollup") as f:
            pss = {key: 1024 * int(kib) for key, kib in re.findall(r"^(Pss\w*): *(\d+)", f.read(), re.M)}
        total += pss["Pss"] - pss["Pss_Shmem"]
    return total + (guest_ram(below["qemu"]) if "qemu" in below else 0)


def falls(boxes, name, limit, within_s):
    """Wait until it does. Return: seconds, what is left."""
    start = time.monotonic()
    until(lambda: resident(boxes, name) <= limit, within_s, f"at most {limit // MIB} MiB of memory")
    return time.monotonic() - start, resident(boxes, name)


def test_freed_memory_returns(boxes):
    """Twice, since what was given back must be usable as before."""
    boxes.create("a", "-m", "512M")
    before = resident(boxes, "a")
    for _ in range(2):
        done = boxes.sh("a", "cd /dev/shm; " + FILL)
        assert done.returncode == 0, done
        full = resident(boxes, "a")
        assert full >= before + DIRTY * 9 // 10, (before, full)
        boxes.ok("exec", "a", "--", "rm", "/dev/shm/x", "/dev/shm/block")
        took, after = falls(boxes, "a", before + 60 * MIB, 20)
        print(f"resident: {before / MIB:.0f} MiB, with {DIRTY // MIB} MiB written {full / MIB:.0f} MiB, "
              f"{took:.1f} s after they were freed {after / MIB:.0f} MiB")


@pytest.mark.long
def test_idle_is_squeezed(boxes):
    """What was read only to be cached goes when nobody used the sandbox for a minute; files are whole afterwards."""
    boxes.create("a", "-m", "512M")
    before = resident(boxes, "a")
    assert boxes.sh("a", FILL, "-w", "/").returncode == 0
    full = resident(boxes, "a")
    assert full >= before + DIRTY * 9 // 10, (before, full)
    took, after = falls(boxes, "a", before + 60 * MIB, 90)
    print(f"resident: {before / MIB:.0f} MiB, with {DIRTY // MIB} MiB cached {full / MIB:.0f} MiB, "
          f"idle for {took:.0f} s {after / MIB:.0f} MiB")
    assert took > 50
    assert boxes.sh("a", LOOK, "-w", "/").returncode == 0
