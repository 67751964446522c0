# SPDX-License-Identifier: Apache-2.0
"""The tests' own machinery: what adds results up must not pass over a failure, a missing result or an unexpected skip."""
import os
import subprocess
import sys

import pytest

from conftest import TOP
from leftovers import Census

CASE = '<testsuites><testsuite><testcase classname="tests.functional.test_x" name="test_a">%s</testcase></testsuite></testsuites>'


def add_up(*files, line=False):
    done = subprocess.run([sys.executable, TOP / "scripts/sum_results.py", *(["--line", "01.9"] if line else []), *files],
                          capture_output=True, text=True)
    return done.stdout.splitlines()[-1], done.returncode


@pytest.mark.parametrize("inside,last,status", [
    ("", "1 passed, 0 failed, 0 skipped", 0),
    ('<failure message="assert 1 == 2">x</failure>', "0 passed, 1 failed, 0 skipped", 1),
    ('<error message="fixture">x</error>', "0 passed, 1 failed, 0 skipped", 1),
    ('<skipped message="not today"/>', "0 passed, 1 failed, 0 skipped", 1),
])
def test_outcomes(tmp_path, inside, last, status):
    path = tmp_path / "x.xml"
    path.write_text(CASE % inside)
    assert add_up(path) == (last, status)


def test_all_kinds_of_results(tmp_path):
    (tmp_path / "a.txt").write_text("ok layers\nnot ok size: 801 lines\n")
    (tmp_path / "b.json").write_text('{"name": "msb:unit / base", "result": "OK"}\n{"name": "msb:unit / x", "result": "TIMEOUT"}\n')
    (tmp_path / "c.xml").write_text(CASE % "")
    assert add_up(*sorted(tmp_path.iterdir())) == ("3 passed, 2 failed, 0 skipped", 1)
    assert add_up(tmp_path / "a.txt", line=True) == ("01.9 failed: size: 801 lines", 1)
    assert add_up(tmp_path / "c.xml", line=True) == ("01.9 passed", 0)


@pytest.mark.parametrize("name,content", [("none.xml", None), ("half.xml", "<testsuites>"), ("empty.txt", ""), ("none.json", None)])
def test_no_results_are_a_failure(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_text(content)
    assert add_up(tmp_path / name)[1] == 1


def test_memory_that_is_kept_is_noticed():
    census = Census()
    kept = os.memfd_create("kept")
    try:
        os.write(kept, bytes(64 << 20))
        with pytest.raises(AssertionError, match="KiB of memory were not given back"):
            census.check(memory_kib=20 << 10)
    finally:
        os.close(kept)
    census.check(memory_kib=20 << 10)
