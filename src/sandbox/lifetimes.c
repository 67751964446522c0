/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/lifetimes.h"

void lifetimes_start(struct lifetimes *l, int64_t monotonic_ns, int64_t boottime_ns)
{
	lifetimes_touch(l, monotonic_ns);
	l->started_ns = boottime_ns;
}

void lifetimes_session(struct lifetimes *l, int change, int64_t monotonic_ns)
{
	l->sessions = (uint32_t)((int64_t)l->sessions + change);
	lifetimes_touch(l, monotonic_ns);
}

void lifetimes_touch(struct lifetimes *l, int64_t monotonic_ns)
{
	l->active_ns = monotonic_ns;
	l->squeezed = false;
}

int64_t lifetimes_idle_left(const struct lifetimes *l, int64_t monotonic_ns)
{
	return l->idle_ns && l->sessions == 0 ? l->active_ns + l->idle_ns - monotonic_ns : LIFETIME_NEVER;
}

int64_t lifetimes_squeeze_left(const struct lifetimes *l, int64_t monotonic_ns)
{
	bool due = l->sessions == 0 && !l->squeezed;

	return due ? l->active_ns + LIFETIME_SQUEEZE_NS - monotonic_ns : LIFETIME_NEVER;
}

int64_t lifetimes_max_left(const struct lifetimes *l, int64_t boottime_ns)
{
	return l->max_ns ? l->started_ns + l->max_ns - boottime_ns : LIFETIME_NEVER;
}
