# SPDX-License-Identifier: Apache-2.0
"""Issue line 02.2: what the guest sees of an image is what umoci unpacks of it, path by path and byte by byte."""
import collections
import json
import pathlib
import re
import subprocess
import sys
import tarfile

import pytest

from conftest import TOP, Msb

sys.path.insert(0, str(TOP / "tests/images"))
import listing  # noqa: E402
from zoo import KINDS  # noqa: E402

ZOO = "localhost/zoo:1"
FILES, MANY = 5000, 200000
# What fsck.erofs 1.5 does not restore: extended attributes, set-id bits, hard links
EXTRACTED = [f for f in listing.FIELDS[1:] if f not in ("mode", "group", "xattrs")]


class Zoo:
    def __init__(self, files, seed):
        self.folder = pathlib.Path(subprocess.run(["bash", TOP / "tests/images/zoo.sh", str(files), str(seed)], check=True,
                                                  capture_output=True, text=True).stdout.strip())
        self.umoci = listing.read((self.folder / "umoci.list").read_text())
        self.from_s, self.to_s = map(int, (self.folder / "unpacking").read_text().split())
        self.folders = collections.defaultdict(set)
        for line in (self.folder / "folders").read_text().splitlines():
            path, mtime = line.split("\t")
            self.folders[path].add(mtime)
        for e in self.umoci.values():
            if self.from_s <= int(e["mtime"].split(".")[0]) <= self.to_s:
                e["mtime"] = "UNPACKING"

    def check(self, ours):
        """The whole comparison. Return: what it covered, in words."""
        known = listing.known_differences()
        assert len(known) <= 5
        assert listing.compare(self.umoci, ours, known=known) == []
        assert [k.reason for k in known if not k.seen] == []
        # Where umoci's time is of no use: one that an entry gives the folder, or none where nobody named it.
        for path, e in ours.items():
            if self.umoci.get(path, {}).get("mtime") == "UNPACKING":
                assert e["type"] == "d" and e["mtime"] in self.folders[path] | {"0.000000000"}, path
        kinds = collections.Counter(e["type"] for e in ours.values())
        return f"{len(ours)} paths equal ({', '.join(f'{n} {t}' for t, n in kinds.items())}); differences: " + \
            ", ".join(f"{k.seen} of {k.path.pattern} {k.field}" for k in known)


def list_in_guest(msb, image=ZOO, options=(), timeout=300):
    done = msb("run", *options, image, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return listing.read(done.stdout.decode())


def whole_file(home, reference_digest, to):
    """Metadata and layers joined, as the guest's disk joins them. Return: path."""
    cache = pathlib.Path(home) / "cache"
    config = json.loads((cache / f"manifests/{reference_digest}.config").read_text())
    with open(to, "wb") as out:
        for name in [f"manifests/{reference_digest}.erofs"] + [f"layers/{d[7:]}.data" for d in config["rootfs"]["diff_ids"]]:
            out.write((cache / name).read_bytes())
    return to


def digest_of(msb, image):
    return json.loads(msb("image", "inspect", "--format", "json", image).stdout)["digest"][7:]


@pytest.fixture(scope="module")
def zoo():
    return Zoo(FILES, 1)


@pytest.fixture(scope="module")
def msb(home, tmp_path_factory, zoo):
    """A home of its own with the zoo in it: other tests count what is in theirs."""
    path = tmp_path_factory.mktemp("zoo-home")
    msb = Msb(path)
    done = msb("load", "-i", str(zoo.folder / "zoo.tar"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Loaded {ZOO}\n".encode()
    assert done.stderr.count(b"warn:") == 1 and b"kinds/char-0-0: character device 0:0 left out" in done.stderr
    return msb


@pytest.mark.show_02_2
def test_tree_in_the_guest(msb, zoo):
    print(zoo.check(list_in_guest(msb)))


@pytest.mark.show_02_2
def test_every_kind_of_layer_was_in_it(zoo):
    """The archive really holds what the test says: 40 layers, every media type, an index in an index."""
    with tarfile.open(zoo.folder / "zoo.tar") as t:
        def blob(descriptor):
            return json.load(t.extractfile("./blobs/sha256/" + descriptor["digest"][7:]))
        outer = blob(json.load(t.extractfile("./index.json"))["manifests"][0])
        inner = blob(outer["manifests"][1])
        manifest = blob(inner["manifests"][1])
        magic = {0x1f: "gzip", 0x28: "zstd", 0x5a: "zstd behind a skippable frame"}
        kinds = {(layer["mediaType"], magic.get(t.extractfile("./blobs/sha256/" + layer["digest"][7:]).read(1)[0], "plain"))
                 for layer in manifest["layers"]}
    print(*(" is ".join(kind) for kind in sorted(kinds)), sep="\n")
    assert [m["platform"]["architecture"] for m in inner["manifests"]] == ["arm64", "amd64"]
    assert len(manifest["layers"]) == 40 and len(kinds) == 16
    assert {media_type for media_type, _ in kinds} == {media_type for media_type, _ in KINDS}


@pytest.mark.show_02_2
def test_docker_archive_gives_the_same(msb, zoo):
    """The same layers by another way: the same file system, but for the UUID that comes from the image's digest."""
    done = msb("load", "-i", str(zoo.folder / "docker.tar"))
    assert done.returncode == 0, done.stderr
    one, two = (bytearray((msb.home / f"cache/manifests/{digest_of(msb, name)}.erofs").read_bytes()) for name in (ZOO, "localhost/zoo:docker"))
    assert one[1072:1088] != two[1072:1088]
    one[1072:1088] = two[1072:1088] = bytes(16)
    assert one == two


@pytest.mark.show_02_2
def test_made_again_it_is_the_same(msb, zoo, tmp_path):
    again = Msb(tmp_path / "home")
    again.home.mkdir()
    assert again("load", "-q", "-i", str(zoo.folder / "zoo.tar")).returncode == 0

    def files(home):
        return {p.relative_to(home): p.read_bytes() for d in ("layers", "manifests") for p in (home / "cache" / d).iterdir()
                if digest_of(msb, ZOO) in p.name or d == "layers"}

    assert files(again.home) == files(msb.home)


@pytest.mark.root
@pytest.mark.show_02_2
def test_another_reader_extracts_the_same(msb, zoo, tmp_path):
    """fsck.erofs finds nothing, and what it extracts (it does not check that data lies in the right place) is the same bytes."""
    disk = whole_file(msb.home, digest_of(msb, ZOO), tmp_path / "disk")
    done = subprocess.run(["fsck.erofs", f"--extract={tmp_path}/tree", "--preserve", disk], capture_output=True, text=True)
    assert done.returncode == 0 and not re.search("(?i)error|corrupt", done.stdout + done.stderr), done
    extracted = listing.read(subprocess.run([zoo.folder / "lister", tmp_path / "tree"], check=True, capture_output=True, text=True).stdout)
    guest = list_in_guest(msb)
    del guest[".msb"]  # the mount point of the sandbox's scripts
    assert listing.compare(extracted, guest, EXTRACTED) == []
    for path, e in extracted.items():
        assert int(e["mode"], 8) & 0o1777 == int(guest[path]["mode"], 8) & 0o1777, path
    print(len(extracted), "paths extracted by fsck.erofs, equal")


@pytest.mark.show_02_2
def test_foreign_platform(msb, zoo):
    done = msb("load", "-i", str(zoo.folder / "foreign.tar"))
    assert done.returncode == 1
    lines = done.stderr.decode().splitlines()
    print(lines[0])
    assert lines[0].startswith("error: ") and "linux/arm64" in lines[0] and "linux/amd64" in lines[0]
    assert sum(line.startswith("error:") for line in lines) == 1
    assert b"foreign" not in msb("images").stdout


@pytest.mark.long
@pytest.mark.root
@pytest.mark.show_02_2
def test_many_files(tmp_path, dice):
    seed = dice.randrange(1 << 32)
    print("seed", seed)
    zoo = Zoo(MANY, seed)
    try:
        (tmp_path / "home").mkdir()
        msb = Msb(tmp_path / "home")
        assert msb("load", "-q", "-i", str(zoo.folder / "zoo.tar"), timeout=900).returncode == 0
        print(zoo.check(list_in_guest(msb, options=("-m", "1G"), timeout=1800)))
    finally:
        subprocess.run(["rm", "-rf", zoo.folder], check=True)
