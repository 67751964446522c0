# SPDX-License-Identifier: Apache-2.0
"""Memory that the guest has freed is the host's again. On the back end of MSB_HYPERVISOR; on KVM in the rig."""
import re
import time

from sandboxes import until

MIB = 1 << 20
DIRTY = 200 * MIB
# The same block again and again, since a software CPU makes few bytes; a look at some of them.
FILL = f"""cd /dev/shm; head -c {MIB} /dev/urandom > block; n=0
    while [ $((n += 1)) -le {DIRTY // MIB} ]; do cat block; done > x
    for n in 0 50 100 150 199; do dd if=x bs={MIB} skip=$n count=1 2> /dev/null | cmp - block || exit 1; done"""


def resident(boxes, name):
    """What the sandbox's processes take, shared memory counted once."""
    total = 0
    for pid in boxes.below(name).values():
        with open(f"/proc/{pid}/smaps_rollup") as f:
            total += 1024 * int(re.search(r"^Pss: *(\d+)", f.read(), re.M).group(1))
    return total


def falls(boxes, name, limit, within_s):
    """Wait until it does. Return: seconds, what is left."""
    start = time.monotonic()
    until(lambda: resident(boxes, name) <= limit, within_s, f"at most {limit // MIB} MiB (now {resident(boxes, name) // MIB})")
    return time.monotonic() - start, resident(boxes, name)


def test_freed_memory_returns(boxes):
    """Twice, since what was given back must be usable as before."""
    boxes.create("a", "-m", "512M")
    before = resident(boxes, "a")
    for _ in range(2):
        done = boxes.sh("a", FILL)
        assert done.returncode == 0, done
        full = resident(boxes, "a")
        assert full >= before + DIRTY * 9 // 10, (before, full)
        boxes.ok("exec", "a", "--", "rm", "/dev/shm/x", "/dev/shm/block")
        took, after = falls(boxes, "a", before + 60 * MIB, 20)
        print(f"resident: {before / MIB:.0f} MiB, with {DIRTY // MIB} MiB written {full / MIB:.0f} MiB, "
              f"{took:.1f} s after they were freed {after / MIB:.0f} MiB")
