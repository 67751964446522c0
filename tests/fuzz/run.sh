#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every fuzz target for so long: tests/fuzz/run.sh SECONDS [NAME]...
# Inputs that reach new code are kept in build-fuzz/NAME.found between runs; tests/fuzz/corpus/NAME is only read.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
seconds=${1:?usage: run.sh SECONDS [NAME]...}
shift
out=build-fuzz
sh tests/fuzz/build.sh "$out" > "$out.log" 2>&1 || { cat "$out.log"; exit 1; }
[ $# -gt 0 ] || set -- $(ls tests/fuzz/fuzz_*.c | sed 's|.*/fuzz_||; s|\.c$||')
for name; do
	log=$out/$name.log
	mkdir -p "$out/$name.found" "tests/fuzz/corpus/$name"
	# What a target prints is not kept: it may be a line per input.
	if ! "$out/fuzz_$name" -max_total_time="$seconds" -timeout=20 -print_final_stats=1 -close_fd_mask=3 \
		-artifact_prefix="$out/$name-" "$out/$name.found" "tests/fuzz/corpus/$name" > "$log" 2>&1; then
		tail -30 "$log"
		echo "fuzz $name: failed; reproduce: $out/fuzz_$name $(sed -n 's/.*Test unit written to //p' "$log" | tail -1)"
		exit 1
	fi
	execs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
	cov=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)
	printf 'fuzz %-12s %10s execs  %5s edges\n' "$name" "$execs" "$cov"
done
echo "$# targets, no crash"
