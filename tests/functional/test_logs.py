# SPDX-License-Identifier: Apache-2.0
"""msb logs: what commands wrote, in any state of the sandbox, while it goes on, and what stands there that is none of ours."""
import errno
import json
import signal
import subprocess

import pytest

from conftest import IMAGE

LINES = 12000  # of 2 KB: the log is rotated twice


@pytest.fixture
def sandbox(msb):
    done = msb("create", "-n", "watched", "-m", "128M", IMAGE)
    assert done.returncode == 0, done.stderr
    yield "watched"
    assert msb("rm", "--force", "watched").returncode == 0


def logs(msb, *args):
    done = msb("logs", *args)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode(errors="surrogateescape")


@pytest.mark.show_03_6
def test_follow_across_rotation_loses_no_line(msb, sandbox, tmp_path):
    with open(tmp_path / "followed", "wb") as out:
        follower = msb.popen("logs", "-f", sandbox, stdout=out, stderr=subprocess.PIPE)
        script = f"yes {'x' * 1990} | head -n {LINES} | cat -n; echo done; echo not that >&2"
        done = msb("exec", sandbox, "--", "sh", "-c", script, stdout=subprocess.DEVNULL, timeout=120)
        assert done.returncode == 0
        assert follower.poll() is None
        assert msb("stop", sandbox).returncode == 0
        assert follower.wait(timeout=20) == 0  # it ends with the sandbox
    assert follower.stderr.read() == b""
    text = (tmp_path / "followed").read_text()
    assert [int(line.split()[0]) for line in text.splitlines() if line.endswith("x")] == list(range(1, LINES + 1))
    files = {p.name: p.stat().st_size for p in (msb.home / "sandboxes" / sandbox / "logs").iterdir()}
    assert {"output.log", "output.log.1", "output.log.2"} <= set(files) and max(files.values()) < 11 << 20
    # All of it is there afterwards, too, and the filters see through the rotation.
    assert logs(msb, sandbox) == text
    assert logs(msb, sandbox, "--source", "stderr") == "not that\n"
    assert logs(msb, sandbox, "--grep", "^d.ne$") == "done\n"
    assert logs(msb, sandbox, "--tail", "2", "--source", "stdout,stderr") == "done\nnot that\n"
    assert logs(msb, sandbox, "--source", "system").startswith("sandbox started\n")


def test_entries_and_what_is_shown_of_them(msb, sandbox):
    script = r"printf '\033[31mred\033[0m\n'; printf 'no end' >&2; printf '\377\n'"
    assert msb("exec", sandbox, "--", "sh", "-c", script).returncode == 0
    assert msb("exec", sandbox, "--", "echo", "second").returncode == 0
    assert sorted(logs(msb, sandbox).splitlines()) == sorted(["red", "no end", "\udcff", "second"])
    assert "\033[31mred\033[0m\n" in logs(msb, sandbox, "--color", "always")
    entries = [json.loads(line) for line in logs(msb, sandbox, "--json").splitlines()]
    assert {(e["s"], e["d"], e.get("e")) for e in entries} == {
        ("stdout", "\033[31mred\033[0m\n", None), ("stderr", "no end", None), ("stdout", "/wo=", "b64"), ("stdout", "second\n", None)}
    first, last = entries[0]["t"], entries[-1]["t"]
    assert entries[-1]["id"] != entries[0]["id"]
    prefixed = logs(msb, sandbox, "--show-id", "--timestamps", "--tail", "1")
    assert prefixed == f"{last} [id:{entries[-1]['id']:3}] second\n"
    assert logs(msb, sandbox, "--since", last) == "second\n"
    assert "second" not in logs(msb, sandbox, "--until", last)
    assert logs(msb, sandbox, "--until", first) == "" and logs(msb, sandbox, "--since", "0s") == ""
    coloured = logs(msb, sandbox, "--color", "always", "--color-sessions", "--tail", "1")
    assert coloured.startswith("\033[3") and coloured.endswith("second\033[0m\n")
    for bad in (("--since", "yesterday"), ("--source", "stdin"), ("--grep", "("), ("--tail", "-1")):
        assert msb("logs", sandbox, *bad).returncode == 2
    assert msb("logs").returncode == 2 and msb("logs", "nobody").returncode == 1


def test_follower_ends_with_its_reader(msb, sandbox):
    follower = msb.popen("logs", "-f", "--source", "system", sandbox, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert follower.stdout.readline() == b"sandbox started\n"
    follower.stdout.close()
    assert follower.wait(timeout=20) in (0, 128 + signal.SIGPIPE)  # seen between two lines, or in the middle of one
    follower = msb.popen("logs", "-f", "--source", "system", sandbox, stdout=subprocess.PIPE)
    assert follower.stdout.readline() == b"sandbox started\n"
    follower.send_signal(signal.SIGINT)
    assert follower.wait(timeout=20) == -signal.SIGINT


def test_damaged_lines_are_passed_over(msb, sandbox):
    assert msb("exec", sandbox, "--", "echo", "before").returncode == 0
    with open(msb.home / "sandboxes" / sandbox / "logs/output.log", "ab") as log:
        log.write(b'{"t":"x"}\n' + b"y" * 300000 + b"\n" + b'{"t":"2026-01-01T00:00:00Z","s":"stdout","d":')
    assert msb("restart", sandbox).returncode == 0
    assert msb("exec", sandbox, "--", "echo", "after").returncode == 0
    done = msb("logs", sandbox)
    assert done.returncode == 0 and done.stdout == b"before\nafter\n"
    assert done.stderr.count(b"\n") == 1 and b"warn: 3 damaged lines" in done.stderr


def test_boot_error_is_kept_until_a_boot_succeeds(msb):
    """Its working directory is no longer one."""
    assert msb("create", "-n", "unbootable", "-m", "128M", "-w", "/root", IMAGE).returncode == 0
    try:
        stored = msb.home / "sandboxes/unbootable/boot-error.json"
        assert msb("exec", "-w", "/", "unbootable", "--", "sh", "-c", "rm -r /root && echo > /root").returncode == 0
        assert msb("stop", "unbootable").returncode == 0 and not stored.exists()
        failed = msb("start", "unbootable")
        assert failed.returncode == 1 and b"working directory /root" in failed.stderr
        done = msb("logs", "unbootable")
        assert done.returncode == 0
        assert b"error: the last boot failed at 20" in done.stderr and b"(config): working directory /root" in done.stderr
        boot = json.loads(msb("logs", "--json", "unbootable").stdout.splitlines()[0])
        assert boot["s"] == "system" and boot["stage"] == "config" and boot["errno"] == errno.ENOTDIR
    finally:
        assert msb("rm", "--force", "unbootable").returncode == 0


def test_a_good_boot_removes_the_boot_error(msb, sandbox):
    stored = msb.home / "sandboxes" / sandbox / "boot-error.json"
    stored.write_text('{"t":"2026-01-01T00:00:00Z","stage":"other","errno":0,"message":"\\u001b[2Jnot nice"}\n')
    done = msb("logs", sandbox)
    assert done.returncode == 0 and b"2026-01-01T00:00:00.000000+00:00 (other): ?[2Jnot nice\n" in done.stderr
    assert msb("restart", sandbox).returncode == 0
    assert not stored.exists() and msb("logs", sandbox).stderr == b""
