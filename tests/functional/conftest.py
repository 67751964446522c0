# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a private MSB_HOME with a busybox image in it, a runner, and a check that a run left nothing behind."""
import os
import pathlib
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
MSB = pathlib.Path(os.environ.get("MSB_BUILD", TOP / "build")) / "msb"
IMAGE = "localhost/busybox:1"


def pytest_collection_modifyitems(config, items):
    """What is for make check-long only is left out, not skipped; so is what needs root where an ordinary user runs the tests."""
    out = [i for i in items if (i.get_closest_marker("long") and not os.environ.get("MSB_LONG")) or
           ((i.get_closest_marker("rig") or i.get_closest_marker("root")) and os.geteuid() != 0)]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [i for i in items if i not in out]


def tree(home):
    """Every path below home but the caches that a first run fills."""
    out = set()
    for folder, dirs, files in os.walk(home):
        out.update(os.path.join(folder, n) for n in dirs + files)
    return out


class Msb:
    def __init__(self, home):
        self.home = home
        self.env = dict(os.environ, MSB_HOME=str(home), MSB_HYPERVISOR=os.environ.get("MSB_HYPERVISOR", "auto"))

    command = [MSB]

    def popen(self, *args, **kw):
        kw.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen([MSB, *args], env=self.env, **kw)

    def __call__(self, *args, timeout=60, **kw):
        if "input" not in kw:
            kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("stdout", subprocess.PIPE)
        kw.setdefault("stderr", subprocess.PIPE)
        return subprocess.run([MSB, *args], env=self.env, timeout=timeout, **kw)

    def run(self, *command, options=(), **kw):
        return self("run", *options, IMAGE, "--", *command, **kw)


def processes_of(home):
    """Processes that hold the sandbox folder of this home open or mapped (found by descriptor, not by name)."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{fd}").startswith(str(home)):
                    found.append(int(pid))
                    break
        except OSError:
            continue
    return [p for p in found if p != os.getpid()]


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    path = tmp_path_factory.mktemp("home")
    archive = tmp_path_factory.mktemp("image") / "busybox.tar"
    subprocess.run(["bash", TOP / "tests/images/busybox.sh", archive], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    msb = Msb(path)
    done = msb("load", "-i", str(archive), "-t", IMAGE)
    assert done.returncode == 0, done.stderr
    assert msb.run("true").returncode == 0  # fills the template and the probe's verdict
    return path


@pytest.fixture(scope="session")
def python_archive():
    """A small Debian with python3; made once per machine."""
    return subprocess.run(["bash", TOP / "tests/images/python.sh"], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "busybox.tar"
    subprocess.run(["bash", TOP / "tests/images/busybox.sh", path], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return path


@pytest.fixture
def msb(home):
    before = tree(home)
    yield Msb(home)
    assert processes_of(home) == []
    assert tree(home) == before
