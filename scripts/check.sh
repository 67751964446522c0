#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Static checks, unit tests, then functional tests on the software CPU. Each static check counts as one test. The last line sums them: N passed, N failed, N skipped.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
static=build/static.txt
: > "$static"
for check in layers size spdx banned; do
	if python3 "tools/check_$check.py"; then echo "ok $check" >> "$static"; else echo "not ok $check" >> "$static"; fi
done
meson test -C build --no-rebuild --print-errorlogs || true
functional=build/functional.xml
rm -f "$functional"
/usr/bin/python3 -m pytest -v -p no:cacheprovider --junitxml="$functional" tests/functional "$@" || true
logs=("$functional")
if [ "$(id -u)" = 0 ]; then
	# Line 01.6. An ordinary user's make check is that already.
	echo "== the same as an ordinary user"
	user=build/functional_user.xml
	rm -f "$user"
	bash scripts/check_as_user.sh "$user" "$@" || true
	logs+=("$user")
fi
/usr/bin/python3 scripts/sum_results.py build/meson-logs/testlog.json "$static" "${logs[@]}"
