#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every source and script of the project names its licence in its first three lines."""
import pathlib
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[1]
KINDS = {".c", ".h", ".S", ".py", ".sh", ".build"}
listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=TOP, check=True, capture_output=True, text=True)
bad = 0
for name in listed.stdout.split("\n"):
    path = TOP / name
    if not path.is_file() or "corpus" in path.parts or not (path.suffix in KINDS or path.name in ("Makefile", "rig", "run")):
        continue
    with open(path, errors="replace") as f:
        if not any("SPDX-License-Identifier: Apache-2.0" in f.readline() for _ in range(3)):
            print(f"{name}: no SPDX-License-Identifier: Apache-2.0 in the first three lines")
            bad += 1
sys.exit(1 if bad else 0)
