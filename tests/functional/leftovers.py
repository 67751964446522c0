# SPDX-License-Identifier: Apache-2.0
"""A census of what a sandbox could leave behind: processes, files, mounts, sockets, memory.

The test process is a child subreaper, so whatever any msb process leaves becomes its child: "no process of ours" is
"no descendant", found without names.
"""
import ctypes
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


# Held for programs, and held by the kernel itself. Not MemAvailable: in a virtual machine that reports free pages to its
# host, memory which any program freed is missing there for many seconds (touch 400 MB and exit: -350 MB).
PROGRAMS = ("AnonPages", "Shmem")
KERNEL = ("SUnreclaim", "KernelStack", "PageTables", "VmallocUsed")


def in_use_kib():
    with open("/proc/meminfo") as f:
        return {line.split(":")[0]: int(line.split()[1]) for line in f if line.split(":")[0] in PROGRAMS + KERNEL}


def others_kib():
    """What processes that are none of ours hold: they come and go while a test runs. Shared memory counts more than once."""
    ours = {str(p) for p in [os.getpid(), *descendants(os.getpid())]}
    total = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if pid in ours:
            continue
        try:
            with open(f"/proc/{pid}/status") as f:
                total += sum(int(line.split()[1]) for line in f if line.split(":")[0] in ("RssAnon", "RssShmem", "VmPTE"))
        except OSError:
            continue
    return total


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
        self.in_use, self.others = in_use_kib(), others_kib()

    def lost_kib(self, kinds):
        """Memory not given back. Another program may hold more than before, or less: only what neither explains is lost."""
        now = in_use_kib()
        lost = sum(now[kind] - self.in_use[kind] for kind in kinds)
        return min(lost, lost - (others_kib() - self.others))

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
            # What the kernel frees in the background of a busy machine (slabs, page tables) may take longer.
            for kinds, limit_s in (PROGRAMS, 3), (PROGRAMS + KERNEL, 30):
                end = time.monotonic() + limit_s
                while self.lost_kib(kinds) > memory_kib and time.monotonic() < end:
                    os.sched_yield()
                lost = self.lost_kib(kinds)
                assert lost <= memory_kib, \
                    f"{lost} KiB of memory were not given back within {limit_s} s: before {self.in_use}, now {in_use_kib()}"
