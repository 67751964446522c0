#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# show.sh 01.3: run what belongs to one line of an issue, show what it did, and say how it went in the last line:
# "01.3 passed" or "01.3 failed: why". 01.speed: the benchmark against its limits. 01.bad, 02.bad: bad input. MSB_LONG=1:
# full sizes.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.." || exit 1
line=${1:-}
results=build/show-$line
files=("$results.xml")
parsers=(tar tar_reader layer_writer tree erofs index frame_file reference registry_parse registry_config fuzz_bundle
	fuzz_layer fuzz_erofs fuzz_index fuzz_frame_file fuzz_record fuzz_reference fuzz_registry) # of images and registries
case $line in
01.speed)
	bash tests/bench/run.sh 2>&1 | tee "$results.log"
	grep -E '^(not )?ok ' "$results.log" > "$results.txt"
	exec /usr/bin/python3 scripts/sum_results.py --line "$line" "$results.txt" ;;
02.speed)
	/usr/bin/python3 tests/bench/pull.py 2>&1 | tee "$results.log"
	grep -E '^(not )?ok ' "$results.log" > "$results.txt"
	exec /usr/bin/python3 scripts/sum_results.py --line "$line" "$results.txt" ;;
03.speed)
	bash tests/bench/lifecycle.sh 2>&1 | tee "$results.log"
	grep -E '^(not )?ok ' "$results.log" > "$results.txt"
	exec /usr/bin/python3 scripts/sum_results.py --line "$line" "$results.txt" ;;
04.speed)
	bash scripts/packages.sh install bench
	/usr/bin/python3 tests/bench/net.py 2>&1 | tee "$results.log"
	grep -E '^(not )?ok ' "$results.log" > "$results.txt"
	exec /usr/bin/python3 scripts/sum_results.py --line "$line" "$results.txt" ;;
01.6)
	rm -f "$results.xml"
	bash scripts/check_as_user.sh "$results.xml" -s
	exec /usr/bin/python3 scripts/sum_results.py --line "$line" "$results.xml" ;;
04.1)
	meson test -C build --no-rebuild --print-errorlogs packet tcp tcp_link tcp_loss tcp_rules fuzz_gateway fuzz_tcp fuzz_sni
	marker=show_04_1 files+=(build/meson-logs/testlog.json) ;;
04.2) marker="show_04_2 or show_04_guest" ;;
01.bad) marker=bad_input ;;
02.bad)
	meson test -C build --no-rebuild --print-errorlogs "${parsers[@]}"
	marker=show_02_bad files+=(build/meson-logs/testlog.json) ;;
[0-9][0-9].[0-9]*) marker=show_${line/./_} ;;
*) echo "usage: make show N=LINE, where LINE is 01.1 to 01.6, 01.speed, 01.bad, 02.1 to 02.5, 02.speed, 02.bad, 03.1 to 03.9, 03.speed, 04.1 to 04.4, 04.6 or 04.speed" >&2; exit 2 ;;
esac
rm -f "$results.xml"
/usr/bin/python3 -m pytest -v -s -p no:cacheprovider -m "$marker" --junitxml="$results.xml" tests/functional
exec /usr/bin/python3 scripts/sum_results.py --line "$line" "${files[@]}"
