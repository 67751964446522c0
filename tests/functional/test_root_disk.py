# SPDX-License-Identifier: Apache-2.0
"""Issue 02, rootfs sources: --root-disk in all its forms, and disk images in the place of IMAGE."""
import io
import os
import pathlib
import shutil
import struct
import subprocess
import tarfile
import time

import pytest

from conftest import IMAGE, Msb, processes_of, tree
from test_surroundings import docker_archive

HERE = pathlib.Path(__file__).parent
MIB = 1 << 20
ODD = "localhost/odd:1"


def but_templates(home):
    """A template per size is kept on purpose."""
    return {p for p in tree(home) if "/cache/templates/" not in p}


@pytest.fixture
def msb(home):
    before = but_templates(home)
    yield Msb(home)
    assert processes_of(home) == []
    assert but_templates(home) == before


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory):
    """A folder with busybox, to make disks of."""
    top = tmp_path_factory.mktemp("rootfs")
    for name in ("bin", "etc", "tmp", "dev", "proc", "sys", "run"):
        (top / name).mkdir()
    busybox = shutil.which("busybox")
    shutil.copy(busybox, top / "bin/busybox")
    for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet != "busybox":
            (top / "bin" / applet).symlink_to("busybox")
    (top / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    for name in ("hosts", "hostname", "resolv.conf"):
        (top / "etc" / name).touch()
    return top


@pytest.fixture(scope="module")
def made_disk(rootfs, tmp_path_factory):
    path = tmp_path_factory.mktemp("disk") / "made.raw"
    subprocess.run(["/usr/sbin/mke2fs", "-q", "-t", "ext4", "-d", rootfs, path, "64M"], check=True, capture_output=True)
    return path


@pytest.fixture
def raw(made_disk, tmp_path):
    return pathlib.Path(shutil.copy(made_disk, tmp_path / "disk.raw"))


@pytest.fixture
def qcow2(made_disk, tmp_path):
    return convert(made_disk, tmp_path / "disk.qcow2")


def convert(disk, path, *options):
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, disk, path], check=True)
    return path


def fails(done, code, *words):
    """One error line with these words in it or its hint, and nothing on standard output."""
    text = done.stderr.decode()
    assert done.returncode == code and text.count("error:") == text.count("  → ") == 1, (done.returncode, text)
    assert not done.stdout
    for word in words:
        assert word in text, text


def allocated(folder):
    return sum(os.lstat(path).st_blocks * 512 for path in tree(folder))


def mib_of_root(msb, *options):
    done = msb.run("df", "-m", "/", options=options)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split(b"\n")[1].split()[1])


# --root-disk

def some(first, *more):
    """Parameters of which all but the first are for make check-long."""
    return [first, *(pytest.param(*(m if isinstance(m, tuple) else (m,)), marks=pytest.mark.long) for m in more)]


@pytest.mark.parametrize("options, low, high", [
    ((), 3900, 4096), (("--oci-upper-size", "100"), 94, 100), (("--root-disk", "tmpfs:100M"), 100, 100),
    *some((("--root-disk", "flat:32M,fstype=ext4,clone=copy"), 28, 32), (("--root-disk", "64M"), 58, 64),
          (("--root-disk", "100G"), 100000, 102400), (("--root-disk", "tmpfs", "-m", "256M"), 100, 128),
          (("--root-disk", "flat"), 3900, 4096))])
def test_size_in_the_guest(msb, options, low, high):
    assert low <= mib_of_root(msb, *options) <= high


@pytest.mark.parametrize("spec", some("64M", "tmpfs:64M", "flat:64M"))
def test_full(msb, spec):
    """ENOSPC at the limit; what is deleted can be written again; the host gets its room back."""
    before = allocated(msb.home)
    done = msb.run("sh", "-c", "dd if=/dev/urandom of=/big bs=1M count=200; ls -l /big; rm /big; echo again > /x && cat /x",
                   options=("--root-disk", spec))
    assert done.returncode == 0 and b"No space left on device" in done.stderr, done.stderr
    size = int(done.stdout.split()[4])
    assert 40 * MIB < size <= 64 * MIB and done.stdout.endswith(b"again\n")
    assert allocated(msb.home) - before < MIB  # a template may be new


@pytest.mark.parametrize("spec", some("flat:64M", "64M", "tmpfs"))
def test_gone_at_the_end(msb, spec):
    for _ in range(2):
        done = msb.run("sh", "-c", "ls /mark; echo 1 > /mark && sync", options=("--root-disk", spec))
        assert done.returncode == 0 and b"/mark: No such file" in done.stderr, done.stderr


@pytest.fixture(scope="module")
def odd(home, rootfs, tmp_path_factory):
    """An image with one of each kind of entry, and a program that lists them."""
    top = tmp_path_factory.mktemp("odd")
    subprocess.run(["musl-gcc", "-O1", "-static", "-o", top / "lister", HERE / "lister.c"], check=True)
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as tar:
        def add(name, kind=tarfile.REGTYPE, mode=0o644, contents=b"", link="", uid=0, gid=0, mtime=1000000000, pax=None,
                major=0, minor=0):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.size, info.linkname, info.mtime = kind, mode, len(contents), link, mtime
            info.uid, info.gid, info.pax_headers, info.devmajor, info.devminor = uid, gid, pax or {}, major, minor
            tar.addfile(info, io.BytesIO(contents))
        for name in ("", "bin", "etc", "dev", "proc", "sys", "run"):
            add("./" + name, tarfile.DIRTYPE, 0o755)
        add("tmp", tarfile.DIRTYPE, 0o1777)
        add("bin/busybox", mode=0o755, contents=(rootfs / "bin/busybox").read_bytes())
        add("bin/lister", mode=0o755, contents=(top / "lister").read_bytes())
        add("bin/sh", tarfile.SYMTYPE, 0o777, link="busybox")  # ext4 gives links no other mode
        for name in ("passwd", "hosts", "hostname", "resolv.conf"):
            add("etc/" + name, contents=b"root:x:0:0::/:/bin/sh\n" if name == "passwd" else b"")
        add("a", tarfile.DIRTYPE, 0o2750, uid=7, gid=4000000000, mtime=1234567890.5)
        deep = "a" + "/d" * 100
        for i in range(1, 101):
            add("a" + "/d" * i, tarfile.DIRTYPE, 0o700, mtime=i)
        add(deep + "/deep", contents=b"deep", mtime=1)
        add("a/suid", mode=0o6755, contents=b"x" * 5000, uid=1000, gid=1000)
        add("a/cap", mode=0o755, contents=b"y", pax={"SCHILY.xattr.security.capability":
            "\x01\x00\x00\x02\x00 \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "SCHILY.xattr.user.note": "n"})
        add("a/hard", tarfile.LNKTYPE, link="a/suid")
        add(deep + "/hard2", tarfile.LNKTYPE, link="a/suid")
        add("a/null", tarfile.CHRTYPE, 0o666, major=1, minor=3)
        add("a/block", tarfile.BLKTYPE, 0o600, major=259, minor=70000, gid=6)
        add("a/fifo", tarfile.FIFOTYPE, 0o640)
        add("a/dangling", tarfile.SYMTYPE, 0o777, link="/no/where", uid=5, mtime=77)
        add("a/big", contents=os.urandom(3 * MIB + 17), mtime=2**33)
        add("a/empty", mode=0)
        add("a/" + "n" * 255, contents=b"long")
        add("a/new\nline \\ name", contents=b"strange")
        for i in range(500):
            add(f"a/many{i}", contents=b"%d" % i)
    other = Msb(home)
    done = other("load", "-i", docker_archive(top / "odd.tar", data.getvalue()), "-t", ODD)
    assert done.returncode == 0, done.stderr
    yield ODD
    assert other("rmi", ODD).returncode == 0


def test_flat_is_a_faithful_copy(home, odd):
    """Every attribute of every entry, listed in the guest: on the overlay and on the flat disk."""
    msb = Msb(home)
    overlay = msb("run", odd, "--", "/bin/lister")
    flat = msb("run", "--root-disk", "flat:64M", odd, "--", "/bin/lister")
    assert overlay.returncode == flat.returncode == 0, (overlay.stderr, flat.stderr)
    want, got = (sorted(d.stdout.decode().splitlines()) for d in (overlay, flat))
    assert len(want) > 570 and any("security.capability" in line for line in want) and any("links 3" in line for line in want)
    assert got == want


def test_flat_too_small(home, odd, tmp_path):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        info = tarfile.TarInfo("big")
        info.size = 20 * MIB
        tar.addfile(info, io.BytesIO(os.urandom(info.size)))
    msb = Msb(tmp_path / "home")
    assert msb("load", "-i", docker_archive(tmp_path / "big.tar", data.getvalue()), "-t", "localhost/big:1").returncode == 0
    fails(msb("run", "--root-disk", "flat:16M", "localhost/big:1", "--", "x"), 125, "does not fit", "flat:SIZE")


def test_own_upper_disk(msb, odd, tmp_path):
    disk = tmp_path / "upper.img"
    subprocess.run(["/usr/sbin/mke2fs", "-q", "-t", "ext4", disk, "32M"], check=True, capture_output=True)
    options = ("--root-disk", f"{disk}:format=raw,fstype=ext4")
    assert 20 <= mib_of_root(msb, *options) <= 32
    assert msb.run("sh", "-c", "echo kept > /kept", options=options).returncode == 0
    assert msb.run("cat", "/kept", "/etc/passwd", options=options).stdout.startswith(b"kept\nroot:")
    subprocess.run(["/usr/sbin/e2fsck", "-fn", disk], check=True, capture_output=True)
    fails(msb("run", *options, odd, "--", "/bin/lister"), 125, "another image")
    before = convert(disk, tmp_path / "upper.qcow2").read_bytes()
    options = ("--root-disk", str(tmp_path / "upper.qcow2"))
    for _ in range(2):
        assert msb.run("sh", "-c", "cat /kept /more; echo more > /more; sync", options=options).stdout == b"kept\n"
    assert (tmp_path / "upper.qcow2").read_bytes() == before


def test_own_upper_disk_refused(msb, tmp_path, qcow2):
    def run(spec):
        return msb.run("true", options=("--root-disk", spec))
    fails(run(str(tmp_path / "missing")), 125, "missing", "No such file")
    fails(run(str(tmp_path)), 125, str(tmp_path))
    (tmp_path / "empty").touch()
    fails(run(str(tmp_path / "empty")), 125, "empty", "not a regular file with contents")
    (tmp_path / "blank").write_bytes(bytes(MIB))
    fails(run(str(tmp_path / "blank")), 125, "no ext4 file system", "mkfs.ext4")
    shutil.copy(qcow2, tmp_path / "qcow2.img")
    fails(run(str(tmp_path / "qcow2.img")), 125, "qcow2", "format=qcow2")
    fails(run(str(tmp_path / "blank") + ":format=qcow2"), 125, "not a qcow2 image")
    fails(run(str(convert(tmp_path / "blank", tmp_path / "blank.qcow2"))), 125, "writable disk", "ext4")
    os.mkfifo(tmp_path / "fifo")
    fails(run(str(tmp_path / "fifo")), 125, "not a regular file")


@pytest.mark.bad_input
@pytest.mark.parametrize("spec, word", [
    ("0", "16M"), ("1M", "16M"), ("99999G", "8192G"), ("x", "neither"), ("tmpfs:0", "out of range"), ("tmpfs:1G", "memory"),
    ("flat:1", "16M"), ("flat,clone=no", "clone"), ("flat,fstype=xfs", "ext4"), ("./x:format=vmdk", "format"), ("", "--root-disk")])
def test_usage_errors(msb, spec, word):
    fails(msb.run("true", options=("--root-disk", spec)), 2, word)


@pytest.mark.bad_input
def test_usage_errors_of_combinations(msb, raw):
    fails(msb("run", "--root-disk", "64M", str(raw), "--", "true"), 2, "--root-disk", "disk image")
    fails(msb("run", "--oci-upper-size", "64M", str(raw), "--", "true"), 2, "--oci-upper-size")
    fails(msb.run("true", options=("--root-disk", "64M", "--oci-upper-size", "64M")), 2, "exclude")
    assert b"tmpfs[:SIZE]" in msb("run", "--help").stdout


def test_reflink_demanded(msb):
    """Either the file system can, or the error says that it cannot."""
    done = msb.run("echo", "ok", options=("--root-disk", "flat:32M,clone=reflink"))
    if done.returncode:
        fails(done, 125, "reflink", "clone=auto")
    else:
        assert done.stdout == b"ok\n"


# Disk images as IMAGE

def test_raw_is_written_in_place(msb, raw):
    """Without a sync in the guest: the end of the sandbox shuts it down in order."""
    for n in (1, 2, 3):
        done = msb("run", str(raw), "--", "sh", "-c", "echo line >> /log; wc -l < /log; df -m / | tail -1; cat /proc/sys/kernel/hostname")
        assert done.returncode == 0, done.stderr
        count, df, name = done.stdout.decode().splitlines()
        assert (int(count), df.split()[0]) == (n, "/dev/vda") and name.startswith("msb-")
    subprocess.run(["/usr/sbin/e2fsck", "-fn", raw], check=True, capture_output=True)


def test_raw_by_relative_path(msb, raw):
    done = msb("run", "./disk.raw", "--", "echo", "ok", cwd=raw.parent)
    assert done.stdout == b"ok\n", done.stderr
    fails(msb("run", "disk.raw", "--", "true", cwd=raw.parent), 125, "./disk.raw")


def test_signal_ends_a_raw_disk_in_order(msb, raw):
    child = msb.popen("run", str(raw), "--", "sh", "-c", "echo kept > /kept; echo up; exec sleep 100", stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"up\n"
    child.terminate()
    assert child.wait(timeout=30) == 143
    child.stdout.close()
    assert msb("run", str(raw), "--", "cat", "/kept").stdout == b"kept\n"
    subprocess.run(["/usr/sbin/e2fsck", "-fn", raw], check=True, capture_output=True)


@pytest.mark.parametrize("packed", some("-c", "-q", "-ocompat=0.10,cluster_size=4096"))
def test_qcow2_is_never_written(msb, made_disk, tmp_path, packed):
    path = convert(made_disk, tmp_path / "disk.qcow2", packed)
    before = path.read_bytes()
    os.chmod(path, 0o444)
    for _ in range(2):
        done = msb("run", str(path), "--", "sh", "-c", "echo line >> /log; wc -l < /log; dd if=/dev/urandom of=/x bs=1M count=8; "
                   "sync; md5sum < /bin/busybox; rm /bin/busybox; sync")
        assert done.returncode == 0 and done.stdout.split()[0] == b"1", done.stderr
        assert done.stdout.split()[1] == subprocess.run("md5sum < $(command -v busybox)", shell=True, capture_output=True).stdout.split()[0]
    assert path.read_bytes() == before


def test_one_writer(msb, raw, qcow2):
    child = msb.popen("run", str(raw), "--", "sh", "-c", "echo up; cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"up\n"
    fails(msb("run", str(raw), "--", "true"), 125, str(raw), "in use", "one writer")
    fails(msb.run("true", options=("--root-disk", str(raw))), 125, "in use")
    child.communicate(timeout=30)
    assert msb("run", str(raw), "--", "true").returncode == 0
    first = msb.popen("run", str(qcow2), "--", "sh", "-c", "echo up; cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert first.stdout.readline() == b"up\n"
    assert msb("run", str(qcow2), "--", "echo", "both").stdout == b"both\n"
    first.communicate(timeout=30)


def test_lock_ends_with_a_killed_run(msb, raw):
    child = msb.popen("run", str(raw), "--", "sh", "-c", "echo up; sleep 100", stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"up\n"
    child.kill()
    child.wait()
    child.stdout.read()
    child.stdout.close()
    end = time.monotonic() + 20  # the sandbox ends by itself, in order; until then the image is in use
    while (done := msb("run", str(raw), "--", "echo", "ok")).returncode and time.monotonic() < end:
        fails(done, 125, "in use")
    assert done.stdout == b"ok\n"


def test_partitions(msb, made_disk, tmp_path):
    """The first partition with a file system: here the second of two, behind an MBR."""
    disk = tmp_path / "parted.raw"
    entry = b"\0\0\0\0%c\0\0\0" % 0x83
    table = entry + struct.pack("<II", 2048, 2048) + entry + struct.pack("<II", 4096, 64 * 2048)
    with open(disk, "wb") as f:
        f.write(bytes(446) + table + bytes(32) + b"\x55\xaa")
        f.seek(4096 * 512)
        f.write(made_disk.read_bytes())
    done = msb("run", str(disk), "--", "sh", "-c", "df / | tail -1; touch /x")
    assert done.returncode == 0 and done.stdout.startswith(b"/dev/vda2"), done.stderr
    with open(disk, "r+b") as f:
        f.seek(4096 * 512)
        f.write(bytes(MIB))
    fails(msb("run", str(disk), "--", "true"), 125, "no file system", "partitions")


def test_read_only_file_system(msb, rootfs, tmp_path):
    disk = tmp_path / "erofs.raw"
    subprocess.run(["mkfs.erofs", disk, rootfs], check=True, capture_output=True)
    done = msb("run", str(disk), "--", "sh", "-c", "touch /x; hostname; cat /etc/hosts")
    assert b"Read-only file system" in done.stderr and b"localhost" in done.stdout, done.stderr


@pytest.mark.bad_input
def test_bad_disks(msb, raw, tmp_path, dice):
    def disk(name, contents):
        (tmp_path / name).write_bytes(contents)
        return msb("run", str(tmp_path / name), "--", "true")
    fails(disk("blank.raw", bytes(MIB)), 125, "no file system")
    fails(disk("xfs.raw", b"XFSB" + bytes(MIB)), 125, "xfs", "ext4")
    fails(disk("empty.raw", b""), 125, "empty.raw")
    fails(disk("small.raw", b"x" * 511), 125, "small.raw", "contents")
    fails(disk("noise.raw", dice.randbytes(MIB)), 125, "no file system")
    fails(disk("x.vmdk", b"KDMV"), 125, "VMDK", "qemu-img convert")
    fails(disk("x.iso", b"x"), 125, "x.iso", ".raw or .qcow2")
    fails(disk("noise.qcow2", dice.randbytes(MIB)), 125, "noise.qcow2", "not a qcow2")
    fails(msb("run", str(tmp_path / "missing.raw"), "--", "true"), 125, "missing.raw", "No such file")
    fails(msb("run", str(tmp_path), "--", "true"), 125, str(tmp_path), "host directory")
    fails(msb("run", ".", "--", "true", cwd=tmp_path), 125, "host directory")
    magic = bytearray(raw.read_bytes()[:MIB])  # a super block without the rest
    fails(disk("cut.raw", magic), 125, "mount the disk image", "ext4")
    fails(disk("q.raw", b"QFI\xfb" + bytes(MIB)), 125, "qcow2 image, not a raw one")


@pytest.mark.bad_input
def test_raw_not_writable(msb, raw):
    if os.geteuid() == 0:
        subprocess.run(["mount", "--bind", raw, raw], check=True)
        subprocess.run(["mount", "-o", "remount,ro,bind", raw], check=True)
    else:
        os.chmod(raw, 0o444)
    try:
        fails(msb("run", str(raw), "--", "true"), 125, str(raw), "written in place")
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", raw], check=True)


@pytest.mark.bad_input
def test_bad_qcow2(msb, made_disk, qcow2, tmp_path):
    good = qcow2.read_bytes()

    def patched(offset, fmt, value):
        data = bytearray(good)
        struct.pack_into(fmt, data, offset, value)
        (tmp_path / "bad.qcow2").write_bytes(data)
        return msb("run", str(tmp_path / "bad.qcow2"), "--", "true")
    fails(patched(36, ">I", 0xffffffff), 125, "bad.qcow2", "L1 table")
    fails(patched(20, ">I", 60), 125, "cluster size")
    fails(patched(24, ">Q", 1 << 45), 125, "L1 table")
    fails(patched(32, ">I", 1), 125, "encrypted")
    fails(patched(72, ">Q", 2), 125, "corrupt", "qemu-img check")
    fails(patched(4, ">I", 9), 125, "version 9")
    (tmp_path / "bad.qcow2").write_bytes(good[:50])
    fails(msb("run", str(tmp_path / "bad.qcow2"), "--", "true"), 125, "cut off")
    overlay = tmp_path / "overlay.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", made_disk, "-F", "raw", overlay], check=True)
    fails(msb("run", str(overlay), "--", "true"), 125, "backing file", str(made_disk), "qemu-img convert")
    # Tables that lead out of the file: the guest sees read errors, and the run ends with one line.
    l1, = struct.unpack_from(">Q", good, 40)
    fails(patched(l1, ">Q", 1 << 50), 125)


@pytest.mark.bad_input
def test_huge_qcow2(msb, tmp_path):
    """A disk of 1 EiB in a small file."""
    huge = tmp_path / "huge.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", huge, str(1 << 60)], check=True)
    done = msb("run", str(huge), "--", "true", timeout=30)
    fails(done, 125, "huge.qcow2", "64 TiB")


def test_disk_without_a_command(msb, raw):
    done = msb("run", str(raw))
    assert done.returncode == 0 and b"no command" in done.stderr
