#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh [RUNS]: where the time of "msb run -- echo hi" goes, in three tables:
#   1. KVM, counted: in the rig one instruction takes 1 ns, so the figures are the same on every machine (tests/rig/rig)
#   2. this machine's back end, wall time, beside a bare QEMU that boots the same kernel to its init
#   3. memory of msb's own processes (PSS) beyond the guest's, on KVM
# Lines "ok" and "not ok" say which limits of the issue are kept. MSB_BUILD=DIR measures another build.
set -euo pipefail
top=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd)
runs=${1:-7}
build=${MSB_BUILD:-$top/build}
work=$(mktemp -d "${TMPDIR:-/tmp}/msb-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
bash "$top/tests/images/busybox.sh" "$work/image.tar" >/dev/null 2>&1
kernel=$("$top/kernel/build.sh" --path)
cc -O2 -o "$work/launch" "$top/tests/bench/launch.c"

# Everything a run reads lies in memory, as it does in a warm page cache.
cat > "$work/runs.sh" <<END
set -e
m=\$1; shift; d=\$(mktemp -d /dev/shm/msb-bench.XXXXXX)
trap 'rm -rf "\$d"' EXIT
cp "$kernel" "\$d/vmlinux"
export MSB_HOME=\$d/home MSB_LIBKRUNFW_PATH=\$d/vmlinux
cp "$build/msb" "$build/msb-image" "$build/msb-gateway" "\$d/"
"\$d/msb" load -q -i "$work/image.tar" -t localhost/bench:1 >/dev/null
for i in 0 1; do "\$d/msb" run -q -m "\$m" localhost/bench:1 -- true; done
for i in \$(seq 10 $((runs + 9))); do
	MSB_TIMELINE=\$d/t\$i "$work/launch" "\$d/t\$i" "\$d/msb" run -q -m "\$m" localhost/bench:1 -- echo hi >/dev/null
done
python3 "$top/tests/bench/table.py" "\$@" "\$d"/t??
[ -z "\${KEEP:-}" ] || cp "\$d"/t?? "\$KEEP/"
END

# PSS of the CLI, the supervisor and the monitor while the guest sleeps.
cat > "$work/memory.sh" <<END
set -e
d=\$(mktemp -d /dev/shm/msb-bench.XXXXXX)
trap 'rm -rf "\$d"' EXIT
export MSB_HOME=\$d/home MSB_LIBKRUNFW_PATH=$kernel
"$build/msb" load -q -i "$work/image.tar" -t localhost/bench:1 >/dev/null
exec 3< <("$build/msb" run -q -m 256M localhost/bench:1 -- sh -c 'echo up; sleep 20' & echo \$!; wait)
read -r pid <&3; read -r up <&3
python3 "$top/tests/bench/pss.py" "\$pid" 12
kill "\$pid"
cat <&3 >/dev/null
END

limits=(--limit boot=80 --limit output=120 --limit exit=140)
for memory in 256M 512M; do
	echo "KVM, counted (1 instruction = 1 ns), -m $memory:"
	"$top/tests/rig/rig" --count --timeout 300 -- bash "$work/runs.sh" "$memory" "${limits[@]}"
	limits=() # they are for 256M
	echo
done
echo "Memory of msb's processes on KVM, beyond the guest's 256 MiB:"
"$top/tests/rig/rig" --timeout 120 -- bash "$work/memory.sh"
echo
"$build/msb" doctor 2>&1 | grep -A1 KVM || true
for memory in 512M 256M; do
	echo "This machine, wall time, -m $memory:"
	bash "$work/runs.sh" "$memory"
done
echo
MSB_HYPERVISOR=qemu KEEP=$work bash "$work/runs.sh" 256M >/dev/null
python3 "$top/tests/bench/bare_qemu.py" "$kernel" "$runs" "$work"/t??
