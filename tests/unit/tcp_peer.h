/* SPDX-License-Identifier: Apache-2.0 */
/* A scripted peer of one connection of the gateway's TCP: what it says, what it was answered, and virtual time. */
#ifndef MSB_TEST_TCP_PEER_H
#define MSB_TEST_TCP_PEER_H

#include "base/clock.h"
#include "base/macros.h"
#include "tcp_wire.h"

#define ISN 0xfffffff0u /* the peer's: its numbers wrap within each test */
#define WINDOW 8192

enum policy { ACCEPT, HOLD, REFUSE, DROP };

struct peer {
	struct tcp_stack *s;
	struct tcp_conn *c;
	struct tcp_pair pair;
	int64_t now;
	enum policy policy;
	bool full; /* the link takes nothing */
	bool consume;
	unsigned int outs; /* frames since clear() */
	struct wire out;   /* the last one */
	uint8_t bytes[66000];
	uint8_t events[5]; /* incoming, established, readable, writable, closed */
	enum tcp_end how;
	uint32_t s_nxt, r_nxt; /* what the stack sends next, and what it expects */
	struct wire with;      /* options of the peer's */
	uint64_t got;
};

static inline bool on_output(void *arg, const struct tcp_out *out)
{
	struct peer *p = arg;
	size_t at = out->header_len;

	if (p->full)
		return false;
	memcpy(p->bytes, out->header, at);
	for (int i = 0; i < out->payload_count; i++) {
		memcpy(p->bytes + at, out->payload[i].iov_base, out->payload[i].iov_len);
		at += out->payload[i].iov_len;
	}
	assert_int_equal(at, out->header_len + out->payload_len);
	assert_true(wire_read(&p->out, p->bytes, at));
	p->outs++;
	return true;
}

static inline void on_incoming(void *arg, struct tcp_conn *c)
{
	struct peer *p = arg;

	p->c = c;
	p->events[0]++;
	if (p->policy == ACCEPT)
		tcp_accept(c);
	else if (p->policy == REFUSE)
		tcp_refuse(c);
	else if (p->policy == DROP)
		tcp_drop(c);
}

static inline void on_established(void *arg, struct tcp_conn *c)
{
	(void)c;
	((struct peer *)arg)->events[1]++;
}

static inline void on_readable(void *arg, struct tcp_conn *c)
{
	struct peer *p = arg;

	p->events[2]++;
	p->got += p->consume ? tcp_readable(c) : 0;
	if (p->consume)
		tcp_consume(c, tcp_readable(c));
}

static inline void on_writable(void *arg, struct tcp_conn *c)
{
	(void)c;
	((struct peer *)arg)->events[3]++;
}

static inline void on_closed(void *arg, struct tcp_conn *c, enum tcp_end how)
{
	struct peer *p = arg;

	(void)c;
	p->events[4]++;
	p->how = how;
	p->c = NULL;
}

static const struct tcp_ops ops = { on_output, on_incoming, on_established, on_readable, on_writable, on_closed };

static inline void begin(struct peer *p, const struct tcp_config *config)
{
	*p = (struct peer){ .pair = wire_pair(4000), .now = 1000 * NSEC_PER_SEC, .consume = true };
	p->s = tcp_stack_new(config, &ops, p, p->now, NULL);
	assert_non_null(p->s);
}

/** finish() - Everything is given back. */
static inline void finish(struct peer *p)
{
	if (p->c)
		tcp_drop(p->c);
	p->now += 3600 * NSEC_PER_SEC;
	tcp_set_time(p->s, p->now);
	tcp_tick(p->s);
	tcp_tick(p->s);
	assert_int_equal(tcp_counters(p->s)->connections, 0);
	assert_int_equal(tcp_counters(p->s)->time_wait, 0);
	assert_int_equal(tcp_counters(p->s)->chunks, 0);
	assert_int_equal(tcp_counters(p->s)->ranges, 0);
	tcp_stack_free(p->s);
}

static inline void clear(struct peer *p)
{
	p->outs = 0;
	memset(p->events, 0, sizeof(p->events));
}

static inline void feed(struct peer *p, struct wire w)
{
	static uint8_t bytes[70000];
	size_t len;

	w.time = p->with.time;
	w.tsval = w.tsval ? w.tsval : p->with.tsval;
	if (w.flags & SYN) {
		w.mss = p->with.mss;
		w.sack_permitted = p->with.sack_permitted;
		w.scale = p->with.scale;
	}
	len = wire_write(&w, &p->pair, bytes);
	tcp_input(p->s, &p->pair, bytes, len);
}

/** pass() - Virtual time: each timer when it is due. */
static inline void pass(struct peer *p, int64_t ms)
{
	int64_t until = p->now + ms * NSEC_PER_MSEC, next;

	while ((next = tcp_next_timeout(p->s)) >= 0 && next <= until) {
		p->now = MAX(p->now, next);
		tcp_set_time(p->s, p->now);
		tcp_tick(p->s);
	}
	p->now = until;
	tcp_set_time(p->s, p->now);
}

static inline void ack(struct peer *p, uint8_t flags)
{
	feed(p, (struct wire){ .seq = p->r_nxt, .ack = p->s_nxt, .flags = flags | ACK, .window = WINDOW });
	p->r_nxt += !!(flags & FIN);
}

/** open_with() - Established with these options of the peer's. */
static inline void open_with(struct peer *p, const struct tcp_config *c, struct wire with)
{
	begin(p, c);
	p->with = with;
	p->policy = ACCEPT;
	feed(p, (struct wire){ .seq = ISN, .flags = SYN, .window = 65535 });
	assert_int_equal(p->out.flags, SYN | ACK);
	p->s_nxt = p->out.seq + 1;
	p->r_nxt = ISN + 1;
	feed(p, (struct wire){ .seq = p->r_nxt, .ack = p->s_nxt, .flags = ACK, .window = 65535 });
	assert_int_equal(p->events[1], 1);
	clear(p);
}

static inline void say(struct peer *p, size_t len)
{
	feed(p, (struct wire){ .seq = p->r_nxt, .ack = p->s_nxt, .flags = ACK, .window = 65535, .len = len });
	p->r_nxt += (uint32_t)len;
}

static inline void acknowledge(struct peer *p, uint32_t upto, uint16_t window)
{
	feed(p, (struct wire){ .seq = p->r_nxt, .ack = upto, .flags = ACK, .window = window });
}

#endif
