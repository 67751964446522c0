# SPDX-License-Identifier: Apache-2.0
"""Issue 01: other images, other users, many machines, killed parts."""
import os
import shutil
import signal
import subprocess
import time

import pytest

from conftest import IMAGE, MSB, TOP, Msb
from leftovers import descendants


@pytest.mark.show_01_2
def test_one_static_file(tmp_path):
    archive = tmp_path / "hello.tar"
    subprocess.run(["bash", TOP / "tests/images/one_file.sh", archive], check=True)
    msb = Msb(tmp_path / "home")
    assert msb("load", "-i", str(archive)).returncode == 0
    done = msb("run", "localhost/hello:1")
    assert (done.stdout, done.returncode) == (b"hello\n", 0), done.stderr


@pytest.mark.show_01_2
def test_four_cpus(msb):
    assert msb.run("nproc", options=("-c", "4")).stdout == b"4\n"


@pytest.mark.show_01_2
def test_buildah_archives(tmp_path, buildah_archives):
    """Both kinds of archive that buildah writes, from a working container of nothing but busybox."""
    msb = Msb(tmp_path / "home")
    for kind in ("docker-archive", "oci-archive"):
        name = f"localhost/{kind}:1"
        done = msb("load", "-i", f"{buildah_archives}/{kind}.tar", "-t", name)
        assert done.returncode == 0, done.stderr
        assert msb("run", name, "--", "/bin/busybox", "echo", "ok").stdout == b"ok\n"


@pytest.mark.show_01_4
def test_killed_qemu(msb):
    """The machine dies under a running command: an error, soon, and nothing left."""
    child = msb.popen("run", "--hypervisor", "qemu", IMAGE, "--", "sh", "-c", "echo up; sleep 60", stdout=subprocess.PIPE,
                      stderr=subprocess.PIPE)
    assert child.stdout.readline() == b"up\n"
    victims = []
    for pid in descendants(child.pid):
        if os.readlink(f"/proc/{pid}/exe").rsplit("/", 1)[-1].startswith("qemu-system"):
            victims.append(pid)
    assert victims
    os.kill(victims[-1], signal.SIGKILL)
    _, said = child.communicate(timeout=20)
    assert child.returncode == 125 and said.count(b"error:") == 1, said


@pytest.mark.bad_input
def test_reached_by_a_symbolic_link(msb, tmp_path):
    link = tmp_path / "msb-link"
    link.symlink_to(MSB)
    done = subprocess.run([link, "run", IMAGE, "--", "echo", "ok"], env=msb.env, capture_output=True, timeout=30)
    assert (done.stdout, done.returncode) == (b"ok\n", 0)


@pytest.mark.bad_input
def test_kernel_and_qemu_missing(msb):
    for name in ("MSB_LIBKRUNFW_PATH", "MSB_QEMU_PATH"):
        done = subprocess.run([MSB, "run", "--hypervisor", "qemu", IMAGE, "--", "true"], env=dict(msb.env, **{name: "/nosuch"}),
                              capture_output=True, timeout=30)
        assert done.returncode == 125 and done.stderr.count(b"error:") == 1, (name, done.stderr)
