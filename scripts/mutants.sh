#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# mutants.sh [LINE]: do the tests notice? Each patch of tests/mutants/ breaks the product in one place; its name begins
# with the line of the issue whose tests must fail then, its head says which: "Test: pytest ARGS" (tests/functional),
# "Test: user ARGS" (the same as an ordinary user) or "Test: unit NAME". In a copy of the tree the test must pass without
# the patch and fail with it. The last line is "N caught, N missed".
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.." || exit 1
top=$PWD
work=$(mktemp -d "${TMPDIR:-/tmp}/msb-mutants.XXXXXX")
trap 'rm -rf "$work"' EXIT
log=$work/log tree=$work/tree
mkdir "$tree"
git -c safe.directory='*' ls-files -z -co --exclude-standard | xargs -0 tar -cf - 2>/dev/null | tar -C "$tree" -xf -
cd "$tree" || exit 1
as_msb=(-c user.name=msb -c user.email=msb@localhost -c commit.gpgsign=false)
commit() { git add -A && git "${as_msb[@]}" commit -q --allow-empty -m "$1"; }
git init -q . && commit base && git tag base
build() { { [ -f build/build.ninja ] || meson setup build; } >"$log" 2>&1 && ninja -C build >>"$log" 2>&1; }

# A broken msb may leave processes behind: where that is allowed they end with a PID namespace.
contained=(unshare --pid --fork --kill-child --mount-proc)
"${contained[@]}" true 2>/dev/null || contained=()

# run_test - KIND ARGS: 0 when it passed, 1 when it failed; anything else is no answer (timeout, no such test).
run_test() {
	local kind=$1 args=() rc=0
	eval "args=($2)"
	case $kind in
	unit) meson test -C build --no-rebuild "${args[@]}" ;;
	pytest) "${contained[@]}" timeout 600 /usr/bin/python3 -m pytest -x -p no:cacheprovider tests/functional "${args[@]}" ;;
	user) "${contained[@]}" timeout 600 bash scripts/check_as_user.sh "$work/junit.xml" -x "${args[@]}" ;;
	*) return 3 ;;
	esac >"$log" 2>&1 </dev/null || rc=$?
	[ "$kind" != unit ] || [ "$rc" = 0 ] || rc=1
	return "$rc"
}

# try - PATCH: print how it went. Return: 0 when it was caught.
declare -A sound
try() {
	local kind args rc=0
	read -r kind args < <(sed -n 's/^Test: //p' "$1")
	if [ -z "${sound[$kind $args]:-}" ]; then
		build && run_test "$kind" "$args" || { echo "its test fails without it: $kind $args"; return 1; }
		sound[$kind $args]=yes
	fi
	patch -s -p1 --no-backup-if-mismatch -r - < "$1" >"$log" 2>&1 || { echo "does not apply"; return 1; }
	commit mutant # the newcomer's tests clone it
	build || { echo "does not build"; return 1; }
	run_test "$kind" "$args" || rc=$?
	[ "$rc" != 0 ] || { echo "NOT CAUGHT by $kind $args"; return 1; }
	[ "$rc" = 1 ] || { echo "no answer: status $rc of $kind $args"; return 1; }
	echo caught
}

caught=0 missed=0
for patch in "$top"/tests/mutants/"${1:-}"*.patch; do
	[ -e "$patch" ] || { echo "no mutant for ${1:-any line}"; missed=1; break; }
	start=$SECONDS
	printf '%s: ' "$(basename "$patch" .patch)"
	if try "$patch" > "$work/said"; then caught=$((caught + 1)); else missed=$((missed + 1)); fi
	echo "$(cat "$work/said") ($((SECONDS - start)) s)"
	[ "$(cat "$work/said")" = caught ] || tail -n 15 "$log" | sed 's/^/    /'
	git reset -q --hard && git clean -q -fd
	git checkout -q --detach base
done
echo "$caught caught, $missed missed"
[ "$missed" = 0 ]
