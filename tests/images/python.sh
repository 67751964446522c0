#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# python.sh: print the path of an OCI archive of a small Debian with python3, made by mmdebstrap, umoci and tar.
# It is made once and kept under ~/.cache/microsandbox/tests (by the hash of this script). Needs root or user namespaces.
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/microsandbox/tests
out=$cache/python-$(sha256sum < "$0" | cut -c1-16).tar
if [ ! -s "$out" ]; then
	mkdir -p "$cache"
	work=$(mktemp -d "$cache/python.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	mmdebstrap -q --variant=extract --include=python3-minimal,base-passwd,base-files,dash \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		bookworm "$work/layer.tar" >&2
	umoci init --layout "$work/layout"
	umoci new --image "$work/layout:python"
	umoci raw add-layer --image "$work/layout:python" "$work/layer.tar"
	umoci config --image "$work/layout:python" --config.cmd python3 --config.env PATH=/usr/bin:/bin
	tar -C "$work/layout" -cf "$work/out.tar" .
	mv "$work/out.tar" "$out"
fi
printf '%s\n' "$out"
