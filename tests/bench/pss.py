#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""pss.py PID MIB: PSS of a process and its descendants, and whether it is at most so much.

Mappings kept out of core dumps are the guest's: counted apart.
"""
import os
import sys


def tree(pid):
    out = [pid]
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as f:
            for child in f.read().split():
                out += tree(int(child))
    return out


def pss_kib(pid):
    """(own, guest) of one process."""
    own = guest = pss = 0
    with open(f"/proc/{pid}/smaps") as f:
        for line in f:
            if line.startswith("Pss:"):
                pss = int(line.split()[1])
            elif line.startswith("VmFlags:"):
                if "dd" in line.split():
                    guest += pss
                else:
                    own += pss
    return own, guest


def main():
    total = used = 0
    for pid in tree(int(sys.argv[1])):
        with open(f"/proc/{pid}/comm") as f:
            name = f.read().strip()
        own, guest = pss_kib(pid)
        print(f"  {name:<20} {own / 1024:6.1f} MiB")
        total += own
        used += guest
    print(f"  {'together':<20} {total / 1024:6.1f} MiB; the guest uses {used / 1024:.1f} MiB of its memory")
    print(f"{'ok' if total <= 1024 * int(sys.argv[2]) else 'not ok'} memory beyond the guest's: {total / 1024:.1f} MiB, "
          f"at most {sys.argv[2]}")


if __name__ == "__main__":
    main()
