#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""sum_results.py [--line NAME] FILE...: add up test results and say how it went in the last line.

A file is meson's testlog.json, a JUnit .xml, or a .txt with lines "ok NAME" and "not ok NAME: why". The last line is
"N passed, N failed, N skipped", or with --line "NAME passed" or "NAME failed: why". Exit status 1 on a failure.

A skip that tests/skips.txt does not expect on this machine counts as a failure, and so does a run of no tests at all.
"""
import argparse
import fnmatch
import getpass
import json
import os
import pathlib
import sys
import xml.etree.ElementTree as ET

SKIPS = pathlib.Path(__file__).resolve().parent.parent / "tests" / "skips.txt"


def no_subids():
    """Is the user without a range of subordinate ids (which rootless mmdebstrap and buildah need)?"""
    try:
        user, uid = getpass.getuser(), str(os.getuid())
        ranges = pathlib.Path("/etc/subuid").read_text().splitlines()
        return not any(line.split(":")[0] in (user, uid) for line in ranges)
    except (OSError, KeyError):
        return True


CONDITIONS = {"no-subids": lambda: os.geteuid() != 0 and no_subids()}


def expected_skips(path=SKIPS):
    """Patterns of the tests that this machine may skip."""
    out = []
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            pattern, condition, _reason = line.split("\t")
            if CONDITIONS[condition]():
                out.append(pattern)
    return out


def one_line(text):
    return " ".join((text or "").split())[:300]


def from_meson(path):
    for line in path.read_text().splitlines():
        test = json.loads(line)
        outcome = {"OK": "passed", "EXPECTEDFAIL": "passed", "SKIP": "skipped"}.get(test["result"], "failed")
        yield "unit::" + test["name"].split("/")[-1].strip(), outcome, test["result"]


def from_text(path):
    for line in path.read_text().splitlines():
        word, _, rest = line.partition("ok ")
        name, _, why = rest.partition(": ")
        yield "static::" + name, "failed" if word == "not " else "passed", why


def from_junit(path):
    for case in ET.parse(path).getroot().iter("testcase"):
        outcome, why = "passed", ""
        for child in case:
            if child.tag in ("failure", "error"):
                outcome, why = "failed", child.get("message")
            elif child.tag == "skipped" and outcome == "passed":
                outcome, why = "skipped", child.get("message")
        yield f"{case.get('classname').split('.')[-1]}::{case.get('name')}", outcome, why


READERS = {".json": from_meson, ".txt": from_text, ".xml": from_junit}


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--line")
    args.add_argument("files", nargs="+", type=pathlib.Path)
    args = args.parse_args()
    allowed = expected_skips()
    count = dict.fromkeys(("passed", "failed", "skipped"), 0)
    failures = []
    for path in args.files:
        try:
            cases = list(READERS[path.suffix](path))
        except (OSError, ET.ParseError) as e:
            cases = [(path.name, "failed", f"left no results: {e}")]
        for name, outcome, why in cases or [(path.name, "failed", "no test ran")]:
            if outcome == "skipped" and not any(fnmatch.fnmatch(name, pattern) for pattern in allowed):
                outcome, why = "failed", f"skipped, which is not expected here: {why}"
            count[outcome] += 1
            if outcome != "passed":
                print(f"{outcome}: {name}: {one_line(why)}")
            if outcome == "failed":
                failures.append(f"{name.split('::')[-1]}: {one_line(why)}")
    if args.line:
        print(", ".join(f"{n} {word}" for word, n in count.items()))
        print(f"{args.line} failed: {failures[0]}" if failures else f"{args.line} passed")
    else:
        print(", ".join(f"{n} {word}" for word, n in count.items()))
    sys.exit(1 if failures else 0)


main()
