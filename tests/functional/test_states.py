# SPDX-License-Identifier: Apache-2.0
"""Four processes do random things to three sandboxes and kill what belongs to them. No sandbox is ever stuck, in two
states, or poorer than what its guest had written to the disk; nothing is left of one that is not listed."""
import collections
import contextlib
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import time
import traceback

import pytest

from conftest import IMAGE, SEED, processes_of
from leftovers import descendants, reap
from sandboxes import PIPES, SMALL, Sandboxes, kill_everything, until

LONG = bool(os.environ.get("MSB_LONG"))
SECONDS, ROUND_S, WORKERS = (600 if LONG else 45), (30 if LONG else 15), 4
NAMES = ("a", "b", "c")
STUCK_S = 20
# What a command may end with: what it did, or that the sandbox was not in the right state, or died under it.
STATES = {"Created", "Starting", "Running", "Draining", "Stopped", "Crashed"}
# Numbers of its own, each above all that are on the disk: without a lock, since a command may be killed at any moment.
COUNT = ("mkdir -p /c; n=$(cat /c/*/n 2>/dev/null | sort -n | tail -n 1); n=${n:-0};"
         " until mkdir /c/$((n += 1)) 2>/dev/null || [ $n -gt 99999 ]; do :; done; echo $n > /c/$n/n; sync; echo $GEN $n")


class Worker:
    def __init__(self, home, seed, seen, lock):
        self.msb, self.dice, self.seen, self.lock = Sandboxes(home), random.Random(seed), seen, lock
        self.done = collections.Counter()

    def command(self, kind, name):
        gen = f"GEN={self.dice.getrandbits(64):016x}"
        count = ("--", "sh", "-c", COUNT)
        return {
            "create": ("create", "-q", "-n", name, "-e", gen, *SMALL, IMAGE),
            "replace": ("create", "-q", "-n", name, "--replace-with-timeout", "0", "-e", gen, *SMALL, IMAGE),
            "run": ("run", "-q", "--name", name, "-e", gen, *SMALL, IMAGE, *count),
            "run -d": ("run", "-q", "-d", "--name", name, "-e", gen, *SMALL, IMAGE, "--", "sleep", "2"),
            "exec": ("exec", name, *count),
            "shell": ("shell", name, "--", COUNT),
            "start": ("start", name),
            "stop": ("stop", "-t", "2", name),
            "stop -f": ("stop", "-f", name),
            "restart": ("restart", "-t", "1", name),
            "rm": ("rm", name),
            "rm -f": ("rm", "-f", name),
            "ping": ("ping", name),
            "touch": ("touch", name),
            "ps": ("ps", "-a"),
        }[kind]

    def known(self):
        with self.lock:
            return dict(self.seen)

    def counted(self, out, before):
        """What a guest says it has written: more than it had said before this command began."""
        for line in out.decode().splitlines():
            words = line.split()
            if len(words) != 2 or len(words[0]) != 16:
                continue
            gen, n = words[0], int(words[1])
            assert n > before.get(gen, 0), f"sandbox {gen} had written {before[gen]}, now counts {n}"
            with self.lock:
                self.seen[gen] = max(n, self.seen.get(gen, 0))

    def kill_part(self):
        """SIGKILL to a supervisor, a monitor or a QEMU."""
        with contextlib.closing(sqlite3.connect(f"file:{self.msb.home}/db/msb.db?mode=ro", uri=True, timeout=30)) as db:
            pids = [r[0] for r in db.execute("SELECT pid FROM sandbox WHERE state IN (1, 2, 3)")]
        ours = set(processes_of(self.msb.home))
        targets = []
        for pid in filter(ours.__contains__, pids):
            targets.append(("supervisor", pid))
            for child in descendants(pid):
                with contextlib.suppress(OSError):
                    program = os.readlink(f"/proc/{child}/exe").rsplit("/", 1)[-1]
                    targets.append(("qemu" if program.startswith("qemu") else "monitor", child))
        if targets:
            what, pid = self.dice.choice(targets)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.done["kill " + what] += 1

    def step(self):
        kinds = (["create", "run", "start"] * 3 + ["exec"] * 8 + ["shell"] * 2 +
                 ["replace", "run -d", "stop", "stop -f", "restart", "rm", "rm -f", "ping", "touch", "ps"])
        if self.dice.random() < 0.08:
            self.kill_part()
        kind, name = self.dice.choice(kinds), self.dice.choice(NAMES)
        before, killed = self.known(), self.dice.random() < 0.1
        child = self.msb.popen(*self.command(kind, name), **PIPES)
        try:
            out, err = child.communicate(timeout=self.dice.uniform(0, 1.5) if killed else 60)
        except subprocess.TimeoutExpired:
            assert killed, f"{kind} {name} has not ended after 60 s"
            child.kill()
            out, err = child.communicate()
            self.done["kill CLI"] += 1
        else:
            assert child.returncode >= 0 and child.returncode != 2 and err.count(b"error:") <= 1, (kind, child.returncode, err)
            self.done["failed" if child.returncode else "succeeded"] += 1
        self.done[kind] += 1
        if kind in ("run", "exec", "shell"):
            self.counted(out, before)
        start = time.monotonic()
        listed = self.msb.list()
        took = time.monotonic() - start
        assert took < 2, f"ls took {took:.1f} s"
        assert len({s["name"] for s in listed}) == len(listed) and {s["status"] for s in listed} <= STATES, listed

    def run(self, end, results):
        try:
            while time.monotonic() < end:
                self.step()
            results.put((self.done, None))
        except BaseException:
            results.put((self.done, traceback.format_exc()))


def check_quiet(msb, dice):
    """Nobody works on them: what is listed is what there is."""
    def settled():
        reap()
        return not any(s in ("Starting", "Draining") for s in msb.states().values())
    until(settled, STUCK_S, "the end of starts and stops")
    deadline = time.monotonic() + STUCK_S
    while True:  # a machine that was just killed may need a moment to be noticed
        states = msb.states()
        wrong = [(n, s) for n, s in states.items() if (s == "Running") != (msb("ping", n, timeout=STUCK_S).returncode == 0)]
        if not wrong:
            break
        assert time.monotonic() < deadline, f"running is not what answers: {wrong}"
    until(lambda: set(os.listdir(msb.home / "sandboxes")) - {".lock"} == set(msb.states()), 5, "only listed directories")
    running = [msb.supervisor(n) for n, s in msb.states().items() if s == "Running"]
    until(lambda: not set(processes_of(msb.home)) - set(running) - {p for s in running for p in descendants(s)}, 5,
          "only processes of what runs")
    for name, state in msb.states().items():
        start = time.monotonic()
        done = msb(*dice.choice([("exec", name, "--", "true"), ("restart", name), ("stop", name), ("rm", "-f", name)] if state == "Running"
                                else [("exec", name, "--", "true"), ("start", name), ("stop", name), ("rm", name)]), timeout=60)
        assert done.returncode == 0, (name, state, done)
        assert time.monotonic() - start < STUCK_S
    return len(states)


def kill_some(msb, dice, total):
    """Of what runs now: a supervisor of one, the machine of another."""
    running = [n for n, s in msb.states().items() if s == "Running"]
    if not running:
        msb.ok("rm", "-f", *msb.states()) if msb.states() else None
        msb.create("a")
        running = ["a"]
    dice.shuffle(running)
    for name, what in zip(running, dice.sample(["supervisor", "qemu"], 2)):
        pid = msb.supervisor(name) if what == "supervisor" else msb.below(name).get(what, msb.supervisor(name))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            total["kill " + what] += 1


@pytest.mark.show_03_2
def test_random_commands_and_kills(boxes, dice):
    total, end, rounds = collections.Counter(), time.monotonic() + SECONDS, 0
    with multiprocessing.Manager() as manager:
        seen, lock, results = manager.dict(), manager.Lock(), manager.Queue()
        while time.monotonic() < end:
            until_ = min(time.monotonic() + ROUND_S, end)
            workers = [multiprocessing.Process(target=Worker(boxes.home, f"{SEED} {rounds} {i}", seen, lock).run,
                                               args=(until_, results)) for i in range(WORKERS)]
            for w in workers:
                w.start()
            failures = []
            for _ in workers:
                done, failure = results.get(timeout=ROUND_S + 120)
                total += done
                failures += [failure] if failure else []
                reap()
            for w in workers:
                w.join(10)
            assert not failures, "\n".join(failures)
            kill_some(boxes, dice, total)
            check_quiet(boxes, dice)
            if "a" in boxes.states():  # what a kill leaves is what was written
                before = dict(seen)
                Worker(boxes.home, 0, seen, lock).counted(boxes.ok("exec", "a", "--", "sh", "-c", COUNT).encode(), before)
            rounds += 1
        counts = {g: n for g, n in dict(seen).items()}
    kills = sum(n for k, n in total.items() if k.startswith("kill"))
    print(f"{SECONDS} s, seed {SEED}, {rounds} rounds: {dict(sorted(total.items()))}; {kills} kills; "
          f"{len(counts)} sandboxes counted to {sum(counts.values())}")
    if LONG:
        kinds = {k: n for k, n in total.items() if not k.startswith("kill") and k not in ("failed", "succeeded")}
        assert len(kinds) >= 12 and min(kinds.values()) >= 10 and kills >= 60, total
    assert total["succeeded"] >= 20 and kills > 3
    kill_everything(boxes)
