/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gateway (src/net): a process per sandbox, between the network card in the monitor and the sockets of the host.
 * All that it may use was opened before. It is started while the monitor waits for the machine, told its configuration
 * and given its descriptors as it reads, and waited for only when the guest is ready. Without it the sandbox ends, and
 * it ends with the supervisor: by the end of this socket, and by its parent-death signal.
 *
 * It reads what the guest and the world send, so what it says is taken for hostile: records of one size, bounded text.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/timeline.h"
#include "sandbox/supervisor.h"

void gateway_forget(struct sandbox_network *n)
{
	fd_close(&n->program_fd);
	fd_close(&n->config_fd);
	for (size_t i = 0; i < n->given_count; i++)
		fd_close(&n->given[i].fd);
}

/** ended() - There is no network any more. */
static void ended(struct supervisor *s, const char *text)
{
	loop_remove(s->loop, &s->gateway_source);
	supervisor_end(s, SANDBOX_CRASHED, MSG_FAIL_NETWORK, 0, text);
}

/** tell() - The messages of the start, in order, until the gateway has to read first. That it is gone is read. */
static void tell(struct supervisor *s)
{
	struct sandbox_network *n = &s->spec->network;
	const size_t all = n->given_count + 2;

	for (; s->gateway_told < all; s->gateway_told++) {
		struct gateway_message m = { .kind = GATEWAY_GO };
		const struct sandbox_given *g = &n->given[s->gateway_told - 1];
		int fd = -1;

		if (s->gateway_told == 0) {
			m.kind = GATEWAY_CONFIG;
			fd = n->config_fd;
		} else if (s->gateway_told < all - 1) {
			m.kind = GATEWAY_GIVE;
			m.what = g->what;
			m.index = g->index;
			fd = g->fd;
		}
		if (fd_send_msg(s->gateway_fd, &m, sizeof(m), &fd, fd >= 0 ? 1 : 0) < 0)
			return;
	}
	gateway_forget(n);
	loop_modify(s->loop, s->gateway_source, EPOLLIN);
}

/** on_news() - One record of the gateway's. Return: false: it is none. */
static bool on_news(struct supervisor *s, struct gateway_message *m)
{
	char text[GATEWAY_TEXT_MAX + 32];

	switch (m->kind) {
	case GATEWAY_READY:
		if (s->gateway_ready)
			return false;
		m->text[GATEWAY_TEXT_MAX - 1] = '\0';
		if (m->text[0])
			log_info(LOG_SANDBOX, "gateway: %s", m->text);
		timeline_mark("gateway ready");
		s->gateway_ready = true;
		supervisor_go_on(s);
		return true;
	case GATEWAY_FAILED:
		m->text[GATEWAY_TEXT_MAX - 1] = '\0';
		snprintf(text, sizeof(text), "the network gateway: %s", m->text);
		ended(s, text);
		return true;
	case GATEWAY_COUNTED:
		s->counters = m->counters;
		s->gateway_counted = true;
		control_counters(s);
		return true;
	case GATEWAY_ACTIVITY:
		lifetimes_touch(&s->life, clock_monotonic_ns());
		supervisor_set_timers(s);
		return true;
	default:
		return false;
	}
}

/** on_gateway() - It can be told more, has news, or has ended. */
static void on_gateway(void *arg, uint32_t events)
{
	struct supervisor *s = arg;
	struct gateway_message m;
	ssize_t n;

	if (events & EPOLLOUT)
		tell(s);
	n = recv(s->gateway_fd, &m, sizeof(m), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		ended(s, "the network gateway ended unexpectedly");
	else if (n != sizeof(m) || !on_news(s, &m))
		ended(s, "the network gateway broke the protocol");
}

/** become_gateway() - In the child. */
static _Noreturn void become_gateway(const struct supervisor *s, int control, pid_t parent)
{
	static char name[] = "msb-gateway";
	static char *const args[] = { name, NULL }, *const env[] = { NULL }; /* the user's has secrets */
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (control == GATEWAY_CONTROL_FD)
		fd_set_cloexec(control, false);
	else
		dup2(control, GATEWAY_CONTROL_FD);
	syscall(SYS_execveat, s->spec->network.program_fd, "", args, env, AT_EMPTY_PATH);
	log_warn(LOG_SANDBOX, "msb-gateway: %s", strerror(errno));
	_exit(127);
}

/** start() - The process, and the first messages. */
static int start(struct supervisor *s, struct error *err)
{
	pid_t parent = getpid(), pid;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, ERR_SYSTEM, errno, "socketpair");
	s->gateway_fd = pair[0];
	fd_set_nonblock(s->gateway_fd, true); /* ours only: the gateway waits for what it is told */
	pid = fork();
	if (pid == 0)
		become_gateway(s, pair[1], parent);
	close(pair[1]);
	if (pid < 0)
		return err_set(err, ERR_SYSTEM, errno, "fork the network gateway");
	s->gateway_source = loop_add(s->loop, s->gateway_fd, EPOLLIN | EPOLLOUT, on_gateway, s, err);
	if (s->gateway_source < 0)
		return s->gateway_source;
	tell(s);
	return 0;
}

void gateway_start(struct supervisor *s)
{
	struct error err = ERROR_INIT;

	if (s->spec->network.on && s->gateway_fd < 0 && start(s, &err) < 0)
		ended(s, err.text);
}

bool gateway_count(struct supervisor *s)
{
	const struct gateway_message m = { .kind = GATEWAY_COUNT };

	return s->gateway_ready && fd_send_msg(s->gateway_fd, &m, sizeof(m), NULL, 0) == 0;
}
