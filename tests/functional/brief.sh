#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# brief.sh: type what the project's brief shows, as it stands there, with an msb on PATH and a registry that has the
# images; say for each line how it went: "ok LINE", "not ok LINE: why" or "needs 05 LINE" where an issue is not done.
# Effects are read inside the guest. Run by test_brief.py in an empty folder; MSB_HOME is new.
set -u
here=$(dirname "$(readlink -f "$0")")
export LC_ALL=C.UTF-8
failed=0

# typed LINE [TEST]: run a line; then TEST, a shell command that sees $out, $err and $rc.
typed() {
	local line=$1 check=${2:-'[ $rc = 0 ]'}
	out=$(eval "$line" 2>err </dev/null) && rc=0 || rc=$?
	err=$(cat err)
	if eval "$check" >/dev/null 2>check; then
		echo "ok $line"
	else
		failed=$((failed + 1))
		echo "not ok $line: status $rc, said ${out:0:200} | ${err:0:300} | $(head -c 200 check)"
	fi
}
needs() { echo "needs $1 $2"; }
has() { [ $rc = 0 ] && grep -Eq -- "$1" <<<"$out"; }
inside() { [ "$(msb exec "$1" -- sh -c "$2" </dev/null)" = "$3" ]; }

echo "# Setup"
typed 'msb --version' "has '^msb [0-9]+\.[0-9]+\.[0-9]+$'"

echo "# Quick reference"
typed "msb run python:3.12 -- python -c \"print('hello from sandbox')\"" '[ "$out" = "hello from sandbox" ]'
typed 'msb run -m 1G node:22 -- node -e "console.log(process.version)"' "has '^v[0-9]+\.'"
typed 'msb run alpine:latest -- sh -c "uname -a && cat /etc/os-release"' "has 'Linux .*' && has 'Alpine Linux'"

echo "# Example workflow"
typed 'msb create --name dev -m 1G -c 2 python:3.12' '[ $rc = 0 ] && [ -z "$out" ] && inside dev nproc 2'
needs 04 'msb exec dev -- pip install requests numpy'
typed 'msb exec dev -- python -c "import sys; print(sys.version_info[0])"' '[ "$out" = 3 ]'
needs 04 "msb exec dev -- python -c \"import requests; print(requests.get('https://httpbin.org/ip').json())\""
shown=$(python3 "$here/terminal.py" 'echo in-$((40+2)); exit 7\n' msb shell dev) && rc=0 || rc=$?
if [ $rc = 7 ] && grep -q in-42 <<<"$shown"; then echo "ok msb shell dev"; else failed=1; echo "not ok msb shell dev: $rc $shown"; fi
typed 'msb exec dev -- sh -c "echo kept > /root/kept"'
typed 'msb stop dev' '[ $rc = 0 ] && msb ls --format json | grep -q Stopped'
typed 'msb start dev' "[ \$rc = 0 ] && inside dev 'cat /root/kept' kept"
typed 'msb stop dev'
typed 'msb rm dev' '[ $rc = 0 ] && [ -z "$(msb ls -q)" ]'

echo "# Common options"
typed 'msb create --name my-sandbox alpine' "[ \$rc = 0 ] && inside my-sandbox hostname my-sandbox"
typed 'msb run -m 512M alpine -- grep MemTotal /proc/meminfo' "has ' (4[5-9]|5[0-3])[0-9]{4} kB'"
typed 'msb run -m 1G alpine -- grep MemTotal /proc/meminfo' "has ' (9[5-9]|10[0-5])[0-9]{4} kB'"
typed 'msb run -c 2 alpine -- nproc' '[ "$out" = 2 ]'
needs 05 'msb run -v /host/path:/guest/path alpine'
typed 'msb run -p 8080:80 alpine'
typed 'msb run -p 5353:5353/udp alpine'
typed 'msb run -e API_KEY=xxx alpine -- sh -c "echo \$API_KEY"' '[ "$out" = xxx ]'
typed 'msb run --mkdir /app -w /app alpine -- pwd' '[ "$out" = /app ]'
typed 'msb run -d alpine -- sh -c "echo in the background; sleep 60"' '[ $rc = 0 ] && [ "$(msb ps -q)" = "$(printf "%s\n%s" "$out" my-sandbox | sort)" ] && msb rm -f "$out"'
typed 'msb run -u nobody alpine -- id -u' '[ "$out" = 65534 ]'
typed 'msb run -H myhost alpine -- hostname' '[ "$out" = myhost ]'
# The stand-ins have no bash.
typed 'msb create --name shell --shell /bin/ash alpine && msb shell shell -- "echo \$0"' "has '^/bin/ash$' && msb rm -f shell"
typed 'msb run --entrypoint /bin/sh alpine -- -c "echo entry"' '[ "$out" = entry ]'
typed 'msb run --pull always alpine -- true' '[ $rc = 0 ]'
typed 'msb run --pull never no-such-image -- true' '[ $rc = 125 ] && grep -q no-such-image <<<"$err"'
typed 'msb run --max-duration 3s alpine -- sleep 60' '[ $rc = 1 ] && grep -q max-duration <<<"$err"'
typed 'msb create --name idle --idle-timeout 3s alpine' '[ $rc = 0 ] && for i in $(seq 100); do [ -n "$(msb ls --stopped -q)" ] && break; read -rt 0.1 < <(tail -f /dev/null); done; msb inspect idle | grep -q idle-timeout && msb rm idle'
typed 'msb run --tmpfs /tmp:100M alpine -- df -m /tmp' "has 'tmpfs +100 '"
printf '#!/bin/sh\necho from the script\n' > setup.sh
typed 'msb run --script setup:./setup.sh alpine -- setup' '[ "$out" = "from the script" ]'
typed 'msb create --name my-sandbox --replace -e NEW=1 alpine' "[ \$rc = 0 ] && inside my-sandbox 'echo \$NEW' 1"

echo "# Manage sandboxes"
typed 'msb create --name other alpine && msb stop other'
typed 'msb ls' "has '^my-sandbox +alpine +running' && has '^other +alpine +stopped'"
typed 'msb ls --running' "has '^my-sandbox' && ! has '^other'"
typed 'msb ps' "has '^my-sandbox +alpine .*running' && ! has '^other'"
typed 'msb ps -a' "has '^my-sandbox' && has '^other'"
typed 'msb inspect my-sandbox' "has '^Status: +running' && has 'NEW=1'"
if msb help metrics >/dev/null 2>&1; then typed 'msb metrics my-sandbox' "has '^my-sandbox'"; else needs 03 'msb metrics my-sandbox'; fi
typed 'msb stop my-sandbox' '[ $rc = 0 ] && [ -z "$(msb ls --running -q)" ]'
typed 'msb start my-sandbox && msb stop --force my-sandbox' '[ $rc = 0 ] && [ -z "$(msb ls --running -q)" ]'
typed 'msb start my-sandbox && msb stop -t 10 my-sandbox' '[ $rc = 0 ] && [ -z "$(msb ls --running -q)" ]'
typed 'msb rm my-sandbox' '[ $rc = 0 ] && [ "$(msb ls -q)" = other ]'
typed 'msb start other && msb rm --force other' '[ $rc = 0 ] && [ -z "$(msb ls -q)" ]'

echo "# Manage images"
typed 'msb pull alpine'
typed 'msb images' "has 'docker.io/library/alpine:latest' && has 'python:3.12'"
typed 'msb image ls' "has 'alpine'"
typed 'msb image inspect alpine' "has 'linux'"
typed 'msb rmi node:22' '[ $rc = 0 ] && ! msb images | grep -q node'

echo "# Manage volumes"
for line in 'msb volume create mydata' 'msb volume create mydata --size 5G' 'msb volume ls' 'msb volume inspect mydata' \
	'msb volume rm mydata' 'msb run -v ./project:/app python:3.12 -- python /app/script.py' \
	"msb run -v mydata:/data alpine -- cat /data/file.txt"; do needs 05 "$line"; done

echo "# Networking and security"
typed 'msb run --no-network python:3.12 -- python script.py' '[ $rc = 2 ] && grep -q script.py <<<"$err"' # the image has none
typed 'msb run --dns-block-domain "ads.example.com" python:3.12'
needs 06 'msb run --secret "OPENAI_API_KEY=sk-xxx@api.openai.com" python:3.12'
needs 06 'msb run --tls-intercept --secret "API_KEY=xxx@api.example.com" python:3.12'
typed 'msb run --max-connections 10 python:3.12'

echo "# Registry authentication"
typed 'printf pw | msb registry login ghcr.io --username octocat --password-stdin --no-verify' \
	'[ $rc = 0 ]'
typed 'msb registry ls' "has 'ghcr.io +octocat'"
typed 'msb registry logout ghcr.io' '[ $rc = 0 ] && ! msb registry ls 2>/dev/null | grep -q ghcr.io'

echo "# Install sandbox as command"
typed 'msb install python:3.12' '[ $rc = 0 ] && [ "$("$MSB_HOME/bin/python" -c "print(6*7)" </dev/null)" = 42 ]'
typed 'msb install --name py python:3.12' '[ $rc = 0 ] && [ "$("$MSB_HOME/bin/py" -c "print(6*7)" </dev/null)" = 42 ]'
typed 'msb install --list' "has '^py +python:3.12' && has '^python +python:3.12'"
typed 'msb uninstall py' '[ $rc = 0 ] && [ ! -e "$MSB_HOME/bin/py" ]'

echo "# Key behaviors"
typed 'msb run alpine -- true' '[ $rc = 0 ] && ! msb ls -q | grep -q ^msb-'
typed 'msb run --name stays alpine -- sh -c "echo here > /here"' '[ $rc = 0 ] && inside stays "cat /here" here'
typed 'msb run alpine -- cat /proc/sys/kernel/osrelease' '[ $rc = 0 ] && [ "$out" != "$(uname -r)" ]'
typed 'msb rm -f stays python py' '[ -z "$(msb ls -q)" ]'
[ "$failed" = 0 ]
