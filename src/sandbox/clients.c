/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions of a persistent sandbox. What goes to the agent and comes back is passed on in whole frames: a client may
 * die in the middle of one, and output is logged on its way. Each direction holds at most HELD_MAX bytes: who does not
 * read stops only its own session. A client that goes away leaves its command running (its input ends, its output is
 * only logged); the agent's end of the connection ends the session.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "monitor/monitor.h"
#include "sandbox/supervisor.h"

#define HELD_MAX (256u << 10)
#define CHUNK (64u << 10)

static void on_client(void *arg, uint32_t events);
static void on_guest(void *arg, uint32_t events);

/** watch() - Register, change or forget: a source without events would still be woken by a hang-up, for ever. */
static void watch(struct supervisor *s, int *source, int fd, uint32_t events, loop_fn fn, struct client *c)
{
	if (fd < 0 || !events)
		loop_remove(s->loop, source);
	else if (*source >= 0)
		loop_modify(s->loop, *source, events);
	else
		*source = loop_add(s->loop, fd, events, fn, c, NULL);
}

/** is_session() - Does it keep the guest busy? */
static bool is_session(const struct client *c)
{
	return c->guest >= 0 && (c->kind == CLIENT_SESSION || c->kind == CLIENT_TRANSFER);
}

/** release() - Forget it. */
static void release(struct client *c)
{
	struct supervisor *s = c->s;

	loop_remove(s->loop, &c->source);
	loop_remove(s->loop, &c->guest_source);
	fd_close(&c->fd);
	fd_close(&c->guest);
	fd_close(&c->feed);
	buf_free(&c->in);
	buf_free(&c->to_guest);
	buf_free(&c->from_guest);
	buf_free(&c->out);
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		if (s->clients[i] == c)
			s->clients[i] = NULL;
	free(c);
}

void clients_count(const struct supervisor *s, uint32_t *sessions, uint32_t *attached)
{
	*sessions = *attached = 0;
	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		const struct client *c = s->clients[i];

		if (!c || (c->kind != CLIENT_SESSION && c->kind != CLIENT_TRANSFER))
			continue;
		*sessions += c->guest >= 0;
		*attached += c->fd >= 0;
	}
}

/** check_use() - A sandbox that a session started ends with the last one that somebody watches. contract 10.4 */
static void check_use(struct supervisor *s)
{
	uint32_t sessions, attached;

	clients_count(s, &sessions, &attached);
	if (attached)
		s->was_attached = true;
	else if (s->spec->on_use && s->phase == RUNNING && (s->was_attached || s->client_fd < 0))
		supervisor_stop(s, SANDBOX_STOP_GRACE_S * 1000, "its last session ended");
}

/** guest_gone() - The session is over. */
static void guest_gone(struct client *c)
{
	struct supervisor *s = c->s;
	bool counted = is_session(c);

	loop_remove(s->loop, &c->guest_source);
	fd_close(&c->guest);
	c->ended = true;
	if (counted) {
		lifetimes_session(&s->life, -1, clock_monotonic_ns());
		supervisor_set_timers(s);
	}
}

/** update() - What is waited for now; frees a client with nothing left. */
static void update(struct client *c)
{
	struct supervisor *s = c->s;
	bool reads = c->kind == CLIENT_ASKING || (is_session(c) && c->to_guest.len < HELD_MAX);

	if (c->feed >= 0 && c->to_guest.len < HELD_MAX) {
		uint8_t *to = buf_extend(&c->to_guest, CHUNK);
		ssize_t n = to ? fd_read_full(c->feed, to, CHUNK) : -1;

		if (to)
			c->to_guest.len -= CHUNK - (size_t)MAX(n, 0);
		if (n < (ssize_t)CHUNK)
			fd_close(&c->feed);
	}
	if (c->ended && (c->fd < 0 || c->out.len == 0)) {
		release(c);
		check_use(s);
		return;
	}
	if (c->kind == CLIENT_WAITING || c->kind == CLIENT_PINGING || c->kind == CLIENT_STATUS)
		reads = true; /* only to see it go */
	watch(s, &c->source, c->fd, (reads && !c->ended ? EPOLLIN : 0U) | (c->out.len ? EPOLLOUT : 0U), on_client, c);
	watch(s, &c->guest_source, c->guest,
	      (c->fd < 0 || c->out.len < HELD_MAX ? EPOLLIN : 0U) | (c->to_guest.len ? EPOLLOUT : 0U), on_guest, c);
}

/** pass_frames() - What the client has said completely goes to the agent. Return: false: it does not keep to the
 * protocol. */
static bool pass_frames(struct client *c)
{
	enum frame_result r;
	size_t used, done = 0;
	struct frame f;

	while ((r = frame_parse(c->in.data + done, c->in.len - done, &f, &used)) == FRAME_OK)
		done += used;
	buf_append(&c->to_guest, c->in.data, done);
	buf_consume(&c->in, done);
	return r != FRAME_BAD && !c->to_guest.failed;
}

/** client_gone() - Its command runs on, without input and with nobody to read; anything else ends. */
static void client_gone(struct client *c)
{
	uint8_t *to;
	ssize_t n;

	/* What it said last, perhaps a signal, counts also when it did not read what was said to it. */
	while (c->kind == CLIENT_SESSION && c->to_guest.len < HELD_MAX && (to = buf_extend(&c->in, CHUNK))) {
		n = recv(c->fd, to, CHUNK, MSG_DONTWAIT);
		c->in.len -= CHUNK - (size_t)MAX(n, 0);
		if (n <= 0 || !pass_frames(c))
			break;
	}
	loop_remove(c->s->loop, &c->source);
	fd_close(&c->fd);
	c->out.len = 0;
	if (c->kind == CLIENT_SESSION && c->guest >= 0) {
		if (!c->terminal)
			frame_append(&c->to_guest, FRAME_STDIN_EOF, c->id, NULL, 0);
		check_use(c->s);
		update(c);
		return;
	}
	if (c->guest >= 0)
		guest_gone(c);
	c->ended = true;
	update(c);
}

struct client *client_new(struct supervisor *s, int fd)
{
	struct client *c = NULL;

	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		if (s->clients[i])
			continue;
		c = calloc(1, sizeof(*c));
		s->clients[i] = c;
		break;
	}
	if (!c) {
		fd_close(&fd);
		return NULL;
	}
	*c = (struct client){ .s = s,
			      .id = ++s->last_id,
			      .kind = CLIENT_ASKING,
			      .fd = fd,
			      .source = -1,
			      .guest = -1,
			      .guest_source = -1,
			      .feed = -1,
			      .in = BUF_INIT(FRAME_BODY_MAX + FRAME_HEADER_SIZE + CHUNK),
			      .to_guest = BUF_INIT(2 * FRAME_BODY_MAX),
			      .from_guest = BUF_INIT(FRAME_BODY_MAX + FRAME_HEADER_SIZE + CHUNK),
			      .out = BUF_INIT(4 * FRAME_BODY_MAX) };
	update(c);
	return c;
}

void client_answer(struct client *c, uint16_t type, const struct buf *body)
{
	if (c->fd >= 0)
		frame_append(&c->out, type, 0, body ? body->data : NULL, body ? body->len : 0);
}

void client_flush(struct client *c)
{
	update(c);
}

void client_finish(struct client *c)
{
	c->ended = true;
	update(c);
}

/** refuse() - It gets no session. */
static void refuse(struct client *c, const char *text)
{
	struct buf body = BUF_INIT(1024);

	msg_encode_failed(&body, &(struct msg_failed){ .kind = MSG_FAIL_OTHER, .text = text });
	client_answer(c, FRAME_EXEC_FAILED, &body);
	buf_free(&body);
	client_finish(c);
}

/** connect_guest() - A connection to the agent for this client. */
static bool connect_guest(struct client *c, enum client_kind kind)
{
	struct monitor_message msg = { .type = MONITOR_CONNECT, .id = c->id, .port = VSOCK_PORT_SESSION };
	struct supervisor *s = c->s;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return false;
	if (fd_send_msg(s->monitor_fd, &msg, sizeof(msg), &pair[1], 1) < 0) {
		close(pair[0]);
		close(pair[1]);
		return false;
	}
	close(pair[1]);
	c->guest = pair[0];
	c->kind = kind;
	lifetimes_session(&s->life, 1, clock_monotonic_ns());
	supervisor_set_timers(s);
	return true;
}

/** begin() - The first frame of a client that wants a session; the frame and all behind it go to the agent. */
static void begin(struct client *c, const struct frame *f)
{
	enum client_kind kind = f->type == FRAME_EXEC ? CLIENT_SESSION : CLIENT_TRANSFER;
	static struct msg_exec exec; /* large */

	c->terminal = f->type == FRAME_EXEC && msg_decode_exec(f->body, f->body_len, &exec) && exec.tty;
	if (!connect_guest(c, kind)) {
		refuse(c, "too many sessions");
		return;
	}
	check_use(c->s);
	if (pass_frames(c))
		update(c);
	else
		client_gone(c);
}

/** ask() - Look at what a client wants, when it has said it. */
static void ask(struct client *c)
{
	struct supervisor *s = c->s;
	struct frame f;
	size_t used;

	switch (frame_parse(c->in.data, c->in.len, &f, &used)) {
	case FRAME_MORE:
		update(c);
		return;
	case FRAME_BAD:
		client_finish(c);
		return;
	case FRAME_OK:
		break;
	}
	if (f.type == FRAME_EXEC || f.type == FRAME_PUT || f.type == FRAME_GET) {
		if (s->phase == DRAINING)
			refuse(c, "the sandbox is stopping");
		else if (s->phase == RUNNING)
			begin(c, &f);
		else
			watch(s, &c->source, -1, 0, on_client, c); /* until clients_ready() */
		return;
	}
	if (control_request(s, c, &f))
		return;
	refuse(c, "this sandbox was started by another version of msb, which does not know this request");
}

/** on_client() - Bytes of a client, room for its answer, or its end. */
static void on_client(void *arg, uint32_t events)
{
	struct client *c = arg;
	ssize_t n = 0;

	if (c->out.len) {
		n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n > 0)
			buf_consume(&c->out, (size_t)n);
		else if (n < 0 && errno != EAGAIN && errno != EINTR) {
			client_gone(c);
			return;
		}
	}
	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !c->ended && c->to_guest.len < HELD_MAX) {
		uint8_t *to = buf_extend(&c->in, CHUNK);

		n = to ? recv(c->fd, to, CHUNK, MSG_DONTWAIT) : 0;
		if (to)
			c->in.len -= CHUNK - (size_t)MAX(n, 0);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
			client_gone(c);
			return;
		}
		if (n > 0 && c->kind == CLIENT_ASKING) {
			ask(c);
			return;
		}
		if (c->kind != CLIENT_SESSION && c->kind != CLIENT_TRANSFER)
			c->in.len = 0;
		else if (!pass_frames(c)) {
			client_gone(c);
			return;
		}
	} else if (events & (EPOLLHUP | EPOLLERR)) {
		client_gone(c);
		return;
	}
	update(c);
}

/** own_frame() - News of one of the sandbox's own sessions. */
static void own_frame(struct client *c, const struct frame *f)
{
	struct supervisor *s = c->s;
	struct msg_failed failed;
	struct msg_exited exited;
	char text[200];

	switch (f->type) {
	case FRAME_EXEC_FAILED:
		if (!msg_decode_failed(f->body, f->body_len, &failed) || failed.kind >= MSG_FAIL_COUNT)
			supervisor_end(s, SANDBOX_CRASHED, MSG_FAIL_OTHER, 0, "the guest agent broke the protocol");
		else
			supervisor_end(s, SANDBOX_CRASHED, (enum msg_failure)failed.kind,
				       (int)(failed.sys_errno & 0xfff),
				       failed.text ? failed.text : "the guest could not be prepared");
		break;
	case FRAME_DONE:
		c->done = true;
		if (!clients_own_files(s) && !clients_own_command(s))
			supervisor_running(s);
		break;
	case FRAME_STARTED:
		supervisor_running(s);
		break;
	case FRAME_EXITED:
		if (!msg_decode_exited(f->body, f->body_len, &exited))
			break;
		snprintf(text, sizeof(text), "its command ended with %s %u", exited.signaled ? "signal" : "status",
			 (unsigned int)(exited.code & 0xff));
		supervisor_stop(s, SANDBOX_STOP_GRACE_S * 1000, text);
		break;
	default:
		break;
	}
}

/** guest_frame() - One frame of the agent: logged, and on to the client. */
static void guest_frame(struct client *c, const struct frame *f)
{
	struct supervisor *s = c->s;

	if (f->type == FRAME_STDOUT)
		output_log_write(s->log, c->terminal ? OUTPUT_PTY : OUTPUT_STDOUT, c->id, f->body, f->body_len);
	else if (f->type == FRAME_STDERR)
		output_log_write(s->log, OUTPUT_STDERR, c->id, f->body, f->body_len);
	if (c->fd >= 0)
		frame_append(&c->out, f->type, f->session, f->body, f->body_len);
}

/** on_guest() - Bytes of the agent, room for more, or the end of the session. */
static void on_guest(void *arg, uint32_t events)
{
	struct client *c = arg;
	struct supervisor *s = c->s;
	bool own = c->workload || c->feed >= 0 || (c->kind == CLIENT_TRANSFER && c->fd < 0);
	uint8_t *to;
	size_t done = 0;
	ssize_t n;

	if (c->to_guest.len) {
		n = send(c->guest, c->to_guest.data, c->to_guest.len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n > 0)
			buf_consume(&c->to_guest, (size_t)n);
		else if (n < 0 && errno != EAGAIN && errno != EINTR)
			c->to_guest.len = 0; /* the reading side sees the end, after what was said last */
	}
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
		update(c);
		return;
	}
	to = buf_extend(&c->from_guest, CHUNK);
	n = to ? recv(c->guest, to, CHUNK, MSG_DONTWAIT) : 0;
	if (to)
		c->from_guest.len -= CHUNK - (size_t)MAX(n, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		update(c);
		return;
	}
	for (;;) {
		struct frame f;
		size_t used;
		enum frame_result r = frame_parse(c->from_guest.data + done, c->from_guest.len - done, &f, &used);

		if (r == FRAME_BAD)
			n = 0;
		if (r != FRAME_OK)
			break;
		guest_frame(c, &f);
		if (own)
			own_frame(c, &f);
		done += used;
	}
	buf_consume(&c->from_guest, done);
	if (n <= 0 || c->done) {
		guest_gone(c);
		if (own && !c->done && s->phase < RUNNING)
			supervisor_end(s, SANDBOX_CRASHED, MSG_FAIL_OTHER, 0, "the guest agent ended the session");
	}
	update(c);
}

bool clients_own_files(struct supervisor *s)
{
	char name[32];
	struct client *c;
	int fd = -1;

	if (s->once[0]) /* it is on the disk now */
		unlinkat(s->spec->dir_fd, s->once, 0);
	s->once[0] = '\0';
	for (; fd < 0 && s->next_file < SANDBOX_FILES_MAX; s->next_file++) {
		snprintf(name, sizeof(name), "files/%u", s->next_file);
		fd = openat(s->spec->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0)
			continue;
		snprintf(name, sizeof(name), "files/%u.once", s->next_file);
		fd = openat(s->spec->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0)
			snprintf(s->once, sizeof(s->once), "%s", name);
	}
	if (fd < 0)
		return false;
	c = client_new(s, -1);
	if (c && connect_guest(c, CLIENT_TRANSFER)) {
		c->feed = fd;
		update(c);
		return true;
	}
	fd_close(&fd);
	supervisor_end(s, SANDBOX_CRASHED, MSG_FAIL_OTHER, errno, "send files to the guest");
	return true;
}

bool clients_own_command(struct supervisor *s)
{
	struct buf body = BUF_INIT(FRAME_BODY_MAX);
	struct client *c;

	if (!s->spec->workload)
		return false;
	c = client_new(s, -1);
	if (c && msg_encode_exec(&body, s->spec->workload) &&
	    frame_append(&c->to_guest, FRAME_EXEC, c->id, body.data, body.len) && connect_guest(c, CLIENT_SESSION)) {
		c->workload = true;
		c->terminal = s->spec->workload->tty;
		update(c);
	} else {
		supervisor_end(s, SANDBOX_CRASHED, MSG_FAIL_BAD_ARGS, 0, "the command is too long");
	}
	buf_free(&body);
	return true;
}

void clients_ready(struct supervisor *s)
{
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		if (s->clients[i] && s->clients[i]->kind == CLIENT_ASKING && s->clients[i]->in.len)
			ask(s->clients[i]);
	check_use(s);
}

void clients_refused(struct supervisor *s, uint32_t id)
{
	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		struct client *c = s->clients[i];

		if (!c || c->id != id)
			continue;
		if (c->workload || c->fd < 0) {
			supervisor_end(s, SANDBOX_CRASHED, MSG_FAIL_OTHER, 0, "the guest agent refused the session");
			return;
		}
		if (c->guest >= 0)
			guest_gone(c);
		refuse(c, "the guest agent refused the session");
		return;
	}
}

void clients_tell(struct supervisor *s, uint16_t type, const struct buf *body)
{
	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		struct client *c = s->clients[i];

		if (!c || c->fd < 0)
			continue;
		client_answer(c, type, body);
		(void)!send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
}

void clients_free(struct supervisor *s)
{
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		if (s->clients[i])
			release(s->clients[i]);
}
