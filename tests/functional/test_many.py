# SPDX-License-Identifier: Apache-2.0
"""Many sandboxes at once on one machine, what they cost, and a machine that starts again under them."""
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import sqlite3
import subprocess
import time

import pytest

from conftest import IMAGE, processes_of
from sandboxes import kill_everything, until

pytestmark = pytest.mark.show_03_5
COUNT = 100 if os.environ.get("MSB_LONG") else 24


def pss_kib(pids):
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += int(re.search(r"^Pss: *(\d+)", text, re.M).group(1))
    return total


def available_mib():
    return int(re.search(r"MemAvailable: *(\d+)", pathlib.Path("/proc/meminfo").read_text()).group(1)) // 1024


def test_many_at_once(boxes):
    if available_mib() < COUNT * 150:
        pytest.skip(f"{COUNT} sandboxes of 128 MiB need more memory than this machine has free")
    names = [f"box{i:03}" for i in range(COUNT)]
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: boxes.create(n, "--label", "many"), names))
    made_s = time.monotonic() - start
    assert boxes.states() == {n: "Running" for n in names}
    assert [s["name"] for s in json.loads(boxes.ok("ps", "--format", "json"))] == names
    assert len({s["name"] for s in boxes.list()}) == COUNT
    start = time.monotonic()
    boxes.ok("ls")
    listed_s = time.monotonic() - start
    measured = {m["name"]: m for m in json.loads(boxes.ok("metrics", "--format", "json"))}
    assert set(measured) == set(names)
    assert all(m["state"] == "running" and 0 < m["memory_bytes"] <= m["memory_limit_bytes"] == 128 << 20 for m in measured.values())
    pss = pss_kib(processes_of(boxes.home))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda n: boxes("exec", n, "--", "hostname").stdout.decode().strip(), names))
    assert said == names
    start = time.monotonic()
    boxes.ok("stop", "-q", "--label", "many", timeout=300)
    stopped_s = time.monotonic() - start
    print(f"{COUNT} sandboxes of 128 MiB: made in {made_s:.1f} s, PSS {pss / 1024 / COUNT:.1f} MiB each, {pss / 1024:.0f} MiB "
          f"together; ls {listed_s * 1000:.0f} ms; stopped in {stopped_s:.1f} s")
    assert boxes.states() == {n: "Stopped" for n in names}
    until(lambda: not processes_of(boxes.home), 5, "the end of all processes")


def test_after_a_reboot(boxes):
    """No process is left and the boot id is another one: all have ended, whoever has their numbers now; they start again."""
    for name in ("a", "b", "c"):
        boxes.create(name)
    boxes.sh("a", "echo kept > /kept; sync")
    boxes.ok("stop", "b")
    kill_everything(boxes)
    with subprocess.Popen(["sleep", "1000"]) as other:  # has the number, and even the start time, of their supervisors
        started = int(pathlib.Path(f"/proc/{other.pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
        with contextlib.closing(sqlite3.connect(boxes.home / "db/msb.db")) as db:
            db.execute("UPDATE sandbox SET boot_id = '00000000-0000-4000-8000-000000000000', pid = ?, start_time = ?",
                       (other.pid, started))
            db.commit()
        seen = boxes.states()
        other.kill()
    assert seen == {"a": "Crashed", "b": "Stopped", "c": "Crashed"}
    assert boxes.ok("ps", "-q") == ""
    boxes.ok("start", "a", "b", "c", timeout=120)
    assert boxes.states() == {n: "Running" for n in "abc"}
    assert boxes.sh("a", "cat /kept").stdout == b"kept\n"
