/* SPDX-License-Identifier: Apache-2.0 */
/* What a segment does: RFC 9293, 3.10.7, with 5961 (blind attacks) and 7323 (timestamps). */
#include <stdlib.h>

#include "net/tcp/stack.h"

#define TS_AGE_MAX (24 * 86400 * NSEC_PER_SEC)
#define ACK_BYTES 16384u /* of data that are acknowledged at once */
#define EARLY_RESERVE 8u /* out-of-order data leaves this part of the region alone */

static uint32_t receive_window(const struct tcp_conn *c)
{
	return seq_after(c->rcv_adv, c->rcv_nxt) ? c->rcv_adv - c->rcv_nxt : 0;
}

static bool fin_received(const struct tcp_conn *c)
{
	return c->fin_known && c->rcv_nxt == c->fin_seq + 1;
}

/** open_connection() - 3.10.7.2: a SYN for which nothing is there yet. The user decides. */
static void open_connection(struct tcp_stack *s, const struct tcp_pair *pair, const struct segment *g)
{
	struct tcp_conn *c;

	if (g->flags & FLAG_FIN)
		return;
	c = conn_new(s, pair, NULL);
	if (!c) {
		reset_answer(s, pair, g);
		return;
	}
	s->counters.incoming++;
	c->state = TCP_SYN_RECEIVED;
	c->passive = c->held = c->attached = true;
	c->irs = g->seq;
	c->rcv_nxt = c->rcv_head = c->rcv_adv = c->last_ack = g->seq + 1;
	c->snd_wnd = c->snd_wnd_max = g->window;
	c->snd_wl1 = g->seq;
	c->snd_wl2 = c->iss;
	options_adopt(c, g);
	congestion_start(c);
	c->t_life = tcp_after_ms(c, s->config.hold_ms);
	conn_arm(c);
	s->ops.incoming(s->arg, c);
}

/** no_connection() - 3.10.7.1 and 3.10.7.2 */
static void no_connection(struct tcp_stack *s, const struct tcp_pair *pair, const struct segment *g)
{
	if (g->flags & FLAG_RST)
		return;
	if ((g->flags & (FLAG_SYN | FLAG_ACK)) == FLAG_SYN)
		open_connection(s, pair, g);
	else
		reset_answer(s, pair, g);
}

static void established(struct tcp_conn *c)
{
	/* The user may have said already that it has no more to send. */
	c->state = c->fin_queued ? TCP_FIN_WAIT_1 : TCP_ESTABLISHED;
	c->backoff = 0;
	c->t_rexmit = NEVER;
	c->t_life = NEVER;
	c->heard = c->s->now;
	conn_watch(c);
	if (c->passive)
		c->s->counters.accepted++;
	else
		c->s->counters.connected++;
	conn_notify(c, EVENT_ESTABLISHED);
}

static void take_window(struct tcp_conn *c, const struct segment *g)
{
	uint32_t window = g->window << (g->flags & FLAG_SYN ? 0 : c->snd_shift);

	if (c->snd_wnd == 0 && window > 0) {
		/* From here on the guest has to take something, and gets it at once. */
		c->due_since = c->s->now;
		c->backoff = 0;
		if (c->window_probe)
			c->t_rexmit = NEVER;
	}
	c->snd_wnd = window;
	c->snd_wnd_max = MAX(c->snd_wnd_max, window);
	c->snd_wl1 = g->seq;
	c->snd_wl2 = g->ack;
}

/** syn_sent_input() - 3.10.7.3 */
static void syn_sent_input(struct tcp_conn *c, const struct segment *g)
{
	bool acks = g->flags & FLAG_ACK;

	if (acks && g->ack != c->snd_nxt) {
		if (!(g->flags & FLAG_RST))
			reset_answer(c->s, &c->pair, g);
		return;
	}
	if (g->flags & FLAG_RST) {
		if (acks) {
			c->s->counters.resets_in++;
			conn_end(c, TCP_END_REFUSED);
		}
		return;
	}
	if (!(g->flags & FLAG_SYN))
		return;
	c->irs = g->seq;
	c->rcv_nxt = c->rcv_head = c->rcv_adv = g->seq + 1;
	options_adopt(c, g);
	if (acks) {
		if (c->backoff == 0)
			rtt_sample(c, c->s->now - c->rtt_time);
		c->snd_una = g->ack;
		congestion_start(c);
		take_window(c, g);
		established(c);
		c->ack_now = true;
	} else {
		/* Both opened at once (RFC 9293, 3.5, figure 7). */
		c->state = TCP_SYN_RECEIVED;
		take_window(c, g);
		congestion_start(c);
		send_syn(c);
	}
}

static void reset_received(struct tcp_conn *c)
{
	c->s->counters.resets_in++;
	if (c->state == TCP_TIME_WAIT && !c->attached)
		conn_free(c);
	else if (c->state == TCP_SYN_RECEIVED && !c->passive)
		conn_end(c, TCP_END_REFUSED);
	else
		conn_end(c, TCP_END_RESET);
}

/** held_input() - Nothing was answered yet; all the guest can do is give up. */
static void held_input(struct tcp_conn *c, const struct segment *g)
{
	if ((g->flags & FLAG_RST) && g->seq == c->rcv_nxt)
		reset_received(c);
}

/** timely() - RFC 7323, 5.3: is the segment not older than what was there before? */
static bool timely(struct tcp_conn *c, const struct segment *g)
{
	if (!c->has_time || (g->flags & FLAG_RST))
		return true;
	if (!g->has_time)
		return g->flags & FLAG_SYN;
	if (!seq_before(g->tsval, c->ts_recent) || c->s->now - c->ts_recent_at > TS_AGE_MAX)
		return true;
	challenge_ack(c);
	return false;
}

/** acceptable() - 3.10.7.4, first step: does the segment touch the window? */
static bool acceptable(const struct tcp_conn *c, const struct segment *g)
{
	uint32_t window = receive_window(c), len = g->len + !!(g->flags & FLAG_SYN) + !!(g->flags & FLAG_FIN);

	/* With a closed window ACKs, RSTs and a bare FIN still count; text is cut off later. */
	if (g->seq == c->rcv_nxt)
		return true;
	if (len == 0)
		return !seq_before(g->seq, c->rcv_nxt) && seq_before(g->seq, c->rcv_nxt + window);
	return seq_before(g->seq, c->rcv_nxt + window) && seq_after(g->seq + len, c->rcv_nxt);
}

/** unacceptable() - Tell the guest where we are, unless it was a RST. */
static void unacceptable(struct tcp_conn *c, const struct segment *g)
{
	if (g->flags & FLAG_RST)
		return;
	if (c->state == TCP_TIME_WAIT && (g->flags & FLAG_FIN))
		conn_time_wait(c);
	if (g->len == 0 && !(g->flags & FLAG_FIN)) {
		challenge_ack(c);
		return;
	}
	c->s->counters.duplicates++;
	c->ack_now = true;
}

/** writable_again() - Enough was acknowledged for the user to go on. */
static void writable_again(struct tcp_conn *c)
{
	uint32_t limit = send_limit(c), used = c->snd_end - c->snd_una;

	/* One that waits for a chunk is told when there is one. */
	if (!c->want_write || !link_alone(&c->starved) || c->fin_queued || used > limit || limit - used < limit / 4)
		return;
	c->want_write = false;
	conn_notify(c, EVENT_WRITABLE);
}

/** fin_acked() - The guest has all that we had to say. */
static void fin_acked(struct tcp_conn *c)
{
	if (c->state == TCP_FIN_WAIT_1) {
		c->state = TCP_FIN_WAIT_2;
		conn_watch(c);
	} else if (c->state == TCP_CLOSING) {
		conn_time_wait(c);
	} else if (c->state == TCP_LAST_ACK) {
		conn_end(c, TCP_END_DONE);
	}
}

static void ack_advances(struct tcp_conn *c, const struct segment *g)
{
	uint32_t from = c->snd_una, to = g->ack;
	bool fin = c->fin_sent && to == c->snd_end + 1;

	congestion_acked(c, to, g);
	c->snd_una = to;
	c->backoff = 0;
	c->t_rexmit = NEVER;
	ring_release(&c->s->pool, &c->send, from, fin ? c->snd_end : to, c->snd_end);
	stack_trim_later(c->s);
	if (fin)
		fin_acked(c);
}

/**
 * ack_input() - 3.10.7.4, fifth step, and RFC 5961, 5.2. Return: false when the segment is to be dropped, or the
 * connection has ended.
 */
static bool ack_input(struct tcp_conn *c, const struct segment *g)
{
	uint32_t window;

	if (c->state == TCP_SYN_RECEIVED) {
		if (g->ack != c->snd_nxt) {
			reset_answer(c->s, &c->pair, g);
			return false;
		}
		if (!c->has_time && c->backoff == 0)
			rtt_sample(c, c->s->now - c->rtt_time);
		c->snd_una = g->ack;
		congestion_start(c);
		take_window(c, g);
		established(c);
		return true;
	}
	if (seq_after(g->ack, c->snd_nxt) || seq_before(g->ack, c->snd_una - MIN(c->snd_wnd_max, 1u << 30))) {
		challenge_ack(c);
		return false;
	}
	if (c->state == TCP_TIME_WAIT)
		return true;
	window = g->window << c->snd_shift;
	if (seq_after(g->ack, c->snd_una)) {
		ack_advances(c, g);
		if (c->dead || c->state == TCP_CLOSED || c->state == TCP_TIME_WAIT)
			return false;
		congestion_sacks(c, g, false);
	} else if (g->ack == c->snd_una && c->snd_una != c->snd_nxt) {
		congestion_sacks(c, g, g->len == 0 && !(g->flags & FLAG_FIN) && window == c->snd_wnd);
	}
	if (!seq_before(g->ack, c->snd_una) &&
	    (seq_before(c->snd_wl1, g->seq) || (c->snd_wl1 == g->seq && !seq_before(g->ack, c->snd_wl2))))
		take_window(c, g);
	writable_again(c);
	return true;
}

/** merge_early() - What came before its time and is in sequence now. */
static void merge_early(struct tcp_conn *c)
{
	struct ranges *l = c->early;

	if (!l)
		return;
	while (l->count > 0 && !seq_after(l->r[0].start, c->rcv_nxt)) {
		uint32_t end = seq_max(c->rcv_nxt, l->r[0].end);

		c->s->counters.bytes_in += end - c->rcv_nxt;
		c->rcv_nxt = end;
		ranges_cut(l, end);
	}
	c->ack_now = true;
	if (l->count == 0) {
		free(TAKE_PTR(c->early));
		c->s->counters.ranges--;
	}
}

/** keep_early() - Data beyond a gap: into its place in the ring, if there is memory and a range to spare. */
static void keep_early(struct tcp_conn *c, uint32_t seq, const uint8_t *data, uint32_t len)
{
	struct tcp_stack *s = c->s;

	c->ack_now = true;
	s->counters.out_of_order++;
	if (!c->early) {
		c->early = calloc(1, sizeof(*c->early));
		if (!c->early)
			return;
		s->counters.ranges++;
	}
	if (s->pool.free_count > s->pool.total / EARLY_RESERVE && c->early->count < TCP_RANGES_MAX)
		len = ring_ensure(&s->pool, &c->receive, seq, len);
	else
		len = 0;
	if (len == 0) {
		s->counters.dropped_memory++;
		merge_early(c); /* frees a list that stayed empty */
		return;
	}
	ring_put(&s->pool, &c->receive, seq, data, len);
	ranges_add(c->early, seq, seq + len);
	c->rcv_latest = seq;
}

/** take_data() - The next bytes. They stay where they are until the user was asked, unless others lie behind them. */
static void take_data(struct tcp_conn *c, const uint8_t *data, uint32_t len)
{
	struct tcp_stack *s = c->s;
	uint32_t kept = ring_ensure(&s->pool, &c->receive, c->rcv_nxt, len);

	if (kept < len) {
		s->counters.dropped_memory++;
		c->ack_now = true;
	}
	if (kept == 0)
		return;
	if (c->early) {
		ring_put(&s->pool, &c->receive, c->rcv_nxt, data, kept);
	} else {
		c->direct = data;
		c->direct_len = kept;
	}
	c->rcv_nxt += kept;
	s->counters.bytes_in += kept;
	merge_early(c);
	conn_notify(c, EVENT_READABLE);
}

/**
 * acknowledge_later() - RFC 9293, 3.8.6.3: at the latest every second full segment. With a large MTU sooner: next to so
 * many bytes an ACK costs nothing, and the guest would take the delay for a loss.
 */
static void acknowledge_later(struct tcp_conn *c)
{
	if (c->rcv_nxt - c->last_ack >= MIN(2u * c->rcv_mss, ACK_BYTES))
		c->ack_now = true;
	else
		c->delayed = true;
}

/** data_input() - 3.10.7.4, seventh step. Return: false when the connection has ended. */
static bool data_input(struct tcp_conn *c, const struct segment *g)
{
	uint32_t seq = g->seq, end = g->seq + g->len, right = c->rcv_nxt + receive_window(c);
	const uint8_t *data = g->data;

	if (g->len == 0)
		return true;
	c->rcv_mss = (uint16_t)MIN(MAX(c->rcv_mss, g->len), mss_of_link(c->s, &c->pair));
	if (!c->attached && seq_after(end, c->rcv_nxt)) {
		/* Nobody will read it (RFC 9293, 3.6.1). */
		send_reset(c);
		conn_end(c, TCP_END_RESET);
		return false;
	}
	if (c->fin_known)
		right = seq_min(right, c->fin_seq);
	if (seq_before(seq, c->rcv_nxt)) {
		data += c->rcv_nxt - seq;
		seq = c->rcv_nxt;
	}
	end = seq_min(end, right);
	if (!seq_before(seq, end)) {
		c->s->counters.duplicates++;
		c->ack_now = true;
		return true;
	}
	if (seq == c->rcv_nxt) {
		take_data(c, data, end - seq);
		acknowledge_later(c);
	} else {
		keep_early(c, seq, data, end - seq);
	}
	return true;
}

/** note_fin() - A FIN may come before data that precedes it; the first that makes sense counts. */
static void note_fin(struct tcp_conn *c, const struct segment *g)
{
	uint32_t seq = g->seq + g->len, last = c->early ? c->early->r[c->early->count - 1].end : c->rcv_nxt;

	if (!(g->flags & FLAG_FIN) || c->fin_known || seq_before(seq, last) ||
	    seq_after(seq, c->rcv_nxt + receive_window(c)))
		return;
	c->fin_known = true;
	c->fin_seq = seq;
}

/** fin_input() - 3.10.7.4, eighth step, once everything before it is there. */
static void fin_input(struct tcp_conn *c, const struct segment *g)
{
	if (fin_received(c))
		return;
	note_fin(c, g);
	if (!c->fin_known || c->rcv_nxt != c->fin_seq) {
		c->ack_now |= !!(g->flags & FLAG_FIN);
		return;
	}
	c->rcv_nxt++;
	c->ack_now = true;
	conn_notify(c, EVENT_READABLE);
	if (c->state == TCP_ESTABLISHED)
		c->state = TCP_CLOSE_WAIT;
	else if (c->state == TCP_FIN_WAIT_1)
		c->state = TCP_CLOSING;
	else if (c->state == TCP_FIN_WAIT_2)
		conn_time_wait(c);
}

/** syn_again() - The SYN of a connection that is being opened came once more, or crossed ours. Return: it was that. */
static bool syn_again(struct tcp_conn *c, struct segment *g)
{
	if (c->state != TCP_SYN_RECEIVED || g->seq != c->irs || (g->flags & (FLAG_SYN | FLAG_RST)) != FLAG_SYN)
		return false;
	if (g->flags & FLAG_ACK) {
		g->seq++;
		g->flags &= (uint8_t)~FLAG_SYN;
		g->len = 0;
		g->window >>= c->snd_shift; /* a SYN's is not scaled */
		return false;
	}
	send_syn(c);
	return true;
}

static void conn_input(struct tcp_conn *c, struct segment *g)
{
	if (syn_again(c, g) || !timely(c, g))
		return;
	if (!acceptable(c, g)) {
		unacceptable(c, g);
		return;
	}
	if (g->flags & FLAG_RST) {
		if (g->seq == c->rcv_nxt)
			reset_received(c);
		else
			challenge_ack(c);
		return;
	}
	if (g->flags & FLAG_SYN) {
		if (c->state == TCP_SYN_RECEIVED && c->passive)
			conn_end(c, TCP_END_RESET);
		else
			challenge_ack(c);
		return;
	}
	if (!(g->flags & FLAG_ACK))
		return;
	if (g->has_time && c->has_time && !seq_after(g->seq, c->last_ack)) {
		c->ts_recent = g->tsval;
		c->ts_recent_at = c->s->now;
	}
	c->heard = c->s->now;
	c->probes = 0;
	if (!ack_input(c, g))
		return;
	if (c->state == TCP_ESTABLISHED || c->state == TCP_FIN_WAIT_1 || c->state == TCP_FIN_WAIT_2) {
		if (!data_input(c, g))
			return;
		fin_input(c, g);
	} else if (c->state == TCP_TIME_WAIT && (g->flags & FLAG_FIN)) {
		c->ack_now = true;
		conn_time_wait(c);
	}
}

/** replaced() - A SYN that opens the pair of a connection in TIME_WAIT anew (RFC 9293, 3.6.1; 6191). */
static bool replaced(const struct tcp_conn *c, const struct segment *g)
{
	if (c->state != TCP_TIME_WAIT || c->attached || (g->flags & (FLAG_SYN | FLAG_ACK | FLAG_RST)) != FLAG_SYN)
		return false;
	if (c->has_time && g->has_time && g->tsval != c->ts_recent)
		return seq_after(g->tsval, c->ts_recent);
	return seq_after(g->seq, c->rcv_nxt);
}

/** keep_direct() - What the user did not consume while it lay in the segment. */
static void keep_direct(struct tcp_conn *c)
{
	uint32_t end = c->rcv_nxt - fin_received(c);

	ring_put(&c->s->pool, &c->receive, end - c->direct_len, c->direct, c->direct_len);
	c->direct_len = 0;
}

void tcp_input(struct tcp_stack *s, const struct tcp_pair *pair, const uint8_t *data, size_t len)
{
	struct tcp_conn *c;
	struct segment g;

	s->counters.segments_in++;
	if (!segment_parse(&g, data, len)) {
		s->counters.malformed++;
		return;
	}
	stack_enter(s);
	c = conn_find(s, pair);
	if (c && replaced(c, &g)) {
		conn_free(c);
		c = NULL;
	}
	if (!c) {
		no_connection(s, pair, &g);
		stack_leave(s);
		return;
	}
	c->corked = true;
	if (c->held)
		held_input(c, &g);
	else if (c->state == TCP_SYN_SENT)
		syn_sent_input(c, &g);
	else
		conn_input(c, &g);
	if (!c->dead && c->events)
		conn_deliver(c);
	if (!c->dead) {
		keep_direct(c);
		c->corked = false;
		conn_output(c);
	}
	stack_leave(s);
}
