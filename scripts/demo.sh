#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a fresh clone to commands running in a microVM. Writes to the clone, ~/.cache and MSB_HOME only.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
say() { printf '\n== %s\n' "$*"; }
say "packages"
bash scripts/packages.sh install build
bash scripts/packages.sh install test >/dev/null
say "build (the guest kernel only the first time: about 5 to 9 minutes)"
make -s all
say "a small OCI image from Debian's busybox-static"
work=$(mktemp -d "${TMPDIR:-/tmp}/msb-demo.XXXXXX")
trap 'rm -rf "$work"' EXIT
bash tests/images/busybox.sh "$work/demo.tar" >/dev/null
build/msb load -i "$work/demo.tar" -t localhost/msb-demo:1
say "which back end, and why"
build/msb doctor
say "host and guest"
printf 'host   kernel: %s\n' "$(uname -r)"
printf 'guest  kernel: %s\n' "$(build/msb run localhost/msb-demo:1 -- uname -r)"
printf 'guest /proc/cmdline: %s\n' "$(build/msb run localhost/msb-demo:1 -- cat /proc/cmdline)"
printf 'guest          id: %s\n' "$(build/msb run localhost/msb-demo:1 -- id)"
printf 'host    date -u: %s\n' "$(date -u)"
printf 'guest   date -u: %s\n' "$(build/msb run localhost/msb-demo:1 -- date -u)"
say "now try: build/msb run localhost/msb-demo:1"
