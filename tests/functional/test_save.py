# SPDX-License-Identifier: Apache-2.0
"""Issue line 02.4: what msb save writes is what was loaded: other tools read it, and loading it gives the same image."""
import contextlib
import hashlib
import json
import os
import pathlib
import pty
import subprocess
import tarfile

import pytest

from conftest import Msb
from test_unpack import ZOO, Zoo, list_in_guest, listing

PYTHON = "localhost/python:1"
FORMATS = {"docker": "docker-archive", "oci": "oci-archive"}


@pytest.fixture(scope="module")
def zoo():
    return Zoo(5000, 1)


@pytest.fixture(scope="module")
def msb(tmp_path_factory, zoo, python_archive):
    msb = Msb(tmp_path_factory.mktemp("save-home"))
    assert msb("load", "-q", "-i", str(zoo.folder / "zoo.tar")).returncode == 0
    assert msb("load", "-q", "-i", python_archive, "-t", PYTHON).returncode == 0
    return msb


def inspect(msb, image):
    done = msb("image", "inspect", "--format", "json", image)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def diff_ids(msb, image):
    return [layer["diff_id"] for layer in inspect(msb, image)["layers"]]


def metadata(msb, image):
    """The image's file system metadata without the UUID, which comes from the manifest's digest."""
    data = bytearray((msb.home / f"cache/manifests/{inspect(msb, image)['digest'][7:]}.erofs").read_bytes())
    data[1072:1088] = bytes(16)
    return bytes(data)


def save(msb, to, *images, form="docker"):
    done = msb("save", "--format", form, "-o", str(to), *images)
    assert done.returncode == 0, done.stderr
    assert [p.name for p in to.parent.iterdir() if p.name.startswith(to.name)] == [to.name]
    return to


@pytest.mark.show_02_4
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("image", (ZOO, PYTHON))
def test_skopeo_reads_it(msb, tmp_path, image, form):
    archive = save(msb, tmp_path / "saved.tar", image, form=form)
    source = f"{FORMATS[form]}:{archive}"
    seen = json.loads(subprocess.run(["skopeo", "inspect", source], check=True, capture_output=True).stdout)
    config = json.loads(subprocess.run(["skopeo", "inspect", "--config", source], check=True, capture_output=True).stdout)
    want = diff_ids(msb, image)
    assert seen["Architecture"] == "amd64" and config["rootfs"]["diff_ids"] == want
    subprocess.run(["skopeo", "copy", "-q", "--insecure-policy", source, f"dir:{tmp_path}/copy"], check=True)
    manifest = json.loads((tmp_path / "copy/manifest.json").read_text())
    got = []
    for layer in manifest["layers"]:
        data = (tmp_path / "copy" / layer["digest"][7:]).read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = subprocess.run(["gzip", "-dc"], input=data, check=True, capture_output=True).stdout
        got.append("sha256:" + hashlib.sha256(data).hexdigest())
    assert got == want
    print(f"{image} as {form}: {len(got)} layers copied by skopeo, diff_ids unchanged")


@pytest.mark.show_02_4
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("image", (ZOO, PYTHON))
def test_load_of_it_is_the_original(msb, tmp_path, image, form):
    archive = save(msb, tmp_path / "saved.tar", image, form=form)
    (tmp_path / "home").mkdir()
    other = Msb(tmp_path / "home")
    done = other("load", "-i", str(archive))
    assert done.returncode == 0 and done.stdout == f"Loaded {image}\n".encode(), done
    mine, theirs = inspect(msb, image), inspect(other, image)
    assert [layer["diff_id"] for layer in mine["layers"]] == [layer["diff_id"] for layer in theirs["layers"]]
    assert mine["config"] == theirs["config"] and mine["size_bytes"] == theirs["size_bytes"]
    assert metadata(msb, image) == metadata(other, image)
    for layer in mine["layers"]:
        for kind in "data", "index", "frame":
            name = f"cache/layers/{layer['diff_id'][7:]}.{kind}"
            assert (msb.home / name).read_bytes() == (other.home / name).read_bytes()
    again = save(other, tmp_path / "again.tar", image, form=form)
    assert again.read_bytes() == archive.read_bytes()


@pytest.mark.show_02_4
def test_the_guest_sees_the_same(msb, zoo, tmp_path):
    archive = save(msb, tmp_path / "saved.tar", ZOO, form="oci")
    (tmp_path / "home").mkdir()
    other = Msb(tmp_path / "home")
    assert other("load", "-q", "-i", str(archive)).returncode == 0
    print(zoo.check(list_in_guest(other)))


@pytest.mark.root
@pytest.mark.show_02_4
def test_umoci_reads_it(msb, zoo, tmp_path):
    """The mmdebstrap image: of the zoo's old sparse files umoci knows nothing."""
    archive = save(msb, tmp_path / "saved.tar", PYTHON, form="oci")
    subprocess.run(["tar", "-C", tmp_path, "--one-top-level=layout", "-xf", archive], check=True)
    listed = subprocess.run(["umoci", "ls", "--layout", tmp_path / "layout"], check=True, capture_output=True, text=True).stdout
    tag, = listed.split()
    subprocess.run(["umoci", "raw", "unpack", "--image", f"{tmp_path}/layout:{tag}", tmp_path / "tree"], check=True, capture_output=True)
    theirs = listing.read(subprocess.run([zoo.folder / "lister", tmp_path / "tree"], check=True, capture_output=True, text=True).stdout)
    program = (zoo.folder / "lister").read_bytes()
    done = msb("run", PYTHON, "--", "python3", "-BISc", "import os, sys; fd = os.memfd_create('lister', 0)\n"
               "os.write(fd, sys.stdin.buffer.read()); os.execv(f'/proc/self/fd/{fd}', ['lister', '/'])", input=program, timeout=300)
    assert done.returncode == 0, done.stderr
    ours = listing.read(done.stdout.decode())
    # Mount points that the image has not, made by the agent; and the folders in which it made them.
    made = {p for p in (".msb", "dev", "proc", "sys", "run", "tmp", "etc/hostname", "etc/hosts", "etc/resolv.conf") if p not in theirs}
    changed = {os.path.dirname(p) or "." for p in made}
    for path in made:
        del ours[path]
    for path in changed:
        ours[path]["mtime"] = theirs[path]["mtime"]
    assert listing.compare(theirs, ours) == []
    print(len(theirs), "paths: umoci's tree of the saved image is the guest's")


@pytest.mark.show_02_4
def test_several_share_their_layers(msb, tmp_path):
    assert msb("load", "-q", "-i", str(Zoo(5000, 1).folder / "docker.tar")).returncode == 0
    for form in FORMATS:
        archive = save(msb, tmp_path / f"{form}.tar", ZOO, "localhost/zoo:docker", PYTHON, form=form)
        with tarfile.open(archive) as t:
            names = [m.name for m in t if m.isfile()]
        assert len(names) == len(set(names))
        blobs = [n for n in names if n.endswith("/layer.tar") or n.startswith("blobs/")]
        layers = len(set(diff_ids(msb, ZOO) + diff_ids(msb, PYTHON)))
        assert len(blobs) == (layers if form == "docker" else layers + 4)  # two configs (the zoo's are one), two manifests of each
        (tmp_path / form).mkdir()
        other = Msb(tmp_path / form)
        done = other("load", "-i", str(archive))
        assert sorted(done.stdout.decode().split()[1::2]) == sorted([ZOO, "localhost/zoo:docker", PYTHON]), done


def no_file(folder):
    return [p.name for p in folder.iterdir()] == []


@pytest.mark.show_02_4
@pytest.mark.root
def test_full_disk(msb, tmp_path):
    """A file system of 1 MiB: one line, no file; what was there before stays."""
    (tmp_path / "small").mkdir()
    script = 'mount -t tmpfs -o size=1m none "$1" && cd "$1" && echo before > old && shift && "$@"; echo "exit status $?"; ls -A; cat old'
    for form in FORMATS:
        done = subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", tmp_path / "small", *msb.command, "save", "--format", form, "-o", "old",
                               ZOO], env=msb.env, capture_output=True, text=True)
        assert done.stdout.splitlines() == ["exit status 1", "old", "before"]
        print(done.stderr.splitlines()[0])
        assert "No space left on device" in done.stderr and done.stderr.count("error:") == 1


@pytest.mark.show_02_4
def test_nobody_reads(msb):
    """A closed pipe, a full device, a terminal: an answer, an exit code, no waiting."""
    with subprocess.Popen([*msb.command, "save", ZOO], env=msb.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert len(child.stdout.read(1000)) == 1000
        child.stdout.close()
        said = child.stderr.read()
        assert child.wait(20) == 1
        assert said.count(b"error:") == 1 and b"Broken pipe" in said
    for options in (), ("-o", "/dev/full"):
        with open("/dev/full", "wb") as full:
            done = msb("save", *options, ZOO, stdout=full)
        assert done.returncode == 1 and b"No space left on device" in done.stderr
    here, there = pty.openpty()
    done = msb("save", ZOO, stdout=there)
    os.close(there)
    with contextlib.suppress(OSError):
        assert os.read(here, 1) == b""
    os.close(here)
    assert done.returncode != 0 and b"terminal" in done.stderr and b"-o FILE" in done.stderr


@pytest.mark.show_02_4
def test_to_standard_output(msb, tmp_path):
    archive = save(msb, tmp_path / "saved.tar", PYTHON)
    done = msb("save", PYTHON)
    assert done.returncode == 0 and done.stdout == archive.read_bytes()


@contextlib.contextmanager
def flipped(path, at):
    """One bit of a file of the store is another."""
    before = path.read_bytes()
    assert len(before) > at >= 0
    path.write_bytes(before[:at] + bytes([before[at] ^ 4]) + before[at + 1:])
    try:
        yield
    finally:
        path.write_bytes(before)


@pytest.mark.show_02_4
@pytest.mark.parametrize("form", FORMATS)
def test_damaged_store(msb, tmp_path, form):
    """A flipped bit in any of a layer's files: said, and no file; the image as it was can still be saved."""
    # Contents that are in the index: of a small file. The size of the tar is in the frame's first 16 bytes.
    for image, layer, small in (ZOO, diff_ids(msb, ZOO)[1], b"root:x:0:0"), (PYTHON, diff_ids(msb, PYTHON)[0], b"VERSION_CODENAME="):
        for kind, at in ("data", -5000), ("index", small), ("frame", 9), ("frame", 20), ("frame", -50):
            path = pathlib.Path(msb.home) / f"cache/layers/{layer[7:]}.{kind}"
            data = path.read_bytes()
            with flipped(path, data.index(at) if kind == "index" else at % len(data)):
                done = msb("save", "--format", form, "-o", str(tmp_path / "saved.tar"), image)
            said = done.stderr.decode()
            assert done.returncode == 1 and no_file(tmp_path), said
            assert said.count("error:") == 1 and f"layer {layer[7:19]} is damaged" in said and image in said
            print(kind, at, "-", said.splitlines()[0])
        (path.parent / "away").write_bytes(data)
        path.unlink()
        done = msb("save", "--format", form, "-o", str(tmp_path / "saved.tar"), image)
        (path.parent / "away").rename(path)
        assert done.returncode == 1 and no_file(tmp_path) and b"again" in done.stderr
    save(msb, tmp_path / "saved.tar", ZOO, PYTHON, form=form)


@pytest.mark.show_02_4
def test_bad_arguments(msb, tmp_path):
    for arguments, code, words in (([], 2, ""), (["nowhere:1"], 1, "docker.io/library/nowhere:1 is not here"), (["-o", str(tmp_path), ZOO], 1, "directory"),
                                   (["-o", str(tmp_path / "no/such"), ZOO], 1, "No such file"), (["--format", "zip", ZOO], 2, "zip"),
                                   ([ZOO, "nowhere:1", "-o", str(tmp_path / "x")], 1, "nowhere:1")):
        done = msb("save", *arguments)
        assert done.returncode == code and words in done.stderr.decode(), done
        assert no_file(tmp_path)
