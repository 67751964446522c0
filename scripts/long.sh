#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# long.sh SLICE: one part of what takes long, at full size; its results go to build/long-SLICE.xml or .txt, and their
# name is the last line. "long.sh --names" lists the slices, "long.sh --today" names the one whose turn it is.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.." || exit 1
FUZZ_S=480 # all targets together
slices=(kills runs streams cold pulls fuzz mutants)
slice=${1:-}
results=build/long-$slice.xml
functional() { MSB_LONG=1 /usr/bin/python3 -m pytest -v -p no:cacheprovider --junitxml="$results" tests/functional "$@"; }
rm -f "$results"
case $slice in
--names) printf '%s\n' "${slices[@]}"; exit ;;
--today) echo "${slices[10#$(date +%j) % ${#slices[@]}]}"; exit ;;
kills) functional -k test_killed ;;
runs) functional -k "one_after_the_other or eight_at_once" ;;
streams) functional -m "show_01_3 or bad_input" ;;
cold) functional -k "test_demo and cold" ;;
pulls) functional -m "show_02_2 or show_02_5" ;;
fuzz) results=build-fuzz/results.txt
	rm -f "$results"
	targets=(tests/fuzz/fuzz_*.c)
	bash tests/fuzz/run.sh $((FUZZ_S * $(nproc) / ${#targets[@]})) ;;
mutants) results=build/long-mutants.txt; bash scripts/mutants.sh | tee build/mutants.log
	sed -nE 's/^(\S+): caught.*/ok \1/p; s/^(\S+): (NOT|does|no|its) (.*)/not ok \1: \2 \3/p' build/mutants.log > "$results" ;;
*) echo "usage: long.sh SLICE, one of: ${slices[*]}" >&2; exit 2 ;;
esac
echo "$results"
