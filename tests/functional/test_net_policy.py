# SPDX-License-Identifier: Apache-2.0
"""The rules of the network: against a second reading of them, and as msb keeps and explains them. No machine is started but
for one test."""
import json
import os
import re
import socket
import subprocess

import pytest

import net_model
from conftest import MSB, Msb, SEED
from sandboxes import complaint

ASK = MSB.parent / "tests/unit/policy_ask"
CASES = 30_000 if os.environ.get("MSB_LONG") else 300


def as_line(policy, world, flows, questions, answers, dice):
    rules = [net_model.typed(r, dice) for r in policy.rules]
    # One by one or as a list: the same.
    if len(rules) > 1 and dice.random() < 0.3:
        rules = [dice.choice([",", ", ", " ,"]).join(rules)]
    return {"rules": rules, "egress": policy.defaults["egress"], "ingress": policy.defaults["ingress"], "strict": policy.strict,
            "tenants": policy.tenants, "blocked": policy.blocked, "suffixes": policy.suffixes, "hosts": [str(h) for h in world.hosts],
            "records": [[str(a), n] for a, n in world.records],
            "flows": [{"ingress": f.direction == "ingress", "protocol": f.protocol, "address": str(f.address), "port": f.port,
                       "state": f.state, "name": f.name} for f in flows],
            "questions": questions, "answers": [str(a) for a in answers]}


def agree(got, flow, expected):
    """@expected: all verdicts that the name can lead to. One that is certain must be the only one, and by the same rule
    unless several lead to it."""
    verdict, rule = got
    verdicts = {v for v, _ in expected}
    if verdict == "name":
        return flow.state == "unseen" and flow.protocol == "tcp" and flow.direction == "egress" and len(expected) > 1
    return verdicts == {verdict} and tuple(got) in expected


@pytest.mark.show_04_3
def test_model_of_the_rules(dice):
    cases = [net_model.some_case(dice) for _ in range(CASES)]
    lines = [as_line(*case, dice) for case in cases]
    done = subprocess.run([ASK], input="\n".join(map(json.dumps, lines)), capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    seen = {"allow": 0, "deny": 0, "name": 0}
    needless = 0
    assert len(answers) == len(cases)
    for (policy, world, flows, questions, addresses), line, answer in zip(cases, lines, answers):
        assert "error" not in answer, (line["rules"], answer)
        for flow, got in zip(flows, answer["flows"], strict=True):
            expected = net_model.decide(policy, flow, world)
            seen[got[0]] += 1
            assert agree(got, flow, expected), (line, flow, got, expected)
            needless += got[0] == "name" and len({v for v, _ in expected}) == 1
        for (protocol, name), got in zip(questions, answer["questions"], strict=True):
            assert tuple(got) == net_model.question(policy, protocol, name), (line, name, got)
        for address, got in zip(addresses, answer["answers"], strict=True):
            assert got == net_model.answer_allowed(policy, address, world), (line, address, got)
    print(f"seed {SEED}: {len(cases)} policies, {sum(seen.values())} connections: {seen}; "
          f"asked for a name that could not matter: {needless}")
    # All of it was reached, and a handshake is not taken without need more than once in a hundred.
    assert min(seen.values()) > CASES / 10 and needless <= sum(seen.values()) / 100


@pytest.mark.show_04_3
def test_default_refuses():
    """The lists of contract 4.5 and of the issue, against the default policy."""
    refused = ["10.0.0.1", "192.168.1.1", "169.254.169.254", "168.63.129.16", "192.0.0.192", "100.100.100.200",
               "fd00:ec2::254", "64:ff9b::a00:1", "2002:0a00:0001::1", "::ffff:10.0.0.1", "172.16.5.1", "93.184.216.1",
               "fd42:6d73:62:5::1", "127.0.0.1", "::1", "0.0.0.0", "255.255.255.255", "240.0.0.1", "224.0.0.1", "fe80::1"]
    allowed = ["1.2.3.4", "93.184.216.34", "2606:4700::1", "64:ff9b::808:808"]
    line = {"rules": ["allow@dns", "allow@public"], "egress": False, "ingress": True, "strict": False,
            "hosts": ["172.16.5.1", "fd42:6d73:62:5::1", "93.184.216.1"], "records": [],
            "flows": [{"protocol": p, "address": a, "port": 22, "state": "unseen"} for a in refused + allowed for p in ("tcp", "udp")],
            "questions": [["udp", "example.com"]], "answers": ["10.0.0.1"]}
    done = subprocess.run([ASK], input=json.dumps(line), capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    verdicts = [v for v, _ in answer["flows"]]
    assert verdicts == ["deny"] * 2 * len(refused) + ["allow"] * 2 * len(allowed)
    assert answer["questions"] == [["allow", 0]] and answer["answers"] == [False]


# --- what msb keeps and says; the sandboxes were never started

OLD = {"version": 1, "name": "old", "image": "busybox", "created_ns": 1, "config": {"memory_mib": 128, "cpus": 1}}


def stored(home, name, network):
    folder = home / "sandboxes" / name
    folder.mkdir(parents=True)
    config = dict(OLD["config"], **({"network": network} if network else {}))
    (folder / "sandbox.json").write_text(json.dumps(dict(OLD, name=name, config=config)))


@pytest.fixture
def known(tmp_path):
    """A home with sandboxes that are only known."""
    msb = Msb(tmp_path / "home")
    stored(msb.home, "old", None)
    stored(msb.home, "off", {"none": True})
    stored(msb.home, "box", {"rules": ["allow@example.com:tcp:443", "deny@10.0.0.0/8", "allow@dns", "allow@private"],
                             "block_domains": ["ads.test"], "egress": "deny", "ingress": "deny", "strict": True, "mtu": 9000,
                             "ports": ["127.0.0.1:8080:80/tcp", "[::1]:53:5353/udp"], "nameservers": ["1.1.1.1", "dns.test:54"],
                             "max_connections": 7, "rebind_protection": False})
    return msb


def said(msb, *args):
    done = msb(*args)
    assert done.returncode == 0 and done.stderr == b"", (args, done)
    return done.stdout.decode()


@pytest.mark.show_04_3
def test_inspect_in_words(known):
    assert ("Network:\n"
            "  Egress:  denied, but for the first of these rules that matches:\n"
            "    1. deny everything to ads.test\n"
            "    2. allow TCP port 443 to example.com\n"
            "    3. deny everything to 10.0.0.0/8\n"
            "    4. allow DNS at the gateway\n"
            "    5. allow everything to private networks\n"
            "  Ingress: denied\n"
            "  Strict:  a name is allowed only where the connection itself says it\n"
            "  Ports:        127.0.0.1:8080->80/tcp, [::1]:53->5353/udp\n"
            "  Name servers: 1.1.1.1, dns.test:54\n"
            "  Names:        may lead to private addresses\n"
            "  Connections:  7\n"
            "  MTU:          9000\n") in said(known, "inspect", "box")
    assert "Network:        none\n" in said(known, "inspect", "off")
    # Of before there was a network: the default.
    assert "2. allow everything to public addresses\n" in said(known, "inspect", "old")
    shown = json.loads(said(known, "inspect", "--format", "json", "old"))["config"]["network"]
    assert shown["rules"] == ["allow@dns", "allow@public"] and shown["egress"] == "deny" and shown["ingress"] == "allow"
    assert json.loads(said(known, "ps", "--format", "json", "box"))["ports"] == ["127.0.0.1:8080->80/tcp", "[::1]:53->5353/udp"]
    row = said(known, "ps", "box").splitlines()[1]
    assert row.endswith("127.0.0.1:8080->80/tcp,[::1]:53…"), row


@pytest.mark.show_04_3
def test_tenants_in_words(known):
    stored(known.home, "tenant", {"multi_tenant": True, "rules": ["allow@any"], "egress": "allow"})
    assert "  Tenants: public addresses and DNS only, whatever the rules\n" in said(known, "inspect", "tenant")
    assert "denied: this sandbox is one of several tenants" in said(known, "net", "explain", "tenant", "10.0.0.1")
    assert "8.8.8.8:443/tcp is allowed by rule 1" in said(known, "net", "explain", "tenant", "8.8.8.8")


@pytest.mark.show_04_3
def test_tenants_leave_out(known):
    """What the profile forbids is left out with a warning, before anything else is looked at."""
    asked = ["run", "--pull", "never", "--deployment-profile", "multi-tenant", "-p", "1:1", "--dns-nameserver", "1.1.1.1",
             "--no-dns-rebind-protection", "nosuch:1", "--", "true"]
    done = known(*asked)
    assert done.returncode == 125
    assert [line for line in done.stderr.decode().splitlines() if line.startswith("warn")] == [
        f"warn: {option} does not go with multi-tenant: left out"
        for option in ("--dns-nameserver", "--port", "--no-dns-rebind-protection")]
    assert b"warn" not in known(*asked[:1], "-q", *asked[1:]).stderr


@pytest.mark.show_04_3
@pytest.mark.parametrize("host,words", [
    ("10.1.2.3:22", ["10.1.2.3:22/tcp is denied by rule 3: deny@10.0.0.0/8", "one of the private networks"]),
    ("192.168.9.9:22/udp", ["192.168.9.9:22/udp is allowed by rule 5: allow@private", "Rules on names count too"]),
    ("192.168.9.9", ["192.168.9.9:443/tcp is decided by the name", "by rule 1: --dns-block-domain ads.test",
                     "Without a name it is allowed by rule 5"]),
    ("[64:ff9b::a00:1]:80", ["[64:ff9b::a00:1]:80/tcp is denied by rule 3", "judged as the IPv4 address in it, 10.0.0.1"]),
    ("8.8.8.8/icmp", ["8.8.8.8/icmpv4 is denied: no rule matches; egress is denied by default", "one of the public addresses"]),
    ("fd00:ec2::254", ["[fd00:ec2::254]:443/tcp is denied", "metadata services"]),
    ("127.0.0.2:1", ["one of the loopback addresses"]),
    ("8.8.8.8:853", ["never relayed", "past the sandbox's DNS"]),
    ("255.255.255.255:9/udp", ["such addresses are never relayed"]),
    ("Example.com", ["question to DNS is allowed by rule 2: allow@example.com:tcp:443",
                     "to a public address, such as 1.1.1.1, is allowed by rule 2", "Addresses come from the guest's DNS"]),
    ("example.com:80", ["to a public address, such as 1.1.1.1, is denied: no rule"]),
    ("ads.test", ["question to DNS is denied by rule 1: --dns-block-domain ads.test (deny everything to ads.test)"]),
    ("host.microsandbox.internal:80", ["to the host, which this is the name of, is denied: no rule"]),
])
def test_explain(known, host, words):
    text = said(known, "net", "explain", "box", host)
    for word in words:
        assert word in text, text


@pytest.mark.show_04_3
def test_explain_for_programs(known):
    assert json.loads(said(known, "net", "explain", "old", "10.0.0.1:53/udp", "--format", "json")) == {
        "verdict": "deny", "rule": None, "why": "no rule matches; egress is denied by default", "address": "10.0.0.1", "port": 53,
        "protocol": "udp", "group": "private"}
    assert json.loads(said(known, "net", "explain", "--format", "json", "old", "example.com")) == {
        "name": "example.com", "port": 443, "protocol": "tcp", "question": {"verdict": "allow", "rule": 1, "why": "allow@dns"},
        "public": {"verdict": "allow", "rule": 2, "why": "allow@public"},
        "private": {"verdict": "deny", "rule": None, "why": "no rule matches; egress is denied by default"}}
    assert json.loads(said(known, "net", "explain", "--format", "json", "off", "1.1.1.1"))["verdict"] == "deny"
    assert "no network card (--no-network)" in said(known, "net", "explain", "off", "1.1.1.1")
    complaint(known("net", "explain", "nosuch", "1.1.1.1"), 1, "nosuch", "msb ls")


@pytest.mark.show_04_3
def test_host_s_own_addresses(known):
    """Whatever address this host has: of the host, not of the public or private ones."""
    own = json.loads(subprocess.run(["ip", "-j", "address"], check=True, capture_output=True).stdout)
    addresses = [a["local"] for link in own for a in link["addr_info"] if a["scope"] == "global"]
    for address in addresses:
        shown = json.loads(said(known, "net", "explain", "--format", "json", "old", address))
        assert shown["group"] == "host" and shown["verdict"] == "deny", shown


def test_options_are_kept(boxes):
    """What create was told is in sandbox.json, in inspect, and there after stop and start."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    boxes.create("net", "--net", "private", "--net-rule", "allow@Example.COM:tcp:443, deny@10.0.0.0/8", "--net-rule", "allow@1.2.3.4",
                 "--net-strict", "-p", f"{port}:80", "--dns-block-domain", "Ads.Test.", "--dns-block-suffix", ".bad.test",
                 "--dns-nameserver", "192.0.2.1:5353", "--dns-query-timeout-ms", "700", "--no-dns-rebind-protection",
                 "--max-connections", "10", "--net-mtu", "9000",
                 "--net-egress-bandwidth", "10M/500ms", "--net-egress-bandwidth-burst", "1G", "--net-ingress-ops", "5000")
    expected = {"rules": ["allow@example.com:tcp:443", "deny@10.0.0.0/8", "allow@1.2.3.4", "allow@dns", "allow@private"],
                "egress": "deny", "ingress": "allow", "strict": True, "block_domains": ["ads.test"], "block_suffixes": ["bad.test"],
                "nameservers": ["192.0.2.1:5353"], "dns_timeout_ms": 700, "rebind_protection": False, "max_connections": 10,
                "mtu": 9000, "rates": {"egress_bandwidth": {"amount": 10 << 20, "interval_ms": 500, "burst": 1 << 30},
                                          "ingress_ops": {"amount": 5000, "interval_ms": 1000, "burst": 0}},
                "ports": [f"127.0.0.1:{port}:80/tcp"]}
    for _ in range(2):
        assert json.loads(boxes.ok("inspect", "--format", "json", "net"))["config"]["network"] == expected
        assert json.loads(boxes.ok("ps", "--format", "json", "net"))["ports"] == [f"127.0.0.1:{port}->80/tcp"]
        boxes.ok("modify", "net", "--label", "a=b")
    words = boxes.ok("inspect", "net")
    assert "From guest:   10485760 bytes in 500 ms, once 1073741824 more\n" in words and "To guest:     5000 packets in 1000 ms\n" in words
    # The gateway of this very sandbox is of the host, though private by its number.
    gateway = re.search(r"default via ([0-9.]+)", boxes.sh("net", "ip route").stdout.decode())[1]
    assert gateway.startswith("172.")
    shown = json.loads(boxes.ok("net", "explain", "--format", "json", "net", gateway))
    assert shown["group"] == "host" and shown["verdict"] == "deny", shown
    done = boxes("run", "--name", "net", "--no-network", "localhost/busybox:1", "--", "true")
    assert done.returncode == 0 and re.search(rb"--no-network.*--replace", done.stderr, re.S), done.stderr
