/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. The gateway answers echo requests to its own addresses itself. Others go out by the socket that
 * was given (ping socket or raw), if the policy allows them, with a sequence number of ours that finds the way back: at
 * most ECHO_MAX wait, ECHO_LIFE_NS each; a new one takes the oldest's place. A ping socket's identifier is the
 * kernel's, a raw one's is a random number of ours. Nothing else of ICMP passes in either direction; errors are made
 * here, for UDP.
 *
 * Source: RFC 792, 1122 3.2.2, 4443; icmp(7), raw(7).
 */
#include <errno.h>
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/loop.h"
#include "base/macros.h"
#include "net/address.h"
#include "net/checksum.h"
#include "net/gateway.h"

#define ECHO_HEADER 8
#define REPLIES_PER_WAKE 64

enum type {
	V4_REPLY = 0,
	V4_UNREACHABLE = 3,
	V4_REQUEST = 8,
	V6_UNREACHABLE = 1,
	V6_TOO_BIG = 2,
	V6_REQUEST = 128,
	V6_REPLY = 129
};
enum code { V4_CODE_PORT = 3, V4_CODE_TOO_BIG = 4, V6_CODE_PORT = 4 };

/** A request that waits for its answer. */
struct echo {
	int64_t since; /* 0: free */
	bool v6;
	struct ip dst;
	uint16_t id, seq; /* the guest's */
	uint16_t our_seq;
};

struct pinger {
	struct gateway *g;
	int fd, source;
	bool v6, raw;
};

struct icmp {
	struct gateway *g;
	struct pinger pinger[2]; /* IPv4, IPv6 */
	uint16_t our_id, next_seq;
	struct echo echo[ECHO_MAX];
};

/** claim() - A place for a request: free, or the oldest's. */
static struct echo *claim(struct icmp *icmp)
{
	struct echo *e = &icmp->echo[0];

	for (int i = 0; i < ECHO_MAX && e->since; i++)
		if (icmp->echo[i].since < e->since)
			e = &icmp->echo[i];
	return e;
}

/** answer() - An echo reply to the guest. @data: echo header and payload */
static void answer(struct gateway *g, bool v6, const struct ip *from, uint8_t *data, size_t len)
{
	struct packet_head h = {
		.v6 = v6,
		.src = *from,
		.dst = v6 ? g->config->guest6 : g->config->guest4,
		.proto = v6 ? PROTO_ICMP6 : PROTO_ICMP,
	};

	data[0] = v6 ? V6_REPLY : V4_REPLY;
	data[1] = 0;
	output_packet(g, &h, data, len);
}

/** forward() - An echo request to somebody else. */
static void forward(struct gateway *g, const struct packet *p)
{
	struct icmp *icmp = g->icmp;
	struct pinger *out = &icmp->pinger[p->v6];
	struct endpoint to = { .ip = p->dst };
	struct sockaddr_storage addr;
	socklen_t len = address_put(&addr, p->v6 ? AF_INET6 : AF_INET, &to);
	struct echo *e;
	uint16_t sum;

	if (out->fd < 0 || p->v6 == ip_is_v4(&p->dst) || p->len > PACKET_MAX - IP_HEADER_MAX)
		return;
	e = claim(icmp);
	*e = (struct echo){ .since = g->now,
			    .v6 = p->v6,
			    .dst = p->dst,
			    .id = get16(p->data + 4),
			    .seq = get16(p->data + 6),
			    .our_seq = icmp->next_seq++ };
	memcpy(g->out, p->data, p->len);
	memset(g->out + 2, 0, 2);
	set16(g->out + 4, icmp->our_id);
	set16(g->out + 6, e->our_seq);
	if (!p->v6) { /* the kernel sums ICMPv6 itself, and what goes through a ping socket */
		sum = checksum_end(checksum_add(0, g->out, p->len));
		memcpy(g->out + 2, &sum, 2);
	}
	if (sendto(out->fd, g->out, p->len, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&addr, len) < 0)
		e->since = 0;
	else
		gateway_need_tick(g);
}

void icmp_input(struct gateway *g, const struct packet *p)
{
	struct policy_flow flow = {
		.direction = POLICY_EGRESS,
		.protocol = p->v6 ? POLICY_ICMPV6 : POLICY_ICMPV4,
		.ip = p->dst,
		.name_state = POLICY_NAME_NONE,
	};

	if (p->data[0] != (p->v6 ? V6_REQUEST : V4_REQUEST) || p->data[1] != 0)
		return;
	if (gateway_is_own(g, &p->dst)) {
		memcpy(g->out, p->data, p->len);
		answer(g, p->v6, &p->dst, g->out, p->len);
	} else if (gateway_decide(g, &flow) == POLICY_ALLOW) {
		forward(g, p);
	}
}

/** reply() - What came for one of our requests. */
static void reply(struct pinger *p, const struct endpoint *from, uint8_t *data, size_t n)
{
	struct icmp *icmp = p->g->icmp;
	uint16_t seq;

	/* A raw socket of IPv4 shows the IP header, too, and messages for everybody on this host. */
	if (p->raw && !p->v6) {
		size_t head = n ? (size_t)(data[0] & 15) * 4 : 0;

		if (head < IP4_HEADER || head > n)
			return;
		data += head;
		n -= head;
	}
	if (n < ECHO_HEADER || data[0] != (p->v6 ? V6_REPLY : V4_REPLY) || data[1] != 0 ||
	    (p->raw && get16(data + 4) != icmp->our_id))
		return;
	seq = get16(data + 6);
	for (int i = 0; i < ECHO_MAX; i++) {
		struct echo *e = &icmp->echo[i];

		if (!e->since || e->our_seq != seq || e->v6 != p->v6 || !ip_equal(&e->dst, &from->ip))
			continue;
		set16(data + 4, e->id);
		set16(data + 6, e->seq);
		e->since = 0;
		answer(p->g, p->v6, &from->ip, data, n);
		return;
	}
}

static void on_reply(void *arg, uint32_t events)
{
	struct pinger *p = arg;

	(void)events;
	gateway_enter(p->g);
	for (int i = 0; i < REPLIES_PER_WAKE; i++) {
		struct sockaddr_storage addr;
		socklen_t len = sizeof(addr);
		struct endpoint from;
		ssize_t n = recvfrom(p->fd, p->g->out, sizeof(p->g->out), MSG_DONTWAIT, (struct sockaddr *)&addr, &len);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n >= 0 && address_get(&addr, &from))
			reply(p, &from, p->g->out, (size_t)n);
	}
	gateway_leave(p->g);
}

/** quote() - An error with the head of the packet that it is about, as the guest sent it. */
static void quote(struct gateway *g, const struct endpoint *guest, const struct endpoint *us, uint8_t type,
		  uint8_t code, uint32_t rest)
{
	bool v6 = !ip_is_v4(&guest->ip);
	struct packet_head sent = { .v6 = v6, .src = guest->ip, .dst = us->ip, .proto = PROTO_UDP };
	struct packet_head h = { .v6 = v6, .src = us->ip, .dst = guest->ip, .proto = v6 ? PROTO_ICMP6 : PROTO_ICMP };
	uint8_t data[8 + IP6_HEADER + 8] = { type, code };
	size_t head = packet_head_len(&sent);

	set32(data + 4, rest);
	packet_write(data + 8, &sent, 8);
	set16(data + 8 + head, guest->port);
	set16(data + 8 + head + 2, us->port);
	set16(data + 8 + head + 4, 8);
	output_packet(g, &h, data, 8 + head + 8);
}

void icmp_unreachable(struct gateway *g, const struct endpoint *guest, const struct endpoint *us)
{
	if (ip_is_v4(&guest->ip))
		quote(g, guest, us, V4_UNREACHABLE, V4_CODE_PORT, 0);
	else
		quote(g, guest, us, V6_UNREACHABLE, V6_CODE_PORT, 0);
}

void icmp_too_big(struct gateway *g, const struct endpoint *guest, const struct endpoint *us, uint32_t mtu)
{
	if (ip_is_v4(&guest->ip))
		quote(g, guest, us, V4_UNREACHABLE, V4_CODE_TOO_BIG, mtu & 0xffff);
	else
		quote(g, guest, us, V6_TOO_BIG, 0, mtu);
}

bool icmp_expire(struct gateway *g)
{
	bool left = false;

	for (int i = 0; i < ECHO_MAX; i++) {
		struct echo *e = &g->icmp->echo[i];

		if (e->since && g->now - e->since > ECHO_LIFE_NS)
			e->since = 0;
		left |= e->since != 0;
	}
	return left;
}

/** open_pinger() - A socket that was given. */
static int open_pinger(struct pinger *p, struct gateway *g, int fd, bool v6, struct error *err)
{
	struct icmp_filter only_replies = { .data = ~(1u << V4_REPLY) };
	struct icmp6_filter only_replies6;
	int type = 0;
	socklen_t len = sizeof(type);

	*p = (struct pinger){ .g = g, .fd = fd, .source = -1, .v6 = v6 };
	if (fd < 0)
		return 0;
	getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
	p->raw = type == SOCK_RAW;
	/* It spares waking up for others' messages; reply() looks again. */
	ICMP6_FILTER_SETBLOCKALL(&only_replies6);
	ICMP6_FILTER_SETPASS(V6_REPLY, &only_replies6);
	if (p->raw && v6)
		setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &only_replies6, sizeof(only_replies6));
	else if (p->raw)
		setsockopt(fd, SOL_RAW, ICMP_FILTER, &only_replies, sizeof(only_replies));
	p->source = loop_add(g->loop, fd, EPOLLIN, on_reply, p, err);
	return MIN(p->source, 0);
}

struct icmp *icmp_new(struct gateway *g, int fd4, int fd6, struct error *err)
{
	struct icmp *icmp = calloc(1, sizeof(*icmp));

	if (!icmp) {
		fd_close(&fd4);
		fd_close(&fd6);
		err_set(err, ERR_NO_MEMORY, 0, "ICMP: out of memory");
		return NULL;
	}
	icmp->g = g;
	icmp->pinger[1].fd = -1;
	if (open_pinger(&icmp->pinger[0], g, fd4, false, err) < 0 ||
	    open_pinger(&icmp->pinger[1], g, fd6, true, err) < 0 ||
	    getrandom(&icmp->our_id, sizeof(icmp->our_id), 0) < 0) {
		icmp_free(icmp);
		return NULL;
	}
	return icmp;
}

void icmp_free(struct icmp *icmp)
{
	if (!icmp)
		return;
	for (int i = 0; i < 2; i++)
		if (icmp->pinger[i].fd >= 0) {
			loop_remove(icmp->g->loop, &icmp->pinger[i].source);
			fd_close(&icmp->pinger[i].fd);
		}
	free(icmp);
}
