/* SPDX-License-Identifier: Apache-2.0 */
/**
 * When a sandbox is over by itself: --idle-timeout and --max-duration; and when it is squeezed, being idle. No clock of
 * its own: every call is told the time. Idle counts CLOCK_MONOTONIC, so time that the host slept is not idleness; the
 * longest life counts CLOCK_BOOTTIME. Source: contract 5.3 and 10.
 */
#ifndef MSB_SANDBOX_LIFETIMES_H
#define MSB_SANDBOX_LIFETIMES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define LIFETIME_NEVER INT64_MAX
#define LIFETIME_SQUEEZE_NS (60 * NSEC_PER_SEC) /* idle for so long: the guest's caches go */

struct lifetimes {
	int64_t idle_ns, max_ns; /* limits; 0: none */
	int64_t active_ns;	 /* CLOCK_MONOTONIC: last activity */
	int64_t started_ns;	 /* CLOCK_BOOTTIME */
	bool squeezed;		 /* since the last activity */
	uint32_t sessions;	 /* open now: while there is one, the sandbox is busy */
};

/** lifetimes_start() - The agent is ready: both count from here. */
void lifetimes_start(struct lifetimes *l, int64_t monotonic_ns, int64_t boottime_ns);
/** lifetimes_session() - A command or transfer began (+1) or ended (-1); both are activity. */
void lifetimes_session(struct lifetimes *l, int change, int64_t monotonic_ns);
/** lifetimes_touch() - Somebody says that it is in use. */
void lifetimes_touch(struct lifetimes *l, int64_t monotonic_ns);
/** lifetimes_idle_left() - Until it was idle for too long: 0 or less when it was, LIFETIME_NEVER. */
int64_t lifetimes_idle_left(const struct lifetimes *l, int64_t monotonic_ns);
/** lifetimes_squeeze_left() - Until its caches are to be dropped; once, then LIFETIME_NEVER until the next activity. */
int64_t lifetimes_squeeze_left(const struct lifetimes *l, int64_t monotonic_ns);
/** lifetimes_max_left() - Until it has lived for too long. */
int64_t lifetimes_max_left(const struct lifetimes *l, int64_t boottime_ns);

#endif
