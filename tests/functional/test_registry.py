# SPDX-License-Identifier: Apache-2.0
"""msb-registry by itself, over its channel protocol: what it asks for, what it believes, what it says when it fails."""
import base64
import concurrent.futures
import fcntl
import json
import os
import socket
import subprocess
import time

import pytest

from registry_client import BLOB, END, HEAD, INFO, MANIFEST, PROGRAM, BYTES, Serve, ask
from registry_peers import (DOCKER_LIST, DOCKER_SCHEMA1, OCI_MANIFEST, BasicAuth, Certificates, DebianRegistry, Peer,
                            Proxy, TokenAuth, answer, content_range, cut, digest_of, drip, endless, garbage,
                            ignore_range, redirect, refused_port, reset, stall, too_few, too_many, wrong_bytes)

DATA = os.urandom(6 << 20)
PASSWORD = "correct-horse-7531"
USERS = {"ann": PASSWORD}


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certs"))


@pytest.fixture
def home(tmp_path):
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def peer():
    with Peer() as p:
        p.blob = p.add_blob(DATA)
        p.add_image("team/app", "1.0", [b"layer"])
        yield p


def blob(home, peer, *options, offset=0, **kw):
    return ask(home, f"{peer.host}/team/app:1.0", BLOB, peer.blob, *options, offset=offset, size=len(DATA), **kw)


def config(home, **hosts):
    (home / "config.json").write_text(json.dumps({"registries": {"hosts": hosts}}))


def command(home, *args, **kw):
    return subprocess.run([PROGRAM, *args], capture_output=True, text=True, timeout=60, **kw)


def login(home, host, password, *options, user="ann"):
    return command(home, "login", *options, home, host, user, input=password)


# ---- Debian's registry --------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def debian(tmp_path_factory, certs):
    with DebianRegistry(tmp_path_factory.mktemp("registry"), tls=certs.good, users=USERS) as r:
        r.digest = r.push_image("team/app", "1.0", [DATA])
        yield r


def test_debian_plain(tmp_path, home):
    """Loopback may speak plain HTTP; HEAD, manifest and blob, whole and from the middle."""
    with DebianRegistry(tmp_path / "r") as r:
        digest = r.push_image("team/app", "1.0", [DATA])
        with Serve(home, f"{r.host}/team/app:1.0") as serve:
            channel = serve.channel()
            head = channel(HEAD, "1.0")
            assert head.code == "none" and head.info["digest"] == digest
            assert head.info["type"] == OCI_MANIFEST and head.info["source"] == r.host
            manifest = channel(MANIFEST, "1.0", size=1 << 20)
            assert digest_of(manifest.data) == digest
            assert manifest.info["size"] == len(manifest.data) == head.info["size"]
            assert channel(MANIFEST, digest, size=1 << 20).data == manifest.data
            layer = json.loads(manifest.data)["layers"][0]
            whole = channel(BLOB, layer["digest"], size=layer["size"])
            assert digest_of(whole.data) == layer["digest"] and whole.info["size"] == layer["size"]
            part = channel(BLOB, layer["digest"], offset=12345, size=layer["size"])
            assert part.data == whole.data[12345:] and part.info["size"] == layer["size"] - 12345
            assert channel(BLOB, layer["digest"], offset=layer["size"], size=layer["size"]).info["size"] == 0
        assert serve.status == 0 and not serve.stderr


def test_debian_passwords(home, debian, certs):
    """None, wrong, right; what is stored is only what was accepted, and nobody prints it."""
    options, ref = ("--ca-certs", certs.ca), f"{debian.host}/team/app:1.0"
    none = ask(home, ref, HEAD, "1.0", *options)
    assert none.code == "permission" and "asked anonymously" in none.text and debian.host in none.text
    assert none.hint == f"msb registry login {debian.host} -u USER"
    wrong = login(home, debian.host, "wrong\n", *options)
    assert wrong.returncode == 1 and "does not accept" in wrong.stderr and "nothing was stored" in wrong.stderr
    assert not (home / "secrets").exists()
    right = login(home, debian.host, PASSWORD + "\r\n", *options)
    assert (right.returncode, right.stderr) == (0, "")
    entry = home / "secrets/registries" / debian.host
    assert entry.stat().st_mode & 0o7777 == 0o600 and entry.parent.stat().st_mode & 0o7777 == 0o700
    assert json.loads(entry.read_text())["password"] == PASSWORD
    good = ask(home, ref, HEAD, "1.0", *options)
    assert good.code == "none" and good.info["digest"] == debian.digest
    listed = command(home, "ls", home)
    assert listed.stdout.split() == ["REGISTRY", "USERNAME", "SOURCE", debian.host, "ann", "file"]
    entry.write_text(json.dumps({"username": "ann", "password": "not-" + PASSWORD}))
    stale = ask(home, ref, HEAD, "1.0", *options)
    assert stale.code == "permission" and "the credentials of msb registry login" in stale.text
    gone = command(home, "logout", home, debian.host)
    assert gone.returncode == 0 and not entry.exists()
    again = command(home, "logout", home, debian.host)
    assert again.returncode == 0 and "warning: nothing is stored" in again.stderr
    empty = command(home, "ls", home)
    assert (empty.returncode, empty.stdout, empty.stderr) == (0, "", "No registries configured.\n")
    said = [r.stdout + r.stderr for r in (wrong, right, listed, gone)]
    said += [repr(a) + a.stderr for a in (none, good, stale)]
    assert not any(PASSWORD in s or base64.b64encode(f"ann:{PASSWORD}".encode()).decode() in s for s in said)


def test_debian_unknown(home, debian, certs):
    login(home, debian.host, PASSWORD, "--ca-certs", certs.ca)
    for kind in (HEAD, MANIFEST):
        tag = ask(home, f"{debian.host}/team/app:1.1", kind, "1.1", "--ca-certs", certs.ca, size=1 << 20)
        assert tag.code == "not_found" and "has no team/app with this tag" in tag.text and "team/app:1.1" in tag.text
        assert tag.hint == f"did you mean {debian.host}/team/app:1.0?"
        name = ask(home, f"{debian.host}/team/apq:1.0", kind, "1.0", "--ca-certs", certs.ca, size=1 << 20)
        assert name.code == "not_found" and "has no repository team/apq" in name.text
        assert name.hint == f"did you mean {debian.host}/team/app:1.0?"


# ---- certificates, https and http ---------------------------------------------------------------------------------

@pytest.mark.parametrize("which,text,option", [
    ("good", "signed by a CA that this machine does not know", "--ca-certs"),
    ("self_signed", "signed by itself", "--ca-certs"),
    ("expired", "has expired", "--insecure"),
    ("other_host", "belongs to another host", "--insecure")])
def test_certificates(home, certs, which, text, option):
    with Peer(tls=getattr(certs, which)) as p:
        p.add_image("a/b", "1", [b"x"])
        ca = () if which in ("good", "self_signed") else ("--ca-certs", certs.ca)
        bad = ask(home, f"{p.host}/a/b:1", HEAD, "1", *ca)
        assert (bad.code, bad.notes) == ("permission", [])
        assert text in bad.text and p.host in bad.text and option in bad.hint
        assert p.seen == []
        trusted = certs.ca if which == "good" else certs.self_signed.cert
        if which in ("good", "self_signed"):
            assert ask(home, f"{p.host}/a/b:1", HEAD, "1", "--ca-certs", trusted).code == "none"
            (home / "config.json").write_text(json.dumps({"registries": {"ca_certs": [str(trusted)]}}))
            assert ask(home, f"{p.host}/a/b:1", HEAD, "1").code == "none"
        assert ask(home, f"{p.host}/a/b:1", HEAD, "1", "--insecure").code == "none"
        config(home, **{p.host: {"insecure": True}})
        assert ask(home, f"{p.host}/a/b:1", HEAD, "1").code == "none"


def test_ca_file_bad(home, tmp_path):
    (tmp_path / "none.pem").write_text("nothing")
    for path, text in ((tmp_path / "none.pem", "has no certificate in it"), (tmp_path / "missing.pem", "No such file")):
        got = ask(home, "127.0.0.1:1/a:1", HEAD, "1", "--ca-certs", path)
        assert str(path) in got.text and text in got.text and "--ca-certs" in got.hint and not got.stderr


def test_plain_elsewhere(home, peer):
    """Plain HTTP of a host that is not loopback: only when the user says so. The host is reached through a proxy."""
    ref = "registry.example:5000/team/app:1.0"
    with Proxy({"registry.example": ("127.0.0.1", peer.port)}) as proxy:
        env = {"https_proxy": proxy.url, "http_proxy": proxy.url}
        bad = ask(home, ref, HEAD, "1.0", env=env)
        assert bad.code == "protocol" and "does not speak TLS" in bad.text and "--insecure" in bad.hint
        assert {a[0] for a in proxy.asked} == {"CONNECT"} and peer.seen == []
        assert ask(home, ref, HEAD, "1.0", "--insecure", env=env).code == "none"
        config(home, **{"registry.example:5000": {"insecure": True}})
        assert ask(home, ref, HEAD, "1.0", env=env).code == "none"


# ---- proxies ------------------------------------------------------------------------------------------------------

def test_proxy(home, certs):
    """Credentials of the registry do not go to the proxy, and an error names it without its own password."""
    with Peer(tls=certs.good, auth=BasicAuth(USERS)) as p, Proxy({"localhost.example": ("127.0.0.1", 1)}) as proxy:
        p.add_image("a/b", "1", [b"x"])
        proxy.server.reroute["registry.example"] = ("127.0.0.1", p.port)
        env = {"HTTPS_PROXY": proxy.url.replace("//", "//me:proxypass@"), "PW": PASSWORD}
        config(home, **{"registry.example": {"auth": {"username": "ann", "password_env": "PW"}}})
        got = ask(home, "registry.example/a/b:1", HEAD, "1", "--insecure", env=env)
        assert got.code == "none"
        assert proxy.asked and {a[:2] for a in proxy.asked} == {("CONNECT", "registry.example:443")}
        assert not any("Authorization" in a[2] for a in proxy.asked)
        kept, port = refused_port()
        env["HTTPS_PROXY"] = f"http://me:proxypass@127.0.0.1:{port}"
        gone = ask(home, "registry.example/a/b:1", HEAD, "1", env=env)
        assert f"through the proxy http://127.0.0.1:{port}" in gone.text and "proxypass" not in repr(gone) + gone.stderr
        kept.close()
        away = ask(home, "registry.example/a/b:1", HEAD, "1", env=dict(env, NO_PROXY="example"))
        assert away.code == "closed" and "cannot be found" in away.text and "proxy" not in away.text


# ---- credentials --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("auth", [BasicAuth, TokenAuth])
def test_redirect_without_credentials(home, peer, auth):
    """To another host, and to another port of the same: no Authorization. To the same origin: as before."""
    peer.auth = peer.token_server = None
    with Peer(auth=auth(USERS)) as front, Peer(address="127.0.0.2") as other:
        other.add_blob(DATA)
        front.blob = front.add_blob(DATA)
        config(home, **{front.host: {"auth": {"username": "ann", "password_env": "PW"}}})
        for where in (other, peer):
            front.clear()
            front.fault("/blobs/", redirect(lambda path, to=where: to.url + path))
            got = blob(home, front, env={"PW": PASSWORD})
            assert got.code == "none" and got.data == DATA and got.info["source"] == front.host
            assert where.paths("/blobs/") and where.headers_seen("Authorization") == []
            assert front.headers_seen("Authorization")
        front.clear()
        front.fault("/team/app/blobs/", redirect(lambda path: path.replace("team/app", "team/moved")))
        front.auth.scope = lambda path: "repository:team/app:pull"
        assert blob(home, front, env={"PW": PASSWORD}).data == DATA
        assert any(s.path.startswith("/v2/team/moved") and "Authorization" in s.headers for s in front.seen)


def test_redirect_bad(home, peer, certs):
    peer.fault("/blobs/", redirect(lambda path: peer.url + path))
    got = blob(home, peer)
    assert got.code == "protocol" and "redirects more than 5 times" in got.text and len(peer.paths("/blobs/")) == 6
    for where in ("file:///etc/passwd", "gopher://127.0.0.1/", "http://user:pw@127.0.0.1/", "http://", "http://[::1"):
        peer.clear()
        peer.fault("/blobs/", redirect(where))
        got = blob(home, peer)
        assert got.code == "protocol" and "no usable URL" in got.text
    with Peer(tls=certs.good) as secure:
        secure.blob = secure.add_blob(DATA)
        secure.fault("/blobs/", redirect(lambda path: peer.url + path))
        peer.clear()
        for option in (("--ca-certs", certs.ca), ("--insecure",)):
            got = blob(home, secure, *option)
            assert got.code == "protocol" and "from https to http://" in got.text and peer.seen == []


def test_tokens(home):
    """Refused, with a password, used up: one token for all requests of a scope, renewed when it is refused."""
    auth = TokenAuth(USERS)
    with Peer(auth=auth) as p:
        p.add_image("a/b", "1", [b"x"])
        p.blob = p.add_blob(DATA)
        ref = f"{p.host}/a/b:1"
        none = ask(home, ref, HEAD, "1")
        assert none.code == "permission" and "wants a user name and password" in none.text
        assert "msb registry login" in none.hint
        assert login(home, p.host, "wrong").returncode == 1 and login(home, p.host, PASSWORD).returncode == 0
        auth.asked.clear()
        with Serve(home, ref) as serve:
            channels = [serve.channel() for _ in range(8)]
            for c in channels:
                c.ask(HEAD, "1")
            assert [c.answer().code for c in channels] == ["none"] * 8
        assert [(a[0], a[1], a[3]) for a in auth.asked] == [("repository:a/b:pull", "ann", True)]
        auth.asked.clear()
        auth.uses = 2
        with Serve(home, ref) as serve:
            channel = serve.channel()
            assert [channel(HEAD, "1").code for _ in range(6)] == ["none"] * 6
        assert 3 <= len(auth.asked) <= 4
        auth.uses = 0
        never = ask(home, ref, HEAD, "1")
        assert never.code == "permission" and "the credentials of msb registry login" in never.text
        auth.uses = None
        p.fault("/token", answer(503), times=2)
        passing = ask(home, ref, HEAD, "1")
        assert passing.code == "none" and len(passing.notes) == 2
        p.clear()
        p.fault("/token", answer(200, {}, b"{}"))
        assert "without a usable token" in ask(home, ref, HEAD, "1").text
        p.clear()
        p.fault("/token", answer(200, {}, b'{"token": "' + b"x" * 100000 + b'"}'))
        assert "without a usable token" in ask(home, ref, HEAD, "1").text


@pytest.mark.show_02_bad
def test_token_server_in_clear(home):
    """A password does not go to a token server without TLS, only because a registry names it."""
    with Peer() as p:
        p.fault("/manifests/", answer(401, {"WWW-Authenticate": 'Bearer realm="http://auth.example/token"'}))
        got = ask(home, f"{p.host}/a/b:1", HEAD, "1")
        assert got.code == "protocol" and "http://auth.example/token" in got.text and "not https" in got.text


def test_credentials_of_docker(home, tmp_path):
    with Peer(auth=BasicAuth(USERS)) as p:
        p.add_image("a/b", "1", [b"x"])
        folder = tmp_path / "docker"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(
            {"auths": {f"https://{p.host}": {"auth": base64.b64encode(f"ann:{PASSWORD}".encode()).decode()}}}))
        assert ask(home, f"{p.host}/a/b:1", HEAD, "1", env={"DOCKER_CONFIG": str(folder)}).code == "none"
        helper = tmp_path / "docker-credential-test"
        helper.write_text(f"#!/bin/sh\nread host; [ $1 = get ] && [ $host = {p.host} ] && [ ! -e /proc/self/fd/3 ] &&"
                          f" echo '{{\"Username\": \"ann\", \"Secret\": \"{PASSWORD}\"}}'\n")
        helper.chmod(0o700)
        (folder / "config.json").write_text(json.dumps({"credHelpers": {p.host: "test"}, "credsStore": "none"}))
        env = {"DOCKER_CONFIG": str(folder), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        assert ask(home, f"{p.host}/a/b:1", HEAD, "1", env=env).code == "none"
        listed = command(home, "ls", home, env=dict(os.environ, **env))
        assert listed.stdout.split()[3:] == [p.host, "-", "docker-credential-test"]
        (folder / "config.json").write_text(json.dumps({"credsStore": "none"}))
        none = ask(home, f"{p.host}/a/b:1", HEAD, "1", env=env)
        assert none.code == "permission" and "docker-credential-none, which cannot be run" in none.stderr


def test_login_unchecked(home):
    kept, port = refused_port()
    host = f"127.0.0.1:{port}"
    away = login(home, host, PASSWORD)
    assert away.returncode == 0 and "warning: stored without being checked" in away.stderr and "refused" in away.stderr
    assert login(home, host, PASSWORD, "--no-verify").stderr == ""
    kept.close()
    with Peer() as p:
        assert "asks for no credentials" in login(home, p.host, PASSWORD).stderr
        p.fault("/v2", answer(404, {}, b"what?"), before_auth=True)
        odd = login(home, p.host, PASSWORD)
        assert odd.returncode == 1 and "no registry" in odd.stderr
    for password, text in (("", "empty"), ("\r\n", "empty"), ("a\0b", "zero byte"), ("x" * 9000, "longer")):
        bad = login(home, "reg.example", password, "--no-verify")
        assert bad.returncode == 1 and text in bad.stderr
    for host in ("", "/", "a b", "../x"):
        assert "no registry" in login(home, host, PASSWORD, "--no-verify").stderr
    assert login(home, "https://index.docker.io/v1/", PASSWORD, "--no-verify").returncode == 0
    assert (home / "secrets/registries/docker.io").exists()
    assert command(home, "logout", home, "registry-1.docker.io").stdout == "Removed the credentials for docker.io.\n"


# ---- faults -------------------------------------------------------------------------------------------------------

def test_cut_everywhere(home, peer):
    """Each connection ends after 1 MiB: as many requests as MiB, no byte twice."""
    peer.fault("/blobs/", cut(1 << 20))
    got = blob(home, peer)
    assert got.code == "none" and got.data == DATA and peer.bytes_sent() == len(DATA)
    assert len(got.notes) == 5 and all("was lost; trying again in" in n and peer.host in n for n in got.notes)


def test_resume(home, peer):
    peer.fault("/blobs/", cut(1 << 20), times=1)
    peer.fault("/blobs/", ignore_range(), times=1)
    got = blob(home, peer)
    assert got.code == "none" and got.data == DATA and peer.bytes_sent() == len(DATA) + (1 << 20)
    last = len(DATA) - 1
    for text in ("bytes 5-100/200", f"bytes 99-{last}/{last + 1}", f"bytes 100-{last + 1}/{last + 2}", "x", None):
        peer.clear()
        peer.fault("/blobs/", content_range(text))
        bad = blob(home, peer, offset=100)
        assert bad.code == "protocol" and not bad.data and len(peer.paths("/blobs/")) == 1


@pytest.mark.parametrize("fault,code,text,requests", [
    (too_few(), "protocol", "the manifest says", 1),
    (too_many(), "protocol", "the manifest says", 1),
    (too_many(say_length=False), "protocol", "sends more than", 1),
    (endless(), "protocol", "sends more than", 1),
    (garbage(), "protocol", "does not answer in HTTP", 1),
    (answer(500), "closed", "after 5 attempts: ", 5),
    (answer(429, {"Retry-After": "3600"}), "limit", "too many requests", 1),
    (answer(418), "protocol", "answers 418", 1),
    (answer(200, {"X": "y" * 60000, "Z": "y" * 60000}), "protocol", "bytes of headers", 1),
    (reset(), "closed", "after 5 attempts: the connection", 5)])
def test_fault_fails(home, peer, fault, code, text, requests):
    peer.fault("/blobs/", fault)
    began = time.monotonic()
    got = blob(home, peer)
    assert got.code == code and text in got.text and peer.host in got.text and f"blob {peer.blob[:19]}" in got.text
    assert len(peer.paths("/blobs/")) == requests and time.monotonic() - began < 15


def test_fault_passes(home, peer):
    """429 with Retry-After is waited for; 500 twice and resets are tried again; as many wrong bytes are passed on."""
    peer.fault("/blobs/", answer(429, {"Retry-After": "2"}), times=1)
    began = time.monotonic()
    got = blob(home, peer)
    assert got.data == DATA and 2 <= time.monotonic() - began < 6 and "too many requests" in got.notes[0]
    peer.clear()
    peer.fault("/blobs/", answer(500), times=2)
    assert blob(home, peer).data == DATA and len(peer.paths("/blobs/")) == 3
    peer.clear()
    peer.fault("/blobs/", reset(1 << 20), times=2)
    assert blob(home, peer).data == DATA
    peer.clear()
    peer.fault("/blobs/", wrong_bytes())
    wrong = blob(home, peer)
    assert wrong.code == "none" and len(wrong.data) == len(DATA) and wrong.data != DATA


def test_drip(home, peer):
    """Slow is no failure: 10 kB/s for a while, then the rest."""
    small = os.urandom(30000)
    peer.add_blob(small)
    peer.fault("/blobs/", drip(10000))
    got = ask(home, f"{peer.host}/a:1", BLOB, digest_of(small), size=len(small))
    assert got.data == small and got.notes == []


@pytest.mark.long
def test_stall(home, peer):
    """Silence for 30 s: asked again from where it stopped."""
    peer.fault("/blobs/", stall(1 << 20), times=1)
    began = time.monotonic()
    got = blob(home, peer)
    assert got.data == DATA and 29 <= time.monotonic() - began < 45
    assert len(got.notes) == 1 and "less than 1024 bytes a second for 30 s" in got.notes[0]


def test_manifests(home, peer):
    """Accept names the four forms; what is none, too large or of the old form is refused; a cut one is asked again."""
    ref = f"{peer.host}/team/app:1.0"
    good = ask(home, ref, MANIFEST, "1.0", size=1 << 20)
    assert good.code == "none" and digest_of(good.data) == good.info["digest"]
    accept = peer.headers_seen("Accept")[-1]
    assert OCI_MANIFEST in accept and DOCKER_LIST in accept and "v1+prettyjws" not in accept
    for status, media_type, code, text in ((200, DOCKER_SCHEMA1, "unsupported", "schema 1"),
                                           (200, "text/html; charset=utf-8", "protocol", "web page"),
                                           (404, "text/html", "not_found", "is it one?")):
        peer.clear()
        peer.fault("/manifests/", answer(status, {"Content-Type": media_type}, b"<html>"))
        for kind in (MANIFEST, HEAD):
            got = ask(home, ref, kind, "1.0", size=1 << 20)
            assert got.code == code and text in got.text
    peer.clear()
    assert ask(home, ref, MANIFEST, "1.0", size=10).code == "limit"
    peer.add_manifest("team/app", "large", b"x" * (5 << 20))
    assert ask(home, ref, MANIFEST, "large", size=1 << 40).code == "limit"
    peer.add_manifest("team/app", "most", b"x" * (4 << 20))
    assert len(ask(home, ref, MANIFEST, "most", size=1 << 40).data) == 4 << 20
    peer.fault("/manifests/", cut(100), times=2)
    assert ask(home, ref, MANIFEST, "1.0", size=1 << 20).data == good.data


# ---- no network, mirrors ------------------------------------------------------------------------------------------

THREE_WAYS = ("msb load -i", "msb image import", "mirrors")
# Everything goes out by lo and comes back as a stranger's, to be dropped.
NOWHERE = ("unshare", "-Urn", "sh", "-c", "ip link set lo up && ip addr add 10.9.0.1/32 dev lo &&"
           " ip route add default dev lo && exec \"$@\"", "sh")


def no_network(home, reference, text, prefix):
    began = time.monotonic()
    got = ask(home, reference, HEAD, "1", prefix=prefix)
    took = time.monotonic() - began
    assert took < 10 and got.code in ("closed", "timeout") and text in got.text, (took, got)
    assert all(way in got.hint for way in THREE_WAYS), got.hint
    return got


def test_no_network(home, tmp_path):
    """Unresolvable, refused, packets dropped (to registry, name server, mirrors): an answer within 10 s."""
    kept, port = refused_port()
    mirrored = tmp_path / "mirrored"
    mirrored.mkdir()
    config(mirrored, **{"docker.io": {"mirrors": ["https://10.9.0.7", "http://10.9.0.8:5000", "10.9.0.9"]}})
    cases = [(home, "nowhere.invalid/a/b:1", "nowhere.invalid cannot be found", ()),
             (home, f"127.0.0.1:{port}/a/b:1", f"cannot connect to 127.0.0.1:{port}: Connection refused", ()),
             (home, "10.9.0.7:5000/a/b:1", "no answer from 10.9.0.7:5000", NOWHERE),
             (home, "a/b:1", "registry-1.docker.io", NOWHERE),
             (mirrored, "a/b:1", "registry-1.docker.io", NOWHERE)]
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
        answers = list(pool.map(lambda case: no_network(*case), cases))
    kept.close()
    assert "10.9.0.7" in answers[-1].text and len([n for n in answers[-1].notes if n.startswith("mirror: ")]) == 3


def test_mirrors(home, peer):
    """In order, each failure noted; credentials of the mirror are its own; a path and a plain URL are fine."""
    kept, port = refused_port()
    with Peer(auth=BasicAuth({"mirror": "mirrorpass"})) as locked, Peer() as sick, Peer() as real:
        for p in (sick, real):
            p.blob = p.add_blob(DATA)
        real.add_image("a/b", "1", [b"x"])
        sick.fault("/v2/", answer(500))
        config(home, **{real.host: {"mirrors": [f"https://127.0.0.1:{port}", locked.url, sick.url + "/"],
                                    "auth": {"username": "ann", "password_env": "PW"}}})
        real.auth = BasicAuth(USERS)
        with Serve(home, f"{real.host}/a/b:1", env={"PW": PASSWORD}) as serve:
            got = serve(HEAD, "1")
            assert got.code == "none" and got.info["source"] == real.host
            assert [n.split()[1:3] for n in got.notes] == [["cannot", "connect"], [locked.host, "wants"],
                                                           [sick.host, "answers"]]
            assert locked.headers_seen("Authorization") == sick.headers_seen("Authorization") == []
            # The one that was not reached is not asked again by this process.
            assert len(serve(BLOB, real.blob, size=len(DATA)).notes) == 2
        # Half of a blob from a mirror, the rest from the registry.
        sick.clear()
        sick.fault("/blobs/", cut(3 << 20), times=1)
        sick.fault("/blobs/", answer(500))
        config(home, **{real.host: {"mirrors": [sick.url], "auth": {"username": "ann", "password_env": "PW"}}})
        real.clear()
        got = ask(home, f"{real.host}/a/b:1", BLOB, real.blob, size=len(DATA), env={"PW": PASSWORD})
        assert got.data == DATA and got.info["source"] == sick.host and real.bytes_sent("/blobs/") < (3 << 20) + 4096
    kept.close()


def test_hub_by_mirror(home, peer):
    """In place of Docker Hub; what does not exist is named with the nearest that does, the Hub being out of reach."""
    peer.add_image("library/python", "3.12", [b"x"])
    config(home, **{"docker.io": {"mirrors": [peer.url]}})
    got = ask(home, "python:3.12", HEAD, "3.12")
    assert got.code == "none" and got.info["source"] == peer.host
    name = ask(home, "pyhton:3.12", HEAD, "3.12")
    assert name.code == "closed" and f"{peer.host} has no repository library/pyhton" in name.text
    assert name.hint == "did you mean python:3.12?"
    tag = ask(home, "python:3.13", HEAD, "3.13")
    assert "has no library/python with this tag" in tag.text and tag.hint == "did you mean python:3.12?"


def test_hub_refuses(home):
    """Docker Hub does not tell a private repository from none, and says so only when it is asked: 401."""
    auth = TokenAuth(anonymous=True, uses=0)
    with Peer(auth=auth) as hub, Proxy({"registry-1.docker.io": ("127.0.0.1", hub.port)}) as proxy:
        env = {"http_proxy": proxy.url, "https_proxy": proxy.url}
        got = ask(home, "pyhton:3.12", HEAD, "3.12", "--insecure", env=env)
        assert got.code == "permission" and "docker.io/library/pyhton:3.12" in got.text
        assert "Docker Hub has no such repository, or it is private (asked anonymously)" in got.text
        assert got.hint == "did you mean python:3.12? A private one: msb registry login docker.io -u USER"
        got = ask(home, "ann/thing", HEAD, "latest", "--insecure", env=env)
        assert got.code == "permission" and got.hint == "msb registry login docker.io -u USER"
        hub.fault("/manifests/", answer(429, {"Retry-After": "21600"}))
        auth.uses = None
        got = ask(home, "python:3.12", HEAD, "3.12", "--insecure", env=env)
        assert got.code == "limit" and "21600 s" in got.text and "msb registry login docker.io -u USER" in got.hint


@pytest.mark.show_02_bad
def test_config_bad(home):
    (home / "config.json").write_text('{\n"registries": {\n"hosts": }}')
    with Serve(home, "a/b:1") as serve:  # every request is answered, on stderr is nothing
        for _ in range(2):
            got = serve(HEAD, "1")
            assert got.code == "invalid" and got.text.startswith(f"{home}/config.json, line 3: ")
            assert "MSB_CONFIG_PATH" in got.hint
    assert serve.status == 0 and serve.stderr == ""
    hosts = {"a.example": {"insecur": True}}
    (home / "config.json").write_text(json.dumps({"registries": {"ca_cert": [], "hosts": hosts}}))
    with Serve(home, "a/b:1") as serve:
        pass
    assert serve.status == 0
    assert serve.stderr.splitlines() == [
        f"warn: {home}/config.json: registries.ca_cert means nothing; did you mean ca_certs?",
        f"warn: {home}/config.json: registries.hosts.a.example.insecur means nothing; did you mean insecure?"]


# ---- the process --------------------------------------------------------------------------------------------------

def test_back_pressure(home, peer):
    """Eight layers of 32 MiB at once whose reader is slow: the registry is not read ahead, and memory stays small."""
    layers = [bytes([i]) * (32 << 20) for i in range(8)]
    digests = [peer.add_blob(layer) for layer in layers]
    with Serve(home, f"{peer.host}/team/app:1.0") as serve:
        channels = [serve.channel() for _ in layers]
        for channel, digest in zip(channels, digests):
            channel.ask(BLOB, digest, size=32 << 20)
        for channel in channels:
            kind, _ = channel.frame()
            assert kind == INFO
        done = serve(HEAD, "1.0")  # the others do not hold this one up
        assert done.code == "none"
        paused = serve.memory_kib()
        for channel, layer in zip(channels, layers):
            got = bytearray()
            while True:
                kind, body = channel.frame()
                if kind == END:
                    break
                assert kind == BYTES
                got += body
            assert got == layer
        most = serve.memory_kib()
    assert serve.status == 0
    print("memory KiB", paused, most)
    assert most["RssAnon"] < 8 << 10 and most["VmHWM"] < 24 << 10


def test_into_a_file(tmp_path, home, peer):
    """A blob goes into the file that came with the request, from the byte asked for; what it does not take is sent."""
    data = bytes(range(256)) * 4096
    digest = peer.add_blob(data)
    peer.fault("/blobs/" + digest, cut(300_000), times=1)
    path = tmp_path / "part"
    path.write_bytes(data[:1000])
    with Serve(home, f"{peer.host}/team/app:1.0") as serve, open(path, "r+b") as file, open(path, "rb") as no_writing:
        channel = serve.channel()
        fcntl.flock(file, fcntl.LOCK_EX)
        answer = channel(BLOB, digest, offset=1000, size=len(data), files=[file.fileno()])
        assert answer.code == "none" and answer.stored == len(data) and not answer.data, answer
        assert path.read_bytes() == data
        answer = channel(BLOB, digest, offset=1000, size=len(data), files=[no_writing.fileno()])
        assert answer.code == "none" and answer.stored is None and answer.data == data[1000:]
        answer = channel(BLOB, digest, offset=1000, size=len(data), files=[file.fileno()] * 5)
        assert answer.code == "none" and answer.stored == len(data)
        file.close()
        fcntl.flock(no_writing, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the lock has gone with the last descriptor: none is kept
    assert serve.status == 0


def test_into_a_full_file(tmp_path, home, peer):
    """A file that takes a part of it: the rest is sent."""
    data = bytes(range(256)) * 4096
    digest, path = peer.add_blob(data), tmp_path / "part"
    with Serve(home, f"{peer.host}/team/app:1.0", prefix=("bash", "-c", 'ulimit -f 512; exec "$@"', "bash")) as serve:
        with open(path, "wb") as file:
            answer = serve.channel()(BLOB, digest, size=len(data), files=[file.fileno()])
    assert answer.code == "none" and 0 < answer.stored <= 512 << 10, answer
    assert path.read_bytes()[:answer.stored] + answer.data == data


@pytest.mark.parametrize("what", ["pipe", "head"])
def test_file_of_no_use(tmp_path, home, peer, what):
    """Nothing that could block is written to, and only blobs go into files: the channel ends, the others do not."""
    digest = peer.add_blob(b"x" * 100_000)
    readable, pipe = os.pipe()
    with Serve(home, f"{peer.host}/team/app:1.0") as serve, open(tmp_path / "part", "wb") as file:
        channel, other = serve.channel(), serve.channel()
        if what == "pipe":
            channel.ask(BLOB, digest, size=100_000, files=[pipe])
        else:
            channel.ask(HEAD, "1.0", files=[file.fileno()])
        assert channel.socket.recv(1) == b""
        assert other(BLOB, digest, size=100_000).data == b"x" * 100_000
    os.close(readable)
    os.close(pipe)


@pytest.mark.show_02_bad
def test_confined(home, peer):
    """Once it serves: no new privileges, a filter, no core, not dumpable; as root another identity."""
    with Serve(home, f"{peer.host}/team/app:1.0") as serve:
        assert serve(HEAD, "1.0").code == "none"
        proc = f"/proc/{serve.process.pid}"
        with open(f"{proc}/status") as f:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in f)
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert status["Uid"].split()[0] == (str(os.getuid()) if os.getuid() else "65534")
        with open(f"{proc}/limits") as f:
            assert [line.split()[4:6] for line in f if line.startswith("Max core")] == [["0", "0"]]
        assert os.stat(f"{proc}/mem").st_uid == 0  # not dumpable: root's, whoever runs it


def test_ends_with_control(home, peer):
    """At the end of the control socket it ends, whatever is going on."""
    peer.fault("/blobs/", stall(1000))
    with Serve(home, f"{peer.host}/team/app:1.0") as serve:
        channel = serve.channel()
        channel.ask(BLOB, peer.blob, size=len(DATA))
        assert channel.frame()[0] == INFO
    assert serve.status == 0 and serve.ended_after < 2


def test_channels(home, peer):
    """What breaks the protocol loses its channel, no other; a channel that is closed ends its transfer."""
    with Serve(home, f"{peer.host}/team/app:1.0") as serve:
        other = serve.channel()
        for request in ((9, "1.0"), (BLOB, "1.0"), (BLOB, "sha256:" + "A" * 64), (MANIFEST, "a/b"), (MANIFEST, ".."),
                        (MANIFEST, ""), (MANIFEST, "x" * 256), (MANIFEST, "1.0", 5), (BLOB, peer.blob, 10, 5)):
            channel = serve.channel()
            channel.ask(*request)
            assert channel.socket.recv(1) == b"", request
            channel.close()
        twice = serve.channel()
        peer.fault("/manifests/", stall(), times=1)
        twice.ask(HEAD, "1.0")
        twice.ask(HEAD, "1.0")
        assert twice.socket.recv(1) == b""
        assert other(HEAD, "1.0").code == "none"
        peer.clear()
        peer.fault("/blobs/", stall(1000), times=1)
        leaving = serve.channel()
        leaving.ask(BLOB, peer.blob, size=len(DATA))
        leaving.frame()
        leaving.close()
        assert other(BLOB, peer.blob, size=len(DATA)).data == DATA
        assert len(peer.paths("/blobs/")) == 2  # the server has seen the client leave
        many, alive = [serve.channel() for _ in range(70)], 0
        for channel in many:
            try:
                channel.ask(HEAD, "1.0")
                alive += channel.answer().code == "none"
            except (AssertionError, OSError):
                pass
        for channel in many:
            channel.close()
        assert alive == 64 - 1
        stray, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        socket.send_fds(serve.control, [b"c"], [end.fileno()])
        end.close()
        assert other(HEAD, "1.0").code == "none"
        stray.close()
    assert serve.status == 0


def test_usage():
    for args in ((), ("serve",), ("serve", "a"), ("login", "h", "x"), ("nothing", "x"), ("serve", "--what", "a", "b"),
                 ("serve", "--ca-certs")):
        assert command(None, *args).returncode == 2
