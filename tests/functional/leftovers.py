# SPDX-License-Identifier: Apache-2.0
"""A census of what a sandbox could leave behind: processes, files, mounts, sockets, memory.

The test process is a child subreaper, so whatever any msb process leaves becomes its child: "no process of ours" is
"no descendant", found without names.
"""
import atexit
import contextlib
import ctypes
import functools
import os
import time

PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(pid):
    out = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as f:
                for child in map(int, f.read().split()):
                    out += [child] + descendants(child)
    except OSError:
        pass
    return out


def reap():
    """Collect orphans that ended; subprocess's own children are asked with WNOWAIT first, so none is stolen."""
    for pid in descendants(os.getpid()):
        try:
            with open(f"/proc/{pid}/stat") as f:
                state, parent = f.read().rsplit(")", 1)[1].split()[:2]
            if state == "Z" and int(parent) == os.getpid():
                os.waitpid(pid, os.WNOHANG)
        except (OSError, ChildProcessError):
            continue


def files(*folders):
    out = set()
    for top in folders:
        for folder, dirs, names in os.walk(top):
            dirs[:] = [d for d in dirs if not d.startswith("fuzz-")]  # of a fuzz target that runs meanwhile
            out.update(os.path.join(folder, n) for n in dirs + names)
    return out


def abstract_sockets():
    with open("/proc/net/unix") as f:
        return {fields[7] for fields in map(str.split, f) if len(fields) > 7 and fields[7].startswith("@")}


def memory_group():
    """Where the kernel shows this process's control group for memory, in version 1 or 2."""
    names = {}
    with open("/proc/self/cgroup") as f:
        for line in f:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            names.update({c: path for c in controllers.split(",")})
    with open("/proc/self/mountinfo") as f:
        for line in f:
            (*_, root, at), (kind, _, options) = line.split()[:5], line.rstrip("\n").split(" - ")[1].split(" ", 2)
            controller = "memory" if kind == "cgroup" and "memory" in options.split(",") else "" if kind == "cgroup2" else None
            if controller == "" and "memory" in names or controller not in names:
                continue
            below = os.path.relpath(names[controller], root)
            return os.path.normpath(at if below.startswith("..") else os.path.join(at, below))
    raise OSError("no control group for memory is mounted")


class MemoryGroup:
    """The control group of this process and of all that it starts. What nobody holds any more is still charged to the
    group, and what others on the machine hold is not: exact, and the same on a busy machine."""
    def __init__(self):
        self.path = os.environ.get("MSB_TEST_GROUP")  # check_as_user.sh: made by root, we are in it
        try:
            if not self.path:
                self.before = memory_group()
                self.path = os.path.join(self.before, f"msb-test-{os.getpid()}")
                os.mkdir(self.path)
                atexit.register(self.leave)
                self.join(self.path)
            self.held_kib()
        except (OSError, KeyError) as error:
            print(f"no control group for memory ({error}): compared for the whole machine")
            self.path = None

    @staticmethod
    def join(path):
        with open(os.path.join(path, "cgroup.procs"), "w") as f:
            f.write(str(os.getpid()))

    def leave(self):
        with contextlib.suppress(OSError):
            self.join(self.before)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.join(self.before, f"msb-test-{os.getpid()}"))

    def held_kib(self):
        """Anonymous and shared memory: what is no file that can be read again."""
        with open(os.path.join(self.path, "memory.stat")) as f:
            held = {key: int(value) for key, value in map(str.split, f)}
        return (held["rss" if "rss" in held else "anon"] + held["shmem"]) // 1024


@functools.cache
def group():
    return MemoryGroup()


def held_kib():
    """Without a group: not MemAvailable, since in a virtual machine that reports free pages to its host, memory which any
    program freed is missing there for many seconds (touch 400 MB and exit: -350 MB)."""
    if group().path:
        return group().held_kib()
    with open("/proc/meminfo") as f:
        return sum(int(line.split()[1]) for line in f if line.split(":")[0] in ("AnonPages", "Shmem"))


def mounts():
    with open("/proc/self/mountinfo") as f:
        return f.read()


class Census:
    """Taken before; check() compares with now."""

    def __init__(self, *folders):
        self.folders = (*folders, "/dev/shm")
        self.processes = set(descendants(os.getpid()))
        self.files = files(*self.folders)
        self.sockets = abstract_sockets()
        self.mounts = mounts()
        self.held = held_kib()

    def processes_left(self):
        reap()
        return set(descendants(os.getpid())) - self.processes

    def check(self, within_s=0.0, memory_kib=None):
        """Everything as before. Processes and memory may take so long; files, mounts and sockets are final then."""
        end = time.monotonic() + within_s
        while self.processes_left() and time.monotonic() < end:
            os.sched_yield()
        left = self.processes_left()
        names = []
        for pid in left:
            try:
                with open(f"/proc/{pid}/comm") as f:
                    names.append(f"{pid} {f.read().strip()}")
            except OSError:
                pass
        assert not names, f"processes left after {within_s} s: {names}"
        differ = sorted(files(*self.folders) ^ self.files)
        assert not differ, f"files that came or went: {differ[:10]}"
        assert mounts() == self.mounts, f"mounts changed: {mounts()}"
        sockets = abstract_sockets() - self.sockets
        assert not sockets, f"abstract sockets left: {sockets}"
        if memory_kib is not None:
            end = time.monotonic() + (3 if group().path else 30)
            while held_kib() - self.held > memory_kib and time.monotonic() < end:
                os.sched_yield()
            lost = held_kib() - self.held
            assert lost <= memory_kib, f"{lost} KiB of memory were not given back in time"
