#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Includes point down only. ALLOWED names, for each folder of src/, the folders that it may include."""
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parents[1]
ALLOWED = {
    "base": set(),
    "proto": {"base"},
    "agent": {"base", "proto"},
    "disk": {"base"},
    "virtio": {"base", "disk"},
    "confine": {"base"},
    "hypervisor": {"base", "disk", "virtio", "confine", "monitor"},
    "monitor": {"base", "disk", "virtio", "confine", "hypervisor", "proto"},
    "image": {"base", "disk", "confine"},
    "config": {"base"},
    "net": {"base", "proto", "confine"},
    "registry": {"base", "confine", "config"},
    "state": {"base"},
    "sandbox": {"base", "net", "proto", "disk", "confine", "monitor", "state"},
    "engine": {"base", "net", "proto", "disk", "confine", "monitor", "hypervisor", "image", "sandbox", "state"},
    "cli": {"base", "net", "proto", "config", "engine"},
}
# Single headers of a higher folder that are plain data.
ALSO = {
    "hypervisor": {"monitor/monitor.h"},
    "virtio": {"proto/frame.h"},
    # The seam of a pull, and what a reference is.
    "registry": {"image/fetch.h", "image/reference.h"},
    # doctor reports what the probes say, images lists the store; the agent's bytes are linked into the program.
    "cli": {"state/state.h", "sandbox/boot_error.h", "sandbox/output_entry.h", "hypervisor/hypervisor.h", "image/store.h", "confine/confine.h", "agent/initramfs.h", "image/reference.h"},
}
ONLY = {"hypervisor": {"monitor": {"monitor/monitor.h"}}}
bad = 0
for path in sorted((TOP / "src").rglob("*.[ch]")):
    folder = path.relative_to(TOP / "src").parts[0]
    name = path.relative_to(TOP)
    if folder not in ALLOWED:
        print(f"{name}: folder {folder} is not in tools/check_layers.py")
        bad += 1
        continue
    for number, line in enumerate(path.read_text().split("\n"), 1):
        m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if not m or "/" not in m.group(1):
            continue
        header = m.group(1)
        target = header.split("/")[0]
        if target == folder or header in ALSO.get(folder, ()):
            continue
        if target not in ALLOWED[folder] or header not in ONLY.get(folder, {}).get(target, {header}):
            print(f"{name}:{number}: {folder} may not include {header}")
            bad += 1
sys.exit(1 if bad else 0)
