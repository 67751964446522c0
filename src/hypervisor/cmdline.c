/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <x86intrin.h>

#include "base/clock.h"
#include "base/fd.h"
#include "hypervisor/hypervisor.h"

#define CHECK_NS (1 * NSEC_PER_MSEC)
#define MEASURE_NS (20 * NSEC_PER_MSEC)

/** measure_tsc_khz() - TSC ticks per millisecond of CLOCK_MONOTONIC, by watching both for this long. */
static uint64_t measure_tsc_khz(int64_t ns)
{
	int64_t from = clock_monotonic_ns(), to;
	uint64_t ticks = __rdtsc();

	do
		to = clock_monotonic_ns();
	while (to - from < ns);
	return (uint64_t)((__rdtsc() - ticks) * (double)NSEC_PER_MSEC / (double)(to - from));
}

/**
 * host_tsc_khz() - What the software CPU's TSC runs at: it is the host's. The guest's own calibration against the PIT
 * fails when the host is busy, and a guest without a TSC hangs. The host kernel's figure (bogomips are twice the TSC's
 * MHz) is good to a few ppm; it is believed if a short look agrees within 1 %, else a longer measurement counts.
 */
static uint64_t host_tsc_khz(void)
{
	static uint64_t known;
	_cleanup_fd_ int fd = -1;
	uint64_t said = 0, seen;
	char text[4096], *at;
	ssize_t n;

	if (known)
		return known;
	fd = open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : fd_read_full(fd, text, sizeof(text) - 1);
	if (n > 0) {
		text[n] = '\0';
		at = strstr(text, "bogomips");
		at = at ? strchr(at, ':') : NULL;
		if (at)
			said = (uint64_t)(strtod(at + 1, NULL) * 500.0 + 0.5);
	}
	seen = measure_tsc_khz(CHECK_NS);
	if (said > seen - seen / 100 && said < seen + seen / 100)
		known = said;
	else
		known = measure_tsc_khz(MEASURE_NS);
	return known;
}

void kernel_command_line(const struct monitor_config *cfg, char *out, size_t size)
{
	char clock[96] = "";

	if (cfg->kind == HYPERVISOR_QEMU)
		snprintf(clock, sizeof(clock), " tsc_early_khz=%llu clocksource=tsc tsc=reliable",
			 (unsigned long long)host_tsc_khz());
	/* Nothing of the sandbox's configuration is here: it reaches the agent as its first message. */
	snprintf(out, size,
		 "%s quiet panic=-1 reboot=t random.trust_cpu=on no_timer_check noreplace-smp dummy.numdummies=0%s",
		 cfg->early_console ? "earlyprintk=ttyS0 console=ttyS0 ignore_loglevel" : "console=hvc0", clock);
}
