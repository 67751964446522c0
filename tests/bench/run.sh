#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh [RUNS]: wall time of "msb run -- true" on this host's back end, at 256 MiB and at the default memory.
set -euo pipefail
top=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd)
runs=${1:-10}
work=$(mktemp -d "${TMPDIR:-/tmp}/msb-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
export MSB_HOME=$work/home
msb=${MSB_BUILD:-$top/build}/msb
bash "$top/tests/images/busybox.sh" "$work/image.tar" >/dev/null 2>&1
"$msb" load -q -i "$work/image.tar" -t localhost/bench:1 >/dev/null
"$msb" doctor || true
for memory in 256M 512M; do
	"$msb" run -q -m "$memory" localhost/bench:1 -- true # fills the caches
	for _ in $(seq "$runs"); do
		from=$(date +%s%N)
		"$msb" run -q -m "$memory" localhost/bench:1 -- true
		echo $((($(date +%s%N) - from) / 1000000))
	done | sort -n | awk -v m="$memory" '{ t[NR] = $1 } END {
		printf "-m %-5s %d runs: fastest %d ms, median %d ms, slowest %d ms\n", m, NR, t[1], t[int((NR + 1) / 2)], t[NR] }'
done
