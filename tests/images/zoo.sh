#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# zoo.sh [FILES [SEED]]: print the folder of the zoo (zoo.py) with umoci.list in it, the listing of the tree that umoci unpacks,
# and unpacking, the seconds between which it did. Made once, kept under ~/.cache/microsandbox/tests. Making it needs root.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/microsandbox/tests
out=$cache/zoo-${1:-5000}-${2:-1}-$(cat "$here"/{zoo.sh,zoo.py,tars.py,lister.c} | sha256sum | cut -c1-16)
if [ ! -d "$out" ]; then
	mkdir -p "$cache"
	work=$(mktemp -d "$cache/zoo.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	/usr/bin/python3 "$here/zoo.py" "$work/zoo" "${1:-5000}" "${2:-1}" >&2
	from=$(date +%s)
	umoci raw unpack --image "$work/zoo/umoci:zoo" "$work/tree" >&2
	printf '%s %s\n' "$from" "$(date +%s)" > "$work/zoo/unpacking"
	"$work/zoo/lister" "$work/tree" > "$work/zoo/umoci.list"
	rm -rf "$work/zoo/umoci" "$work/zoo/foreign"
	chmod -R a+rX "$work/zoo"
	mv "$work/zoo" "$out"
fi
printf '%s\n' "$out"
