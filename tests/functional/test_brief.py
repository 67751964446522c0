# SPDX-License-Identifier: Apache-2.0
"""Every line of the project's brief, typed as it stands there (brief.sh), with stand-ins for the images it names."""
import os
import subprocess
import sys

import pytest

from conftest import MSB, TOP
from leftovers import Census

sys.path.insert(0, str(TOP / "tests/images"))
import standins  # noqa: E402


@pytest.mark.show_03_1
def test_brief(tmp_path):
    folder = subprocess.run(["bash", TOP / "tests/images/standins.sh"], check=True, capture_output=True, text=True).stdout.strip()
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir(mode=0o700)
    work.mkdir()
    census = Census()
    with standins.mirror(folder, home):
        done = subprocess.run(["bash", TOP / "tests/functional/brief.sh"], cwd=work, text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, timeout=500,
                              env=dict(os.environ, MSB_HOME=str(home), PATH=f"{MSB.parent}:{os.environ['PATH']}"))
    print(done.stdout)
    lines = done.stdout.splitlines()
    wrong = [line for line in lines if line.startswith("not ok ")]
    fine = sum(line.startswith("ok ") for line in lines)
    later = [line for line in lines if line.startswith("needs ")]
    print(f"{fine} lines typed, {len(later)} wait for other issues")
    assert not wrong and done.returncode == 0, "\n".join(wrong)
    assert fine >= 50
    census.check()
