#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Static checks (each counts as one test), unit tests, functional tests on the software CPU and in the rig, and those
# once more as an ordinary user. MSB_LONG=1: at full sizes, and fuzzing. MSB_SLICE=NAME: then also this slice of
# scripts/long.sh. The last line sums everything: N passed, N failed, N skipped.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.." || exit 1
static=build/static.txt
: > "$static"
for check in layers size spdx banned; do
	if python3 "tools/check_$check.py"; then echo "ok $check" >> "$static"; else echo "not ok $check" >> "$static"; fi
done
if python3 tools/make_docs.py build/msb --check; then echo "ok docs" >> "$static"; else echo "not ok docs" >> "$static"; fi
meson test -C build --no-rebuild --print-errorlogs || true
functional=build/functional.xml user=build/functional_user.xml
results=("$static" build/meson-logs/testlog.json "$functional")
rm -f "$functional" "$user"
if [ "$(id -u)" = 0 ]; then
	# Line 01.6, at the sizes of make check. Of an ordinary user the other tests are that already. The rig's tests are the
	# same for everybody, one is root inside: they are not run twice. A guest uses one CPU, so both fit side by side.
	results+=("$user")
	MSB_LONG='' bash scripts/check_as_user.sh "$user" -m "not rig" "$@" >build/functional_user.log 2>&1 &
fi
/usr/bin/python3 -m pytest -v -p no:cacheprovider --durations=10 --junitxml="$functional" tests/functional "$@" || true
if [ "$(id -u)" = 0 ]; then
	echo "== the same as an ordinary user"
	wait
	cat build/functional_user.log
fi
for slice in ${MSB_LONG:+fuzz} ${MSB_SLICE:-}; do
	echo "== slice $slice"
	bash scripts/long.sh "$slice" | tee build/long.log
	results+=("$(tail -n 1 build/long.log)")
done
exec /usr/bin/python3 scripts/sum_results.py "${results[@]}"
