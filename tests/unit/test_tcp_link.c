/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two stacks of the gateway's TCP over a simulated link that loses, reorders, duplicates and delays, in virtual time and
 * from a seed. Both sides write bytes that tell their own position, read in pieces of any size, and count.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/macros.h"
#include "tcp_wire.h"

#define PACKETS_MAX 65536
#define STALL_MS 5000
#define START (5000 * NSEC_PER_SEC)
#define CONNS_MAX 300

struct packet {
	int64_t when;
	uint64_t order; /* of equal times, the first sent is the first that arrives */
	struct packet *next;
	int to;
	struct tcp_pair pair; /* as the receiver sees it */
	size_t len;
	uint8_t bytes[];
};

/* What one end of a connection does. */
struct app {
	struct tcp_conn *c;
	int side;
	uint64_t to_send, sent, got;
	unsigned int key;	  /* of the pattern that it writes; it reads that of `peer` */
	struct app *peer;
	bool shut, end, established, closed;
	bool slow;		  /* reads 3,000 bytes each 10 ms */
	bool stopped;		  /* reads nothing */
	bool keep_open;		  /* do not shut down when all was written */
	enum tcp_end how;
};

struct impair {
	double loss, reorder, duplicate;
	int64_t delay_us, jitter_us;
	uint32_t queue; /* packets at once on the link each way; then it is full. 0: no limit */
};

struct world {
	struct tcp_stack *stack[2];
	struct app apps[2][CONNS_MAX];
	unsigned int conns;
	struct impair impair;
	struct packet *heap[PACKETS_MAX];
	unsigned int count, on_link[2];
	bool blocked[2];
	int64_t now, progress, longest;
	uint64_t seed, order;
	unsigned int drops;
	uint32_t edge[2]; /* of the widest window of the first connection */
	unsigned int shrunk;
	bool edge_known[2], silent[2]; /* silent: whatever this side sends is lost */
	uint8_t isn_seen[2];
	uint32_t isn[2];
	bool two_segments; /* some frame held more than one segment */
};

struct end {
	struct world *w;
	int side;
};
static struct end ends[2];

static uint32_t dice(struct world *w)
{
	w->seed = w->seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(w->seed >> 33);
}

static bool chance(struct world *w, double p)
{
	return dice(w) < p * 2147483648.0;
}

static bool earlier(const struct packet *a, const struct packet *b)
{
	return a->when != b->when ? a->when < b->when : a->order < b->order;
}

static void heap_push(struct world *w, struct packet *p)
{
	unsigned int at = w->count++;

	assert_true(at < PACKETS_MAX);
	for (; at > 0 && earlier(p, w->heap[(at - 1) / 2]); at = (at - 1) / 2)
		w->heap[at] = w->heap[(at - 1) / 2];
	w->heap[at] = p;
}

static struct packet *heap_pop(struct world *w)
{
	struct packet *top = w->heap[0], *last = w->heap[--w->count];
	unsigned int at = 0;

	for (unsigned int child; (child = 2 * at + 1) < w->count; at = child) {
		child += child + 1 < w->count && earlier(w->heap[child + 1], w->heap[child]);
		if (!earlier(w->heap[child], last))
			break;
		w->heap[at] = w->heap[child];
	}
	w->heap[at] = last;
	return top;
}

static void launch(struct world *w, int from, const struct tcp_pair *pair, const struct wire *wire, const uint8_t *header,
		   size_t header_len)
{
	struct packet *p;

	if (w->silent[from] || chance(w, w->impair.loss)) {
		w->drops++;
		return;
	}
	p = calloc(1, sizeof(*p) + header_len + wire->len);
	assert_non_null(p);
	p->to = !from;
	p->pair = (struct tcp_pair){ .us = pair->guest, .guest = pair->us };
	p->len = header_len + wire->len;
	memcpy(p->bytes, header, header_len);
	memcpy(p->bytes + header_len, wire->data, wire->len);
	wire_put32(p->bytes + 4, wire->seq);
	p->bytes[13] = wire->flags;
	p->when = w->now + w->impair.delay_us * 1000;
	if (w->impair.jitter_us)
		p->when += ((int64_t)(dice(w) % (2 * (uint32_t)w->impair.jitter_us)) - w->impair.jitter_us) * 1000;
	if (chance(w, w->impair.reorder))
		p->when += w->impair.delay_us * 500;
	p->order = w->order++;
	w->on_link[from]++;
	heap_push(w, p);
}

/** check_window() - The right edge of the window never moves back but by less than the unit of the field. */
static void check_window(struct world *w, int side, const struct wire *wire, const struct tcp_pair *pair)
{
	uint32_t edge;

	if (!(wire->flags & ACK) || (wire->flags & (RST | SYN)) || (side ? pair->us.port : pair->guest.port) != 4000)
		return;
	edge = wire->ack + ((uint32_t)wire->window << 4);
	if (w->edge_known[side] && (int32_t)(edge + 16 - w->edge[side]) <= 0)
		w->shrunk++;
	if (!w->edge_known[side] || (int32_t)(edge - w->edge[side]) > 0)
		w->edge[side] = edge;
	w->edge_known[side] = true;
}

/** on_output() - As a network card with segmentation offload: the link sees single segments. */
static bool on_output(void *arg, const struct tcp_out *out)
{
	struct end *end = arg;
	struct world *w = end->w;
	static uint8_t bytes[70000];
	size_t at = out->header_len, done = 0, step;
	struct wire wire, piece;

	if (w->impair.queue && w->on_link[end->side] >= w->impair.queue) {
		w->blocked[end->side] = true;
		return false;
	}
	memcpy(bytes, out->header, at);
	for (int i = 0; i < out->payload_count; i++) {
		memcpy(bytes + at, out->payload[i].iov_base, out->payload[i].iov_len);
		at += out->payload[i].iov_len;
	}
	assert_int_equal(at, out->header_len + out->payload_len);
	assert_true(at <= 65535 - 20);
	assert_true(wire_read(&wire, bytes, at));
	check_window(w, end->side, &wire, out->pair);
	if ((wire.flags & SYN) && !w->isn_seen[end->side]) {
		w->isn_seen[end->side] = 1;
		w->isn[end->side] = wire.seq;
	}
	step = out->gso_size ? out->gso_size : out->payload_len;
	assert_true(out->gso_size == 0 || out->payload_len > out->gso_size);
	w->two_segments |= out->gso_size != 0;
	do {
		piece = wire;
		piece.seq += (uint32_t)done;
		piece.data += done;
		piece.len = MIN(step, wire.len - done);
		done += piece.len;
		if (done < wire.len)
			piece.flags &= (uint8_t)~(FIN | PSH);
		launch(w, end->side, out->pair, &piece, bytes, out->header_len);
		if (chance(w, w->impair.duplicate))
			launch(w, end->side, out->pair, &piece, bytes, out->header_len);
	} while (done < wire.len);
	return true;
}

static uint8_t pattern(unsigned int key, uint64_t at)
{
	return (uint8_t)(at * 7 + (at >> 8) * 13 + (at >> 16) * 31 + key);
}

static void app_write(struct world *w, struct app *a)
{
	struct iovec iov[4];

	while (a->sent < a->to_send) {
		size_t want = 1 + dice(w) % 100000, done = 0;
		int n = tcp_reserve(a->c, MIN(want, a->to_send - a->sent), iov, 1 + (int)(dice(w) % 4));

		for (int i = 0; i < n; i++) {
			for (size_t k = 0; k < iov[i].iov_len; k++)
				((uint8_t *)iov[i].iov_base)[k] = pattern(a->key, a->sent + done + k);
			done += iov[i].iov_len;
		}
		tcp_commit(a->c, done);
		a->sent += done;
		if (done == 0)
			break;
	}
	if (a->sent == a->to_send && !a->keep_open && !a->shut) {
		a->shut = true;
		tcp_shutdown_write(a->c);
	}
}

static void app_read(struct world *w, struct app *a)
{
	struct iovec iov[TCP_READ_IOV];
	size_t most = a->slow ? 3000 : SIZE_MAX, done = 0;
	int n;

	while (done < most && (n = tcp_peek(a->c, iov, TCP_READ_IOV)) > 0) {
		size_t some = 0, all = 0;

		for (int i = 0; i < n; i++)
			all += iov[i].iov_len;
		assert_int_equal(all, tcp_readable(a->c));
		for (int i = 0; i < n && done + some < most; i++) {
			size_t part = dice(w) % 4 ? iov[i].iov_len : 1 + dice(w) % iov[i].iov_len;

			part = MIN(part, most - done - some);

			for (size_t k = 0; k < part; k++) {
				if (((uint8_t *)iov[i].iov_base)[k] != pattern(a->peer->key, a->got + some + k))
					fail_msg("side %d: byte %llu is wrong", a->side, (unsigned long long)(a->got + some + k));
			}
			some += part;
			if (part < iov[i].iov_len)
				break;
		}
		tcp_consume(a->c, some);
		a->got += some;
		done += some;
		w->longest = MAX(w->longest, w->now - w->progress);
		w->progress = w->now;
		/* Sometimes what is left stays for the next event, or for the pump below. */
		if (dice(w) % 8 == 0)
			break;
	}
	a->end = tcp_at_end(a->c);
}

static void on_incoming(void *arg, struct tcp_conn *c)
{
	struct end *e = arg;
	struct app *a = &e->w->apps[e->side][tcp_pair(c)->guest.port - 4000];

	/* A SYN that was on its way for long: its connection is over. */
	if (a->closed) {
		tcp_refuse(c);
		return;
	}
	a->c = c;
	tcp_set_user(c, a);
	tcp_accept(c);
	app_write(e->w, a);
}

static void on_established(void *arg, struct tcp_conn *c)
{
	struct end *e = arg;
	struct app *a = tcp_user(c);

	a->established = true;
	app_write(e->w, a);
}

static void on_readable(void *arg, struct tcp_conn *c)
{
	struct end *e = arg;
	struct app *a = tcp_user(c);

	if (!a->slow && !a->stopped)
		app_read(e->w, a);
}

static void on_writable(void *arg, struct tcp_conn *c)
{
	struct end *e = arg;

	app_write(e->w, tcp_user(c));
}

static void on_closed(void *arg, struct tcp_conn *c, enum tcp_end how)
{
	struct app *a = tcp_user(c);

	(void)arg;
	assert_false(a->closed);
	if (how == TCP_END_DONE)
		a->end = tcp_at_end(c);
	a->closed = true;
	a->how = how;
	a->c = NULL;
}

static const struct tcp_ops ops = { on_output, on_incoming, on_established, on_readable, on_writable, on_closed };

/** world_new() - Side 0 opens, side 1 is the "gateway". */
static struct world *world_new(const struct impair *impair, const struct tcp_config *config, uint64_t seed, int64_t start)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->impair = *impair;
	w->seed = seed;
	w->now = w->progress = start;
	for (int side = 0; side < 2; side++) {
		struct tcp_config own = *config;

		ends[side] = (struct end){ w, side };
		own.secret[0] = (uint8_t)(side + 1);
		w->stack[side] = tcp_stack_new(&own, &ops, &ends[side], start, NULL);
		assert_non_null(w->stack[side]);
	}
	return w;
}

static void world_connect(struct world *w, uint64_t up, uint64_t down)
{
	unsigned int n = w->conns++;
	struct tcp_pair pair = wire_pair((uint16_t)(4000 + n));
	struct tcp_pair turned = { .us = pair.guest, .guest = pair.us };

	for (int side = 0; side < 2; side++)
		w->apps[side][n] = (struct app){ .side = side, .to_send = side ? down : up, .key = 2 * n + (unsigned int)side,
						 .peer = &w->apps[!side][n] };
	w->apps[0][n].c = tcp_connect(w->stack[0], &turned, &w->apps[0][n], NULL);
	assert_non_null(w->apps[0][n].c);
}

static void deliver(struct world *w)
{
	struct packet *p = heap_pop(w);
	/* Of its exact size, so that reading beyond it is seen. */
	uint8_t *bytes = malloc(p->len);

	assert_non_null(bytes);
	memcpy(bytes, p->bytes, p->len);
	w->on_link[!p->to]--;
	tcp_input(w->stack[p->to], &p->pair, bytes, p->len);
	free(bytes);
	free(p);
	for (int side = 0; side < 2; side++) {
		if (w->blocked[side] && w->on_link[side] < w->impair.queue) {
			w->blocked[side] = false;
			tcp_output_ready(w->stack[side]);
		}
	}
}

static bool has_to_read(const struct app *a)
{
	return a->c && !a->stopped && tcp_readable(a->c) > 0;
}

/** pump() - Slow readers read a little, the others what they left. */
static void pump(struct world *w)
{
	for (unsigned int n = 0; n < w->conns; n++) {
		for (int side = 0; side < 2; side++) {
			struct app *a = &w->apps[side][n];

			if (has_to_read(a))
				app_read(w, a);
		}
	}
}

/** step() - On to the next event, or by 10 ms. Return: false when nothing more happens before `until`. */
static bool step(struct world *w, int64_t until)
{
	int64_t next = w->count ? w->heap[0]->when : INT64_MAX;
	bool idle = true;

	for (int side = 0; side < 2; side++) {
		int64_t t = tcp_next_timeout(w->stack[side]);

		if (t >= 0)
			next = MIN(next, t);
	}
	for (unsigned int n = 0; n < w->conns && idle; n++) {
		for (int side = 0; side < 2; side++)
			idle &= !has_to_read(&w->apps[side][n]);
	}
	if (!idle)
		next = MIN(next, w->now + 10 * NSEC_PER_MSEC);
	if (next > until) {
		w->now = MAX(w->now, until);
		for (int side = 0; side < 2; side++)
			tcp_set_time(w->stack[side], w->now);
		return false;
	}
	if (!idle && next == w->now + 10 * NSEC_PER_MSEC) {
		w->now = next;
		for (int side = 0; side < 2; side++)
			tcp_set_time(w->stack[side], w->now);
		pump(w);
		return true;
	}
	w->now = MAX(w->now, next);
	for (int side = 0; side < 2; side++)
		tcp_set_time(w->stack[side], w->now);
	while (w->count && w->heap[0]->when <= w->now)
		deliver(w);
	for (int side = 0; side < 2; side++) {
		int64_t t = tcp_next_timeout(w->stack[side]);

		if (t >= 0 && t <= w->now)
			tcp_tick(w->stack[side]);
	}
	return true;
}

static void run_for(struct world *w, int64_t ms)
{
	int64_t until = w->now + ms * NSEC_PER_MSEC;

	while (step(w, until))
		;
}

static bool all_closed(const struct world *w)
{
	for (unsigned int n = 0; n < w->conns; n++) {
		if (!w->apps[0][n].closed || !w->apps[1][n].closed)
			return false;
	}
	return true;
}

/** run_until_closed() - Without a stall: 5 seconds in which nobody reads anything. */
static void run_until_closed(struct world *w)
{
	w->progress = w->now;
	while (!all_closed(w)) {
		if (!step(w, w->progress + STALL_MS * NSEC_PER_MSEC))
			break;
	}
	assert_true(all_closed(w));
	assert_true(w->longest < STALL_MS * NSEC_PER_MSEC);
}

/** check_delivered() - Every byte, both ends, both ways. */
static void check_delivered(const struct world *w)
{
	for (unsigned int n = 0; n < w->conns; n++) {
		for (int side = 0; side < 2; side++) {
			const struct app *a = &w->apps[side][n];

			assert_int_equal(a->how, TCP_END_DONE);
			assert_true(a->established);
			assert_true(a->end);
			assert_int_equal(a->sent, a->to_send);
			assert_int_equal(a->got, a->peer->to_send);
		}
	}
}

/** world_free() - Nothing is left after the last TIME_WAIT. */
static void world_free(struct world *w)
{
	run_for(w, 600000);
	for (int side = 0; side < 2; side++) {
		const struct tcp_counters *n = tcp_counters(w->stack[side]);

		assert_int_equal(n->connections, 0);
		assert_int_equal(n->time_wait, 0);
		assert_int_equal(n->chunks, 0);
		assert_int_equal(n->ranges, 0);
		assert_int_equal(tcp_next_timeout(w->stack[side]), -1);
		tcp_stack_free(w->stack[side]);
	}
	assert_int_equal(w->shrunk, 0);
	while (w->count)
		free(heap_pop(w));
	free(w);
}

static const struct impair bad_link = { .loss = 0.01, .reorder = 0.05, .duplicate = 0.01, .delay_us = 50000, .jitter_us = 10000 };
static const struct impair good_link = { .delay_us = 50 };

static void transfer(const struct impair *impair, const struct tcp_config *config, uint64_t up, uint64_t down, uint64_t seed)
{
	struct world *w = world_new(impair, config, seed, START);

	world_connect(w, up, down);
	run_until_closed(w);
	check_delivered(w);
	if (impair->loss > 0)
		assert_true(w->drops > 0);
	assert_int_equal(w->two_segments, config->gso && config->mtu < 30000 && MAX(up, down) > 100000);
	if (impair == &good_link) {
		assert_int_equal(tcp_counters(w->stack[0])->retransmits, 0);
		assert_int_equal(tcp_counters(w->stack[1])->retransmits, 0);
	}
	world_free(w);
}

static void test_good_link(void **state)
{
	(void)state;
	transfer(&good_link, &(struct tcp_config){ .gso = true }, MIB(16), MIB(16), 1);
	transfer(&good_link, &(struct tcp_config){ .gso = true, .mtu = 65520 }, MIB(16), 0, 2);
	transfer(&good_link, &(struct tcp_config){ 0 }, 0, MIB(4), 3);
	transfer(&good_link, &(struct tcp_config){ 0 }, 0, 0, 4);
	transfer(&good_link, &(struct tcp_config){ 0 }, 1, 1, 5);
}

static void test_bad_link(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 4; seed++) {
		transfer(&bad_link, &(struct tcp_config){ .gso = true }, MIB(2), MIB(2), seed);
		transfer(&bad_link, &(struct tcp_config){ 0 }, MIB(2), 0, seed);
		transfer(&bad_link, &(struct tcp_config){ .mtu = 65520 }, MIB(16), MIB(16), seed);
		transfer(&bad_link, &(struct tcp_config){ .buffer_max = 2 * TCP_CHUNK }, KIB(300), KIB(300), seed);
	}
}

/** test_worse_link() - Much more is lost than a network may lose: slow, but whole. */
static void test_worse_link(void **state)
{
	struct impair worse = { .loss = 0.15, .reorder = 0.3, .duplicate = 0.2, .delay_us = 5000, .jitter_us = 5000 };

	(void)state;
	for (uint64_t seed = 1; seed <= 6; seed++) {
		struct world *w = world_new(&worse, &(struct tcp_config){ .gso = seed & 1 }, seed, START);

		world_connect(w, KIB(200), KIB(200));
		run_for(w, 1000000);
		assert_true(all_closed(w));
		check_delivered(w);
		world_free(w);
	}
}

/** test_full_link() - A link that says no is no loss. */
static void test_full_link(void **state)
{
	struct impair full = { .delay_us = 200, .queue = 20 };
	struct world *w = world_new(&full, &(struct tcp_config){ .gso = true }, 1, START);

	(void)state;
	for (int i = 0; i < 20; i++)
		world_connect(w, MIB(1), MIB(1));
	run_until_closed(w);
	check_delivered(w);
	assert_true(tcp_counters(w->stack[0])->link_full > 0);
	assert_int_equal(tcp_counters(w->stack[0])->retransmits, 0);
	assert_int_equal(tcp_counters(w->stack[1])->timeouts, 0);
	world_free(w);
}

/** test_wrap() - Sequence numbers of both sides pass 2^32, and 2^31, in the middle of the transfer. */
static void test_wrap(void **state)
{
	static const uint32_t marks[] = { 0, 0x80000000u };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(marks); i++) {
		for (int side = 0; side < 2; side++) {
			struct world *w = world_new(&good_link, &(struct tcp_config){ 0 }, 1, START);
			int64_t start;

			world_connect(w, 0, 0);
			run_for(w, 100);
			/* The number follows a clock of 4 us: begin later, so that it is 1 MiB before the mark. */
			start = START + (int64_t)(uint32_t)(marks[i] - MIB(1) - w->isn[side]) * 4000;
			world_free(w);
			w = world_new(&bad_link, &(struct tcp_config){ .mtu = 9000, .gso = true }, i, start);
			world_connect(w, MIB(3), MIB(3));
			run_until_closed(w);
			assert_in_range(marks[i] - w->isn[side], MIB(1) - 100000, MIB(1));
			check_delivered(w);
			world_free(w);
		}
	}
}

/** test_slow_reader() - The window closes and opens again, again and again; every byte arrives, memory is bounded. */
static void test_slow_reader(void **state)
{
	(void)state;
	for (int side = 0; side < 2; side++) {
		struct world *w = world_new(side ? &bad_link : &good_link, &(struct tcp_config){ .gso = true }, 7, START);

		world_connect(w, MIB(3), 0);
		w->apps[1][0].slow = true;
		run_for(w, 3000);
		/* 1 MiB at the reader, at most; and the writer holds no more than is of use. */
		assert_true(tcp_readable(w->apps[1][0].c) <= TCP_BUFFER_MAX);
		assert_true(tcp_counters(w->stack[1])->chunks_peak <= 64);
		run_until_closed(w);
		check_delivered(w);
		world_free(w);
	}
}

/** test_stopped_reader() - Minutes of closed window: the writer probes and does not give up while it is answered. */
static void test_stopped_reader(void **state)
{
	struct world *w = world_new(&good_link, &(struct tcp_config){ .gso = true }, 7, START);

	(void)state;
	world_connect(w, MIB(3), 0);
	w->apps[1][0].stopped = true;
	run_for(w, 600000);
	assert_false(w->apps[0][0].closed);
	assert_true(tcp_counters(w->stack[0])->probes > 10);
	assert_int_equal(tcp_counters(w->stack[0])->timeouts, 0);
	w->apps[1][0].stopped = false;
	run_until_closed(w);
	check_delivered(w);
	world_free(w);
}

/** test_half_close() - One way ends at once, the other goes on for long; each way round. */
static void test_half_close(void **state)
{
	(void)state;
	for (int side = 0; side < 2; side++) {
		struct world *w = world_new(&bad_link, &(struct tcp_config){ .mtu = 9000 }, 3, START);
		struct app *late;

		world_connect(w, 10, 10);
		late = &w->apps[side][0];
		late->keep_open = true;
		run_for(w, 60000);
		assert_true(late->end && !late->closed && !late->peer->closed);
		assert_int_equal(tcp_state(late->c), TCP_CLOSE_WAIT);
		assert_int_equal(tcp_state(late->peer->c), TCP_FIN_WAIT_2);
		late->to_send += MIB(1);
		late->keep_open = false;
		app_write(w, late);
		run_until_closed(w);
		check_delivered(w);
		world_free(w);
	}
}

/** test_both_at_once() - FINs that cross, then SYNs that cross. */
static void test_both_at_once(void **state)
{
	struct world *w = world_new(&good_link, &(struct tcp_config){ 0 }, 3, START);
	struct tcp_pair pair = wire_pair(4000);
	struct app *a = w->apps[0];

	(void)state;
	world_connect(w, 1000, 1000);
	w->apps[0][0].keep_open = w->apps[1][0].keep_open = true;
	run_for(w, 1000);
	for (int side = 0; side < 2; side++) {
		w->apps[side][0].keep_open = false;
		app_write(w, &w->apps[side][0]);
	}
	assert_int_equal(tcp_state(a->c), TCP_FIN_WAIT_1);
	assert_int_equal(tcp_state(a->peer->c), TCP_FIN_WAIT_1);
	run_until_closed(w);
	check_delivered(w);
	assert_int_equal(tcp_counters(w->stack[0])->time_wait, 1);
	assert_int_equal(tcp_counters(w->stack[1])->time_wait, 1);
	run_for(w, 2000);
	world_connect(w, 5000, 5000);
	pair.guest.port = 4001;
	w->apps[1][1].c = tcp_connect(w->stack[1], &pair, &w->apps[1][1], NULL);
	assert_non_null(w->apps[1][1].c);
	run_until_closed(w);
	check_delivered(w);
	assert_int_equal(tcp_counters(w->stack[0])->incoming + tcp_counters(w->stack[1])->incoming, 1);
	world_free(w);
}

/** give_up() - One of the ways in which a user leaves. */
static void give_up(struct world *w, struct app *a)
{
	if (!a->c)
		return;
	switch (dice(w) % 4) {
	case 0:
		tcp_abort(a->c);
		break;
	case 1:
		tcp_drop(a->c);
		break;
	default:
		tcp_close(a->c);
		break;
	}
	a->c = NULL;
	a->closed = true;
}

/** test_every_end() - Users that leave at any moment in any way, over a bad link; and a peer that falls silent. */
static void test_every_end(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 6; seed++) {
		struct impair impair = seed & 1 ? bad_link : good_link;
		struct world *w;

		impair.queue = seed & 2 ? 50 : 0;
		w = world_new(&impair, &(struct tcp_config){ .gso = true, .memory = MIB(8) }, seed, START);
		for (int i = 0; i < CONNS_MAX; i++) {
			world_connect(w, dice(w) % 200000, dice(w) % 200000);
			run_for(w, dice(w) % 20);
			for (unsigned int k = 0; k < 2; k++)
				give_up(w, &w->apps[dice(w) & 1][dice(w) % (2 * w->conns) % CONNS_MAX]);
		}
		/* What is still open: the half of it on one side only leaves, then nobody hears the other side. */
		for (unsigned int n = 0; n < w->conns; n++) {
			if (dice(w) & 1)
				give_up(w, &w->apps[0][n]);
		}
		w->silent[1] = true;
		run_for(w, 400000);
		w->silent[1] = false;
		run_for(w, 8400000); /* keepalive finds those that were only dropped */
		for (unsigned int n = 0; n < w->conns; n++)
			assert_true(!w->apps[0][n].c && !w->apps[1][n].c);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_link),   cmocka_unit_test(test_bad_link), cmocka_unit_test(test_worse_link),
		cmocka_unit_test(test_full_link),   cmocka_unit_test(test_wrap),     cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_stopped_reader), cmocka_unit_test(test_half_close), cmocka_unit_test(test_both_at_once),
		cmocka_unit_test(test_every_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
