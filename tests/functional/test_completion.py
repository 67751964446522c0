# SPDX-License-Identifier: Apache-2.0
"""msb completion: what the shells themselves make of it when TAB is pressed."""
import os
import pty
import select
import subprocess
import time

import pytest

from conftest import IMAGE, MSB

# What a line has become is printed by the shell: its echo on a terminal is full of motions of the cursor.
SHOW = "msb() { if [ \"$1\" = __complete ]; then command msb \"$@\"; else printf 'got:%s|end\\n' \"$*\"; fi; }; PS1='ready> '\n"
SHELLS = {
    "bash": (["bash", "--noprofile", "--rcfile", ".rc", "-i"], ".rc", "eval \"$(msb completion bash)\"\n" + SHOW),
    "zsh": (["zsh", "-d", "-i"], ".zshrc", "autoload -Uz compinit; compinit -u -D; eval \"$(msb completion zsh)\"\n" + SHOW),
}

CASES = [  # what is typed before TAB, what the line is then
    ("msb comp", "msb completion "), ("msb run --pul", "msb run --pull "), ("msb run --pull al", "msb run --pull always "),
    ("msb run --pull=if", "msb run --pull=if-missing "), ("msb images --format j", "msb images --format json "),
    ("msb run --hypervisor k", "msb run --hypervisor kvm "), ("msb image insp", "msb image inspect "),
    ("msb run localhost/bu", f"msb run {IMAGE} "), ("msb rmi localhost/busybox:", f"msb rmi {IMAGE} "),
    ("msb load -i ./archive-o", "msb load -i ./archive-of-mine.tar "), ("msb load --input=./arch", "msb load --input=./archive-of-mine.tar "),
    ("msb run -m 1G ./archive", "msb run -m 1G ./archive-of-mine.tar "), ("msb completion f", "msb completion fish "),
    ("msb registry log", "msb registry log"),  # login and logout
    ("msb exec kept-o", "msb exec kept-one "), ("msb stop --time 3 kept", "msb stop --time 3 kept-one "),
    ("msb run --security r", "msb run --security restricted "),
]


@pytest.fixture
def there(msb, tmp_path):
    """A folder with one file, msb on PATH, one sandbox."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/msb").symlink_to(MSB)
    (tmp_path / "here").mkdir()
    (tmp_path / "here/archive-of-mine.tar").touch()
    env = dict(msb.env, PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}", HOME=str(tmp_path), TERM="dumb")
    assert msb("create", "--name", "kept-one", IMAGE).returncode == 0
    yield tmp_path / "here", env
    assert msb("rm", "-f", "kept-one").returncode == 0


class Terminal:
    """A shell on a terminal. Each prompt is waited for, so that nothing depends on how fast it is."""

    def __init__(self, argv, folder, env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe(argv[0], argv, env)
        self.seen = b""

    def until(self, what):
        end = time.monotonic() + 20
        while what not in self.seen:
            assert select.select([self.fd], [], [], max(0, end - time.monotonic()))[0], (what, self.seen)
            self.seen += os.read(self.fd, 4096)
        out, self.seen = self.seen.split(what, 1)
        return out

    def type(self, text):
        os.write(self.fd, text.encode())

    def close(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)


@pytest.mark.parametrize("shell", SHELLS)
def test_tab(there, shell):
    argv, name, setup = SHELLS[shell]
    folder, env = there
    (folder / name).write_text(setup)
    term = Terminal(argv, folder, dict(env, ZDOTDIR=str(folder)))
    term.until(b"ready> ")
    try:
        for typed, wanted in CASES:
            term.type(typed + "\tX\n")
            term.until(b"got:")
            assert "msb " + term.until(b"|end").decode() == wanted + "X", typed
            term.until(b"ready> ")
    finally:
        term.close()


def test_fish(there):
    folder, env = there
    for typed, wanted in CASES:
        if wanted == typed:
            continue
        done = subprocess.run(["fish", "--no-config", "-c", "msb completion fish | source; complete -C $argv[1]", typed],
                              cwd=folder, env=env, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
        found = [line.split("\t")[0] for line in done.stdout.splitlines()]
        assert done.returncode == 0 and found == [wanted.split()[-1]], (typed, done)


def test_every_candidate_has_a_command(msb):
    """All that completion offers for the first words is a command: its help says so."""
    for first in msb("__complete", "").stdout.decode().splitlines():
        word, about = first.split("\t")
        assert f"Usage: msb {word}" in msb(word, "--help").stdout.decode()
        if about == "more commands":
            for second in msb("__complete", word, "").stdout.decode().splitlines():
                assert msb(word, second.split("\t")[0], "--help").returncode == 0


def test_a_guest_command_is_none_of_ours(msb):
    assert msb("__complete", "run", IMAGE, "--", "--pul").stdout == b":files\n"


def test_a_name_that_looks_like_a_program_is_not_run(there):
    """Candidates are words, never expanded by the shell."""
    folder, env = there
    fake = folder.parent / "bin/msb"
    fake.unlink()
    fake.write_text("#!/bin/sh\ncase $1 in completion) exec \"$REAL\" \"$@\";; esac\nprintf '%s\\n' 'a$(touch${IFS}gone)'\n")
    fake.chmod(0o755)
    script = "eval \"$(msb completion bash)\"; COMP_LINE='msb run a' COMP_POINT=9; _msb; printf '%s\\n' \"${COMPREPLY[@]}\""
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=dict(env, REAL=str(MSB)), capture_output=True, text=True)
    assert done.stdout == "a$(touch${IFS}gone)\n" and not (folder / "gone").exists(), done


def test_other_shells(msb):
    done = msb("completion", "tcsh")
    assert done.returncode == 2 and b"tcsh" in done.stderr and b"bash, zsh or fish" in done.stderr
