/* SPDX-License-Identifier: Apache-2.0 */
/* Rates between two samples: of the same run of the same sandbox only, never more than its CPUs can do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/macros.h"
#include "engine/metrics.h"

/** sample() - Of one sandbox. @s: seconds since its boot */
static struct metrics sample(const char *name, pid_t pid, uint64_t s, uint64_t cpu_ms, uint64_t written)
{
	struct metrics m;

	memset(&m, 0xff, sizeof(m));
	snprintf(m.name, sizeof(m.name), "%s", name);
	m.supervisor = (struct identity){ .pid = pid, .start_time = 5 };
	m.cpus = 2;
	m.uptime_ns = s * NSEC_PER_SEC;
	m.cpu_ns = cpu_ms * NSEC_PER_MSEC;
	m.disk_written = written;
	return m;
}

static void rates(void **state)
{
	const struct metrics before[] = { sample("a", 1, 10, 1000, 0), sample("c", 2, 10, 0, 100),
					  sample("d", 3, 10, 0, 100), sample("f", 4, 10, 9000, 100) };
	struct metrics now[] = { sample("a", 1, 12, 2500, 4096), sample("b", 9, 12, 2000, 0), sample("c", 2, 11, 5000, 100),
				 sample("d", 8, 1, 500, 200), sample("e", 7, 1, 0, 0), sample("f", 4, 10, 9000, 100) };

	(void)state;
	metrics_rates(now, ARRAY_LEN(now), before, ARRAY_LEN(before));
	assert_int_equal(now[0].cpu_permille, 750);
	assert_int_equal(now[0].write_rate, 2048);
	assert_true(now[0].read_rate == METRIC_UNKNOWN); /* as the counter is */
	assert_true(now[1].cpu_permille == METRIC_UNKNOWN); /* was not there */
	assert_int_equal(now[2].cpu_permille, 2000); /* both CPUs, and the processes around them */
	assert_int_equal(now[2].write_rate, 0);
	assert_true(now[3].cpu_permille == METRIC_UNKNOWN); /* started again meanwhile */
	assert_true(now[4].write_rate == METRIC_UNKNOWN);
	assert_true(now[5].write_rate == METRIC_UNKNOWN); /* no time between them */
}

static void counters_that_go_back(void **state)
{
	const struct metrics before[] = { sample("a", 1, 10, 1000, 500) };
	struct metrics now[] = { sample("a", 1, 12, 900, 400) };

	(void)state;
	metrics_rates(now, 1, before, 1);
	assert_true(now[0].cpu_permille == METRIC_UNKNOWN);
	assert_true(now[0].write_rate == METRIC_UNKNOWN);
	metrics_rates(now, 1, NULL, 0);
	assert_true(now[0].cpu_permille == METRIC_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(rates), cmocka_unit_test(counters_that_go_back) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
