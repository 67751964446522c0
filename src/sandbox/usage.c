/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/usage.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

/** read_file() - /proc/PID/NAME, NUL-terminated; empty when it cannot be read. */
static void read_file(pid_t pid, const char *name, char *to, size_t size)
{
	char path[64];
	ssize_t n;
	_cleanup_fd_ int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : fd_read_full(fd, to, size - 1);
	to[n > 0 ? n : 0] = '\0';
}

/** number_after() - "name: 123" in a file of such lines. */
static uint64_t number_after(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

/** add() - One process. */
static void add(struct usage *u, pid_t pid, uint64_t *shared_bytes)
{
	static int64_t tick;
	unsigned long long user, kernel;
	uint64_t shared;
	const char *after;
	char text[4096];

	if (!tick)
		tick = sysconf(_SC_CLK_TCK);
	read_file(pid, "stat", text, sizeof(text));
	after = strrchr(text, ')');
	if (after && sscanf(after + 1, " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu %llu", &user, &kernel) == 2)
		u->cpu_ns += ((user + kernel) * (uint64_t)NSEC_PER_SEC / (uint64_t)tick);
	read_file(pid, "status", text, sizeof(text));
	shared = number_after(text, "RssShmem:") * 1024; /* the guest's memory, where QEMU and the monitor share it */
	u->resident_bytes += number_after(text, "RssAnon:") * 1024;
	if (shared > *shared_bytes) {
		u->resident_bytes += shared - *shared_bytes;
		*shared_bytes = shared;
	}
}

struct usage usage_of(pid_t pid)
{
	struct usage u = { 0 };
	uint64_t shared = 0;
	char name[64], text[256], *at, *end;

	add(&u, pid, &shared);
	snprintf(name, sizeof(name), "task/%d/children", (int)pid);
	read_file(pid, name, text, sizeof(text));
	for (at = text; *at; at = end) {
		long child = strtol(at, &end, 10);

		if (end == at)
			break;
		if (child > 0)
			add(&u, (pid_t)child, &shared);
	}
	return u;
}
