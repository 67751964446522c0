#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# show.sh 01.3: run the functional tests of one "Must show" line and say how it went.
cd "$(dirname "$(readlink -f "$0")")/.." || exit 1
line=${1:-}
case $line in [0-9][0-9].[0-9]*) ;; *) echo "usage: make show N=01.3" >&2; exit 2 ;; esac
if /usr/bin/python3 -m pytest -v -p no:cacheprovider -m "show_${line/./_}" tests/functional; then
	echo "$line passed"
else
	echo "$line failed: see above"
	exit 1
fi
