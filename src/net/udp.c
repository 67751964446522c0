/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. A session is a pair of endpoints: the guest's, and the one it talks to as it sees it ("us").
 * Each session of the guest has a connected socket of the host, so that nobody else can answer in it; a peer of a
 * published port has a port of the gateway's address instead, and shares the port's socket. Sessions end after
 * UDP_IDLE_NS without traffic; when all UDP_SESSIONS_MAX are taken, the one that was quiet longest makes room. As many
 * peers, apart from these.
 *
 * Port 53 goes to net/dns whatever its address.
 *
 * Source: RFC 768; udp(7), ip(7).
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/loop.h"
#include "base/macros.h"
#include "net/address.h"
#include "net/gateway.h"

#define HEADER 8
#define BUCKETS 1024 /* a power of two */
#define DATAGRAMS_PER_WAKE 32
#define FIRST_PORT 32768 /* of the gateway's, for peers of published ports */
#define PORTS 28000
#define QUESTIONS_MAX DNS_WAITERS_MAX

struct session {
	struct gateway *g;
	bool used;
	struct endpoint guest, us;
	int64_t last;
	int fd, source; /* connected; -1: a peer of a published port */
	struct service *service;
	struct endpoint peer;
	struct session *next; /* in its bucket */
};

/** A published port. */
struct service {
	struct gateway *g;
	int fd, source, family;
	uint16_t guest_port;
};

/** A question that waits for net/dns. */
struct question {
	struct gateway *g;
	bool used;
	struct endpoint guest, us;
};

struct udp {
	struct gateway *g;
	struct session session[2][UDP_SESSIONS_MAX]; /* of the guest, of peers */
	struct session *bucket[BUCKETS];
	struct service service[GATEWAY_PORTS_MAX];
	size_t service_count;
	uint16_t next_port;
	size_t next_question;
	struct question question[QUESTIONS_MAX];
};

enum side { OF_GUEST, OF_PEER };

/* What nobody may ask of the network: names of the local link (mDNS, LLMNR, NetBIOS), and DNS that we could not see. */
static const uint16_t refused_ports[] = { 137, 853, 5353, 5355 };

static struct session **bucket_of(struct udp *udp, const struct endpoint *guest, const struct endpoint *us)
{
	uint32_t h = guest->port * 2654435761u ^ us->port * 40503u;

	for (int i = 0; i < 16; i += 4)
		h = (h ^ get32(us->ip.b + i)) * 2654435761u;
	return &udp->bucket[(h >> 16) % BUCKETS];
}

static struct session *find(struct udp *udp, const struct endpoint *guest, const struct endpoint *us)
{
	struct session *s = *bucket_of(udp, guest, us);

	while (s && !(endpoint_equal(&s->guest, guest) && endpoint_equal(&s->us, us)))
		s = s->next;
	return s;
}

/** end() - Forget a session. */
static void end(struct session *s)
{
	struct session **at = bucket_of(s->g->udp, &s->guest, &s->us);

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	if (s->fd >= 0) {
		loop_remove(s->g->loop, &s->source);
		fd_close(&s->fd);
	}
	s->used = false;
}

/** begin() - A new session in a free place, or in that of the quietest. */
static struct session *begin(struct gateway *g, enum side side, const struct endpoint *guest, const struct endpoint *us)
{
	struct session *all = g->udp->session[side], *s = all, **bucket = bucket_of(g->udp, guest, us);

	for (int i = 0; i < UDP_SESSIONS_MAX && s->used; i++)
		if (!all[i].used || all[i].last < s->last)
			s = &all[i];
	if (s->used)
		end(s);
	*s = (struct session){ .g = g,
			       .used = true,
			       .guest = *guest,
			       .us = *us,
			       .last = g->now,
			       .fd = -1,
			       .source = -1,
			       .next = *bucket };
	*bucket = s;
	gateway_need_tick(g);
	return s;
}

void udp_output(struct gateway *g, const struct endpoint *us, const struct endpoint *guest, uint8_t *data, size_t len)
{
	bool v6 = !ip_is_v4(&guest->ip);
	struct packet_head h = { .v6 = v6, .src = us->ip, .dst = guest->ip, .proto = PROTO_UDP };

	if (len > PACKET_MAX - IP_HEADER_MAX - HEADER)
		return;
	set16(data, us->port);
	set16(data + 2, guest->port);
	set16(data + 4, (uint16_t)(HEADER + len));
	output_packet(g, &h, data, HEADER + len);
}

/** failed() - The host refused a datagram of the session, or said what became of an earlier one. */
static void failed(struct session *s, int error)
{
	int mtu = 0;
	socklen_t len = sizeof(mtu);
	bool v4 = ip_is_v4(&s->us.ip);

	if (error == ECONNREFUSED) {
		icmp_unreachable(s->g, &s->guest, &s->us);
	} else if (error == EMSGSIZE && s->fd >= 0 &&
		   getsockopt(s->fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_MTU : IPV6_MTU, &mtu, &len) == 0) {
		icmp_too_big(s->g, &s->guest, &s->us, (uint32_t)mtu);
	}
}

static void on_datagram(void *arg, uint32_t events)
{
	struct session *s = arg;
	struct gateway *g = s->g;

	(void)events;
	gateway_enter(g);
	for (int i = 0; i < DATAGRAMS_PER_WAKE; i++) {
		ssize_t n = recv(s->fd, g->out + HEADER, sizeof(g->out) - HEADER, MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			failed(s, errno);
			continue;
		}
		s->last = g->now;
		udp_output(g, &s->us, &s->guest, g->out, (size_t)n);
	}
	gateway_leave(g);
}

/** open_session() - A socket of the host for what the guest wants to send. Return: NULL: denied, or impossible. */
static struct session *open_session(struct gateway *g, const struct endpoint *guest, const struct endpoint *us)
{
	struct policy_flow flow = {
		.direction = POLICY_EGRESS,
		.protocol = POLICY_UDP,
		.ip = us->ip,
		.port = us->port,
		.name_state = POLICY_NAME_NONE,
	};
	struct endpoint to = { gateway_dial(g, &us->ip), us->port };
	_cleanup_fd_ int fd = -1;
	struct sockaddr_storage addr;
	struct session *s;
	socklen_t len;

	for (size_t i = 0; i < ARRAY_LEN(refused_ports); i++)
		if (us->port == refused_ports[i]) {
			g->count.denied++;
			return NULL;
		}
	if (!us->port || gateway_decide(g, &flow) != POLICY_ALLOW)
		return NULL;
	fd = socket(address_family(&to.ip), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	len = address_put(&addr, address_family(&to.ip), &to);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, len) < 0) {
		g->count.dropped++;
		return NULL;
	}
	s = begin(g, OF_GUEST, guest, us);
	s->source = loop_add(g->loop, fd, EPOLLIN, on_datagram, s, NULL);
	s->fd = TAKE_FD(fd);
	if (s->source >= 0)
		return s;
	end(s);
	return NULL;
}

/** answered() - dns_answer_fn */
static void answered(void *arg, const uint8_t *message, size_t length)
{
	struct question *q = arg;
	struct gateway *g = q->g;

	q->used = false;
	if (!length)
		return;
	gateway_enter(g);
	memcpy(g->out + HEADER, message, length);
	udp_output(g, &q->us, &q->guest, g->out, length);
	gateway_leave(g);
}

/** ask() - A question to port 53 of any address. */
static void ask(struct gateway *g, const struct endpoint *guest, const struct endpoint *us, const uint8_t *data,
		size_t len)
{
	struct udp *udp = g->udp;
	struct question *q = NULL;

	for (size_t i = 0; i < QUESTIONS_MAX && (!q || q->used); i++)
		q = &udp->question[udp->next_question++ % QUESTIONS_MAX];
	if (q->used) {
		g->count.dropped++;
		return;
	}
	*q = (struct question){ .g = g, .used = true, .guest = *guest, .us = *us };
	dns_ask(g->dns, data, len, gateway_is_own(g, &us->ip) ? NULL : us, DNS_UDP, answered, q);
}

/** send_out() - Return: errno value, 0: sent. */
static int send_out(struct session *s, const uint8_t *data, size_t len)
{
	struct sockaddr_storage addr;
	socklen_t n;

	if (s->fd >= 0)
		return send(s->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? errno : 0;
	n = address_put(&addr, s->service->family, &s->peer);
	return sendto(s->service->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&addr, n) < 0 ? errno
													       : 0;
}

void udp_input(struct gateway *g, const struct packet *p)
{
	struct endpoint guest = { p->src, get16(p->data) }, us = { p->dst, get16(p->data + 2) };
	struct session *s = find(g->udp, &guest, &us);
	const uint8_t *data = p->data + HEADER;
	size_t len = p->len - HEADER;
	int error;

	if (!s && us.port == DNS_PORT) {
		ask(g, &guest, &us, data, len);
		return;
	}
	s = s ? s : open_session(g, &guest, &us);
	if (!s)
		return;
	s->last = g->now;
	error = send_out(s, data, len);
	if (error == ECONNREFUSED) { /* about an earlier one; this one was not sent yet */
		failed(s, error);
		error = send_out(s, data, len);
	}
	if (error && error != EAGAIN)
		failed(s, error);
	if (s->service)
		g->activity(g->activity_arg);
}

/** find_peer() - The session of somebody who talks to a published port. */
static struct session *find_peer(struct udp *udp, const struct service *v, const struct endpoint *peer)
{
	for (int i = 0; i < UDP_SESSIONS_MAX; i++) {
		struct session *s = &udp->session[OF_PEER][i];

		if (s->used && s->service == v && endpoint_equal(&s->peer, peer))
			return s;
	}
	return NULL;
}

/** new_peer() - Return: NULL: denied. */
static struct session *new_peer(struct service *v, const struct endpoint *peer)
{
	struct gateway *g = v->g;
	struct policy_flow flow = {
		.direction = POLICY_INGRESS,
		.protocol = POLICY_UDP,
		.ip = peer->ip,
		.port = v->guest_port,
		.name_state = POLICY_NAME_NONE,
	};
	struct endpoint us, guest = { .port = v->guest_port };
	struct session *s;

	if (gateway_decide(g, &flow) != POLICY_ALLOW)
		return NULL;
	gateway_guest_ends(g, &us.ip, &guest.ip);
	do
		us.port = (uint16_t)(FIRST_PORT + g->udp->next_port++ % PORTS);
	while (find(g->udp, &guest, &us));
	s = begin(g, OF_PEER, &guest, &us);
	s->service = v;
	s->peer = *peer;
	return s;
}

static void on_service(void *arg, uint32_t events)
{
	struct service *v = arg;
	struct gateway *g = v->g;

	(void)events;
	gateway_enter(g);
	for (int i = 0; i < DATAGRAMS_PER_WAKE; i++) {
		struct sockaddr_storage addr;
		socklen_t len = sizeof(addr);
		struct endpoint peer;
		struct session *s;
		ssize_t n = recvfrom(v->fd, g->out + HEADER, sizeof(g->out) - HEADER, MSG_DONTWAIT,
				     (struct sockaddr *)&addr, &len);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0 || !address_get(&addr, &peer))
			continue;
		s = find_peer(g->udp, v, &peer);
		s = s ? s : new_peer(v, &peer);
		if (!s)
			continue;
		s->last = g->now;
		udp_output(g, &s->us, &s->guest, g->out, (size_t)n);
		g->activity(g->activity_arg);
	}
	gateway_leave(g);
}

bool udp_expire(struct gateway *g)
{
	struct session *all = &g->udp->session[0][0];
	bool left = false;

	for (int i = 0; i < 2 * UDP_SESSIONS_MAX; i++) {
		if (all[i].used && g->now - all[i].last > UDP_IDLE_NS)
			end(&all[i]);
		left |= all[i].used;
	}
	return left;
}

uint32_t udp_sessions(const struct udp *udp)
{
	const struct session *all = &udp->session[0][0];
	uint32_t n = 0;

	for (int i = 0; i < 2 * UDP_SESSIONS_MAX; i++)
		n += all[i].used;
	return n;
}

/** open_services() - The published ports. */
static int open_services(struct udp *udp, struct gateway_fds *fds, struct error *err)
{
	for (size_t i = 0; i < udp->g->config->port_count; i++) {
		const struct gateway_port *port = &udp->g->config->ports[i];
		struct service *v = &udp->service[udp->service_count];
		socklen_t len = sizeof(v->family);

		if (!port->udp || fds->listen[i] < 0)
			continue;
		*v = (struct service){ .g = udp->g, .fd = TAKE_FD(fds->listen[i]), .guest_port = port->guest_port };
		udp->service_count++;
		getsockopt(v->fd, SOL_SOCKET, SO_DOMAIN, &v->family, &len);
		v->source = loop_add(udp->g->loop, v->fd, EPOLLIN, on_service, v, err);
		if (v->source < 0)
			return v->source;
	}
	return 0;
}

struct udp *udp_new(struct gateway *g, struct gateway_fds *fds, struct error *err)
{
	struct udp *udp = calloc(1, sizeof(*udp));

	if (!udp) {
		err_set(err, ERR_NO_MEMORY, 0, "UDP: out of memory");
		return NULL;
	}
	udp->g = g;
	if (open_services(udp, fds, err) < 0) {
		udp_free(udp);
		return NULL;
	}
	return udp;
}

void udp_free(struct udp *udp)
{
	if (!udp)
		return;
	for (int i = 0; i < UDP_SESSIONS_MAX; i++)
		for (int side = 0; side < 2; side++)
			if (udp->session[side][i].used && udp->session[side][i].fd >= 0) {
				loop_remove(udp->g->loop, &udp->session[side][i].source);
				fd_close(&udp->session[side][i].fd);
			}
	for (size_t i = 0; i < udp->service_count; i++) {
		loop_remove(udp->g->loop, &udp->service[i].source);
		fd_close(&udp->service[i].fd);
	}
	free(udp);
}
