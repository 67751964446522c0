# SPDX-License-Identifier: Apache-2.0
"""Sandboxes that stay: a home of their own, what is said of them, and that nothing of them is left."""
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time

from conftest import IMAGE, Msb, processes_of
from leftovers import Census, descendants, files, reap

SMALL = ("-m", "128M")
PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def until(condition, within_s=20.0, what="it"):
    """Poll, since nobody tells. Return what the condition returned."""
    end = time.monotonic() + within_s
    while not (got := condition()):
        assert time.monotonic() < end, f"{what}: not within {within_s} s"
        time.sleep(0.01)
    return got


def complaint(done, status, *words):
    """One error line with these words, one hint, this exit status, nothing on standard output."""
    lines = done.stderr.decode().splitlines()
    assert done.returncode == status, (done.returncode, done.stderr)
    assert [line[:7] for line in lines].count("error: ") == 1 and done.stdout == b"", (done.stdout, done.stderr)
    assert lines[-2].startswith("error: ") and lines[-1].startswith("  → "), done.stderr
    for word in words:
        assert word in lines[-2] + lines[-1], done.stderr


class Sandboxes(Msb):
    """msb with a home in which sandboxes are made."""

    def create(self, name, *options, **kw):
        done = self("create", "-q", "-n", name, *SMALL, *options, IMAGE, **kw)
        assert done.returncode == 0 and done.stdout == b"" and done.stderr == b"", (name, done)

    def ok(self, *args, **kw):
        """Succeeds without a word on standard error. Return: its standard output."""
        done = self(*args, **kw)
        assert done.returncode == 0 and done.stderr == b"", (args, done.returncode, done.stdout, done.stderr)
        return done.stdout.decode()

    def sh(self, name, text, *options, **kw):
        return self("exec", *options, name, "--", "sh", "-c", text, **kw)

    def list(self, *options):
        return json.loads(self.ok("ls", "--format", "json", *options))

    def states(self):
        return {s["name"]: s["status"] for s in self.list()}

    def supervisor(self, name):
        """Its process id, as recorded."""
        with contextlib.closing(sqlite3.connect(f"file:{self.home}/db/msb.db?mode=ro", uri=True)) as db:
            return db.execute("SELECT pid FROM sandbox WHERE name = ?", (name,)).fetchone()[0]

    def below(self, name):
        """The processes below its supervisor, by what they are: monitor, qemu, gateway."""
        found = {}
        for pid in descendants(self.supervisor(name)):
            with contextlib.suppress(OSError):
                program = os.readlink(f"/proc/{pid}/exe").rsplit("/", 1)[-1]
                found["qemu" if program.startswith("qemu-system") else "gateway" if "gateway" in program else "monitor"] = pid
        return found

    def clear(self):
        """Remove all; then nothing may be there but what was there before."""
        names = [s["name"] for s in self.list()]
        if names:
            self.ok("rm", "-q", "-f", *names, timeout=120)
        assert self.list() == []
        until(lambda: not processes_of(self.home), 5, "the end of all processes")
        left = {f for f in files(f"{self.home}/sandboxes") if not f.endswith("/.lock")}
        assert not left, left


def prepared(path, archive):
    """A home with the image in it, an empty disk and the probe's verdict."""
    msb = Sandboxes(path)
    done = msb("load", "-q", "-i", str(archive), "-t", IMAGE)
    assert done.returncode == 0, done.stderr
    msb.create("first")
    msb.ok("rm", "-f", "first")
    return msb


def kill_everything(msb):
    """As a power cut does: no process of the home is left."""
    def some():
        reap()
        found = processes_of(msb.home)
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        return found
    until(lambda: not some(), 10, "the end of all processes")


@contextlib.contextmanager
def nothing_left(msb):
    """Everything as before, but for processes that need a moment to die."""
    census, before = Census(), files(msb.home)
    census.folders, census.files = (), set()  # the home is compared here; /dev/shm belongs to others, too
    yield census
    census.check(within_s=5)
    differ = sorted(f for f in files(msb.home) ^ before if not f.endswith("/kvm-probe"))  # a verdict that comes when it comes
    assert not differ, f"files that came or went: {differ[:10]}"
