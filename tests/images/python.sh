#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# python.sh: print the path of an OCI archive of a small Debian with python3.
set -euo pipefail
. "$(dirname "$0")/debian_tar.sh"
debian_tar python python3-minimal
