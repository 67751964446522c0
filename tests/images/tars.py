# SPDX-License-Identifier: Apache-2.0
"""Tars written by hand, header by header, so that every dialect and every odd entry can be had; OCI layouts of them."""
import collections
import gzip
import hashlib
import json
import pathlib
import shutil
import subprocess
import tarfile
import tempfile

FILE, LINK, SYMLINK, CHAR, BLOCK, DIR, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
V7, USTAR, GNU = b"", b"ustar\00000", b"ustar  \0"
OCTAL_MAX = {8: 8 ** 7 - 1, 12: 8 ** 11 - 1}


def number(value, width):
    """A numeric field: octal where it fits, else GNU's base-256."""
    if 0 <= value <= OCTAL_MAX[width]:
        return b"%0*o\0" % (width - 1, value)
    return (value & (1 << 8 * width) - 1 | 0x80 << 8 * (width - 1)).to_bytes(width, "big")


def header(name, type=FILE, mode=0o644, uid=0, gid=0, size=0, mtime=0, link=b"", rdev=(0, 0), magic=USTAR, prefix=b"",
           tail=None):
    """One 512-byte block. tail: what stands from byte 345 on instead of the prefix (GNU's old sparse headers)."""
    h = name.ljust(100, b"\0") + number(mode, 8) + number(uid, 8) + number(gid, 8) + number(size, 12) + number(mtime, 12)
    h += b" " * 8 + type + link.ljust(100, b"\0") + magic.ljust(8, b"\0") + bytes(64)
    h += (number(rdev[0], 8) + number(rdev[1], 8)) if magic else bytes(16)
    h = (h + (prefix if tail is None else tail)).ljust(512, b"\0")
    assert len(h) == 512
    return h[:148] + b"%06o\0 " % sum(h) + h[156:]


def pad(data):
    return data + bytes(-len(data) % 512)


def record(key, value):
    body = b" " + key + b"=" + value + b"\n"
    n = len(body) + 1
    while len(b"%d" % n) + len(body) != n:
        n = len(b"%d" % n) + len(body)
    return b"%d" % n + body


def pax_header(records):
    body = b"".join(record(k, v) for k, v in records)
    return header(b"././@PaxHeader", b"x", size=len(body)) + pad(body)


def pax_time(mtime):
    s, ns = mtime
    if s < 0 and ns:
        s, ns, sign = -s - 1, 10 ** 9 - ns, b"-"
    else:
        s, sign = abs(s), b"-" if s < 0 else b""
    return sign + b"%d" % s + (b".%09d" % ns).rstrip(b"0") if ns else sign + b"%d" % s


class Tar:
    """A tar that grows into a file. mtime: (seconds, nanoseconds)."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.file = open(self.path, "wb")
        self.entries = 0
        self.folders = []  # (name, mtime) of those that add() made

    def raw(self, data, entries=1):
        self.file.write(data)
        self.entries += entries

    def add(self, name, type=FILE, mode=None, uid=0, gid=0, mtime=(1000000000, 0), data=b"", link=b"", rdev=(0, 0), xattrs=None,
            how="pax", records=()):
        mode = mode if mode is not None else 0o755 if type == DIR else 0o777 if type == SYMLINK else 0o644
        s, ns = mtime
        if type == DIR:
            self.folders.append((name, mtime))
        name = name + b"/" if type == DIR and not name.endswith(b"/") else name
        fields = dict(mode=mode, uid=uid, gid=gid, size=len(data), mtime=s, rdev=rdev)
        if how == "v7":
            assert len(name) < 101 and len(link) < 101 and not ns and not xattrs and s >= 0
            self.raw(header(name, b"\0" if type in (FILE, DIR) else type, link=link, magic=V7, **fields) + pad(data))
        elif how == "ustar":
            cut = name.rfind(b"/", 0, 156) if len(name) > 100 else -1
            prefix, rest = (name[:cut], name[cut + 1:]) if cut > 0 else (b"", name)
            assert len(rest) < 101 and rest and len(link) < 101 and not ns and not xattrs and s >= 0
            self.raw(header(rest, type, link=link, prefix=prefix, **fields) + pad(data))
        elif how == "gnu":
            assert not ns and not xattrs
            long = b"".join(header(b"././@LongLink", t, size=len(v) + 1, magic=GNU) + pad(v + b"\0")
                            for t, v in ((b"K", link), (b"L", name)) if len(v) > 100)
            self.raw(long + header(name[:100], type, link=link[:100], magic=GNU, **fields) + pad(data))
        else:
            more = list(records)
            if len(name) > 100 or not name.isascii():
                more.append((b"path", name))
            if len(link) > 100 or not link.isascii():
                more.append((b"linkpath", link))
            if ns or s < 0 or s > OCTAL_MAX[12]:
                more.append((b"mtime", pax_time(mtime)))
                fields["mtime"] = min(max(s, 0), OCTAL_MAX[12])
            for key in "uid", "gid":
                if fields[key] > OCTAL_MAX[8]:
                    more.append((key.encode(), b"%d" % fields[key]))
                    fields[key] = 0
            more += [(b"SCHILY.xattr." + k, v) for k, v in (xattrs or {}).items()]
            ascii = bytes(c if c < 128 else ord("?") for c in name)[:100]
            self.raw((pax_header(more) if more else b"") + header(ascii, type, link=link[:100], **fields) + pad(data))

    def end(self):
        self.file.write(bytes(1024))
        self.file.close()
        return self.path


def gnu_tar(names, *options):
    """Entries as GNU tar writes them: {name: function(path) that makes the file}. Without the end of the archive."""
    with tempfile.TemporaryDirectory() as work:
        for name, make in names.items():
            path = pathlib.Path(work, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            make(path)
        out = subprocess.run(["tar", "-b1", "--sort=name", "--numeric-owner", "--owner=0", "--group=0", "--mtime=@1111111111", *options,
                              "-C", work, "-cf", "-", *names], check=True, capture_output=True).stdout
    assert out.endswith(bytes(1024))
    return out[:-1024]


# ---- sparse files by hand: fragments are [(offset, bytes)] ---------------------------------------------------------

def sparse_old(name, size, fragments):
    """GNU's old format: four fragments in the header, 21 in each block behind it."""
    pairs = [b"%011o\0%011o\0" % (at, len(data)) for at, data in fragments]
    first, rest = pairs[:4], pairs[4:]
    blocks = [rest[i:i + 21] for i in range(0, len(rest), 21)]
    tail = bytes(41) + b"".join(first).ljust(96, b"\0") + (b"\1" if rest else b"\0") + b"%011o\0" % size
    body = b"".join(data for _, data in fragments)
    more = b"".join(b"".join(b).ljust(504, b"\0") + (b"\1" if b is not blocks[-1] else b"\0") + bytes(7) for b in blocks)
    return header(name, b"S", size=len(body), mtime=1111111111, magic=GNU, tail=tail) + more + pad(body)


def sparse_pax(name, size, fragments, version):
    body = b"".join(data for _, data in fragments)
    count = (b"GNU.sparse.numblocks", b"%d" % len(fragments))
    if version == "0.0":
        records = [(b"GNU.sparse.size", b"%d" % size), count]
        for at, data in fragments:
            records += [(b"GNU.sparse.offset", b"%d" % at), (b"GNU.sparse.numbytes", b"%d" % len(data))]
    elif version == "0.1":
        pairs = b",".join(b"%d,%d" % (at, len(data)) for at, data in fragments)
        records = [(b"GNU.sparse.size", b"%d" % size), count, (b"GNU.sparse.map", pairs), (b"GNU.sparse.name", name)]
        name = b"GNUSparseFile.0/x"
    else:
        records = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", name),
                   (b"GNU.sparse.realsize", b"%d" % size)]
        name = b"GNUSparseFile.0/y"
        body = pad(b"%d\n" % len(fragments) + b"".join(b"%d\n%d\n" % (at, len(data)) for at, data in fragments)) + body
    return pax_header(records) + header(name, size=len(body), mtime=1111111111) + pad(body)


# ---- layouts -------------------------------------------------------------------------------------------------------

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."
MANIFEST, INDEX, CONFIG = OCI + "manifest.v1+json", OCI + "index.v1+json", OCI + "config.v1+json"
DOCKER_MANIFEST = DOCKER + "distribution.manifest.v2+json"
DOCKER_LIST = DOCKER + "distribution.manifest.list.v2+json"
DOCKER_CONFIG = DOCKER + "container.image.v1+json"

Layer = collections.namedtuple("Layer", "tar diff_id")  # path, "sha256:..."


def digest_file(path):
    with open(path, "rb") as f:
        return "sha256:" + hashlib.file_digest(f, "sha256").hexdigest()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def plain(tar, to):
    shutil.copyfile(tar, to)


def gzipped(tar, to, members=1):
    data = tar.read_bytes()
    cut = -(-len(data) // members)
    with open(to, "wb") as f:
        for i in range(members):
            f.write(gzip.compress(data[i * cut:(i + 1) * cut], 6, mtime=0))


def two_gzip_members(tar, to):
    gzipped(tar, to, 2)


def zstd(tar, to):
    subprocess.run(["zstd", "-q", "-3", "-f", tar, "-o", to], check=True)


def zstd_frames(tar, to):
    """A skippable frame first, then two frames."""
    data = tar.read_bytes()
    half = len(data) // 2
    frames = [subprocess.run(["zstd", "-q", "-c"], input=part, check=True, capture_output=True).stdout
              for part in (data[:half], data[half:])]
    to.write_bytes(b"\x5a\x2a\x4d\x18\x05\0\0\0hello" + b"".join(frames))


class Layout:
    """An OCI layout folder."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        (self.folder / "blobs/sha256").mkdir(parents=True)
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def blob(self, data, media_type, **more):
        (self.folder / "blobs/sha256" / digest(data)[7:]).write_bytes(data)
        return {"mediaType": media_type, "digest": digest(data), "size": len(data), **more}

    def json(self, body, media_type, **more):
        return self.blob(json.dumps(body).encode(), media_type, **more)

    def layer(self, layer, media_type, compress):
        path = self.folder / "blobs/new"
        compress(layer.tar, path)
        name, size = digest_file(path), path.stat().st_size
        path.rename(self.folder / "blobs/sha256" / name[7:])
        return {"mediaType": media_type, "digest": name, "size": size}

    def image(self, layers, kinds, config=None, architecture="amd64", docker=False):
        """kinds: (media type, compressor) for each layer, repeated as needed. Return: the manifest's descriptor."""
        body = {"architecture": architecture, "os": "linux", "config": config or {},
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]}}
        manifest_type = DOCKER_MANIFEST if docker else MANIFEST
        manifest = {"schemaVersion": 2, "mediaType": manifest_type,
                    "config": self.json(body, DOCKER_CONFIG if docker else CONFIG),
                    "layers": [self.layer(layer, *kinds[i % len(kinds)]) for i, layer in enumerate(layers)]}
        return self.json(manifest, manifest_type, platform={"architecture": architecture, "os": "linux"})

    def index(self, descriptors, media_type=INDEX):
        return self.json({"schemaVersion": 2, "mediaType": media_type, "manifests": descriptors}, media_type)

    def end(self, descriptor, name):
        entry = dict(descriptor, annotations={"org.opencontainers.image.ref.name": name})
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
        return self.folder

    def archive(self, path):
        with tarfile.open(path, "w") as t:
            t.add(self.folder, ".")
        return path


def docker_archive(path, layers, name, config=None):
    """What docker save writes: manifest.json, a config, uncompressed layers."""
    body = json.dumps({"architecture": "amd64", "os": "linux", "config": config or {},
                       "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]}}).encode()
    with tempfile.TemporaryDirectory() as work, tarfile.open(path, "w") as t:
        for layer in dict.fromkeys(layers):
            t.add(layer.tar, f"{layer.diff_id[7:]}/layer.tar")
        manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": [f"{layer.diff_id[7:]}/layer.tar" for layer in layers]}]
        for file, data in ("config.json", body), ("manifest.json", json.dumps(manifest).encode()):
            pathlib.Path(work, file).write_bytes(data)
            t.add(pathlib.Path(work, file), file)
    return path
