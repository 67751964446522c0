#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# standins.sh: print the folder of python.tar, node.tar and alpine.tar, docker archives of python:3.12, node:22 and
# alpine:latest. They are stand-ins made from Debian's packages (python3, nodejs, busybox-static), with the names that
# people type; where Docker Hub is out of reach, a registry with these plays its mirror. Made once, kept under
# ~/.cache/microsandbox/tests. Needs root or user namespaces.
# standins.sh run -- COMMAND: the same, and COMMAND with an MSB_HOME whose config.json names that registry, as in
#     bash tests/images/standins.sh run -- build/msb run python:3.12 -- python -c "print('hello from sandbox')"
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
if [ "${1:-}" = run ]; then
	[ "${2:-}" = -- ] && shift
	shift
	exec /usr/bin/python3 "$here/standins.py" run "$(bash "$0")" "$@"
fi
cache=${XDG_CACHE_HOME:-$HOME/.cache}/microsandbox/tests
out=$cache/standins-$(cat "$here"/{standins.sh,standins.py,tars.py} | sha256sum | cut -c1-16)
if [ ! -d "$out" ]; then
	mkdir -p "$cache"
	work=$(mktemp -d "$cache/standins.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	for image in python:python3 node:nodejs; do
		mmdebstrap -q --variant=extract --include="${image#*:},base-passwd,base-files,dash,coreutils" \
			--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
			--dpkgopt='path-exclude=/usr/share/man/*' bookworm "$work/${image%:*}.layer.tar" >&2
	done
	mkdir "$work/out"
	/usr/bin/python3 "$here/standins.py" make "$work" "$work/out" >&2
	chmod -R a+rX "$work/out"
	mv "$work/out" "$out"
fi
printf '%s\n' "$out"
