#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tools.sh: print the path of an OCI archive of a Debian with what people try a network with: curl, wget, dig, ping, iperf3,
# python3, and what the tests import of it compiled already. It is made once and kept under ~/.cache/microsandbox/tests (by
# the hash of this script without its comments). Needs root or user namespaces.
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/microsandbox/tests
out=$cache/tools-$(grep -v '^#' "$0" | sha256sum | cut -c1-16).tar
if [ ! -s "$out" ]; then
	mkdir -p "$cache"
	work=$(mktemp -d "$cache/tools.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	mmdebstrap -q --variant=extract \
		--include=base-passwd,base-files,dash,coreutils,curl,wget,bind9-dnsutils,iputils-ping,iperf3,python3 \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--customize-hook='chroot "$1" python3 -c "import json, socket, subprocess, threading"' \
		bookworm "$work/layer.tar" >&2
	umoci init --layout "$work/layout"
	umoci new --image "$work/layout:tools"
	umoci raw add-layer --image "$work/layout:tools" "$work/layer.tar"
	umoci config --image "$work/layout:tools" --config.cmd python3 --config.env PATH=/usr/bin:/bin
	tar -C "$work/layout" -cf "$work/out.tar" .
	mv "$work/out.tar" "$out"
fi
printf '%s\n' "$out"
