/* SPDX-License-Identifier: Apache-2.0 */
/* The stack: its table of connections, their beginning and end, and what is told to their user. */
#include <stdlib.h>
#include <string.h>

#include "net/hash.h"
#include "net/tcp/stack.h"

#define CONNECTIONS_MAX 16384u
#define CHUNKS_MAX 65535u
#define ALLOWANCE_PART 32u /* of what is free above half of the region, for one buffer */
#define ALLOWANCE_LEAST 4096u
/* Half of it lets both buffers have the least, also where that lies in two chunks. */
#define MEMORY_EACH (8 * (size_t)TCP_CHUNK)
#define TRIM_MS 1000

static bool complete_config(struct tcp_config *c)
{
	static const struct tcp_config defaults = {
		.max_connections = 4096, .buffer_max = TCP_BUFFER_MAX, .mtu = 1500, .rto_min_ms = 200,
		.syn_retries = 6, .user_timeout_ms = 120000, .hold_ms = 150000, .keepalive_ms = 7200000,
		.fin_wait_2_ms = 60000, .time_wait_ms = 1000,
	};

#define DEFAULT(field) (c->field = c->field ? c->field : defaults.field)
	DEFAULT(max_connections);
	c->memory = c->memory ? c->memory : MAX(MIB(64), MEMORY_EACH * c->max_connections);
	DEFAULT(buffer_max);
	DEFAULT(mtu);
	DEFAULT(rto_min_ms);
	DEFAULT(syn_retries);
	DEFAULT(user_timeout_ms);
	DEFAULT(hold_ms);
	DEFAULT(keepalive_ms);
	DEFAULT(fin_wait_2_ms);
	DEFAULT(time_wait_ms);
#undef DEFAULT
	c->buffer_max -= c->buffer_max % TCP_CHUNK;
	return c->max_connections <= CONNECTIONS_MAX && c->memory / TCP_CHUNK >= 1 &&
	       c->memory / TCP_CHUNK <= CHUNKS_MAX && c->buffer_max >= TCP_CHUNK &&
	       c->buffer_max <= TCP_BUFFER_MAX && c->mtu >= 576 && c->mtu <= TCP_IP_MAX && c->syn_retries <= 10 &&
	       c->rto_min_ms <= 60000;
}

struct tcp_stack *tcp_stack_new(const struct tcp_config *config, const struct tcp_ops *ops, void *arg, int64_t now,
				struct error *err)
{
	_cleanup_(tcp_stack_freep) struct tcp_stack *s = calloc(1, sizeof(*s));
	uint32_t buckets = 1;

	if (!s)
		goto no_memory;
	*s = (struct tcp_stack){ .config = *config, .ops = *ops, .arg = arg, .now = now, .trim_at = NEVER };
	link_init(&s->events);
	link_init(&s->blocked);
	link_init(&s->starved);
	link_init(&s->waiting);
	link_init(&s->ended);
	if (!complete_config(&s->config)) {
		err_set(err, ERR_INVALID, 0, "TCP configuration out of range");
		return NULL;
	}
	while (buckets < s->config.max_connections)
		buckets *= 2;
	s->bucket_mask = buckets - 1;
	s->buckets = calloc(buckets, sizeof(s->buckets[0]));
	s->heap = calloc(s->config.max_connections, sizeof(s->heap[0]));
	if (!s->buckets || !s->heap || !pool_open(&s->pool, (uint32_t)(s->config.memory / TCP_CHUNK)))
		goto no_memory;
	return TAKE_PTR(s);
no_memory:
	err_set(err, ERR_NO_MEMORY, 0, "no memory for the TCP stack");
	return NULL;
}

void tcp_stack_free(struct tcp_stack *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; s->buckets && i <= s->bucket_mask; i++) {
		while (s->buckets[i])
			conn_free(s->buckets[i]);
	}
	while (!link_alone(&s->ended))
		conn_free(LINK_CONN(s->ended.next, wait));
	pool_close(&s->pool);
	free(s->heap);
	free(s->buckets);
	free(s);
}

void tcp_set_time(struct tcp_stack *s, int64_t now)
{
	s->now = MAX(s->now, now);
}

const struct tcp_counters *tcp_counters(struct tcp_stack *s)
{
	s->counters.chunks = pool_used(&s->pool);
	s->counters.chunks_peak = s->pool.used_peak;
	return &s->counters;
}

uint32_t stack_allowance(const struct tcp_stack *s)
{
	uint32_t half = s->pool.total / 2, spare = s->pool.free_count > half ? s->pool.free_count - half : 0;

	spare = MIN(spare, TCP_BUFFER_MAX / TCP_CHUNK * ALLOWANCE_PART);
	return MAX(spare * (TCP_CHUNK / ALLOWANCE_PART), ALLOWANCE_LEAST);
}

void stack_trim_later(struct tcp_stack *s)
{
	if (s->trim_at == NEVER && s->pool.warm > 0)
		s->trim_at = s->now + TRIM_MS * NSEC_PER_MSEC;
}

/** pair_hash() - Of the addresses and ports only: struct endpoint has padding. */
static uint64_t pair_hash(const struct tcp_stack *s, const struct tcp_pair *pair, uint32_t what)
{
	uint8_t key[40];

	memcpy(key, pair->us.ip.b, 16);
	memcpy(key + 16, pair->guest.ip.b, 16);
	memcpy(key + 32, &pair->us.port, 2);
	memcpy(key + 34, &pair->guest.port, 2);
	memcpy(key + 36, &what, 4);
	return hash_keyed(s->config.secret, key, sizeof(key));
}

static inline struct tcp_conn **bucket_of(const struct tcp_stack *s, const struct tcp_pair *pair)
{
	return &s->buckets[pair_hash(s, pair, 0) & s->bucket_mask];
}

struct tcp_conn *conn_find(const struct tcp_stack *s, const struct tcp_pair *pair)
{
	for (struct tcp_conn *c = *bucket_of(s, pair); c; c = c->next) {
		if (endpoint_equal(&c->pair.guest, &pair->guest) && endpoint_equal(&c->pair.us, &pair->us))
			return c;
	}
	return NULL;
}

struct tcp_conn *conn_new(struct tcp_stack *s, const struct tcp_pair *pair, struct error *err)
{
	struct tcp_conn *c, **bucket = bucket_of(s, pair);
	uint64_t secret = pair_hash(s, pair, 1);

	if (s->counters.connections >= s->config.max_connections && !link_alone(&s->waiting))
		conn_free(LINK_CONN(s->waiting.next, wait));
	if (s->counters.connections >= s->config.max_connections) {
		s->counters.refused_limit++;
		err_set(err, ERR_LIMIT, 0, "there are %u connections, which is the limit", s->counters.connections);
		return NULL;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		err_set(err, ERR_NO_MEMORY, 0, "no memory for a connection");
		return NULL;
	}
	c->s = s;
	c->pair = *pair;
	c->t_rexmit = c->t_ack = c->t_life = NEVER;
	c->heard = s->now;
	/* RFC 6528: a clock of 4 us, and a secret of the connection's own. */
	c->iss = (uint32_t)(s->now / 4000) + (uint32_t)secret;
	c->ts_offset = (uint32_t)(secret >> 32);
	c->snd_una = c->iss;
	c->snd_nxt = c->snd_end = c->iss + 1;
	c->mss = mss_of_link(s, pair);
	c->rcv_mss = MSS_DEFAULT; /* until more was seen */
	congestion_start(c);
	link_init(&c->event);
	link_init(&c->blocked);
	link_init(&c->starved);
	link_init(&c->wait);
	c->next = *bucket;
	*bucket = c;
	c->hashed = true;
	s->counters.connections++;
	s->counters.connections_peak = MAX(s->counters.connections_peak, s->counters.connections);
	return c;
}

void conn_unhash(struct tcp_conn *c)
{
	struct tcp_conn **at = bucket_of(c->s, &c->pair);

	if (!c->hashed)
		return;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->hashed = false;
}

static void drop_ranges(struct tcp_conn *c, struct ranges **l)
{
	if (*l)
		c->s->counters.ranges--;
	free(TAKE_PTR(*l));
}

/** drop_buffers() - Nothing more will be sent; nor read, if `all`. */
static void drop_buffers(struct tcp_conn *c, bool all)
{
	ring_clear(&c->s->pool, &c->send);
	drop_ranges(c, &c->sacked);
	if (all) {
		ring_clear(&c->s->pool, &c->receive);
		drop_ranges(c, &c->early);
		c->direct_len = 0;
	}
	stack_trim_later(c->s);
}

static void leave_time_wait(struct tcp_conn *c)
{
	if (c->state == TCP_TIME_WAIT)
		c->s->counters.time_wait--;
	c->state = TCP_CLOSED;
}

void conn_retire(struct tcp_conn *c)
{
	conn_unhash(c);
	leave_time_wait(c);
	link_remove(&c->blocked);
	link_remove(&c->starved);
	link_append(&c->s->ended, &c->wait);
	c->held = false;
	c->t_rexmit = c->t_ack = c->t_life = NEVER;
}

void conn_free(struct tcp_conn *c)
{
	struct tcp_stack *s = c->s;

	if (c->dead)
		return;
	conn_unhash(c);
	heap_remove(c);
	leave_time_wait(c);
	link_remove(&c->event);
	link_remove(&c->blocked);
	link_remove(&c->starved);
	link_remove(&c->wait);
	drop_buffers(c, true);
	s->counters.connections--;
	c->dead = true;
	c->attached = false;
	c->next = s->dead;
	s->dead = c;
	if (s->depth == 0)
		stack_leave(s);
}

void stack_enter(struct tcp_stack *s)
{
	s->depth++;
}

void stack_leave(struct tcp_stack *s)
{
	if (s->depth > 0)
		s->depth--;
	while (s->depth == 0 && s->dead) {
		struct tcp_conn *c = s->dead;

		s->dead = c->next;
		free(c);
	}
}

void conn_end(struct tcp_conn *c, enum tcp_end how)
{
	c->s->counters.closed[how]++;
	if (!c->attached) {
		conn_free(c);
		return;
	}
	conn_retire(c);
	drop_buffers(c, how != TCP_END_DONE);
	c->how = how;
	if (how != TCP_END_DONE)
		c->events = 0;
	if (how != TCP_END_DONE || tcp_unread(c) == 0)
		conn_notify(c, EVENT_CLOSED);
}

void conn_time_wait(struct tcp_conn *c)
{
	c->t_life = tcp_after_ms(c, c->s->config.time_wait_ms);
	c->t_rexmit = NEVER;
	conn_arm(c);
	if (c->state == TCP_TIME_WAIT)
		return;
	c->state = TCP_TIME_WAIT;
	c->s->counters.time_wait++;
	c->s->counters.closed[TCP_END_DONE]++;
	drop_buffers(c, false);
	c->how = TCP_END_DONE;
	if (!c->attached)
		link_append(&c->s->waiting, &c->wait);
	else if (tcp_unread(c) == 0)
		conn_notify(c, EVENT_CLOSED);
}

void conn_notify(struct tcp_conn *c, uint8_t events)
{
	if (!c->attached)
		return;
	c->events |= events;
	link_append(&c->s->events, &c->event);
}

/** told() - Take an event. Return: is it to be told? */
static bool told(struct tcp_conn *c, uint8_t event)
{
	bool there = c->attached && (c->events & event);

	c->events &= (uint8_t)~event;
	return there;
}

void conn_deliver(struct tcp_conn *c)
{
	struct tcp_stack *s = c->s;

	link_remove(&c->event);
	if (told(c, EVENT_ESTABLISHED))
		s->ops.established(s->arg, c);
	if (told(c, EVENT_READABLE))
		s->ops.readable(s->arg, c);
	if (told(c, EVENT_WRITABLE))
		s->ops.writable(s->arg, c);
	if (told(c, EVENT_CLOSED)) {
		s->ops.closed(s->arg, c, c->how);
		c->attached = false;
		c->user = NULL;
		if (c->state == TCP_TIME_WAIT)
			link_append(&s->waiting, &c->wait);
		else
			conn_free(c);
	}
	if (!c->dead)
		link_remove(&c->event);
}
