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
results=("$static" build/meson-logs/testlog.json)
# shard N/COUNT: this part of the functional tests, in a mount namespace with a /dev/shm of its own where that is allowed,
# so that none takes what another leaves for its own.
own=(unshare --mount --propagation private sh -c 'mount -t tmpfs -o mode=1777 tmpfs /dev/shm && exec "$@"' sh)
"${own[@]}" true 2>/dev/null || own=()
shard() {
	MSB_SHARD=$1 "${own[@]}" /usr/bin/python3 -m pytest -v -p no:cacheprovider --durations=10 \
		--junitxml="build/functional-${1%/*}.xml" tests/functional "${@:2}"
}
rm -f build/functional-*.xml build/functional_user.xml
if [ "$(id -u)" = 0 ]; then
	# Line 01.6, at the sizes of make check. Of an ordinary user the other tests are that already. The rig's tests are the
	# same for everybody, one is root inside, and others do not depend on the user (MSB_ONCE, conftest.py): they are not
	# run twice. A guest uses one CPU, and many tests wait: three parts fit side by side.
	MSB_LONG='' MSB_ONCE=1 bash scripts/check_as_user.sh build/functional_user.xml -m "not rig" "$@" >build/functional_user.log 2>&1 &
	shard 2/2 "$@" >build/functional-2.log 2>&1 &
	shard 1/2 "$@"
	echo "== the second half"
	wait
	cat build/functional-2.log
	echo "== the same as an ordinary user"
	cat build/functional_user.log
	results+=(build/functional-1.xml build/functional-2.xml build/functional_user.xml)
else
	shard 1/1 "$@" || true
	results+=(build/functional-1.xml)
fi
for slice in ${MSB_LONG:+fuzz} ${MSB_SLICE:-}; do
	echo "== slice $slice"
	bash scripts/long.sh "$slice" | tee build/long.log
	results+=("$(tail -n 1 build/long.log)")
done
exec /usr/bin/python3 scripts/sum_results.py "${results[@]}"
