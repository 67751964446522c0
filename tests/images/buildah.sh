#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# buildah.sh: print the folder of docker-archive.tar and oci-archive.tar as buildah writes them, of a working container
# with nothing but busybox. Made once, kept under ~/.cache/microsandbox/tests. Making it needs root or subordinate ids.
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/microsandbox/tests
out=$cache/buildah-$(sha256sum < "$0" | cut -c1-16)
if [ ! -d "$out" ]; then
	mkdir -p "$cache"
	work=$(mktemp -d "$cache/buildah.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
	b() { buildah --root "$work/store" --runroot "$work/run" "$@"; }
	container=$(b from scratch)
	b copy -q "$container" "$(command -v busybox)" /bin/busybox >/dev/null
	b commit -q "$container" localhost/built:1 >/dev/null
	mkdir "$work/out"
	for kind in docker-archive oci-archive; do
		b push -q localhost/built:1 "$kind:$work/out/$kind.tar:localhost/built:1"
	done
	chmod -R a+rX "$work/out"
	mv "$work/out" "$out"
fi
printf '%s\n' "$out"
