#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""pull.py [RUNS]: what "msb pull" costs against what it cannot do without, for the image of make-image.

The registry is Debian's, on loopback, with all it serves in the page cache. The bound is bound.c: the layers inflated and
hashed before and behind that, by the same libraries, on as many threads as there are processors; it is timed next to each
pull, and what counts is the median of the ratios, since both move with what else the machine does. Processor time of both
(without the registry's) is printed too: what the machine or its disk does besides shows there least. Lines "ok" and
"not ok" say which limits of the issue are kept. MSB_BUILD=DIR measures another build, TMPDIR=DIR another file system.
"""
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from pss import tree

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path.insert(0, str(TOP / "tests/functional"))
from registry_peers import DebianRegistry  # noqa: E402

MSB = pathlib.Path(os.environ.get("MSB_BUILD", TOP / "build"), "msb")
RATIO_MAX, MEMORY_MIB_MAX, LOAD_S_MAX, BYTES_PER_FILE_MAX = 1.3, 150, 0.2, 1024


def verdict(good, name, text):
    print(f"{'ok' if good else 'not ok'} {name}: {text}", flush=True)


def seconds(*command, **more):
    start = time.monotonic()
    subprocess.run([str(c) for c in command], check=True, stdout=subprocess.DEVNULL, **more)
    return time.monotonic() - start


def cpu_seconds():
    """Of all children that ended."""
    times = os.times()
    return times.children_user + times.children_system


class Bench:
    def __init__(self, work, layout, registry):
        self.work, self.layout, self.registry = work, layout, registry
        self.image = f"{registry.host}/team/bench:1"
        self.packed, self.size, self.files = map(int, (layout / "about").read_text().split())
        index = json.loads((layout / "index.json").read_text())
        blobs = layout / "blobs/sha256"
        manifest = json.loads((blobs / index["manifests"][0]["digest"][7:]).read_text())
        self.layers = [blobs / layer["digest"][7:] for layer in manifest["layers"]]
        self.home = work / "home"
        self.env = dict(os.environ, MSB_HOME=str(self.home))

    def msb(self, *args):
        return seconds(MSB, *args, env=self.env)

    def warm(self):
        """Nothing of an earlier pull is there or still being written, and the registry's files are in the page cache."""
        shutil.rmtree(self.home, ignore_errors=True)
        os.sync()
        for path in [*self.registry.folder.rglob("*"), *self.layers]:
            if path.is_file():
                with open(path, "rb") as f:
                    while f.read(1 << 20):
                        pass

    def bound(self):
        out = subprocess.run([self.work / "bound", *self.layers], check=True, capture_output=True, text=True).stdout
        took, threads, size = out.split()
        return float(took), int(threads), int(size)

    def pulls(self, runs):
        ratios, bounds = [], []
        for _ in range(runs):
            self.warm()
            cpu = [cpu_seconds()]
            bound, threads, size = self.bound()
            cpu.append(cpu_seconds())
            took = self.msb("pull", "-q", self.image)
            cpu.append(cpu_seconds())
            ratios.append(took / bound)
            bounds.append(bound)
            used = cpu[1] - cpu[0], cpu[2] - cpu[1]
            print(f"  bound {bound:5.2f} s, {used[0]:5.2f} s of processors ({threads} threads, {size / 1e6:.0f} MB of tar); "
                  f"pull {took:5.2f} s, {used[1]:5.2f} s of processors: {ratios[-1]:.2f} ({used[1] / used[0]:.2f})",
                  flush=True)
        ratio = statistics.median(ratios)
        verdict(ratio <= RATIO_MAX, "pull", f"{ratio:.2f} times the bound, at most {RATIO_MAX}")
        return statistics.median(bounds)

    def others(self, bound):
        """skopeo and umoci, the same image to a folder of files."""
        to = self.work / "others"
        copy = seconds("skopeo", "copy", "-q", "--insecure-policy", "--src-tls-verify=false", f"docker://{self.image}",
                       f"oci:{to}:bench")
        rootless = [] if os.geteuid() == 0 else ["--rootless"]
        unpack = seconds("umoci", "unpack", *rootless, "--image", f"{to}:bench", self.work / "bundle",
                         stderr=subprocess.DEVNULL)
        print(f"  skopeo copy {copy:.2f} s + umoci unpack {unpack:.2f} s: {(copy + unpack) / bound:.2f} times the bound")

    def memory(self):
        """Of msb and all that it starts: the sum of their PSS, sampled; a pull of its own, since sampling takes time."""
        self.warm()
        process = subprocess.Popen([MSB, "pull", "-q", self.image], env=self.env)
        peak, samples = 0, 0
        while process.poll() is None:
            total = 0
            try:
                for pid in tree(process.pid):
                    found = re.search(r"^Pss: +(\d+)", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
                    total += int(found.group(1)) if found else 0
            except (FileNotFoundError, ProcessLookupError):
                pass  # it ended meanwhile: what was added up so far still counts
            peak = max(peak, total)
            samples += 1
            process_ends.wait(0.02)
        verdict(process.returncode == 0 and samples > 20 and peak <= 1024 * MEMORY_MIB_MAX, "memory",
                f"{peak / 1024:.1f} MiB, the largest sum of PSS in {samples} samples, at most {MEMORY_MIB_MAX}")

    def requests(self):
        """(method, path) of what the registry answered, as its log says; a last request of ours ends the list."""
        mark = f"/v2/?mark={time.monotonic_ns()}"
        self.registry._request("GET", mark)
        pattern = re.compile(r'"response completed".*?http\.request\.method=(\S+).*?http\.request\.uri="?([^" ]+)')
        deadline = time.monotonic() + 10
        while True:
            found = pattern.findall((self.registry.folder / "log").read_text())
            if any(path == mark for _, path in found) or time.monotonic() > deadline:
                return found
            process_ends.wait(0.05)

    def second_pull(self):
        before = len(self.requests())
        took = self.msb("pull", "-q", self.image)
        asked = [what for what in self.requests()[before:] if "mark=" not in what[1]]
        verdict(asked == [("HEAD", "/v2/team/bench/manifests/1")], "second-pull",
                f"{took:.2f} s, requests: {', '.join(' '.join(what) for what in asked) or 'none'}")

    def load(self):
        """All of it, reading the manifest included: the archives are files, of which msb reads what it needs."""
        for form in "oci", "docker":
            archive = self.work / f"{form}.tar"
            self.msb("save", "-q", "--format", form, self.image, "-o", archive)
            self.msb("load", "-q", "-i", archive)  # a docker archive has no manifest: another record, once
            took = min(self.msb("load", "-q", "-i", archive) for _ in range(3))
            verdict(took <= LOAD_S_MAX, f"load-{form}",
                    f"{took:.2f} s for a stored image of {archive.stat().st_size / 1e6:.0f} MB, at most {LOAD_S_MAX}")
            archive.unlink()

    def disk(self):
        allocated = sum(p.lstat().st_blocks * 512 for p in (self.home / "cache").rglob("*"))
        more = (allocated - self.size) / self.files
        verdict(more <= BYTES_PER_FILE_MAX, "disk",
                f"{allocated / 1e6:.1f} MB allocated for {self.size / 1e6:.1f} MB in {self.files} files: {more:+.0f} bytes "
                f"a file, at most {BYTES_PER_FILE_MAX}")

    def run(self):
        took = self.msb("run", "-q", "--pull", "never", self.image, "--", "true")
        verdict(True, "run", f"the image runs: {took:.2f} s for its first \"true\"")


process_ends = threading.Event()  # never set: a wait() on it is a pause between samples


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    layout = pathlib.Path(subprocess.run(["bash", HERE / "make-image"], check=True, stdout=subprocess.PIPE,
                                         text=True).stdout.strip())
    with tempfile.TemporaryDirectory(prefix="msb-bench.") as folder:
        work = pathlib.Path(folder)
        subprocess.run(["cc", "-O2", "-o", work / "bound", HERE / "bound.c", "-lz", "-lcrypto", "-lpthread"], check=True)
        with DebianRegistry(work / "registry") as registry:
            bench = Bench(work, layout, registry)
            print(f"{bench.packed / 1e6:.0f} MB compressed, {bench.size / 1e6:.0f} MB in {bench.files} files, "
                  f"{len(bench.layers)} layers", flush=True)
            seconds("skopeo", "copy", "-q", "--insecure-policy", "--dest-tls-verify=false", f"oci:{layout}:bench",
                    f"docker://{bench.image}")
            bound = bench.pulls(runs)
            bench.second_pull()
            bench.disk()
            bench.load()
            bench.run()
            bench.memory()
            bench.others(bound)


main()
