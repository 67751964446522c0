# SPDX-License-Identifier: Apache-2.0
"""Listings (lister.c): read and compared, with the differences that are known and have a reason."""
import pathlib
import re

FIELDS = "path type mode uid gid size mtime target group rdev xattrs sha256".split()


def escape(data):
    """Bytes as the lister writes them."""
    return "".join(chr(c) if 0x20 < c < 0x7f and c not in b"\\," else f"\\x{c:02x}" for c in data)


def read(text):
    """{path: {field: value}}, in the order of the listing."""
    out = {}
    for line in text.splitlines():
        values = line.split("\t")
        assert len(values) == len(FIELDS), f"not a listing: {line!r}"
        assert values[0] not in out, f"twice: {values[0]}"
        out[values[0]] = dict(zip(FIELDS, values))
    return out


class Difference:
    """A line of differences.txt: pattern of paths, field ("entry": there or missing), patterns of both values, reason."""

    def __init__(self, line):
        path, self.field, theirs, ours, self.reason = line.split("\t")
        self.path, self.theirs, self.ours = re.compile(path), re.compile(theirs), re.compile(ours)
        self.seen = 0

    def covers(self, path, field, theirs, ours):
        if field != self.field or not self.path.fullmatch(path) or not self.theirs.fullmatch(theirs) or not self.ours.fullmatch(ours):
            return False
        self.seen += 1
        return True


def known_differences():
    text = pathlib.Path(__file__).with_name("differences.txt").read_text()
    return [Difference(line) for line in text.splitlines() if line and not line.startswith("#")]


def compare(theirs, ours, fields=FIELDS[1:], known=()):
    """Return: a line for each difference that is not known."""
    out = []

    def note(path, field, a, b):
        if a != b and not any(k.covers(path, field, a, b) for k in known):
            out.append(f"{path}: {field}: {a} there, {b} here")

    for path in sorted(theirs.keys() | ours.keys()):
        if path in theirs and path in ours:
            for field in fields:
                note(path, field, theirs[path][field], ours[path][field])
        else:
            note(path, "entry", *("there" if path in side else "missing" for side in (theirs, ours)))
    return out
