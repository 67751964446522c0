# SPDX-License-Identifier: Apache-2.0
"""A small internet in network namespaces that end with the test: a guest (the Linux stack on a TAP), the host where
msb-gateway runs, and the world, whose servers own public and private addresses."""
import json
import subprocess
import sys

from conftest import MSB, TOP
from sandboxes import until

BUILD = MSB.parent
PEER = TOP / "tests/gateway/peer.py"
PUBLIC, PUBLIC6 = "1.2.3.10", "2606:4700::10"
HOST, HOST6 = "1.2.3.1", "2606:4700::1"
PRIVATE = ["10.0.0.10", "192.168.7.10", "169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192"]
PRIVATE6 = ["fd00:ec2::254", "64:ff9b::a00:a", "2002:a00:a::1"]
GATEWAY, GATEWAY6 = "172.16.0.1", "fd42:6d73:62:1::1"


class Space:
    """A network namespace, held by a process that ends with its input. "-m": and one of mounts."""

    def __init__(self, *more):
        # The process says when it is there.
        self.holder = subprocess.Popen(["unshare", "-n", *more, "sh", "-c", "echo; exec cat"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.holder.stdout.readline()
        self.pid = self.holder.pid
        self.enter = ["nsenter", "-t", str(self.pid), "-n", *more]
        self("ip", "link", "set", "lo", "up")

    def popen(self, *command, **kw):
        kw.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen([*self.enter, *map(str, command)], **kw)

    def __call__(self, *command, check=True, timeout=60, **kw):
        kw.setdefault("stdin", subprocess.DEVNULL)
        done = subprocess.run([*self.enter, *map(str, command)], timeout=timeout, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, **kw)
        assert not check or done.returncode == 0, (command, done.stdout, done.stderr)
        return done if not check else done.stdout

    def serve(self, *arguments):
        """peer.py in here; returns when it listens."""
        p = self.popen(sys.executable, PEER, *arguments, stdout=subprocess.PIPE)
        assert p.stdout.readline() == b"serving\n"
        return p

    def ask(self, *arguments, timeout=120):
        """peer.py in here: its words."""
        return self(sys.executable, PEER, *arguments, timeout=timeout).split()

    def close(self):
        self.holder.stdin.close()
        self.holder.wait()


class Lab:
    """All three. gateway() starts the gateway; close() ends everything."""

    def __init__(self):
        self.started = []
        self.spaces = [Space(), Space(), Space()]
        self.guest, self.host, self.world = self.spaces
        self.gateway_process = None
        host, world = self.host, self.world
        host("ip", "link", "add", "out0", "type", "veth", "peer", "name", "in0", "netns", world.pid)
        for space, link, addresses in ((host, "out0", [HOST + "/24", HOST6 + "/64", "192.168.50.1/24"]),
                                       (world, "in0", [PUBLIC + "/24", PUBLIC6 + "/64"] + [a + "/32" for a in PRIVATE] +
                                        [a + "/128" for a in PRIVATE6])):
            for a in addresses:
                space("ip", "addr", "add", a, "dev", link, *(["nodad"] if ":" in a else []))
            space("ip", "link", "set", link, "up")
        host("ip", "route", "add", "default", "via", PUBLIC)
        host("ip", "-6", "route", "add", "default", "via", PUBLIC6)
        world("ip", "route", "add", "192.168.50.0/24", "via", HOST)

    def start(self, process):
        self.started.append(process)
        return process

    def serve(self, space, *arguments):
        return self.start(space.serve(*arguments))

    def gateway(self, *options, user=0, mtu=1500, folder=None):
        """msb-gateway with these options of gateway-tap, and the guest's end configured."""
        if self.gateway_process:
            self.stop_gateway()
        self.gateway_process = p = self.host.popen(
            (folder or BUILD / "tests/gateway") / "gateway-tap", "--gateway", (folder or BUILD) / "msb-gateway", "--tap", "tap0", "--mtu", mtu,
            "--tap-net", f"/proc/{self.guest.pid}/ns/net", "--user", user, *options, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert p.stdout.readline() == "ready\n"
        for command in (["link", "set", "tap0", "address", "02:6d:73:00:01:02", "mtu", str(mtu)],
                        ["addr", "add", "172.16.0.2/30", "dev", "tap0"],
                        ["-6", "addr", "add", "fd42:6d73:62:1::2/64", "dev", "tap0", "nodad"],
                        ["link", "set", "tap0", "up"],
                        ["route", "add", "default", "via", GATEWAY],
                        ["-6", "route", "add", "default", "via", GATEWAY6]):
            self.guest("ip", *command)

    def count(self):
        self.gateway_process.stdin.write("count\n")
        self.gateway_process.stdin.flush()
        return json.loads(self.gateway_process.stdout.readline())

    def activity(self):
        self.gateway_process.stdin.write("activity\n")
        self.gateway_process.stdin.flush()
        return int(self.gateway_process.stdout.readline())

    def stop_gateway(self):
        p, self.gateway_process = self.gateway_process, None
        p.stdin.close()
        try:
            assert p.wait(timeout=10) == 0
        finally:
            p.kill()

    def close(self):
        try:
            if self.gateway_process:
                self.stop_gateway()
        finally:
            for p in self.started:
                p.kill()
                p.wait()
            for s in self.spaces:
                s.close()


def listening(space, port, proto="t"):
    return until(lambda: space("ss", f"-Hln{proto}", f"sport = :{port}"), what=f"a server at port {port}")
