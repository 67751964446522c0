/* SPDX-License-Identifier: Apache-2.0 */
/* What the gateway's TCP sends again and how much it keeps in flight: RFC 5681, 6582, 6675; initial numbers: 6528. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tcp_peer.h"

#define MSS 1460u

static const struct tcp_config config = { .secret = { 1 } };
static char data[100 * MSS];

/** duplicate() - An ACK of una once more, with SACK blocks in segments counted from una. */
static void duplicate(struct peer *p, uint32_t una, unsigned int count, const unsigned int (*blocks)[2])
{
	struct wire w = { .seq = p->r_nxt, .ack = una, .flags = ACK, .window = 65535, .sacks = count };

	for (unsigned int i = 0; i < count; i++) {
		w.sack[i][0] = una + blocks[i][0] * MSS;
		w.sack[i][1] = una + blocks[i][1] * MSS;
	}
	feed(p, w);
}

/** test_fast_retransmit() - Three duplicates, or enough in SACK blocks; one segment is sent again, not all. */
static void test_fast_retransmit(void **state)
{
	struct peer p;
	uint32_t una;

	(void)state;
	for (unsigned int sack = 0; sack < 2; sack++) {
		open_with(&p, &config, (struct wire){ .mss = MSS, .sack_permitted = sack });
		una = p.s_nxt;
		assert_int_equal(tcp_write(p.c, data, 10 * MSS), 10 * MSS);
		assert_int_equal(p.outs, 10);
		clear(&p);
		for (unsigned int i = 1; i <= 3; i++) {
			assert_int_equal(p.outs, 0);
			duplicate(&p, una, sack, &(const unsigned int[2]){ 1, 1 + i });
		}
		assert_int_equal(p.outs, 1);
		assert_int_equal(p.out.seq, una);
		assert_int_equal(p.out.len, MSS);
		assert_int_equal(tcp_counters(p.s)->fast_recoveries, 1);
		acknowledge(&p, una + 10 * MSS, 65535);
		assert_int_equal(p.outs, 1);
		assert_int_equal(tcp_counters(p.s)->timeouts, 0);
		finish(&p);
	}
}

/** test_two_do_not() - Two duplicates may be reordering. */
static void test_two_do_not(void **state)
{
	struct peer p;

	(void)state;
	for (unsigned int sack = 0; sack < 2; sack++) {
		open_with(&p, &config, (struct wire){ .mss = MSS, .sack_permitted = sack });
		tcp_write(p.c, data, 10 * MSS);
		clear(&p);
		duplicate(&p, p.s_nxt, sack, &(const unsigned int[2]){ 1, 2 });
		duplicate(&p, p.s_nxt, sack, &(const unsigned int[2]){ 1, 3 });
		assert_int_equal(p.outs, 0);
		assert_int_equal(tcp_counters(p.s)->retransmits, 0);
		finish(&p);
	}
}

/** test_holes() - Of what the blocks tell, exactly the gaps are sent again; what is above them may still arrive. */
static void test_holes(void **state)
{
	static const unsigned int blocks[][2] = { { 5, 9 }, { 3, 4 }, { 1, 2 } };
	struct peer p;
	uint32_t una;

	(void)state;
	open_with(&p, &config, (struct wire){ .mss = MSS, .sack_permitted = true });
	una = p.s_nxt;
	tcp_write(p.c, data, 10 * MSS);
	clear(&p);
	/* One is still in flight, and five, half of what was, may be. */
	duplicate(&p, una, 3, blocks);
	assert_int_equal(tcp_counters(p.s)->retransmits, 3);
	assert_int_equal(p.outs, 3);
	assert_int_equal(p.out.seq, una + 4 * MSS);
	assert_int_equal(p.out.len, MSS);
	duplicate(&p, una, 3, blocks);
	assert_int_equal(p.outs, 3);
	acknowledge(&p, una + 10 * MSS, 65535);
	assert_int_equal(tcp_counters(p.s)->ranges, 0);
	finish(&p);
}

/** test_partial_ack() - Without SACK each partial ACK tells of the next loss (RFC 6582, 3.2). */
static void test_partial_ack(void **state)
{
	struct peer p;
	uint32_t una;

	(void)state;
	open_with(&p, &config, (struct wire){ .mss = MSS });
	una = p.s_nxt;
	tcp_write(p.c, data, 10 * MSS);
	for (int i = 0; i < 3; i++)
		duplicate(&p, una, 0, NULL);
	clear(&p);
	acknowledge(&p, una + 4 * MSS, 65535);
	assert_int_equal(p.outs, 1);
	assert_int_equal(p.out.seq, una + 4 * MSS);
	assert_int_equal(p.out.len, MSS);
	acknowledge(&p, una + 10 * MSS, 65535);
	assert_int_equal(p.outs, 1);
	assert_int_equal(tcp_counters(p.s)->fast_recoveries, 1);
	finish(&p);
}

/** test_halved() - After a loss half as much is in flight; after a timeout one segment, growing again. */
static void test_halved(void **state)
{
	struct peer p;
	uint32_t una;

	(void)state;
	open_with(&p, &config, (struct wire){ .mss = MSS });
	una = p.s_nxt;
	tcp_write(p.c, data, 60000);
	assert_int_equal(p.outs, 10);
	for (int i = 0; i < 3; i++)
		duplicate(&p, una, 0, NULL);
	clear(&p);
	acknowledge(&p, una + 10 * MSS, 65535);
	assert_in_range(p.outs, 3, 5);
	una += 10 * MSS;
	clear(&p);
	pass(&p, 1000);
	assert_in_range(p.outs, 1, 3);
	assert_int_equal(p.out.seq, una);
	clear(&p);
	acknowledge(&p, una + MSS, 65535);
	assert_int_equal(p.outs, 2);
	assert_int_equal(p.out.seq, una + 2 * MSS);
	assert_true(tcp_counters(p.s)->timeouts > 0);
	finish(&p);
}

/** test_growth() - Slow start doubles; who does not use the window does not widen it. */
static void test_growth(void **state)
{
	struct peer p;
	uint32_t una;

	(void)state;
	open_with(&p, &config, (struct wire){ .mss = MSS });
	una = p.s_nxt;
	tcp_write(p.c, data, 60000);
	assert_int_equal(p.outs, 10);
	clear(&p);
	acknowledge(&p, una + 10 * MSS, 65535);
	assert_int_equal(p.outs, 20);
	finish(&p);
	open_with(&p, &config, (struct wire){ .mss = MSS });
	una = p.s_nxt;
	for (uint32_t i = 1; i <= 100; i++) {
		tcp_write(p.c, data, 1000);
		acknowledge(&p, una + 1000 * i, 65535);
	}
	clear(&p);
	tcp_write(p.c, data, 60000);
	assert_int_equal(p.outs, 10);
	finish(&p);
}

/** test_send_limit() - For a guest that takes little, little is kept. */
static void test_send_limit(void **state)
{
	struct peer p;

	(void)state;
	open_with(&p, &config, (struct wire){ .mss = MSS });
	acknowledge(&p, p.s_nxt, 1000);
	tcp_write(p.c, data, sizeof(data));
	assert_int_equal(tcp_unsent(p.c), 4 * TCP_CHUNK);
	assert_int_equal(tcp_write(p.c, data, 1), 0);
	finish(&p);
	open_with(&p, &config, (struct wire){ .mss = MSS });
	tcp_write(p.c, data, sizeof(data));
	assert_int_equal(tcp_unsent(p.c), 2 * 65535);
	assert_int_equal(tcp_write(p.c, data, 1), 0);
	assert_int_equal(p.events[3], 0);
	acknowledge(&p, p.s_nxt + 10 * MSS, 65535);
	acknowledge(&p, p.s_nxt + 30 * MSS, 65535);
	assert_int_equal(p.events[3], 1);
	finish(&p);
}

/** test_initial_numbers() - Of one pair they follow the clock; those of others tell nothing of them. */
static void test_initial_numbers(void **state)
{
	uint32_t first[2], later;
	struct peer p;

	(void)state;
	begin(&p, &config);
	p.policy = ACCEPT;
	for (int i = 0; i < 2; i++) {
		p.pair.guest.port = (uint16_t)(4000 + i);
		feed(&p, (struct wire){ .seq = ISN, .flags = SYN, .window = WINDOW });
		first[i] = p.out.seq;
		tcp_drop(p.c);
	}
	assert_true(first[0] - first[1] > 1000000 && first[1] - first[0] > 1000000);
	pass(&p, 4000);
	feed(&p, (struct wire){ .seq = ISN, .flags = SYN, .window = WINDOW });
	later = p.out.seq;
	assert_int_equal(later - first[1], 1000000);
	tcp_drop(p.c);
	p.c = NULL;
	finish(&p);
	begin(&p, &(struct tcp_config){ .secret = { 2 } });
	p.policy = ACCEPT;
	feed(&p, (struct wire){ .seq = ISN, .flags = SYN, .window = WINDOW });
	assert_true(first[0] - p.out.seq > 1000000 && p.out.seq - first[0] > 1000000);
	finish(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fast_retransmit), cmocka_unit_test(test_two_do_not), cmocka_unit_test(test_holes),
		cmocka_unit_test(test_partial_ack),	cmocka_unit_test(test_halved),	   cmocka_unit_test(test_growth),
		cmocka_unit_test(test_send_limit),	cmocka_unit_test(test_initial_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
