# SPDX-License-Identifier: Apache-2.0
"""Sandboxes that stay: each command with its exit status and what it says."""
import concurrent.futures
import functools
import json
import os
import re
import signal
import subprocess
import time

import pytest

from conftest import IMAGE
from sandboxes import PIPES, SMALL, complaint, until

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")


@pytest.mark.show_03_1
def test_workflow(boxes):
    """create, exec, stop, start, rm; what was written stays, what was in memory does not."""
    boxes.create("a", "-e", "GREETING=hello", "--label", "team=core", "--label", "bare")
    assert boxes.states() == {"a": "Running"}
    complaint(boxes("create", "-n", "a", IMAGE), 1, "a already exists (running)", "--replace", "msb rm a")
    complaint(boxes("start", "a"), 1, "a is already running", "msb exec a")
    assert boxes.sh("a", "echo $GREETING; echo kept > /kept; echo gone > /tmp/gone").stdout == b"hello\n"
    assert boxes.ok("stop", "a") == "" and boxes.states() == {"a": "Stopped"}
    assert boxes.ok("stop", "a") == ""  # it is stopped: that is what was asked for
    complaint(boxes("ping", "a"), 1, "a is stopped", "msb start a")
    complaint(boxes("touch", "a"), 1, "a is stopped", "msb start a")
    assert boxes.ok("start", "a") == "" and boxes.states() == {"a": "Running"}
    assert boxes.sh("a", "cat /kept; ls /tmp").stdout == b"kept\n"
    assert re.fullmatch(r"a: \d+\.\d ms\n", boxes.ok("ping", "a")) and boxes.ok("touch", "a") == ""
    complaint(boxes("rm", "a"), 1, "a is still running", "msb stop a", "msb rm --force a")
    assert boxes.ok("restart", "a") == "" and boxes.states() == {"a": "Running"}
    assert boxes.sh("a", "cat /kept").stdout == b"kept\n"
    assert boxes.ok("rm", "-f", "a") == "" and boxes.states() == {}
    for command in ("start", "stop", "restart", "rm", "exec", "ping", "touch", "inspect", "ps", "shell"):
        done = boxes(command, "a", *(("--", "true") if command in ("exec", "shell") else ()))
        complaint(done, 125 if command in ("exec", "shell") else 1, "there is no sandbox named a", "msb ls")


@pytest.mark.show_03_1
def test_command_lines(boxes):
    """What the command line alone shows to be wrong is 2, and nothing is started for it."""
    for args in (("create",), ("create", IMAGE, "--", "true"), ("create", "-n", ".a", IMAGE), ("create", "-n", "a/b", IMAGE),
                 ("create", "-n", "a" * 129, IMAGE), ("create", "--label", "=x", IMAGE),
                 ("create", "--label", "sandbox.x=1", IMAGE), ("create", "--replace-with-timeout", "soon", IMAGE),
                 ("stop",), ("start",), ("rm",), ("restart",), ("ping",), ("touch",), ("inspect",), ("inspect", "a", "b"),
                 ("stop", "-t", "abc", "a"), ("stop", "-t", "-1", "a"), ("restart", "-t", "1.5", "a"), ("stop", "a", "--", "b"),
                 ("exec",), ("exec", "a", "true"), ("exec", "-w", "x", "a", "--", "true"), ("exec", "-e", "=1", "a", "--", "true"),
                 ("exec", "--rlimit", "nofile", "a", "--", "true"), ("exec", "--timeout", "1x", "a", "--", "true"),
                 ("exec", "-t", "--no-tty", "a", "--", "true"), ("exec", "--detach-keys", "ctrl-7", "a", "--", "true"),
                 ("shell", "--shell", "a b", "a"), ("ls", "x"), ("ls", "--format", "yaml"), ("ps", "-a", "x"), ("ps", "x", "y"),
                 ("run", "-d", "-t", IMAGE), ("run", "--name", "-", IMAGE)):
        done = boxes(*args)
        assert done.returncode == 2 and done.stdout == b"", (args, done)
        assert done.stderr.count(b"error:") == 1, (args, done.stderr)
    done = boxes("exec", "a", "true")
    assert b"did you mean: msb exec a -- true" in done.stderr, done.stderr
    assert boxes.states() == {}


@pytest.mark.show_03_1
def test_nothing_there(tmp_path):
    """A home that is not there yet has no sandboxes, and is not made by asking."""
    from sandboxes import Sandboxes
    msb = Sandboxes(tmp_path / "none")
    for args, says in ((("ls",), "No sandboxes found."), (("ls", "--running"), "No running sandboxes."),
                       (("ps",), "No running sandboxes."), (("ps", "-a"), "No sandboxes found.")):
        done = msb(*args)
        assert done.returncode == 0 and done.stdout == b"" and done.stderr.decode().strip() == says, (args, done)
    assert json.loads(msb.ok("ls", "--format", "json")) == [] == json.loads(msb.ok("ps", "--format", "json"))
    assert msb.ok("ls", "-q") == ""
    complaint(msb("stop", "a"), 1, "there is no sandbox named a")
    complaint(msb("exec", "a", "--", "true"), 125, "there is no sandbox named a")
    assert not (tmp_path / "none").exists()


@pytest.mark.show_03_1
def test_exec(boxes):
    boxes.create("a", "-e", "A=box", "-e", "B=box", "-w", "/var", "-u", "user")
    assert boxes.sh("a", "echo $A $B; pwd; id -un; exit 7", "-e", "B=mine").stdout == b"box mine\n/var\nuser\n"
    assert boxes.sh("a", "exit 7").returncode == 7
    assert boxes.sh("a", "pwd; id -u", "-w", "/etc", "-u", "0").stdout == b"/etc\n0\n"
    assert boxes.sh("a", "kill -TERM $$").returncode == 143
    assert boxes.sh("a", "ulimit -n", "--rlimit", "nofile=99").stdout == b"99\n"
    done = boxes.sh("a", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")
    assert boxes("exec", "a", "--", "nosuch").returncode == 127
    assert boxes("exec", "a", "--", "/etc/passwd").returncode == 126
    complaint(boxes("exec", "-w", "/nosuch", "a", "--", "true"), 125, "/nosuch", "-w")
    complaint(boxes("exec", "-u", "nobody-here", "a", "--", "true"), 125, "nobody-here", "-u")
    assert boxes("exec", "a", "--", "cat", input=b"through").stdout == b"through"
    assert boxes("shell", "a", "--", "echo $A;", "exit 5").stdout == b"box\n"
    assert boxes("shell", "a", input=b"echo one\necho two; exit 6\n").returncode == 6
    assert boxes("shell", "a", input=b" \n\t\n").returncode == 0
    assert boxes("exec", "-t", "a", "--", "tty").stdout.startswith(b"/dev/pts/")
    # A session is over with its command; the sandbox is not.
    assert boxes.states() == {"a": "Running"}


@pytest.mark.show_03_1
def test_time_limit_ends_the_command(boxes):
    """--timeout, and a reader that goes away: the command does not run on."""
    boxes.create("a")
    start = time.monotonic()
    done = boxes("exec", "--timeout", "1s", "a", "--", "sleep", "1234")
    assert done.returncode == 1 and b"longer than 1 s (--timeout)" in done.stderr, done
    assert time.monotonic() - start < 5
    child = boxes.popen("exec", "a", "--", "yes", "1234", **PIPES)
    assert child.stdout.readline() == b"1234\n"
    child.stdout.close()
    assert child.wait(timeout=10) == 141 and child.stderr.read() == b""
    until(lambda: b"1234" not in boxes.sh("a", "ps -o args | grep -v grep").stdout, 5, "the end of both commands")


@pytest.mark.show_03_1
def test_started_for_a_command(boxes):
    """exec starts what is stopped, and the last session that uses it stops it."""
    boxes.create("a")
    boxes.ok("stop", "a")
    first = boxes.popen("exec", "a", "--", "sh", "-c", "echo up; cat", stdin=-1, **PIPES)
    assert first.stdout.readline() == b"up\n"
    second = boxes.popen("exec", "a", "--", "sh", "-c", "echo up; cat", stdin=-1, **PIPES)
    assert second.stdout.readline() == b"up\n"
    first.stdin.close()
    assert first.wait(timeout=20) == 0 and boxes.states() == {"a": "Running"}
    second.stdin.close()
    assert second.wait(timeout=20) == 0
    until(lambda: boxes.states() == {"a": "Stopped"}, 10, "its end")
    # Also when the command fails, and when it cannot be started.
    assert boxes.sh("a", "exit 9").returncode == 9
    until(lambda: boxes.states() == {"a": "Stopped"}, 10, "its end")
    assert boxes("exec", "a", "--", "nosuch").returncode == 127
    until(lambda: boxes.states() == {"a": "Stopped"}, 10, "its end")
    # And when the CLI is killed.
    child = boxes.popen("exec", "a", "--", "sh", "-c", "echo up; sleep 1000", **PIPES)
    assert child.stdout.readline() == b"up\n"
    child.kill()
    child.wait()
    until(lambda: boxes.states() == {"a": "Stopped"}, 15, "its end")


@pytest.mark.show_03_1
def test_run_by_name(boxes):
    run = ("run", "--name", "a", *SMALL)
    done = boxes(*run, IMAGE, "--", "sh", "-c", "echo kept > /kept; exit 4")
    assert (done.returncode, done.stdout, done.stderr) == (4, b"", b"")
    assert boxes.states() == {"a": "Stopped"}
    # Again: the same sandbox. Options of creation are ignored, with one warning.
    done = boxes("run", "--name", "a", "-m", "256M", "-e", "X=1", IMAGE, "--", "sh", "-c", "cat /kept; echo $X")
    assert (done.returncode, done.stdout) == (0, b"kept\n\n"), done
    assert done.stderr.count(b"warn:") == 1 and b"--replace" in done.stderr and len(done.stderr.splitlines()) == 1
    assert boxes.states() == {"a": "Stopped"}
    complaint(boxes("run", "--name", "a", "other:1", "--", "true"), 125, IMAGE, "other:1", "--replace")
    # One that runs already is used, and not stopped.
    boxes.ok("start", "a")
    assert boxes("run", "--name", "a", IMAGE, "--", "cat", "/kept").stdout == b"kept\n"
    assert boxes.states() == {"a": "Running"}
    # Anew.
    assert boxes(*run, "--replace", IMAGE, "--", "ls", "/kept").returncode == 1
    assert boxes.states() == {"a": "Stopped"}
    # A command that is not there: the sandbox is, since it was asked for by name.
    assert boxes("run", "--name", "b", *SMALL, IMAGE, "--", "nosuch").returncode == 127


@pytest.mark.show_03_1
def test_replace(boxes):
    boxes.create("a", "-e", "N=1")
    boxes.sh("a", "echo kept > /kept")
    start = time.monotonic()
    boxes.create("a", "-e", "N=2", "--replace-with-timeout", "500ms")
    assert boxes.sh("a", "echo $N; ls /kept").stdout == b"2\n"
    boxes.create("a", "-e", "N=3", "--replace-with-timeout", "0")
    assert boxes.sh("a", "echo $N").stdout == b"3\n"
    assert time.monotonic() - start < 20
    boxes.ok("stop", "a")
    boxes.create("a", "--replace")
    boxes.create("b", "--replace")  # nothing to replace
    assert boxes.states() == {"a": "Running", "b": "Running"}


@pytest.mark.show_03_1
def test_detached(boxes):
    """run -d prints the name and is gone; the supervisor runs the command."""
    name = boxes.ok("run", "-d", *SMALL, IMAGE, "--", "sh", "-c", "read x < /go 2>/dev/null; while ! [ -e /go ]; do sleep 0.1; done")
    assert re.fullmatch(r"msb-[0-9a-f]{8}\n", name)
    name = name.strip()
    assert boxes.states() == {name: "Running"}
    boxes.sh(name, "touch /go")
    until(lambda: boxes.states() == {}, 15, "its removal")
    assert boxes.ok("run", "-d", "--name", "w", *SMALL, IMAGE, "--", "sh", "-c", "exit 3") == "w\n"
    until(lambda: boxes.states() == {"w": "Stopped"}, 15, "its end")
    assert "status 3" in boxes.ok("inspect", "w")
    done = boxes("run", "-d", "--name", "w", IMAGE, "--", "true")
    assert done.stdout == b"w\n" and done.stderr.count(b"warn:") == 1 and boxes.states() == {"w": "Running"}
    done = boxes("run", "-d", *SMALL, IMAGE, "--", "nosuch")
    assert done.returncode == 127 and done.stdout == b"" and done.stderr.count(b"error:") == 1, done
    done = boxes("run", "-d", "--name", "x", *SMALL, IMAGE, "--", "/etc/passwd")
    assert done.returncode == 126 and done.stdout == b"", done
    assert boxes.states() == {"w": "Running"}
    # Killed by force, one without a name of the user's is removed by whoever notices.
    name = boxes.ok("run", "-d", *SMALL, IMAGE, "--", "sleep", "1000").strip()
    os.kill(boxes.supervisor(name), signal.SIGKILL)
    until(lambda: boxes.states() == {"w": "Running"}, 10, "its removal")


@pytest.mark.show_03_1
def test_many_names(boxes):
    """By name and by label; what fails does not stop the others."""
    boxes.create("a", "--label", "team=core", "--label", "x=1")
    boxes.create("b", "--label", "team=core")
    boxes.create("c")
    assert sorted(boxes.ok("ls", "-q", "--label", "team").split()) == ["a", "b"]
    assert boxes.ok("ls", "-q", "--label", "team=core", "--label", "x=1") == "a\n"
    assert boxes.ok("ps", "-q", "--label", "team=core") == "a\nb\n"
    done = boxes("stop", "--label", "team=core", "nosuch", "a")
    assert done.returncode == 1 and done.stderr.count(b"error:") == 1 and b"nosuch" in done.stderr, done
    assert boxes.states() == {"a": "Stopped", "b": "Stopped", "c": "Running"}
    assert boxes.ok("ls", "-q", "--running") == "c\n" and boxes.ok("ls", "-q", "--stopped") == "b\na\n"
    done = boxes("start", "--label", "team=nobody")
    assert done.returncode == 0 and done.stdout == b"" and done.stderr.startswith(b"warn: no sandbox has"), done
    done = boxes("start", "c", "b")
    assert done.returncode == 1 and b"c is already running" in done.stderr
    assert boxes.states() == {"a": "Stopped", "b": "Running", "c": "Running"}
    assert boxes.ok("rm", "-f", "--label", "team", "b") == "" and boxes.states() == {"c": "Running"}


@pytest.mark.show_03_1
def test_what_is_shown(boxes):
    boxes.create("one", "-c", "2", "-e", "KEY=value", "--label", "l=1", "-w", "/tmp", "--tmpfs", "/scratch:10M:ro")
    boxes.ok("run", "-d", "--name", "two", *SMALL, IMAGE, "--", "sleep", "1000")
    boxes.ok("stop", "-t", "0", "two")
    listed = boxes.list()
    assert [set(s) for s in listed] == [{"name", "status", "created_at", "image"}] * 2
    assert [(s["name"], s["status"], s["image"]) for s in listed] == [("two", "Stopped", IMAGE), ("one", "Running", IMAGE)]
    assert all(TIME.fullmatch(s["created_at"]) for s in listed)
    lines = boxes.ok("ls").splitlines()
    assert lines[0].split() == ["NAME", "IMAGE", "STATUS", "CREATED"] and len(lines) == 3
    assert lines[1].split()[:3] == ["two", IMAGE, "stopped"] and not lines[1].endswith(" ")
    rows = json.loads(boxes.ok("ps", "-a", "--format", "json"))
    assert [r["name"] for r in rows] == ["one", "two"]
    assert rows[0] == {"name": "one", "status": "Running", "image": IMAGE, "command": None, "cpus": 2, "max_cpus": 2,
                       "memory_mib": 128, "max_memory_mib": 128, "thp": None, "ports": []}
    assert rows[1]["command"] == ["sleep", "1000"]
    assert json.loads(boxes.ok("ps", "--format", "json", "two")) == rows[1]  # one object
    assert [r["name"] for r in json.loads(boxes.ok("ps", "--format", "json"))] == ["one"]
    lines = boxes.ok("ps", "-a").splitlines()
    assert lines[0].split() == ["NAME", "IMAGE", "COMMAND", "CPUS", "MEM", "STATUS", "PORTS"]
    assert '"sleep 1000"' in lines[2] and lines[1].split()[2:] == ["-", "2", "128M", "running", "-"]
    seen = json.loads(boxes.ok("inspect", "one", "--format", "json"))
    assert {"name", "status", "config", "created_at", "updated_at", "active_config", "pending_changes"} <= set(seen)
    assert seen["config"]["env"] == ["KEY=value"] and seen["config"]["image"] == IMAGE and seen["pending_changes"] == []
    assert seen["active_config"] == seen["config"] and seen["config"]["digest"].startswith("sha256:")
    assert json.loads(boxes.ok("inspect", "two", "--format", "json"))["active_config"] is None
    text = boxes.ok("inspect", "one")
    for line in ("Name:           one", "Status:         running", "KEY=value", "l=1", "/scratch → tmpfs (ro)"):
        assert line in text, text


def at_once(*works):
    """They wait most of the time: side by side. The first failure is raised."""
    with concurrent.futures.ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(work) for work in works]:
            done.result()


def state(boxes, name):
    return boxes.states()[name]


def slow_writer(boxes, grace, least, most, writes, *disk):
    """6 s after SIGTERM it has written: when it got 10 s, and not when it got 2."""
    name = f"slow-{grace}"
    boxes.create(name, *disk)
    child = boxes.popen("exec", name, "--", "sh", "-c", "trap 'sleep 6; echo done > /done; echo done; exit' TERM; echo up;"
                        " while :; do sleep 0.1; done", **PIPES)
    assert child.stdout.readline() == b"up\n"
    start = time.monotonic()
    boxes.ok("stop", "-t", grace, name)
    took = time.monotonic() - start
    print(f"a process that needs 6 s: stop -t {grace} took {took:.2f} s")
    assert least <= took <= most, (grace, took)
    assert child.communicate(timeout=10)[0] == (b"done\n" if writes else b"")
    boxes.ok("start", name)
    assert boxes.sh(name, "cat /done").stdout == (b"done\n" if writes else b"")


def deaf(boxes, who):
    """One of its processes was stopped by a signal: stop -t 2 still ends."""
    boxes.create(who)
    pid = boxes.supervisor(who) if who == "supervisor" else boxes.below(who).get(who)
    if not pid:
        return  # this back end has none
    os.kill(pid, signal.SIGSTOP)
    assert state(boxes, who) == "Running"
    start = time.monotonic()
    boxes.ok("stop", "-t", "2", who)
    took = time.monotonic() - start
    print(f"a {who} that was stopped by a signal: stop -t 2 took {took:.1f} s")
    assert took < 7 and state(boxes, who) == "Stopped"
    boxes.ok("start", who)
    assert boxes.sh(who, "echo hi").stdout == b"hi\n"


@pytest.mark.show_03_3
def test_grace(boxes):
    """The guest gets its whole grace, and no more."""
    # What is timed exactly has nothing to write back when it ends: other tests may keep this machine's disks busy.
    at_once(lambda: slow_writer(boxes, "10", 6, 10, True), lambda: slow_writer(boxes, "2", 1.5, 2.5, False, "--root-disk", "tmpfs"),
            *(functools.partial(deaf, boxes, who) for who in ("qemu", "monitor", "supervisor")))


@pytest.mark.show_03_3
def test_stop_while_it_starts(boxes):
    boxes.create("a")
    boxes.ok("stop", "a")
    for wait_s in (0.0, 0.1, 0.8):
        starting = boxes.popen("start", "a", **PIPES)
        until(lambda: boxes.states()["a"] != "Stopped", 5, "its start")
        time.sleep(wait_s)
        start = time.monotonic()
        boxes.ok("stop", "-t", "2", "a")
        assert time.monotonic() - start < 7
        assert starting.wait(timeout=10) in (0, 1)
        said = starting.stderr.read()
        assert starting.returncode == 0 or said.count(b"error:") == 1, said
        assert boxes.states() == {"a": "Stopped"}


@pytest.mark.show_03_3
def test_two_stops_at_once(boxes):
    boxes.create("a")
    deaf = boxes.popen("exec", "a", "--", "sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done", **PIPES)
    assert deaf.stdout.readline() == b"up\n"
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        done = [pool.submit(boxes, "stop", "-t", t, "a") for t in ("30", "3", "3")]
        assert [d.result().returncode for d in done] == [0, 0, 0]
    took = time.monotonic() - start
    print(f"stop -t 30 and two of -t 3 at once: {took:.1f} s")
    assert took < 5.5  # the shortest counts; -t 30 alone would be ended by force at 6.5
    assert boxes.states() == {"a": "Stopped"}
    deaf.wait(timeout=10)


def idle(boxes):
    """3 s without use; a ping is none, a command is, a touch is."""
    boxes.create("idle", "--idle-timeout", "3s")
    start = time.monotonic()
    until(lambda: state(boxes, "idle") == "Stopped", 6, "its end")
    took = time.monotonic() - start
    print(f"idle for 3 s: stopped after {took:.1f} s")
    assert 2.5 <= took <= 4 and "--idle-timeout" in boxes.ok("inspect", "idle")
    boxes.ok("start", "idle")
    assert boxes("exec", "idle", "--", "sleep", "9").returncode == 0
    ended = time.monotonic()
    assert state(boxes, "idle") == "Running"
    until(lambda: time.monotonic() > ended + 2, 3)
    boxes.ok("touch", "idle")
    ended = time.monotonic()
    while time.monotonic() < ended + 2.5:
        boxes("ping", "idle")
    until(lambda: state(boxes, "idle") == "Stopped", 3, "its end")
    assert 2.9 <= time.monotonic() - ended <= 4.2


def longest(boxes):
    """No CLI is alive when it comes; a command that runs then ends with an error."""
    boxes.create("max", "--max-duration", "3s")
    start = time.monotonic()
    until(lambda: state(boxes, "max") == "Stopped", 6, "its end")
    took = time.monotonic() - start
    print(f"--max-duration 3s: ended after {took:.2f} s")
    assert 2.4 <= took <= 3.5 and "--max-duration" in boxes.ok("inspect", "max")
    boxes.ok("start", "max")
    start = time.monotonic()
    done = boxes("exec", "max", "--", "sleep", "1000")
    assert done.returncode == 1 and b"--max-duration" in done.stderr and done.stderr.count(b"error:") == 1, done
    assert 2.4 <= time.monotonic() - start <= 3.6


@pytest.mark.show_03_4
def test_timers(boxes):
    at_once(lambda: idle(boxes), lambda: longest(boxes))


@pytest.mark.show_03_6
def test_loop_that_reads_a_list(boxes, tmp_path):
    """exec hands its standard input on: in a loop that reads a list, it needs < /dev/null, as with ssh."""
    boxes.create("a")
    (tmp_path / "list").write_text("one\ntwo\nthree\n")
    env = dict(boxes.env, PATH=f"{boxes.command[0].parent}:{os.environ['PATH']}")

    def loop(redirect):
        return subprocess.run(["sh", "-c", f'while read x; do msb exec a -- sh -c "echo got $x; cat" {redirect}; done < list'],
                              env=env, cwd=tmp_path, capture_output=True, timeout=60).stdout
    assert loop("< /dev/null") == b"got one\ngot two\ngot three\n"
    assert loop("") == b"got one\ntwo\nthree\n"
    assert loop("").count(b"got") == 1
