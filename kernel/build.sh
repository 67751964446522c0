#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Build the guest kernel once per machine and print the path of its ELF image (vmlinux) on standard output.
#
#   kernel/build.sh             build unless cached; progress on standard error
#   kernel/build.sh --path      print the cache path, built or not; exit status 1 when it is not built
#
# Source: Debian's package linux-source-6.12; on other distributions set KERNEL_TARBALL to a tarball of any
# linux 6.12.x. The result is kept under ${XDG_CACHE_HOME:-~/.cache}/microsandbox/kernel/<hash>/, where the hash
# is taken over the source tarball, kernel/guest.config, the patches and this script. The build tree (1.9 GB) is
# made beside it and removed when the build ends, however it ends.
set -euo pipefail
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
say() { printf 'kernel: %s\n' "$*" >&2; }
die() { printf 'kernel: error: %s\n' "$1" >&2; [ $# -lt 2 ] || printf '  → %s\n' "$2" >&2; exit 1; }

tarball=${KERNEL_TARBALL:-/usr/src/linux-source-6.12.tar.xz}
[ -r "$tarball" ] || die "kernel source $tarball not found" \
	"apt-get install linux-source-6.12, or set KERNEL_TARBALL=/path/to/linux-6.12.x.tar.xz"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/microsandbox/kernel
mkdir -p "$cache"

# The tarball's digest is remembered by path, size and time: hashing 150 MB on each call would be noticed.
stamp=$(stat -Lc '%n %s %Y' "$tarball" | sha256sum | cut -c1-16)
if [ ! -s "$cache/source-$stamp" ]; then
	sha256sum < "$tarball" | cut -c1-64 > "$cache/source-$stamp.$$"
	mv "$cache/source-$stamp.$$" "$cache/source-$stamp"
fi
hash=$({ cat "$cache/source-$stamp"; cat "$here/guest.config" "$here"/patches/*.patch "$here/build.sh"; } \
	| sha256sum | cut -c1-16)
out=$cache/$hash/vmlinux
if [ "${1:-}" = --path ]; then printf '%s\n' "$out"; [ -s "$out" ]; exit; fi
if [ -s "$out" ]; then printf '%s\n' "$out"; exit 0; fi

for tool in gcc make flex bison bc xz patch flock; do
	command -v "$tool" >/dev/null || die "$tool is needed to build the guest kernel" "apt-get install build-essential flex bison bc xz-utils patch libelf-dev"
done

# One builder at a time; who waits finds the result.
exec 9> "$cache/lock"
flock -n 9 || { say "another build is running, waiting for it"; flock 9; }
if [ -s "$out" ]; then printf '%s\n' "$out"; exit 0; fi

free_mib=$(df -Pm "$cache" | awk 'NR==2{print $4}')
[ "$free_mib" -ge 2600 ] || die "$cache has $free_mib MiB free, the build needs 2600 (1.9 GB of it only while building)"
rm -rf "$cache"/build.*
tree=$(mktemp -d "$cache/build.XXXXXX")
trap 'rm -rf "$tree"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "unpacking $(basename "$tarball") (the build takes about 9 minutes on 2 cores and 1.9 GB of disk, both only once)"
tar -C "$tree" --strip-components=1 --checkpoint=15000 --checkpoint-action='exec=echo kernel: unpacking >&2' -xf "$tarball"
cd "$tree"
for p in "$here"/patches/*.patch; do
	patch -s -p1 < "$p" || die "$(basename "$p") does not apply to $(basename "$tarball")" "msb needs linux 6.12.x"
done
# A caller's "make -s" must not silence the lines that progress is counted from.
unset MAKEFLAGS MFLAGS MAKELEVEL
# Same bytes on every machine that has the same compiler.
export KBUILD_BUILD_TIMESTAMP='1970-01-01 00:00:00 UTC' KBUILD_BUILD_USER=msb KBUILD_BUILD_HOST=msb KBUILD_BUILD_VERSION=1
make -s KCONFIG_ALLCONFIG="$here/guest.config" allnoconfig >&2
# An option that the kernel dropped (renamed, or a dependency missing) must not go unnoticed.
missing=$(grep -E '^CONFIG_[A-Z0-9_]+=' "$here/guest.config" | grep -v '=n$' | while read -r line; do
	grep -qxF "$line" .config || printf '%s ' "${line%%=*}"; done)
[ -z "$missing" ] || die "options not accepted by this kernel source: $missing"

jobs=${KERNEL_JOBS:-$(nproc)}
say "building linux $(make -s kernelversion) with $jobs jobs"
log=$cache/build.log
total=1750 # objects of this configuration, for the percentage only
start=$SECONDS
set +e
nice make -j"$jobs" KCFLAGS=-pipe vmlinux 2>&1 | tee "$log" | awk -v total=$total '
	/^ +(CC|AS|LD|AR|HOSTCC) / { n++; now = systime(); if (now - last >= 5) { last = now
		pct = int(n * 100 / total); if (pct > 99) pct = 99
		printf "kernel: %3d %%  %s\n", pct, $2; fflush() } }
	/error:|Error [0-9]/ { print "kernel: " $0; fflush() }' >&2
rc=${PIPESTATUS[0]}
set -e
[ "$rc" -eq 0 ] || die "make failed with status $rc; the whole output is in $log"
mkdir -p "$cache/$hash"
cp .config "$cache/$hash/config"
make -s kernelrelease > "$cache/$hash/release"
strip -s -o "$cache/$hash/vmlinux.$$" vmlinux
mv "$cache/$hash/vmlinux.$$" "$out"
say "done in $(( (SECONDS - start) / 60 )) min $(( (SECONDS - start) % 60 )) s: $(du -h "$out" | cut -f1) in $out"
printf '%s\n' "$out"
