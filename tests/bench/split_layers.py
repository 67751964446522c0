# SPDX-License-Identifier: Apache-2.0
"""split_layers.py TAR LAYOUT COUNT: one tar as an OCI layout of so many layers of equal size, image "bench"."""
import pathlib
import subprocess
import sys
import tarfile
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "images"))
from tars import OCI, Layer, Layout, digest_file  # noqa: E402


def gzip6(tar, to):
    with open(tar, "rb") as source, open(to, "wb") as sink:
        subprocess.run(["gzip", "-6", "-n"], stdin=source, stdout=sink, check=True)


def split(source, folder, count):
    """In the tar's order, so that a hard link never comes before its target. Return: paths, files, bytes of files."""
    share, done, files = pathlib.Path(source).stat().st_size / count, 0, 0
    paths = [pathlib.Path(folder, f"{i}.tar") for i in range(count)]
    outs = [tarfile.open(p, "w", format=tarfile.PAX_FORMAT) for p in paths]
    with tarfile.open(source) as t:
        for m in t:
            outs[min(int(m.offset / share), count - 1)].addfile(m, t.extractfile(m) if m.isreg() else None)
            files += m.isreg()
            done += m.size if m.isreg() else 0
    for out in outs:
        out.close()
    return paths, files, done


source, to, count = sys.argv[1:]
with tempfile.TemporaryDirectory(dir=pathlib.Path(to).parent) as work:
    paths, files, size = split(source, work, int(count))
    layout = Layout(to)
    image = layout.image([Layer(p, digest_file(p)) for p in paths], [(OCI + "layer.v1.tar+gzip", gzip6)])
    layout.end(image, "bench")
packed = sum(p.stat().st_size for p in (layout.folder / "blobs/sha256").iterdir())
(layout.folder / "about").write_text(f"{packed} {size} {files}\n")
print(f"{packed / 1e6:.0f} MB compressed, {size / 1e6:.0f} MB in {files} files, {count} layers")
