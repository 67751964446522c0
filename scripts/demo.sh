#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a fresh clone to commands running in a microVM. Writes to the clone, ~/.cache and MSB_HOME only.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
image=localhost/msb-demo:1
say() { printf '\n== %s\n' "$*"; }
guest() { build/msb run "$image" -- "$@"; }
row() { printf '%-14s %-40s %s\n' "$1" "$2" "$3"; }
say "packages"
bash scripts/packages.sh install build demo
say "build (the guest kernel only the first time: about 5 to 9 minutes)"
make -s all
say "a small OCI image from Debian's busybox-static"
work=$(mktemp -d "${TMPDIR:-/tmp}/msb-demo.XXXXXX")
trap 'rm -rf "$work"' EXIT
bash tests/images/busybox.sh "$work/demo.tar" >/dev/null
build/msb load -i "$work/demo.tar" -t "$image"
say "which back end runs it, and why"
build/msb doctor
if [ -n "${MSB_HYPERVISOR:-}" ]; then why="MSB_HYPERVISOR=$MSB_HYPERVISOR"; else why=$(build/msb doctor | sed -n 's/^  . KVM  *//p'); fi
case ${MSB_HYPERVISOR:-auto}:$why in
kvm:*|auto:usable) echo "ran on: KVM, because KVM is $why" ;;
*) echo "ran on: QEMU's software CPU, because $why" ;;
esac
say "side by side"
row "" host guest
row "uname -r" "$(uname -r)" "$(guest uname -r)"
row id "$(id | cut -c1-40)" "$(guest id)"
row "date -u" "$(date -u)" "$(guest date -u)"
row /proc/cmdline "(the guest's:)" "$(guest cat /proc/cmdline)"
say "now try: build/msb run $image"
