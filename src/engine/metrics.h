/* SPDX-License-Identifier: Apache-2.0 */
/** What sandboxes use, asked of all of their supervisors at the same time. Source: contract 5.4. */
#ifndef MSB_ENGINE_METRICS_H
#define MSB_ENGINE_METRICS_H

#include "engine/engine.h"
#include "state/state.h"

#define METRIC_UNKNOWN UINT64_MAX

enum metrics_state {
	METRICS_RUNNING,
	METRICS_STALLED, /* its supervisor or its agent does not answer */
	METRICS_EXITED,
};

/** One sandbox at one time. Counters are since its boot; what is not known is METRIC_UNKNOWN. */
struct metrics {
	char name[SANDBOX_NAME_MAX + 1];
	enum metrics_state state;
	struct identity supervisor;
	int64_t time_ns; /* CLOCK_REALTIME */
	uint64_t cpus, uptime_ns, cpu_ns;
	uint64_t memory_used, memory_available; /* of what the guest has */
	uint64_t memory_resident, memory_limit; /* of the host's; as configured */
	uint64_t disk_read, disk_written;
	uint64_t net_received, net_sent;
	uint64_t upper_used, upper_free, upper_allocated; /* the writable disk: in the guest, and of the host's */
	uint64_t sessions, processes, oom_kills;
	/* Between two samples; see metrics_rates(). */
	uint64_t cpu_permille, read_rate, write_rate; /* 1000: one virtual CPU; bytes a second */
};

/**
 * engine_metrics() - A sample of those that run, sorted by name. @name: only that one, in any state; NULL: all.
 * @all: those that do not run, too. *out: owned array. Blocks at most about 1.5 s. ERR_NOT_FOUND
 */
int engine_metrics(const struct engine_paths *paths, const char *name, bool all, struct metrics **out, size_t *count,
		   struct error *err);
/** metrics_rates() - Fill the rates of a sample from an earlier one; both sorted by name. */
void metrics_rates(struct metrics *now, size_t count, const struct metrics *before, size_t before_count);

#endif
