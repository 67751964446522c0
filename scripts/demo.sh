#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a fresh clone to commands running in a microVM. Writes to the clone, ~/.cache and MSB_HOME only.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
image=localhost/msb-demo:1
say() { printf '\n== %s\n' "$*"; }
guest() { build/msb run "$image" -- "$@"; }
row() { printf '%-14s %-40s %s\n' "$1" "$2" "$3"; }
say "packages"
bash scripts/packages.sh install build demo
say "build (the guest kernel only the first time: about 5 to 9 minutes)"
make -s all
say "a small OCI image from Debian's busybox-static"
work=$(mktemp -d "${TMPDIR:-/tmp}/msb-demo.XXXXXX")
trap 'rm -rf "$work"' EXIT
bash tests/images/busybox.sh "$work/demo.tar" >/dev/null
build/msb load -i "$work/demo.tar" -t "$image"
say "which back end runs it, and why"
build/msb doctor
if [ -n "${MSB_HYPERVISOR:-}" ]; then why="MSB_HYPERVISOR=$MSB_HYPERVISOR"; else why=$(build/msb doctor | sed -n 's/^  . KVM  *//p'); fi
case ${MSB_HYPERVISOR:-auto}:$why in
kvm:*|auto:usable) echo "ran on: KVM, because KVM is $why" ;;
*) echo "ran on: QEMU's software CPU, because $why" ;;
esac
say "side by side"
row "" host guest
row "uname -r" "$(uname -r)" "$(guest uname -r)"
row id "$(id | cut -c1-40)" "$(guest id)"
row "date -u" "$(date -u)" "$(guest date -u)"
row /proc/cmdline "(the guest's:)" "$(guest cat /proc/cmdline)"
say "a download from the guest, over a network of its own"
mirror=deb.debian.org
# By nc, since a static wget cannot look up names; a pipe that does not end, since some servers hang up on who does.
download="a=\$(nslookup -type=a $mirror | sed -n 's/^Address: //p' | head -n 1); [ -n \"\$a\" ] || exit 1
	mkfifo /tmp/request && exec 3<>/tmp/request
	printf 'GET /debian/dists/stable/Release HTTP/1.1\r\nHost: $mirror\r\nConnection: close\r\n\r\n' >&3
	nc -w 10 \"\$a\" 80 <&3 | grep -m 1 ^Origin"
address=$(getent ahostsv4 "$mirror" | head -n 1 | cut -d' ' -f1) || true
if [ -z "$address" ]; then
	echo "left out: this machine does not find $mirror"
elif guest sh -c "$download"; then
	echo "from $mirror ($address), by the default rules: the public internet and nothing else"
else
	echo "refused by the default rules: $mirror is at $address here, which is no public address; so by others:"
	build/msb run --net all --no-dns-rebind-protection "$image" -- sh -c "$download" || echo "left out: $mirror does not answer"
fi
say "now try: build/msb run $image"
