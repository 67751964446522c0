# SPDX-License-Identifier: Apache-2.0
"""Second half of standins.sh: layers on top of the packages, archives, and a registry that plays Docker Hub's mirror."""
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from tars import DIR, SYMLINK, Layer, Tar, digest_file, docker_archive

NAMES = {"python": "python:3.12", "node": "node:22", "alpine": "alpine:latest"}
PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
GROUP = b"root:x:0:\nnogroup:x:65534:\n"
DEBIAN_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def layer(path, fill):
    t = Tar(path)
    fill(t)
    t.end()
    return Layer(t.path, digest_file(t.path))


def accounts(t):
    for name, data in (b"passwd", PASSWD), (b"group", GROUP):
        t.add(b"etc/" + name, data=data)
    t.add(b"root", DIR, 0o700)


def python(t):
    """What the package's scripts would have done, and the names of the image of Docker Hub."""
    accounts(t)
    for name in b"python", b"python3":
        t.add(b"usr/local/bin/" + name, SYMLINK, link=b"/usr/bin/python3")


def alpine(t):
    busybox = pathlib.Path("/bin/busybox").read_bytes()
    for name in b"bin dev etc home proc root run sbin sys tmp usr usr/bin usr/sbin var".split():
        t.add(name, DIR, 0o1777 if name == b"tmp" else 0o755)
    t.add(b"bin/busybox", mode=0o755, data=busybox)
    for path in subprocess.run(["/bin/busybox", "--list-full"], check=True, capture_output=True).stdout.split():
        if path != b"bin/busybox":
            t.add(path, SYMLINK, link=b"/bin/busybox")
    accounts(t)
    t.add(b"etc/os-release", data=b'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.20.0\nPRETTY_NAME="Alpine Linux v3.20 (stand-in of msb\'s tests)"\n')


def make(packages, out):
    for name, fill, config in (("python", python, {"Cmd": ["python3"], "Env": [DEBIAN_PATH]}),
                               ("node", accounts, {"Cmd": ["node"], "Env": [DEBIAN_PATH]}),
                               ("alpine", alpine, {"Cmd": ["/bin/sh"], "Env": [DEBIAN_PATH]})):
        below = pathlib.Path(packages, f"{name}.layer.tar")
        layers = [Layer(below, digest_file(below))] if below.exists() else []
        layers.append(layer(pathlib.Path(packages, f"{name}.top.tar"), fill))
        docker_archive(pathlib.Path(out, f"{name}.tar"), layers, NAMES[name], config)


@contextlib.contextmanager
def mirror(folder, home):
    """A registry with the stand-ins, and a config.json in home that makes it Docker Hub's mirror. Gives the registry."""
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "functional"))
    from registry_peers import DebianRegistry
    with tempfile.TemporaryDirectory() as work, DebianRegistry(work) as registry:
        for name, image in NAMES.items():
            repository, tag = image.split(":")
            registry.push_archive(pathlib.Path(folder, f"{name}.tar"), f"library/{repository}", tag)
        config = {"registries": {"hosts": {"docker.io": {"mirrors": [f"http://{registry.host}"]}}}}
        pathlib.Path(home, "config.json").write_text(json.dumps(config))
        yield registry


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(*sys.argv[2:4])
    else:
        with tempfile.TemporaryDirectory() as home, mirror(sys.argv[2], home):
            code = subprocess.run(sys.argv[3:], env=dict(os.environ, MSB_HOME=home)).returncode
        sys.exit(code)
