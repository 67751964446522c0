# SPDX-License-Identifier: Apache-2.0
"""Issue 01: other images, other users, many machines, killed parts."""
import os
import shutil
import signal
import subprocess
import time

import pytest

from conftest import IMAGE, MSB, TOP, Msb, processes_of
from test_run import descendants

ENV_LONG = bool(os.environ.get("MSB_LONG"))


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
def test_buildah_archives(tmp_path):
    """Both kinds of archive that buildah writes, from a working container of nothing but busybox."""
    env = dict(os.environ, STORAGE_DRIVER="vfs", BUILDAH_ISOLATION="chroot")
    options = ["--root", str(tmp_path / "store"), "--runroot", str(tmp_path / "runroot")]

    def buildah(*args):
        return subprocess.run(["buildah", *options, *args], env=env, check=True, capture_output=True, text=True).stdout.strip()

    container = buildah("from", "scratch")
    buildah("copy", container, shutil.which("busybox"), "/bin/busybox")
    buildah("commit", container, "localhost/built:1")
    msb = Msb(tmp_path / "home")
    for kind in ("docker-archive", "oci-archive"):
        out = tmp_path / f"{kind}.tar"
        buildah("push", "-q", "localhost/built:1", f"{kind}:{out}:localhost/built:1")
        name = f"localhost/{kind}:1"
        done = msb("load", "-i", str(out), "-t", name)
        assert done.returncode == 0, done.stderr
        assert msb("run", name, "--", "/bin/busybox", "echo", "ok").stdout == b"ok\n"


@pytest.mark.show_01_4
def test_eight_at_once(msb):
    children = [msb.popen("run", "-m", "128M", IMAGE, "--", "echo", str(i), stdout=subprocess.PIPE) for i in range(8)]
    for i, child in enumerate(children):
        assert child.communicate(timeout=120)[0] == b"%d\n" % i
        assert child.returncode == 0


@pytest.mark.show_01_4
def test_one_after_the_other(msb):
    for i in range(200 if ENV_LONG else 10):
        assert msb.run("echo", str(i)).stdout == b"%d\n" % i


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


@pytest.mark.show_01_4
def test_mounts_stay_the_same(msb):
    with open("/proc/self/mountinfo") as f:
        before = f.read()
    assert msb.run("true").returncode == 0
    with open("/proc/self/mountinfo") as f:
        assert f.read() == before


@pytest.mark.show_01_3
def test_guest_clock_within_a_second(msb):
    """busybox date has no fractions: the guest's second must lie between the host's before and after, one of slack."""
    before = time.time()
    guest = int(msb.run("date", "+%s").stdout)
    assert before - 1 <= guest <= time.time() + 1


@pytest.mark.show_01_6
def test_ordinary_user(archive):
    """Without root, without access to /dev/kvm, with a HOME of its own."""
    if os.geteuid() != 0:
        return  # then every other test is this one
    top = subprocess.run(["mktemp", "-d", "/tmp/msb-user.XXXXXX"], check=True, capture_output=True, text=True).stdout.strip()
    try:
        os.chmod(top, 0o755)
        for program in ("msb", "msb-image"):
            shutil.copy(MSB.parent / program, top)
        shutil.copyfile(archive, f"{top}/image.tar")
        kernel = subprocess.run([TOP / "kernel/build.sh", "--path"], check=True, capture_output=True, text=True).stdout.strip()
        shutil.copyfile(kernel, f"{top}/vmlinux")
        for name in ("image.tar", "vmlinux"):
            os.chmod(f"{top}/{name}", 0o644)
        os.mkdir(f"{top}/home")
        os.chown(f"{top}/home", 12345, 12345)
        env = {"PATH": os.environ["PATH"], "HOME": f"{top}/home", "MSB_LIBKRUNFW_PATH": f"{top}/vmlinux"}

        def msb(*args):
            return subprocess.run(["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", f"{top}/msb", *args],
                                  env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)

        assert msb("load", "-i", f"{top}/image.tar", "-t", "x:1").returncode == 0
        done = msb("run", "x:1", "--", "id", "-u")
        assert (done.stdout, done.returncode) == (b"0\n", 0), done.stderr
        done = msb("run", "x:1", "--", "sh", "-c", "exit 9")
        assert done.returncode == 9
        done = msb("doctor")
        assert done.returncode == 0 and b"KVM" in done.stdout
        assert processes_of(top) == []
        assert [n for n in os.listdir(f"{top}/home/.microsandbox/sandboxes") if not n.startswith(".")] == []
    finally:
        shutil.rmtree(top)


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
