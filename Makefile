# SPDX-License-Identifier: Apache-2.0
# The few commands people type. The build itself is meson's; see DEVELOPERS.md.
.PHONY: all build kernel demo check check-long bench show fuzz clean

all: build kernel

build:
	@test -f build/build.ninja || meson setup build >/dev/null
	@ninja -C build

kernel:
	@kernel/build.sh

demo:
	@bash scripts/demo.sh

check: all
	@bash scripts/check.sh

# The same with more kills and runs, and a minute of each fuzz target
check-long: all
	@MSB_LONG=1 bash scripts/check.sh
	@$(MAKE) -s fuzz SECONDS=60

bench: all
	@bash tests/bench/run.sh

# One line of an issue's list: make show N=01.3
show: all
	@bash scripts/show.sh "$(N)"

# Every fuzz target for SECONDS each
SECONDS ?= 30
fuzz:
	@bash tests/fuzz/run.sh $(SECONDS)

clean:
	rm -rf build build-fuzz build-fuzz.log
