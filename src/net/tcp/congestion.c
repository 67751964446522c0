/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Congestion control (RFC 5681, initial window of 6928), loss recovery with SACK (6675) and without (6582), and the
 * estimate of the retransmission timer (6298). What lies in [snd_una, lost_edge) and is not in `sacked` is taken for
 * lost; without SACK, lost_edge is one segment after what was acknowledged last.
 */
#include <stdlib.h>

#include "net/tcp/stack.h"

#define RTO_FIRST NSEC_PER_SEC
#define RTO_MAX (60 * NSEC_PER_SEC)
#define RTT_MAX (600 * NSEC_PER_SEC)
#define CWND_MAX (2 * TCP_BUFFER_MAX)
#define DUP_THRESHOLD 3u

void congestion_start(struct tcp_conn *c)
{
	uint32_t mss = c->mss;

	c->cwnd = MIN(10 * mss, MAX(2 * mss, 14600u));
	c->ssthresh = CWND_MAX;
	c->recover = c->lost_edge = c->high_rxt = c->snd_una;
	c->rtt_seq = c->snd_nxt;
	if (c->rto == 0)
		c->rto = RTO_FIRST;
}

void rtt_sample(struct tcp_conn *c, int64_t rtt)
{
	rtt = MAX(rtt, 1);
	if (c->srtt == 0) {
		c->srtt = rtt;
		c->rttvar = rtt / 2;
	} else {
		c->rttvar += ((c->srtt > rtt ? c->srtt - rtt : rtt - c->srtt) - c->rttvar) / 4;
		c->srtt += (rtt - c->srtt) / 8;
	}
	/* The least is on top of the estimate: it is for ACKs that the guest delays, which samples seldom show. */
	c->rto = c->srtt + MAX(c->s->config.rto_min_ms * NSEC_PER_MSEC, 4 * c->rttvar);
	c->rto = MIN(c->rto, RTO_MAX);
}

/** take_rtt() - At most one sample per window; by the echoed timestamp also when it was a retransmission (7323, 4). */
static void take_rtt(struct tcp_conn *c, uint32_t ack, const struct segment *g)
{
	int64_t rtt;

	if (c->has_time && g->has_time) {
		rtt = (int64_t)(tcp_clock(c) - g->tsecr) * NSEC_PER_MSEC;
		if (!seq_after(ack, c->rtt_seq) || rtt > RTT_MAX)
			return;
		c->rtt_seq = c->snd_nxt;
		rtt_sample(c, rtt);
	} else if (c->rtt_pending && seq_after(ack, c->rtt_seq)) {
		c->rtt_pending = false;
		rtt_sample(c, c->s->now - c->rtt_time);
	}
}

static void grow(struct tcp_conn *c, uint32_t acked)
{
	if (c->cwnd < c->ssthresh) {
		c->cwnd += MIN(acked, c->ssthresh - c->cwnd);
	} else {
		c->acked_bytes += acked;
		if (c->acked_bytes >= c->cwnd) {
			c->acked_bytes -= c->cwnd;
			c->cwnd += c->mss;
		}
	}
	c->cwnd = MIN(c->cwnd, CWND_MAX);
}

void congestion_acked(struct tcp_conn *c, uint32_t ack, const struct segment *g)
{
	uint32_t acked = ack - c->snd_una;

	take_rtt(c, ack, g);
	if (c->recovering && !seq_before(ack, c->recover)) {
		if (!c->timed_out)
			c->cwnd = c->ssthresh;
		c->recovering = c->timed_out = false;
		c->dupacks = 0;
	} else if (c->recovering) {
		if (c->timed_out) {
			grow(c, acked);
		} else if (!c->has_sack) {
			/* RFC 6582, partial acknowledgment: the segment after it is the next that was lost. */
			c->lost_edge = seq_min(ack + c->mss, c->snd_nxt);
			c->high_rxt = ack;
		}
		c->dupacks = 0;
	} else {
		c->dupacks = 0;
		if (c->cwnd_limited)
			grow(c, acked);
	}
	c->cwnd_limited = false;
	if (c->recovering) {
		c->lost_edge = seq_max(c->lost_edge, ack);
		c->high_rxt = seq_max(c->high_rxt, ack);
	} else {
		c->recover = c->lost_edge = c->high_rxt = ack;
	}
	if (c->sacked) {
		ranges_cut(c->sacked, ack);
		if (c->sacked->count == 0) {
			free(TAKE_PTR(c->sacked));
			c->s->counters.ranges--;
		}
	}
}

/** take_sacks() - RFC 2018, 5: note what has arrived beyond snd_una. Return: was anything new? */
static bool take_sacks(struct tcp_conn *c, const struct segment *g)
{
	bool news = false;

	for (uint32_t i = 0; i < g->sacks; i++) {
		struct range r = g->sack[i];

		/* A block at or before snd_una is a duplicate that the guest reports (RFC 2883). */
		if (!seq_after(r.start, c->snd_una) || !seq_before(r.start, r.end) || seq_after(r.end, c->snd_nxt))
			continue;
		if (!c->sacked) {
			c->sacked = calloc(1, sizeof(*c->sacked));
			if (!c->sacked)
				return news;
			c->s->counters.ranges++;
		}
		if (ranges_bytes(c->sacked, r.start, r.end) < r.end - r.start)
			news |= ranges_add(c->sacked, r.start, r.end);
	}
	return news;
}

/** loss_edge() - RFC 6675, IsLost(): enough has arrived above. */
static uint32_t loss_edge(const struct tcp_conn *c)
{
	const struct ranges *l = c->sacked;
	uint32_t edge = c->snd_una, bytes = 0;

	for (uint32_t n = 0; l && n < l->count; n++) {
		const struct range *r = &l->r[l->count - 1 - n];

		bytes += r->end - r->start;
		if (n + 1 >= DUP_THRESHOLD || bytes > (DUP_THRESHOLD - 1) * c->mss) {
			edge = r->start;
			break;
		}
	}
	if (c->dupacks >= DUP_THRESHOLD)
		edge = seq_max(edge, seq_min(c->snd_una + c->mss, c->snd_nxt));
	return edge;
}

void congestion_sacks(struct tcp_conn *c, const struct segment *g, bool duplicate)
{
	bool news = c->has_sack && take_sacks(c, g);

	if (!news && !duplicate)
		return;
	c->dupacks = MIN(c->dupacks + 1, 0xffffu);
	if (c->recovering) {
		if (!c->timed_out && c->has_sack)
			c->lost_edge = seq_max(c->lost_edge, loss_edge(c));
		return;
	}
	/* RFC 6582, 3.2: duplicates of what an earlier recovery sent again mean nothing. */
	if (seq_before(c->snd_una, c->recover) || loss_edge(c) == c->snd_una)
		return;
	c->ssthresh = MAX((c->snd_nxt - c->snd_una) / 2, 2u * c->mss);
	c->cwnd = c->ssthresh;
	c->acked_bytes = 0;
	c->lost_edge = loss_edge(c);
	c->high_rxt = c->snd_una;
	c->recover = c->snd_nxt;
	c->recovering = true;
	c->s->counters.fast_recoveries++;
}

void congestion_timeout(struct tcp_conn *c)
{
	if (c->backoff == 0)
		c->ssthresh = MAX((c->snd_nxt - c->snd_una) / 2, 2u * c->mss);
	c->cwnd = c->mss;
	c->acked_bytes = 0;
	c->dupacks = 0;
	c->rtt_pending = false;
	/* RFC 2018, 8: the guest may have thrown away what it reported. */
	if (c->sacked) {
		free(TAKE_PTR(c->sacked));
		c->s->counters.ranges--;
	}
	c->lost_edge = c->recover = c->snd_nxt;
	c->high_rxt = c->snd_una;
	c->recovering = c->timed_out = true;
	c->s->counters.timeouts++;
}

uint32_t congestion_pipe(const struct tcp_conn *c)
{
	uint32_t flight = c->snd_nxt - c->snd_una, gone, again;

	if (!c->has_sack)
		gone = MIN(c->dupacks, 0xffffu) * c->mss;
	else
		gone = ranges_bytes(c->sacked, c->snd_una, c->snd_nxt);
	gone += (c->lost_edge - c->snd_una) - ranges_bytes(c->sacked, c->snd_una, c->lost_edge);
	again = (c->high_rxt - c->snd_una) - ranges_bytes(c->sacked, c->snd_una, c->high_rxt);
	return (flight > gone ? flight - gone : 0) + again;
}

uint32_t congestion_hole(const struct tcp_conn *c, uint32_t *seq)
{
	uint32_t start = c->high_rxt, end = c->lost_edge;

	for (uint32_t i = 0; c->sacked && i < c->sacked->count; i++) {
		const struct range *r = &c->sacked->r[i];

		if (seq_after(r->start, start)) {
			end = seq_min(end, r->start);
			break;
		}
		start = seq_max(start, r->end);
	}
	*seq = start;
	return seq_before(start, end) ? end - start : 0;
}
