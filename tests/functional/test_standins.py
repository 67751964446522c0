# SPDX-License-Identifier: Apache-2.0
"""What newcomers type, with images that Docker Hub's mirror has: here a registry on loopback with stand-ins from Debian's packages."""
import re
import shlex
import subprocess
import sys

import pytest

from conftest import TOP, Msb

sys.path.insert(0, str(TOP / "tests/images"))
import standins  # noqa: E402


@pytest.fixture(scope="module")
def msb(tmp_path_factory):
    folder = subprocess.run(["bash", TOP / "tests/images/standins.sh"], check=True, capture_output=True, text=True).stdout.strip()
    home = tmp_path_factory.mktemp("standins-home")
    with standins.mirror(folder, home):
        yield Msb(home)


@pytest.mark.show_02_1
@pytest.mark.parametrize("line, said", (
    ("""msb run python:3.12 -- python -c "print('hello from sandbox')" """, r"hello from sandbox\n"),
    ("""msb run -m 1G node:22 -- node -e "console.log(process.version)" """, r"v\d+\.\d+\.\d+\n"),
    ("""msb run alpine:latest -- sh -c "uname -a && cat /etc/os-release" """, r'Linux \S+ .*\nNAME="Alpine Linux"\nID=alpine\n(.*\n)*'),
    ("""msb run alpine -- echo "no tag is latest" """, r"no tag is latest\n")), ids=("python", "node", "alpine", "no-tag"))
def test_as_typed(msb, line, said):
    done = msb(*shlex.split(line)[1:], timeout=180)
    print("$", line)
    print(done.stdout.decode() + done.stderr.decode())
    assert done.returncode == 0 and re.fullmatch(said, done.stdout.decode()), done
