# SPDX-License-Identifier: Apache-2.0
# The few commands people type. The build itself is meson's; see DEVELOPERS.md.
.PHONY: all build kernel docs man demo check check-long mutants bench bench-lifecycle bench-net bench-pull show fuzz clean

all: build kernel

build:
	@test -f build/build.ninja || meson setup build
	@ninja -C build

kernel:
	@kernel/build.sh

# What is committed of msb's own tables: references/cli-reference.md, the options in SKILL.md
docs: build
	@python3 tools/make_docs.py build/msb

# Manual pages into build/man/man1; scripts/setup.sh installs them
man: build
	@python3 tools/make_docs.py build/msb --man build/man/man1

demo:
	@bash scripts/demo.sh

check: all
	@bash scripts/check.sh

# At full sizes, and fuzzing: an hour
check-long: all
	@MSB_LONG=1 bash scripts/check.sh

# Do the tests notice a broken product? One line of the issue: make mutants N=01.3
mutants: all
	@bash scripts/mutants.sh "$(N)"

bench: all
	@bash tests/bench/run.sh

# Commands on sandboxes that stay, counted
bench-lifecycle: all
	@bash tests/bench/lifecycle.sh

# The gateway against slirp4netns and passt, without a virtual machine (root)
bench-net: build
	@bash scripts/packages.sh install bench
	@/usr/bin/python3 tests/bench/net.py

# An image of 500 MB (made once: 10 minutes): pull against what inflating and hashing takes, memory, size on disk
bench-pull: all
	@/usr/bin/python3 tests/bench/pull.py

# One line of an issue's list: make show N=01.3 (01.1 to 01.6, 01.speed, 01.bad; 02.1 to 02.5, 02.speed, 02.bad; 03.1 to 03.9, 03.speed; 04.1 to 04.4, 04.6, 04.speed)
show: all
	@bash scripts/show.sh "$(N)"

# Every fuzz target for SECONDS each
SECONDS ?= 30
fuzz:
	@bash tests/fuzz/run.sh $(SECONDS)

clean:
	rm -rf build build-fuzz
