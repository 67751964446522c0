/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Published ports over TCP: who connects to one of the sockets that were given is judged by the ingress policy and
 * joined with a connection of the gateway's address to the guest. Whom the policy refuses, whom the guest refuses, and
 * who comes when PUBLISHED_FLOWS_MAX are there, gets a reset.
 */
#include <errno.h>
#include <netinet/in.h>
#include <linux/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/loop.h"
#include "base/macros.h"
#include "net/address.h"
#include "net/flow.h"

#define ACCEPTS_PER_WAKE 32
#define FIRST_PORT 32768 /* of the gateway's end */
#define PORTS 28000
#define PORT_TRIES 64 /* the stack may still have a few pairs that are ending */

/** open_guest() - The connection to the guest. Return: NULL: not now. */
static struct tcp_conn *open_guest(struct listener *l, struct flow *f)
{
	struct gateway *g = l->g;
	struct tcp_pair pair = { .guest.port = l->guest_port };
	struct tcp_conn *c = NULL;

	gateway_guest_ends(g, &pair.us.ip, &pair.guest.ip);
	for (int i = 0; i < PORT_TRIES && !c; i++) {
		pair.us.port = (uint16_t)(FIRST_PORT + g->flows->next_port++ % PORTS);
		c = tcp_connect(g->tcp, &pair, f, NULL);
	}
	return c;
}

/** admit() - Somebody has connected. @fd: taken */
static void admit(struct listener *l, int fd, const struct endpoint *peer)
{
	struct gateway *g = l->g;
	struct policy_flow flow = {
		.direction = POLICY_INGRESS,
		.protocol = POLICY_TCP,
		.ip = peer->ip,
		.port = l->guest_port,
		.name_state = POLICY_NAME_NONE,
	};
	struct flow *f;
	int on = 1;

	f = flow_new(g, FLOW_IN, FLOW_OPENING, fd);
	if (!f)
		return;
	if (g->flows->count[FLOW_IN] > PUBLISHED_FLOWS_MAX || gateway_decide(g, &flow) != POLICY_ALLOW) {
		flow_end(f, true);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	f->conn = open_guest(l, f);
	if (!f->conn)
		flow_end(f, true);
	else
		g->activity(g->activity_arg);
}

static void on_connection(void *arg, uint32_t events)
{
	struct listener *l = arg;
	struct gateway *g = l->g;

	(void)events;
	gateway_enter(g);
	for (int i = 0; i < ACCEPTS_PER_WAKE; i++) {
		struct sockaddr_storage addr;
		socklen_t len = sizeof(addr);
		struct endpoint peer;
		int fd = accept4(l->fd, (struct sockaddr *)&addr, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0 && address_get(&addr, &peer)) {
			admit(l, fd, &peer);
			continue;
		}
		fd_close(&fd);
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			loop_remove(g->loop, &l->source); /* until listeners_resume(): it would say the same again */
			gateway_need_tick(g);
		}
		if (errno != ECONNABORTED && errno != EINTR)
			break;
	}
	gateway_leave(g);
}

bool listeners_resume(struct flows *flows)
{
	bool left = false;

	for (size_t i = 0; i < flows->listener_count; i++) {
		struct listener *l = &flows->listener[i];

		if (l->source < 0)
			l->source = loop_add(flows->g->loop, l->fd, EPOLLIN, on_connection, l, NULL);
		left |= l->source < 0;
	}
	return left;
}

int listeners_open(struct flows *flows, struct gateway_fds *fds, struct error *err)
{
	const struct gateway_config *c = flows->g->config;

	for (size_t i = 0; i < c->port_count; i++) {
		struct listener *l = &flows->listener[flows->listener_count];

		if (c->ports[i].udp || fds->listen[i] < 0)
			continue;
		*l = (struct listener){ .g = flows->g,
					.fd = TAKE_FD(fds->listen[i]),
					.guest_port = c->ports[i].guest_port };
		flows->listener_count++;
		l->source = loop_add(flows->g->loop, l->fd, EPOLLIN, on_connection, l, err);
		if (l->source < 0)
			return l->source;
	}
	return 0;
}

void listeners_close(struct flows *flows)
{
	for (size_t i = 0; i < flows->listener_count; i++) {
		loop_remove(flows->g->loop, &flows->listener[i].source);
		fd_close(&flows->listener[i].fd);
	}
}
