# SPDX-License-Identifier: Apache-2.0
"""From a guest to an internet of namespaces: what people type works as it does on the host, and what is refused never
arrives, though its servers are there and answer the host."""
import hashlib
import json
import os
import random
import re
import subprocess

import pytest

from conftest import SEED
from internet import ECHO, HOST, OTHER, OTHER6, PRIVATE, RESOLVER, RESOLVER6, SERVE, WEB, WEB6, Internet, arrived
from sandboxes import Sandboxes, nothing_left, until
from test_network import addresses_of

pytestmark = pytest.mark.root
IMAGE = "localhost/tools:1"
ONCE = ["+tries=1", "+time=9"]
LONG = bool(os.environ.get("MSB_LONG"))
SIZE = 8 << 20

# Reads a list of [protocol, address, port, size of a datagram], prints what became of each, all asked at a time: "yes" when
# the server answered as peer.py does, else the name of the exception.
PROBE = """
import json, os, socket, sys, threading
def ask(protocol, address, port, size=5):
    six = ":" in address
    if protocol == "tcp":
        with socket.create_connection((address, port), 5) as s:
            s.sendall(b"get 5 1\\n")
            return "yes" if len(s.recv(100, socket.MSG_WAITALL)) == 5 else "closed"
    kind = 0 if protocol == "udp" else socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP
    with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM, kind) as s:
        s.settimeout(2)
        s.connect((address, port))
        data = os.urandom(size)
        s.send(data if protocol == "udp" else bytes([128 if six else 8, *[0] * 7]) + data)
        return "yes" if s.recv(65536)[0 if protocol == "udp" else 8:] == data else "something else"
def one(target, results, at):
    try:
        results[at] = ask(*target)
    except OSError as e:
        results[at] = type(e).__name__
open("/proc/sys/net/ipv4/ping_group_range", "w").write("0 0")
targets = json.load(sys.stdin)
results = [None] * len(targets)
threads = [threading.Thread(target=one, args=(t, results, n)) for n, t in enumerate(targets)]
for t in threads: t.start()
for t in threads: t.join()
print(json.dumps(results))
"""
# Datagrams as no stack sends them: gateway's and own MAC, own address, port, targets.
FORGE = """
import socket, struct, sys
to, own, source, port, *targets = sys.argv[1:]
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
for target in targets:
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    head, data = struct.pack("!HHH", 4000, int(port), 13), b"hello"
    total = sum(struct.unpack("!26H", ends + struct.pack("!II", 13, 17) + head + data + bytes(1)))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    udp = head + struct.pack("!H", total ^ 0xffff) + data
    ip = struct.pack("!IHBB", 6 << 28, len(udp), 17, 64) + ends
    s.send(bytes.fromhex((to + own).replace(":", "")) + struct.pack("!H", 0x86dd) + ip + udp)
"""
# HTTP/1.1 with connections that stay, as wrk wants it, and datagrams that come back.
GUEST_SERVER = """
import socket, threading
def http(s):
    with s, s.makefile("rb") as lines:
        while lines.readline():
            while lines.readline().strip(): pass
            s.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\nguest\\n")
def echo(s):
    while True:
        s.sendto(*s.recvfrom(65536))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("0.0.0.0", 5353))
threading.Thread(target=echo, args=(udp,)).start()
server = socket.create_server(("0.0.0.0", 80))
print("serving", flush=True)
while True:
    threading.Thread(target=http, args=(server.accept()[0],)).start()
"""


class Inside(Sandboxes):
    """msb in the host's namespace of an internet."""

    def __init__(self, home, net):
        super().__init__(home)
        self.command, self.net = [*net.host.enter, *super().command], net

    def create(self, name, *options):
        done = self("create", "-q", "-n", name, "-m", "256M", *options, IMAGE)
        assert done.returncode == 0 and done.stdout == b"" and done.stderr == b"", (name, done)

    def out(self, name, *command, check=True, **kw):
        """What a command says in a guest."""
        done = self("exec", *(["-i"] if "input" in kw else []), name, "--", *map(str, command), **kw)
        assert not check or done.returncode == 0, (command, done.returncode, done.stdout, done.stderr)
        return done.stdout.decode()

    def probe(self, name, targets):
        return json.loads(self.out(name, "python3", "-IS", "-c", PROBE, input=json.dumps(targets).encode()))

    def curl(self, name, url, *options):
        """The status of a response, 000 without one."""
        return self.out(name, "curl", "-skg", "-m", 20, "-o", "/dev/null", "-w", "%{http_code}", *options, url, check=False)

    def curl_all(self, name, urls):
        """How curl ends with each of many: 0, 6 for a name that does not resolve, 7 for no connection, 28 for silence."""
        words = [w for url in urls for w in ("-o", "/dev/null", url)]
        return [int(n) for n in self.out(name, "curl", "-skg", "-m", 5, "-w", "%{exitcode} ", *words, check=False).split()]

    def status(self, name, *questions):
        """The statuses of the answers to so many questions: the words of each for dig."""
        return re.findall(r"status: (\w+)", self.out(name, "dig", *(w for q in questions for w in (*q.split(), *ONCE))))


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    it = Internet(tmp_path_factory.mktemp("internet"))
    yield it
    it.close()


@pytest.fixture(scope="module")
def msb(tmp_path_factory, net, tools_archive):
    it = Inside(tmp_path_factory.mktemp("home"), net)
    done = it("load", "-q", "-i", tools_archive, "-t", IMAGE, timeout=120)
    assert done.returncode == 0, done.stderr
    it.create("first")
    it.ok("rm", "-f", "first")
    with nothing_left(it):
        yield it
        it.clear()


@pytest.fixture(scope="module")
def plain(msb):
    """A sandbox as anybody makes it, with ports and a name that is blocked."""
    msb.create("plain", "-p", "8080:80", "-p", "0.0.0.0:8081:80", "-p", "[::1]:8082:80", "-p", "5353:5353/udp",
               "--dns-block-domain", "ads.example.com")
    return "plain"


@pytest.fixture
def box(msb):
    """Makes a sandbox that goes with the test."""
    yield lambda *options: msb.create("box", *options) or "box"
    if "box" in msb.states():
        msb.ok("rm", "-q", "-f", "box")


@pytest.mark.show_04_2
def test_curl_and_wget(net, msb, plain):
    """By name and by address, IPv4 and IPv6: the same as on the host; 8 MiB each way arrive as they are."""
    (net.folder / "www/small").write_text("of the public web\n")
    data = random.Random(SEED).randbytes(SIZE)
    wanted = hashlib.sha256(data).hexdigest()
    (net.folder / "www/data").write_bytes(data)
    urls = [(f"-{v}", f"http://{host}") for v, host in ((4, "example.com"), (6, "example.com"), (4, WEB), (6, f"[{WEB6}]"))]
    for tool in (["curl", "-sSfg", "-m", "20"], ["wget", "-q", "-T", "20", "-t", "1", "-O", "-"]):
        command = "; ".join(" ".join([*tool, *url]) + "/small" for url in urls)
        assert net.host("sh", "-c", command) == "of the public web\n" * 4
        assert msb.out(plain, "sh", "-c", command) == "of the public web\n" * 4, command
    for at, (v, url) in enumerate(urls[1:3]):
        got = msb.out(plain, "sh", "-ec", f"curl -sSfg {v} {url}/data -o /tmp/data; sha256sum < /tmp/data; "
                      f"curl -sSfg {v} -T /tmp/data {url}/up/{at}")
        assert got.split()[0] == wanted
        assert hashlib.sha256((net.folder / f"www/up/{at}").read_bytes()).hexdigest() == wanted
    assert msb.curl(plain, "https://example.com/small") == "200"
    assert msb.curl(plain, f"http://{WEB}:81/small") == "000"


def answers(text):
    """What dig said: of each question the status, whether it was cut short or has an EDNS, and the records."""
    found = []
    for part in text.split(";; Got answer:")[1:]:
        records = sorted(line for line in part.splitlines() if line and line[0] != ";")
        found.append((re.search(r"status: (\w+)", part)[1], " tc" in re.search(r"flags:([^;]*);", part)[1],
                      "EDNS: version: 0" in part, records))
    return found


@pytest.mark.show_04_2
def test_dig(net, msb, plain):
    """UDP, TCP, EDNS and not; through the gateway and to a resolver of one's own choice: the host's answers."""
    questions = [[name, kind, *how] for how in (["+notcp"], ["+tcp"], ["+noedns"], ["+bufsize=4000"])
                 for name, kind in (("example.com", "A"), ("example.com", "AAAA"))]
    questions += [["example.com", "MX"], ["www.example.net", "A"], ["nowhere.example", "A"], ["EXAMPLE.com", "A"],
                  ["big.example.com", "TXT"], ["big.example.com", "TXT", "+tcp"]]
    # More than 512 bytes, and more than the 1,232 that are sent at once at most: what is cut short stays so.
    questions += [[name, "TXT", "+ignore", *how] for name in ("some.example.com", "big.example.com")
                  for how in (["+noedns"], [], ["+bufsize=4000"])]
    words = [w for q in questions for w in (*q, "+noall", "+comments", "+answer", "+nottlid", "+nocookie", *ONCE)]
    for server in ([], ["@" + RESOLVER], ["@" + RESOLVER6]):
        expected = answers(net.host("dig", *server, *words))
        got = answers(msb.out(plain, "dig", *server, *words))
        assert len(expected) == len(questions)
        assert [cut for _, cut, _, _ in expected[-6:]] == [True, False, False, True, True, True]
        for question, here, there in zip(questions, expected, got, strict=True):
            if "+ignore" in question and here[1]:
                assert there[:2] == here[:2], (server, question)  # how much of an answer that is cut short comes is free
            else:
                assert there == here, (server, question)


@pytest.mark.show_04_2
def test_ping_and_udp(net, msb, plain):
    ping = "; ".join(f"ping -q -c 2 -i 0.2 -W 5 -s {size} {host}" for host in (WEB, WEB6, "example.com")
                     for size in (56, 3000))
    assert msb.out(plain, "sh", "-c", ping).count(" 0% packet loss") == 6
    targets = [["udp", address, ECHO, size] for address in (WEB, WEB6) for size in (0, 1, 512, 1452, 1473, 9000, 60000)]
    assert msb.probe(plain, targets) == ["yes"] * len(targets)


@pytest.mark.show_04_2
def test_iperf3(msb, plain):
    for address in (WEB, WEB6):
        for way in ([], ["-R", "-P", "4"]):
            said = json.loads(msb.out(plain, "iperf3", "-J", "-t", 10 if LONG else 1, "-c", address, *way, check=False))
            assert "error" not in said, said["error"]
            rate = said["end"]["sum_received"]["bits_per_second"]
            print(f"iperf3 {address} {' '.join(way)}: {rate / 1e6:.0f} Mbit/s")
            assert rate > 5e6


@pytest.mark.show_04_2
def test_published(net, msb, plain):
    """TCP and UDP from the host, and from elsewhere only where it was asked for."""
    server = msb.popen("exec", plain, "--", "python3", "-c", GUEST_SERVER, stdout=subprocess.PIPE)
    assert server.stdout.readline() == b"serving\n"
    curl = ["curl", "-sg", "-m", "10"]
    for space, url in ((net.host, "127.0.0.1:8080"), (net.host, "[::1]:8082"), (net.public, HOST[0] + ":8081"),
                       (net.private, HOST[2] + ":8081")):
        assert space(*curl, url) == "guest\n", url
    assert net.public(*curl, HOST[0] + ":8080", check=False).returncode == 7
    sizes = ["1", "1400", "9000"]
    assert net.host.ask("ask", "127.0.0.1", 5353, *sizes) == [w for size in sizes for w in (size, "True")]
    said = net.host("wrk", "-t2", "-c8", "-d", 10 if LONG else 2, "http://127.0.0.1:8080/")
    print(said)
    assert "Socket errors" not in said and "Non-2xx" not in said
    assert int(re.search(r"(\d+) requests in", said)[1]) >= 200
    server.terminate()  # it is told to the guest's
    server.wait(timeout=10)


def forbidden(name):
    """What the default refuses to a sandbox, by TCP, UDP and ping: what is inside, the host, also as the gateway."""
    gateway = [addresses_of(name)[key] for key in ("gateway4", "gateway6")]
    addresses = [*PRIVATE, *HOST, "::ffff:10.0.0.1", *gateway]
    return [["tcp", a, SERVE] for a in addresses] + [["udp", a, ECHO] for a in addresses] + \
        [["ping", a, 0] for a in (*PRIVATE, *HOST)], gateway


@pytest.mark.show_04_3
def test_refused_never_arrives(net, msb, plain, box):
    """The host reaches all of them, so they are there; a guest that may (--net all) does, too; by default none is reached,
    TCP at once, and nothing of it arrives."""
    targets, gateway = forbidden(plain)
    there = [t for t in targets if t[1] not in gateway]
    assert json.loads(net.host("python3", "-c", PROBE, input=json.dumps(there), stdin=None)) == ["yes"] * len(there)
    before = [arrived(s) for s in (net.host, net.private)]
    for target, result in zip(targets, msb.probe(plain, targets)):
        assert result == ("ConnectionRefusedError" if target[0] == "tcp" else "TimeoutError"), (target, result)
    assert [arrived(s) for s in (net.host, net.private)] == before
    assert msb.probe(plain, [["tcp", WEB, SERVE], ["udp", WEB6, ECHO], ["ping", WEB6, 0]]) == ["yes"] * 3
    name = box("--net", "all")
    targets, _ = forbidden(name)
    assert [t for t, result in zip(targets, msb.probe(name, targets)) if result != "yes"] == []


@pytest.mark.show_04_3
def test_mapped_addresses(net, msb, plain):
    """::ffff:10.0.0.1 in an IPv6 packet, which no stack sends, is 10.0.0.1, and refused."""
    a = addresses_of(plain)
    before = arrived(net.private), arrived(net.public)["Udp6InDatagrams"]
    msb.out(plain, "python3", "-IS", "-c", FORGE, a["mac"][:-1] + "1", a["mac"], a["guest6"], ECHO, "::ffff:10.0.0.1",
            "::ffff:169.254.169.254", "::10.0.0.1", WEB6)
    until(lambda: arrived(net.public)["Udp6InDatagrams"] == before[1] + 1, what="the last of them, which is allowed")
    assert arrived(net.private) == before[0]


@pytest.mark.show_04_3
def test_names(net, msb, plain):
    """Answers that lead inside, names that are blocked, other resolvers."""
    for how in (" +notcp", " +tcp"):
        for wanted, *names in (("NOERROR", "example.com", "x.ads.example.com"),
                               ("NXDOMAIN", "inside.example.net", "inside6.example.net AAAA", "mixed.example.net",
                                "ads.example.com", "ADS.Example.com.")):
            assert msb.status(plain, *(name + how for name in names)) == [wanted] * len(names), (names, how)
    assert net.host("dig", "+short", "inside.example.net").split() == ["10.0.0.1"]
    resolvers = ("10.0.0.1", "fd00:ec2::254", "169.254.169.254")
    for resolver in resolvers:
        assert net.host("dig", "+short", "@" + resolver, "example.com").split() == [OTHER]
    before = arrived(net.private)
    questions = [f"@{resolver} example.com {how}" for resolver in resolvers for how in ("+notcp", "+tcp")]
    assert msb.status(plain, *questions) == ["NXDOMAIN"] * 6
    assert arrived(net.private) == before
    # The name counts as well where its address is known: example.com has the same one.
    assert msb.curl(plain, "https://ads.example.com/", "--resolve", f"ads.example.com:443:{WEB}") == "000"
    assert not [r for r in net.requests() if r.startswith("ads.")]


@pytest.mark.show_04_3
def test_no_network(net, msb, box):
    """--no-network: nothing resolves, nothing connects, nothing leaves."""
    name = box("--no-network")
    spaces = (net.host, net.public, net.private)
    before = [arrived(s) for s in spaces]
    addresses = [WEB, WEB6, "10.0.0.1", "169.254.169.254", *HOST, "172.16.0.1"]
    assert msb.curl_all(name, (f"http://[{a}]/" if ":" in a else f"http://{a}/" for a in addresses)) == [7] * len(addresses)
    assert msb.curl_all(name, ["http://example.com/", "http://host.microsandbox.internal/"]) == [6, 6]
    assert [arrived(s) for s in spaces] == before


@pytest.mark.show_04_3
def test_one_host(net, msb, box):
    """allow@example.com:tcp:443: that host only, and its address only under that name."""
    name = box("--net-rule", "allow@example.com:tcp:443")
    (net.folder / "www/only").write_text("x")
    for v in ("-4", "-6"):
        assert msb.curl(name, "https://example.com/only", v) == "200"
    before = [arrived(net.private), len(net.requests())]
    for url, options in (("https://example.org/only", []), ("http://example.com/only", []), (f"https://{OTHER}/only", []),
                         ("https://example.org/only", ["--resolve", f"example.org:443:{WEB}"]),
                         ("https://example.org/only", ["--resolve", f"example.org:443:[{WEB6}]"]),
                         ("https://example.com/only", ["--resolve", f"example.com:443:{OTHER}"]),
                         ("https://example.com/only", ["--resolve", "example.com:443:10.0.0.1"])):
        assert msb.curl(name, url, *options) == "000", (url, options)
    assert [arrived(net.private), len(net.requests())] == before
    assert msb.status(name, "example.org", "sub.example.com", "example.com") == ["NXDOMAIN", "NXDOMAIN", "NOERROR"]
    # The host does all of it.
    assert net.host("curl", "-sk", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", "--resolve",
                    f"example.org:443:{WEB}", "https://example.org/only") == "200"


@pytest.mark.show_04_3
def test_addresses_without_names(net, msb, box):
    """allow@public:tcp:443: addresses work, names do not resolve."""
    name = box("--net-rule", "allow@public:tcp:443")
    assert msb.curl_all(name, (f"https://{a}/only" for a in (WEB, f"[{WEB6}]", OTHER, f"[{OTHER6}]"))) == [0] * 4
    before = [arrived(s) for s in (net.public, net.private)]
    assert msb.status(name, "example.com", "example.com +tcp", f"@{RESOLVER} example.com") == ["NXDOMAIN"] * 3
    refused = [f"http://{WEB}/", f"http://[{WEB6}]/", "https://10.0.0.1/"]
    assert msb.curl_all(name, ["https://example.com/", *refused]) == [6, 7, 7, 7]
    assert [arrived(s) for s in (net.public, net.private)] == before
    # UDP and ping are dropped without a word: the host is heard, the guest is not.
    for words in (["dig", "-p", ECHO, "@" + WEB, "+tries=1", "+time=1", "example.com"], ["ping", "-c", "1", "-W", "1", WEB]):
        silent = arrived(net.public)
        net.host(*words, check=False)
        heard = arrived(net.public)
        assert heard != silent
        msb.out(name, *words, check=False)
        assert arrived(net.public) == heard
