# SPDX-License-Identifier: Apache-2.0
"""config.json: defaults of this machine, between the command line and the image."""
import json
import os
import subprocess

import pytest

from conftest import IMAGE, tree

SAY = "nproc; awk '/MemTotal/ { print $2 }' /proc/meminfo; pwd; df -m / | awk 'NR == 2 { print $2 }'"


@pytest.fixture
def config(msb, tmp_path):
    """Write a config.json that this test's msb reads."""
    def write(what):
        path = tmp_path / "config.json"
        path.write_text(what if isinstance(what, str) else json.dumps(what))
        msb.env["MSB_CONFIG_PATH"] = str(path)
        return path
    return write


def seen(msb, *options):
    done = msb.run("sh", "-c", SAY, options=options)
    assert done.returncode == 0, done.stderr
    cpus, kib, folder, disk = done.stdout.decode().split()
    return int(cpus), int(kib) // 1024, folder, int(disk), done.stderr.decode()


def test_defaults_and_the_command_line_above_them(msb, config):
    before = tree(msb.home)
    config({"hypervisor": "qemu", "sandbox_defaults": {"cpus": 2, "memory_mib": 300, "workdir": "/etc",
                                                       "oci": {"upper_size_mib": 100}}})
    msb.env.pop("MSB_HYPERVISOR")
    cpus, memory, folder, disk, said = seen(msb)
    assert (cpus, folder, said) == (2, "/etc", "") and 200 < memory < 300 and 50 < disk < 100
    cpus, memory, folder, disk, _ = seen(msb, "-c", "1", "-m", "200M", "-w", "/tmp", "--root-disk", "200M")
    assert (cpus, folder) == (1, "/tmp") and 100 < memory < 200 and 100 < disk < 200
    for path in tree(msb.home) - before:  # a template per size is kept on purpose
        assert "/cache/templates/" in path
        os.unlink(path)


def test_root_disk(msb, config):
    config({"sandbox_defaults": {"oci": {"root_disk": "tmpfs:64M", "upper_size_mib": 100}}})
    assert msb.run("sh", "-c", "df -m / | awk 'NR == 2 { print $2 }'").stdout == b"64\n"
    path = config({"sandbox_defaults": {"oci": {"root_disk": "nonsense"}}})
    done = msb.run("true")
    assert done.returncode == 125 and f"{path}: sandbox_defaults.oci.root_disk".encode() in done.stderr


def test_the_file_of_the_home(msb, config):
    path = msb.home / "config.json"
    path.write_text('{"sandbox_defaults": {"workdir": "/etc"}}')
    try:
        assert msb.run("pwd").stdout == b"/etc\n"
        config({})  # MSB_CONFIG_PATH is the only one then
        assert msb.run("pwd").stdout == b"/\n"
    finally:
        path.unlink()


def test_hypervisor_of_the_environment_comes_first(msb, config):
    config({"hypervisor": "kvm"})
    msb.env["MSB_HYPERVISOR"] = "qemu"
    assert msb.run("true").returncode == 0


def test_kernel(msb, config):
    msb.env.pop("MSB_LIBKRUNFW_PATH", None)
    config({"paths": {"libkrunfw": "/nosuch/vmlinux"}})
    done = msb.run("true")
    assert done.returncode == 125 and b"/nosuch/vmlinux" in done.stderr


@pytest.mark.parametrize("level,options,logged", [("debug", [], True), ("debug", ["--warn"], False), (None, [], False)])
def test_log_level(msb, config, level, options, logged):
    """The machine's own log, read while it lives: how long the kernel took is said from info on."""
    config({"log_level": level})
    before = set(os.listdir(msb.home / "sandboxes"))
    run = msb.popen("run", *options, IMAGE, "--", "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    run.stdin.write(b"x\n")
    run.stdin.flush()
    assert run.stdout.readline() == b"x\n"
    name, = set(os.listdir(msb.home / "sandboxes")) - before
    text = (msb.home / "sandboxes" / name / "runtime.log").read_text()
    assert run.communicate(timeout=30) == (b"", b"") and ("kernel took" in text) == logged, text


def test_warnings(msb, config):
    path = config({"sandbox_default": {}, "sandbox_defaults": {"memory_mb": 1, "zzzzzzzzz": 1}, "paths": {"volumes": "/v"},
                   "runtime": {"anything": 1}, "log_level": None})
    done = msb.run("true")
    assert done.returncode == 0
    assert done.stderr.decode().splitlines() == [
        f"warn: {path}: sandbox_default means nothing; did you mean sandbox_defaults?",
        f"warn: {path}: sandbox_defaults.memory_mb means nothing; did you mean memory_mib?",
        f"warn: {path}: sandbox_defaults.zzzzzzzzz means nothing",
        f"warn: {path}: paths.volumes is not used by this version"]


@pytest.mark.parametrize("text,said", [
    ('{"sandbox_defaults": {"cpus": "two"}}', 'sandbox_defaults.cpus must be a number from 1 to 32, not "two"'),
    ('{"hypervisor": "xen"}', 'hypervisor must be "auto", "kvm", "qemu", not "xen"'),
    ("{\n1}", "line 2"), ("[]", "must be an object"), (None, "No such file"),
])
def test_errors(msb, config, text, said):
    path = config(text or "")
    if text is None:
        path.unlink()
    done = msb.run("true")
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 125 and lines[0].startswith("error:") and str(path) in lines[0] and said in lines[0], lines


def test_kept_sandboxes_too(msb, config):
    """create has the defaults; on another use they are no options that somebody gave. A wrong file stops a start, not a stop."""
    path = config({"sandbox_defaults": {"cpus": 2, "workdir": "/etc"}})
    assert msb("create", "--name", "c", IMAGE).returncode == 0
    try:
        done = msb("run", "--name", "c", IMAGE, "--", "sh", "-c", "nproc; pwd")
        assert (done.stdout, done.stderr) == (b"2\n/etc\n", b"")
        path.write_text("[")
        assert msb("stop", "c").returncode == 0
        done = msb("start", "c")
        assert done.returncode == 1 and str(path).encode() in done.stderr
    finally:
        assert msb("rm", "-f", "c").returncode == 0
