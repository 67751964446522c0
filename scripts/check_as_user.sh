#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check_as_user.sh JUNIT.xml [PYTEST ARGS]: the functional tests as an ordinary user without access to /dev/kvm and with a
# HOME of its own (line 01.6). As root: a user of its own, who sees a copy of programs, tests, caches and a clone, and
# nothing of root's. An ordinary user runs them as himself; who may open /dev/kvm is told so.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
junit=$(readlink -f "$1")
shift
uid=12345
top=$(mktemp -d /tmp/msb-user.XXXXXX)
trap 'rm -rf "$top"; [ -z "$group" ] || rmdir "$group"' EXIT
group=
mkdir -p "$top/build" "$top/home/.cache/microsandbox/tests" "$top/home/.cache/microsandbox/kernel" "$top/tmp"
cp -r tests scripts "$top/"
cp build/msb build/msb-image build/msb-gateway build/msb-registry "$top/build/"
kernel=$(kernel/build.sh --path)
cp -r "$(dirname "$kernel")" "$top/home/.cache/microsandbox/kernel/"
# mmdebstrap and buildah want subordinate ids, which this user has not: their archives are ours, like the rig's kernel.
cp -r "$(bash tests/images/python.sh)" "$(bash tests/images/buildah.sh)" "$(bash tests/images/zoo.sh)" \
	"$(bash tests/images/standins.sh)" "$top/home/.cache/microsandbox/tests/"
rig=${XDG_CACHE_HOME:-$HOME/.cache}/microsandbox/rig
[ ! -d "$rig" ] || cp -r "$rig" "$top/home/.cache/microsandbox/"
printf '[safe]\n\tdirectory = *\n' > "$top/gitconfig" # the tree may be another user's, as in many a container
GIT_CONFIG_GLOBAL=$top/gitconfig git clone -q --bare . "$top/clone.git"
chmod -R a+rX "$top"
as=()
if [ "$(id -u)" = 0 ]; then
	chown -R "$uid:$uid" "$top/home" "$top/tmp" "$top/clone.git"
	as=(setpriv --reuid "$uid" --regid "$uid" --clear-groups)
elif [ -w /dev/kvm ]; then
	echo "note: this user may open /dev/kvm: as root the tests run as one who may not" >&2
fi
# What is left of memory is measured by a control group (tests/functional/leftovers.py), which root has to make.
if [ "$(id -u)" = 0 ] && group=$(cd tests/functional && python3 -Bc 'import leftovers; print(leftovers.memory_group())')/msb-user-$$ &&
	mkdir "$group"; then
	as=(sh -c 'echo $$ > "$0/cgroup.procs" && exec "$@"' "$group" "${as[@]}")
else
	group=
fi
status=0
cd "$top"
"${as[@]}" env -i PATH="$PATH" HOME="$top/home" TMPDIR="$top/tmp" MSB_LONG="${MSB_LONG:-}" MSB_SEED="${MSB_SEED:-}" \
	MSB_ONCE="${MSB_ONCE:-}" MSB_TEST_GROUP="$group" \
	MSB_CLONE="$top/clone.git" /usr/bin/python3 -m pytest -v -p no:cacheprovider --junitxml="$top/tmp/junit.xml" \
	tests/functional "$@" || status=$?
cp "$top/tmp/junit.xml" "$junit"
exit "$status"
