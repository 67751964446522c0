#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check_as_user.sh JUNIT.xml [PYTEST ARGS]: the functional tests as an ordinary user: not root, no group of /dev/kvm, a
# HOME of its own, nothing but a copy of the programs, the guest kernel and the tests. Run it as root; line 01.6.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
junit=$(readlink -f "$1")
shift
uid=12345
top=$(mktemp -d /tmp/msb-user.XXXXXX)
trap 'rm -rf "$top"' EXIT
mkdir -p "$top/build" "$top/home/.cache/microsandbox/tests" "$top/tmp"
cp -r tests "$top/"
cp build/msb build/msb-image build/msb-registry "$top/build/"
cp "$(kernel/build.sh --path)" "$top/vmlinux"
# mmdebstrap and buildah want subordinate ids, which this user has not: their archives are root's.
cp -r "$(bash tests/images/python.sh)" "$(bash tests/images/buildah.sh)" "$top/home/.cache/microsandbox/tests/"
chmod -R a+rX "$top"
chown -R "$uid:$uid" "$top/home" "$top/tmp"
status=0
cd "$top"
setpriv --reuid "$uid" --regid "$uid" --clear-groups env -i PATH="$PATH" HOME="$top/home" TMPDIR="$top/tmp" \
	MSB_LONG="${MSB_LONG:-}" MSB_LIBKRUNFW_PATH="$top/vmlinux" /usr/bin/python3 -m pytest -v -p no:cacheprovider \
	--junitxml="$top/tmp/junit.xml" tests/functional "$@" || status=$?
cp "$top/tmp/junit.xml" "$junit"
exit "$status"
