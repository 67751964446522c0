#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bare_qemu.py VMLINUX BUILD RUNS: wall time of QEMU alone, from its start to the guest's init and its power-off.

The same kernel, processor and machine type as msb's, an initramfs of one static program, no disk, no vsock.
"""
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

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


def main():
    kernel, build, runs = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
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


main()
