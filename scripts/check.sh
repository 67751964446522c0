#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Unit tests, then functional tests on the software CPU. The last line sums them: N passed, N failed, N skipped.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
meson test -C build --no-rebuild --print-errorlogs || true
functional=build/functional.xml
rm -f "$functional"
/usr/bin/python3 -m pytest -q -p no:cacheprovider --junitxml="$functional" tests/functional "$@" || true
/usr/bin/python3 scripts/sum_results.py build/meson-logs/testlog.json "$functional"
