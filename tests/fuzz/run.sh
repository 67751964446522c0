#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every fuzz target for so long, as many side by side as there are CPUs: tests/fuzz/run.sh SECONDS [NAME]...
# Inputs that reach new code are kept in build-fuzz/NAME.found between runs; tests/fuzz/corpus/NAME is only read.
# A line per target, "ok" or "not ok", also in build-fuzz/results.txt.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
export out=build-fuzz seconds=${1:?usage: run.sh SECONDS [NAME]...}
shift
mkdir -p "$out"
sh tests/fuzz/build.sh "$out" > "$out/build.log" 2>&1 || { cat "$out/build.log"; exit 1; }
# one - NAME
one() {
	local name=$1 log=$out/$1.log execs cov
	mkdir -p "$out/$name.found" "tests/fuzz/corpus/$name"
	# What a target prints is not kept: it may be a line per input.
	if ! "$out/fuzz_$name" -max_total_time="$seconds" -timeout=20 -print_final_stats=1 -close_fd_mask=3 \
		-artifact_prefix="$out/$name-" "$out/$name.found" "tests/fuzz/corpus/$name" > "$log" 2>&1; then
		tail -30 "$log" >&2
		echo "not ok fuzz_$name: reproduce: $out/fuzz_$name $(sed -n 's/.*Test unit written to //p' "$log" | tail -1)"
		return
	fi
	execs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
	cov=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)
	printf 'ok fuzz_%s: %s execs, %s edges\n' "$name" "$execs" "$cov"
}
export -f one
[ $# -gt 0 ] || set -- $(ls tests/fuzz/fuzz_*.c | sed 's|.*/fuzz_||; s|\.c$||')
printf '%s\n' "$@" | xargs -P "$(nproc)" -I '{}' bash -c 'one {}' | tee "$out/results.txt"
! grep -q '^not ok' "$out/results.txt"
