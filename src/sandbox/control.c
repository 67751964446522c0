/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket: who may connect is decided by the directory (0700), what is asked is answered here. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "proto/control.h"
#include "sandbox/supervisor.h"
#include "sandbox/usage.h"

#define SOCKET_NAME "control.sock"
#define STATS_WAIT_MS 1000 /* for the agent; then the answer goes without what it would have said */

/** is_ours() - The same user, or root. */
static bool is_ours(int fd)
{
	struct ucred who;
	socklen_t len = sizeof(who);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && (who.uid == geteuid() || who.uid == 0);
}

/** on_listener() - Somebody connects. */
static void on_listener(void *arg, uint32_t events)
{
	struct supervisor *s = arg;
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0)
		return;
	if (!is_ours(fd)) {
		close(fd);
		return;
	}
	client_new(s, fd);
}

int control_listen(struct supervisor *s, struct error *err)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	mode_t old = umask(077);
	int rc = 0;

	/* By the directory's descriptor: a long MSB_HOME does not fit into an address. */
	snprintf(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d/" SOCKET_NAME, s->spec->dir_fd);
	unlinkat(s->spec->dir_fd, SOCKET_NAME, 0);
	s->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->listen_fd < 0 || bind(s->listen_fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    listen(s->listen_fd, CLIENTS_MAX) < 0)
		rc = err_set(err, err_from_errno(errno), errno, "make the control socket of the sandbox");
	umask(old);
	if (rc == 0) {
		s->listen_source = loop_add(s->loop, s->listen_fd, EPOLLIN, on_listener, s, err);
		rc = MIN(0, s->listen_source);
	}
	return rc;
}

void control_close(struct supervisor *s)
{
	loop_remove(s->loop, &s->listen_source);
	fd_close(&s->listen_fd);
	if (s->spec->dir_fd >= 0)
		unlinkat(s->spec->dir_fd, SOCKET_NAME, 0);
}

/** answer_status() - What is known now. */
static void answer_status(struct client *c)
{
	struct supervisor *s = c->s;
	const struct msg_stats *stats = s->stats_known ? &s->stats : NULL;
	bool known = s->gateway_counted || !s->spec->network.on; /* without a network: zeroes */
	struct usage u = usage_of(s->monitor_pid);
	struct buf body = BUF_INIT(1024);
	uint32_t sessions, attached;
	struct ctl_status m = { .uptime_ns = (uint64_t)(clock_ns(CLOCK_BOOTTIME) - s->life.started_ns),
				.cpu_ns = u.cpu_ns,
				.resident_bytes = u.resident_bytes,
				.disk_read_bytes = s->disk_known ? s->disk_read_bytes : UINT64_MAX,
				.disk_written_bytes = s->disk_known ? s->disk_written_bytes : UINT64_MAX,
				.net_rx_bytes = known ? s->counters.rx_bytes : UINT64_MAX,
				.net_tx_bytes = known ? s->counters.tx_bytes : UINT64_MAX,
				.guest_total_bytes = stats ? stats->memory_total : UINT64_MAX,
				.guest_free_bytes = stats ? stats->memory_available : UINT64_MAX,
				.upper_total_bytes = stats && stats->upper_total ? stats->upper_total : UINT64_MAX,
				.upper_free_bytes = stats && stats->upper_total ? stats->upper_free : UINT64_MAX,
				.oom_kills = stats ? stats->oom_kills : UINT64_MAX,
				.processes = stats ? stats->processes : UINT64_MAX };

	clients_count(s, &sessions, &attached);
	m.sessions = sessions;
	m.attached = attached;
	ctl_encode_status(&body, &m);
	client_answer(c, FRAME_CTL_STATUS_REPLY, &body);
	buf_free(&body);
	client_finish(c);
}

/** answer_all() - Whoever waits for the status. */
static void answer_all(struct supervisor *s)
{
	loop_remove(s->loop, &s->stats_timer);
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		if (s->clients[i] && s->clients[i]->kind == CLIENT_STATUS && !s->clients[i]->ended)
			answer_status(s->clients[i]);
}

/** on_stats_timeout() - The agent is busy, or stopped. */
static void on_stats_timeout(void *arg, uint32_t events)
{
	(void)events;
	answer_all(arg);
}

/** answer_if_known() - When all that were asked have answered. */
static void answer_if_known(struct supervisor *s)
{
	if (s->stats_known && s->disk_known && (s->gateway_counted || !s->gateway_ready))
		answer_all(s);
}

void control_stats(struct supervisor *s, const struct frame *f)
{
	s->stats_known = msg_decode_stats(f->body, f->body_len, &s->stats);
	answer_if_known(s);
}

void control_counted(struct supervisor *s, const struct monitor_message *m)
{
	s->disk_known = true;
	s->disk_read_bytes = m->disk_read_bytes;
	s->disk_written_bytes = m->disk_written_bytes;
	answer_if_known(s);
}

void control_counters(struct supervisor *s)
{
	answer_if_known(s);
}

void control_pong(struct supervisor *s)
{
	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		struct client *c = s->clients[i];

		if (!c || c->kind != CLIENT_PINGING || c->ended)
			continue;
		client_answer(c, FRAME_PONG, NULL);
		client_finish(c);
	}
}

/** ask_agent() - A question to the agent whose answer goes to the client. Return: false: it cannot be asked now. */
static bool ask_agent(struct supervisor *s, struct client *c, enum frame_type type, enum client_kind kind)
{
	const struct buf nothing = BUF_INIT(0);

	c->kind = kind;
	return (s->phase == RUNNING || s->phase == DRAINING) && supervisor_send(s, type, &nothing);
}

/** ask_status() - Agent, monitor and gateway each know a part. Who asks while they are asked gets the same answer. */
static void ask_status(struct supervisor *s, struct client *c)
{
	const struct monitor_message count = { .type = MONITOR_COUNT };

	c->kind = CLIENT_STATUS;
	if (s->stats_timer >= 0)
		return;
	s->stats_known = s->disk_known = s->gateway_counted = false;
	gateway_count(s);
	s->stats_timer = loop_timer(s->loop, on_stats_timeout, s, NULL);
	if (s->stats_timer < 0 || !ask_agent(s, c, FRAME_STATS, CLIENT_STATUS) ||
	    fd_send_msg(s->monitor_fd, &count, sizeof(count), NULL, 0) < 0)
		answer_all(s);
	else
		loop_timer_set(s->loop, s->stats_timer, STATS_WAIT_MS * NSEC_PER_MSEC);
}

bool control_request(struct supervisor *s, struct client *c, const struct frame *f)
{
	struct ctl_stop stop;

	switch ((int)f->type) {
	case FRAME_CTL_STOP:
		if (!ctl_decode_stop(f->body, f->body_len, &stop))
			return false;
		c->kind = CLIENT_WAITING;
		client_answer(c, FRAME_CTL_OK, NULL);
		c->in.len = 0;
		supervisor_stop(s, MIN(stop.grace_ms, UINT32_MAX), "it was stopped");
		client_flush(c);
		return true;
	case FRAME_CTL_TOUCH:
		lifetimes_touch(&s->life, clock_monotonic_ns());
		supervisor_set_timers(s);
		client_answer(c, FRAME_CTL_OK, NULL);
		client_finish(c);
		return true;
	case FRAME_PING:
		if (!ask_agent(s, c, FRAME_PING, CLIENT_PINGING))
			client_finish(c);
		return true;
	case FRAME_CTL_STATUS:
		ask_status(s, c);
		return true;
	default:
		return false;
	}
}
