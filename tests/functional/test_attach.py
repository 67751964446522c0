# SPDX-License-Identifier: Apache-2.0
"""The pump between our streams and the guest: signals, terminals and readers that do not read."""
import os
import pty
import select
import signal
import subprocess
import termios

import pytest

from conftest import IMAGE

PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def read_until(fd, word):
    out = b""
    while word not in out:
        assert select.select([fd], [], [], 30)[0], out
        out += os.read(fd, 4096)
    return out


@pytest.mark.show_01_3
def test_second_signal_ends_the_sandbox(msb):
    child = msb.popen("run", IMAGE, "--", "sh", "-c", "trap 'echo got' INT; echo up; while :; do sleep 1; done", **PIPES)
    assert child.stdout.readline() == b"up\n"
    child.send_signal(signal.SIGINT)
    assert child.stdout.readline() == b"got\n"
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=30)[1].count(b"error:") == 1
    assert child.returncode == 130


@pytest.mark.show_01_3
def test_timeout_with_a_reader_that_does_not_read(msb):
    child = msb.popen("run", "--timeout", "3s", IMAGE, "--", "yes", **PIPES)
    assert child.wait(timeout=30) == 1
    assert b"--timeout" in child.communicate()[1]


@pytest.mark.show_01_3
@pytest.mark.parametrize("leave", ["exit", "hangup"])
def test_terminal_is_restored(msb, leave):
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    child = msb.popen("run", IMAGE, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL, start_new_session=True)
    read_until(ours, b"# ")
    assert termios.tcgetattr(theirs) != before
    if leave == "exit":
        os.write(ours, b"stty size; exit 7\n")
        read_until(ours, b"24 80")
    else:
        child.send_signal(signal.SIGHUP)
    assert child.wait(timeout=30) == (7 if leave == "exit" else 129)
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


@pytest.mark.show_01_3
def test_signal_does_not_wait_behind_stdin(msb):
    """The command reads nothing of an endless input; SIGTERM still reaches it at once."""
    endless = subprocess.Popen(["yes"], stdout=subprocess.PIPE)
    child = msb.popen("run", IMAGE, "--", "sh", "-c", "trap 'echo got; exit 5' TERM; echo up; sleep 1000 & wait",
                      stdin=endless.stdout, **PIPES)
    endless.stdout.close()
    assert child.stdout.readline() == b"up\n"
    child.send_signal(signal.SIGTERM)
    assert child.stdout.readline() == b"got\n"
    assert child.wait(timeout=30) == 5
    child.communicate()
    assert endless.wait(timeout=10) == -signal.SIGPIPE


@pytest.mark.show_01_3
def test_end_of_file_after_an_unfinished_line(msb):
    assert msb.run("cat", options=("-t",), input=b"abc").stdout == b"abcabc"
