#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Build msb and install it for this user: ~/.microsandbox/bin/msb, the guest kernel, the manual. Run it again
# at will.
#   --no-modify-path   leave the shells' start-up files alone
set -euo pipefail
modify=yes
for a in "$@"; do
	case $a in
	--no-modify-path) modify=no ;;
	-h|--help) sed -n '3,5s/^# //p' "$0"; exit 0 ;;
	*) echo "error: setup.sh: unknown option $a" >&2; exit 2 ;;
	esac
done
cd "$(dirname "$(readlink -f "$0")")/.."
bash scripts/packages.sh install build
make -s all man
home=${MSB_HOME:-$HOME/.microsandbox}
mkdir -p -m 700 "$home"
mkdir -p "$home/bin" "$home/lib" "$home/share/man/man1" # man looks in share/man beside a folder of PATH
put() { cmp -s "$1" "$2" 2>/dev/null || { install -m "$3" "$1" "$2.new"; mv "$2.new" "$2"; echo "installed $2"; }; }
put build/msb "$home/bin/msb" 755
put build/msb-image "$home/bin/msb-image" 755
put build/msb-gateway "$home/bin/msb-gateway" 755
put build/msb-registry "$home/bin/msb-registry" 755
for page in build/man/man1/*.1; do put "$page" "$home/share/man/man1/${page##*/}" 644; done
kernel=$(kernel/build.sh)
release=$(cat "$(dirname "$kernel")/release")
put "$kernel" "$home/lib/libkrunfw-$release.vmlinux" 644
if [ "$modify" = yes ]; then
	line="export PATH=\"$home/bin:\$PATH\" # added by msb setup"
	for rc in "$HOME/.bashrc" "$HOME/.zshrc" "$HOME/.profile"; do
		[ "$rc" = "$HOME/.bashrc" ] || [ -e "$rc" ] || continue
		grep -qF '# added by msb setup' "$rc" 2>/dev/null || { printf '%s\n' "$line" >> "$rc"; echo "PATH line added to $rc"; }
	done
fi
"$home/bin/msb" --version
