#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# busybox.sh OUT.tar: an OCI archive of Debian's busybox-static with /etc/passwd, made by umoci and tar.
set -euo pipefail
out=$(readlink -f "$(dirname "$1")")/$(basename "$1")
work=$(mktemp -d "${TMPDIR:-/tmp}/msb-image.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
rootless=
[ "$(id -u)" = 0 ] || rootless=--rootless
umoci init --layout lay
umoci new --image lay:busybox
umoci unpack $rootless --image lay:busybox bundle
root=bundle/rootfs
mkdir -p $root/bin $root/etc $root/root $root/home/user $root/usr/bin $root/var
cp "$(command -v busybox)" $root/bin/busybox
for applet in $($root/bin/busybox --list); do [ -e $root/bin/$applet ] || ln -s busybox $root/bin/$applet; done
ln $root/bin/busybox $root/usr/bin/busybox-link
printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n' > $root/etc/passwd
printf 'root:x:0:\nuser:x:1000:\nextra:x:2000:user\n' > $root/etc/group
umoci repack --image lay:busybox bundle
umoci config --image lay:busybox --config.cmd /bin/sh --config.env IMAGE_VAR=from-image
tar -C lay -cf "$out" .
