# SPDX-License-Identifier: Apache-2.0
"""Issue line 01.4: many runs, runs side by side, and SIGKILL of every part in every phase, leave nothing behind."""
import os
import signal
import subprocess
import time

import pytest

from conftest import IMAGE, Msb
from leftovers import Census, descendants

LONG = bool(os.environ.get("MSB_LONG"))
ON_KVM = os.environ.get("MSB_HYPERVISOR") == "kvm"
MEMORY_KIB = 20 * 1024
PHASES = ("boot", "run", "teardown")
VICTIMS = {"msb": "msb", "supervisor": "msb-supervisor", "monitor": "msb-monitor"}
if not ON_KVM:
    VICTIMS["qemu"] = "qemu-system-x86"


@pytest.fixture
def place(home, tmp_path):
    """msb with a TMPDIR of its own, and what both folders looked like before."""
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    msb = Msb(home)
    msb.env["TMPDIR"] = str(scratch)
    assert msb.run("true").returncode == 0
    yield msb, Census(home, scratch)


@pytest.mark.show_01_4
def test_one_after_the_other(place):
    msb, census = place
    runs = 200 if LONG else 5 if ON_KVM else 40  # KVM here is the rig: slow
    for i in range(runs):
        assert msb.run("echo", str(i)).stdout == b"%d\n" % i
        census.check(memory_kib=MEMORY_KIB)
    print(runs, "runs")


@pytest.mark.show_01_4
def test_eight_at_once(place):
    msb, census = place
    children = [msb.popen("run", "-m", "128M", IMAGE, "--", "echo", str(i), stdout=subprocess.PIPE) for i in range(8)]
    for i, child in enumerate(children):
        assert child.communicate(timeout=180)[0] == b"%d\n" % i
        assert child.returncode == 0
    census.check(memory_kib=MEMORY_KIB)


class Run:
    """One sandbox whose phases are read from its timeline (base/timeline.h), so a kill is known to hit the phase."""

    def __init__(self, msb, timeline):
        self.timeline = timeline
        env = dict(msb.env, MSB_TIMELINE=str(timeline))
        self.child = subprocess.Popen([*msb.command, "run", IMAGE, "--", "sh", "-c", "echo up; read x; exit 0"], env=env,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def marks(self):
        try:
            return {line.split(" ", 1)[1] for line in self.timeline.read_text().splitlines()}
        except OSError:
            return set()

    def wait_mark(self, name):
        end = time.monotonic() + 60
        while name not in self.marks():
            assert self.child.poll() is None or name == "torn down", f"ended before {name}: {self.child.stderr.read()}"
            assert time.monotonic() < end, f"no {name} after 60 s"

    def find(self, comm):
        """The living process of this name; one that waits to be reaped is dead."""
        for pid in [self.child.pid] + descendants(self.child.pid):
            try:
                with open(f"/proc/{pid}/stat") as f:
                    name, rest = f.read().split("(", 1)[1].rsplit(")", 1)
                if name == comm[:15] and rest.split()[0] != "Z":
                    return pid
            except OSError:
                continue
        return None

    def phase(self):
        marks = self.marks()
        if "torn down" in marks:
            return "over"
        if "command ended" in marks:
            return "teardown"
        return "run" if "command started" in marks else "boot"


def kill_in(run, victim, phase, dice):
    """SIGKILL the victim at a moment of the phase that the dice choose. Return: False when it was not there any more."""
    comm = VICTIMS[victim]
    if phase == "boot":
        run.wait_mark(dice.choice(["main", "supervisor", "monitor", "agent hello"] if victim == "msb" else
                                  ["monitor", "agent hello"]))
        while (pid := run.find(comm)) is None and run.phase() == "boot":
            pass
        delay = dice.uniform(0, 0.2)
    else:
        assert run.child.stdout.readline() == b"up\n"
        pid = run.find(comm)
        delay = dice.uniform(0, 0.3)
    if phase == "teardown":
        run.child.stdin.close()
        run.wait_mark("command ended")
        delay = dice.uniform(0, 0.004)
    end = time.monotonic() + delay
    while time.monotonic() < end and run.phase() == phase:
        pass
    if pid is None or run.phase() != phase:
        return False
    if victim == "supervisor":
        # The others are to end by themselves: not because the CLI ends them, nor because the guest powers off.
        for other in (run.child.pid, run.find("qemu-system-x86")):
            if other:
                os.kill(other, signal.SIGSTOP)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def finish(run, victim):
    """The CLI, when it lives, ends soon and says at most one thing."""
    if run.child.stdin and not run.child.stdin.closed:
        run.child.stdin.close()
    run.child.stdin = None
    out, err = run.child.communicate(timeout=20)
    if victim != "msb":
        assert run.child.returncode in (0, 1, 125), (run.child.returncode, err)
        assert err.count(b"error:") == (run.child.returncode != 0), err


@pytest.mark.show_01_4
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("victim", list(VICTIMS))
def test_killed(place, tmp_path, dice, victim, phase):
    """Each of the 12 pairs once, in the long run five times: 60 kills."""
    msb, census = place
    hits = tries = 0
    wanted = 5 if LONG else 1
    while hits < wanted:
        tries += 1
        assert tries <= 40 * wanted, f"only {hits} of {wanted} kills hit {phase}"
        run = Run(msb, tmp_path / f"timeline{tries}")
        hit = kill_in(run, victim, phase, dice)
        killed_at = time.monotonic()
        if hit and victim == "supervisor":
            while [p for p in (run.find("msb-monitor"), run.find("qemu-system-x86")) if p]:
                assert time.monotonic() - killed_at <= 1, "monitor or QEMU outlived the supervisor by more than 1 s"
        run.child.send_signal(signal.SIGCONT)
        hits += hit
        finish(run, victim)
        (tmp_path / f"timeline{tries}").unlink(missing_ok=True)
        end = time.monotonic() + 3
        while census.processes_left() and time.monotonic() < end:
            os.sched_yield()
        assert msb("images", "-q").returncode == 0  # the next command sweeps
        census.check(memory_kib=MEMORY_KIB)
    print(f"{victim} killed {hits} times in {phase}, {tries} sandboxes")
    assert msb.run("echo", "well").stdout == b"well\n"


@pytest.mark.show_01_4
def test_both_ends_killed(place, tmp_path):
    """CLI and supervisor die at once, so neither cleans up for the other: the next command does."""
    msb, census = place
    run = Run(msb, tmp_path / "timeline")
    assert run.child.stdout.readline() == b"up\n"
    both = [run.child.pid, run.find("msb-supervisor")]
    for sig in (signal.SIGSTOP, signal.SIGKILL):
        for pid in both:
            os.kill(pid, sig)
    run.child.communicate(timeout=20)
    end = time.monotonic() + 3
    while census.processes_left() and time.monotonic() < end:
        os.sched_yield()
    assert list((msb.home / "sandboxes").glob("msb-*"))
    assert msb("images", "-q").returncode == 0
    census.check()
