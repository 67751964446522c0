# SPDX-License-Identifier: Apache-2.0
"""The gateway's resolver (build/tests/unit/dns-front) between a client and resolvers on loopback: dnspython writes and
reads the messages, dnsmasq is the resolver of others."""
import contextlib
import json
import os
import re
import select
import socket
import socketserver
import struct
import subprocess
import threading
import time

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from conftest import MSB

FRONT = MSB.parent / "tests/unit/dns-front"
DNSMASQ = "/usr/sbin/dnsmasq"
WAIT = 10


class Front:
    """The resolver; .port, .ask(), and commands for its name table and counters."""

    def __init__(self, *args):
        self.process = subprocess.Popen([FRONT, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(re.fullmatch(r"port (\d+)\n", self.process.stdout.readline())[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        assert self.process.wait(WAIT) == 0

    def command(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def named(self, ip, name):
        return self.command(f"named {ip} {name}") == "yes"

    def counts(self):
        return json.loads(self.command("counts"))

    def peak_kib(self):
        return int(re.search(r"VmHWM:\s*(\d+)", open(f"/proc/{self.process.pid}/status").read())[1])

    def ask(self, name, kind, **options):
        return ask(self.port, name, kind, **options)


def ask(port, name, kind, tcp=False, payload=1232, dnssec=False):
    """By UDP, and by TCP when that was cut."""
    query = dns.message.make_query(name, kind, payload=payload, want_dnssec=dnssec, use_edns=0)
    if tcp:
        return dns.query.tcp(query, "127.0.0.1", WAIT, port)
    return dns.query.udp_with_fallback(query, "127.0.0.1", WAIT, port)[0]


class Resolver:
    """Answers by UDP and TCP with what answer(query) makes of a question: a message of dnspython."""

    def __init__(self, answer):
        def reply(data, longest):
            message = answer(dns.message.from_wire(data))
            try:
                return message.to_wire(max_size=longest)
            except dns.exception.TooBig:
                cut = dns.message.make_response(dns.message.from_wire(data))
                cut.flags |= dns.flags.TC
                return cut.to_wire()

        class Udp(socketserver.BaseRequestHandler):
            def handle(self):
                self.request[1].sendto(reply(self.request[0], 1232), self.client_address)

        class Tcp(socketserver.StreamRequestHandler):
            def handle(self):
                size, = struct.unpack(">H", self.rfile.read(2))
                message = reply(self.rfile.read(size), 65535)
                self.wfile.write(struct.pack(">H", len(message)) + message)

        socketserver.ThreadingTCPServer.daemon_threads = True
        self.tcp = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Tcp)
        self.udp = socketserver.UDPServer(self.tcp.server_address, Udp)
        self.address = "127.0.0.1:%d" % self.tcp.server_address[1]

    def __enter__(self):
        self.threads = [threading.Thread(target=s.serve_forever, args=(0.05,)) for s in (self.udp, self.tcp)]
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        for s in (self.udp, self.tcp):
            s.shutdown()
            s.server_close()
        for t in self.threads:
            t.join()


def some_name(dice, below=""):
    letters = "abcdefghijklmnopqrstuvwxyz0123456789-_"
    labels = ["".join(dice.choice(letters) for _ in range(dice.randint(1, 12))) for _ in range(dice.randint(1, 4))]
    return dns.name.from_text(".".join(labels) + "." + (below or dice.choice(["com", "example.org", "a.b.c.net"])))


def some_text(dice):
    return " ".join('"%s"' % ("x" * dice.randint(0, 255)) for _ in range(dice.randint(1, 4)))


# For each type: the text of one record's data.
KINDS = {
    "A": lambda d: "9.%d.%d.%d" % (d.randint(0, 255), d.randint(0, 255), d.randint(0, 255)),
    "AAAA": lambda d: "2606:4700::%x:%x" % (d.randint(0, 65535), d.randint(0, 65535)),
    "MX": lambda d: "%d %s" % (d.randint(0, 65535), some_name(d)),
    "NS": lambda d: str(some_name(d)),
    "PTR": lambda d: str(some_name(d)),
    "TXT": some_text,
    "SOA": lambda d: "%s %s %d 3600 600 86400 60" % (some_name(d), some_name(d), d.randint(0, 1 << 32 - 1)),
    "SRV": lambda d: "%d %d %d %s" % (d.randint(0, 65535), d.randint(0, 65535), d.randint(0, 65535), some_name(d)),
    "NAPTR": lambda d: '%d 1 "u" "sip+E2U" "!^.*$!x!" %s' % (d.randint(0, 65535), some_name(d)),
    "AFSDB": lambda d: "1 %s" % some_name(d),
    "RP": lambda d: "%s %s" % (some_name(d), some_name(d)),
    "CAA": lambda d: '0 issue "ca%d.example"' % d.randint(0, 99),
    "HTTPS": lambda d: "1 . alpn=h2 ipv4hint=9.9.9.%d ipv6hint=2606:4700::%x" % (d.randint(0, 255), d.randint(1, 65535)),
    "SVCB": lambda d: "%d %s port=853" % (d.randint(1, 9), some_name(d)),
    "DS": lambda d: "%d 13 2 %064x" % (d.randint(0, 65535), d.getrandbits(256)),
    "TLSA": lambda d: "3 1 1 %064x" % d.getrandbits(256),
    "CNAME": lambda d: str(some_name(d)),
}


def some_set(dice, name, kind, most=6):
    count = 1 if kind in ("CNAME", "SOA") else dice.randint(1, most)
    return dns.rrset.from_text_list(name, dice.randint(1, 86400), "IN", kind, {KINDS[kind](dice) for _ in range(count)})


def contents(section):
    """What is in a section, whatever the order."""
    return sorted((str(s.name).lower(), dns.rdatatype.to_text(s.rdtype), s.ttl, sorted(str(r) for r in s)) for s in section)


@pytest.mark.show_04_4
def test_the_same_as_dnspython(dice):
    """Random answers, compressed by dnspython, with chains and with records that nobody asked for: what comes out is
    what belongs to the question, every type of data with the same contents."""
    questions, told = {}, {}

    def invent():
        name, kind = some_name(dice), dice.choice(list(KINDS))
        answer, chain = [], name
        for _ in range(dice.choice([0, 0, 0, 1, 2, 5]) if kind != "CNAME" else 0):
            following = some_name(dice)
            answer.append(dns.rrset.from_text(chain, dice.randint(1, 86400), "IN", "CNAME", str(following)))
            chain = following
        answer.append(some_set(dice, chain, kind, dice.choice([2, 6, 60])))
        others = [some_set(dice, some_name(dice), dice.choice(list(KINDS))) for _ in range(dice.choice([0, 1, 4]))]
        told[name] = (answer, others)
        questions[name] = (kind, answer)

    for _ in range(3000 if os.environ.get("MSB_LONG") else 300):
        invent()

    def answer(query):
        belongs, others = told[query.question[0].name]
        message = dns.message.make_response(query, recursion_available=True)
        message.answer = list(belongs)
        for other in others[:2]:
            message.answer.insert(dice.randint(0, len(message.answer)), other)
        message.authority = others[2:3]
        message.additional = others[3:]
        return message

    with Resolver(answer) as resolver, Front(resolver.address) as front:
        for name, (kind, answer) in questions.items():
            got = front.ask(name, kind, tcp=dice.random() < 0.2)
            assert got.rcode() == dns.rcode.NOERROR, (name, kind)
            assert contents(got.answer) == contents(answer), (name, kind)
            assert not got.authority and not got.additional
        assert front.counts()["refused"] == 0


@contextlib.contextmanager
def dnsmasq(folder, *args):
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    with open(folder / "dnsmasq.log", "w") as log:
        process = subprocess.Popen([DNSMASQ, "-k", "-C", "/dev/null", "--no-hosts", "--no-resolv", "--pid-file=", "-p", str(port), "-z",
                                    "--listen-address=127.0.0.1", "--cache-size=0", "--dns-forward-max=2000", *args],
                                   stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + WAIT
        while process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            assert time.monotonic() < deadline
            select.select([], [], [], 0.02)
        assert process.poll() is None, (folder / "dnsmasq.log").read_text()
        yield port
    finally:
        process.terminate()
        process.wait(WAIT)


RECORDS = ["--address=/a.test/9.9.9.9", "--address=/a.test/2606:4700::1", "--address=/in.test/10.1.2.3",
           "--cname=c.test,b.test", "--host-record=b.test,9.9.9.10,77", "--mx-host=m.test,mail.test,5",
           "--txt-record=t.test,one,two", "--srv-host=_sip._tcp.s.test,sip.test,5060,1,2", "--ptr-record=9.9.9.9.in-addr.arpa,a.test",
           "--caa-record=t.test,0,issue,ca.test", "--naptr-record=n.test,1,2,s,SIP,,r.test", "--local=/test/",
           *["--host-record=many.test,9.9.%d.%d" % (i // 100, i % 100) for i in range(300)], "--max-ttl=300", "--auth-ttl=60",
           "--local-ttl=50"]


@pytest.mark.show_04_4
def test_the_same_as_dnsmasq(tmp_path):
    questions = [("a.test", "A"), ("a.test", "AAAA"), ("x.a.test", "A"), ("c.test", "A"), ("b.test", "AAAA"), ("m.test", "MX"),
                 ("t.test", "TXT"), ("_sip._tcp.s.test", "SRV"), ("9.9.9.9.in-addr.arpa", "PTR"), ("t.test", "CAA"), ("n.test", "NAPTR"),
                 ("none.test", "A"), ("many.test", "A")]
    with dnsmasq(tmp_path, *RECORDS) as port, Front(f"127.0.0.1:{port}") as front:
        for name, kind in questions:
            for tcp in (False, True):
                direct, got = ask(port, name, kind, tcp=tcp), front.ask(name, kind, tcp=tcp)
                assert got.rcode() == direct.rcode(), name
                assert [c[:2] + c[3:] for c in contents(got.answer)] == [c[:2] + c[3:] for c in contents(direct.answer)], name
                for ours, theirs in zip(contents(got.answer), contents(direct.answer)):
                    assert theirs[2] - WAIT <= ours[2] <= theirs[2]
        # By UDP alone it is cut.
        cut = dns.query.udp(dns.message.make_query("many.test", "A"), "127.0.0.1", WAIT, front.port)
        assert cut.flags & dns.flags.TC and not cut.answer
        assert front.named("9.9.9.9", "a.test") and front.named("9.9.9.10", "c.test") and not front.named("9.9.9.10", "a.test")
        # A name that leads inside, and one that does when it is allowed.
        assert front.ask("in.test", "A").rcode() == dns.rcode.NXDOMAIN
        assert not front.named("10.1.2.3", "in.test")
        with Front("-r", f"127.0.0.1:{port}") as open_front:
            assert [str(r) for r in open_front.ask("in.test", "A").answer[0]] == ["10.1.2.3"]


@pytest.mark.show_04_4
def test_first_resolver_dead(tmp_path):
    """One that is silent costs the first question its time-out, not each."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, dnsmasq(tmp_path, *RECORDS) as port:
        silent.bind(("127.0.0.1", 0))
        with Front("-t", "500", "127.0.0.1:%d" % silent.getsockname()[1], f"127.0.0.1:{port}") as front:
            start = time.monotonic()
            assert front.ask("a.test", "A").answer
            first = time.monotonic() - start
            for i in range(20):
                assert front.ask(f"n{i}.a.test", "A").answer
            rest = time.monotonic() - start - first
    print(f"first answer after {first * 1000:.0f} ms, 20 more in {rest * 1000:.0f} ms")
    assert first >= 0.5
    assert rest < 20 * 0.5 / 2


@pytest.mark.show_04_4
def test_a_thousand_a_second(tmp_path):
    """Different names, so that each is asked upstream; memory stays at its limits."""
    seconds = 20 if os.environ.get("MSB_LONG") else 4
    rate, sent, took = 1000, {}, []

    with dnsmasq(tmp_path, *RECORDS) as port, Front(f"127.0.0.1:{port}") as front, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(("127.0.0.1", front.port))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        start = time.monotonic()
        while len(took) < rate * seconds:
            now = time.monotonic()
            assert now - start < seconds + WAIT, f"{len(took)} of {rate * seconds} answered"
            while len(sent) + len(took) < min(rate * seconds, (now - start) * rate):
                number = len(sent) + len(took)
                query = struct.pack(">HHHHHH", number % 65536, 0x100, 1, 0, 0, 0)
                query += dns.name.from_text(f"n{number}.a.test.").to_wire() + b"\0\1\0\1"
                sent[number % 65536] = time.monotonic()
                s.send(query)
            while select.select([s], [], [], 0.001)[0]:
                answer = s.recv(4096)
                assert answer[3] & 15 == 0 and answer[7] == 1
                took.append(time.monotonic() - sent.pop(struct.unpack(">H", answer[:2])[0]))
        counts, peak = front.counts(), front.peak_kib()
    took.sort()
    p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
    print(f"{len(took)} answers: p50 {p50 * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms; at most {peak} KiB; {counts}")
    assert counts["asked"] == counts["questions"] == rate * seconds and counts["overloads"] == 0
    assert counts["cache_entries"] <= 2048 and counts["cache_bytes"] <= 1 << 20 and counts["names"] <= 4096
    assert peak < 8192
    assert p50 < 0.05
    if os.environ.get("MSB_LONG"):
        assert p99 < 0.05
