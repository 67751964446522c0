#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Functions that the project does not use: unbounded copies, numbers without errors, shells, assert."""
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parents[1]
BANNED = "strcpy strcat sprintf vsprintf strtok gets atoi atol atoll system popen assert alloca".split()
CALL = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
# Comments and strings are blanked, line ends kept.
SKIP = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.S)
bad = 0
for path in sorted((TOP / "src").rglob("*.[ch]")):
    text = SKIP.sub(lambda m: "\n" * m.group().count("\n"), path.read_text())
    for number, line in enumerate(text.split("\n"), 1):
        for call in CALL.finditer(line):
            print(f"{path.relative_to(TOP)}:{number}: {call.group(1)}() is banned")
            bad += 1
sys.exit(1 if bad else 0)
