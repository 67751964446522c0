/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DNS over the guest's TCP, to port 53 of any address: each message goes to net/dns; answers come in any order (RFC
 * 7766, 6.2.1.1). At most QUESTIONS_MAX wait, then nothing is read; a connection that is quiet for IDLE_NS is closed.
 */
#include <stdlib.h>
#include <string.h>

#include "net/flow.h"

#define QUESTIONS_MAX 16
#define IDLE_NS 30000000000LL

struct flow_question {
	struct flow *flow;
	bool used;
	uint64_t token;
};

struct flow_dns {
	struct gateway *g;
	struct dns_split split;
	struct flow_question question[QUESTIONS_MAX];
	int waiting;
	bool reading; /* flow_dns_read() is at work: it sees to what an answer makes possible */
	bool broken;  /* to be aborted */
};

void flow_dns_start(struct gateway *g, struct tcp_conn *c)
{
	struct flow *f = flow_new(g, FLOW_DNS, FLOW_OPEN, -1);

	if (f)
		f->dns = calloc(1, sizeof(*f->dns));
	if (!f || !f->dns) {
		if (f)
			flow_end(f, false);
		tcp_refuse(c);
		return;
	}
	f->dns->g = g;
	f->conn = c;
	f->deadline = g->now + IDLE_NS;
	g->count.connections_total++;
	tcp_set_user(c, f);
	gateway_need_tick(g);
	tcp_accept(c);
}

/** answered() - dns_answer_fn */
static void answered(void *arg, const uint8_t *message, size_t length)
{
	struct flow_question *q = arg;
	struct flow *f = q->flow;
	struct gateway *g = f->g;
	uint8_t prefix[2];

	gateway_enter(g);
	q->used = false;
	f->dns->waiting--;
	f->deadline = g->now + IDLE_NS;
	dns_prefix(prefix, length);
	/* A guest that asks and does not read fills its buffer: no half answers. */
	if (!length || tcp_write(f->conn, prefix, 2) != 2 || tcp_write(f->conn, message, length) != length)
		f->dns->broken = true;
	if (!f->dns->reading)
		flow_dns_read(f);
	gateway_leave(g);
}

/** ask() - One message. */
static void ask(struct flow *f, const uint8_t *message, size_t length)
{
	const struct endpoint *us = &tcp_pair(f->conn)->us;
	struct flow_question *q = f->dns->question;
	uint64_t token;

	while (q->used)
		q++;
	*q = (struct flow_question){ .flow = f, .used = true };
	f->dns->waiting++;
	token = dns_ask(f->g->dns, message, length, gateway_is_own(f->g, &us->ip) ? NULL : us, DNS_TCP, answered, q);
	if (q->used)
		q->token = token;
}

/** read_some() - Messages, as long as there are places for them. */
static void read_some(struct flow *f)
{
	struct flow_dns *d = f->dns;
	struct iovec iov;

	while (!d->broken && d->waiting < QUESTIONS_MAX && tcp_peek(f->conn, &iov, 1) > 0) {
		const uint8_t *message;
		size_t taken, length;

		if (!dns_split(&d->split, iov.iov_base, iov.iov_len, &taken, &message, &length)) {
			d->broken = true;
			return;
		}
		f->deadline = f->g->now + IDLE_NS;
		tcp_consume(f->conn, taken);
		if (message)
			ask(f, message, length);
	}
}

void flow_dns_read(struct flow *f)
{
	f->dns->reading = true;
	read_some(f);
	f->dns->reading = false;
	if (f->dns->broken) {
		flow_abort(f);
	} else if (tcp_at_end(f->conn) && !f->dns->waiting) {
		tcp_close(f->conn);
		flow_end(f, false);
	}
}

void flow_dns_free(struct flow_dns *d)
{
	if (!d)
		return;
	for (int i = 0; i < QUESTIONS_MAX; i++)
		if (d->question[i].used)
			dns_cancel(d->g->dns, d->question[i].token);
	free(d);
}
