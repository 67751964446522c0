# SPDX-License-Identifier: Apache-2.0
"""Sandboxes in a real terminal, tmux: full-screen programs, resize, keys, UTF-8; the terminal is as before afterwards."""
import contextlib
import os
import re
import shlex
import signal
import subprocess
import time

import pytest

from conftest import TOP
from leftovers import descendants
from sandboxes import until

pytestmark = pytest.mark.show_03_8


class Screen:
    """A tmux server of its own with one window."""

    def __init__(self, msb, folder):
        self.folder, self.socket = folder, folder / "tmux"
        path = f"{msb.command[0].parent}:{os.environ['PATH']}"
        env = dict(msb.env, PATH=path, LC_ALL="C.UTF-8", PS1="$ ", HOME=str(folder))
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "env", "-i", *(f"{k}={v}" for k, v in env.items()
                  if k not in ("TMUX", "TERM")), "TERM=screen", "sh", env=env)
        self.shell = int(self.tmux("display", "-p", "#{pane_pid}"))
        self.see(r"^\$")

    def tmux(self, *args, **kw):
        done = subprocess.run(["tmux", "-u", "-S", self.socket, *args], capture_output=True, text=True, timeout=20, **kw)
        assert done.returncode == 0, done
        return done.stdout

    def text(self):
        return self.tmux("capture-pane", "-p")

    def see(self, what, within_s=20):
        """Wait for a line that matches."""
        until(lambda: re.search(what, self.text(), re.M), within_s, f"{what!r} on the screen:\n{self.text()}")

    def type(self, text, *keys):
        self.tmux("send-keys", "-l", text)
        self.tmux("send-keys", *(keys or ("Enter",)))

    def stty(self):
        out = self.folder / "stty"
        out.unlink(missing_ok=True)
        self.type(f"clear; stty -a > {shlex.quote(str(out))}; echo stty $?")
        self.see(r"^stty 0$")
        return re.sub(r"rows \d+; columns \d+;", "", out.read_text())  # of the window, which tmux changes when it likes

    def close(self):
        self.tmux("kill-server")


@pytest.fixture
def screen(boxes, tmp_path):
    boxes.create("a")
    with contextlib.closing(Screen(boxes, tmp_path)) as s:
        yield s


def test_terminal(boxes, screen):
    before = screen.stty()

    # A shell in the guest: size, UTF-8 typed and shown, Ctrl-C to what runs there and not to msb.
    screen.type("clear; msb exec -q a -- sh")
    screen.see(r"# *$")
    screen.type("stty size; echo gr\u00fc\u00df \u20ac \U0001f600")
    screen.see(r"^24 80$")
    screen.see("^gr\u00fc\u00df \u20ac \U0001f600")
    screen.type("sleep 1000; echo status $?")
    until(lambda: b"sleep 1000" in boxes.sh("a", "ps -o args").stdout, 10, "the sleep")
    screen.tmux("send-keys", "C-c")
    screen.see(r"# *$")
    screen.type("echo alive")
    screen.see("^alive$")

    # A full-screen program, which follows the size of the window.
    boxes.sh("a", "i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i + 1)); done > /lines")
    screen.type("vi /lines")
    screen.see("^line 22$")
    screen.tmux("resize-window", "-x", "100", "-y", "40")
    screen.tmux("send-keys", "C-l")
    screen.see("^line 38$")
    screen.type("G", "C-l")
    screen.see("^line 499$")
    screen.type(":q!")
    screen.see(r"# *$")
    screen.type("clear; stty size")
    screen.see("^40 100$")
    screen.tmux("resize-window", "-x", "80", "-y", "24")

    # Detached: the command runs on, and another session sees it.
    screen.type("clear; echo me > /who; exec sleep 1001")
    until(lambda: b"sleep 1001" in boxes.sh("a", "ps -o args").stdout, 10, "the sleep")
    screen.tmux("send-keys", "C-]")
    screen.see("^detached$")
    assert screen.stty() == before
    assert b"sleep 1001" in boxes.sh("a", "ps -o args").stdout
    screen.type("clear; msb exec -q --detach-keys ctrl-p,ctrl-q a -- cat")
    until(lambda: b"cat" in boxes.sh("a", "ps -o args").stdout, 10, "cat")
    screen.tmux("send-keys", "C-p")
    screen.type("x")  # held back, then passed on with what follows
    screen.see(r"\^Px")
    screen.tmux("send-keys", "C-p", "C-q")
    screen.see("^detached$")
    assert screen.stty() == before

    # Its exit status, and the terminal of before.
    screen.type("clear; msb shell -q a; echo status $?")
    screen.see(r"# *$")
    screen.type("exit 7")
    screen.see("^status 7$")
    assert screen.stty() == before
    boxes.ok("stop", "-t", "1", "a")


@pytest.mark.parametrize("command", ["exec -q a -- sh", "shell -q a"])
def test_killed_in_a_terminal(boxes, screen, command):
    """kill -9 of msb: nothing can be restored by it then, so that is done by somebody else."""
    before = screen.stty()
    screen.type(f"clear; msb {command}")
    screen.see(r"# *$")
    victims = [p for p in descendants(screen.shell) if os.readlink(f"/proc/{p}/exe").endswith("/msb")]
    assert victims
    os.kill(victims[0], signal.SIGKILL)
    until(lambda: not [p for p in descendants(screen.shell)], 5, "the end of what msb left")
    assert screen.stty() == before
    boxes.ok("stop", "-t", "1", "a")
