/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. A SYN of the guest is held by the stack until it is known what becomes of it: the policy is
 * asked, the host connects, and only then is it answered, by SYN-ACK or by RST. Where the verdict hangs on a name that
 * the stream itself says, the SYN is answered first; nothing of the guest's passes before its first bytes were judged
 * (sni.c). A guest that stays silent for SILENCE_NS waits for the server to speak: it is judged as a stream without a
 * name and joined, but its first bytes are judged all the same once they come. This is the place where what looks into
 * streams belongs: between tcp_peek() and the host's socket.
 *
 * Bytes are never stored here. From the guest: what the stack shows goes to the socket by one call, what the socket
 * does not take stays in the stack, whose window closes. To the guest: the socket is read into the stack's buffer; when
 * there is no space, the socket is not read, and its window closes. An end of data passes on alone, each way
 * (half-close); a reset passes on as a reset.
 */
#include "net/flow.h"

#include <errno.h>
#include <netinet/in.h>
#include <linux/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/loop.h"
#include "base/macros.h"
#include "net/address.h"
#include "net/sni.h"

#define READ_MAX 262144		/* bytes of one read from the host */
#define READS_PER_WAKE 2	/* others want their turn, too */
#define SILENCE_NS 1000000000LL /* then the guest waits for the server */
#define HELLO_NS 10000000000LL	/* for a ClientHello that has begun */
#define PORT_DOT 853		/* DNS that could not be seen, as long as TLS is not intercepted */

struct flow *flow_new(struct gateway *g, enum flow_kind kind, enum flow_state state, int fd)
{
	struct flows *flows = g->flows;
	struct flow *f = flows->free;

	if (f)
		flows->free = f->next_free;
	else if (flows->touched < flows->size)
		f = &flows->all[flows->touched++];
	if (!f) {
		fd_close(&fd);
		return NULL;
	}
	*f = (struct flow){ .g = g, .used = true, .kind = kind, .state = state, .fd = fd, .source = -1 };
	flows->count[kind]++;
	return f;
}

void flow_end(struct flow *f, bool reset)
{
	struct flows *flows = f->g->flows;
	struct linger at_once = { .l_onoff = 1 };

	loop_remove(f->g->loop, &f->source);
	if (f->fd >= 0 && reset)
		setsockopt(f->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	fd_close(&f->fd);
	flow_dns_free(f->dns);
	flows->count[f->kind]--;
	f->used = false;
	f->next_free = flows->free;
	flows->free = f;
}

void flow_abort(struct flow *f)
{
	tcp_abort(f->conn);
	flow_end(f, true);
}

static void on_host(void *arg, uint32_t events);
static void connected(struct flow *f);

/**
 * watch() - What of the host's socket is waited for.
 * @quiet: a socket that is closed both ways says so again and again: when nothing is wanted, it is not watched at all
 */
static void watch(struct flow *f, uint32_t events, bool quiet)
{
	if (f->source < 0 && (events || !quiet)) {
		f->source = loop_add(f->g->loop, f->fd, events, on_host, f, NULL);
		f->events = events;
		if (f->source < 0)
			flow_abort(f);
		return;
	}
	if (f->source < 0)
		return;
	if (!events && quiet)
		loop_remove(f->g->loop, &f->source);
	else if (events != f->events)
		loop_modify(f->g->loop, f->source, events);
	f->events = events;
}

/** judge() - The policy on a flow of the guest, by what is known of its name. */
static enum policy_verdict judge(struct gateway *g, const struct tcp_conn *c, enum policy_name_state state,
				 const char *name)
{
	const struct endpoint *us = &tcp_pair(c)->us;
	struct policy_flow flow = {
		.direction = POLICY_EGRESS,
		.protocol = POLICY_TCP,
		.ip = us->ip,
		.port = us->port,
		.name_state = state,
		.name = name,
	};

	return gateway_decide(g, &flow);
}

/** connect_failed() - The guest is told as the host was told. */
static void connect_failed(struct flow *f, int error)
{
	if (f->accepted)
		tcp_abort(f->conn);
	else if (error == ETIMEDOUT)
		tcp_drop(f->conn); /* silence for silence */
	else
		tcp_refuse(f->conn);
	flow_end(f, false);
}

/** dial() - Begin the host's connection. The flow may be gone afterwards. */
static void dial(struct flow *f)
{
	const struct endpoint *us = &tcp_pair(f->conn)->us;
	struct endpoint to = { gateway_dial(f->g, &us->ip), us->port };
	int family = address_family(&to.ip);
	struct sockaddr_storage addr;
	socklen_t len = address_put(&addr, family, &to);

	f->state = FLOW_CONNECTING;
	f->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (f->fd < 0)
		connect_failed(f, errno);
	else if (connect(f->fd, (struct sockaddr *)&addr, len) == 0)
		connected(f);
	else if (errno == EINPROGRESS)
		watch(f, EPOLLOUT, false);
	else
		connect_failed(f, errno);
}

/** sniff() - The guest's first bytes. Return: false: nothing may pass now; the flow may be gone. */
static bool sniff(struct flow *f)
{
	static uint8_t first[SNI_MAX];
	char name[SNI_NAME_MAX];
	struct iovec iov[TCP_READ_IOV];
	int count = tcp_peek(f->conn, iov, TCP_READ_IOV);
	enum sni_result found;
	size_t n = 0;

	for (int i = 0; i < count && n < sizeof(first); i++) {
		size_t here = MIN(iov[i].iov_len, sizeof(first) - n);

		memcpy(first + n, iov[i].iov_base, here);
		n += here;
	}
	found = sni_find(first, n, name);
	if (found == SNI_MORE && !tcp_at_end(f->conn)) {
		if (n && !f->begun) {
			f->begun = true;
			f->deadline = f->g->now + HELLO_NS;
			gateway_need_tick(f->g);
		}
		return false;
	}
	if (found == SNI_BROKEN ||
	    judge(f->g, f->conn, found == SNI_NAME ? POLICY_NAME_SEEN : POLICY_NAME_NONE, name) != POLICY_ALLOW) {
		flow_abort(f);
		return false;
	}
	f->sniffing = false;
	f->deadline = 0;
	if (f->state != FLOW_NAMING)
		return true;
	dial(f);
	return false;
}

/** to_host() - What the guest sent. Return: false: the flow is gone. */
static bool to_host(struct flow *f)
{
	struct iovec iov[TCP_READ_IOV];
	struct msghdr m = { .msg_iov = iov };
	int count;

	f->blocked = false;
	while ((count = tcp_peek(f->conn, iov, TCP_READ_IOV)) > 0) {
		ssize_t n;

		m.msg_iovlen = (size_t)count;
		n = sendmsg(f->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			f->blocked = true;
			return true;
		}
		if (n < 0) {
			flow_abort(f);
			return false;
		}
		tcp_consume(f->conn, (size_t)n);
	}
	if (tcp_at_end(f->conn) && !f->guest_eof) {
		f->guest_eof = true;
		shutdown(f->fd, SHUT_WR);
	}
	return true;
}

/** to_guest() - What the host has. Return: false: the flow is gone. */
static bool to_guest(struct flow *f)
{
	struct iovec iov[TCP_READ_IOV];

	f->paused = false;
	for (int turn = 0; turn < READS_PER_WAKE && !f->host_eof; turn++) {
		int count = tcp_reserve(f->conn, READ_MAX, iov, TCP_READ_IOV);
		size_t room = 0;
		ssize_t n;

		if (!count) {
			tcp_commit(f->conn, 0);
			f->paused = true;
			return true;
		}
		for (int i = 0; i < count; i++)
			room += iov[i].iov_len;
		n = readv(f->fd, iov, count);
		tcp_commit(f->conn, n > 0 ? (size_t)n : 0);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			flow_abort(f);
			return false;
		}
		if (n == 0) {
			f->host_eof = true;
			tcp_shutdown_write(f->conn);
		}
		if (n < (ssize_t)room)
			return true;
	}
	return true;
}

/** settle() - After bytes have passed: is it over, and what is waited for? */
static void settle(struct flow *f)
{
	if (f->host_eof && f->guest_eof) {
		tcp_close(f->conn);
		flow_end(f, false);
		return;
	}
	watch(f, (f->host_eof || f->paused ? 0 : EPOLLIN) | (f->blocked ? EPOLLOUT : 0), f->guest_eof || f->hung);
}

/** guest_side() - to_host() behind the filter. Return: false: the flow is gone. */
static bool guest_side(struct flow *f)
{
	if (f->sniffing && !sniff(f))
		return f->used; /* the place is, until the next flow */
	return to_host(f);
}

/** connected() - The host's end stands: now the guest's. */
static void connected(struct flow *f)
{
	int on = 1;

	/* The guest has gathered already, if it wanted to. */
	setsockopt(f->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	f->state = FLOW_OPEN;
	f->g->count.connections_total++;
	if (!f->accepted)
		tcp_accept(f->conn);
	f->accepted = true;
	if (guest_side(f))
		settle(f);
}

static void on_host(void *arg, uint32_t events)
{
	struct flow *f = arg;
	struct gateway *g = f->g;
	int error = 0;
	socklen_t len = sizeof(error);

	gateway_enter(g);
	if (f->kind == FLOW_IN)
		g->activity(g->activity_arg);
	if (f->state == FLOW_CONNECTING) {
		getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &error, &len);
		if (error)
			connect_failed(f, error);
		else
			connected(f);
	} else {
		f->hung |= (events & (EPOLLERR | EPOLLHUP)) != 0;
		if ((!(f->hung || events & EPOLLOUT) || guest_side(f)) &&
		    (!(f->hung || events & EPOLLIN) || to_guest(f)))
			settle(f);
	}
	gateway_leave(g);
}

/** incoming() - A SYN of the guest. */
static void incoming(void *arg, struct tcp_conn *c)
{
	struct gateway *g = arg;
	uint16_t port = tcp_pair(c)->us.port;
	enum policy_verdict verdict;
	struct flow *f;

	if (port == PORT_DOT || g->flows->count[FLOW_OUT] + g->flows->count[FLOW_DNS] >= g->config->max_connections) {
		g->count.denied++;
		tcp_refuse(c);
		return;
	}
	if (port == DNS_PORT) {
		flow_dns_start(g, c);
		return;
	}
	verdict = judge(g, c, POLICY_NAME_UNSEEN, NULL);
	f = verdict == POLICY_DENY ? NULL : flow_new(g, FLOW_OUT, FLOW_NAMING, -1);
	if (!f) {
		tcp_refuse(c);
		return;
	}
	f->conn = c;
	tcp_set_user(c, f);
	if (verdict == POLICY_ALLOW) {
		dial(f);
		return;
	}
	f->sniffing = true;
	f->accepted = true;
	f->deadline = g->now + SILENCE_NS;
	gateway_need_tick(g);
	tcp_accept(c);
}

static void established(void *arg, struct tcp_conn *c)
{
	struct flow *f = tcp_user(c);

	(void)arg;
	if (f->kind != FLOW_IN)
		return;
	f->state = FLOW_OPEN;
	f->g->count.connections_total++;
	if (guest_side(f) && to_guest(f))
		settle(f);
}

static void readable(void *arg, struct tcp_conn *c)
{
	struct flow *f = tcp_user(c);

	(void)arg;
	if (f->kind == FLOW_DNS) {
		flow_dns_read(f);
	} else if (f->state == FLOW_NAMING) {
		sniff(f);
	} else if (f->state == FLOW_OPEN) {
		if (f->kind == FLOW_IN)
			f->g->activity(f->g->activity_arg);
		if (!f->blocked && guest_side(f))
			settle(f);
	}
}

static void writable(void *arg, struct tcp_conn *c)
{
	struct flow *f = tcp_user(c);

	(void)arg;
	if (f->kind != FLOW_DNS && f->state == FLOW_OPEN && f->paused && to_guest(f))
		settle(f);
}

static void closed(void *arg, struct tcp_conn *c, enum tcp_end how)
{
	struct flow *f = tcp_user(c);

	(void)arg;
	flow_end(f, how != TCP_END_DONE);
}

const struct tcp_ops flow_ops = {
	.output = output_tcp,
	.incoming = incoming,
	.established = established,
	.readable = readable,
	.writable = writable,
	.closed = closed,
};

/** overdue() - A deadline has passed. */
static void overdue(struct flow *f)
{
	f->deadline = 0;
	if (f->kind == FLOW_DNS) {
		tcp_close(f->conn);
		flow_end(f, false);
	} else if (f->begun && f->sniffing) {
		flow_abort(f); /* a hello that never ends */
	} else if (f->state == FLOW_NAMING) {
		if (judge(f->g, f->conn, POLICY_NAME_NONE, NULL) == POLICY_ALLOW)
			dial(f);
		else
			flow_abort(f);
	}
}

bool flows_expire(struct gateway *g)
{
	struct flows *flows = g->flows;
	bool left = false;

	for (size_t i = 0; i < flows->touched; i++) {
		struct flow *f = &flows->all[i];

		if (f->used && f->deadline && f->deadline <= g->now)
			overdue(f);
		left |= f->used && f->deadline;
	}
	return listeners_resume(flows) || left;
}

struct flows *flows_new(struct gateway *g, struct gateway_fds *fds, struct error *err)
{
	struct flows *flows = calloc(1, sizeof(*flows));

	if (flows) {
		flows->g = g;
		flows->size = (size_t)g->config->max_connections + PUBLISHED_FLOWS_MAX;
		flows->all = calloc(flows->size, sizeof(*flows->all));
	}
	if (!flows || !flows->all) {
		free(flows);
		err_set(err, ERR_NO_MEMORY, 0, "connections: out of memory");
		return NULL;
	}
	if (listeners_open(flows, fds, err) < 0) {
		flows_free(flows);
		return NULL;
	}
	return flows;
}

void flows_free(struct flows *flows)
{
	if (!flows)
		return;
	for (size_t i = 0; i < flows->touched; i++)
		if (flows->all[i].used)
			flow_end(&flows->all[i], true);
	listeners_close(flows);
	free(flows->all);
	free(flows);
}
