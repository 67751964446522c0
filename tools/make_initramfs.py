#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make the initramfs: make_initramfs.py AGENT OUT. A newc cpio with /init and /dev/console; same input, same bytes.

Source: Linux Documentation/driver-api/early-userspace/buffer-format.rst.
"""
import sys


def entry(ino, name, mode, data=b"", rdev=(0, 0)):
    name = name.encode() + b"\0"
    fields = (ino, mode, 0, 0, 1, 0, len(data), 0, 0, rdev[0], rdev[1], len(name), 0)
    out = b"070701" + b"".join(b"%08X" % f for f in fields) + name
    out += b"\0" * (-len(out) % 4)
    return out + data + b"\0" * (-len(data) % 4)


def main():
    with open(sys.argv[1], "rb") as f:
        agent = f.read()
    with open(sys.argv[2], "wb") as f:
        f.write(entry(1, "dev", 0o040755))
        f.write(entry(2, "dev/console", 0o020600, rdev=(5, 1)))
        f.write(entry(3, "init", 0o100755, agent))
        f.write(entry(0, "TRAILER!!!", 0))


main()
