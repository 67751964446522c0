/* SPDX-License-Identifier: Apache-2.0 */
/* How the gateway's resolver asks others, on loopback: src/net/dns/forward.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <malloc.h>

#include "dns_world.h"

static void rcode_of_name(struct asking *asking)
{
	static struct build m;

	peer_start_answer(asking, &m, asking->name[0] == 's' ? DNS_SERVFAIL : DNS_REFUSED);
	peer_send(asking, m.b, m.n);
}

/* The next upstream is asked when one is silent or cannot be reached, and only then. */
static void test_failover(void **state)
{
	int64_t before;

	(void)state;
	peers[0].answer = rcode_of_name;
	begin(2, NULL, NULL);
	assert_string_equal(answer_to("s.com", DNS_A), "2");
	assert_string_equal(answer_to("r.com", DNS_A), "5");
	assert_int_equal(peers[1].udp_asked, 0);
	dns_free(dns);

	peers[0].answer = peer_silent;
	begin(2, NULL, NULL);
	before = clock_monotonic_ns();
	assert_string_equal(answer_to("a.com", DNS_A), "0 1:a.com 1 300 9.9.9.1");
	assert_true(clock_monotonic_ns() - before >= 400 * NSEC_PER_MSEC);
	/* Three more packets in case one got lost. */
	assert_in_range(peers[0].udp_asked, 2 + 1, 2 + 4);
	assert_int_equal(counts().failovers, 1);
	/* It is known to be silent now. */
	peers[0].udp_asked = 0;
	assert_string_equal(answer_to("b.com", DNS_A), "0 1:b.com 1 300 9.9.9.1");
	assert_int_equal(peers[0].udp_asked, 0);
	/* Asked all the same when the others are, too. */
	peers[0].answer = peer_records;
	peers[1].answer = peer_silent;
	assert_string_equal(answer_to("c.com", DNS_A), "0 1:c.com 1 300 9.9.9.1");
	assert_int_equal(peers[0].udp_asked, 1);
	dns_free(dns);

	/* Nobody listens: the kernel says so, at once. */
	begin(2, &(struct dns_config){ .timeout_ms = 20000, .v4 = true }, NULL);
	peer_stop(&peers[0]);
	peers[1].answer = peer_records;
	assert_string_equal(answer_to("d.com", DNS_A), "0 1:d.com 1 300 9.9.9.1");
	assert_int_equal(counts().failovers, 1);
	peer_start(&peers[0], loop, AF_INET, peer_records);
}

static void test_all_silent(void **state)
{
	int64_t before = clock_monotonic_ns(), took;

	(void)state;
	peers[0].answer = peers[1].answer = peer_silent;
	begin(2, &(struct dns_config){ .timeout_ms = 100, .v4 = true }, NULL);
	assert_string_equal(answer_to("a.com", DNS_A), "2");
	took = clock_monotonic_ns() - before;
	assert_true(took >= 200 * NSEC_PER_MSEC);
	assert_int_equal(counts().failovers, 2);
	assert_int_equal(counts().queries, 0);
	assert_int_equal(counts().cache_entries, 0);
	dns_free(dns);
	begin(0, NULL, NULL);
	assert_string_equal(answer_to("a.com", DNS_A), "2");
}

/** poison() - Everything that is no answer, then the answer. */
static void poison(struct asking *asking)
{
	static struct build m;
	struct rr evil = { asking->name, DNS_A, 300, "6.6.6.6" };
	int other = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	build_start(&m, asking->id ^ 1, DNS_FLAG_QR, asking->name, asking->type); /* id */
	build_record(&m, 1, &evil);
	peer_send(asking, m.b, m.n);
	build_start(&m, asking->id, DNS_FLAG_QR, "b.com", asking->type); /* question: name */
	build_record(&m, 1, &evil);
	peer_send(asking, m.b, m.n);
	build_start(&m, asking->id, DNS_FLAG_QR, asking->name, DNS_AAAA); /* type */
	build_record(&m, 1, &evil);
	peer_send(asking, m.b, m.n);
	build_start(&m, asking->id, DNS_FLAG_QR, NULL, 0); /* none */
	build_record(&m, 1, &evil);
	peer_send(asking, m.b, m.n);
	build_start(&m, asking->id, 0, asking->name, asking->type); /* no answer */
	build_record(&m, 1, &evil);
	peer_send(asking, m.b, m.n);
	build_start(&m, asking->id, DNS_FLAG_QR, asking->name, asking->type); /* broken */
	build_record(&m, 1, &evil);
	peer_send(asking, m.b, m.n - 1);
	peer_send(asking, m.b, 0);
	/* All right but its source. */
	sendto(other, m.b, m.n, 0, (struct sockaddr *)&asking->from, asking->from_size);
	close(other);
	/* The answer, and what else such a resolver would have us believe. */
	build_start(&m, asking->id, DNS_FLAG_QR, asking->name, asking->type);
	build_record(&m, 1, &(struct rr){ asking->name, DNS_A, 300, "9.9.9.1" });
	build_record(&m, 1, &(struct rr){ "bank.com", DNS_A, 300, "6.6.6.6" });
	build_record(&m, 2, &(struct rr){ "com", DNS_NS, 300, "ns.evil.com" });
	build_record(&m, 3, &(struct rr){ "ns.evil.com", DNS_A, 300, "6.6.6.6" });
	build_record(&m, 3, &(struct rr){ "bank.com", DNS_A, 300, "6.6.6.6" });
	peer_send(asking, m.b, m.n);
}

static void test_poison(void **state)
{
	(void)state;
	peers[0].answer = poison;
	begin(1, NULL, NULL);
	assert_string_equal(answer_to("a.com", DNS_A), "0 1:a.com 1 300 9.9.9.1");
	assert_int_equal(counts().refused_answers, 7);
	assert_int_equal(peers[0].udp_asked, 1);
	assert_int_equal(counts().names, 1);
	assert_false(named("6.6.6.6", "", DNS_SUFFIX, DNS_ANY_RESOLVER));
	peers[0].answer = peer_records;
	assert_string_equal(answer_to("bank.com", DNS_A), "0 1:bank.com 1 300 9.9.9.1");
}

static void guesses(struct asking *asking)
{
	static struct build m;

	if (asking->tcp) {
		peer_records(asking);
		return;
	}
	for (unsigned int i = 1; i < 100; i++) {
		build_start(&m, (uint16_t)(asking->id + i), DNS_FLAG_QR, asking->name, asking->type);
		peer_send(asking, m.b, m.n);
	}
}

/* Somebody guesses ids: TCP cannot be guessed. */
static void test_guesses(void **state)
{
	(void)state;
	peers[0].answer = guesses;
	begin(1, NULL, NULL);
	assert_string_equal(answer_to("a.com", DNS_A), "0 1:a.com 1 300 9.9.9.1");
	assert_int_equal(peers[0].udp_asked, 1);
	assert_int_equal(peers[0].tcp_asked, 1);
	assert_int_equal(counts().refused_answers, 16);
}

static uint16_t seen_ports[64], seen_ids[64];

static void note_port(struct asking *asking)
{
	unsigned int i = asking->peer->udp_asked - 1;

	seen_ports[i] = ((struct sockaddr_in *)&asking->from)->sin_port;
	seen_ids[i] = asking->id;
	peer_records(asking);
}

/* Ports and ids are different and in no order. */
static void test_random(void **state)
{
	unsigned int same_ports = 0, same_ids = 0, up_ports = 0, up_ids = 0;
	char name[16];

	(void)state;
	peers[0].answer = note_port;
	begin(1, NULL, NULL);
	for (unsigned int i = 0; i < 64; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		answer_to(name, DNS_A);
	}
	for (unsigned int i = 0; i < 63; i++) {
		up_ports += ntohs(seen_ports[i + 1]) > ntohs(seen_ports[i]);
		up_ids += seen_ids[i + 1] > seen_ids[i];
		for (unsigned int j = i + 1; j < 64; j++) {
			same_ports += seen_ports[i] == seen_ports[j];
			same_ids += seen_ids[i] == seen_ids[j];
		}
	}
	/* 2,016 pairs: 0.07 and 0.03 expected. Ups: 31 +- 2.3. */
	assert_in_range(same_ports, 0, 4);
	assert_in_range(same_ids, 0, 4);
	assert_in_range(up_ports, 15, 48);
	assert_in_range(up_ids, 15, 48);
}

/** big() - 100 addresses: cut by UDP, whole by TCP. */
static void big(struct asking *asking)
{
	static struct build m;
	char ip[16];

	if (!asking->tcp) {
		build_start(&m, asking->id, DNS_FLAG_QR | DNS_FLAG_TC, asking->name, asking->type);
		peer_send(asking, m.b, m.n);
		return;
	}
	peer_start_answer(asking, &m, DNS_NOERROR);
	for (unsigned int i = 0; i < 100; i++) {
		snprintf(ip, sizeof(ip), "9.9.9.%u", i);
		build_record(&m, 1, &(struct rr){ asking->name, DNS_A, 300, ip });
	}
	peer_send(asking, m.b, m.n);
}

static void test_truncation(void **state)
{
	struct told *t;

	(void)state;
	peers[0].answer = big;
	begin(2, NULL, NULL);
	/* 12 + 7 + 4 + 100 * 16 = 1,623 bytes do not fit; nobody was told an address. */
	assert_string_equal(answer_to("a.com", DNS_A), "0 TC");
	assert_int_equal(counts().names, 0);
	assert_int_equal(peers[0].udp_asked, 1);
	assert_int_equal(peers[0].tcp_asked, 1);
	t = ask_edns(1, "a.com", DNS_A, 4096, DNS_UDP);
	assert_string_equal(text_of(t), "0 TC 3: 41 0 [0]");
	/* By TCP it is there, from the cache. */
	t = ask_edns(2, "a.com", DNS_A, 512, DNS_TCP);
	assert_int_equal(t->length, 1623 + 11);
	assert_int_equal(t->message[7], 100);
	assert_int_equal(peers[0].tcp_asked, 1);
	assert_int_equal(counts().names, 100);
	assert_int_equal(peers[1].udp_asked, 0);
}

/** sized() - As many addresses as the name says. */
static void sized(struct asking *asking)
{
	static struct build m;

	peer_start_answer(asking, &m, DNS_NOERROR);
	for (unsigned long i = strtoul(asking->name + 1, NULL, 10); i > 0; i--)
		build_record(&m, 1, &(struct rr){ asking->name, DNS_A, 300, "9.9.9.1" });
	peer_send(asking, m.b, m.n);
}

/* What the guest can take is filled to the last byte, not beyond. */
static void test_sizes(void **state)
{
	(void)state;
	peers[0].answer = sized;
	begin(1, NULL, NULL);
	/* 12 + 5 + 4 + 30 * 16 = 501; with one more 517. */
	forget();
	ask(0, "n30", DNS_A);
	ask(1, "n31", DNS_A);
	wait_until(2);
	assert_int_equal(told[0].length, 501);
	assert_string_equal(text_of(&told[1]), "0 TC");
	/* EDNS: 517 + 11. */
	assert_string_equal(text_of(ask_edns(2, "n31", DNS_A, 527, DNS_UDP)), "0 TC 3: 41 0 [0]");
	assert_int_equal(ask_edns(3, "n31", DNS_A, 528, DNS_UDP)->length, 528);
	/* Fewer than 512 is 512. */
	assert_int_equal(ask_edns(4, "n30", DNS_A, 0, DNS_UDP)->length, 512);
	/* 12 + 5 + 4 + 88 * 16 + 11 = 1,440 */
	ask_edns(5, "n88", DNS_A, 65535, DNS_UDP);
	ask_edns(6, "n89", DNS_A, 65535, DNS_UDP);
	wait_until(7);
	assert_int_equal(told[5].length, 1440);
	assert_int_equal(told[6].length, 12 + 5 + 4 + 11);
}

static void in_pieces(struct asking *asking)
{
	static struct build m;
	uint8_t prefix[2];

	peer_start_answer(asking, &m, DNS_NOERROR);
	build_record(&m, 1, one_address);
	prefix[0] = (uint8_t)(m.n >> 8);
	prefix[1] = (uint8_t)m.n;
	(void)!write(asking->fd, prefix, 1);
	(void)!write(asking->fd, prefix + 1, 1);
	for (size_t i = 0; i < m.n; i++)
		(void)!write(asking->fd, m.b + i, 1);
}

static void hangs_up(struct asking *asking)
{
	if (asking->tcp)
		shutdown(asking->fd, SHUT_RDWR);
	else
		big(asking);
}

static void half(struct asking *asking)
{
	(void)!write(asking->fd, "\1\0half", 6);
	shutdown(asking->fd, SHUT_RDWR);
}

static void empty(struct asking *asking)
{
	(void)!write(asking->fd, "\0\0", 2);
}

static void test_tcp(void **state)
{
	static const peer_fn bad[] = { hangs_up, half, empty, peer_silent };
	struct told *t;

	(void)state;
	peers[0].answer = in_pieces;
	begin(1, NULL, NULL);
	t = ask_edns(0, "@", DNS_A, 512, DNS_TCP);
	wait_until(1);
	assert_string_equal(text_of(t), "0 1:@ 1 300 9.9.9.1 3: 41 0 [0]");
	assert_int_equal(peers[0].udp_asked, 0);
	assert_int_equal(peers[0].tcp_asked, 1);
	dns_free(dns);
	/* TCP that fails in any way leads to the next. */
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		forget();
		peers[0].answer = bad[i];
		begin(2, NULL, NULL);
		t = ask_edns(0, "a.com", DNS_A, 512, DNS_TCP);
		wait_until(1);
		assert_string_equal(text_of(t), "0 1:a.com 1 300 9.9.9.1 3: 41 0 [0]");
		assert_int_equal(peers[1].tcp_asked, i + 1);
		assert_int_equal(counts().failovers, 1);
		dns_free(dns);
	}
	/* By UDP cut, by TCP refused. */
	peers[0].answer = hangs_up;
	begin(2, NULL, NULL);
	assert_string_equal(answer_to("a.com", DNS_A), "0 1:a.com 1 300 9.9.9.1");
}

static void no_edns(struct asking *asking)
{
	static struct build m;

	if (!asking->edns) {
		peer_records(asking);
		return;
	}
	build_start(&m, asking->id, DNS_FLAG_QR | DNS_FORMERR, asking->name[0] == 'h' ? NULL : asking->name, asking->type);
	peer_send(asking, m.b, m.n);
}

static void test_old_resolver(void **state)
{
	(void)state;
	peers[0].answer = no_edns;
	begin(1, NULL, NULL);
	assert_string_equal(answer_to("a.com", DNS_A), "0 1:a.com 1 300 9.9.9.1");
	assert_string_equal(answer_to("header.com", DNS_A), "0 1:header.com 1 300 9.9.9.1");
	assert_int_equal(peers[0].udp_asked, 4);
}

static void test_merge(void **state)
{
	(void)state;
	begin(1, NULL, NULL);
	for (unsigned int i = 0; i < 100; i++)
		ask(i, i % 2 ? "A.com" : "a.com", DNS_A);
	assert_int_equal(counts().queries, 1);
	assert_int_equal(counts().waiters, 100);
	wait_until(100);
	for (unsigned int i = 0; i < 100; i++) {
		assert_string_equal(text_of(&told[i]), "0 1:a.com 1 300 9.9.9.1");
		assert_int_equal(told[i].message[DNS_HEADER_SIZE + 1], i % 2 ? 'A' : 'a');
	}
	assert_int_equal(peers[0].udp_asked, 1);
	assert_int_equal(counts().waiters, 0);
	assert_int_equal(counts().queries, 0);
}

static void test_cancel(void **state)
{
	uint64_t token;

	(void)state;
	begin(1, NULL, NULL);
	/* The only one: the query ends, and its socket with it. */
	token = ask(0, "a.com", DNS_A)->token;
	dns_cancel(dns, token);
	assert_int_equal(counts().queries, 0);
	assert_int_equal(counts().waiters, 0);
	/* One of two, then tokens that are none any more. */
	ask(1, "b.com", DNS_A);
	ask(2, "b.com", DNS_A);
	dns_cancel(dns, told[1].token);
	dns_cancel(dns, told[1].token);
	dns_cancel(dns, token);
	dns_cancel(dns, 0);
	dns_cancel(dns, UINT64_MAX);
	wait_until(1);
	assert_string_equal(text_of(&told[2]), "0 1:b.com 1 300 9.9.9.1");
	dns_cancel(dns, told[2].token);
	assert_false(told[0].done || told[1].done);
	/* From inside an answer: the next one of the same query, and the answered one itself. */
	ask(3, "c.com", DNS_A);
	ask(4, "c.com", DNS_A);
	ask(5, "c.com", DNS_A);
	told[3].cancels = told[4].token;
	told[5].cancels = told[5].token;
	wait_until(3);
	assert_true(told[3].done && !told[4].done && told[5].done);
	/* By TCP, in each of its phases. */
	peers[0].answer = peer_silent;
	token = ask_edns(6, "d.com", DNS_A, 512, DNS_TCP)->token;
	dns_cancel(dns, token);
	token = ask_edns(7, "d.com", DNS_A, 512, DNS_TCP)->token;
	pass(50 * NSEC_PER_MSEC);
	dns_cancel(dns, token);
	assert_int_equal(counts().queries, 0);
	/* A waiter that is used again has another token. */
	peers[0].answer = peer_records;
	for (unsigned int i = 0; i < DNS_WAITERS_MAX; i++) {
		token = ask(10, "e.com", DNS_A)->token;
		dns_cancel(dns, token);
	}
	ask(11, "e.com", DNS_A);
	dns_cancel(dns, token);
	wait_until(4);
	assert_true(told[11].done);
}

/** asks_again() - The guest's flow, which has the next question ready. */
static void asks_again(void *arg, const uint8_t *message, size_t length)
{
	static const char *const names[] = { DNS_HOST_NAME, "a.com", "b.com", "c.com" };
	static struct build m;
	unsigned int *turn = arg;

	assert_true(length > 0 && message[3] & DNS_FLAG_RA);
	if (*turn == ARRAY_LEN(names)) {
		loop_stop(loop, 0);
		return;
	}
	build_start(&m, 1, DNS_FLAG_RD, names[(*turn)++], DNS_A);
	dns_ask(dns, m.b, m.n, NULL, DNS_UDP, asks_again, arg);
}

static void test_ask_inside(void **state)
{
	unsigned int turns[3] = { 0 };
	static struct build m;

	(void)state;
	begin(1, NULL, NULL);
	build_start(&m, 1, DNS_FLAG_RD, "a.com", DNS_A);
	for (unsigned int i = 0; i < ARRAY_LEN(turns); i++)
		dns_ask(dns, m.b, m.n, NULL, DNS_UDP, asks_again, &turns[i]);
	while (turns[0] + turns[1] + turns[2] < 12 || counts().queries)
		loop_run(loop, NULL);
	assert_int_equal(peers[0].udp_asked, 3);
}

static void test_limits(void **state)
{
	char name[16];

	(void)state;
	peers[0].answer = peer_silent;
	begin(1, &(struct dns_config){ .timeout_ms = 20000, .v4 = true }, NULL);
	for (unsigned int i = 0; i < DNS_QUERIES_MAX; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		assert_int_not_equal(ask(i, name, DNS_A)->token, 0);
	}
	assert_int_equal(ask(1100, "more.com", DNS_A)->token, 0);
	assert_string_equal(text_of(&told[1100]), "2");
	/* Those that wait for the same need no socket. */
	for (unsigned int i = DNS_QUERIES_MAX; i < DNS_WAITERS_MAX; i++)
		assert_int_not_equal(ask(i, "n0", DNS_A)->token, 0);
	assert_int_equal(ask(1101, "n0", DNS_A)->token, 0);
	assert_int_equal(counts().queries, DNS_QUERIES_MAX);
	assert_int_equal(counts().waiters, DNS_WAITERS_MAX);
	assert_int_equal(counts().overloads, 2);
	for (unsigned int i = 0; i < DNS_WAITERS_MAX; i++)
		dns_cancel(dns, told[i].token);
	assert_int_equal(counts().queries, 0);
	assert_int_equal(counts().waiters, 0);
	/* By TCP. */
	forget();
	for (unsigned int i = 0; i < DNS_TCP_MAX; i++) {
		snprintf(name, sizeof(name), "t%u", i);
		assert_int_not_equal(ask_edns(i, name, DNS_A, 512, DNS_TCP)->token, 0);
	}
	assert_int_equal(ask_edns(200, "t", DNS_A, 512, DNS_TCP)->token, 0);
	assert_int_not_equal(ask(201, "u", DNS_A)->token, 0);
	for (unsigned int i = 0; i < DNS_TCP_MAX; i++)
		dns_cancel(dns, told[i].token);
	assert_int_not_equal(ask_edns(202, "t", DNS_A, 512, DNS_TCP)->token, 0);
	/* What waits is let go without a word. */
	dns_free(dns);
	dns = NULL;
	assert_int_equal(told_count, 1);
}

/* 20,032 different names, 64 at a time: in less time than 1,000 a second have, and memory stays where the limits say. */
static void test_many(void **state)
{
	enum { BATCH = 64, NAMES = 313 * BATCH };
	int64_t before = clock_ns(CLOCK_PROCESS_CPUTIME_ID), took;
	size_t heap = 0;
	char name[80];

	(void)state;
	begin(1, &(struct dns_config){ .timeout_ms = 20000, .v4 = true }, NULL);
	for (unsigned int at = 0; at < NAMES; at += BATCH) {
		struct dns_counts c;

		forget();
		for (unsigned int i = 0; i < BATCH; i++) {
			snprintf(name, sizeof(name), "%u.a-name-that-is-as-long-as-many-are.example.com", at + i);
			ask(i, name, DNS_A);
		}
		wait_until(BATCH);
		c = counts();
		assert_true(c.cache_entries <= DNS_CACHE_ENTRIES_MAX && c.cache_bytes <= DNS_CACHE_BYTES_MAX);
		assert_true(c.names <= DNS_NAMES_MAX && c.names_bytes <= DNS_NAMES_BYTES_MAX);
		forget();
		if (at == NAMES / BATCH / 2 * BATCH)
			heap = mallinfo2().uordblks;
	}
	took = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - before;
	print_message("# %d questions in %lld ms of CPU, %zu KiB allocated\n", NAMES, (long long)(took / NSEC_PER_MSEC),
		      mallinfo2().uordblks / 1024);
	assert_true(took < NAMES / 1000 * NSEC_PER_SEC);
	assert_int_equal(peers[0].udp_asked, NAMES);
	/* Half way it was full. */
	assert_true(mallinfo2().uordblks <= heap + heap / 50);
	assert_true(heap < 6 << 20);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
	const struct CMUnitTest tests[] = {
		TEST(test_failover),
		TEST(test_all_silent),
		TEST(test_poison),
		TEST(test_guesses),
		TEST(test_random),
		TEST(test_truncation),
		TEST(test_sizes),
		TEST(test_tcp),
		TEST(test_old_resolver),
		TEST(test_merge),
		TEST(test_cancel),
		TEST(test_ask_inside),
		TEST(test_limits),
		TEST(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
