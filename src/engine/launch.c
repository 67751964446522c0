/* SPDX-License-Identifier: Apache-2.0 */
/* From a plan to a supervisor: what it needs is open, everything else is closed in the child. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/timeline.h"
#include "engine/run_plan.h"

/** supervise() - The child: keep only what the sandbox needs, then be its supervisor. */
static _Noreturn void supervise(struct run_plan *plan, int client_fd, int session_fd)
{
	struct monitor_config *m = &plan->spec.machine;
	const struct sandbox_network *net = &plan->spec.network;
	static int keep[DISK_EXTENTS_MAX + 2 * MONITOR_DISKS_MAX + SANDBOX_GIVEN_MAX + 20];
	size_t n = 0;
	int null = open("/dev/null", O_RDWR);

	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(m->log_fd, STDERR_FILENO);
	keep[n++] = STDIN_FILENO;
	keep[n++] = STDOUT_FILENO;
	keep[n++] = STDERR_FILENO;
	keep[n++] = client_fd;
	keep[n++] = session_fd;
	keep[n++] = plan->lock_fd;
	keep[n++] = plan->spec.persistent ? plan->dir_fd : -1;
	keep[n++] = plan->spec.persistent ? plan->home_fd : -1;
	keep[n++] = m->kernel_fd;
	keep[n++] = m->initrd_fd;
	keep[n++] = m->console_fd;
	keep[n++] = m->log_fd;
	keep[n++] = m->kvm_fd;
	keep[n++] = timeline_fd();
	for (size_t i = 0; i < m->disk_count; i++) {
		for (size_t j = 0; j < m->disks[i].extent_count; j++)
			keep[n++] = m->disks[i].extents[j].fd;
		keep[n++] = m->disks[i].cow ? m->disks[i].cow->fd : -1;
	}
	keep[n++] = m->net_fd;
	keep[n++] = net->program_fd;
	keep[n++] = net->config_fd;
	for (size_t i = 0; i < net->given_count; i++)
		keep[n++] = net->given[i].fd;
	fd_close_except(keep, n);
	_exit(supervisor_main(&plan->spec, client_fd, session_fd));
}

int run_plan_launch(struct run_plan *plan, struct run_session *out, struct error *err)
{
	int client[2] = { -1, -1 };
	int session[2] = { -1, -1 };
	sigset_t child;
	pid_t pid;

	/* Whoever the supervisor leaves behind when it is killed becomes our child, so that finish can wait for it. */
	if (!plan->spec.persistent)
		prctl(PR_SET_CHILD_SUBREAPER, 1);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, client) < 0 ||
	    (!plan->spec.persistent && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, session) < 0)) {
		int code = err_set(err, ERR_SYSTEM, errno, "socketpair");

		fd_close(&client[0]);
		fd_close(&client[1]);
		return code;
	}
	pid = fork();
	if (pid == 0)
		supervise(plan, client[1], session[1]);
	fd_close(&client[1]);
	fd_close(&session[1]);
	if (pid < 0) {
		int code = err_set(err, ERR_SYSTEM, errno, "fork the supervisor");

		fd_close(&client[0]);
		fd_close(&session[0]);
		return code;
	}
	out->supervisor_pid = pid;
	out->orderly = plan->spec.orderly;
	out->control_fd = client[0];
	out->fd = session[0];
	if (out->fd >= 0)
		fd_set_nonblock(out->fd, true);
	return 0;
}
