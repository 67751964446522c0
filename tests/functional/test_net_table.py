# SPDX-License-Identifier: Apache-2.0
"""What rules, block lists, profiles and rates do to the traffic of a guest, through msb-gateway on a TAP. The refusals of
the default policy are in test_gateway.py."""
import subprocess
import sys
import time

import pytest

from netlab import GATEWAY, GATEWAY6, HOST, PRIVATE, PRIVATE6, PUBLIC, PUBLIC6, listening
from test_gateway import connect, dig, expected, lab, resolver  # noqa: F401

pytestmark = [pytest.mark.root, pytest.mark.show_04_3]


@pytest.fixture
def tls(lab, tmp_path):
    """A TLS server at port 443 of the world. Return: what becomes of a stream that says a name."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "key", "-out", tmp_path / "cert",
                    "-subj", "/CN=example.com", "-days", "2"], check=True, stderr=subprocess.DEVNULL)
    lab.start(lab.world.popen("openssl", "s_server", "-quiet", "-www", "-accept", "443", "-cert", tmp_path / "cert", "-key",
                              tmp_path / "key", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    assert listening(lab.world, 443)

    def says(name):
        done = lab.guest("curl", "-sk", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", "--resolve", f"{name}:443:{PUBLIC}",
                         f"https://{name}/", check=False)
        return {"200": True, "000": False}[done.stdout]

    return says


def resolves(lab, name):
    answer = dig(lab, "@" + GATEWAY, name)
    assert ("NXDOMAIN" in answer) != (PUBLIC in answer), answer
    return PUBLIC in answer


def test_blocked_names(lab, resolver, tls):
    lab.gateway("--nameserver", resolver, "--block", "ads.example.com", "--block-suffix", "www.example.com")
    assert [resolves(lab, n) for n in ("example.com", "x.ads.example.com", "xads.example.com", "xwww.example.com")] == [True] * 4
    assert [resolves(lab, n) for n in ("ads.example.com", "ADS.Example.COM.", "www.example.com", "a.b.www.example.com")] == [False] * 4
    # The address is known from elsewhere: the stream says the name.
    assert [tls(n) for n in ("example.com", "x.ads.example.com")] == [True, True]
    assert [tls(n) for n in ("ads.example.com", "www.example.com", "a.b.www.example.com")] == [False] * 3


def test_groups_without_dns(lab, resolver):
    """allow@public:tcp:7000: addresses work, names do not resolve."""
    lab.gateway("--nameserver", resolver, "--rules", "allow@public:tcp:7000")
    lab.serve(lab.world, "serve", "::", 7000)
    lab.serve(lab.world, "serve", "::", 7001)
    assert [connect(lab.guest, a, 7000) for a in (PUBLIC, PUBLIC6)] == ["yes", "yes"]
    assert connect(lab.guest, PUBLIC, 7001) == "ConnectionRefusedError"
    assert not resolves(lab, "example.com")


def test_strict(lab, resolver, tls):
    lab.gateway("--nameserver", resolver, "--rules", "allow@example.com", "--strict")
    lab.serve(lab.world, "serve", "::", 7000)
    assert resolves(lab, "example.com")
    assert tls("example.com") and not tls("other.com")
    # It says something, and no name.
    done = lab.guest(sys.executable, "-c", f"import socket; s = socket.create_connection(({PUBLIC!r}, 7000), 5); s.settimeout(5)\n"
                     "try: s.sendall(b'get 10 1\\n'); print(len(s.recv(100)))\nexcept ConnectionResetError: print('reset')")
    assert done.strip() == "reset"


def test_denied_name(lab, resolver, tls):
    """A denial before a permission of groups: by the stream's name, whatever the address."""
    lab.gateway("--nameserver", resolver, "--rules", "deny@suffix=other.com,allow@dns,allow@public")
    assert tls("example.com") and not tls("other.com") and not tls("a.other.com")
    assert resolves(lab, "example.com") and not resolves(lab, "other.com")


def test_all_and_tenants(lab):
    """--net all reaches what the default refuses, so that the refusals are the rules'; multi-tenant takes it away again."""
    lab.serve(lab.world, "serve", "::", 7000)
    lab.serve(lab.host, "serve", "::", 22)
    lab.gateway("--rules", "", "--egress", "allow")
    assert {a: connect(lab.guest, a, 7000) for a in PRIVATE + [PUBLIC, PRIVATE6[0]]} == dict.fromkeys(PRIVATE + [PUBLIC, PRIVATE6[0]], "yes")
    assert [connect(lab.guest, a, 22) for a in (GATEWAY, GATEWAY6, HOST)] == ["yes"] * 3
    lab.gateway("--rules", "allow@any", "--egress", "allow", "--tenants")
    assert connect(lab.guest, PUBLIC, 7000) == "yes"
    for address in PRIVATE + PRIVATE6:
        assert connect(lab.guest, address, 7000) == "ConnectionRefusedError", address
    for address in (GATEWAY, GATEWAY6, HOST):
        assert connect(lab.guest, address, 22) == "ConnectionRefusedError", address


@pytest.mark.parametrize("rate,verb,size,least", [
    ("egress/bytes/1000000", "put", 3_000_000, 1.8), ("ingress/bytes/1000000", "get", 3_000_000, 1.8),
    ("egress/packets/500", "put", 1_500_000, 0.9), ("ingress/packets/500", "get", 1_500_000, 0.9)])
def test_rates(lab, rate, verb, size, least):
    """Every byte arrives, in about the time that the rate leaves; the other direction is not slowed down."""
    lab.gateway("--rate", rate)
    lab.serve(lab.world, "serve", "::", 7000)
    took = {}
    for way in (verb, "get" if verb == "put" else "put"):
        start = time.monotonic()
        assert lab.guest.ask(way, PUBLIC, 7000, size, 1)[0] == expected(size, 1)
        took[way] = time.monotonic() - start
    print(rate, took)
    assert least <= took[verb] <= 4 * least + 3
    assert "packets" in rate or min(took, key=took.get) != verb
