# SPDX-License-Identifier: Apache-2.0
"""Every VM case on both back ends: QEMU's software CPU here, KVM in the rig, equal but for the patterns of differs.txt."""
import json
import os
import re
import subprocess
import sys

import pytest

import vm_cases
from conftest import MSB, SEED, TOP

HERE = TOP / "tests" / "functional"
CACHE = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
IN_RIG = [TOP / "tests" / "rig" / "rig", "--timeout", "480", "--again", "--", "env", "MSB_HYPERVISOR=kvm", f"XDG_CACHE_HOME={CACHE}"]

pytestmark = pytest.mark.rig


def normalise(text):
    """Take out what must differ: one "pattern<TAB>replacement" a line."""
    lines = [line for line in (HERE / "differs.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) <= 10
    for line in lines:
        pattern, replacement = line.split("\t")
        text = re.sub(pattern, replacement, text, flags=re.M)
    return text


def outcome(lines):
    out = {}
    for line in lines.splitlines():
        if line.startswith("{"):
            case = json.loads(line)
            text = f"status {case['status']}\n--- out\n{case['out']}\n--- err\n{case['err']}"
            out[case["case"]] = normalise(text)
    return out


def wanted(items):
    """The cases of the tests that were chosen; python's all together."""
    chosen = [i.callspec.params.get("case") for i in items if "outcomes" in i.fixturenames]
    return [c for c in vm_cases.CASES if c in chosen or (None in chosen and c.startswith("python"))]


@pytest.fixture(scope="module")
def outcomes(request, archive, python_archive):
    command = [sys.executable, HERE / "vm_cases.py", MSB, archive, python_archive, *wanted(request.session.items)]
    kvm = subprocess.Popen([*IN_RIG, *command],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    qemu = subprocess.run(command, env=dict(os.environ, MSB_HYPERVISOR="qemu"), stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=900)
    out, err = kvm.communicate(timeout=1000)
    assert qemu.returncode == 0, qemu.stderr
    assert kvm.returncode == 0, err + out[-2000:]
    print(f"{len(command) - 5} cases, each on both back ends")
    return outcome(qemu.stdout), outcome(out)


@pytest.mark.show_01_5
@pytest.mark.parametrize("case", vm_cases.CASES)
def test_equal(outcomes, case):
    qemu, kvm = outcomes
    assert qemu[case] == kvm[case]


@pytest.mark.show_01_2
@pytest.mark.parametrize("back_end", ["qemu", "kvm"])
def test_python_sees_cpus_and_memory(outcomes, back_end):
    seen = outcomes[back_end == "kvm"]
    for cpus in (1, 2, 4):
        assert seen[f"python: {cpus} cpu" + "s" * (cpus > 1)].startswith(f"status 0\n--- out\n{cpus}\n")
    for memory in ("256M", "1G"):
        assert seen[f"python: {memory}"].startswith("status 0\n--- out\nTrue\n")


def on_kvm(archive, name):
    """A file of these tests itself, in the rig."""
    env = [f"MSB_TEST_ARCHIVE={archive}", f"MSB_SEED={SEED}"]
    done = subprocess.run([*IN_RIG, *env, sys.executable, "-m", "pytest", "-v", "-s", "-p",
                           "no:cacheprovider", HERE / name], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=1000)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr


@pytest.mark.show_01_4
def test_loads_and_kills_on_kvm(archive):
    """Line 01.4 at a small size with our own monitor."""
    on_kvm(archive, "test_load.py")


@pytest.mark.show_04_guest
def test_network_on_kvm(archive):
    """The guest's network with our own monitor."""
    on_kvm(archive, "test_network.py")
