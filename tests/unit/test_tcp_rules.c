/* SPDX-License-Identifier: Apache-2.0 */
/* What the gateway's TCP does over more than one segment: timers, windows, options, limits, ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tcp_peer.h"

static const struct tcp_config config = { .secret = { 1 }, .gso = true };

static void test_options(void **state)
{
	struct peer p;
	struct wire all = { .mss = 1000, .sack_permitted = true, .scale = 8, .time = true, .tsval = 77 };

	(void)state;
	/* Only what was offered is answered. */
	begin(&p, &config);
	p.policy = ACCEPT;
	p.with = all;
	feed(&p, (struct wire){ .seq = ISN, .flags = SYN, .window = 1000 });
	assert_int_equal(p.out.mss, 1460);
	assert_true(p.out.sack_permitted && p.out.time && p.out.scale == 5);
	assert_int_equal(p.out.tsecr, 77);
	assert_int_equal(p.out.window, 65535);
	finish(&p);
	begin(&p, &config);
	p.policy = ACCEPT;
	feed(&p, (struct wire){ .seq = ISN, .flags = SYN, .window = 1000 });
	assert_int_equal(p.out.mss, 1460);
	assert_false(p.out.sack_permitted || p.out.time || p.out.scale);
	finish(&p);
	/* We offer all; IPv6 has 20 bytes less. */
	begin(&p, &config);
	p.pair.us.ip.b[0] = p.pair.guest.ip.b[0] = 0xfd;
	p.c = tcp_connect(p.s, &p.pair, NULL, NULL);
	assert_non_null(p.c);
	assert_int_equal(p.out.mss, 1440);
	assert_true(p.out.sack_permitted && p.out.time && p.out.scale == 5);
	finish(&p);
	/* MSS without and with timestamps, the default, and one that is too small. */
	for (int i = 0; i < 4; i++) {
		static const uint16_t mss[] = { 1000, 1000, 0, 1 }, expected[] = { 1000, 988, 536, 88 };
		static char data[3000];

		open_with(&p, &config, (struct wire){ .mss = mss[i], .time = i == 1, .tsval = 1 });
		assert_int_equal(tcp_write(p.c, data, 3000), 3000);
		assert_int_equal(p.outs, 1);
		assert_int_equal(p.out.len, i == 3 ? 10 * 88 : 3000); /* the initial window of RFC 6928 */
		clear(&p);
		pass(&p, 1100); /* what is sent again is one segment */
		assert_true(p.outs > 0);
		assert_int_equal(p.out.len, expected[i]);
		finish(&p);
	}
}

static void test_malformed(void **state)
{
	static uint8_t bytes[80];
	struct peer p;
	struct wire w;
	size_t len;

	(void)state;
	begin(&p, &config);
	for (size_t n = 0; n < 20; n++)
		tcp_input(p.s, &p.pair, bytes, n);
	assert_int_equal(tcp_counters(p.s)->malformed, 20);
	/* a header shorter than one, longer than the segment; options of length 0, 1, and beyond the header */
	static const uint8_t bad[][3] = { { 4, 0, 0 }, { 15, 0, 0 }, { 6, 2, 0 }, { 6, 2, 1 }, { 6, 2, 5 }, { 6, 8, 10 } };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		len = wire_write(&(struct wire){ .seq = ISN, .flags = SYN, .mss = 1460 }, &p.pair, bytes);
		bytes[12] = (uint8_t)(bad[i][0] << 4);
		bytes[20] = bad[i][1];
		bytes[21] = bad[i][2];
		tcp_input(p.s, &p.pair, bytes, len);
	}
	assert_int_equal(tcp_counters(p.s)->malformed, 20 + ARRAY_LEN(bad));
	assert_int_equal(p.events[0], 0);
	/* An option whose length is not its kind's is passed over, as an unknown one. */
	len = wire_write(&(struct wire){ .seq = ISN, .flags = SYN, .mss = 1460 }, &p.pair, bytes);
	bytes[20] = 3;
	tcp_input(p.s, &p.pair, bytes, len);
	assert_int_equal(p.events[0], 1);
	tcp_accept(p.c);
	assert_true(wire_read(&w, p.bytes, 24));
	assert_int_equal(w.scale, 0);
	finish(&p);
}

static void test_decisions(void **state)
{
	struct peer p;

	(void)state;
	/* Held, then accepted seconds later. */
	begin(&p, &config);
	p.policy = HOLD;
	feed(&p, (struct wire){ .seq = ISN, .flags = SYN, .window = WINDOW });
	pass(&p, 5000);
	assert_int_equal(p.outs, 0);
	tcp_accept(p.c);
	assert_int_equal(p.out.flags, SYN | ACK);
	finish(&p);
	/* Held, then refused. */
	begin(&p, &config);
	p.policy = HOLD;
	feed(&p, (struct wire){ .seq = ISN, .flags = SYN, .window = WINDOW });
	tcp_refuse(p.c);
	p.c = NULL;
	assert_int_equal(p.out.flags, RST | ACK);
	assert_int_equal(p.out.ack, ISN + 1);
	assert_int_equal(p.out.seq, 0);
	assert_int_equal(p.events[4], 0);
	finish(&p);
	/* Refused, and dropped, at once. */
	for (enum policy policy = REFUSE; policy <= DROP; policy++) {
		begin(&p, &config);
		p.policy = policy;
		feed(&p, (struct wire){ .seq = ISN, .flags = SYN, .window = WINDOW });
		p.c = NULL;
		assert_int_equal(p.outs, policy == REFUSE);
		assert_int_equal(tcp_counters(p.s)->connections, 0);
		finish(&p);
	}
	/* Never decided. */
	begin(&p, &config);
	p.policy = HOLD;
	feed(&p, (struct wire){ .seq = ISN, .flags = SYN, .window = WINDOW });
	pass(&p, 149000);
	assert_int_equal(p.events[4], 0);
	pass(&p, 2000);
	assert_int_equal(p.events[4], 1);
	assert_int_equal(p.how, TCP_END_TIMED_OUT);
	finish(&p);
}

static void test_syn_retries(void **state)
{
	struct peer p;

	(void)state;
	for (int active = 0; active < 2; active++) {
		begin(&p, &config);
		p.policy = ACCEPT;
		if (active)
			p.c = tcp_connect(p.s, &p.pair, NULL, NULL);
		else
			feed(&p, (struct wire){ .seq = ISN, .flags = SYN, .window = WINDOW });
		pass(&p, 999);
		assert_int_equal(p.outs, 1);
		pass(&p, 1);
		assert_int_equal(p.outs, 2);
		pass(&p, 2000);
		assert_int_equal(p.outs, 3);
		assert_int_equal(p.out.flags, active ? SYN : SYN | ACK);
		pass(&p, 123000);
		assert_int_equal(p.outs, 7);
		pass(&p, 2000);
		assert_int_equal(p.outs, 7);
		assert_int_equal(p.how, TCP_END_TIMED_OUT);
		assert_int_equal(p.events[4], 1);
		finish(&p);
	}
}

static void test_delayed_ack(void **state)
{
	struct peer p;

	(void)state;
	open_with(&p, &config, (struct wire){ .mss = 1460 });
	say(&p, 1460);
	say(&p, 1460);
	clear(&p);
	say(&p, 1460); /* the first full segment waits, */
	assert_int_equal(p.outs, 0);
	say(&p, 1460); /* the second does not */
	assert_int_equal(p.outs, 1);
	assert_int_equal(p.out.ack, p.r_nxt);
	say(&p, 10);
	assert_int_equal(p.outs, 1);
	pass(&p, 39);
	assert_int_equal(p.outs, 1);
	pass(&p, 1);
	assert_int_equal(p.outs, 2);
	assert_int_equal(p.out.ack, p.r_nxt);
	say(&p, 60000); /* many segments in one */
	assert_int_equal(p.outs, 3);
	/* What we write takes the ACK along. */
	say(&p, 10);
	assert_int_equal(tcp_write(p.c, "x", 1), 1);
	assert_int_equal(p.outs, 4);
	assert_int_equal(p.out.ack, p.r_nxt);
	assert_int_equal(p.out.len, 1);
	clear(&p);
	pass(&p, 100);
	assert_int_equal(p.outs, 0);
	finish(&p);
}

/** test_sack_blocks() - The piece that came last is first; all are right. */
static void test_sack_blocks(void **state)
{
	struct peer p;
	uint32_t r;

	(void)state;
	open_with(&p, &config, (struct wire){ .mss = 1460, .sack_permitted = true });
	r = p.r_nxt;
	for (uint32_t at = 100; at <= 500; at += 100)
		feed(&p, (struct wire){ .seq = r + at, .ack = p.s_nxt, .flags = ACK, .window = WINDOW, .len = 50 });
	assert_int_equal(p.out.ack, r);
	assert_int_equal(p.out.sacks, 4);
	assert_int_equal(p.out.sack[0][0], r + 500);
	assert_int_equal(p.out.sack[0][1], r + 550);
	feed(&p, (struct wire){ .seq = r + 150, .ack = p.s_nxt, .flags = ACK, .window = WINDOW, .len = 50 });
	assert_int_equal(p.out.sack[0][0], r + 100);
	assert_int_equal(p.out.sack[0][1], r + 250);
	assert_int_equal(p.got, 0);
	feed(&p, (struct wire){ .seq = r, .ack = p.s_nxt, .flags = ACK, .window = WINDOW, .len = 120 });
	assert_int_equal(p.got, 250);
	assert_int_equal(p.out.ack, r + 250);
	assert_int_equal(p.out.sacks, 3);
	/* FIN that came before the rest is remembered. */
	feed(&p, (struct wire){ .seq = r + 550, .ack = p.s_nxt, .flags = ACK | FIN, .window = WINDOW });
	assert_int_equal(p.out.ack, r + 250);
	feed(&p, (struct wire){ .seq = r + 250, .ack = p.s_nxt, .flags = ACK, .window = WINDOW, .len = 260 });
	assert_int_equal(p.got, 550);
	assert_int_equal(p.out.ack, r + 551);
	assert_int_equal(tcp_state(p.c), TCP_CLOSE_WAIT);
	finish(&p);
}

/** test_ranges_full() - More gaps than there are ranges: the list stays at its limit, the rest is dropped. */
static void test_ranges_full(void **state)
{
	struct peer p;
	uint32_t r;

	(void)state;
	open_with(&p, &config, (struct wire){ .mss = 1460, .sack_permitted = true });
	r = p.r_nxt;
	for (uint32_t at = 100; at < 100 + 200 * 20; at += 20)
		feed(&p, (struct wire){ .seq = r + at, .ack = p.s_nxt, .flags = ACK, .window = WINDOW, .len = 10 });
	assert_int_equal(tcp_counters(p.s)->dropped_memory, 200 - TCP_RANGES_MAX);
	feed(&p, (struct wire){ .seq = r, .ack = p.s_nxt, .flags = ACK, .window = WINDOW, .len = 5000 });
	assert_int_equal(p.got, 5000);
	assert_int_equal(tcp_counters(p.s)->ranges, 0);
	finish(&p);
}

/** test_rto() - Doubles each time, ends the connection after the user timeout, and tells by RST. */
static void test_rto(void **state)
{
	struct peer p;

	(void)state;
	open_with(&p, &config, (struct wire){ .mss = 1460 });
	tcp_write(p.c, "hello", 5);
	clear(&p);
	pass(&p, 1);
	for (int64_t ms = 200; ms <= 25600; ms *= 2) {
		pass(&p, ms - 2);
		assert_int_equal(p.outs, 0);
		pass(&p, 2);
		assert_int_equal(p.outs, 1);
		assert_int_equal(p.out.seq, p.s_nxt);
		assert_int_equal(p.out.len, 5);
		clear(&p);
	}
	pass(&p, 120000);
	assert_int_equal(p.events[4], 1);
	assert_int_equal(p.how, TCP_END_TIMED_OUT);
	assert_true(p.out.flags & RST);
	finish(&p);
}

/** test_window() - What the guest takes is what it gets; a closed window is probed. */
static void test_window(void **state)
{
	static char data[3000];
	struct peer p;

	(void)state;
	open_with(&p, &config, (struct wire){ .mss = 1460 });
	acknowledge(&p, p.s_nxt, 1000);
	tcp_write(p.c, data, sizeof(data));
	/* Less than half of the widest window: waits for the persist timer (RFC 9293, 3.8.6.2.1). */
	assert_int_equal(p.outs, 0);
	pass(&p, 201);
	assert_int_equal(p.outs, 1);
	assert_int_equal(p.out.len, 1000);
	p.s_nxt += 1000;
	acknowledge(&p, p.s_nxt, 0);
	clear(&p);
	pass(&p, 201);
	assert_int_equal(p.outs, 1);
	assert_int_equal(p.out.len, 0);
	assert_int_equal(p.out.seq, p.s_nxt - 1);
	pass(&p, 400);
	assert_int_equal(p.outs, 2);
	/* While it is answered the connection lives. */
	for (int i = 0; i < 100; i++) {
		acknowledge(&p, p.s_nxt, 0);
		pass(&p, 10000);
	}
	assert_int_equal(p.events[4], 0);
	clear(&p);
	acknowledge(&p, p.s_nxt, 5000);
	assert_int_equal(p.outs, 1);
	assert_int_equal(p.out.len, 2000);
	assert_int_equal(p.out.seq, p.s_nxt);
	p.s_nxt += 2000;
	acknowledge(&p, p.s_nxt, 0);
	tcp_write(p.c, data, 10);
	pass(&p, 125000); /* not answered any more */
	pass(&p, 60000);
	assert_int_equal(p.events[4], 1);
	assert_int_equal(p.how, TCP_END_TIMED_OUT);
	finish(&p);
}

/** test_our_window() - It closes as nobody reads, opens by an ACK of its own when somebody does, and takes no more. */
static void test_our_window(void **state)
{
	struct tcp_config small = config;
	struct peer p;
	uint32_t edge, taken = 0;

	(void)state;
	small.buffer_max = 4 * TCP_CHUNK;
	open_with(&p, &small, (struct wire){ .mss = 1460 });
	p.consume = false;
	do {
		say(&p, 1460);
		taken += 1460;
		edge = p.out.ack + p.out.window;
	} while (p.out.window >= 1460 && taken < 100000);
	pass(&p, 50);
	assert_true(taken > 60000 && taken <= 65536);
	assert_int_equal(tcp_readable(p.c), taken);
	/* beyond the edge: cut off */
	say(&p, 1460);
	pass(&p, 50);
	p.r_nxt = p.out.ack;
	assert_int_equal(p.r_nxt, edge);
	assert_int_equal(p.out.window, 0);
	say(&p, 10);
	p.r_nxt -= 10;
	assert_int_equal(p.out.ack, edge);
	clear(&p);
	tcp_consume(p.c, 100);
	assert_int_equal(p.outs, 0); /* not worth a word */
	tcp_consume(p.c, 40000);
	assert_int_equal(p.outs, 1);
	assert_true(p.out.window > 40000);
	tcp_consume(p.c, tcp_readable(p.c));
	assert_int_equal(tcp_counters(p.s)->chunks, 0);
	finish(&p);
}

/** test_paws() - RFC 7323, 5: what is older than what came before is answered and dropped; without a stamp, dropped. */
static void test_paws(void **state)
{
	struct peer p;

	(void)state;
	open_with(&p, &config, (struct wire){ .mss = 1460, .time = true, .tsval = 1000 });
	say(&p, 10);
	assert_int_equal(p.got, 10);
	p.with.tsval = 999;
	say(&p, 10);
	assert_int_equal(p.got, 10);
	assert_int_equal(p.out.ack, p.r_nxt - 10);
	p.r_nxt -= 10;
	p.with.time = false;
	say(&p, 10);
	assert_int_equal(p.got, 10);
	p.r_nxt -= 10;
	p.with.time = true;
	p.with.tsval = 1001;
	say(&p, 10);
	assert_int_equal(p.got, 20);
	pass(&p, 50);
	assert_int_equal(p.out.tsecr, 1001);
	/* what came before its time does not tell which stamp to echo (RFC 7323, 4.3) */
	p.with.tsval = 2000;
	feed(&p, (struct wire){ .seq = p.r_nxt + 100, .ack = p.s_nxt, .flags = ACK, .window = WINDOW, .len = 10 });
	assert_int_equal(p.out.tsecr, 1001);
	/* after 25 days of silence the clock may be anywhere */
	p.with.tsval = 5;
	p.now += 25LL * 86400 * NSEC_PER_SEC;
	tcp_set_time(p.s, p.now);
	say(&p, 10);
	assert_int_equal(p.got, 30);
	finish(&p);
}

static void test_challenges(void **state)
{
	struct peer p;

	(void)state;
	open_with(&p, &config, (struct wire){ .mss = 1460 });
	for (int i = 0; i < 1000; i++)
		feed(&p, (struct wire){ .seq = p.r_nxt + 5, .flags = i & 1 ? SYN : RST });
	assert_int_equal(p.outs, 10);
	pass(&p, 1000);
	feed(&p, (struct wire){ .seq = p.r_nxt + 5, .flags = SYN });
	assert_int_equal(p.outs, 11);
	assert_int_equal(tcp_state(p.c), TCP_ESTABLISHED);
	finish(&p);
}

static void test_keepalive(void **state)
{
	struct peer p;

	(void)state;
	open_with(&p, &config, (struct wire){ .mss = 1460 });
	pass(&p, 7199000);
	assert_int_equal(p.outs, 0);
	pass(&p, 2000);
	assert_int_equal(p.outs, 1);
	assert_int_equal(p.out.seq, p.s_nxt - 1);
	acknowledge(&p, p.s_nxt, WINDOW); /* alive */
	pass(&p, 7190000);
	assert_int_equal(p.outs, 1);
	pass(&p, 20000 + 9 * 75000);
	assert_int_equal(tcp_counters(p.s)->keepalives, 10);
	assert_int_equal(p.events[4], 1);
	assert_int_equal(p.how, TCP_END_TIMED_OUT);
	finish(&p);
}

/** test_close() - After tcp_close() the stack sees to the rest, and it ends, whatever the guest does. */
static void test_close(void **state)
{
	struct peer p;

	(void)state;
	/* the guest does as it should */
	open_with(&p, &config, (struct wire){ .mss = 1460 });
	tcp_write(p.c, "bye", 3);
	tcp_close(p.c);
	p.c = NULL;
	assert_int_equal(p.out.flags, FIN | ACK);
	p.s_nxt += 4;
	ack(&p, FIN);
	assert_int_equal(tcp_counters(p.s)->time_wait, 1);
	pass(&p, 1000);
	assert_int_equal(tcp_counters(p.s)->connections, 0);
	assert_int_equal(p.events[4], 0);
	finish(&p);
	/* it never sends its FIN */
	open_with(&p, &config, (struct wire){ .mss = 1460 });
	tcp_close(p.c);
	p.c = NULL;
	p.s_nxt++;
	ack(&p, 0);
	pass(&p, 59000);
	assert_int_equal(tcp_counters(p.s)->connections, 1);
	pass(&p, 2000);
	assert_int_equal(tcp_counters(p.s)->connections, 0);
	finish(&p);
	/* it sends data that nobody will read */
	open_with(&p, &config, (struct wire){ .mss = 1460 });
	tcp_close(p.c);
	p.c = NULL;
	p.s_nxt++;
	say(&p, 10);
	assert_true(p.out.flags & RST);
	assert_int_equal(tcp_counters(p.s)->connections, 0);
	finish(&p);
	/* there was data that was not read */
	open_with(&p, &config, (struct wire){ .mss = 1460 });
	p.consume = false;
	say(&p, 10);
	tcp_close(p.c);
	p.c = NULL;
	assert_true(p.out.flags & RST);
	assert_int_equal(tcp_counters(p.s)->connections, 0);
	finish(&p);
	/* it answers, but keeps its window closed: bounded, since no user is left who waits */
	open_with(&p, &config, (struct wire){ .mss = 1460 });
	acknowledge(&p, p.s_nxt, 0);
	tcp_write(p.c, "bye", 3);
	tcp_close(p.c);
	p.c = NULL;
	for (int i = 0; i < 20; i++) {
		pass(&p, 10000);
		if (tcp_counters(p.s)->connections)
			acknowledge(&p, p.s_nxt, 0);
	}
	assert_int_equal(tcp_counters(p.s)->connections, 0);
	finish(&p);
}

/** test_unread() - The protocol is done, the user is not: TCP_END_DONE comes after the last byte was read. */
static void test_unread(void **state)
{
	struct iovec iov[TCP_READ_IOV];
	struct peer p;

	(void)state;
	for (int time_wait = 0; time_wait < 2; time_wait++) {
		open_with(&p, &config, (struct wire){ .mss = 1460 });
		p.consume = false;
		if (time_wait)
			tcp_shutdown_write(p.c);
		p.s_nxt += (uint32_t)time_wait;
		say(&p, 1000);
		ack(&p, FIN);
		if (!time_wait) {
			tcp_shutdown_write(p.c);
			p.s_nxt++;
			ack(&p, 0);
		}
		assert_int_equal(tcp_state(p.c), time_wait ? TCP_TIME_WAIT : TCP_CLOSED);
		pass(&p, 10000);
		assert_int_equal(p.events[4], 0);
		assert_int_equal(tcp_counters(p.s)->time_wait, 0);
		assert_false(tcp_at_end(p.c));
		assert_int_equal(tcp_peek(p.c, iov, TCP_READ_IOV), 2); /* around 2^32 lies the end of a chunk */
		assert_int_equal(iov[0].iov_len + iov[1].iov_len, 1000);
		tcp_consume(p.c, 1000);
		assert_true(tcp_at_end(p.c));
		assert_int_equal(p.events[4], 0); /* never from within a call */
		assert_int_equal(tcp_next_timeout(p.s), 0);
		tcp_tick(p.s);
		assert_int_equal(p.events[4], 1);
		assert_int_equal(p.how, TCP_END_DONE);
		finish(&p);
	}
}

/** test_limit() - The SYN beyond the limit is refused; TIME_WAITs give way; a close makes place. */
static void test_limit(void **state)
{
	struct tcp_config ten = config;
	struct peer p;

	(void)state;
	ten.max_connections = 10;
	begin(&p, &ten);
	p.policy = ACCEPT;
	for (uint16_t i = 0; i < 11; i++) {
		p.pair.guest.port = (uint16_t)(5000 + i);
		feed(&p, (struct wire){ .seq = ISN, .flags = SYN, .window = WINDOW });
		assert_int_equal(p.out.flags, i < 10 ? SYN | ACK : RST | ACK);
	}
	assert_int_equal(p.events[0], 10);
	assert_int_equal(tcp_counters(p.s)->refused_limit, 1);
	assert_null(tcp_connect(p.s, &p.pair, NULL, NULL));
	tcp_abort(p.c);
	feed(&p, (struct wire){ .seq = ISN, .flags = SYN, .window = WINDOW });
	assert_int_equal(p.out.flags, SYN | ACK);
	/* into TIME_WAIT with the newest; then there is place again at once */
	p.s_nxt = p.out.seq + 1;
	p.r_nxt = ISN + 1;
	ack(&p, 0);
	tcp_shutdown_write(p.c);
	p.s_nxt++;
	ack(&p, FIN);
	assert_int_equal(tcp_counters(p.s)->time_wait, 1);
	p.pair.guest.port = 6000;
	feed(&p, (struct wire){ .seq = ISN, .flags = SYN, .window = WINDOW });
	assert_int_equal(p.out.flags, SYN | ACK);
	assert_int_equal(tcp_counters(p.s)->time_wait, 0);
	assert_int_equal(tcp_counters(p.s)->connections, 10);
	p.c = NULL;
	pass(&p, 600000); /* SYN-ACKs nobody answers */
	assert_int_equal(p.events[4], 11); /* ten, and the one that was in TIME_WAIT */
	finish(&p);
}

/** test_full() - SYN-ACK, data and ACK that the link did not take go out when it does. */
static void test_full(void **state)
{
	struct peer p;

	(void)state;
	begin(&p, &config);
	p.policy = ACCEPT;
	p.full = true;
	feed(&p, (struct wire){ .seq = ISN, .flags = SYN, .window = WINDOW });
	p.full = false;
	tcp_output_ready(p.s);
	assert_int_equal(p.outs, 1);
	assert_int_equal(p.out.flags, SYN | ACK);
	p.s_nxt = p.out.seq + 1;
	p.r_nxt = ISN + 1;
	ack(&p, 0);
	p.full = true;
	say(&p, 5000);
	tcp_write(p.c, "hello", 5);
	tcp_shutdown_write(p.c);
	pass(&p, 3000);
	p.full = false;
	clear(&p);
	tcp_output_ready(p.s);
	assert_int_equal(p.outs, 1);
	assert_int_equal(p.out.flags, FIN | PSH | ACK);
	assert_int_equal(p.out.len, 5);
	assert_int_equal(p.out.ack, p.r_nxt);
	assert_int_equal(tcp_counters(p.s)->timeouts, 0);
	finish(&p);
}

/**
 * test_starved() - 1,000 connections that nobody reads and whose guest reads nothing: memory stays at its cap, and one that
 * behaves goes on.
 */
static void test_starved(void **state)
{
	struct tcp_config some = config;
	static char data[TCP_BUFFER_MAX];
	static struct tcp_conn *conns[1000];
	struct peer p;
	uint64_t before;

	(void)state;
	some.max_connections = 1001;
	begin(&p, &some);
	p.consume = false;
	p.policy = ACCEPT;
	for (uint16_t i = 0; i < 1000; i++) {
		p.pair.guest.port = (uint16_t)(5000 + i);
		feed(&p, (struct wire){ .seq = ISN, .flags = SYN, .window = 100 });
		p.s_nxt = p.out.seq + 1;
		p.r_nxt = ISN + 1;
		ack(&p, 0);
		conns[i] = p.c;
		for (int k = 0; k < 5; k++)
			tcp_write(p.c, data, sizeof(data));
		for (int k = 0; k < 2; k++)
			say(&p, 60000);
	}
	assert_true(tcp_counters(p.s)->chunks_peak <= 1001 * KIB(128) / TCP_CHUNK);
	assert_true(tcp_counters(p.s)->chunks > 1000);
	p.pair.guest.port = 4000;
	feed(&p, (struct wire){ .seq = ISN, .flags = SYN, .window = WINDOW });
	p.s_nxt = p.out.seq + 1;
	p.r_nxt = ISN + 1;
	ack(&p, 0);
	p.consume = true;
	p.got = 0;
	before = tcp_counters(p.s)->dropped_memory;
	for (int k = 0; k < 1000; k++) {
		say(&p, 1460);
		assert_true(p.out.window >= 1460);
	}
	assert_int_equal(p.got, 1460 * 1000);
	assert_int_equal(tcp_counters(p.s)->dropped_memory, before);
	assert_true(tcp_write(p.c, data, 4000) == 4000);
	tcp_abort(p.c);
	p.c = NULL;
	for (int i = 0; i < 1000; i++)
		tcp_abort(conns[i]);
	finish(&p);
}

/** test_exhausted() - Not a chunk is left: who wants to write is told when there is one; data is dropped, not lost. */
static void test_exhausted(void **state)
{
	struct tcp_config tiny = config;
	static char data[TCP_CHUNK];
	struct tcp_conn *first = NULL;
	uint64_t dropped;
	struct peer p;

	(void)state;
	tiny.memory = 4 * TCP_CHUNK;
	open_with(&p, &tiny, (struct wire){ .mss = 1460 });
	p.consume = false;
	for (int i = 0; i < 4 && tcp_counters(p.s)->chunks < 4; i++) {
		if (i > 0) {
			p.pair.guest.port++;
			feed(&p, (struct wire){ .seq = ISN, .flags = SYN, .window = WINDOW });
			p.s_nxt = p.out.seq + 1;
			p.r_nxt = ISN + 1;
			ack(&p, 0);
		}
		first = first ? first : p.c;
		acknowledge(&p, p.s_nxt, 0);
		tcp_write(p.c, data, TCP_CHUNK);
		say(&p, 3000);
	}
	assert_int_equal(tcp_counters(p.s)->chunks, 4);
	p.pair.guest.port++;
	feed(&p, (struct wire){ .seq = ISN, .flags = SYN, .window = WINDOW });
	p.s_nxt = p.out.seq + 1;
	p.r_nxt = ISN + 1;
	ack(&p, 0);
	clear(&p);
	dropped = tcp_counters(p.s)->dropped_memory;
	assert_int_equal(tcp_write(p.c, data, 10), 0);
	say(&p, 1000);
	assert_int_equal(p.out.ack, p.r_nxt - 1000);
	assert_int_equal(tcp_counters(p.s)->dropped_memory, dropped + 1);
	assert_int_equal(p.events[3], 0);
	tcp_abort(first);
	assert_int_equal(tcp_next_timeout(p.s), 0);
	tcp_tick(p.s);
	assert_int_equal(p.events[3], 1);
	assert_int_equal(tcp_write(p.c, data, 10), 10);
	p.r_nxt -= 1000;
	say(&p, 1000);
	assert_int_equal(tcp_readable(p.c), 1000);
	finish(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options),	      cmocka_unit_test(test_malformed),	 cmocka_unit_test(test_decisions),
		cmocka_unit_test(test_syn_retries),   cmocka_unit_test(test_delayed_ack), cmocka_unit_test(test_sack_blocks),
		cmocka_unit_test(test_ranges_full),   cmocka_unit_test(test_rto),
		cmocka_unit_test(test_window),	      cmocka_unit_test(test_our_window), cmocka_unit_test(test_paws),
		cmocka_unit_test(test_challenges),    cmocka_unit_test(test_keepalive),	 cmocka_unit_test(test_close),
		cmocka_unit_test(test_unread),	      cmocka_unit_test(test_limit),	 cmocka_unit_test(test_full),
		cmocka_unit_test(test_starved),	      cmocka_unit_test(test_exhausted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
