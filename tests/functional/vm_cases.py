#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs in virtual machines whose whole outcome must not depend on the back end (issue line 01.5).

vm_cases.py MSB BUSYBOX.tar PYTHON.tar [CASE...]: load the archives into a home of its own, do the cases (or every one) on
the back end that MSB_HYPERVISOR names, and print one line of JSON per case: name, standard output, standard error,
exit status.
"""
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

SEED = 20261124
RANDOM = random.Random(SEED).randbytes(256 << 10)
BUSYBOX, PYTHON = "localhost/busybox:1", "localhost/python:1"


def sh(text, *options, stdin=b""):
    return (*options, BUSYBOX, "--", "sh", "-c", text), stdin


def py(text, *options):
    return (*options, PYTHON, "--", "python3", "-c", text), b""


COUNT = "import os; print(os.cpu_count())"
WITHIN = "k=int(open('/proc/meminfo').readline().split()[1]); print(abs(k/1024-%d) <= 0.15*%d)"

CASES = {
    "echo": ((BUSYBOX, "--", "echo", "hi"), b""),
    "default command": ((BUSYBOX,), b"echo from a shell; exit 3\n"),
    "cat": ((BUSYBOX, "--", "cat"), RANDOM),
    "streams": (sh("echo out; echo err >&2; exit 7")),
    "status 0 to 5, 125 to 130, 255": (sh(
        "for i in 0 1 2 3 4 5 125 126 127 128 129 130 255; do (exit $i); echo $i $?; done; exit 255")),
    "died by TERM": (sh("kill -TERM $$")),
    "died by KILL": (sh("kill -KILL $$")),
    "not found": ((BUSYBOX, "--", "nosuch"), b""),
    "not executable": ((BUSYBOX, "--", "/etc/passwd"), b""),
    "no such user": (("-u", "nobody-here", BUSYBOX, "--", "true"), b""),
    "no such directory": (("-w", "/nosuch", BUSYBOX, "--", "true"), b""),
    "terminal": (sh("tty; stty size; stty -a | head -c 40", "-t")),
    "identity": (sh("id; echo $HOME $IMAGE_VAR $MINE; pwd; hostname; umask; ulimit -n",
                    "-u", "user", "-e", "MINE=x", "-w", "/var", "-H", "box", "--rlimit", "nofile=99:200")),
    "environment": (sh("env | sort", "-H", "box")),
    "mounts": (sh("cat /proc/mounts; ls -l /dev | awk '{ print $1, $5, $6, $NF }'")),
    "kernel": (sh("uname -a; cat /proc/cmdline; cat /proc/filesystems; cat /proc/sys/kernel/osrelease")),
    "devices": (sh("for d in /sys/bus/virtio/devices/*; do cat $d/device; done | sort; cat /sys/block/vd?/size /sys/block/vd?/ro")),
    "files": (sh("stat -c '%n %s %h %a %u:%g %F' /bin/busybox /bin/sh /etc /etc/passwd; md5sum /bin/busybox")),
    "writes": (sh("dd if=/dev/zero of=/big bs=1M count=64 2>/dev/null; sync; md5sum /big; rm /big; mv /etc /etc2; "
                  "ls /etc2; ln /bin/busybox /b2; echo x >> /bin/busybox; stat -c %h /b2; df -T / | awk '{ print $2 }'")),
    "processes": (sh("sleep 100 & (sleep 0.01 &); sh -c 'sh -c true &'; kill %1; wait; ps -o pid,ppid,comm | head -4")),
    "network is down": (sh("ip -o addr; ping -c 1 127.0.0.1 | head -1; wget -T 5 http://192.0.2.1/; nslookup example.com",
                           "-H", "b", "--no-network")),
    "network": (sh("cat /sys/class/net/eth0/mtu; ls /sys/class/net; ip -4 -o addr show eth0 | sed 's/inet [^ ]*/inet A/';"
                   "ping -q -c 3 -W 5 $(ip route | awk '/^default/ { print $3 }') | grep packets; nc -w 5 192.0.2.1 80; echo $?;"
                   "nslookup -type=a host.microsandbox.internal | grep -c ^Name", "-H", "b")),
    "entropy": (sh("head -c 100000 /dev/urandom | wc -c; head -c 1000 /dev/hwrng | wc -c")),
    "cpus 1": (sh("nproc; grep -c ^processor /proc/cpuinfo", "-c", "1")),
    "cpus 2": (sh("nproc; taskset 2 echo on the second", "-c", "2")),
    "cpus 4": (sh("nproc", "-c", "4")),
    "time-out": (("--timeout", "1s", BUSYBOX, "--", "sleep", "100"), b""),
    "power off by the guest": (sh("poweroff -f; sleep 100")),
    "reboot by the guest": (sh("reboot -f; sleep 100")),
    "panic": (sh("echo 2 > /proc/sys/vm/panic_on_oom; tail /dev/zero; sleep 100", "-m", "128M")),
    "python: 1 cpu": (py(COUNT, "-c", "1")),
    "python: 2 cpus": (py(COUNT, "-c", "2")),
    "python: 4 cpus": (py(COUNT, "-c", "4")),
    "python: 256M": (py(WITHIN % (256, 256), "-m", "256M")),
    "python: 1G": (py(WITHIN % (1024, 1024), "-m", "1G")),
}


def last_words(home):
    """What a sandbox that does not end has logged: it is gone with the sandbox."""
    logs = sorted(pathlib.Path(home).glob("sandboxes/*/*.log"))
    return b"".join(b"%s:\n%s\n" % (log.name.encode(), log.read_bytes()[-2000:]) for log in logs)


def main():
    msb = sys.argv[1]
    with tempfile.TemporaryDirectory(prefix="msb-cases.") as home:
        env = dict(os.environ, MSB_HOME=home)
        for name, archive in zip((BUSYBOX, PYTHON), sys.argv[2:4]):
            subprocess.run([msb, "load", "-q", "-i", archive, "-t", name], env=env, check=True, stdout=sys.stderr)
        for name in sys.argv[4:] or CASES:
            args, stdin = CASES[name]
            with subprocess.Popen([msb, "run", *args], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE) as child:
                try:
                    out, err = child.communicate(stdin, timeout=120)
                    status = child.returncode
                except subprocess.TimeoutExpired:
                    out, err, status = b"", b"no end after 120 s\n" + last_words(home), -1
                    child.kill()
            print(json.dumps({"case": name, "out": out.decode("latin-1"), "err": err.decode("latin-1"), "status": status}),
                  flush=True)


if __name__ == "__main__":
    main()
