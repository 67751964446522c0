#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The one list of Debian packages: packages.sh build|test prints names; packages.sh install build [test] installs.
set -euo pipefail
build="build-essential meson ninja-build pkg-config python3 musl-tools libssl-dev libjansson-dev
	libcurl4-openssl-dev zlib1g-dev libzstd-dev libcmocka-dev e2fsprogs qemu-system-x86
	linux-source-6.12 flex bison bc libelf-dev xz-utils patch util-linux"
test="python3-pytest mmdebstrap cpio kmod umoci skopeo buildah busybox-static erofs-utils clang libclang-rt-14-dev procps
	docker-registry apache2-utils openssl iproute2"
list() { for set in "$@"; do case $set in build) echo $build ;; test) echo $test ;; esac; done; }
if [ "${1:-}" != install ]; then list "$@"; exit; fi
shift
missing=
for p in $(list "$@"); do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
sudo=
if [ "$(id -u)" != 0 ]; then
	if sudo -n true 2>/dev/null; then sudo=sudo; else
		echo "error: these packages are needed:$missing" >&2
		echo "  → ask for them, as root: apt-get install --no-install-recommends$missing" >&2
		exit 1
	fi
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
echo "packages: reading the lists"
$sudo apt-get update -qq </dev/null
# One line in three seconds at most: neither silence nor a page per package.
$sudo apt-get install -y -q --no-install-recommends $missing </dev/null | awk '
	{ now = systime(); if (now - last >= 3) { last = now; print "packages: " substr($0, 1, 80); fflush() } }'
