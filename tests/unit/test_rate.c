/* SPDX-License-Identifier: Apache-2.0 */
/* Token buckets (src/net/rate.c), and that the link to the guest keeps them without losing a frame (src/net/link.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/macros.h"
#include "net/link.h"
#include "net/rate.h"

#define MS NSEC_PER_MSEC

static void test_bucket(void **state)
{
	const struct rate rate = { .amount = 1000, .interval_ms = 100, .burst = 500 };
	struct bucket b;

	(void)state;
	bucket_init(&b, &rate, 0);
	/* The burst first, once; then what one interval holds. */
	assert_int_equal(bucket_wait(&b, 0), 0);
	bucket_take(&b, 500);
	assert_int_equal(b.burst, 0);
	assert_int_equal(b.tokens, 1000);
	bucket_take(&b, 1000);
	assert_in_range(bucket_wait(&b, 0), 1, MS / 10 + 1);
	assert_int_equal(bucket_wait(&b, MS), 0);
	assert_int_equal(b.tokens, 10);
	/* Debt: 2,000 more than there is take 200 ms. */
	bucket_take(&b, 2010);
	assert_in_range(bucket_wait(&b, MS), 200 * MS, 201 * MS);
	assert_true(bucket_wait(&b, 200 * MS) > 0);
	assert_int_equal(bucket_wait(&b, 202 * MS), 0);
	/* A long rest fills one interval, no more, and no burst. */
	assert_int_equal(bucket_wait(&b, 3600LL * NSEC_PER_SEC), 0);
	assert_int_equal(b.tokens, 1000);
	/* A clock that stands or goes back gives nothing. */
	bucket_take(&b, 1000);
	assert_true(bucket_wait(&b, 3599LL * NSEC_PER_SEC) > 0);
	assert_int_equal(b.tokens, 0);
}

/** Questions in quick succession lose no part of a token. */
static void test_slow_bucket(void **state)
{
	const struct rate rate = { .amount = 3, .interval_ms = 1000 };
	int64_t now = 0, taken = 0;
	struct bucket b;

	(void)state;
	bucket_init(&b, &rate, 0);
	for (; now < 10LL * NSEC_PER_SEC; now += 777777)
		if (bucket_wait(&b, now) == 0) {
			bucket_take(&b, 1);
			taken++;
		}
	assert_in_range(taken, 31, 33);
}

static void test_extremes(void **state)
{
	const struct rate largest = { RATE_AMOUNT_MAX, RATE_AMOUNT_MAX, RATE_INTERVAL_MS_MAX }, none = { 0 };
	const struct rate slowest = { .amount = 1, .interval_ms = RATE_INTERVAL_MS_MAX };
	struct bucket b;

	(void)state;
	bucket_init(&b, &none, 0);
	bucket_take(&b, UINT32_MAX);
	assert_int_equal(bucket_wait(&b, 0), 0);
	bucket_init(&b, &largest, 0);
	b.burst = 0;
	b.tokens = -(int64_t)UINT32_MAX;
	assert_int_equal(bucket_wait(&b, 10LL * 365 * 86400 * NSEC_PER_SEC), 0);
	assert_int_equal(b.tokens, RATE_AMOUNT_MAX);
	bucket_init(&b, &slowest, 0);
	bucket_take(&b, 1);
	assert_in_range(bucket_wait(&b, 0), 86399LL * NSEC_PER_SEC, 86401LL * NSEC_PER_SEC);
}

#define FRAMES 60
#define FRAME 1000

/** Both ends of a link. */
struct wire {
	struct loop *loop;
	struct link *link;
	int peer, peer_source;
	int sent, received; /* frames towards the limit's other side */
	int64_t end_ns;
};

/** arrived() - The next frame is the one that was sent next. */
static void arrived(struct wire *w, const uint8_t *frame, size_t len)
{
	assert_int_equal(len, FRAME);
	assert_int_equal(frame[0], w->received);
	if (++w->received == FRAMES) {
		w->end_ns = clock_monotonic_ns();
		loop_stop(w->loop, 0);
	}
}

static void on_frame(void *arg, const uint8_t *frame, size_t len, bool partial)
{
	(void)partial;
	arrived(arg, frame, len);
}

static void nothing(void *arg)
{
	(void)arg;
}

/** on_ready() - As many as the link takes. */
static void on_ready(void *arg)
{
	struct wire *w = arg;
	uint8_t record[LINK_HEADER + FRAME] = { 0 };
	struct iovec iov = { record, sizeof(record) };

	while (w->sent < FRAMES) {
		record[LINK_HEADER] = (uint8_t)w->sent;
		if (!link_send(w->link, &iov, 1, NULL))
			return;
		w->sent++;
	}
}

static const struct link_ops ops = { on_frame, nothing, nothing, on_ready, nothing };

/** on_peer() - The guest's end: what the link let through. */
static void on_peer(void *arg, uint32_t events)
{
	struct wire *w = arg;
	uint8_t record[LINK_HEADER + FRAME];

	(void)events;
	while (w->received < FRAMES && recv(w->peer, record, sizeof(record), MSG_DONTWAIT) == sizeof(record))
		arrived(w, record + LINK_HEADER, FRAME);
}

/** carry() - All frames in one direction. Return: nanoseconds. */
static int64_t carry(enum rate_direction d, const struct rates *rates)
{
	struct wire w = { .loop = loop_new(NULL), .peer_source = -1 };
	int64_t start = clock_monotonic_ns();
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	w.peer = pair[1];
	w.link = link_new(w.loop, pair[0], rates, &ops, &w, NULL);
	assert_non_null(w.link);
	if (d == RATE_EGRESS) {
		uint8_t record[LINK_HEADER + FRAME] = { 0 };

		for (; w.sent < FRAMES; w.sent++) {
			record[LINK_HEADER] = (uint8_t)w.sent;
			assert_int_equal(send(w.peer, record, sizeof(record), MSG_DONTWAIT), sizeof(record));
		}
	} else {
		w.peer_source = loop_add(w.loop, w.peer, EPOLLIN, on_peer, &w, NULL);
		on_ready(&w);
	}
	assert_int_equal(loop_run(w.loop, NULL), 0);
	loop_remove(w.loop, &w.peer_source);
	link_free(w.link);
	fd_close(&w.peer);
	loop_free(w.loop);
	return w.end_ns - start;
}

/** 60 frames of 1,000 bytes; all arrive, in order, in the time that the rate gives them and not much later. */
static void test_link(void **state)
{
	static const struct {
		struct rate bytes, packets;
		int64_t least_ms;
	} rows[] = {
		{ { 0 }, { 0 }, 0 },
		{ { .amount = 10000, .interval_ms = 50 }, { 0 }, 240 },
		{ { 0 }, { .amount = 10, .interval_ms = 50 }, 240 },
		{ { .amount = 10000, .interval_ms = 50, .burst = 20000 }, { .amount = 1000, .interval_ms = 1 }, 140 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		for (int d = 0; d < RATE_DIRECTIONS; d++) {
			struct rates rates = { 0 };
			int64_t took;

			rates.of[d][RATE_BYTES] = rows[i].bytes;
			rates.of[d][RATE_PACKETS] = rows[i].packets;
			took = carry((enum rate_direction)d, &rates) / MS;
			if (took < rows[i].least_ms || took > rows[i].least_ms + 2000)
				fail_msg("row %zu, direction %d: %lld ms", i, d, (long long)took);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_bucket), cmocka_unit_test(test_slow_bucket),
					    cmocka_unit_test(test_extremes), cmocka_unit_test(test_link) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
