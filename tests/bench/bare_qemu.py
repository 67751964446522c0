#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bare_qemu.py VMLINUX RUNS TIMELINE...: wall time of QEMU alone, from its start to the guest's init and its power-off.

The same kernel, processor and machine type as msb's, an initramfs of one static program, no disk, no vsock. The
timelines are of "msb run -- echo hi" on QEMU, from exec to exit: at most 1.5 times as long.
"""
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

FACTOR = 1.5
INIT = r"""
#include <sys/reboot.h>
#include <unistd.h>
int main(void)
{
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
"""


def tsc_khz():
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("bogomips"):
                return int(float(line.split(":")[1]) * 500)
    return 0


def wall_ms(path):
    """From exec to exit."""
    with open(path) as f:
        at = {name: int(ns) for ns, name in (line.rstrip("\n").split(" ", 1) for line in f)}
    return (at["exit"] - at["exec"]) / 1e6


def main():
    kernel, runs = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory() as work:
        folder = pathlib.Path(work)
        (folder / "init.c").write_text(INIT)
        subprocess.run(["cc", "-static", "-O2", "-o", folder / "init", folder / "init.c"], check=True)
        tool = pathlib.Path(__file__).resolve().parents[2] / "tools" / "make_initramfs.py"
        subprocess.run([sys.executable, tool, folder / "init", folder / "initramfs"], check=True)
        command = ["qemu-system-x86_64", "-M", "microvm,acpi=on,pit=on,pic=on,rtc=on", "-accel", "tcg,thread=multi",
                   "-cpu", "max", "-smp", "1", "-m", "256", "-nodefaults", "-no-user-config", "-display", "none",
                   "-no-reboot", "-kernel", kernel, "-initrd", folder / "initramfs", "-append",
                   f"quiet panic=-1 reboot=t tsc_early_khz={tsc_khz()} clocksource=tsc tsc=reliable"]
        times = []
        for _ in range(runs + 1):
            start = time.monotonic()
            subprocess.run(command, check=True, timeout=60, stdin=subprocess.DEVNULL)
            times.append((time.monotonic() - start) * 1e3)
        bare = statistics.median(times[1:])
        print(f"Bare QEMU, the same kernel to init and off: median {bare:.0f} ms "
              f"({min(times[1:]):.0f} to {max(times[1:]):.0f})")
        ours = statistics.median(wall_ms(path) for path in sys.argv[3:])
        print(f"{'ok' if ours <= FACTOR * bare else 'not ok'} msb run beside bare QEMU: {ours:.0f} ms, "
              f"{ours / bare:.2f} times, at most {FACTOR}")


main()
