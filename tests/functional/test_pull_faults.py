# SPDX-License-Identifier: Apache-2.0
"""Issue lines 02.3 and 02.5: msb pull from a registry that misbehaves, without a network, and killed at any moment."""
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import tarfile
import time

import pytest

import registry_peers as peers
from conftest import MSB, Msb, SEED
from leftovers import Census, descendants

LONG = bool(os.environ.get("MSB_LONG"))
LAYERS, LAYER_BYTES = 4, 6 << 20
# A network whose packets go nowhere.
NOWHERE = ("unshare", "-Urn", "sh", "-c", "ip link set lo up && ip addr add 10.9.0.1/32 dev lo &&"
           " ip route add default dev lo && exec \"$@\"", "sh")


def layer_tar(name, size, seed):
    """A layer of files that do not compress."""
    dice, out = random.Random(f"{name} {seed}"), io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for i in range(8):
            info = tarfile.TarInfo(f"{name}/{i}")
            info.size = size // 8
            tar.addfile(info, io.BytesIO(dice.randbytes(info.size)))
    return out.getvalue()


@pytest.fixture(scope="module")
def layers():
    return [layer_tar(f"layer{i}", LAYER_BYTES, SEED) for i in range(LAYERS)]


class Registry:
    """A misbehaving registry with the 24 MB image, and an msb with a home of its own."""

    def __init__(self, peer, msb, layers):
        self.peer, self.msb = peer, msb
        self.name = f"{peer.host}/team/app:1"
        peer.add_image("team/app", "1", layers)
        self.blobs = self.sizes()

    def sizes(self):
        """Path part and size of each layer's blob, lowest first."""
        manifest = json.loads(self.peer.manifests["team/app", "1"][0])
        return [("/blobs/" + layer["digest"], layer["size"]) for layer in manifest["layers"]]

    def pull(self, *options, **kw):
        kw.setdefault("timeout", 120)
        return self.msb("pull", *options, self.name, **kw)

    def visible(self):
        """Names in the image cache."""
        cache = self.msb.home / "cache"
        return sorted(str(p.relative_to(cache)) for p in cache.rglob("*") if p.is_file())

    def fetched(self):
        self.peer.settled()
        return self.peer.bytes_sent("/blobs/")


@pytest.fixture
def registry(tmp_path, layers):
    with peers.Peer() as peer:
        yield Registry(peer, Msb(tmp_path / "home"), layers)


def whole(registry):
    """What a good pull leaves: nothing half-done, everything there."""
    names = registry.visible()
    assert not [n for n in names if ".part" in n or ".tmp" in n], names
    assert sum(n.startswith("layers/") and n.endswith(".data") for n in names) == LAYERS
    assert sum(n.startswith("refs/") for n in names) == 1


def total(registry):
    return sum(size for _, size in registry.blobs)


@pytest.mark.show_02_3
def test_undisturbed(registry):
    done = registry.pull()
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"" and "✓ Pulled".encode() in done.stderr
    whole(registry)
    assert registry.fetched() < total(registry) + 4096
    again = registry.pull()
    assert again.returncode == 0 and b"up to date" in again.stderr
    print(f"{total(registry)} bytes in {LAYERS} layers; the second pull asked {len(registry.peer.paths()) - LAYERS - 3} more question")


SURVIVED = {
    "cut after each MiB": (peers.cut(1 << 20), None, 1.01),
    "500 twice": (peers.answer(500), 2, 1.01),
    "503 once for each": (peers.answer(503), LAYERS, 1.01),
    "429 with Retry-After": (peers.answer(429, {"Retry-After": "1"}), 1, 1.01),
    "reset at 3 MB": (peers.reset(3_000_000), 2, 1.5),  # a reset takes away what was under way
    "range ignored after a cut": (None, None, 3.0),
}


@pytest.mark.show_02_3
@pytest.mark.parametrize("name", SURVIVED)
def test_survived(registry, name):
    """The pull succeeds, and little or nothing is fetched twice."""
    fault, times, factor = SURVIVED[name]
    if fault is None:
        registry.peer.fault(registry.blobs[0][0], peers.cut(1 << 20), times=1)
        registry.peer.fault(registry.blobs[0][0], peers.ignore_range(), times=1)
    else:
        registry.peer.fault("/blobs/", fault, times=times, skip=1)  # the config is one too
    start = time.monotonic()
    done = registry.pull()
    assert done.returncode == 0, done.stderr
    whole(registry)
    ratio = registry.fetched() / total(registry)
    print(f"{name}: {ratio:.3f} of the image's bytes fetched, {time.monotonic() - start:.1f} s")
    assert ratio <= factor


@pytest.mark.show_02_3
def test_drip(registry):
    """10 kB/s is slow, not dead: the other layers get through, and Ctrl-C says what stays."""
    registry.peer.fault(registry.blobs[0][0], peers.drip(10_000))
    child = registry.msb.popen("pull", registry.name, stderr=subprocess.PIPE)
    end = time.monotonic() + 60
    while len([n for n in registry.visible() if n.endswith(".data")]) < LAYERS - 1:
        assert time.monotonic() < end
        time.sleep(0.05)
    pressed = time.monotonic()
    os.kill(child.pid, signal.SIGINT)
    said = child.communicate(timeout=10)[1]
    took = time.monotonic() - pressed
    assert child.returncode == 130 and took < 1, (child.returncode, took, said)
    assert f"{LAYERS - 1} of {LAYERS} layers are complete and stay".encode() in said
    before = registry.fetched()
    registry.peer.clear()
    done = registry.pull()
    assert done.returncode == 0, done.stderr
    whole(registry)
    again = registry.fetched()
    print(f"interrupted after {before} bytes in {took:.2f} s; {again} fetched afterwards")
    assert before + again <= total(registry) + 400_000


@pytest.mark.show_02_3
@pytest.mark.parametrize("fault,words", [
    (peers.wrong_bytes(), "damaged"),
    (peers.too_many(), "more"),
    (peers.endless(), "more"),
], ids=["wrong bytes", "too many", "endless"])
def test_refused(registry, fault, words):
    """An error that names the image and what was wrong; complete layers stay, nothing half-done counts."""
    registry.peer.fault(registry.blobs[2][0], fault)
    done = registry.pull()
    said = done.stderr.decode()
    assert done.returncode == 1 and said.count("error:") == 1 and "→" in said, said
    assert registry.name in said and registry.blobs[2][0][-64:-52] in said, said
    assert not [n for n in registry.visible() if n.startswith("refs/")]
    assert registry.msb("images", "-q").stdout == b""
    registry.peer.clear()
    assert registry.pull().returncode == 0
    whole(registry)


@pytest.mark.show_02_3
def test_too_few(registry):
    """A body that ends early again and again is an error in the end, and is gone on with later."""
    registry.peer.fault(registry.blobs[1][0], peers.too_few(100))
    done = registry.pull()
    assert done.returncode in (0, 1), done.stderr
    registry.peer.clear()
    assert registry.pull().returncode == 0
    whole(registry)


@pytest.mark.show_02_3
def test_bomb(tmp_path):
    """1 GB of zeroes in 1 MB is a layer within the limits: it takes no disk. With a false diff_id nothing of it stays."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("zeroes")
        info.size = 1 << 30
        tar.addfile(info, io.BytesIO(bytes(1 << 30)))
    msb = Msb(tmp_path / "home")
    with peers.Peer() as peer:
        peer.add_image("bomb", "1", [out.getvalue()])
        done = msb("pull", f"{peer.host}/bomb:1", timeout=120)
        assert done.returncode == 0, done.stderr
    blocks = sum(p.stat().st_blocks for p in (tmp_path / "home").rglob("*") if p.is_file())
    print(f"{blocks * 512} bytes of disk for 1 GiB of zeroes")
    assert blocks * 512 < 1 << 20


@pytest.mark.show_02_3
def test_redirect_to_another_host(registry, tmp_path):
    """Blobs come from elsewhere; credentials do not go there."""
    with peers.Peer(address="127.0.0.2") as elsewhere:
        for path, _ in registry.blobs:
            elsewhere.add_blob(registry.peer.blobs[path.split("/")[-1]])
            registry.peer.fault(path, peers.redirect(f"http://{elsewhere.host}/v2/team/app{path}"))
        registry.peer.auth = peers.BasicAuth({"ann": "secret"})
        login = registry.msb("registry", "login", registry.peer.host, "-u", "ann", "--password-stdin", input=b"secret\n")
        assert login.returncode == 0, login.stderr
        done = registry.pull()
        assert done.returncode == 0, done.stderr
        assert registry.peer.headers_seen("Authorization") and not elsewhere.headers_seen("Authorization")
    whole(registry)


@pytest.mark.show_02_3
def test_mirror_that_lies(registry, layers):
    """A mirror's wrong bytes are found by their digest, and the registry is asked instead."""
    with peers.Peer() as mirror:
        mirror.blobs, mirror.manifests = registry.peer.blobs, registry.peer.manifests
        mirror.fault(registry.blobs[1][0], peers.wrong_bytes())
        registry.msb.home.mkdir(exist_ok=True)
        (registry.msb.home / "config.json").write_text(json.dumps(
            {"registries": {"hosts": {registry.peer.host: {"mirrors": [f"http://{mirror.host}"]}}}}))
        done = registry.pull()
        assert done.returncode == 0, done.stderr
        assert registry.peer.paths(registry.blobs[1][0]) and not registry.peer.paths(registry.blobs[0][0])
    whole(registry)


@pytest.mark.show_02_3
@pytest.mark.parametrize("reference,prefix", [
    ("no-such-host.invalid/x:1", ()), ("127.0.0.1:1/x:1", ()), ("10.9.0.7:5000/x:1", NOWHERE), ("python:3.12", NOWHERE),
], ids=["unresolvable", "refused", "dropped", "hub dropped"])
def test_no_network(tmp_path, reference, prefix):
    msb = Msb(tmp_path / "home")
    start = time.monotonic()
    done = subprocess.run([*prefix, MSB, "pull", reference], env=msb.env, timeout=30, capture_output=True, stdin=subprocess.DEVNULL)
    took = time.monotonic() - start
    said = done.stderr.decode()
    host = "registry-1.docker.io" if reference.startswith("python") else reference.split("/")[0]
    assert done.returncode == 1 and took < 10, (took, said)
    assert host in said and "msb load -i" in said and "msb image import" in said and "mirrors" in said, said
    print(f"{reference}: {took:.1f} s")


@pytest.mark.show_02_3
def test_ten_at_once_do_the_work_once(registry):
    children = [registry.msb.popen("pull", "-q", registry.name, stderr=subprocess.PIPE) for _ in range(10)]
    for child in children:
        said = child.communicate(timeout=120)[1]
        assert child.returncode == 0, said
    whole(registry)
    print(f"{registry.fetched() / total(registry):.3f} of the image's bytes fetched by ten")
    assert registry.fetched() < total(registry) + 10 * 4096


@pytest.mark.show_02_5
def test_killed(registry, tmp_path, layers):
    """SIGKILL of msb, msb-image, a worker or msb-registry at a moment of the pull that the dice choose."""
    fresh = Msb(tmp_path / "fresh")
    assert fresh("pull", "-q", registry.name).returncode == 0
    wanted = sorted(str(p.relative_to(fresh.home / "cache")) for p in (fresh.home / "cache").rglob("*") if p.is_file())
    dice, kills, spread = random.Random(f"{SEED} pull"), 50 if LONG else 12, 1.2
    registry.peer.fault("/blobs/", peers.drip(12_000_000, 65536))
    for number in range(kills):
        home = tmp_path / f"home{number}"
        registry.msb = Msb(home)
        census = Census(tmp_path / "nothing")
        child = registry.msb.popen("pull", registry.name, stderr=subprocess.PIPE)
        moment = time.monotonic() + dice.uniform(0, spread)
        while time.monotonic() < moment and child.poll() is None:
            pass
        family = [child.pid] + descendants(child.pid)
        victim = dice.choice(family)
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.communicate(timeout=30)
        census.check(within_s=3)
        kept = {n for n in registry.visible() if n.endswith(".data")} if (home / "cache").exists() else set()
        registry.peer.settled()
        before = len(registry.peer.paths("/blobs/"))
        done = registry.pull()
        assert done.returncode == 0, (number, done.stderr)
        complete = {n.split("/")[-1][:64] for n in kept}
        asked = " ".join(registry.peer.paths("/blobs/")[before:])
        for (path, _), tar in zip(registry.blobs, layers):
            if hashlib.sha256(tar).hexdigest() in complete:
                assert path not in asked, f"{number}: a complete layer was fetched again (seed {SEED})"
        assert registry.msb("image", "prune", "-y", "-q").returncode == 0
        assert registry.visible() == wanted, f"kill {number} (seed {SEED})"
    print(f"seed {SEED}: {kills} kills")
