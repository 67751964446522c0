/* SPDX-License-Identifier: Apache-2.0 */
/* The TCP of the gateway against the events of RFC 9293, one segment at a time; a peer without options but MSS. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/macros.h"
#include "net/hash.h"
#include "tcp_peer.h"

/* State by state: what leads there. r_nxt and s_nxt are where both sides are then. */
enum start { LISTEN, HELD, SENT, RECEIVED, CROSSED, OPEN, WAIT_1, WAIT_2, CLOSEWAIT, CLOSING, LASTACK, TIMEWAIT };

static void lead_to(struct peer *p, enum start start)
{
	p->r_nxt = ISN;
	p->s_nxt = 0;
	if (start == LISTEN)
		return;
	if (start == SENT || start == CROSSED) {
		p->c = tcp_connect(p->s, &p->pair, NULL, NULL);
		assert_int_equal(p->out.flags, SYN);
		p->s_nxt = p->out.seq + 1;
		if (start == CROSSED) {
			feed(p, (struct wire){ .seq = ISN, .flags = SYN, .window = WINDOW });
			assert_int_equal(p->out.flags, SYN | ACK);
			assert_int_equal(p->out.ack, ISN + 1);
			p->r_nxt = ISN + 1;
		}
		return;
	}
	p->policy = start == HELD ? HOLD : ACCEPT;
	feed(p, (struct wire){ .seq = ISN, .flags = SYN, .window = WINDOW });
	p->r_nxt = ISN + 1;
	if (start == HELD)
		return;
	assert_int_equal(p->out.flags, SYN | ACK);
	assert_int_equal(p->out.ack, ISN + 1);
	p->s_nxt = p->out.seq + 1;
	if (start == RECEIVED)
		return;
	ack(p, 0);
	if (start == CLOSEWAIT || start == LASTACK)
		ack(p, FIN);
	if (start != OPEN && start != CLOSEWAIT) {
		tcp_shutdown_write(p->c);
		assert_int_equal(p->out.flags, FIN | ACK);
		if (start == CLOSING)
			ack(p, FIN);
		p->s_nxt++;
	}
	if (start == WAIT_2 || start == TIMEWAIT)
		ack(p, 0);
	if (start == TIMEWAIT)
		ack(p, FIN);
}

static enum tcp_state state_now(const struct peer *p)
{
	if (p->c)
		return tcp_state(p->c);
	return tcp_counters(p->s)->time_wait ? TCP_TIME_WAIT : TCP_CLOSED;
}

/*
 * One row: in state `start` comes a segment whose seq counts from what is expected next and whose ack counts from what we
 * send next. Then the state, and the answer within 50 ms: 0 is none. Numbers of the answer count likewise from where both
 * sides were before, except for a RST that takes its number from the segment's ack (SEQ_OF_ACK), or has none (SEQ_NONE).
 */
enum seq_of { SEQ_NEXT, SEQ_OF_ACK, SEQ_NONE };

static const struct row {
	const char *what, *section;
	enum start start;
	uint8_t flags;
	int32_t seq, ack;
	size_t len;
	enum tcp_state state;
	uint8_t answer;
	enum seq_of answer_seq;
	int32_t answer_ack;
	int end; /* enum tcp_end + 1 that the user was told, 0: nothing */
} rows[] = {
	/* CLOSED and LISTEN */
	{ "RST to nothing", "3.10.7.1", LISTEN, RST, 0, 0, 0, TCP_CLOSED, 0 },
	{ "RST, ACK to nothing", "3.10.7.1", LISTEN, RST | ACK, 0, 5, 0, TCP_CLOSED, 0 },
	{ "ACK to nothing", "3.10.7.1", LISTEN, ACK, 0, 5, 10, TCP_CLOSED, RST, SEQ_OF_ACK },
	{ "data without ACK to nothing", "3.10.7.1", LISTEN, 0, 0, 0, 10, TCP_CLOSED, RST | ACK, SEQ_NONE, 10 },
	{ "FIN without ACK to nothing", "3.10.7.1", LISTEN, FIN, 0, 0, 0, TCP_CLOSED, RST | ACK, SEQ_NONE, 1 },
	{ "SYN, ACK to nothing", "3.10.7.2", LISTEN, SYN | ACK, 0, 7, 0, TCP_CLOSED, RST, SEQ_OF_ACK },
	{ "SYN, RST to nothing", "3.10.7.2", LISTEN, SYN | RST, 0, 0, 0, TCP_CLOSED, 0 },
	{ "SYN", "3.10.7.2", LISTEN, SYN, 0, 0, 0, TCP_SYN_RECEIVED, SYN | ACK, SEQ_NONE, 1 },
	{ "SYN with data, which waits", "3.10.7.2", LISTEN, SYN, 0, 0, 10, TCP_SYN_RECEIVED, SYN | ACK, SEQ_NONE, 1 },
	{ "SYN, FIN is dropped", "3.10.7.2", LISTEN, SYN | FIN, 0, 0, 0, TCP_CLOSED, 0 },
	/* held: nothing was said yet */
	{ "held: SYN again", "3.10.7.2", HELD, SYN, -1, 0, 0, TCP_SYN_RECEIVED, 0 },
	{ "held: ACK of what was not sent", "3.10.7.2", HELD, ACK, 0, 1, 0, TCP_SYN_RECEIVED, 0 },
	{ "held: RST", "3.10.7.4", HELD, RST, 0, 0, 0, TCP_CLOSED, 0, .end = TCP_END_RESET + 1 },
	{ "held: RST of another number", "5961 3.2", HELD, RST, 9, 0, 0, TCP_SYN_RECEIVED, 0 },
	/* SYN-SENT */
	{ "SYN, ACK", "3.10.7.3", SENT, SYN | ACK, 0, 0, 0, TCP_ESTABLISHED, ACK, SEQ_NEXT, 1 },
	{ "SYN, ACK of too much", "3.10.7.3", SENT, SYN | ACK, 0, 1, 0, TCP_SYN_SENT, RST, SEQ_OF_ACK },
	{ "ACK of too little", "3.10.7.3", SENT, ACK, 0, -1, 0, TCP_SYN_SENT, RST, SEQ_OF_ACK },
	{ "RST of a wrong ACK", "3.10.7.3", SENT, RST | ACK, 0, 1, 0, TCP_SYN_SENT, 0 },
	{ "RST without ACK", "3.10.7.3", SENT, RST, 0, 0, 0, TCP_SYN_SENT, 0 },
	{ "RST, ACK: refused", "3.10.7.3", SENT, RST | ACK, 0, 0, 0, TCP_CLOSED, 0, .end = TCP_END_REFUSED + 1 },
	{ "ACK alone", "3.10.7.3", SENT, ACK, 0, 0, 0, TCP_SYN_SENT, 0 },
	{ "SYN of both", "3.10.7.3", SENT, SYN, 0, 0, 0, TCP_SYN_RECEIVED, SYN | ACK, SEQ_NEXT, 1 },
	/* SYN-RECEIVED */
	{ "SYN again", "3.10.7.4", RECEIVED, SYN, -1, 0, 0, TCP_SYN_RECEIVED, SYN | ACK, SEQ_NEXT, 0 },
	{ "ACK of the SYN", "3.10.7.4", RECEIVED, ACK, 0, 0, 0, TCP_ESTABLISHED, 0 },
	{ "ACK with data", "3.10.7.4", RECEIVED, ACK, 0, 0, 100, TCP_ESTABLISHED, ACK, SEQ_NEXT, 100 },
	{ "ACK with FIN", "3.10.7.4", RECEIVED, ACK | FIN, 0, 0, 0, TCP_CLOSE_WAIT, ACK, SEQ_NEXT, 1 },
	{ "ACK of too much", "3.10.7.4", RECEIVED, ACK, 0, 1, 0, TCP_SYN_RECEIVED, RST, SEQ_OF_ACK },
	{ "ACK of too little", "3.10.7.4", RECEIVED, ACK, 0, -1, 0, TCP_SYN_RECEIVED, RST, SEQ_OF_ACK },
	{ "RST", "3.10.7.4", RECEIVED, RST, 0, 0, 0, TCP_CLOSED, 0, .end = TCP_END_RESET + 1 },
	{ "RST in the window", "5961 3.2", RECEIVED, RST, 9, 0, 0, TCP_SYN_RECEIVED, ACK, SEQ_NEXT, 0 },
	{ "another SYN: back to LISTEN", "3.10.7.4", RECEIVED, SYN, 5, 0, 0, TCP_CLOSED, 0, .end = TCP_END_RESET + 1 },
	{ "before the window", "3.10.7.4", RECEIVED, ACK, -5, 0, 0, TCP_SYN_RECEIVED, ACK, SEQ_NEXT, 0 },
	{ "no ACK", "3.10.7.4", RECEIVED, 0, 0, 0, 5, TCP_SYN_RECEIVED, 0 },
	{ "both opened: ACK", "3.5", CROSSED, ACK, 0, 0, 0, TCP_ESTABLISHED, 0 },
	{ "both opened: SYN, ACK", "3.5", CROSSED, SYN | ACK, -1, 0, 0, TCP_ESTABLISHED, 0 },
	{ "both opened: RST", "3.10.7.4", CROSSED, RST, 0, 0, 0, TCP_CLOSED, 0, .end = TCP_END_REFUSED + 1 },
	/* ESTABLISHED */
	{ "data", "3.10.7.4", OPEN, ACK, 0, 0, 100, TCP_ESTABLISHED, ACK, SEQ_NEXT, 100 },
	{ "data that came before", "3.10.7.4", OPEN, ACK, -10, 0, 10, TCP_ESTABLISHED, ACK, SEQ_NEXT, 0 },
	{ "data that came in part", "3.10.7.4", OPEN, ACK, -10, 0, 30, TCP_ESTABLISHED, ACK, SEQ_NEXT, 20 },
	{ "data beyond a gap", "3.10.7.4", OPEN, ACK, 10, 0, 10, TCP_ESTABLISHED, ACK, SEQ_NEXT, 0 },
	{ "data beyond the window", "3.10.7.4", OPEN, ACK, 0x100000, 0, 10, TCP_ESTABLISHED, ACK, SEQ_NEXT, 0 },
	{ "keepalive", "3.8.4", OPEN, ACK, -1, 0, 0, TCP_ESTABLISHED, ACK, SEQ_NEXT, 0 },
	{ "ACK of what was not sent", "3.10.7.4", OPEN, ACK, 0, 1, 10, TCP_ESTABLISHED, ACK, SEQ_NEXT, 0 },
	{ "ACK from long ago", "5961 5.2", OPEN, ACK, 0, -100000, 10, TCP_ESTABLISHED, ACK, SEQ_NEXT, 0 },
	{ "no ACK", "3.10.7.4", OPEN, 0, 0, 0, 10, TCP_ESTABLISHED, 0 },
	{ "RST", "5961 3.2", OPEN, RST, 0, 0, 0, TCP_CLOSED, 0, .end = TCP_END_RESET + 1 },
	{ "RST in the window", "5961 3.2", OPEN, RST, 1, 0, 0, TCP_ESTABLISHED, ACK, SEQ_NEXT, 0 },
	{ "RST before the window", "5961 3.2", OPEN, RST, -1, 0, 0, TCP_ESTABLISHED, 0 },
	{ "RST beyond the window", "5961 3.2", OPEN, RST, 0x100000, 0, 0, TCP_ESTABLISHED, 0 },
	{ "SYN in the window", "5961 4.2", OPEN, SYN, 5, 0, 0, TCP_ESTABLISHED, ACK, SEQ_NEXT, 0 },
	{ "SYN out of the window", "5961 4.2", OPEN, SYN, -100, 0, 0, TCP_ESTABLISHED, ACK, SEQ_NEXT, 0 },
	{ "SYN, ACK again: our ACK was lost", "3.10.7.4", OPEN, SYN | ACK, -1, 0, 0, TCP_ESTABLISHED, ACK, SEQ_NEXT, 0 },
	{ "FIN", "3.10.7.4", OPEN, ACK | FIN, 0, 0, 0, TCP_CLOSE_WAIT, ACK, SEQ_NEXT, 1 },
	{ "data and FIN", "3.10.7.4", OPEN, ACK | FIN, 0, 0, 10, TCP_CLOSE_WAIT, ACK, SEQ_NEXT, 11 },
	{ "FIN beyond a gap", "3.10.7.4", OPEN, ACK | FIN, 3, 0, 0, TCP_ESTABLISHED, ACK, SEQ_NEXT, 0 },
	/* FIN-WAIT-1: ack -1 is all but the FIN */
	{ "ACK of the FIN", "3.10.7.4", WAIT_1, ACK, 0, 0, 0, TCP_FIN_WAIT_2, 0 },
	{ "data", "3.10.7.4", WAIT_1, ACK, 0, -1, 10, TCP_FIN_WAIT_1, ACK, SEQ_NEXT, 10 },
	{ "FIN of both", "3.10.7.4", WAIT_1, ACK | FIN, 0, -1, 0, TCP_CLOSING, ACK, SEQ_NEXT, 1 },
	{ "FIN and ACK of ours", "3.10.7.4", WAIT_1, ACK | FIN, 0, 0, 0, TCP_TIME_WAIT, ACK, SEQ_NEXT, 1, TCP_END_DONE + 1 },
	{ "RST", "3.10.7.4", WAIT_1, RST, 0, 0, 0, TCP_CLOSED, 0, .end = TCP_END_RESET + 1 },
	{ "SYN", "5961 4.2", WAIT_1, SYN, 0, 0, 0, TCP_FIN_WAIT_1, ACK, SEQ_NEXT, 0 },
	/* FIN-WAIT-2 */
	{ "data", "3.10.7.4", WAIT_2, ACK, 0, 0, 10, TCP_FIN_WAIT_2, ACK, SEQ_NEXT, 10 },
	{ "FIN", "3.10.7.4", WAIT_2, ACK | FIN, 0, 0, 0, TCP_TIME_WAIT, ACK, SEQ_NEXT, 1, TCP_END_DONE + 1 },
	{ "RST", "3.10.7.4", WAIT_2, RST, 0, 0, 0, TCP_CLOSED, 0, .end = TCP_END_RESET + 1 },
	/* CLOSE-WAIT */
	{ "FIN again", "3.10.7.4", CLOSEWAIT, ACK | FIN, -1, 0, 0, TCP_CLOSE_WAIT, ACK, SEQ_NEXT, 0 },
	{ "data after FIN is nothing", "3.10.7.4", CLOSEWAIT, ACK, 0, 0, 10, TCP_CLOSE_WAIT, 0 },
	{ "RST", "3.10.7.4", CLOSEWAIT, RST, 0, 0, 0, TCP_CLOSED, 0, .end = TCP_END_RESET + 1 },
	{ "ACK", "3.10.7.4", CLOSEWAIT, ACK, 0, 0, 0, TCP_CLOSE_WAIT, 0 },
	/* CLOSING */
	{ "ACK of the FIN", "3.10.7.4", CLOSING, ACK, 0, 0, 0, TCP_TIME_WAIT, 0, .end = TCP_END_DONE + 1 },
	{ "ACK of less", "3.10.7.4", CLOSING, ACK, 0, -1, 0, TCP_CLOSING, 0 },
	{ "RST", "3.10.7.4", CLOSING, RST, 0, 0, 0, TCP_CLOSED, 0, .end = TCP_END_RESET + 1 },
	/* LAST-ACK */
	{ "ACK of the FIN", "3.10.7.4", LASTACK, ACK, 0, 0, 0, TCP_CLOSED, 0, .end = TCP_END_DONE + 1 },
	{ "FIN again", "3.10.7.4", LASTACK, ACK | FIN, -1, -1, 0, TCP_LAST_ACK, ACK, SEQ_NEXT, 0 },
	{ "RST", "3.10.7.4", LASTACK, RST, 0, 0, 0, TCP_CLOSED, 0, .end = TCP_END_RESET + 1 },
	/* TIME-WAIT */
	{ "FIN again", "3.10.7.4", TIMEWAIT, ACK | FIN, -1, 0, 0, TCP_TIME_WAIT, ACK, SEQ_NEXT, 0 },
	{ "RST", "3.10.7.4", TIMEWAIT, RST, 0, 0, 0, TCP_CLOSED, 0 },
	{ "SYN with a later number", "3.6.1", TIMEWAIT, SYN, 100, 0, 0, TCP_SYN_RECEIVED, SYN | ACK, SEQ_NONE, 101 },
	{ "SYN with an earlier number", "3.10.7.4", TIMEWAIT, SYN, -100, 0, 0, TCP_TIME_WAIT, ACK, SEQ_NEXT, 0 },
};

static void check_row(const struct row *row)
{
	struct peer p;
	uint32_t expected;

	begin(&p, &(struct tcp_config){ .secret = { 1 } });
	lead_to(&p, row->start);
	pass(&p, 0);
	if (row->start == TIMEWAIT || row->start == LISTEN)
		p.policy = ACCEPT;
	clear(&p);
	feed(&p, (struct wire){ .seq = p.r_nxt + (uint32_t)row->seq, .ack = p.s_nxt + (uint32_t)row->ack, .flags = row->flags,
				.window = WINDOW, .len = row->len });
	pass(&p, 50);
	assert_int_equal(state_now(&p), row->state);
	assert_int_equal(p.outs, row->answer != 0);
	if (row->answer) {
		assert_int_equal(p.out.flags, row->answer);
		expected = row->answer_seq == SEQ_OF_ACK ? p.s_nxt + (uint32_t)row->ack : p.s_nxt - !!(row->answer & SYN);
		if (row->answer_seq != SEQ_NONE)
			assert_int_equal(p.out.seq, expected);
		else if (row->answer & RST)
			assert_int_equal(p.out.seq, 0);
		if (row->answer & ACK)
			assert_int_equal(p.out.ack, p.r_nxt + (uint32_t)row->answer_ack);
	}
	assert_int_equal(p.events[4], row->end != 0);
	if (row->end)
		assert_int_equal(p.how, row->end - 1);
	finish(&p);
}

static void test_events(void **state)
{
	(void)state;
	assert_true(ARRAY_LEN(rows) >= 45);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		print_message("# row %zu: state %d: %s (%s)\n", i, rows[i].start, rows[i].what, rows[i].section);
		check_row(&rows[i]);
	}
}

/** test_time_wait() - It ends after its time, which a FIN that comes again begins anew (3.10.7.4). */
static void test_time_wait(void **state)
{
	struct peer p;

	(void)state;
	begin(&p, &(struct tcp_config){ .secret = { 1 } });
	lead_to(&p, TIMEWAIT);
	pass(&p, 900);
	feed(&p, (struct wire){ .seq = p.r_nxt - 1, .ack = p.s_nxt, .flags = FIN | ACK, .window = WINDOW });
	pass(&p, 900);
	assert_int_equal(tcp_counters(p.s)->time_wait, 1);
	pass(&p, 101);
	assert_int_equal(tcp_counters(p.s)->time_wait, 0);
	finish(&p);
}

static void test_hash(void **state)
{
	/* SipHash's authors' vectors: key 00..0f, input 00 01 02... of each length. */
	static const uint64_t vectors[] = { 0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a };
	uint8_t key[16], data[15];

	(void)state;
	for (uint8_t i = 0; i < 16; i++)
		key[i] = i;
	for (uint8_t i = 0; i < 15; i++)
		data[i] = i;
	for (size_t i = 0; i < ARRAY_LEN(vectors); i++)
		assert_true(hash_keyed(key, data, i) == vectors[i]);
	assert_true(hash_keyed(key, data, 15) == 0xa129ca6149be45e5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hash),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_time_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
