/* SPDX-License-Identifier: Apache-2.0 */
/** A TCP connection of the guest and what it is joined with. For flow.c, flow_dns.c and publish.c only. */
#ifndef MSB_NET_FLOW_H
#define MSB_NET_FLOW_H

#include "net/gateway.h"

enum flow_kind {
	FLOW_OUT, /* from the guest to a socket of the host */
	FLOW_IN,  /* from a published port to the guest */
	FLOW_DNS, /* from the guest to net/dns */
};

enum flow_state {
	FLOW_NAMING, /* OUT: accepted before there is a socket, since the verdict hangs on the stream's first bytes */
	FLOW_CONNECTING, /* OUT: the host's connect() is under way */
	FLOW_OPENING,	 /* IN: the guest was asked */
	FLOW_OPEN,
};

struct flow_dns;

struct flow {
	struct gateway *g;
	bool used;
	enum flow_kind kind;
	enum flow_state state;
	struct tcp_conn *conn; /* NULL: the stack has forgotten it */
	int fd, source;	       /* -1: none; not watched */
	uint32_t events;       /* that are watched */
	bool accepted;	       /* OUT: the guest's SYN was answered */
	bool sniffing;	       /* OUT: the guest's first bytes are to be judged before they pass */
	bool begun;	       /* of these, some have come */
	bool host_eof, guest_eof;
	bool hung;	  /* the host's socket is closed both ways, or broken */
	bool paused;	  /* nothing is read from the host: the guest takes no more */
	bool blocked;	  /* the host takes no more */
	int64_t deadline; /* 0: none */
	struct flow_dns *dns;
	struct flow *next_free;
};

/** A published port. */
struct listener {
	struct gateway *g;
	int fd, source; /* -1: not watched, while there are no descriptors left */
	uint16_t guest_port;
};

struct flows {
	struct gateway *g;
	uint32_t count[3]; /* by kind */
	size_t size;	   /* of all */
	size_t touched;	   /* places that were ever used */
	struct flow *free;
	struct flow *all;
	struct listener listener[GATEWAY_PORTS_MAX];
	size_t listener_count;
	uint16_t next_port;
};

/** flow_new() - Return: NULL when all places are taken. @fd: taken */
struct flow *flow_new(struct gateway *g, enum flow_kind kind, enum flow_state state, int fd);
/** flow_end() - Close the host's side in good order, or by RST, and forget. What the stack has of it is the caller's.
 */
void flow_end(struct flow *f, bool reset);
/** flow_abort() - RST both ways, and forget. */
void flow_abort(struct flow *f);

/* flow_dns.c */
/** flow_dns_start() - A connection of the guest to port 53. Accepts or refuses. */
void flow_dns_start(struct gateway *g, struct tcp_conn *c);
/** flow_dns_read() - There is more to read. The flow may be gone afterwards. */
void flow_dns_read(struct flow *f);
void flow_dns_free(struct flow_dns *d);

/* publish.c */
int listeners_open(struct flows *flows, struct gateway_fds *fds, struct error *err);
void listeners_close(struct flows *flows);
/** listeners_resume() - After there were no descriptors left. Return: are there still listeners that wait? */
bool listeners_resume(struct flows *flows);

#endif
