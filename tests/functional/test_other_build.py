# SPDX-License-Identifier: Apache-2.0
"""Sandboxes that another build of msb has started: listed, used, stopped and removed."""
import os
import shutil
import subprocess

import pytest

from conftest import MSB, TOP
from sandboxes import Sandboxes

pytestmark = pytest.mark.show_03_9
# The first commit with sandboxes that stay: what its programs write and say must be understood for ever.
FIRST = "3aa702d"


@pytest.fixture
def other(request, boxes, tmp_path):
    """msb of the same home, in another place: a copy, or the first that had such sandboxes."""
    folder = tmp_path / "other"
    if request.param == "copy":
        folder.mkdir()
        for name in ("msb", "msb-image", "msb-gateway", "msb-registry"):
            shutil.copy(MSB.parent / name, folder / name)
    else:
        if subprocess.run(["git", "-c", "safe.directory=*", "cat-file", "-e", FIRST], cwd=TOP, capture_output=True).returncode:
            pytest.skip("the history of this copy does not reach so far")
        subprocess.run(f"git -c safe.directory='*' archive {FIRST} | tar -x -C {tmp_path}", shell=True, cwd=TOP, check=True)
        subprocess.run(["meson", "setup", folder], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["ninja", "-C", folder, "msb", "msb-image", "msb-registry"], check=True, stdout=subprocess.DEVNULL)
    msb = Sandboxes(boxes.home)
    msb.popen = lambda *args, **kw: subprocess.Popen([folder / "msb", *args], env=msb.env, **kw)
    return msb, folder / "msb"


@pytest.mark.parametrize("other", ["copy", pytest.param("first", marks=pytest.mark.long)], indirect=True)
def test_started_by_another_build(boxes, other):
    old, program = other

    def run(*args):
        done = subprocess.run([program, *args], env=old.env, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        assert done.returncode == 0, done
        return done.stdout
    run("create", "-n", "a", "-m", "128M", "-e", "X=old", "localhost/busybox:1")
    run("create", "-n", "b", "-m", "128M", "localhost/busybox:1")
    run("exec", "a", "--", "sh", "-c", "echo kept > /kept")
    shutil.rmtree(program.parent)  # an update has replaced it
    assert boxes.states() == {"a": "Running", "b": "Running"}
    assert boxes.sh("a", "echo $X; cat /kept").stdout == b"old\nkept\n"
    assert boxes.ok("ping", "a").startswith("a: ")
    boxes.ok("touch", "a")
    boxes.ok("stop", "-t", "5", "a")
    boxes.ok("start", "a")
    assert boxes.sh("a", "cat /kept").stdout == b"kept\n"
    boxes.ok("rm", "-f", "a", "b")
    assert boxes.states() == {}
