/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nobody uses the sandbox: what the guest only caches is dropped, and free memory joined to blocks as large as the
 * kernel reports to the host (2 MiB). By the agent and not by inflating a balloon, because this needs no channel to the
 * hypervisor (QEMU's balloon is told by QMP), takes nothing from a process that runs on, and has no way back that could
 * come too late: the next session finds all memory free. Writing back dirty files may take long, so it is done apart.
 */
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/fd.h"

static pid_t squeezer; /* 0: none runs */

/** ask_kernel() - Write "1" to one of its switches; what cannot be done is left. */
static void ask_kernel(const char *path)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	(void)!write(fd, "1", 1);
	fd_close(&fd);
}

void squeeze(void)
{
	sigset_t none;
	pid_t pid;

	if (squeezer || stop_active())
		return;
	pid = fork();
	if (pid < 0)
		return;
	if (pid > 0) {
		squeezer = pid;
		return;
	}
	handoff_reset_child();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	sync();
	ask_kernel("/proc/sys/vm/drop_caches");
	ask_kernel("/proc/sys/vm/compact_memory");
	_exit(0);
}

void squeeze_reap(pid_t pid)
{
	if (pid == squeezer)
		squeezer = 0;
}
