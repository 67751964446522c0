# SPDX-License-Identifier: Apache-2.0
"""Full disks, damaged databases, odd homes and surroundings: the exit status, one line that says what to do, and a home
that is as it was or is mended by msb doctor --fix."""
import contextlib
import json
import os
import pathlib
import resource
import shutil
import signal
import sqlite3
import subprocess

import pytest

from conftest import IMAGE, MSB, Msb, TOP
from leftovers import files
from sandboxes import SMALL, Sandboxes, complaint, kill_everything, prepared, until

pytestmark = pytest.mark.show_03_7
LONG = bool(os.environ.get("MSB_LONG"))
ROOT = os.geteuid() == 0
# Root is refused as others are once it has lost the power to look away.
ORDINARY = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"] if ROOT else []


@contextlib.contextmanager
def database(msb):
    with contextlib.closing(sqlite3.connect(msb.home / "db/msb.db")) as db:
        yield db
        db.commit()


@pytest.fixture(scope="module")
def injector(tmp_path_factory):
    path = tmp_path_factory.mktemp("fault") / "disk_full.so"
    subprocess.run(["cc", "-D_GNU_SOURCE", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", path,
                    TOP / "tests/functional/disk_full.c", "-ldl"], check=True)
    return path


class Full:
    """msb on a disk that is full from the N-th write on, or at it only."""

    def __init__(self, msb, injector, counter):
        self.msb, self.injector, self.counter = msb, injector, counter

    def __call__(self, at, once, *args):
        self.counter.write_bytes(bytes(4))
        env = dict(self.msb.env, LD_PRELOAD=str(self.injector), FAULT_UNDER=f"{self.msb.home}/", FAULT_AT=str(at),
                   FAULT_COUNT=str(self.counter), **({"FAULT_ONCE": "1"} if once else {}))
        Msb.count(args)
        done = subprocess.run([MSB.with_name("msb-dynamic"), *args], env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
        self.writes = int.from_bytes(self.counter.read_bytes(), "little")
        with open(self.counter, "r+b") as f:  # there is room again: for its supervisor, too
            f.write((-(1 << 30)).to_bytes(4, "little", signed=True))
        return done


def test_disk_full_at_each_write(boxes, injector, tmp_path):
    """Every write of create fails once, and from there on: either it says so and nothing is left, or the sandbox is there."""
    full, before = Full(boxes, injector, tmp_path / "count"), files(boxes.home)
    create = ("create", "-q", "-n", "a", *SMALL, IMAGE)
    assert full(1 << 30, True, *create).returncode == 0
    writes = full.writes
    boxes.ok("rm", "-f", "a")
    assert writes >= 15, writes
    refused = survived = 0
    for at in range(1, min(writes, 50) + 1):
        for once in (False, True) if LONG or at % 4 == 1 else (False,):
            done = full(at, once, *create)
            if done.returncode:
                complaint(done, 1)
                assert b"No space left on device" in done.stderr or b"no file can be made" in done.stderr, (at, once, done)
                refused += 1
            else:
                assert done.stderr == b"" and boxes.sh("a", "echo hi").stdout == b"hi\n", (at, once, done)
                survived += 1
            if done.returncode == 0:
                until(lambda: boxes.states() == {"a": "Running"}, 10, "its record")
            left = boxes.states()
            assert left in ({}, {"a": "Running"}) and (done.returncode or left), (at, once, left, done)
            if left:
                boxes.ok("rm", "-f", "a")
            boxes.list()
            until(lambda: not {f for f in files(boxes.home) ^ before if not f.endswith("-journal")}, 5,
                  f"the home as it was (write {at}, once: {once}): {sorted(files(boxes.home) ^ before)}")
    print(f"create wrote {writes} times; {refused} times refused, {survived} times made although a write failed")
    assert refused >= 10


@pytest.mark.root
def test_really_full(archive, tmp_path):
    """A file system of 20 MB, full; then with some room."""
    disk, mount = tmp_path / "disk", tmp_path / "mnt"
    mount.mkdir()
    subprocess.run(["truncate", "-s", "20M", disk], check=True)
    subprocess.run(["mke2fs", "-q", "-F", disk], check=True)
    if subprocess.run(["mount", "-o", "loop", disk, mount], capture_output=True).returncode:
        pytest.skip("loop devices cannot be used here")
    try:
        msb = prepared(mount / "home", archive)
        before = files(mount)
        room = os.statvfs(mount).f_bavail * 4096
        filler = mount / "filler"
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as f:
            while True:
                f.write(bytes(4096))
        assert room > 0
        complaint(msb("create", "-n", "a", *SMALL, IMAGE), 1, "No space left on device", "free some space")
        complaint(msb("run", "--name", "a", *SMALL, IMAGE, "--", "true"), 125, "No space left on device", "free some space")
        assert msb.states() == {}
        filler.unlink()
        assert files(mount) == before
        msb.create("a")
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as f:
            while True:
                f.write(bytes(4096))
        # It runs on, can be listed and ended; what is written in the guest fails there.
        assert msb.sh("a", "echo hi").stdout == b"hi\n"
        msb.ok("stop", "-t", "2", "a")
        filler.unlink()
        assert msb.states()["a"] in ("Stopped", "Crashed")
        msb.clear()
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


def damage(path, how):
    data = path.read_bytes()
    if how == "truncated":
        path.write_bytes(data[:len(data) // 2 - 100])
    elif how == "zeroed page":
        path.write_bytes(data[:4096] + bytes(4096) + data[8192:])
    elif how == "zeroed header":
        path.write_bytes(bytes(100) + data[100:])
    elif how == "text":
        path.write_bytes(b"not a database, but longer than a header of one is\n" * 10)


def test_damaged_database(boxes):
    """Every command says so, with the remedy; the remedy brings back what is on the disk, and what runs."""
    boxes.create("r")
    boxes.create("a", "-e", "X=kept")
    boxes.ok("stop", "a")
    for how in ("truncated", "zeroed page", "zeroed header", "text"):
        damage(boxes.home / "db/msb.db", how)
        for command, status in ((("ls",), 1), (("ps",), 1), (("inspect", "a"), 1), (("stop", "a"), 1), (("start", "a"), 1),
                                (("rm", "a"), 1), (("create", "-n", "b", *SMALL, IMAGE), 1), (("exec", "a", "--", "true"), 125),
                                (("run", "--name", "a", IMAGE, "--", "true"), 125)):
            complaint(boxes(*command), status, "db/msb.db", "damaged", "msb doctor --fix")
        assert b"damaged" in boxes("doctor").stdout
        done = boxes("doctor", "--fix", "-y")
        assert b"msb.db aside" in done.stderr + done.stdout, done
        assert boxes.states() == {"a": "Stopped", "r": "Running"}
        (boxes.home / "db/msb.db.damaged").unlink()
        assert boxes.sh("r", "echo hi").stdout == b"hi\n"
    assert boxes.sh("a", "echo $X").stdout == b"kept\n"


def test_newer_database(boxes):
    """Left alone, by doctor too."""
    boxes.create("a")
    boxes.ok("stop", "-f", "a")
    with database(boxes) as db:
        known = db.execute("PRAGMA user_version").fetchone()[0]
        db.execute("PRAGMA user_version = 99")
    before = (boxes.home / "db/msb.db").read_bytes()
    complaint(boxes("ls"), 1, "newer msb", "99", "MSB_HOME")
    complaint(boxes("exec", "a", "--", "true"), 125, "newer msb")
    complaint(boxes("create", "-n", "b", *SMALL, IMAGE), 1, "newer msb")
    boxes("doctor", "--fix", "-y")
    assert (boxes.home / "db/msb.db").read_bytes() == before
    with database(boxes) as db:
        db.execute(f"PRAGMA user_version = {known}")
    assert boxes.states() == {"a": "Stopped"}


def test_deleted_while_one_runs(boxes):
    """The next command makes it again of what is there: also that it runs."""
    boxes.create("a")
    boxes.create("b")
    boxes.ok("stop", "-f", "b")
    (boxes.home / "db/msb.db").unlink()
    assert boxes.states() == {"a": "Running", "b": "Stopped"}
    assert boxes.sh("a", "echo hi").stdout == b"hi\n"
    shutil.rmtree(boxes.home / "db")
    boxes.ok("stop", "a")
    assert boxes.states() == {"a": "Stopped", "b": "Stopped"}


def test_damaged_sandbox(boxes):
    """sandbox.json: listed as crashed, cannot be started, can be removed."""
    boxes.create("a")
    boxes.ok("stop", "-f", "a")
    path = boxes.home / "sandboxes/a/sandbox.json"
    for text in (path.read_text()[:50], "", '{"version": 9, "name": "a", "image": "b", "config": {}}', "\0" * 10):
        path.write_text(text)
        (boxes.home / "db/msb.db").unlink()
        assert boxes.states() == {"a": "Crashed"}
        for command in ("start", "exec"):
            done = boxes(command, "a", *(("--", "true") if command == "exec" else ()))
            complaint(done, 125 if command == "exec" else 1, "sandbox a", "newer msb" if "9" in text else "damaged", "msb rm a")
        boxes("ps", "-a"), boxes("inspect", "a")
    boxes.ok("rm", "a")
    boxes.create("a")


def test_read_only(boxes):
    """What is there can be seen; nothing can be made, and nothing half removed."""
    def tried(*args):
        return subprocess.run([*ORDINARY, MSB, *args], env=boxes.env, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    boxes.create("a")
    boxes.ok("stop", "-f", "a")
    for what in ("home", "sandboxes", "db"):
        folder = boxes.home if what == "home" else boxes.home / what
        modes = [(p, p.stat().st_mode) for p in ([folder, *folder.rglob("*")] if what == "db" else [folder])]
        try:
            for p, mode in modes:
                p.chmod(mode & ~0o222)
            done = tried("ls", "-q")
            assert (done.returncode, done.stdout, done.stderr) == (0, b"a\n", b""), done
            assert tried("inspect", "a").returncode == 0
            complaint(tried("create", "-n", "b", *SMALL, IMAGE), 1, str(boxes.home) if what == "home" else what)
            if what != "home":
                complaint(tried("rm", "a"), 1, "sandbox a" if what == "sandboxes" else "db")
        finally:
            for p, mode in modes:
                p.chmod(mode)
        assert boxes.states() == {"a": "Stopped"}


def test_few_descriptors(boxes):
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    assert boxes("create", "-q", "-n", "a", *SMALL, IMAGE, preexec_fn=few).returncode == 0
    sessions = [boxes.popen("exec", "a", "--", "sh", "-c", "echo up; cat", stdin=-1, stdout=-1, stderr=-1) for _ in range(40)]
    said = [s.stdout.readline() for s in sessions]
    assert said.count(b"up\n") >= 10 and set(said) <= {b"up\n", b""}
    failed = [s for s, line in zip(sessions, said) if not line]
    for s in sessions:
        s.stdin.close()
    for s in sessions:
        assert s.wait(timeout=20) == (125 if s in failed else 0)
        assert s.stderr.read().count(b"error:") == (1 if s in failed else 0)
    print(f"64 descriptors: {len(sessions) - len(failed)} of {len(sessions)} sessions at once")
    assert boxes.sh("a", "echo hi").stdout == b"hi\n"  # it is as good as before
    boxes.ok("stop", "a")


def test_odd_homes(archive, tmp_path, boxes_home):
    """200 bytes, spaces and more; umask 077 and 000; no HOME; the home of another."""
    def image_into(home):
        home.mkdir(parents=True)
        for part in ("cache", "kvm-probe"):
            subprocess.run(["cp", "-a", "--reflink=auto", boxes_home / part, home / part], check=False)
        return Sandboxes(home)
    long = tmp_path / ("x" * 98) / "y"
    msb = image_into(long / ("z" * (200 - len(str(long)) - 1) if len(str(long)) < 190 else "z" * 50))
    msb.create("a" * 128)
    assert msb.sh("a" * 128, "hostname").returncode == 0
    msb.clear()
    old = os.umask(0)
    try:
        msb = image_into(tmp_path / "with space's \"quotes\" $x \u00fc")
        msb.create("a")
        assert msb.sh("a", "echo hi").stdout == b"hi\n"
        shared = [p for p in msb.home.rglob("*") if "cache" not in p.parts and not p.is_symlink() and p.lstat().st_mode & 0o022]
        assert not shared, shared
        os.umask(0o077)
        assert msb.ok("restart", "-t", "0", "a") == ""
        # Without HOME: MSB_HOME is all that is needed; without both, one line.
        msb.env.pop("HOME", None)
        msb.env["MSB_LIBKRUNFW_PATH"] = str(kernel())
        assert msb.sh("a", "echo hi").stdout == b"hi\n"
        msb.clear()
    finally:
        os.umask(old)
    msb.env.pop("MSB_HOME")
    for args, status in ((("ls",), 1), (("create", IMAGE), 1), (("exec", "a", "--", "true"), 125)):
        complaint(msb(*args), status, "neither MSB_HOME nor HOME is set", "export MSB_HOME")


def kernel():
    """The guest kernel that is used: the newest of the cache."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    given = os.environ.get("MSB_LIBKRUNFW_PATH")
    return pathlib.Path(given) if given else max((cache / "microsandbox/kernel").glob("*/vmlinux"), key=lambda p: p.stat().st_mtime)


@pytest.mark.root
def test_home_of_another(boxes):
    boxes.create("a")
    boxes.ok("stop", "-f", "a")
    owner = os.stat(boxes.home)
    os.chown(boxes.home, 12345, 12345)
    try:
        for args, status in ((("ls",), 1), (("create", IMAGE), 1), (("stop", "a"), 1), (("exec", "a", "--", "true"), 125)):
            complaint(boxes(*args), status, "belongs to another user (uid 12345)", "MSB_HOME")
    finally:
        os.chown(boxes.home, owner.st_uid, owner.st_gid)
    assert boxes.states() == {"a": "Stopped"}
