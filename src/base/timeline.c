/* SPDX-License-Identifier: Apache-2.0 */
#include "base/timeline.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"

static int timeline = -1;

void timeline_open(void)
{
	const char *path = getenv("MSB_TIMELINE");

	if (path && *path)
		timeline = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

int timeline_fd(void)
{
	return timeline;
}

void timeline_mark_at(const char *name, int64_t monotonic_ns)
{
	char line[128];
	int n;

	if (timeline < 0)
		return;
	n = snprintf(line, sizeof(line), "%lld %.80s\n", (long long)monotonic_ns, name);
	if (write(timeline, line, (size_t)n) < 0)
		return; /* a benchmark that cannot be recorded must not stop the sandbox */
}

void timeline_mark(const char *name)
{
	if (timeline >= 0)
		timeline_mark_at(name, clock_monotonic_ns());
}
