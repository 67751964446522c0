/* SPDX-License-Identifier: Apache-2.0 */
#include "base/child.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

/** kill_listed() - SIGKILL the children that there are now. */
static void kill_listed(void)
{
	char path[64], list[4096], *rest = list;
	_cleanup_fd_ int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : fd_read_full(fd, list, sizeof(list) - 1);
	if (n <= 0)
		return;
	list[n] = '\0';
	for (char *word = list; (rest = strchr(word, ' ')); word = rest + 1) {
		long pid = strtol(word, NULL, 10);

		if (pid > 1)
			kill((pid_t)pid, SIGKILL);
	}
}

/** reap() - Collect until none is left or the time is over. @by_force: after each death kill those that are there. */
static bool reap(int64_t limit_ms, bool by_force)
{
	int64_t end = clock_monotonic_ns() + limit_ms * NSEC_PER_MSEC;
	sigset_t child, before;
	bool none = false;

	/* Blocked, so that it waits for sigtimedwait() whatever is done with it else. */
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, &before);
	for (;;) {
		int64_t left = end - clock_monotonic_ns();
		struct timespec ts = { .tv_sec = left / NSEC_PER_SEC, .tv_nsec = left % NSEC_PER_SEC };
		pid_t pid;

		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
			;
		none = pid < 0;
		if (none || left <= 0)
			break;
		/* Orphans are ours before the death of their parent can be collected. */
		if (by_force)
			kill_listed();
		sigtimedwait(&child, NULL, &ts);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	return none;
}

bool children_reap(int64_t limit_ms)
{
	return reap(limit_ms, false);
}

bool children_kill(int64_t limit_ms)
{
	return reap(limit_ms, true);
}
