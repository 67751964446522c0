#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Build every fuzz target: tests/fuzz/build.sh OUTDIR
# A target names its sources in comments at its top: // sources: src/virtio/queue.c ...
# and libraries it needs besides: // libs: -lz
set -eu
out=${1:?usage: build.sh OUTDIR}
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$out"
out=$(cd "$out" && pwd)
cc=${FUZZ_CC:-clang-14}
cd "$root"
for target in tests/fuzz/fuzz_*.c; do
	name=$(basename "$target" .c)
	sources=$(sed -n 's|^// sources: *||p' "$target")
	libs=$(sed -n 's|^// libs: *||p' "$target")
	# shellcheck disable=SC2086 # lists of words
	"$cc" -std=gnu17 -D_GNU_SOURCE -DMSB_VERSION='"fuzz"' -g -O1 \
		-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
		-Wall -Wextra -Isrc -Itests/unit "$target" $sources -o "$out/$name" -lpthread $libs
	echo "$out/$name"
done
