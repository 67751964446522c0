#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""zoo.py FOLDER [FILES [SEED]]: an image of 40 layers with one of every kind of entry, and FILES random ones.

FOLDER/umoci        OCI layout that umoci reads (its media types only), image "zoo"
FOLDER/zoo.tar      the same layers as an OCI archive: every media type (and wrong ones), a multi-arch index in an index
FOLDER/docker.tar   the same as docker save writes it
FOLDER/foreign.tar  an image for arm64 only
FOLDER/folders      the times that entries give to folders: path and mtime as in a listing
FOLDER/lister       the program of lister.c, which is /lister in the image too

What one tree of files looks like in the end is not said here: umoci says it, and the test compares.
"""
import gzip
import os
import pathlib
import random
import struct
import subprocess
import sys

import listing
from tars import (BLOCK, CHAR, DIR, DOCKER, DOCKER_LIST, FIFO, FILE, LINK, OCI, SYMLINK, V7, Layer, Layout, Tar, digest_file,
                  docker_archive, gnu_tar, gzipped, header, pad, plain, sparse_old, sparse_pax, two_gzip_members, zstd, zstd_frames)

NAME = "localhost/zoo:1"
LAYERS = 40
EDGES = [0, 1, 511, 512, 513, 2046, 2047, 2048, 2049, 4095, 4096, 4097, 6143, 6144, 8191, 8192, 12289]
# (media type, compressor); the type is what the manifest says, not always the truth
KINDS = [(OCI + "layer.v1.tar+gzip", gzipped), (OCI + "layer.v1.tar", plain), (OCI + "layer.v1.tar+zstd", zstd),
         (DOCKER + "image.rootfs.diff.tar.gzip", gzipped), (DOCKER + "image.rootfs.diff.tar", plain),
         (DOCKER + "image.rootfs.diff.tar.zstd", zstd), (DOCKER + "image.rootfs.foreign.diff.tar.gzip", gzipped),
         (OCI + "layer.nondistributable.v1.tar", plain), (OCI + "layer.nondistributable.v1.tar+gzip", gzipped),
         (OCI + "layer.nondistributable.v1.tar+zstd", zstd), (OCI + "layer.v1.tar+gzip", two_gzip_members),
         (OCI + "layer.v1.tar+zstd", zstd_frames), (OCI + "layer.v1.tar", gzipped), (OCI + "layer.v1.tar+gzip", zstd),
         (OCI + "layer.v1.tar+zstd", plain), (OCI + "layer.v1.tar+gzip", plain), ("application/octet-stream", gzipped)]
UMOCI_KINDS = [(OCI + "layer.v1.tar+gzip", gzipped), (OCI + "layer.v1.tar", plain)]

CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 10 | 1 << 13, 0, 0, 0)  # net_bind_service, net_raw, effective


def acl(*entries):
    """system.posix_acl_*: (tag, permissions, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, perm, who) for tag, perm, who in entries)


ACCESS = acl((1, 6, 0xffffffff), (2, 7, 1000), (2, 5, 4000000000), (4, 4, 0xffffffff), (16, 7, 0xffffffff), (32, 4, 0xffffffff))
DEFAULT = acl((1, 7, 0xffffffff), (4, 5, 0xffffffff), (8, 7, 2000), (16, 7, 0xffffffff), (32, 0, 0xffffffff))


class Specimens:
    """
    The fixed part: a function for each layer, lowest first. Each kind of thing has a folder of its own.
    for_umoci: umoci does not know old GNU sparse files (type S); it gets the same files as pax ones.
    """

    def __init__(self, lister, for_umoci=False):
        self.lister = lister
        self.for_umoci = for_umoci

    def layers(self):
        return [self.under_the_root, self.base, self.links, self.attributes, self.names, self.sparse, self.order, self.change_1,
                self.change_2, self.change_3, self.hide, self.hide_and_show, self.through_links, self.last]

    def under_the_root(self, t):
        """Everything here is hidden by an opaque root in the next layer, and its names are taken again by other kinds."""
        t.add(b"gone/deep/er", data=b"hidden", how="v7")
        t.add(b"etc", SYMLINK, link=b"gone")
        t.add(b"lister", DIR)

    def base(self, t):
        t.add(b".wh..wh..opq")
        t.add(b"./", DIR, 0o711, 7, 8, (1234567890, 123456789), xattrs={b"user.root": b"yes"})
        for name in b"dev proc sys run tmp etc sizes kinds big empty".split():
            t.add(name, DIR, how="ustar")
        for name in b"hostname hosts resolv.conf".split():
            t.add(b"etc/" + name, data=b"# the agent puts its own over this\n")
        t.add(b"etc/passwd", data=b"root:x:0:0::/:/lister\n")
        t.add(b"lister", mode=0o755, data=self.lister)
        for how in "v7", "ustar", "gnu", "pax":
            for size in EDGES:
                t.add(b"sizes/%s-%d" % (how.encode(), size), data=bytes((i * 7 + size) % 251 for i in range(size)), how=how)
        t.add(b"sizes/zeros-12289", data=bytes(12289))
        t.add(b"sizes/zeros-then-tail", data=bytes(8192) + b"tail")
        t.add(b"sizes/hole-inside", data=b"a" * 4096 + bytes(8192) + b"b" * 4096)
        t.add(b"big/file", data=random.Random(1).randbytes(9 * 1024 * 1024 + 1))
        for how in "ustar", "gnu", "pax":
            for i, (major, minor) in enumerate(((1, 3), (8, 255), (259, 256), (4095, 1048575))):
                t.add(b"kinds/%s-char%d" % (how.encode(), i), CHAR, 0o600, rdev=(major, minor), how=how)
                t.add(b"kinds/%s-block%d" % (how.encode(), i), BLOCK, 0o660, 0, 6, rdev=(major, minor), how=how)
            t.add(b"kinds/%s-fifo" % how.encode(), FIFO, 0o622, how=how)
            t.add(b"kinds/%s-link" % how.encode(), SYMLINK, link=b"../etc/passwd", how=how)
        t.add(b"kinds/block-0-0", BLOCK, rdev=(0, 0))
        t.add(b"kinds/char-0-0", CHAR, rdev=(0, 0))
        t.add(b"kinds/dangling", SYMLINK, link=b"/no/where")
        t.add(b"kinds/v7-folder", DIR, how="v7")
        t.raw(header(b"kinds/v7-slash-only/", b"\0", 0o750, mtime=77, magic=V7))
        # Sizes that say nothing: links and folders have no contents.
        t.raw(header(b"kinds/folder-of-99/", DIR, 0o755, size=99, mtime=88))
        t.raw(header(b"kinds/link-of-99", SYMLINK, 0o777, size=99, mtime=88, link=b"x"))

    def links(self, t):
        t.add(b"links", DIR)
        t.add(b"links/a", data=b"first of a chain", mode=0o640, uid=5)
        t.add(b"links/b", LINK, link=b"links/a")
        t.add(b"links/c", LINK, link=b"./links/b", how="gnu")
        t.add(b"links/d", LINK, link=b"/links//c", how="ustar")
        t.raw(header(b"links/of-99", LINK, size=99, link=b"links/a"))
        t.add(b"links/old", data=b"what old was", xattrs={b"user.old": b"1"})
        t.add(b"links/keeps-old", LINK, link=b"links/old")
        t.add(b"links/old", data=b"what old is now")
        t.add(b"links/keeps-new", LINK, link=b"links/old")
        t.add(b"links/to-lower", LINK, link=b"sizes/pax-4097")
        t.add(b"links/to-lower-too", LINK, link=b"links/to-lower")
        t.add(b"links/to-lower-fifo", LINK, link=b"kinds/pax-fifo")
        t.add(b"links/to-lower-device", LINK, link=b"kinds/pax-char2")
        t.add(b"links/to-lower-symlink", LINK, link=b"kinds/pax-link")
        t.add(b"links/over-a-file", data=b"goes")
        t.add(b"links/over-a-file", LINK, link=b"links/a")
        t.add(b"links/over-a-folder/file", data=b"goes")
        t.add(b"links/over-a-folder", LINK, link=b"links/a")
        t.add(b"links/" + b"l" * 200, LINK, link=b"links/a")
        t.add(b"links/long-target", LINK, link=b"links/" + b"l" * 200, how="gnu")
        t.add(b"links/later-replaced", data=b"its links keep this", mtime=(5, 0))
        t.add(b"links/of-later-replaced", LINK, link=b"links/later-replaced")
        t.add(b"links/later-removed", data=b"one link stays")
        t.add(b"links/of-later-removed", LINK, link=b"links/later-removed")

    def attributes(self, t):
        t.add(b"attributes", DIR, 0o1777)
        for mode in (0, 0o1, 0o4755, 0o2755, 0o1755, 0o7777, 0o6711, 0o2644, 0o4000):
            t.add(b"attributes/file-%04o" % mode, mode=mode, data=b"x", how="v7")
            t.add(b"attributes/folder-%04o" % mode, DIR, mode, how="gnu")
        for how in "gnu", "pax":
            for who in (65534, 2097151, 2097152, 4000000000, 4294967294):
                t.add(b"attributes/%s-uid-%d" % (how.encode(), who), uid=who, gid=who - 1, how=how)
        t.add(b"attributes/link-uid", SYMLINK, uid=4000000000, gid=3, link=b"x")
        times = [(0, 0), (0, 1), (1, 999999999), (-1, 0), (-1, 500000000), (-1, 999999999), (-2000000000, 0), (-86400, 123456789),
                 (2 ** 31 - 1, 0), (2 ** 31, 5), (2 ** 32 + 1, 0), (7258118400, 250000000), (9000000000, 0), (8 ** 11, 0)]
        for i, (s, ns) in enumerate(times):
            t.add(b"attributes/mtime-pax-%d" % i, mtime=(s, ns))
            t.add(b"attributes/mtime-folder-%d" % i, DIR, mtime=(s, ns))
            t.add(b"attributes/mtime-link-%d" % i, SYMLINK, link=b"x", mtime=(s, ns))
            if not ns:
                t.add(b"attributes/mtime-gnu-%d" % i, mtime=(s, 0), how="gnu")
        for i, text in enumerate((b"1.1234567899", b"-1.0000000001", b"-0.5", b"7.", b"-3.999999999999", b"0000000012.5")):
            t.add(b"attributes/mtime-text-%d" % i, records=[(b"mtime", text)])
        t.add(b"attributes/capability", mode=0o755, data=b"ping", xattrs={b"security.capability": CAPABILITY})
        t.add(b"attributes/user", xattrs={b"user.a": b"1", b"user.empty": b"", b"user.binary": bytes(range(256)),
                                          b"user." + b"n" * 200: b"long name", b"user.\xff\xfe": b"odd", b"user.a=b": b"c=d"})
        t.add(b"attributes/large", data=b"y" * 2000, xattrs={b"user.large": b"v" * 3000})
        t.add(b"attributes/large-folder", DIR, xattrs={b"user.large": b"w" * 3000, b"trusted.t": b"t"})
        t.add(b"attributes/acl", mode=0o674, xattrs={b"system.posix_acl_access": ACCESS})
        t.add(b"attributes/acl-folder", DIR, 0o770, xattrs={b"system.posix_acl_default": DEFAULT, b"user.besides": b"1"})
        t.add(b"attributes/link", SYMLINK, link=b"t" * 100, xattrs={b"trusted.on-a-link": b"1", b"security.odd": b"2"})
        t.add(b"attributes/fifo", FIFO, xattrs={b"security.odd": b"3"})
        t.add(b"attributes/two-of-one-name", records=[(b"SCHILY.xattr.user.twice", b"first"), (b"SCHILY.xattr.user.twice", b"second")])
        t.add(b"attributes/overlay", xattrs={b"trusted.overlay.opaque": b"y", b"trusted.other": b"1"})
        t.add(b"attributes/overlay-folder", DIR, xattrs={b"trusted.overlay.opaque": b"y"})
        t.add(b"attributes/overlay-folder/inside", data=b"seen")

    def names(self, t):
        t.add(b"names", DIR)
        odd = [b"\xff\xfe\x80", b"caf\xc3\xa9", b"cafe\xcc\x81", b"new\nline", b"tab\tand\x7f", b"back\\slash", b" lead", b"trail ", b"-dash",
               b"*?[a]", b"...", b"..x", b".x", b".whiteout", b".wh", b"x.wh.y", b"quote\"'`$()", b"\x01", b"%s%n", b"a,b=c", b"~"]
        for i, name in enumerate(odd):
            t.add(b"names/" + name, data=name, how=("gnu", "ustar", "v7")[i % 3])
            t.add(b"names/pax" + name, SYMLINK, link=name)
        for how in "pax", "gnu":
            long = how.encode()
            t.add(b"names/" + long + b"-" + b"n" * (254 - len(long)), data=b"255 bytes", how=how)
            t.add(b"names/" + long + b"-folder" + b"d" * (248 - len(long)), DIR, how=how)
            deep = b"names/" + long
            for i in range(14):
                deep += b"/%02d-" % i + b"p" * 240
                t.add(deep, DIR, how=how)
            t.add(deep + b"/end", data=b"a path of 3,600 bytes", how=how)
            t.add(b"names/%s-target" % long, SYMLINK, link=b"/t" * 2047 + b"!", how=how)
        t.add(b"names/target-and-attributes", SYMLINK, link=b"u" * 4095, xattrs={b"trusted.a": b"1" * 700})
        t.add(b"names/" + b"/".join(b"%d" % i for i in range(120)) + b"/deep", data=b"122 levels", how="gnu")
        t.add(b"names/" + b"q" * 90 + b"/" + b"r" * 95, data=b"prefix", how="ustar")
        t.add(b"/names//./slashes/", DIR)
        t.add(b".//names/./slashes//file", data=b"odd spelling")
        t.raw(header(b"names/file-with-slash/", FILE, size=3, mtime=9) + pad(b"abc"))

    def sparse(self, t):
        t.add(b"sparse", DIR)

        def holes(*pieces, size):
            def make(path):
                with open(path, "wb") as f:
                    for at, data in pieces:
                        f.seek(at)
                        f.write(data)
                    f.truncate(size)
            return make

        shapes = {"none": holes(size=0), "one": holes(size=300000), "end": holes((0, b"begin"), size=1 << 20),
                  "begin": holes(((1 << 20) - 5, b"end.."), size=1 << 20), "tail": holes((4096 * 20, b"t" * 1500), size=4096 * 20 + 1500),
                  "many": holes(*((i * 8192, b"%d" % i * 100) for i in range(60)), size=8192 * 61 + 1),
                  "blocks": holes((512, b"x"), (1536, b"y" * 512), (5000, b"z"), size=9001)}
        pax10 = ["--format=pax", "--sparse-version=1.0"]
        for kind, options in (("gnu", pax10 if self.for_umoci else ["--format=gnu"]), ("pax00", ["--format=pax", "--sparse-version=0.0"]),
                              ("pax01", ["--format=pax", "--sparse-version=0.1"]), ("pax10", pax10)):
            names = {f"sparse/tar-{kind}-{shape}": make for shape, make in shapes.items()}
            names[f"sparse/tar-{kind}-{'n' * 180}"] = shapes["many"]
            t.raw(gnu_tar(names, "--sparse", "--hole-detection=raw", *options), len(names))
        hand = {b"empty": (0, []), b"all": (5000, [(5000, b"")]), b"byte": (4097, [(4096, b"!")]), b"touching": (10, [(0, b"abc"), (3, b"defg")]),
                b"odd": (100000, [(1, b"a"), (4095, b"bb"), (8191, b"ccc"), (99990, b"d" * 10)]),
                b"last-zero": (70000, [(100, b"x" * 5000), (70000, b"")]),
                b"thirty": (300000, [(i * 9999, b"%04d" % i * 3) for i in range(30)])}
        for name, (size, fragments) in hand.items():
            old = b"sparse/old-" + name
            t.raw(sparse_pax(old, size, fragments, "1.0") if self.for_umoci else sparse_old(old, size, fragments))
            for version in "0.0", "0.1", "1.0":
                if fragments or version == "1.0":
                    t.raw(sparse_pax(b"sparse/" + version.encode() + b"-" + name, size, fragments, version))

    def order(self, t):
        t.add(b"order/after/file", data=b"before its folder", mtime=(100, 0))
        t.add(b"order/after", DIR, 0o700, 9, 9, (200, 0))
        t.add(b"order", DIR, 0o701, 9, 9, (300, 0))
        t.add(b"order/twice", data=b"first and longer")
        t.add(b"order/twice", data=b"second", mode=0o600, mtime=(400, 0))
        t.add(b"order/folder-twice", DIR, 0o700, 1, 1, xattrs={b"user.first": b"1"})
        t.add(b"order/folder-twice/stays", data=b"here")
        t.add(b"order/folder-twice", DIR, 0o750, 2, 2, (500, 0), xattrs={b"user.second": b"2"})
        t.add(b"implicit/parents/of/a/file", data=b"nobody named them")
        t.add(b"implicit/parents/of/another", data=b"nor here")
        t.add(b"order/empty", DIR, 0o555)

    def change_1(self, t):
        """Layers change_1 to change_3 give one name another type again and again."""
        t.add(b"change", DIR)
        t.add(b"change/it", DIR, 0o700)
        t.add(b"change/it/inside", data=b"1")
        t.add(b"change/file-folder", data=b"file")
        t.add(b"change/folder-link", DIR)
        t.add(b"change/folder-link/inside", data=b"1")
        t.add(b"change/link-folder", SYMLINK, link=b"folder-link")
        t.add(b"change/link-fifo", SYMLINK, link=b"/")
        t.add(b"change/fifo-file", FIFO)
        t.add(b"change/device-folder", CHAR, rdev=(1, 3))
        t.add(b"change/file-file", data=b"1" * 5000, uid=1, xattrs={b"user.old": b"1"})
        t.add(b"change/folder-folder", DIR, 0o700, 1, 1, (1, 0), xattrs={b"user.old": b"1"})
        t.add(b"change/folder-folder/stays", data=b"from below")
        t.add(b"change/within", data=b"file, then folder, then link, then folder, all in one layer")
        t.add(b"change/within", DIR)
        t.add(b"change/within/file", data=b"goes with the folder")
        t.add(b"change/within", SYMLINK, link=b"it")
        t.add(b"change/within", DIR, 0o711)
        t.add(b"change/within/last", data=b"stays")

    def change_2(self, t):
        t.add(b"change/it", data=b"a file now")
        t.add(b"change/file-folder", DIR)
        t.add(b"change/file-folder/inside", data=b"2")
        t.add(b"change/folder-link", SYMLINK, link=b"link-folder")
        t.add(b"change/link-folder", DIR)
        t.add(b"change/link-fifo", FIFO)
        t.add(b"change/fifo-file", data=b"file")
        t.add(b"change/device-folder", DIR)
        t.add(b"change/file-file", data=b"2", uid=2)
        t.add(b"change/folder-folder", DIR, 0o711, 2, 2, (2, 0), xattrs={b"user.new": b"2"})
        t.add(b"links/later-replaced", data=b"another file now")

    def change_3(self, t):
        t.add(b"change/it", SYMLINK, link=b"folder-folder")
        t.add(b"change/file-folder", CHAR, rdev=(1, 5))
        t.add(b"change/device-folder/inside", data=b"3")

    def hide(self, t):
        t.add(b"change/it", DIR, 0o755, mtime=(3, 0))
        t.add(b"change/it/inside", data=b"a folder again")
        t.add(b"links/.wh.later-removed")
        t.add(b"hide", DIR)
        for name in b"folder opaque opaque/kept again end".split():
            t.add(b"hide/" + name, DIR)
        for name in b"file folder/a folder/b/c opaque/a opaque/b/c opaque/kept/d same again/a end/a chain typed".split():
            t.add(b"hide/" + name, data=b"lower")
        t.add(b"hide/linked", LINK, link=b"hide/chain")
        t.add(b"hide/.wh.nothing-of-this-name")
        t.add(b"hide/deep/er/and/deeper/file", data=b"lower")

    def hide_and_show(self, t):
        """Whiteouts act on lower layers only, wherever they stand."""
        t.add(b"hide/.wh.file", how="v7")
        t.add(b"hide/.wh.folder", data=b"whiteouts have no contents, but these have some")
        t.add(b"hide/opaque/first", data=b"before the opaque mark")
        t.add(b"hide/opaque/kept", DIR, 0o700)
        t.add(b"hide/opaque/.wh..wh..opq")
        t.add(b"hide/opaque/b/new", data=b"b was hidden, and is here again")
        t.add(b"hide/opaque/b", DIR, 0o711)
        t.add(b"hide/same", data=b"of this layer")
        t.add(b"hide/.wh.same")
        t.add(b"hide/.wh.again")
        t.add(b"hide/again", DIR, 0o701)
        t.add(b"hide/again/new", data=b"of this layer")
        t.add(b"hide/end", DIR, 0o702, mtime=(6, 0))
        t.add(b"hide/end/new", data=b"of this layer")
        t.add(b"hide/.wh.end")
        t.add(b"hide/end", DIR, 0o703, mtime=(7, 0))
        t.add(b"hide/.wh.chain")
        t.add(b"hide/.wh.typed", DIR)
        t.add(b"hide/deep/er/.wh.and")
        t.add(b"hide/.wh..wh.plnk")
        t.add(b"hide/bare", DIR, 0o755)
        t.add(b"hide/bare/.wh.", data=b"no whiteout: it names nothing")
        t.add(b"hide/bare/after", data=b"stays")

    def through_links(self, t):
        """A path whose folder is a symbolic link goes where that points to, but never out of the image."""
        t.add(b"through", DIR)
        t.add(b"through/real", DIR)
        t.add(b"through/real/lower", data=b"lower")
        t.add(b"through/relative", SYMLINK, link=b"real")
        t.add(b"through/absolute", SYMLINK, link=b"/through/real")
        t.add(b"through/up", SYMLINK, link=b"../../../../../../through/real")
        t.add(b"through/twice", SYMLINK, link=b"./relative/../relative")
        t.add(b"through/dangling", SYMLINK, link=b"not/yet")
        t.add(b"through/relative/1", data=b"1")
        t.add(b"through/absolute/2", data=b"2")
        t.add(b"through/up/3", data=b"3")
        t.add(b"through/twice/4", data=b"4")
        t.add(b"through/dangling/5", data=b"5")
        t.add(b"through/link", LINK, link=b"through/relative/1")
        t.add(b"through/relative/folder", DIR, 0o700)
        t.add(b"through/to-be-followed", SYMLINK, link=b"/through/real")
        t.add(b"through/replaced", SYMLINK, link=b"real")
        t.add(b"through/replaced", DIR, 0o755)
        t.add(b"through/replaced/6", data=b"6")

    def last(self, t):
        t.add(b"through/to-be-followed/7", data=b"through a link of a lower layer")
        t.add(b"through/absolute/.wh.lower")
        t.add(b"through/relative/folder/8", data=b"8")


class Bulk:
    """Random layers below bulk/. What is there is known, so that every entry is one that an engine could have written."""

    def __init__(self, files, seed):
        self.random = random.Random(seed)
        self.left = files
        self.folders = [b"bulk"]
        self.files = []
        self.where = {}  # position in files

    def put(self, name):
        if name not in self.where:
            self.where[name] = len(self.files)
            self.files.append(name)

    def drop(self, name):
        at = self.where.pop(name)
        last = self.files.pop()
        if last != name:
            self.files[at], self.where[last] = last, at

    def name(self):
        r = self.random
        letters = bytes(r.choice(b"abcdefghijklmnopqrstuvwxyz0123456789._-\xe9\xff") for _ in range(r.choice((3, 8, 8, 20, 120))))
        return r.choice(self.folders) + b"/" + b"%x" % r.getrandbits(24) + letters

    def look(self, kind):
        """Attributes that some dialect holds, and that dialect."""
        r = self.random
        how = r.choice(("pax", "pax", "gnu", "ustar"))
        a = dict(how=how, uid=r.choice((0, 0, 1000, 65534)), gid=r.choice((0, 0, 1000)), mtime=(r.randrange(1, 1600000000), 0))
        if kind == FILE:
            a["mode"] = r.choice((0o644, 0o755, 0o600, 0o4755))
        if how == "pax":
            a["mtime"] = (a["mtime"][0], r.choice((0, r.randrange(10 ** 9))))
            if kind != SYMLINK and r.random() < 0.05:
                a["xattrs"] = {b"user.x%d" % i: r.randbytes(r.randrange(1, 40)) for i in range(r.randrange(1, 4))}
            if r.random() < 0.02:
                a["uid"] = 4000000000
        return a

    def add(self, t, name, kind, **more):
        try:
            t.add(name, kind, **self.look(kind), **more)
        except AssertionError:  # too long for the dialect
            t.add(name, kind, **dict(self.look(kind), how="pax"), **more)

    def data(self):
        r = self.random
        size = r.choice((0, r.randrange(64), r.randrange(600), r.randrange(2500), r.randrange(4000, 4200), r.randrange(9000)))
        return (r.randbytes(16) + b" some text that repeats itself\n") * (size // 47) + b"." * (size % 47)

    def layer(self, t, files):
        r = self.random
        if not self.files:
            t.add(b"bulk", DIR)
        gone = r.sample(self.files, min(len(self.files) // 20, files // 10))
        for name in gone:
            self.drop(name)
        marks = [name[:name.rindex(b"/")] + b"/.wh." + name[name.rindex(b"/") + 1:] for name in gone]
        marks = [m for m in marks if m.rindex(b"/") + 256 > len(m)]
        hidden = set(gone)
        if r.random() < 0.5:
            self.white(t, marks)
            marks = []
        for _ in range(files):
            roll = r.random()
            if roll < 0.06:
                folder = self.name()
                self.folders.append(folder)
                if r.random() < 0.9:
                    self.add(t, folder, DIR)
            if roll < 0.08 and self.files:
                self.add(t, r.choice(self.folders), DIR)
            if self.files and roll > 0.93:
                name, target = self.name(), r.choice(self.files)
                self.add(t, name, LINK, link=target)
            elif roll > 0.88:
                name = self.name()
                self.add(t, name, SYMLINK, link=r.randbytes(r.randrange(1, 90)).replace(b"\0", b"/"))
            else:
                name = r.choice(self.files) if self.files and roll < 0.15 else self.name()
                self.add(t, name, FILE, data=self.data())
            if name not in hidden:
                self.put(name)
        self.white(t, marks)

    def white(self, t, marks):
        for m in marks:
            t.add(m)


def build_lister(to):
    source = pathlib.Path(__file__).with_name("lister.c")
    subprocess.run(["musl-gcc", "-static", "-O2", "-s", "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-idirafter", "/usr/include",
                    "-idirafter", f"/usr/include/{os.uname().machine}-linux-gnu", "-o", to, source], check=True)
    return to


def build(folder, files=5000, seed=1):
    """Return: the layers, lowest first."""
    folder = pathlib.Path(folder)
    (folder / "tars").mkdir(parents=True)
    lister = build_lister(folder / "lister").read_bytes()
    fixed = Specimens(lister).layers()
    bulk, layers, entries, folders = Bulk(files, seed), [], 0, []
    # The root is opaque in the second layer, so random layers come above it, between the others.
    places = set(random.Random(seed).sample(range(2, LAYERS), len(fixed) - 2))
    rest = iter(fixed[2:])
    order = fixed[:2] + [next(rest) if i in places else None for i in range(2, LAYERS)]
    each = files // order.count(None)
    for i, make in enumerate(order):
        t = Tar(folder / f"tars/{i:02d}.tar")
        if make:
            make(t)
        else:
            bulk.layer(t, each)
        entries += t.entries
        folders += t.folders
        t.end()
        layers.append(Layer(t.path, digest_file(t.path)))
    t = Tar(folder / "tars/sparse-umoci.tar")
    Specimens(lister, for_umoci=True).sparse(t)
    t.end()
    same = {layers[order.index(fixed[5])].tar: Layer(t.path, digest_file(t.path))}
    lines = (f"{listing.escape(name.removeprefix(b'./') or b'.')}\t{s}.{ns:09d}\n" for name, (s, ns) in folders)
    (folder / "folders").write_text("".join(lines))
    config = {"Cmd": ["/lister", "/"], "Env": ["PATH=/"]}
    for_umoci = Layout(folder / "umoci")
    for_umoci.end(for_umoci.image([same.get(layer.tar, layer) for layer in layers], UMOCI_KINDS, config), "zoo")
    whole = Layout(folder / "layout")
    arm = whole.image(layers[:1], KINDS, architecture="arm64")
    note = whole.json({"schemaVersion": 2, "config": {}, "layers": []}, OCI + "manifest.v1+json",
                      platform={"architecture": "unknown", "os": "unknown"})
    inner = whole.index([arm, whole.image(layers, KINDS, config, docker=True)], DOCKER_LIST)
    whole.end(whole.index([note, inner]), NAME)
    whole.archive(folder / "zoo.tar")
    foreign = Layout(folder / "foreign")
    foreign.end(foreign.index([foreign.image(layers[:1], KINDS, architecture="arm64")]), "localhost/foreign:1")
    foreign.archive(folder / "foreign.tar")
    docker_archive(folder / "docker.tar", layers, "localhost/zoo:docker", config)
    print(f"zoo: {len(layers)} layers, {entries} entries, seed {seed}")
    return layers


if __name__ == "__main__":
    build(sys.argv[1], *map(int, sys.argv[2:4]))
