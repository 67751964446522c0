# SPDX-License-Identifier: Apache-2.0
"""Issue line 02.1: what msb pull and msb run say of registries. For each case the exit status and all that is printed,
word for word: one line that says what was asked for, whom, as whom and what came of it, and one that says what to do.
Each call of msb is searched for the passwords that are in the game."""
import base64
import io
import json
import os
import re
import subprocess
import sys
import tarfile

import pytest

from conftest import MSB, Msb
from registry_peers import (DOCKER_SCHEMA1, OCI_INDEX, BasicAuth, Certificates, DebianRegistry, Peer, Proxy, TokenAuth,
                            answer, digest_of, refused_port)

pytestmark = pytest.mark.show_02_1
PASSWORD, WRONG = "correct-horse-7531", "wrong-battery-8642"
USERS = {"ann": PASSWORD}
NOT_HERE = "→ msb pull fetches it, msb load -i ARCHIVE reads it from a file; msb images lists what is here"
NO_COMMAND = ["warn: no command provided and stdin is not a terminal"]  # run got its image, and started nothing
OTHER_WAYS = "without it: msb load -i FILE, msb image import DIR|TAR -t NAME, or registries.hosts.{}.mirrors in config.json"
LOGIN = "the credentials of msb registry login"
# A network of the test's own, with an address that is not loopback's.
NAMESPACE = ("unshare", "-Urn", "sh", "-euc", 'ip link set lo up; ip addr add 10.9.0.1/32 dev lo; exec "$@"', "sh")


def tar_of(**files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


LAYER = tar_of(file=b"data")


class Client(Msb):
    """An msb with a home of its own, and nothing of the user's: no proxy, no credentials of docker."""

    def __init__(self, folder):
        folder.mkdir(mode=0o700)
        super().__init__(folder / "home")
        self.home.mkdir(mode=0o700)
        self.env = {k: v for k, v in self.env.items() if not k.lower().endswith("_proxy")}
        self.docker = folder / "docker"
        self.docker.mkdir()
        self.env["DOCKER_CONFIG"] = str(self.docker)

    def __call__(self, *args, **kw):
        done = super().__call__(*args, **kw)
        for secret in (PASSWORD, WRONG):
            for form in (secret, base64.b64encode(secret.encode()).decode(), base64.b64encode(f"ann:{secret}".encode()).decode()):
                assert form.encode() not in done.stdout + done.stderr, args
        return done

    def says(self, status, lines, *args, **kw):
        """Exit status, and everything on stderr: but for numbers that time decides, and lines of progress."""
        done = self(*args, **kw)
        said = [re.sub(r"[\d.]+ \S+ in \d+\.\d s", "soon", line).strip() for line in done.stderr.decode().splitlines()]
        print("$ msb", *args, f"\n{done.stderr.decode()}[{done.returncode}]")
        assert (done.returncode, [line for line in said if not line.startswith("layer ")]) == (status, lines)
        return done

    def config(self, ca_certs=(), **hosts):
        (self.home / "config.json").write_text(json.dumps({"registries": {"ca_certs": list(map(str, ca_certs)), "hosts": hosts}}))

    def login(self, host, password, *options, user="ann"):
        return self("registry", "login", *options, host, "-u", user, "--password-stdin", input=password.encode() + b"\n")

    def has(self, reference):
        return reference in self("images").stdout.decode().split()


def pulled(reference, host, layers="1 layer, 1 new"):
    return [f"✓ Pulled {reference} ({layers}; soon from {host})"]


def error(reference, what, hint):
    return [f"error: {reference}: {what}", f"→ {hint}"]


@pytest.fixture
def msb(tmp_path):
    """Afterwards a password is in no file but those that are for passwords."""
    client = Client(tmp_path / "client")
    yield client
    for path in client.home.rglob("*"):
        if path.is_file() and not {"secrets", "templates"} & set(path.parts):
            data = path.read_bytes()
            assert PASSWORD.encode() not in data and WRONG.encode() not in data, path


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def debian(tmp_path_factory, certs, archive):
    """Debian's registry, with TLS and htpasswd: team/app:1, and a busybox to run."""
    with DebianRegistry(tmp_path_factory.mktemp("registry"), tls=certs.good, users=USERS) as r:
        r.push_image("team/app", "1", [LAYER])
        r.push_archive(archive, "team/busybox", "1")
        r.ca = ("--ca-certs", str(certs.ca))
        r.app = f"{r.host}/team/app:1"
        yield r


@pytest.fixture
def peer():
    with Peer() as p:
        p.add_image("team/app", "1", [LAYER])
        p.app = f"{p.host}/team/app:1"
        yield p


# ---- Debian's registry: passwords, names, certificates ------------------------------------------------------------

def test_passwords(msb, debian):
    """None, wrong, right; what login did not see accepted it does not store, unless told to."""
    host = debian.host
    msb.says(1, error(debian.app, f"{host} wants a user name and password (asked anonymously)", f"msb registry login {host} -u USER"),
             "pull", *debian.ca, debian.app)
    refused = msb.login(host, WRONG, *debian.ca)
    assert refused.returncode == 1 and refused.stderr.decode() == (
        f"error: {host} does not accept this user name and password; nothing was stored\n"
        "  → to store them all the same: --no-verify\n")
    assert msb("registry", "ls").stderr == b"No registries configured.\n"
    assert msb.login(host, WRONG, "--no-verify").returncode == 0
    msb.says(1, error(debian.app, f"{host} does not accept {LOGIN} (user ann): authentication required",
                      f"msb registry login {host} -u USER stores others"), "pull", *debian.ca, debian.app)
    assert not msb.has(debian.app)
    stored = msb.login(host, PASSWORD, *debian.ca)
    assert (stored.returncode, stored.stdout.decode(), stored.stderr) == (0, f"Stored the credentials of ann for {host}.\n", b"")
    assert msb("--trace", "pull", *debian.ca, debian.app).returncode == 0
    msb.says(0, [f"✓ {debian.app} is up to date"], "pull", *debian.ca, debian.app)
    msb.says(0, [], "pull", "-q", *debian.ca, debian.app)
    msb.says(0, pulled(debian.app, host), "pull", "-f", *debian.ca, debian.app)


def test_run_pulls(msb, debian):
    msb.login(debian.host, PASSWORD, *debian.ca)
    image = f"{debian.host}/team/busybox:1"
    done = msb.says(0, pulled(image, debian.host), "run", *debian.ca, image, "--", "echo", "from the registry")
    assert done.stdout == b"from the registry\n"
    msb.says(0, [], "run", "--pull", "never", image, "--", "true")


def test_unknown(msb, debian):
    """Each with the nearest that there is, else what there is, else where to look."""
    host = debian.host
    msb.login(host, PASSWORD, *debian.ca)
    as_ann = f"(asked as ann with {LOGIN})"
    nothing = "sha256:" + 64 * "0"
    for name, what, hint in (
            ("team/app:2", f"has no team/app with this tag {as_ann}", f"did you mean {host}/team/app:1?"),
            ("team/app:nightly", f"has no team/app with this tag {as_ann}", "its only tag is 1"),
            ("team/apq:1", f"has no repository team/apq {as_ann}", f"did you mean {host}/team/app:1?"),
            ("other/thing:1", f"has no repository other/thing {as_ann}", "check the name")):
        msb.says(1, error(f"{host}/{name}", f"{host} {what}", hint), "pull", *debian.ca, f"{host}/{name}")
    msb.says(1, error(f"{host}/team/app@{nothing[:19]}...", f"{host} has no team/app with this digest {as_ann}", "its only tag is 1"),
             "pull", *debian.ca, f"{host}/team/app@{nothing}")
    msb.says(125, error(f"{host}/team/app:2", f"{host} has no team/app with this tag {as_ann}", f"did you mean {host}/team/app:1?"),
             "run", *debian.ca, f"{host}/team/app:2", "--", "true")


def test_own_ca(msb, debian, certs):
    """Refused, with the option, with the configuration."""
    host = debian.host
    msb.login(host, PASSWORD, "--no-verify")
    unknown = error(debian.app, f"the certificate of {host} is signed by a CA that this machine does not know",
                    "CA certificate in a file: --ca-certs FILE; not checked at all: --insecure")
    msb.says(1, unknown, "pull", debian.app)
    msb.says(125, unknown, "run", debian.app)
    msb.says(0, pulled(debian.app, host), "pull", "--ca-certs", str(certs.ca), debian.app)
    msb.config(ca_certs=[certs.ca])
    msb.says(0, pulled(debian.app, host), "pull", "-f", debian.app)
    msb.config()
    msb.says(0, pulled(debian.app, host), "pull", "-f", "--insecure", debian.app)
    msb.says(1, ["error: CA certificates: read /nosuch/ca.pem: No such file or directory",
                 "→ --ca-certs, and registries.ca_certs in config.json, name files with PEM certificates"],
             "pull", "--ca-certs", "/nosuch/ca.pem", debian.app)


def test_expired_certificate(tmp_path, msb, certs):
    with DebianRegistry(tmp_path / "registry", tls=certs.expired) as r:
        r.push_image("team/app", "1", [LAYER])
        app = f"{r.host}/team/app:1"
        msb.says(1, error(app, f"the certificate of {r.host} has expired", "its owner must renew it; to connect all the same: --insecure"),
                 "pull", "--ca-certs", str(certs.ca), app)
        msb.says(0, pulled(app, r.host), "pull", "--insecure", app)


def test_certificate_of_another(msb, certs):
    for pair, what, hint in ((certs.other_host, "belongs to another host", "use the name that it is made for; to connect all the same: --insecure"),
                             (certs.self_signed, "is signed by itself, not by a known CA",
                              "CA certificate in a file: --ca-certs FILE; not checked at all: --insecure")):
        with Peer(tls=pair) as p:
            app = f"{p.host}/team/app:1"
            msb.says(1, error(app, f"the certificate of {p.host} {what}", hint), "pull", "--ca-certs", str(certs.ca), app)


# ---- plain HTTP ---------------------------------------------------------------------------------------------------

def test_plain_on_loopback(tmp_path, msb):
    """As docker has it: loopback may speak plain HTTP without a word about it."""
    with DebianRegistry(tmp_path / "registry") as r:
        r.push_image("team/app", "1", [LAYER])
        msb.says(0, pulled(f"{r.host}/team/app:1", r.host), "pull", f"{r.host}/team/app:1")


def test_plain_elsewhere(msb):
    """Refused, allowed by the option, allowed by the configuration."""
    server = """if True:
        import subprocess, sys
        sys.path.insert(0, sys.argv[1])
        from registry_peers import Peer
        with Peer(address="10.9.0.1") as p:
            p.add_image("team/app", "1", [b""])
            print(p.host, flush=True)
            for line in sys.stdin:
                done = subprocess.run(line.split() + [p.host + "/team/app:1"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
                print(repr((done.returncode, done.stderr, [s.path for s in p.settled()])), flush=True)
    """
    with subprocess.Popen([*NAMESPACE, sys.executable, "-c", server, os.path.dirname(__file__)], env=msb.env, text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as far:
        host = far.stdout.readline().strip()

        def pull(*options):
            print(MSB, "pull", *options, file=far.stdin, flush=True)
            return eval(far.stdout.readline())  # what the script above wrote

        status, said, asked = pull()
        print(said)
        assert (status, asked) == (1, []) and said == (
            f"error: {host}/team/app:1: {host} does not speak TLS\n"
            f"  → plain HTTP, if that is meant: --insecure, or registries.hosts.{host}.insecure in config.json\n")
        status, said, asked = pull("--insecure")
        assert status == 0 and f"✓ Pulled {host}/team/app:1" in said and asked
        msb.config(**{host: {"insecure": True}})
        status, said, _ = pull()
        assert (status, said) == (0, f"✓ {host}/team/app:1 is up to date\n")
        far.stdin.close()


# ---- tokens and where credentials come from -----------------------------------------------------------------------

def test_tokens(msb, certs):
    with Peer(tls=certs.good, auth=TokenAuth(USERS)) as p:
        p.add_image("team/app", "1", [LAYER])
        app, ca = f"{p.host}/team/app:1", ("--ca-certs", str(certs.ca))
        msb.says(1, error(app, f"{p.host} wants a user name and password (asked anonymously)", f"msb registry login {p.host} -u USER"),
                 "pull", *ca, app)
        assert msb.login(p.host, WRONG, *ca).returncode == 1
        msb.login(p.host, WRONG, "--no-verify")
        msb.says(1, error(app, f"{p.host} does not accept {LOGIN} (user ann): incorrect username or password",
                          f"msb registry login {p.host} -u USER stores others"), "pull", *ca, app)
        assert msb.login(p.host, PASSWORD, *ca).returncode == 0
        msb.says(0, pulled(app, p.host), "pull", *ca, app)
        p.auth.anonymous = True
        msb("registry", "logout", p.host)
        msb.says(0, pulled(app, p.host), "pull", "-f", *ca, app)


def test_order_of_credentials(msb, peer, tmp_path):
    """login's store, config.json (a variable or a file), docker's config.json, docker's helper, nobody. contract 2.4"""
    peer.auth = BasicAuth({})
    helper = tmp_path / "bin/docker-credential-test"
    helper.parent.mkdir()
    helper.write_text("#!/bin/sh\ncat >/dev/null; echo '{\"Username\": \"helper\", \"Secret\": \"%s\"}'\n" % WRONG)
    helper.chmod(0o700)
    msb.env.update(PATH=f"{helper.parent}:{os.environ['PATH']}", PASSWORD_OF_ENV=WRONG)
    secrets = msb.home / "secrets/registries"
    auth = base64.b64encode(f"docker:{WRONG}".encode()).decode()
    docker = {"auths": {f"https://{peer.host}": {"auth": auth}}, "credHelpers": {peer.host: "test"}}
    msb.login(peer.host, WRONG, "--no-verify", user="stored")
    (secrets / "other").write_text(WRONG + "\n")
    (secrets / "other").chmod(0o600)

    def asked(user, source):
        msb.says(1, error(peer.app, f"{peer.host} does not accept {source} (user {user}): authentication required",
                          f"msb registry login {peer.host} -u USER stores others"), "pull", peer.app)
        peer.auth.users = {user: WRONG}
        msb.says(0, pulled(peer.app, peer.host), "pull", "-f", peer.app)
        peer.auth.users = {}

    msb.config(**{peer.host: {"auth": {"username": "env", "password_env": "PASSWORD_OF_ENV"}}})
    (msb.docker / "config.json").write_text(json.dumps(docker))
    asked("stored", LOGIN)
    assert msb("registry", "logout", peer.host).returncode == 0
    asked("env", "the credentials that config.json names")
    msb.config(**{peer.host: {"auth": {"username": "file", "secret_name": "other"}}})
    asked("file", "the credentials that config.json names")
    msb.config()
    asked("docker", "the credentials of docker's config.json")
    del docker["auths"]
    (msb.docker / "config.json").write_text(json.dumps(docker))
    asked("helper", "the credentials of docker-credential-test")
    (msb.docker / "config.json").unlink()
    msb.says(1, error(peer.app, f"{peer.host} wants a user name and password (asked anonymously)", f"msb registry login {peer.host} -u USER"),
             "pull", peer.app)


def test_credentials_that_lead_nowhere(msb, peer):
    """An entry of config.json is not passed over, as if nobody had written it."""
    example = '→ for example {"username": "USER", "password_env": "VARIABLE"}'
    for auth, what, hint in (
            ({"username": "ann", "password_env": "NOT_SET"}, "the variable that password_env names is not set", "→ export NOT_SET=..."),
            ({"username": "ann", "secret_name": "none"}, "there is no file of secret_name",
             "→ write the password into MSB_HOME/secrets/registries/none, chmod 600"),
            ({"store": "keyring"}, "the store has no password for it", f"→ msb registry login {peer.host} -u USER"),
            ({"username": "ann"}, "give exactly one of store, password_env and secret_name", example),
            ({"password_env": "HOME"}, "username is missing", example)):
        msb.config(**{peer.host: {"auth": auth}})
        msb.says(1, [f"error: {msb.home}/config.json: registries.hosts.{peer.host}.auth: {what}", hint], "pull", peer.app)
    assert peer.seen == []


# ---- pull policies ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("policy", ["if-missing", "always", "never"])
@pytest.mark.parametrize("cached", [False, True], ids=["not cached", "cached"])
def test_policy(msb, peer, policy, cached):
    """Without a command run needs the image and starts no machine."""
    if cached:
        msb.says(0, pulled(peer.app, peer.host), "pull", peer.app)
        peer.clear()
    run = ("run", "--pull", policy, peer.app)
    if policy == "never" and not cached:
        msb.says(125, [f"error: --pull never: image {peer.app} is not here", NOT_HERE], *run)
    elif policy == "always" and cached:
        msb.says(0, [f"✓ {peer.app} is up to date", *NO_COMMAND], *run)
    else:
        msb.says(0, [*([] if cached else pulled(peer.app, peer.host)), *NO_COMMAND], *run)
    asked = [f"{s.method} {s.path[:22]}" for s in peer.settled()]
    print("asked:", asked)
    if policy == "never" or (policy == "if-missing" and cached):
        assert asked == []
    elif cached:
        assert asked == ["HEAD /v2/team/app/manifests"[:27]]
    else:
        assert len(asked) == 3  # manifest, config, layer
    assert msb.has(peer.app) == (cached or policy != "never")


def test_policy_of_a_moved_tag(msb, peer):
    """if-missing keeps what is here; always takes the new one, and of it only the layer that is new."""
    msb.says(0, pulled(peer.app, peer.host), "pull", peer.app)
    _, (_, old, new) = peer.add_image("team/app", "1", [LAYER, tar_of(file=b"other")])
    peer.clear()
    msb.says(0, NO_COMMAND, "run", peer.app)
    assert peer.settled() == []
    msb.says(0, pulled(peer.app, peer.host, "2 layers, 1 new") + NO_COMMAND, "run", "--pull", "always", peer.app)
    assert peer.paths(new) and not peer.paths(old)


def test_policy_without_the_registry(msb):
    """What is cached runs, unless it is to be asked for; a failed pull takes nothing away."""
    with Peer() as p:
        p.add_image("team/app", "1", [LAYER])
        app, host = f"{p.host}/team/app:1", p.host
        msb.says(0, pulled(app, host), "pull", app)
    for policy in ("if-missing", "never"):
        msb.says(0, NO_COMMAND, "run", "--pull", policy, app)
    done = msb("run", "--pull", "always", app)
    lines = [line.strip() for line in done.stderr.decode().splitlines() if not line.startswith("note: ")]
    assert done.returncode == 125
    assert lines == error(app, f"cannot connect to {host}: Connection refused", OTHER_WAYS.format(host))
    assert msb.has(app)


def test_policy_unknown(msb):
    msb.says(2, ['error: --pull: "sometimes" is not always, if-missing or never', "→ msb run --help says what it takes"],
             "run", "--pull", "sometimes", "python:3.12")


# ---- bad input ----------------------------------------------------------------------------------------------------

@pytest.fixture
def hub(msb):
    """Docker Hub as it answers: to whom it does not know a repository is as good as private. Reached through a proxy."""
    auth = TokenAuth(anonymous=True)
    with Peer(auth=auth) as p, Proxy({"registry-1.docker.io": ("127.0.0.1", p.port)}) as proxy:
        p.add_image("library/python", "3.12", [LAYER])
        p.fault("/library/pyhton/", answer(401, {"WWW-Authenticate": auth.challenge(p, "/v2/library/pyhton/manifests/1")},
                                           b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'))
        msb.env.update(http_proxy=proxy.url, https_proxy=proxy.url)
        yield p


@pytest.mark.show_02_bad
def test_misspelt(msb, hub):
    private = "A private one: msb registry login docker.io -u USER"
    msb.says(1, error("docker.io/library/pyhton:3.12", "Docker Hub has no such repository, or it is private (asked anonymously)",
                      f"did you mean python:3.12? {private}"), "pull", "--insecure", "pyhton:3.12")
    msb.says(125, error("docker.io/library/pyhton:3.12", "Docker Hub has no such repository, or it is private (asked anonymously)",
                        f"did you mean python:3.12? {private}"), "run", "--insecure", "pyhton:3.12", "--", "true")
    msb.says(1, error("docker.io/library/python:3.13", "docker.io has no library/python with this tag (asked anonymously)",
                      "did you mean python:3.12?"), "pull", "--insecure", "python:3.13")


@pytest.mark.show_02_bad
def test_misspelt_with_a_mirror(msb, hub):
    """What the mirror said is told too, and what it has is as good a hint."""
    with Peer() as mirror:
        mirror.add_image("library/python", "3.12", [LAYER])
        msb.env["no_proxy"] = "127.0.0.1"
        msb.config(**{"docker.io": {"mirrors": [mirror.url]}})
        said = f"mirror: {mirror.host} has no repository library/pyhton (asked anonymously)"
        msb.says(1, [f"note: {said}; asking docker.io",
                     *error(f"docker.io/library/pyhton:3.12 ({said})",
                            "Docker Hub has no such repository, or it is private (asked anonymously)", "did you mean python:3.12?")],
                 "pull", "--insecure", "pyhton:3.12")


@pytest.mark.show_02_bad
@pytest.mark.parametrize("typed,what,hint", [
    ("Python:3.12", "the name must be lower-case letters, digits, and . _ - / between them", "did you mean python:3.12?"),
    ("ghcr.io/Owner/App:V1", "the name must be lower-case letters, digits, and . _ - / between them", "did you mean ghcr.io/owner/app:V1?"),
    ("python:", "bad tag", "expected [registry/]name[:tag], for example python:3.12"),
    ("python@sha256:12", "the digest must be sha256: and 64 hex digits", "expected [registry/]name[:tag], for example python:3.12"),
], ids=lambda v: v if ":" in v and " " not in v else "")
def test_no_reference(msb, typed, what, hint):
    for command in ("pull", "run"):
        msb.says(2, [f'error: image "{typed}": {what}', f"→ {hint}"], command, typed)


@pytest.mark.show_02_bad
def test_no_registry(msb, peer):
    """Web servers, refusals, manifests that are none: each names what was asked for, and a way on."""
    host, app = peer.host, peer.app
    ways = OTHER_WAYS.format(host)
    for fault, what, hint in (
            (answer(404, {}, b"what?"), f"{host} answers 404, not in the words of a registry: is it one?", "check the name of the host"),
            (answer(200, {"Content-Type": "text/html"}, b"<html>"), f"{host} answers with a web page: it is no registry", ways),
            (answer(200, {"Content-Type": DOCKER_SCHEMA1}, b"{}"), f"{host} has only a manifest of the old form (schema 1)", ways),
            (answer(418), f"{host} answers 418", ways),
            (answer(403, {"Content-Type": "application/json"}, b'{"errors":[{"code":"DENIED","message":"not for\\nyou"}]}'),
             f"{host} refuses it: 403, not for?you (asked anonymously)", f"msb registry login {host} -u USER"),
            (answer(429, {"Retry-After": "3600"}), f"{host}: too many requests (asked anonymously); it says to come back after 3600 s",
             f"a known user has a higher limit: msb registry login {host} -u USER"),
            (answer(200, {"Content-Type": "application/json"}, b"{"),
             "the manifest: line 1: string or '}' expected near end of file",
             "the registry's copy is damaged: the image must be pushed there again")):
        peer.clear()
        peer.fault("/v2/", fault)
        msb.says(1, error(app, what, hint), "pull", app)
    peer.clear()
    peer.add_manifest("team/app", "1", json.dumps({"manifests": [{"digest": digest_of(b"x"), "size": 1, "platform": {
        "os": "linux", "architecture": "s390x"}}]}).encode(), OCI_INDEX)
    msb.says(1, error(app, "the image is not made for linux/amd64, only for: linux/s390x",
                      "choose another tag, or build the image for linux/amd64"), "pull", app)
    assert msb("images", "-q").stdout == b""


@pytest.mark.show_02_bad
def test_mirror_that_is_down(msb, peer):
    """Tried first, told, and passed over."""
    kept, port = refused_port()
    msb.config(**{peer.host: {"mirrors": [f"http://127.0.0.1:{port}"]}})
    down = f"mirror: cannot connect to 127.0.0.1:{port}: Connection refused"
    with kept:
        msb.says(0, [f"note: {down}; asking {peer.host}", *pulled(peer.app, peer.host)], "pull", peer.app)
        msb.says(1, [f"note: {down}; asking {peer.host}",
                     *error(f"{peer.host}/team/app:2 ({down})", f"{peer.host} has no team/app with this tag (asked anonymously)",
                            f"did you mean {peer.host}/team/app:1?")], "pull", f"{peer.host}/team/app:2")


@pytest.mark.show_02_bad
def test_configuration(msb, peer):
    path = msb.home / "config.json"
    correct = "→ correct that file; MSB_CONFIG_PATH can name another"
    for text, said in (("{\n", [f"error: {path}, line 2: string or '}}' expected near end of file", correct]),
                       ({"hosts": {peer.host: {"insecure": "yes"}}},
                        [f"error: {path}: registries.hosts.{peer.host}.insecure must be true or false, not \"yes\"", correct]),
                       ({"hosts": {peer.host: {"mirrors": ["ftp://mirror.example"]}}},
                        [f'error: {path}: "ftp://mirror.example" is no URL of a registry',
                         "→ expected host[:port], or http(s)://host[:port]/path for a mirror"])):
        path.write_text(text if isinstance(text, str) else json.dumps({"registries": text}))
        msb.says(1, said, "pull", peer.app)
        msb.says(125, said, "run", peer.app)
    path.unlink()
    (msb.docker / "config.json").write_text("{")
    msb.says(1, [f"error: docker's configuration {msb.docker}/config.json, line 1: string or '}}' expected near end of file",
                 "→ correct that file; DOCKER_CONFIG can name another folder"], "pull", peer.app)
    assert peer.seen == []
