/* SPDX-License-Identifier: Apache-2.0 */
/* What is sent, and when: RFC 9293, 3.8.6 and 3.10. */
#include "net/tcp/stack.h"

#define DELAYED_ACK_MS 40
#define BACKOFF_MAX (60 * NSEC_PER_SEC)
#define CHALLENGES 10u /* per second */

static uint32_t receive_limit(const struct tcp_conn *c)
{
	/* Rounding to what the window field can say must not lead beyond the buffer. */
	uint32_t limit = MIN(c->s->config.buffer_max, stack_allowance(c->s)) - (1u << WINDOW_SHIFT);

	return MIN(limit, (uint32_t)UINT16_MAX << c->rcv_shift);
}

uint32_t send_limit(const struct tcp_conn *c)
{
	/* More than twice what the guest takes at a time would only lie there: one that does not read holds little. */
	uint32_t useful = MAX(4 * TCP_CHUNK, 2 * MIN(c->snd_wnd, TCP_BUFFER_MAX));

	return MIN(MIN(c->s->config.buffer_max, useful), stack_allowance(c->s));
}

/**
 * choose_window() - The window field, and the right edge that it stands for. The edge moves on only by steps worth the
 * while (RFC 9293, 3.8.6.2.2) and never back; but by less than one unit of the field, where the ring ends (7323, 2.4).
 */
static uint16_t choose_window(const struct tcp_conn *c, unsigned int shift, uint32_t *edge)
{
	uint32_t limit = receive_limit(c), want = c->rcv_head + limit, right = c->rcv_adv, window, field;

	if (seq_after(want, right) && want - right >= MIN(limit / 2, c->rcv_mss))
		right = want;
	window = seq_after(right, c->rcv_nxt) ? right - c->rcv_nxt : 0;
	field = (window + (1u << shift) - 1) >> shift;
	if (c->rcv_nxt + (field << shift) - c->rcv_head > TCP_BUFFER_MAX)
		field = window >> shift;
	field = MIN(field, UINT16_MAX);
	*edge = seq_max(c->rcv_adv, c->rcv_nxt + (field << shift));
	return (uint16_t)field;
}

void window_opened(struct tcp_conn *c)
{
	uint32_t limit = receive_limit(c), want = c->rcv_head + limit, now;

	if (c->state != TCP_ESTABLISHED && c->state != TCP_FIN_WAIT_1 && c->state != TCP_FIN_WAIT_2)
		return;
	now = seq_after(c->rcv_adv, c->rcv_nxt) ? c->rcv_adv - c->rcv_nxt : 0;
	if (!seq_after(want, c->rcv_adv) || want - c->rcv_adv < MIN(limit / 2, 2u * c->rcv_mss))
		return;
	if (want - c->rcv_nxt >= 2 * now)
		c->ack_now = true;
}

/** transmit() - One frame. Return: false when the link is full; the connection is on the list then. */
static bool transmit(struct tcp_conn *c, uint32_t seq, uint32_t len, uint8_t flags, uint32_t mss)
{
	struct tcp_stack *s = c->s;
	uint8_t header[TCP_HEADER_MAX];
	struct iovec iov[TCP_OUT_IOV];
	uint32_t edge;
	uint16_t window = choose_window(c, flags & FLAG_SYN ? 0 : c->rcv_shift, &edge);
	struct tcp_out out = { .pair = &c->pair, .header = header, .payload = iov, .payload_len = len };

	if (len > 0)
		flags |= seq + len == c->snd_end ? FLAG_PSH : 0;
	out.header_len = header_write(c, header, seq, flags, window);
	out.payload_count = ring_iov(&s->pool, &c->send, seq, len, iov, TCP_OUT_IOV);
	out.gso_size = len > mss ? (uint16_t)mss : 0;
	if (!s->ops.output(s->arg, &out)) {
		s->counters.link_full++;
		link_append(&s->blocked, &c->blocked);
		return false;
	}
	s->counters.segments_out++;
	if (flags & FLAG_ACK) {
		c->rcv_adv = edge;
		c->last_ack = c->rcv_nxt;
		c->ack_now = c->delayed = false;
		c->t_ack = NEVER;
	}
	return true;
}

bool send_control(struct tcp_conn *c, uint32_t seq, uint8_t flags)
{
	return transmit(c, seq, 0, flags, c->mss);
}

void send_syn(struct tcp_conn *c)
{
	send_control(c, c->iss, c->state == TCP_SYN_SENT ? FLAG_SYN : FLAG_SYN | FLAG_ACK);
	if (c->t_rexmit == NEVER)
		c->t_rexmit = tcp_after_ms(c, (int64_t)1000 << c->backoff);
	conn_arm(c);
}

static void plain_reset(struct tcp_stack *s, const struct tcp_pair *pair, uint32_t seq, uint32_t ack, uint8_t flags)
{
	uint8_t header[TCP_HEADER];

	header_plain(header, pair, seq, ack, flags);
	s->counters.resets_out++;
	if (s->ops.output(s->arg, &(struct tcp_out){ .pair = pair, .header = header, .header_len = sizeof(header) }))
		s->counters.segments_out++;
	else
		s->counters.link_full++;
}

void send_reset(struct tcp_conn *c)
{
	if (c->held)
		plain_reset(c->s, &c->pair, 0, c->rcv_nxt, FLAG_RST | FLAG_ACK);
	else
		plain_reset(c->s, &c->pair, c->snd_nxt, c->rcv_nxt, FLAG_RST | FLAG_ACK);
}

void reset_answer(struct tcp_stack *s, const struct tcp_pair *pair, const struct segment *g)
{
	uint32_t len = g->len + !!(g->flags & FLAG_SYN) + !!(g->flags & FLAG_FIN);

	if (g->flags & FLAG_ACK)
		plain_reset(s, pair, g->ack, 0, FLAG_RST);
	else
		plain_reset(s, pair, 0, g->seq + len, FLAG_RST | FLAG_ACK);
}

void challenge_ack(struct tcp_conn *c)
{
	if (c->s->now - c->challenge_at >= NSEC_PER_SEC) {
		c->challenge_at = c->s->now;
		c->challenges = 0;
	}
	if (c->challenges >= CHALLENGES)
		return;
	c->challenges++;
	c->s->counters.challenge_acks++;
	c->ack_now = true;
}

/** frame_limit() - Most payload of one frame: as many whole segments as an IP packet holds. */
static uint32_t frame_limit(const struct tcp_conn *c, uint32_t mss)
{
	uint32_t most = TCP_IP_MAX - (ip_is_v4(&c->pair.guest.ip) ? 20 : 40) - TCP_HEADER - options_len(c);

	return c->s->config.gso && most > mss ? most - most % mss : mss;
}

/** start_measure() - Time what was just sent; with timestamps the guest's echo does that. */
static void start_measure(struct tcp_conn *c)
{
	if (!c->has_time && !c->rtt_pending) {
		c->rtt_pending = true;
		c->rtt_seq = c->snd_nxt - 1;
		c->rtt_time = c->s->now;
	}
}

/** send_again() - A piece that was lost. Return: may there be more to send? */
static bool send_again(struct tcp_conn *c, uint32_t seq, uint32_t len, uint32_t mss, uint32_t room)
{
	bool first = c->high_rxt == c->snd_una;
	uint8_t flags = FLAG_ACK;
	uint32_t end, data;

	if (room < MIN(len, mss)) {
		if (!first) /* the first goes out whatever the window says: RFC 6675, 5, step 4.3 */
			return false;
		room = mss;
	}
	len = MIN(MIN(len, frame_limit(c, mss)), room >= mss ? room - room % mss : room);
	end = seq + len;
	data = seq_after(end, c->snd_end) ? c->snd_end - seq : len;
	if (data < len)
		flags |= FLAG_FIN;
	if (!transmit(c, seq, data, flags, mss))
		return false;
	c->high_rxt = end;
	c->rtt_pending = false;
	c->s->counters.retransmits++;
	return true;
}

/** send_new() - Data that was not sent yet, and FIN. Return: may there be more to send? */
static bool send_new(struct tcp_conn *c, uint32_t mss, uint32_t room)
{
	uint32_t right = c->snd_una + c->snd_wnd, usable = seq_after(right, c->snd_nxt) ? right - c->snd_nxt : 0;
	uint32_t waiting = c->fin_sent ? 0 : c->snd_end - c->snd_nxt;
	uint32_t len = MIN(MIN(waiting, usable), frame_limit(c, mss));
	bool fin;

	if (len > room) {
		c->cwnd_limited = true;
		len = room;
	}
	if (len < waiting) {
		/* No small segments but the last (RFC 9293, 3.8.6.2.1); no Nagle: the bytes had their delay. */
		if (len < mss && (c->cwnd_limited || len < c->snd_wnd_max / 2))
			return false;
		len -= len > mss ? len % mss : 0;
	}
	fin = c->fin_queued && !c->fin_sent && len == waiting;
	if (len == 0 && !fin)
		return false;
	if (!transmit(c, c->snd_nxt, len, fin ? FLAG_ACK | FLAG_FIN : FLAG_ACK, mss))
		return false;
	c->s->counters.bytes_out += len;
	c->fin_sent |= fin;
	c->snd_nxt += len + fin;
	start_measure(c);
	return len < waiting;
}

void send_forced(struct tcp_conn *c)
{
	uint32_t len = MIN(MIN(c->snd_end - c->snd_nxt, c->snd_wnd), (uint32_t)c->mss - options_len(c));

	if (len > 0 && transmit(c, c->snd_nxt, len, FLAG_ACK, c->mss)) {
		c->s->counters.bytes_out += len;
		c->snd_nxt += len;
		start_measure(c);
	}
}

static bool send_next(struct tcp_conn *c)
{
	uint32_t mss = c->mss - options_len(c), pipe = congestion_pipe(c), room = c->cwnd > pipe ? c->cwnd - pipe : 0;
	uint32_t seq, hole = congestion_hole(c, &seq);

	return hole > 0 ? send_again(c, seq, hole, mss, room) : send_new(c, mss, room);
}

static int64_t backed_off(const struct tcp_conn *c)
{
	return MIN(c->rto << MIN(c->backoff, 16), BACKOFF_MAX);
}

/** set_timers() - Retransmission while something is in flight, persist while something should be; delayed ACK. */
static void set_timers(struct tcp_conn *c)
{
	bool flight = c->snd_una != c->snd_nxt, waiting = c->snd_nxt != c->snd_end + c->fin_queued;

	if (!flight && !waiting) {
		c->t_rexmit = NEVER;
		c->backoff = 0;
	} else if (c->t_rexmit == NEVER || c->window_probe == flight) {
		if (c->t_rexmit == NEVER && c->backoff == 0)
			c->due_since = c->s->now;
		c->t_rexmit = c->s->now + backed_off(c);
		c->window_probe = !flight;
	}
	if (c->delayed && c->t_ack == NEVER)
		c->t_ack = tcp_after_ms(c, DELAYED_ACK_MS);
	conn_arm(c);
}

void conn_output(struct tcp_conn *c)
{
	if (c->corked || c->held || c->dead || c->state == TCP_SYN_SENT || c->state == TCP_CLOSED)
		return;
	if (link_alone(&c->blocked)) {
		if (tcp_synchronized(c) && c->state != TCP_TIME_WAIT) {
			while (send_next(c))
				;
		}
		if (c->ack_now && link_alone(&c->blocked))
			send_control(c, c->snd_nxt, FLAG_ACK);
	}
	if (tcp_synchronized(c) && c->state != TCP_TIME_WAIT)
		set_timers(c);
}
