/* SPDX-License-Identifier: Apache-2.0 */
/** Resolvers on loopback that answer as a test tells them, in the loop of the one that asks them. */
#ifndef MSB_TESTS_DNS_PEERS_H
#define MSB_TESTS_DNS_PEERS_H

#include <errno.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/loop.h"
#include "dns_build.h"
#include "net/ip.h"

#define PEER_CONNECTIONS 80

struct peer;

/** One question that came to a peer. */
struct asking {
	struct peer *peer;
	bool tcp;
	int fd; /* TCP: the connection */
	struct sockaddr_storage from;
	socklen_t from_size;
	uint16_t id, flags, type;
	bool edns;
	char name[1024];
};

/** Answers by peer_send(), or not at all. */
typedef void (*peer_fn)(struct asking *asking);

struct peer_connection {
	struct peer *peer;
	int fd, source;
	uint8_t in[2048];
	size_t have;
};

struct peer {
	struct loop *loop;
	int family;
	struct endpoint at;
	int udp, tcp, udp_source, tcp_source;
	peer_fn answer;
	const struct rr *records; /* for answers by peer_records(); section 1 */
	size_t record_count;
	unsigned int udp_asked, tcp_asked;
	struct peer_connection connections[PEER_CONNECTIONS];
};

static inline socklen_t peer_sockaddr(const struct peer *peer, struct sockaddr_storage *to)
{
	memset(to, 0, sizeof(*to));
	if (peer->family == AF_INET) {
		struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(peer->at.port),
					  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

		memcpy(to, &in, sizeof(in));
		return sizeof(in);
	}
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(peer->at.port),
				    .sin6_addr = IN6ADDR_LOOPBACK_INIT };

	memcpy(to, &in6, sizeof(in6));
	return sizeof(in6);
}

/** peer_send() - As it is; TCP: behind its length. */
static inline void peer_send(const struct asking *asking, const uint8_t *message, size_t n)
{
	uint8_t prefix[2] = { (uint8_t)(n >> 8), (uint8_t)n };

	if (!asking->tcp) {
		sendto(asking->peer->udp, message, n, 0, (const struct sockaddr *)&asking->from, asking->from_size);
		return;
	}
	send(asking->fd, prefix, 2, MSG_MORE | MSG_NOSIGNAL);
	send(asking->fd, message, n, MSG_NOSIGNAL);
}

/** peer_start_answer() - A message that answers this question, as yet without records. */
static inline void peer_start_answer(const struct asking *asking, struct build *m, unsigned int rcode)
{
	build_start(m, asking->id, (uint16_t)(DNS_FLAG_QR | DNS_FLAG_RD | DNS_FLAG_RA | rcode), asking->name, asking->type);
}

/** peer_records() - Answer with peer->records; an owner of "@" is the name that was asked. */
static inline void peer_records(struct asking *asking)
{
	static struct build m;

	peer_start_answer(asking, &m, DNS_NOERROR);
	for (size_t i = 0; i < asking->peer->record_count; i++) {
		struct rr rr = asking->peer->records[i];

		if (strcmp(rr.owner, "@") == 0)
			rr.owner = asking->name;
		build_record(&m, 1, &rr);
	}
	peer_send(asking, m.b, m.n);
}

static inline void peer_silent(struct asking *asking)
{
	(void)asking;
}

/** peer_got() - A message that came. */
static inline void peer_got(struct asking *asking, const uint8_t *message, size_t n)
{
	struct dns_in in = dns_in_at(message, n, 0);
	struct dns_question q;
	struct dns_header h;

	dns_read_header(&in, &h);
	dns_read_question(&in, &q);
	assert_false(in.r.failed);
	assert_int_equal(h.counts[0], 1);
	dns_name_to_text(&q.name, asking->name);
	asking->id = h.id;
	asking->flags = h.flags;
	asking->type = q.type;
	asking->edns = h.counts[3];
	if (asking->tcp)
		asking->peer->tcp_asked++;
	else
		asking->peer->udp_asked++;
	asking->peer->answer(asking);
}

static inline void peer_on_udp(void *arg, uint32_t events)
{
	struct asking asking = { .peer = arg, .from_size = sizeof(asking.from) };
	uint8_t message[2048];
	ssize_t n = recvfrom(asking.peer->udp, message, sizeof(message), MSG_DONTWAIT, (struct sockaddr *)&asking.from,
			     &asking.from_size);

	(void)events;
	if (n > 0)
		peer_got(&asking, message, (size_t)n);
}

static inline void peer_close_connection(struct peer_connection *c)
{
	loop_remove(c->peer->loop, &c->source);
	close(c->fd);
	c->fd = -1;
}

static inline void peer_on_connection(void *arg, uint32_t events)
{
	struct peer_connection *c = arg;
	struct asking asking = { .peer = c->peer, .tcp = true, .fd = c->fd };
	ssize_t n = recv(c->fd, c->in + c->have, sizeof(c->in) - c->have, MSG_DONTWAIT);
	size_t want;

	(void)events;
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		peer_close_connection(c);
		return;
	}
	c->have += (size_t)n;
	want = c->have < 2 ? 2 : 2U + (size_t)(c->in[0] << 8 | c->in[1]);
	if (c->have >= 2 && c->have >= want) {
		c->have = 0;
		peer_got(&asking, c->in + 2, want - 2);
	}
}

static inline void peer_on_accept(void *arg, uint32_t events)
{
	struct peer *peer = arg;
	int fd = accept4(peer->tcp, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	for (unsigned int i = 0; fd >= 0 && i < PEER_CONNECTIONS; i++) {
		struct peer_connection *c = &peer->connections[i];

		if (c->fd >= 0)
			continue;
		*c = (struct peer_connection){ .peer = peer, .fd = fd };
		c->source = loop_add(peer->loop, fd, EPOLLIN, peer_on_connection, c, NULL);
		return;
	}
	assert_true(fd < 0);
}

/** peer_start() - UDP and TCP at the same port. */
static inline void peer_start(struct peer *peer, struct loop *loop, int family, peer_fn answer)
{
	struct sockaddr_storage to;
	socklen_t size;
	int room = 4 << 20;

	memset(peer, 0, sizeof(*peer));
	peer->loop = loop;
	peer->family = family;
	peer->answer = answer;
	for (unsigned int i = 0; i < PEER_CONNECTIONS; i++)
		peer->connections[i].fd = -1;
	for (unsigned int tries = 0;; tries++) {
		assert_in_range(tries, 0, 50);
		peer->at.port = 0;
		size = peer_sockaddr(peer, &to);
		peer->tcp = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		peer->udp = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		assert_int_equal(bind(peer->tcp, (struct sockaddr *)&to, size), 0);
		getsockname(peer->tcp, (struct sockaddr *)&to, &size);
		/* Both families have the port at the same place. */
		peer->at.port = ntohs(((struct sockaddr_in *)&to)->sin_port);
		size = peer_sockaddr(peer, &to);
		if (bind(peer->udp, (struct sockaddr *)&to, size) == 0)
			break;
		close(peer->tcp);
		close(peer->udp);
	}
	assert_true(ip_parse(family == AF_INET ? "127.0.0.1" : "::1", &peer->at.ip));
	setsockopt(peer->udp, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	assert_int_equal(listen(peer->tcp, PEER_CONNECTIONS), 0);
	peer->udp_source = loop_add(loop, peer->udp, EPOLLIN, peer_on_udp, peer, NULL);
	peer->tcp_source = loop_add(loop, peer->tcp, EPOLLIN, peer_on_accept, peer, NULL);
}

static inline void peer_stop(struct peer *peer)
{
	for (unsigned int i = 0; i < PEER_CONNECTIONS; i++)
		if (peer->connections[i].fd >= 0)
			peer_close_connection(&peer->connections[i]);
	loop_remove(peer->loop, &peer->udp_source);
	loop_remove(peer->loop, &peer->tcp_source);
	close(peer->udp);
	close(peer->tcp);
}

#endif
