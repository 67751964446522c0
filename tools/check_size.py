#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Source files stay readable: at most 800 lines, 120 columns (a tab counts 8), no blanks at the end of a line."""
import pathlib
import sys

TOP = pathlib.Path(__file__).resolve().parents[1]
LINES_MAX, COLUMNS_MAX = 800, 120
bad = 0
for path in sorted((TOP / "src").rglob("*.[ch]")):
    name = path.relative_to(TOP)
    lines = path.read_text().split("\n")
    if len(lines) - 1 > LINES_MAX:
        print(f"{name}: {len(lines) - 1} lines, {LINES_MAX} are the limit")
        bad += 1
    for number, line in enumerate(lines, 1):
        if len(line.expandtabs(8)) > COLUMNS_MAX:
            print(f"{name}:{number}: {len(line.expandtabs(8))} columns, {COLUMNS_MAX} are the limit")
            bad += 1
        if line != line.rstrip():
            print(f"{name}:{number}: blanks at the end of the line")
            bad += 1
sys.exit(1 if bad else 0)
