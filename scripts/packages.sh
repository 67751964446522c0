#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The one list of Debian packages: packages.sh list|install build|demo|test|bench...: print or install them.
set -euo pipefail
build="build-essential meson ninja-build pkg-config python3 musl-tools libssl-dev libjansson-dev
	libcurl4-openssl-dev libsqlite3-dev zlib1g-dev libzstd-dev libcmocka-dev e2fsprogs qemu-system-x86
	linux-source-6.12 flex bison bc libelf-dev xz-utils patch util-linux"
demo="umoci busybox-static"
test="$demo git python3-pytest mmdebstrap uidmap cpio kmod skopeo buildah erofs-utils qemu-utils clang libclang-rt-14-dev
	procps docker-registry apache2-utils openssl iproute2 zsh fish man-db tmux curl python3-dnspython
	dnsmasq-base bind9-dnsutils iputils-ping iperf3 nftables
	nginx-light wrk"
bench="slirp4netns passt qperf"
list() { for set in "$@"; do case $set in build) echo $build ;; demo) echo $demo ;; test) echo $test ;; bench) echo $bench ;; esac; done; }
case ${1:-} in
install) shift ;;
list) shift; list "$@"; exit ;;
*) echo "usage: packages.sh list|install build|demo|test|bench..." >&2; exit 2 ;;
esac
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
# Neither silence nor a page per package: a line in 3 to 6 seconds, and every error.
progress() {
	local line rc last=-9
	while :; do
		rc=0
		IFS= read -r -t 6 line || rc=$?
		if [ "$rc" -gt 128 ]; then line="still at it, $SECONDS s"; elif [ "$rc" -ne 0 ]; then break; fi
		case $line in E:*|Err:*|"still at it"*) last=-9 ;; esac
		[ $((SECONDS - last)) -lt 3 ] || { last=$SECONDS; echo "packages: ${line:0:100}"; }
	done
}
{
	$sudo apt-get update -q
	$sudo apt-get install -y -q --no-install-recommends $missing
} </dev/null 2>&1 | progress
