#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""table.py TIMELINE...: the median over several runs of where the time of a run goes (base/timeline.h), in ms."""
import statistics
import sys

ORDER = ["exec", "main", "plan made", "supervisor forked", "supervisor", "monitor", "virtual machine made",
         "kernel loaded", "first instruction", "agent hello", "agent ready", "command started", "first output",
         "command ended", "supervisor ends", "monitor gone", "torn down", "exit"]
PARTS = [("CLI: start and plan", "exec", "supervisor forked"),
         ("supervisor and monitor start", "supervisor forked", "monitor"),
         ("KVM set-up", "monitor", "virtual machine made"),
         ("memory, kernel, devices", "virtual machine made", "first instruction"),
         ("guest kernel", "first instruction", "agent hello"),
         ("agent: mounts", "agent hello", "agent ready"),
         ("start of the command", "agent ready", "first output"),
         ("end of the command", "first output", "command ended"),
         ("teardown", "command ended", "exit")]
TOTALS = [("boot: first KVM_RUN to agent ready", "first instruction", "agent ready"),
          ("exec of msb to first output", "exec", "first output"),
          ("exec of msb to exit", "exec", "exit")]


def read(path):
    with open(path) as f:
        return {name: int(ns) for ns, name in (line.rstrip("\n").split(" ", 1) for line in f)}


def rows(names, runs):
    for text, start, end in names:
        spans = [(r[end] - r[start]) / 1e6 for r in runs if start in r and end in r]
        if spans:
            print(f"  {text:<38} {statistics.median(spans):8.1f}   {min(spans):8.1f} to {max(spans):.1f}")


def main():
    runs = [read(p) for p in sys.argv[1:]]
    print(f"  {'ms, ' + str(len(runs)) + ' runs':<38}   median   lowest to highest")
    rows(PARTS, runs)
    print()
    rows(TOTALS, runs)


main()
