# SPDX-License-Identifier: Apache-2.0
"""What a pull draws on a terminal: it fits, it is drawn over itself, and nothing of it is left at the end."""
import fcntl
import io
import os
import pty
import random
import re
import signal
import struct
import subprocess
import tarfile
import termios

import pytest

from conftest import Msb
from registry_peers import Peer, drip

TOKEN = re.compile(rb"\x1b\[(\d*)([A-Za-z])|\r|\n|[^\x1b\r\n]+")
BAR = re.compile(r"  [0-9a-f]{12}  +[\d.]+ \S+  \[=*>? *\]  [\d.]+ \S+")


class Screen:
    """As much of a terminal as the display uses. widest: of all lines that were ever on it."""

    def __init__(self, columns):
        self.columns, self.lines, self.row, self.column, self.widest, self.frames = columns, [""], 0, 0, 0, []

    def feed(self, data):
        for m in TOKEN.finditer(data):
            number, letter, text = int(m[1] or 0), m[2], m[0]
            if letter == b"A":
                assert number <= self.row, "above the first line"
                self.frames.append(list(self.lines))
                self.row -= number
            elif letter == b"K":
                self.lines[self.row] = self.lines[self.row][:self.column]
            elif letter == b"J":
                self.lines[self.row:] = [self.lines[self.row][:self.column]]
            elif letter == b"m":
                pass
            elif text == b"\r":
                self.column = 0
            elif text == b"\n":
                self.row += 1
                self.lines += [""] * (self.row + 1 - len(self.lines))
            else:
                assert letter is None, text
                text = text.decode(errors="replace")
                line = self.lines[self.row]
                self.lines[self.row] = line[:self.column].ljust(self.column) + text + line[self.column + len(text):]
                self.column += len(text)
                if not text.startswith(("error:", "  →", "✓", "^C")):
                    self.widest = max(self.widest, self.column)


def layer(size):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("file")
        info.size = size
        tar.addfile(info, io.BytesIO(random.randbytes(size)))
    return out.getvalue()


class Terminal:
    """msb pull on a terminal of its own; leave() says when it is to be interrupted, by Ctrl-C."""

    def __init__(self, msb, rows, columns, reference, leave=None):
        self.screen, self.raw = Screen(columns), b""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        child = subprocess.Popen([*msb.command, "pull", reference], env=msb.env, stdin=theirs, stdout=theirs, stderr=theirs,
                                 start_new_session=True)
        os.close(theirs)
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:
                break
            self.raw += data
            if leave and leave(self.raw):
                os.killpg(child.pid, signal.SIGINT)
                leave = None
        os.close(ours)
        self.status = child.wait(20)
        # A sequence may be cut by a read, so it is all taken at once.
        self.screen.feed(self.raw)
        self.left = [line for line in self.screen.lines if line]


@pytest.fixture
def peer():
    with Peer() as p:
        p.fault("/blobs/", drip(1_500_000, 16384))
        yield p


@pytest.mark.show_02_1
@pytest.mark.parametrize("rows,columns", [(24, 100), (24, 60), (24, 30), (0, 0)])
def test_it_fits(tmp_path, peer, rows, columns):
    peer.add_image("a", "1", [layer(400_000 + 200_000 * i) for i in range(4)])
    t = Terminal(Msb(tmp_path / "home"), rows, columns, f"{peer.host}/a:1")
    print(*t.screen.frames[len(t.screen.frames) // 2], sep="\n")
    assert t.status == 0 and len(t.left) == 1 and t.left[0].startswith(f"✓ Pulled {peer.host}/a:1 (4 layers, 4 new; ")
    assert 0 < t.screen.widest <= (columns or 80) - 1
    bars = [line for frame in t.screen.frames for line in frame if BAR.fullmatch(line)]
    assert bool(bars) == (columns != 30)
    assert all(len(frame) <= 6 for frame in t.screen.frames)


@pytest.mark.show_02_1
def test_more_layers_than_lines(tmp_path, peer):
    """Those that are worked on have a line."""
    peer.add_image("a", "1", [layer(100_000) for _ in range(20)])
    t = Terminal(Msb(tmp_path / "home"), 10, 80, f"{peer.host}/a:1")
    assert t.status == 0 and len(t.left) == 1
    frames = [[line for line in frame if line] for frame in t.screen.frames]
    assert all(re.match(r"  \d+ of 20 layers, ", frame[-1]) and len(frame) <= 10 for frame in frames)
    late = [frame for frame in frames if re.match(r"  1\d of 20 ", frame[-1]) and any(map(BAR.fullmatch, frame))]
    assert late
    print(*late[-1], sep="\n")


@pytest.mark.show_02_1
def test_interrupted(tmp_path, peer):
    """Of the display nothing stays, of the image what is complete."""
    peer.add_image("a", "1", [layer(50_000), layer(3_000_000)])
    t = Terminal(Msb(tmp_path / "home"), 24, 60, f"{peer.host}/a:1", leave=lambda raw: b"1 of 2 layers" in raw)
    print(*t.left, sep="\n")
    assert t.status == 130
    assert t.left == [f"error: {peer.host}/a:1: interrupted; 1 of 2 layers are complete and stay",
                      "  → the next pull goes on from here; msb image prune removes what is there"]
