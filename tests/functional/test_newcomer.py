# SPDX-License-Identifier: Apache-2.0
"""Issue line 01.1: what a newcomer types in a fresh clone: make demo, scripts/setup.sh, and then msb.

The clone is of the last commit. HOME, MSB_HOME and TMPDIR are fresh folders; the cache of guest kernels is this
machine's, but in the cold test, where it is empty and the kernel is built.
"""
import hashlib
import os
import re
import select
import shutil
import subprocess
import time

import pytest

from conftest import TOP

COLD_S, AGAIN_S, SILENCE_S = 15 * 60, 60, 10


class Newcomer:
    """One clone and the folders that its commands may see."""

    def __init__(self, top, warm):
        self.clone, self.home, self.scratch = top / "clone", top / "home", top / "tmp"
        self.scratch.mkdir()
        self.home.mkdir()
        # Not our HOME's settings; and a clone may be another user's, as it is in many a CI container.
        (top / "gitconfig").write_text("[safe]\n\tdirectory = *\n")
        subprocess.run(["git", "clone", "-q", os.environ.get("MSB_CLONE", TOP), self.clone], check=True,
                       env=dict(os.environ, GIT_CONFIG_GLOBAL=str(top / "gitconfig")))
        self.env = {"PATH": os.environ["PATH"], "HOME": str(self.home), "TMPDIR": str(self.scratch), "LANG": "C.UTF-8"}
        if warm:
            self.env["XDG_CACHE_HOME"] = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        if os.environ.get("KERNEL_TARBALL"):
            self.env["KERNEL_TARBALL"] = os.environ["KERNEL_TARBALL"]

    def type(self, *command, limit_s):
        """Run it in the clone. Return: its output; seconds and the longest silence are checked and printed."""
        start = last = time.monotonic()
        silence, before, out = 0.0, b"(start)", b""
        child = subprocess.Popen(command, cwd=self.clone, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT)
        while True:
            assert select.select([child.stdout], [], [], 60)[0], f"a minute of silence after {out[-200:]}"
            data = os.read(child.stdout.fileno(), 65536)
            now = time.monotonic()
            if now - last > silence:
                silence, before = now - last, out[-100:]
            last, out = now, out + data
            assert now - start <= limit_s, f"{command} took longer than {limit_s} s: {out[-200:]}"
            if not data:
                break
        child.stdout.close()
        text = out.decode()
        assert child.wait() == 0, text[-3000:]
        print(f"{' '.join(command)}: {last - start:.0f} s, longest silence {silence:.1f} s, after "
              f"{before.decode(errors='replace').strip()[-60:]!r}")
        assert silence <= SILENCE_S, f"{silence:.1f} s of silence after {before}"
        return text

    def files(self, folder, but=()):
        """Every path below folder with what it is: mode, time, content."""
        out = {}
        for where, dirs, names in os.walk(folder):
            dirs[:] = [d for d in dirs if os.path.join(where, d) not in but]
            for path in (os.path.join(where, n) for n in dirs + names):
                st = os.lstat(path)
                content = hashlib.sha256(open(path, "rb").read()).hexdigest() if os.path.isfile(path) else ""
                out[path] = (st.st_mode, st.st_mtime_ns, content)
        return out


@pytest.fixture
def newcomer(tmp_path, request):
    warm = getattr(request, "param", "warm") == "warm"
    out = Newcomer(tmp_path, warm)
    yield out
    shutil.rmtree(tmp_path, ignore_errors=True)  # a build tree each: too much for pytest's last three


@pytest.mark.show_01_1
@pytest.mark.parametrize("newcomer", ["warm", pytest.param("cold", marks=pytest.mark.long)], indirect=True)
def test_demo(newcomer, tmp_path):
    state = tmp_path / "state"
    newcomer.env["MSB_HOME"] = str(state)
    cache = str(newcomer.home / ".cache")
    first = newcomer.type("make", "demo", limit_s=COLD_S)
    again = newcomer.type("make", "demo", limit_s=AGAIN_S)
    print(first[first.index("== which back end"):])
    for text in (first, again):
        rows = {m[1]: (m[2], m[3]) for m in re.finditer(r"^(uname -r|id|date -u)\s+(.+?)\s{2,}(\S.*)$", text, re.M)}
        assert rows["uname -r"][0] == os.uname().release != rows["uname -r"][1]
        assert re.match(r"6\.12\.\d", rows["uname -r"][1])
        assert rows["id"][0].startswith(f"uid={os.getuid()}") and rows["id"][1].startswith("uid=0(root)")
        assert rows["date -u"][0].split()[-1] == rows["date -u"][1].split()[-1] == time.strftime("%Y", time.gmtime())
        assert re.search(r"^/proc/cmdline .*panic=-1", text, re.M)
        assert re.search(r"^(Origin: Debian|left out: .+)$", text, re.M)
        assert re.search(r"^ran on: (KVM|QEMU's software CPU), because \S+", text, re.M)
    assert newcomer.files(newcomer.home, but=[cache]) == {}
    assert newcomer.files(newcomer.scratch) == {}
    assert state.is_dir()


@pytest.mark.show_01_1
def test_setup_is_the_first_command(newcomer):
    newcomer.type("bash", "scripts/setup.sh", limit_s=COLD_S)
    before = newcomer.files(newcomer.home)
    newcomer.type("bash", "scripts/setup.sh", limit_s=AGAIN_S)
    assert newcomer.files(newcomer.home) == before
    assert newcomer.files(newcomer.scratch) == {}
    for line in ("msb --version", "ls ~/.microsandbox/bin/msb", "ls ~/.microsandbox/lib/libkrunfw*",
                 "ls ~/.microsandbox/bin/msb-registry", "man -w msb-run"):
        env = {"HOME": str(newcomer.home), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(["bash", "-i"], input=line + "\n", cwd="/", env=env, capture_output=True, text=True, timeout=30)
        print(f"$ {line}\n{done.stdout}", end="")
        assert done.returncode == 0 and done.stdout.strip(), (line, done.stderr)
