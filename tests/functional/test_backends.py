# SPDX-License-Identifier: Apache-2.0
"""Every VM case on both back ends: QEMU's software CPU here, KVM in the rig, equal but for the patterns of differs.txt."""
import json
import os
import re
import subprocess
import sys

import pytest

import vm_cases
from conftest import MSB, TOP

HERE = TOP / "tests" / "functional"


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


@pytest.fixture(scope="module")
def outcomes(archive, python_archive):
    command = [sys.executable, HERE / "vm_cases.py", MSB, archive, python_archive]
    kvm = subprocess.Popen([TOP / "tests/rig/rig", "--timeout", "420", "--", "env", "MSB_HYPERVISOR=kvm", *command],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    qemu = subprocess.run(command, env=dict(os.environ, MSB_HYPERVISOR="qemu"), stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=420)
    out, err = kvm.communicate(timeout=440)
    assert qemu.returncode == 0, qemu.stderr
    assert kvm.returncode == 0, err + out[-2000:]
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
