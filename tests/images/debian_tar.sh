# SPDX-License-Identifier: Apache-2.0
# For scripts beside it: debian_tar NAME PACKAGES [MMDEBSTRAP OPTIONS]: print the path of an OCI archive (tag NAME, command python3) of a
# Debian with these packages and without documentation, made by mmdebstrap, umoci and tar. It is made once and kept under
# ~/.cache/microsandbox/tests, by the hash of all this. Needs root or user namespaces.
debian_tar() {
	local name=$1 packages=$2 cache out dir
	shift 2
	cache=${XDG_CACHE_HOME:-$HOME/.cache}/microsandbox/tests
	out=$cache/$name-$({ declare -f debian_tar; printf '%s\n' "$name" "$packages" "$@"; } | sha256sum | cut -c1-16).tar
	if [ ! -s "$out" ]; then
		mkdir -p "$cache"
		dir=$(mktemp -d -p "$cache")
		(
			trap 'rm -rf "$dir"' EXIT
			mmdebstrap -q --variant=extract --include="base-passwd,base-files,dash,$packages" \
				--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
				--dpkgopt='path-exclude=/usr/share/man/*' "$@" bookworm "$dir/layer.tar" >&2
			umoci init --layout "$dir/layout"
			umoci new --image "$dir/layout:$name"
			umoci raw add-layer --image "$dir/layout:$name" "$dir/layer.tar"
			umoci config --image "$dir/layout:$name" --config.cmd python3 --config.env PATH=/usr/bin:/bin
			tar -C "$dir/layout" -cf "$dir/out.tar" .
			mv "$dir/out.tar" "$out"
		)
	fi
	printf '%s\n' "$out"
}
