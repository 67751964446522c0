#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""table.py [--limit TOTAL=MS]... TIMELINE...: the median over several runs of where the time of a run goes
(base/timeline.h), in ms. A limit on boot, output or exit prints a line "ok ..." or "not ok ...".
"""
import argparse
import statistics

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
TOTALS = {"boot": ("boot: first KVM_RUN to agent ready", "first instruction", "agent ready"),
          "output": ("exec of msb to first output", "exec", "first output"),
          "exit": ("exec of msb to exit", "exec", "exit")}


def read(path):
    with open(path) as f:
        return {name: int(ns) for ns, name in (line.rstrip("\n").split(" ", 1) for line in f)}


def spans(runs, start, end):
    return [(r[end] - r[start]) / 1e6 for r in runs if start in r and end in r]


def rows(names, runs):
    for text, start, end in names:
        if times := spans(runs, start, end):
            print(f"  {text:<38} {statistics.median(times):8.1f}   {min(times):8.1f} to {max(times):.1f}")


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--limit", action="append", default=[])
    args.add_argument("timelines", nargs="+")
    args = args.parse_args()
    runs = [read(p) for p in args.timelines]
    print(f"  {'ms, ' + str(len(runs)) + ' runs':<38}   median   lowest to highest")
    rows(PARTS, runs)
    print()
    rows(TOTALS.values(), runs)
    for limit in args.limit:
        name, most = limit.split("=")
        text, start, end = TOTALS[name]
        taken = statistics.median(spans(runs, start, end))
        print(f"{'ok' if taken <= float(most) else 'not ok'} {text}: {taken:.1f} ms, at most {most}")


main()
