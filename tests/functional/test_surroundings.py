# SPDX-License-Identifier: Apache-2.0
"""What msb finds around it: odd parents, full disks, long paths; and archives made to exhaust or to deceive."""
import hashlib
import io
import json
import os
import signal
import subprocess
import tarfile

import pytest

from conftest import IMAGE, MSB, Msb


def member(tar, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def docker_archive(path, layer):
    """An archive as docker save writes it, with one layer."""
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {
        "type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}}
    with tarfile.open(path, "w") as tar:
        member(tar, "config.json", json.dumps(config).encode())
        member(tar, "layer.tar", layer)
        member(tar, "manifest.json", json.dumps(
            [{"Config": "config.json", "RepoTags": ["x:1"], "Layers": ["layer.tar"]}]).encode())
    return str(path)


def sparse_file(name, size, data_at):
    """A file of GNU tar's old sparse format: 512 bytes of data at one place, holes around it."""
    h = bytearray(512)

    def put(at, value):
        h[at:at + len(value)] = value

    put(0, name)
    for at, value in ((100, 0o644), (108, 0), (116, 0)):
        put(at, b"%07o\0" % value)
    for at, value in ((124, 512), (136, 0), (386, data_at), (398, 512), (410, size), (422, 0), (483, size)):
        put(at, b"%011o\0" % value)
    put(148, b" " * 8)
    h[156] = ord("S")
    put(257, b"ustar  \0")
    put(148, b"%06o\0 " % sum(h))
    return bytes(h) + b"z" * 512


def test_parent_that_ignores_sigchld(archive, tmp_path):
    done = Msb(tmp_path / "home")("load", "-i", str(archive), "-t", IMAGE,
                                  preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    assert done.returncode == 0, done.stderr


def test_listing_on_a_full_disk(msb):
    with open("/dev/full", "w") as full:
        done = msb("images", stdout=full)
    assert done.returncode == 1 and b"standard output" in done.stderr


def test_listing_whose_reader_left(msb):
    reader, writer = os.pipe()
    os.close(reader)
    done = msb("images", stdout=writer)
    os.close(writer)
    assert done.returncode == 141 and done.stderr == b""


def test_state_folder_with_a_long_path(tmp_path):
    deep = tmp_path.joinpath(*["d" * 200] * 6)
    done = subprocess.run([MSB, "images"], env=dict(os.environ, MSB_HOME=str(deep)), capture_output=True)
    assert done.returncode == 1 and b"longer than" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("given", ["./qemu", "{}/qemu"])
def test_qemu_by_a_link_or_a_relative_path(msb, tmp_path, given):
    (tmp_path / "qemu").symlink_to("/usr/bin/qemu-system-x86_64")
    msb.env["MSB_QEMU_PATH"] = given.format(tmp_path)
    done = msb.run("echo", "hi", options=["--hypervisor", "qemu"], cwd=tmp_path)
    assert done.stdout == b"hi\n", done.stderr


@pytest.mark.bad_input
def test_names_do_not_steer_the_terminal(tmp_path):
    for number, entry in enumerate((dict(type=tarfile.CHRTYPE), dict(uid=1 << 40))):
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            info = tarfile.TarInfo("a\x1b]0;owned\x07b")
            for key, value in entry.items():
                setattr(info, key, value)
            tar.addfile(info)
        done = Msb(tmp_path / "home")("load", "-i", docker_archive(tmp_path / f"{number}.tar", layer.getvalue()))
        assert b"a?]0;owned?b" in done.stderr and b"\x1b" not in done.stderr and b"\x07" not in done.stderr


@pytest.mark.long  # writes 10 GiB
@pytest.mark.bad_input
def test_holes_count(tmp_path):
    """Twenty files of 1 GiB in 21 KiB: stopped before their holes fill the disk."""
    layer = b"".join(sparse_file(b"f%d" % i, 1 << 30, (1 << 30) - 512) for i in range(20)) + bytes(1024)
    other = Msb(tmp_path / "home")
    done = other("load", "-i", docker_archive(tmp_path / "bomb.tar", layer), timeout=300)
    assert done.returncode == 1 and b"10 GiB" in done.stderr, done.stderr
    assert not list((tmp_path / "home/cache/layers").iterdir())


def test_sparse_file_that_ends_with_a_hole(tmp_path):
    layer = sparse_file(b"log", 1 << 20, 4096) + bytes(1024)
    other = Msb(tmp_path / "home")
    done = other("load", "-i", docker_archive(tmp_path / "sparse.tar", layer))
    assert done.returncode == 0, done.stderr
    data, = (tmp_path / "home/cache/layers").glob("*.data")
    assert data.read_bytes() == bytes(4096) + b"z" * 512 + bytes((1 << 20) - 4096 - 512)


@pytest.mark.bad_input
def test_indexes_that_double_at_each_level(tmp_path):
    blobs, current = {}, json.dumps({"manifests": []}).encode()
    for level in range(30):
        digest = hashlib.sha256(current).hexdigest()
        blobs[digest] = current
        current = json.dumps({"manifests": [{"digest": "sha256:" + digest}] * 2, "level": level}).encode()
    with tarfile.open(tmp_path / "bomb.tar", "w") as tar:
        member(tar, "index.json", current)
        for digest, data in blobs.items():
            member(tar, "blobs/sha256/" + digest, data)
    done = Msb(tmp_path / "home")("load", "-i", str(tmp_path / "bomb.tar"), timeout=30)
    assert done.returncode == 1 and b"manifests" in done.stderr, done.stderr
