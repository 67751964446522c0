# SPDX-License-Identifier: Apache-2.0
"""Large streams and scripts through the sessions of a sandbox that stays."""
import contextlib
import hashlib
import os
import pathlib
import random
import re
import subprocess
import threading

import pytest

from conftest import SEED
from sandboxes import PIPES, until

pytestmark = pytest.mark.show_03_6
BYTES = (1 << 30) if os.environ.get("MSB_LONG") else 64 << 20
CHUNK = 1 << 20
MEMORY_KIB = 16 << 10  # of msb, and of the supervisor, beyond what it had


def peak_kib(pid):
    """The most anonymous memory it ever had. VmHWM also counts pages of the program and its libraries."""
    return int(re.search(r"VmHWM:\s*(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1))


def test_large_stream(boxes):
    """Exact both ways, in memory that does not grow with it."""
    boxes.create("a")
    supervisor = boxes.supervisor("a")
    before = peak_kib(supervisor)
    dice = random.Random(SEED)
    block = dice.randbytes(CHUNK)
    sent, got, length = hashlib.sha256(), hashlib.sha256(), 0
    child = boxes.popen("exec", "a", "--", "cat", stdin=subprocess.PIPE, **PIPES)

    def feed():
        for i in range(BYTES // CHUNK):
            data = i.to_bytes(8, "little") + block[8:]
            sent.update(data)
            child.stdin.write(data)
        child.stdin.close()
    feeder = threading.Thread(target=feed)
    feeder.start()
    peak = 0
    while data := child.stdout.read(CHUNK):
        got.update(data)
        length += len(data)
        with contextlib.suppress(OSError, AttributeError):
            peak = max(peak, peak_kib(child.pid))
    feeder.join()
    assert child.wait(timeout=20) == 0 and child.stderr.read() == b""
    grown = peak_kib(supervisor) - before
    print(f"{length >> 20} MB through exec: msb at most {peak} KiB, supervisor {grown} KiB more than before")
    assert length == BYTES and got.digest() == sent.digest()
    assert peak < MEMORY_KIB and grown < MEMORY_KIB


def test_reader_that_does_not_read(boxes):
    """One session is stuck; others are not, and nothing grows."""
    boxes.create("a")
    before = peak_kib(boxes.supervisor("a"))
    stuck = boxes.popen("exec", "a", "--", "yes", **PIPES)
    assert stuck.stdout.read(10) == b"y\n" * 5
    for _ in range(5):
        assert boxes.sh("a", "echo free").stdout == b"free\n"
    assert boxes("exec", "a", "--", "head", "-c", "3000000", "/dev/zero").stdout == bytes(3000000)
    assert peak_kib(boxes.supervisor("a")) - before < MEMORY_KIB
    stuck.kill()
    stuck.communicate()


def test_scripts(boxes, tmp_path):
    """Here-documents and files as standard input of exec and shell."""
    boxes.create("a", "-e", "WHO=guest")
    script = tmp_path / "script"
    script.write_text('echo "from $WHO"\nread line || echo no more\nexit 3\n')
    env = dict(boxes.env, PATH=f"{boxes.command[0].parent}:{os.environ['PATH']}")

    def sh(text):
        return subprocess.run(["sh", "-c", text], env=env, cwd=tmp_path, capture_output=True, timeout=60)
    done = sh("msb shell a < script")
    assert (done.returncode, done.stdout) == (3, b"from guest\nno more\n"), done
    done = sh("msb shell a <<'E'\necho \"here $WHO\"\nE")
    assert (done.returncode, done.stdout) == (0, b"here guest\n"), done
    done = sh("msb exec a -- sh < script")  # the shell reads its script, and so does `read`
    assert (done.returncode, done.stdout) == (0, b"from guest\n") or done.returncode == 3, done
    done = sh("msb exec a -- tr a-z A-Z <<E\nhello\nE")
    assert (done.returncode, done.stdout) == (0, b"HELLO\n"), done
    done = sh("head -c 1048577 /dev/zero | tr '\\0' ' ' | msb shell a")
    assert done.returncode == 125 and b"longer than 1 MiB" in done.stderr and done.stderr.count("→".encode()) == 1, done
    assert sh("head -c 1000 /dev/zero | msb shell a").returncode == 125


def test_output_of_a_command_that_was_left(boxes):
    """Its CLI was killed: the command runs on to its end, its output is kept for msb logs."""
    boxes.create("a")
    child = boxes.popen("exec", "a", "--", "sh", "-c", "echo up; read x; echo input ended; sleep 0.5; echo done > /done",
                        stdin=subprocess.PIPE, **PIPES)
    assert child.stdout.readline() == b"up\n"
    child.kill()
    child.communicate()
    until(lambda: boxes.sh("a", "cat /done").stdout == b"done\n", 10, "its end")
    log = (boxes.home / "sandboxes/a/logs/output.log").read_text()
    assert '"d":"input ended\\n"' in log
