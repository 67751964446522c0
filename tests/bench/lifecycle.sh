#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# lifecycle.sh: what commands on sandboxes that stay take, counted on KVM in the rig (one instruction takes 1 ns), beside E, an
# empty static program started in the same loop. Lines "ok" and "not ok" say which limits of issue 03 are kept.
set -euo pipefail
top=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd)
build=${MSB_BUILD:-$top/build}
work=$(mktemp -d "${TMPDIR:-/tmp}/msb-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
bash "$top/tests/images/busybox.sh" "$work/image.tar" >/dev/null 2>&1
kernel=$("$top/kernel/build.sh" --path)
cc -O2 -o "$work/launch" "$top/tests/bench/launch.c"
printf 'int main(void) { return 0; }\n' > "$work/empty.c"
cc -O2 -static -o "$work/empty" "$work/empty.c"

cat > "$work/inside.sh" <<END
set -e
d=\$(mktemp -d /dev/shm/msb-bench.XXXXXX)
trap 'rm -rf "\$d"' EXIT
cp "$kernel" "\$d/vmlinux"
export MSB_HOME=\$d/home MSB_LIBKRUNFW_PATH=\$d/vmlinux
cp "$build/msb" "$build/msb-image" "$build/msb-gateway" "$work/empty" "$work/launch" "\$d/"
msb=\$d/msb
\$msb load -q -i "$work/image.tar" -t localhost/bench:1 >/dev/null
# time NAME COMMAND...: the shortest of so many, in us
took() { awk '\$2 == "exec" { s = \$1 } \$2 == "exit" { d = (\$1 - s) / 1000; if (!m || d < m) m = d } END { printf "%d\n", m }' "\$1"; }
measure() { local name=\$1 i; shift; : > "\$d/t"; for i in 1 2 3 4 5; do "\$d/launch" "\$d/t" "\$@" >/dev/null </dev/null; done; echo "\$name \$(took "\$d/t")"; }
measure E "\$d/empty"
measure version \$msb --version
\$msb create -q --name one -m 256M localhost/bench:1
measure exec \$msb exec one -- true
for i in 1 2 3; do
	: > "\$d/t"; "\$d/launch" "\$d/t" \$msb stop -q one; echo "stop \$(took "\$d/t")"
	: > "\$d/t"; "\$d/launch" "\$d/t" \$msb start -q one; echo "start \$(took "\$d/t")"
done
\$msb stop -q one
python3 - "\$d/home" <<'P'
import os, sqlite3, sys
home = sys.argv[1]
db = sqlite3.connect(home + "/db/msb.db")
row = list(db.execute("select * from sandbox").fetchone())
text = open(home + "/sandboxes/one/sandbox.json").read()
for i in range(1, 100):
    name = f"more{i}"
    os.mkdir(f"{home}/sandboxes/{name}", 0o700)
    row[0], row[2] = name, text.replace('"one"', f'"{name}"')
    open(f"{home}/sandboxes/{name}/sandbox.json", "w").write(row[2])
    open(f"{home}/sandboxes/{name}/lock", "w").close()
    db.execute("insert into sandbox values (" + ",".join("?" * len(row)) + ")", row)
db.commit()
P
measure ls \$msb ls
END
"$top/tests/rig/rig" --count --timeout 500 -- bash "$work/inside.sh" | tee "$work/said"

# limit NAME LIMIT_MS [BEYOND_E]
limit() {
	awk -v name="$1" -v limit="$2" -v beyond="${3:-}" '
		$1 == "E" { e = $2 } $1 == name && (!m || $2 < m) { m = $2 }
		END {
			have = (m - (beyond ? e : 0)) / 1000
			printf "%s %s: %.1f ms%s, limit %s\n", m && have <= limit ? "ok" : "not ok", name, have, beyond ? " beyond E" : "", limit
		}' "$work/said"
}
echo
limit version 1 beyond
limit ls 5 beyond
limit exec 8 beyond
limit stop 60
awk '$1 == "start" && (!m || $2 < m) { m = $2 } END { printf "start: %.1f ms\n", m / 1000 }' "$work/said"
