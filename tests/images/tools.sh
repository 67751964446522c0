#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tools.sh: print the path of an OCI archive of a Debian with what people try a network with, and what the tests import of
# python3 compiled already.
set -euo pipefail
. "$(dirname "$0")/debian_tar.sh"
debian_tar tools coreutils,curl,wget,bind9-dnsutils,iputils-ping,iperf3,python3 \
	--customize-hook='chroot "$1" python3 -c "import json, socket, subprocess, threading"'
