#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""net.py [SECONDS]: msb-gateway against slirp4netns and passt (pasta), without a virtual machine: each joins a network
namespace with a TAP to the sockets of another one, from where a veth leads to the servers. Root only.

All of a table is of one run, each figure of SECONDS. Gbit/s of iperf3 with one and with eight streams, each way, and what a
byte costs the program in processor time; qperf's time of a request and its answer; wrk's connections a second, one request
each, against nginx. Lines "ok" and "not ok" say which limits of the issue are kept.
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests/functional"))
from leftovers import descendants  # noqa: E402
from netlab import PUBLIC, Lab, Space, listening, until  # noqa: E402

SECONDS = int(sys.argv[1]) if len(sys.argv) > 1 else 3
WAYS = {"out 1": [], "in 1": ["-R"], "out 8": ["-P", "8"], "in 8": ["-R", "-P", "8"]}
TICK_NS = 1e9 / os.sysconf("SC_CLK_TCK")
NGINX = """daemon off; master_process off; error_log stderr crit; pid {folder}/pid;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_timeout 0; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; server {{ listen 80; location / {{ return 200 "hello"; }} }} }}
"""


def cpu_ns(pid):
    """Of a process and its children, threads included."""
    total = 0
    for p in (pid, *descendants(pid)):
        with open(f"/proc/{p}/stat") as f:
            total += sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))
    return total * TICK_NS


def measure(space, lab, pid):
    """All figures of one program, which joins space to the world."""
    found = {}
    for name, options in WAYS.items():
        listening(lab.world, 5201)
        before = cpu_ns(pid) if pid else 0
        said = json.loads(space("iperf3", "-J", "-t", SECONDS, "-c", PUBLIC, *options, check=False, timeout=SECONDS + 30).stdout)
        if "error" in said:
            raise RuntimeError(f"iperf3 {name}: {said['error']}")
        received = said["end"]["sum_received"]
        found[name] = received["bits_per_second"] / 1e9
        found[f"{name} ns/B"] = ((cpu_ns(pid) if pid else 0) - before) / received["bytes"]
    text = space("qperf", "-t", SECONDS, PUBLIC, "tcp_lat", timeout=SECONDS + 30)
    value, unit = re.search(r"latency\s*=\s*([\d.]+) (\w+)", text).groups()
    found["latency us"] = float(value) * {"ns": 1e-3, "us": 1, "ms": 1e3}[unit]
    text = space("wrk", "-t", "1", "-c", "8", "-d", f"{SECONDS}s", "-H", "Connection: close", f"http://{PUBLIC}/",
                 timeout=SECONDS + 30)
    found["connections/s"] = float(re.search(r"Requests/sec:\s*([\d.]+)", text).group(1))
    return found


def with_gateway(lab, mtu):
    lab.gateway("--connections", "4096", mtu=mtu)
    child = next(p for p in descendants(lab.gateway_process.pid) if open(f"/proc/{p}/comm").read().startswith("msb-gateway"))
    return measure(lab.guest, lab, child)


def with_program(lab, mtu, make):
    """slirp4netns or pasta, which bring a namespace to life from outside."""
    space = Space()
    program = lab.host.popen(*make(space.pid, mtu), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        if not until(lambda: program.poll() is not None or space("ip", "route", "show", "default")) or program.poll() is not None:
            program.kill()
            raise RuntimeError(program.stderr.read().strip().splitlines()[-1:] or "no route came")
        return measure(space, lab, program.pid)
    finally:
        program.kill()
        program.wait()
        space.close()


def slirp(pid, mtu):
    return ["slirp4netns", "-c", "--mtu", mtu, "--disable-host-loopback", pid, "tap1"]


def pasta(pid, mtu):
    return ["pasta", "-f", "-q", "--runas", "0", "--config-net", "-m", mtu, "-t", "none", "-u", "none", "-T", "none", "-U", "none", "--netns-only", "--netns", f"/proc/{pid}/ns/net"]


def verdict(good, name, text):
    print(f"{'ok' if good else 'not ok'} {name}: {text}", flush=True)


def main():
    lab = Lab()
    try:
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "nginx.conf").write_text(NGINX.format(folder=folder))
            for space in (lab.host, lab.world):  # more connections than there are ports in TIME_WAIT's minute
                space("sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65535", "net.ipv4.tcp_tw_reuse=1")
            lab.start(lab.world.popen("nginx", "-c", f"{folder}/nginx.conf"))
            lab.start(lab.world.popen("iperf3", "-s", stdout=subprocess.DEVNULL))
            lab.start(lab.world.popen("qperf"))
            assert listening(lab.world, 80) and listening(lab.world, 19765)
            compare(lab)
    finally:
        lab.close()


def compare(lab):
    direct = measure(lab.host, lab, None)
    for mtu in (65520, 1500):
        columns = {"direct": direct}
        for name, work in (("msb-gateway", lambda: with_gateway(lab, mtu)), ("slirp4netns", lambda: with_program(lab, mtu, slirp)),
                           ("passt", lambda: with_program(lab, mtu, pasta))):
            try:
                columns[name] = work()
            except (RuntimeError, AssertionError, subprocess.TimeoutExpired) as error:
                print(f"{name} at MTU {mtu}: not measured: {error}", flush=True)
        print(f"\nMTU {mtu}, {SECONDS} s each; Gbit/s where nothing else is said")
        print(f"{'':14}" + "".join(f"{name:>14}" for name in columns))
        for row in direct:
            print(f"{row:14}" + "".join(f"{c[row]:14.2f}" for c in columns.values()))
        ours, passt = columns["msb-gateway"], columns.get("passt")
        for way in WAYS:
            if "slirp4netns" in columns:
                ratio = ours[way] / columns["slirp4netns"][way]
                verdict(ratio >= 3, f"{way} at {mtu}", f"{ratio:.2f} times slirp4netns (at least 3)")
            if passt:
                verdict(ours[way] >= passt[way], f"{way} at {mtu}", f"{ours[way] / passt[way]:.2f} times passt (at least 1)")
        if passt:
            verdict(ours["latency us"] <= 1.2 * passt["latency us"], f"latency at {mtu}",
                    f"{ours['latency us'] / passt['latency us']:.2f} times passt's (at most 1.2)")
            verdict(ours["connections/s"] >= passt["connections/s"], f"connections at {mtu}",
                    f"{ours['connections/s'] / passt['connections/s']:.2f} times passt's (at least 1)")


main()
