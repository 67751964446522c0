/* SPDX-License-Identifier: Apache-2.0 */
/* What the user of the stack does with a connection. */
#include <string.h>

#include "net/tcp/stack.h"

struct tcp_conn *tcp_connect(struct tcp_stack *s, const struct tcp_pair *pair, void *user, struct error *err)
{
	struct tcp_conn *c;

	if (conn_find(s, pair)) {
		err_set(err, ERR_EXISTS, 0, "there is a connection between these two ports");
		return NULL;
	}
	c = conn_new(s, pair, err);
	if (!c)
		return NULL;
	c->state = TCP_SYN_SENT;
	c->attached = true;
	c->user = user;
	c->rtt_time = s->now;
	send_syn(c);
	return c;
}

void tcp_accept(struct tcp_conn *c)
{
	if (!c->held)
		return;
	c->held = false;
	c->t_life = NEVER;
	c->rtt_time = c->s->now;
	send_syn(c);
}

void tcp_refuse(struct tcp_conn *c)
{
	send_reset(c);
	conn_free(c);
}

void tcp_drop(struct tcp_conn *c)
{
	conn_free(c);
}

void tcp_set_user(struct tcp_conn *c, void *user)
{
	c->user = user;
}

void *tcp_user(const struct tcp_conn *c)
{
	return c->user;
}

const struct tcp_pair *tcp_pair(const struct tcp_conn *c)
{
	return &c->pair;
}

enum tcp_state tcp_state(const struct tcp_conn *c)
{
	return c->state;
}

int tcp_peek(const struct tcp_conn *c, struct iovec *iov, int count)
{
	int n = ring_iov(&c->s->pool, &c->receive, c->rcv_head, tcp_unread(c) - c->direct_len, iov, count);

	if (c->direct_len > 0 && n < count)
		iov[n++] = (struct iovec){ (uint8_t *)(uintptr_t)c->direct, c->direct_len };
	return n;
}

size_t tcp_readable(const struct tcp_conn *c)
{
	return tcp_unread(c);
}

void tcp_consume(struct tcp_conn *c, size_t n)
{
	uint32_t from = c->rcv_head, unread = tcp_unread(c), end = from + unread;

	ASSERT(n <= unread);
	if (n == 0)
		return;
	if (c->early)
		end = c->early->r[c->early->count - 1].end;
	c->rcv_head += (uint32_t)n;
	unread -= (uint32_t)n;
	if (unread < c->direct_len) {
		c->direct += c->direct_len - unread;
		c->direct_len = unread;
	}
	ring_release(&c->s->pool, &c->receive, from, c->rcv_head, end);
	stack_trim_later(c->s);
	if (c->state == TCP_CLOSED || c->state == TCP_TIME_WAIT) {
		if (unread == 0)
			conn_notify(c, EVENT_CLOSED);
		return;
	}
	window_opened(c);
	if (c->ack_now)
		conn_output(c);
}

bool tcp_at_end(const struct tcp_conn *c)
{
	return c->fin_known && c->rcv_nxt == c->fin_seq + 1 && tcp_unread(c) == 0;
}

static bool may_write(const struct tcp_conn *c)
{
	return c->attached && !c->fin_queued && (c->state <= TCP_ESTABLISHED || c->state == TCP_CLOSE_WAIT);
}

/** first_kept() - The first byte that the send buffer holds, or would. */
static uint32_t first_kept(const struct tcp_conn *c)
{
	return c->state <= TCP_SYN_RECEIVED ? c->iss + 1 : c->snd_una;
}

int tcp_reserve(struct tcp_conn *c, size_t want, struct iovec *iov, int count)
{
	uint32_t used = c->snd_end - first_kept(c), limit = send_limit(c), space;

	if (!may_write(c) || want == 0)
		return 0;
	space = used < limit ? (uint32_t)MIN(want, limit - used) : 0;
	c->reserved = ring_ensure(&c->s->pool, &c->send, c->snd_end, space);
	if (c->reserved == 0) {
		c->want_write = true;
		if (space > 0)
			link_append(&c->s->starved, &c->starved);
	}
	return ring_iov(&c->s->pool, &c->send, c->snd_end, c->reserved, iov, count);
}

void tcp_commit(struct tcp_conn *c, size_t n)
{
	uint32_t reserved_end = c->snd_end + c->reserved;

	ASSERT(n <= c->reserved);
	if (c->reserved == 0)
		return;
	c->reserved = 0;
	c->snd_end += (uint32_t)n;
	ring_unreserve(&c->s->pool, &c->send, first_kept(c), c->snd_end, reserved_end);
	if (n > 0)
		conn_output(c);
}

size_t tcp_write(struct tcp_conn *c, const void *data, size_t n)
{
	struct iovec iov[RING_SLOTS];
	int count = tcp_reserve(c, n, iov, ARRAY_LEN(iov));
	const uint8_t *from = data;
	size_t done = 0;

	for (int i = 0; i < count; i++) {
		memcpy(iov[i].iov_base, from + done, iov[i].iov_len);
		done += iov[i].iov_len;
	}
	tcp_commit(c, done);
	return done;
}

size_t tcp_unsent(const struct tcp_conn *c)
{
	return c->snd_end - (c->fin_sent && c->snd_una == c->snd_end + 1 ? c->snd_end : first_kept(c));
}

void tcp_shutdown_write(struct tcp_conn *c)
{
	if (!may_write(c))
		return;
	c->fin_queued = true;
	/* Before the handshake is complete the FIN only waits (RFC 9293, 3.10.4). */
	if (c->state == TCP_ESTABLISHED)
		c->state = TCP_FIN_WAIT_1;
	else if (c->state == TCP_CLOSE_WAIT)
		c->state = TCP_LAST_ACK;
	conn_output(c);
}

void tcp_abort(struct tcp_conn *c)
{
	if (c->state >= TCP_SYN_RECEIVED && c->state <= TCP_CLOSE_WAIT)
		send_reset(c);
	conn_free(c);
}

void tcp_close(struct tcp_conn *c)
{
	if (c->held || c->state == TCP_SYN_SENT || c->state == TCP_CLOSED || tcp_unread(c) > 0) {
		tcp_abort(c);
		return;
	}
	tcp_shutdown_write(c);
	c->attached = false;
	c->user = NULL;
	c->events = 0;
	link_remove(&c->event);
	if (c->state == TCP_TIME_WAIT)
		link_append(&c->s->waiting, &c->wait);
	else
		conn_watch(c);
}
