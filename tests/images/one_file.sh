#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# one_file.sh OUT.tar: a docker-archive whose only file is a static program, /hello. No shell, no passwd, no /tmp.
set -euo pipefail
out=$(readlink -f "$(dirname "$1")")/$(basename "$1")
work=$(mktemp -d "${TMPDIR:-/tmp}/msb-image.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir root
printf '#include <unistd.h>\nint main(void)\n{\n\treturn write(1, "hello\\n", 6) != 6;\n}\n' > hello.c
musl-gcc -static -Os -s -o root/hello hello.c
tar -C root --owner=0 --group=0 -cf layer.tar hello
digest=$(sha256sum < layer.tar | cut -c1-64)
printf '{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/hello"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
	"$digest" > config.json
printf '[{"Config":"config.json","RepoTags":["localhost/hello:1"],"Layers":["layer.tar"]}]' > manifest.json
tar -cf "$out" manifest.json config.json layer.tar
