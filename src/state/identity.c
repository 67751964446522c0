/* SPDX-License-Identifier: Apache-2.0 */
#include "state/identity.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

/** read_text() - A small file of /proc, NUL-terminated. */
static bool read_text(const char *path, char *to, size_t size)
{
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : fd_read_full(fd, to, size - 1);

	if (n <= 0)
		return false;
	to[n] = '\0';
	return true;
}

bool identity_of(pid_t pid, struct identity *out)
{
	char path[64], text[1024], state;
	unsigned long long start;
	const char *after;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (!read_text(path, text, sizeof(text)))
		return false;
	after = strrchr(text, ')'); /* the name before it may hold anything */
	if (!after ||
	    sscanf(after + 1, " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
		   &state, &start) != 2)
		return false;
	if (state == 'Z' || state == 'X')
		return false;
	*out = (struct identity){ .pid = pid, .start_time = start };
	if (!read_text("/proc/sys/kernel/random/boot_id", text, sizeof(text)))
		return false;
	snprintf(out->boot_id, sizeof(out->boot_id), "%.36s", text);
	return true;
}

bool identity_alive(const struct identity *who)
{
	struct identity now;

	return who->boot_id[0] && who->pid > 0 && identity_of(who->pid, &now) && now.start_time == who->start_time &&
	       strcmp(now.boot_id, who->boot_id) == 0;
}
