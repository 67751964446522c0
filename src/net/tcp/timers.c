/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timers: a heap of connections by when the first of their timers is due. Most timers are moved later, or stopped,
 * before they fire, so the heap is told only of those that become due earlier; an entry that comes up too early is put
 * back.
 */
#include "net/tcp/stack.h"

#define WORK_MAX 1024u /* connections looked at by one tcp_tick() */
#define KEEPALIVE_PROBES 9u
#define KEEPALIVE_STEP_MS 75000
#define BACKOFF_LAST 16u
#define RTO_LAST (60 * NSEC_PER_SEC)

static void heap_set(struct tcp_stack *s, uint32_t at, struct timer_slot slot)
{
	s->heap[at] = slot;
	slot.c->heap_at = at + 1;
}

static void heap_up(struct tcp_stack *s, uint32_t at, struct timer_slot slot)
{
	while (at > 0 && slot.when < s->heap[(at - 1) / 2].when) {
		heap_set(s, at, s->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	heap_set(s, at, slot);
}

static void heap_down(struct tcp_stack *s, uint32_t at, struct timer_slot slot)
{
	for (uint32_t child; (child = 2 * at + 1) < s->heap_count; at = child) {
		if (child + 1 < s->heap_count && s->heap[child + 1].when < s->heap[child].when)
			child++;
		if (slot.when <= s->heap[child].when)
			break;
		heap_set(s, at, s->heap[child]);
	}
	heap_set(s, at, slot);
}

static int64_t first_due(const struct tcp_conn *c)
{
	return MIN(MIN(c->t_rexmit, c->t_ack), c->t_life);
}

void conn_arm(struct tcp_conn *c)
{
	struct tcp_stack *s = c->s;
	struct timer_slot slot = { first_due(c), c };

	if (c->dead || slot.when == NEVER)
		return;
	if (c->heap_at == 0)
		heap_up(s, s->heap_count++, slot);
	else if (slot.when < s->heap[c->heap_at - 1].when)
		heap_up(s, c->heap_at - 1, slot);
}

void heap_remove(struct tcp_conn *c)
{
	struct tcp_stack *s = c->s;
	uint32_t at = c->heap_at - 1;
	struct timer_slot last;

	if (c->heap_at == 0)
		return;
	c->heap_at = 0;
	last = s->heap[--s->heap_count];
	if (last.c == c)
		return;
	if (at > 0 && last.when < s->heap[(at - 1) / 2].when)
		heap_up(s, at, last);
	else
		heap_down(s, at, last);
}

void conn_watch(struct tcp_conn *c)
{
	const struct tcp_config *config = &c->s->config;

	if (c->state == TCP_FIN_WAIT_2 && !c->attached)
		c->t_life = tcp_after_ms(c, config->fin_wait_2_ms);
	else
		c->t_life = c->heard + config->keepalive_ms * NSEC_PER_MSEC;
	conn_arm(c);
}

/**
 * given_up() - Has the guest had its time? With a closed window it has to answer only (RFC 9293, 3.8.6.1); with an open
 * one, or when no user is left to wait, it has to take something.
 */
static bool given_up(const struct tcp_conn *c)
{
	int64_t since = c->snd_wnd == 0 && c->attached ? MAX(c->due_since, c->heard) : c->due_since;

	return c->s->now - since >= c->s->config.user_timeout_ms * NSEC_PER_MSEC;
}

/** probe_window() - What fits the window, however little; or a segment that the guest must answer with its window. */
static void probe_window(struct tcp_conn *c)
{
	c->s->counters.probes++;
	if (c->snd_wnd > 0)
		send_forced(c);
	else
		send_control(c, c->snd_una - 1, FLAG_ACK);
}

static void rexmit_due(struct tcp_conn *c)
{
	if (c->state == TCP_SYN_SENT || c->state == TCP_SYN_RECEIVED) {
		if (c->backoff >= c->s->config.syn_retries) {
			conn_end(c, TCP_END_TIMED_OUT);
			return;
		}
		c->backoff++;
		c->t_rexmit = tcp_after_ms(c, (int64_t)1000 << c->backoff);
		c->s->counters.retransmits++;
		send_syn(c);
		return;
	}
	if (given_up(c)) {
		send_reset(c);
		conn_end(c, TCP_END_TIMED_OUT);
		return;
	}
	c->t_rexmit = c->s->now + MIN(c->rto << (c->backoff + 1), RTO_LAST);
	/* Nobody lost anything while the link takes nothing. */
	if (!link_alone(&c->blocked))
		return;
	if (c->window_probe)
		probe_window(c);
	else
		congestion_timeout(c);
	c->backoff = (uint8_t)MIN(c->backoff + 1u, BACKOFF_LAST);
	conn_output(c);
}

static void life_due(struct tcp_conn *c)
{
	const struct tcp_config *config = &c->s->config;
	int64_t quiet_until = c->heard + config->keepalive_ms * NSEC_PER_MSEC;

	c->t_life = NEVER;
	if (c->held) {
		conn_end(c, TCP_END_TIMED_OUT);
	} else if (c->state == TCP_TIME_WAIT) {
		/* A user that is still there has not read all yet. */
		if (c->attached)
			conn_retire(c);
		else
			conn_free(c);
	} else if (c->state == TCP_FIN_WAIT_2 && !c->attached) {
		conn_end(c, TCP_END_TIMED_OUT);
	} else if (tcp_synchronized(c) && c->s->now < quiet_until) {
		c->t_life = quiet_until;
	} else if (tcp_synchronized(c) && c->probes >= KEEPALIVE_PROBES) {
		send_reset(c);
		conn_end(c, TCP_END_TIMED_OUT);
	} else if (tcp_synchronized(c)) {
		c->t_life = tcp_after_ms(c, KEEPALIVE_STEP_MS);
		/* What is in flight has a timer of its own. */
		if (c->snd_una == c->snd_nxt && link_alone(&c->blocked)) {
			c->probes++;
			c->s->counters.keepalives++;
			send_control(c, c->snd_nxt - 1, FLAG_ACK);
		}
	}
}

/** run_timers() - Those of one connection that are due. */
static void run_timers(struct tcp_conn *c)
{
	int64_t now = c->s->now;

	if (c->t_life <= now)
		life_due(c);
	if (!c->dead && c->t_rexmit <= now)
		rexmit_due(c);
	if (!c->dead && c->t_ack <= now) {
		c->t_ack = NEVER;
		c->ack_now = true;
		conn_output(c);
	}
}

static void run_heap(struct tcp_stack *s)
{
	for (uint32_t work = 0; work < WORK_MAX && s->heap_count > 0 && s->heap[0].when <= s->now; work++) {
		struct tcp_conn *c = s->heap[0].c;

		run_timers(c);
		if (c->dead)
			continue;
		heap_remove(c);
		conn_arm(c);
	}
}

static bool may_feed(const struct tcp_stack *s)
{
	return !link_alone(&s->starved) && s->pool.free_count > 0;
}

int64_t tcp_next_timeout(const struct tcp_stack *s)
{
	int64_t when = MIN(s->heap_count > 0 ? s->heap[0].when : NEVER, s->trim_at);

	if (!link_alone(&s->events) || may_feed(s))
		return 0;
	return when == NEVER ? -1 : when;
}

void tcp_tick(struct tcp_stack *s)
{
	stack_enter(s);
	run_heap(s);
	for (uint32_t work = 0; work < WORK_MAX && !link_alone(&s->events); work++)
		conn_deliver(LINK_CONN(s->events.next, event));
	for (uint32_t work = 0; work < WORK_MAX && may_feed(s); work++) {
		struct tcp_conn *c = LINK_CONN(s->starved.next, starved);

		link_remove(&c->starved);
		c->want_write = false;
		conn_notify(c, EVENT_WRITABLE);
		conn_deliver(c);
	}
	if (s->now >= s->trim_at) {
		s->trim_at = NEVER;
		if (pool_trim(&s->pool))
			stack_trim_later(s);
	}
	stack_leave(s);
}

void tcp_output_ready(struct tcp_stack *s)
{
	stack_enter(s);
	while (!link_alone(&s->blocked)) {
		struct tcp_conn *c = LINK_CONN(s->blocked.next, blocked);

		link_remove(&c->blocked);
		if (c->state == TCP_SYN_SENT || (c->state == TCP_SYN_RECEIVED && !c->held))
			send_syn(c);
		else
			conn_output(c);
		if (!link_alone(&c->blocked))
			break;
	}
	stack_leave(s);
}
