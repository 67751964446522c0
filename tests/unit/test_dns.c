/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway's resolver against resolvers on loopback: src/net/dns/dns.c, forward.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <malloc.h>

#include "base/clock.h"
#include "base/macros.h"
#include "dns_peers.h"
#include "net/dns/dns.h"

#define FAIL_AFTER_NS (30 * NSEC_PER_SEC)
#define ANSWERS_MAX 1200

/** What the guest was told. */
struct told {
	bool done;
	size_t length;
	uint8_t *message;
	uint64_t token;
	uint64_t cancels; /* this token when told */
};

static struct loop *loop;
static struct dns *dns;
static struct peer peers[3];
static struct told told[ANSWERS_MAX];
static unsigned int told_count, wait_for;
static int watchdog, alarm_clock;

static const struct rr one_address[] = { { "@", DNS_A, 300, "9.9.9.1" } };

static void on_watchdog(void *arg, uint32_t events)
{
	(void)arg;
	(void)events;
	fail_msg("nothing happens");
}

static void on_alarm(void *arg, uint32_t events)
{
	(void)arg;
	(void)events;
	loop_stop(loop, 0);
}

static int start(void **state)
{
	(void)state;
	loop = loop_new(NULL);
	watchdog = loop_timer(loop, on_watchdog, NULL, NULL);
	alarm_clock = loop_timer(loop, on_alarm, NULL, NULL);
	loop_timer_set(loop, watchdog, FAIL_AFTER_NS);
	for (unsigned int i = 0; i < ARRAY_LEN(peers); i++) {
		peer_start(&peers[i], loop, AF_INET, peer_records);
		peers[i].records = one_address;
		peers[i].record_count = 1;
	}
	return 0;
}

static void forget(void)
{
	for (unsigned int i = 0; i < ANSWERS_MAX; i++)
		free(told[i].message);
	memset(told, 0, sizeof(told));
	told_count = 0;
}

static int stop(void **state)
{
	(void)state;
	dns_free(dns);
	dns = NULL;
	for (unsigned int i = 0; i < ARRAY_LEN(peers); i++)
		peer_stop(&peers[i]);
	loop_free(loop);
	forget();
	return 0;
}

/** begin() - The resolver, with the first @upstreams peers. @config: NULL for the usual */
static void begin(unsigned int upstreams, const struct dns_config *config, const struct dns_ops *ops)
{
	struct dns_config c = { .timeout_ms = 400, .rebind_protection = true, .v4 = true, .v6 = true };
	struct endpoint at[ARRAY_LEN(peers)];
	struct error err = ERROR_INIT;

	if (config)
		c = *config;
	for (unsigned int i = 0; i < upstreams; i++)
		at[i] = peers[i].at;
	c.upstreams = at;
	c.upstream_count = upstreams;
	if (!c.timeout_ms)
		c.timeout_ms = 400;
	dns = dns_new(loop, &c, ops, NULL, &err);
	assert_non_null(dns);
}

static void on_answer(void *arg, const uint8_t *message, size_t length)
{
	struct told *t = arg;

	assert_false(t->done);
	t->done = true;
	t->length = length;
	t->message = malloc(length + 1);
	if (length)
		memcpy(t->message, message, length);
	told_count++;
	if (t->cancels)
		dns_cancel(dns, t->cancels);
	if (told_count == wait_for)
		loop_stop(loop, 0);
}

/** ask_message() - As the guest. */
static struct told *ask_message(unsigned int slot, const struct build *m, enum dns_via via, const struct endpoint *to)
{
	struct told *t = &told[slot];

	t->token = dns_ask(dns, m->b, m->n, to, via, on_answer, t);
	/* A token is given just when the answer is still to come. */
	assert_int_equal(t->token == 0, t->done);
	return t;
}

static struct told *ask(unsigned int slot, const char *name, uint16_t type)
{
	static struct build m;

	build_start(&m, (uint16_t)(slot + 1), DNS_FLAG_RD, name, type);
	return ask_message(slot, &m, DNS_UDP, NULL);
}

static struct told *ask_edns(unsigned int slot, const char *name, uint16_t type, uint16_t size, enum dns_via via)
{
	static struct build m;

	build_start(&m, (uint16_t)(slot + 1), DNS_FLAG_RD, name, type);
	build_record(&m, 3, &(struct rr){ "", DNS_OPT, 0, "", 0, size });
	return ask_message(slot, &m, via, NULL);
}

/** wait_until() - So many answers in all. */
static void wait_until(unsigned int count)
{
	wait_for = count;
	while (told_count < count)
		assert_int_equal(loop_run(loop, NULL), 0);
	wait_for = 0;
}

/** pass() - Let this time go by. */
static void pass(int64_t ns)
{
	loop_timer_set(loop, alarm_clock, ns);
	loop_run(loop, NULL);
}

static const char *text_of(const struct told *t)
{
	assert_true(t->done);
	assert_int_equal(t->message[0] << 8 | t->message[1], t - told + 1);
	return show(t->message, t->length);
}

/** answer_to() - Ask and wait, in slot 0. Return: show() of the answer. */
static const char *answer_to(const char *name, uint16_t type)
{
	struct told *t = ask((forget(), 0), name, type);

	wait_until(1);
	return text_of(t);
}

static struct dns_counts counts(void)
{
	struct dns_counts c;

	dns_counts(dns, &c);
	return c;
}

static bool named(const char *ip, const char *name, enum dns_match match, enum dns_trust trust)
{
	struct ip at;

	assert_true(ip_parse(ip, &at));
	return dns_named(dns, &at, name, match, trust);
}

static void test_answer(void **state)
{
	struct told *t;

	(void)state;
	begin(1, NULL, NULL);
	t = ask(0, "Www.A.com", DNS_A);
	assert_int_not_equal(t->token, 0);
	wait_until(1);
	assert_string_equal(text_of(t), "0 1:www.a.com 1 300 9.9.9.1");
	/* As the guest wrote it; recursion is available. */
	assert_memory_equal(t->message + DNS_HEADER_SIZE, "\3Www\1A\3com", 11);
	assert_int_equal(t->message[2], 0x81);
	assert_int_equal(t->message[3], 0x80);
	assert_int_equal(peers[0].udp_asked, 1);
	/* Once more: nobody is asked. */
	assert_string_equal(text_of(ask(1, "wwW.a.com", DNS_A)), "0 1:www.a.com 1 300 9.9.9.1");
	assert_int_equal(told[1].token, 0);
	assert_int_equal(counts().asked, 1);
	assert_int_equal(counts().cached, 1);
	assert_true(named("9.9.9.1", "www.a.com", DNS_EXACT, DNS_CONFIGURED_ONLY));
	assert_true(named("9.9.9.1", "WWW.A.com.", DNS_EXACT, DNS_ANY_RESOLVER));
	assert_true(named("9.9.9.1", "a.com", DNS_SUFFIX, DNS_ANY_RESOLVER));
	assert_false(named("9.9.9.1", "a.com", DNS_EXACT, DNS_ANY_RESOLVER));
	assert_false(named("9.9.9.1", "w.a.com", DNS_SUFFIX, DNS_ANY_RESOLVER));
	assert_false(named("9.9.9.2", "www.a.com", DNS_EXACT, DNS_ANY_RESOLVER));
	assert_false(named("9.9.9.1", "a..com", DNS_SUFFIX, DNS_ANY_RESOLVER));
}

static void test_ipv6(void **state)
{
	static const struct rr rr[] = { { "@", DNS_AAAA, 300, "2606:4700::1" } };

	(void)state;
	peer_stop(&peers[0]);
	peer_start(&peers[0], loop, AF_INET6, peer_records);
	peers[0].records = rr;
	peers[0].record_count = 1;
	begin(1, NULL, NULL);
	assert_string_equal(answer_to("a.com", DNS_AAAA), "0 1:a.com 28 300 2606:4700::1");
	assert_true(named("2606:4700::1", "a.com", DNS_EXACT, DNS_CONFIGURED_ONLY));
}

/* TTLs count down in the cache, and an answer ends with its smallest. */
static void test_ttl(void **state)
{
	static const struct rr rr[] = { { "@", DNS_CNAME, 2, "b.com" }, { "b.com", DNS_A, 50, "9.9.9.1" } };
	char want[100], or[100];
	const char *got;

	(void)state;
	peers[0].records = rr;
	peers[0].record_count = 2;
	begin(1, NULL, NULL);
	assert_string_equal(answer_to("a.com", DNS_A), "0 1:a.com 5 2 b.com 1:b.com 1 50 9.9.9.1");
	pass(NSEC_PER_SEC);
	got = answer_to("a.com", DNS_A);
	snprintf(want, sizeof(want), "0 1:a.com 5 %d b.com 1:b.com 1 %d 9.9.9.1", 1, 49);
	/* Or two seconds began meanwhile. */
	snprintf(or, sizeof(or), "0 1:a.com 5 %d b.com 1:b.com 1 %d 9.9.9.1", 2, 50);
	assert_true(strcmp(got, want) == 0 || (strcmp(got, or) == 0 && peers[0].udp_asked == 2));
	assert_true(named("9.9.9.1", "a.com", DNS_EXACT, DNS_CONFIGURED_ONLY));
	/* The name of the chain's end was not asked. */
	assert_false(named("9.9.9.1", "b.com", DNS_EXACT, DNS_ANY_RESOLVER));
	pass(2 * NSEC_PER_SEC + NSEC_PER_SEC / 10);
	assert_false(named("9.9.9.1", "a.com", DNS_EXACT, DNS_ANY_RESOLVER));
	peers[0].udp_asked = 0;
	assert_string_equal(answer_to("a.com", DNS_A), "0 1:a.com 5 2 b.com 1:b.com 1 50 9.9.9.1");
	assert_int_equal(peers[0].udp_asked, 1);
}

static void negative(struct asking *asking)
{
	static struct build m;

	peer_start_answer(asking, &m, strcmp(asking->name, "not.a.com") == 0 ? DNS_NXDOMAIN : DNS_NOERROR);
	if (strcmp(asking->name, "bare.a.com") != 0)
		build_record(&m, 2, &(struct rr){ "a.com", DNS_SOA, 300, "60" });
	peer_send(asking, m.b, m.n);
}

static void test_negative(void **state)
{
	(void)state;
	peers[0].answer = negative;
	begin(1, NULL, NULL);
	assert_string_equal(answer_to("not.a.com", DNS_A), "3 2:a.com 6 60 [30]");
	answer_to("not.a.com", DNS_A);
	assert_int_equal(told[0].message[3] & DNS_FLAG_RCODE, DNS_NXDOMAIN);
	assert_int_equal(peers[0].udp_asked, 1);
	answer_to("empty.a.com", DNS_A);
	answer_to("empty.a.com", DNS_A);
	assert_int_equal(peers[0].udp_asked, 2);
	assert_string_equal(answer_to("bare.a.com", DNS_A), "0");
	assert_string_equal(answer_to("bare.a.com", DNS_A), "0");
	assert_int_equal(peers[0].udp_asked, 4);
}

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

static bool address_allowed(void *arg, const struct ip *ip)
{
	struct ip ten;

	(void)arg;
	ip_parse("10.0.0.1", &ten);
	return ip_equal(ip, &ten);
}

static void test_rebinding(void **state)
{
	static const struct dns_ops ops = { .address_allowed = address_allowed };
	static const struct {
		const char *name;
		struct rr rr[2];
		size_t count;
	} rows[] = {
		{ "a.com", { { "@", DNS_A, 300, "10.0.0.1" } }, 1 },
		{ "b.com", { { "@", DNS_A, 300, "9.9.9.1" }, { "@", DNS_A, 300, "192.168.1.1" } }, 2 },
		{ "c.com", { { "@", DNS_CNAME, 300, "in.org" }, { "in.org", DNS_A, 300, "127.0.0.1" } }, 2 },
		{ "d.com", { { "@", DNS_AAAA, 300, "::ffff:10.0.0.1" } }, 1 },
		{ "e.com", { { "@", DNS_AAAA, 300, "fd00:ec2::254" } }, 1 },
		{ "f.com", { { "@", DNS_HTTPS, 300, "\0\1\0\0\4\0\4\x0a\0\0\2", 11 } }, 1 },
		{ "g.com", { { "@", DNS_AAAA, 300, "64:ff9b::a00:1" } }, 1 },
	};

	(void)state;
	for (unsigned int turn = 0; turn < 3; turn++) {
		begin(1, &(struct dns_config){ .rebind_protection = turn < 2, .v4 = true, .v6 = true }, turn == 1 ? &ops : NULL);
		for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
			/* 10.0.0.1 itself, mapped or not; not what carries it in another way. */
			bool refused = turn == 0 || (turn == 1 && i != 0 && i != 3);

			peers[0].records = rows[i].rr;
			peers[0].record_count = rows[i].count;
			for (unsigned int again = 0; again < 2; again++)
				assert_int_equal(strcmp(answer_to(rows[i].name, rows[i].rr[rows[i].count - 1].type), "3") == 0,
						 refused);
			if (refused)
				assert_false(named("10.0.0.1", rows[i].name, DNS_EXACT, DNS_ANY_RESOLVER));
		}
		assert_int_equal(counts().rebinds, turn == 0 ? 14 : turn == 1 ? 10 : 0);
		/* Refused answers need not be asked for again either. */
		assert_int_equal(counts().asked, ARRAY_LEN(rows));
		dns_free(dns);
	}
	dns = NULL;
}

static char asked_names[1024];

static bool question_allowed(void *arg, const char *name, uint16_t type, enum dns_via via,
			     const struct endpoint *resolver)
{
	size_t n = strlen(asked_names);

	(void)arg;
	snprintf(asked_names + n, sizeof(asked_names) - n, "%s/%u/%d%s ", name, type, via, resolver ? "!" : "");
	return strcmp(name, "no.com") != 0;
}

static bool resolver_allowed(void *arg, const struct endpoint *resolver, enum dns_via via)
{
	(void)arg;
	(void)via;
	return endpoint_equal(resolver, &peers[2].at);
}

static const struct dns_ops policy = { .question_allowed = question_allowed, .resolver_allowed = resolver_allowed };

static void test_policy(void **state)
{
	static const char *const domains[] = { "ads.a.com" };

	(void)state;
	asked_names[0] = '\0';
	begin(1, &(struct dns_config){ .block_domains = domains, .block_domain_count = 1, .v4 = true }, &policy);
	assert_string_equal(answer_to("No.com", DNS_A), "3");
	assert_string_equal(answer_to("ads.a.com", DNS_A), "3");
	assert_int_equal(peers[0].udp_asked, 0);
	assert_string_equal(answer_to("yes.com", DNS_A), "0 1:yes.com 1 300 9.9.9.1");
	/* The same when it is known. */
	assert_string_equal(answer_to("yes.com", DNS_A), "0 1:yes.com 1 300 9.9.9.1");
	assert_string_equal(asked_names, "no.com/1/0 yes.com/1/0 yes.com/1/0 ");
}

static void test_other_resolver(void **state)
{
	static const struct rr other[] = { { "@", DNS_A, 300, "9.9.9.2" } };
	static struct build m;

	(void)state;
	peers[2].records = other;
	asked_names[0] = '\0';
	begin(1, NULL, &policy);
	build_start(&m, 1, DNS_FLAG_RD, "a.com", DNS_A);
	ask_message(0, &m, DNS_UDP, &peers[1].at);
	assert_string_equal(text_of(&told[0]), "3");
	build_start(&m, 2, DNS_FLAG_RD, "a.com", DNS_A);
	ask_message(1, &m, DNS_UDP, &peers[2].at);
	wait_until(2);
	assert_string_equal(text_of(&told[1]), "0 1:a.com 1 300 9.9.9.2");
	assert_int_equal(peers[0].udp_asked + peers[1].udp_asked, 0);
	assert_string_equal(asked_names, "a.com/1/0! a.com/1/0! ");
	/* What it says is no word of ours. */
	assert_true(named("9.9.9.2", "a.com", DNS_EXACT, DNS_ANY_RESOLVER));
	assert_false(named("9.9.9.2", "a.com", DNS_EXACT, DNS_CONFIGURED_ONLY));
	ask(2, "a.com", DNS_A);
	wait_until(3);
	assert_string_equal(text_of(&told[2]), "0 1:a.com 1 300 9.9.9.1");
	/* A silent one: its own time-out, no other is asked. */
	peers[2].answer = peer_silent;
	build_start(&m, 4, DNS_FLAG_RD, "b.com", DNS_A);
	ask_message(3, &m, DNS_UDP, &peers[2].at);
	wait_until(4);
	assert_string_equal(text_of(&told[3]), "2");
	assert_int_equal(peers[0].udp_asked, 1);
	/* No port, no resolver. */
	build_start(&m, 5, DNS_FLAG_RD, "b.com", DNS_A);
	ask_message(4, &m, DNS_UDP, &(struct endpoint){ peers[2].at.ip, 0 });
	assert_string_equal(text_of(&told[4]), "3");
}

static void test_blocking(void **state)
{
	static const char *const domains[] = { "Ads.Example.com." }, *const suffixes[] = { ".evil.org" };
	static const struct {
		const char *name;
		bool blocked;
	} rows[] = {
		{ "ads.example.com", true },	{ "ADS.example.COM", true }, { "x.ads.example.com", false },
		{ "example.com", false },	{ "evil.org", true },	     { "a.b.evil.org", true },
		{ "notevil.org", false },	{ "evil.org.com", false },
	};
	static const char *const bad[] = { "a..b" };
	struct dns_config c = { .block_domains = domains, .block_domain_count = 1, .block_suffixes = suffixes,
				.block_suffix_count = 1, .v4 = true };
	struct error err = ERROR_INIT;

	(void)state;
	begin(1, &c, NULL);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(strcmp(answer_to(rows[i].name, DNS_A), "3") == 0, rows[i].blocked);
		assert_int_equal(dns_blocked(dns, rows[i].name), rows[i].blocked);
	}
	assert_false(dns_blocked(dns, "a..b"));
	c.block_suffixes = bad;
	assert_null(dns_new(loop, &c, NULL, NULL, &err));
	assert_int_equal(err.code, ERR_INVALID);
	err_clear(&err);
	c.block_suffix_count = 0;
	c.upstream_count = DNS_UPSTREAMS_MAX + 1;
	assert_null(dns_new(loop, &c, NULL, NULL, &err));
	assert_int_equal(err.code, ERR_LIMIT);
}

static void test_host_name(void **state)
{
	struct dns_config c = { .v4 = true, .rebind_protection = true };

	(void)state;
	ip_parse("172.16.0.1", &c.gateway4);
	ip_parse("fd42:6d73:62::1", &c.gateway6);
	begin(1, &c, NULL);
	assert_string_equal(answer_to("Host.microsandbox.internal", DNS_A),
			    "0 1:host.microsandbox.internal 1 60 172.16.0.1");
	assert_string_equal(answer_to(DNS_HOST_NAME, DNS_AAAA), "0");
	assert_string_equal(answer_to(DNS_HOST_NAME, DNS_TXT), "0");
	assert_true(named("172.16.0.1", DNS_HOST_NAME, DNS_EXACT, DNS_CONFIGURED_ONLY));
	dns_free(dns);
	c.v4 = false;
	c.v6 = true;
	begin(1, &c, NULL);
	assert_string_equal(answer_to(DNS_HOST_NAME, DNS_A), "0");
	assert_string_equal(answer_to(DNS_HOST_NAME, DNS_AAAA), "0 1:host.microsandbox.internal 28 60 fd42:6d73:62::1");
	/* A family that the guest cannot use has no addresses, and nobody is asked. */
	assert_string_equal(answer_to("a.com", DNS_A), "0");
	assert_int_equal(peers[0].udp_asked, 0);
}

static void test_bad_questions(void **state)
{
	static struct build m;
	struct told *t;

	(void)state;
	begin(1, NULL, NULL);
	for (size_t n = 0; n < DNS_HEADER_SIZE; n++) {
		m.n = n;
		t = ask_message((unsigned int)n, &m, DNS_UDP, NULL);
		assert_int_equal(t->length, 0);
	}
	build_start(&m, 13, DNS_FLAG_QR, "a.com", DNS_A);
	assert_int_equal(ask_message(12, &m, DNS_UDP, NULL)->length, 0);
	build_start(&m, 14, DNS_FLAG_RD, NULL, 0);
	assert_string_equal(text_of(ask_message(13, &m, DNS_UDP, NULL)), "1");
	build_start(&m, 15, DNS_FLAG_RD, "a.com", DNS_A);
	build_name(&m, "b.com");
	build_number(&m, DNS_A << 16 | DNS_CLASS_IN, 4);
	m.b[5] = 2;
	assert_string_equal(text_of(ask_message(14, &m, DNS_UDP, NULL)), "1");
	build_start(&m, 16, 4 << 11, "a.com", DNS_A);
	t = ask_message(15, &m, DNS_UDP, NULL);
	assert_string_equal(text_of(t), "4");
	assert_int_equal(t->message[2], 0x80 | 4 << 3);
	build_start(&m, 17, 0, "a.com", 252);
	assert_string_equal(text_of(ask_message(16, &m, DNS_TCP, NULL)), "4");
	/* A version of EDNS that is not there yet: BADVERS is 16, 1 in OPT and 0 in the header. */
	build_start(&m, 18, 0, "a.com", DNS_A);
	build_record(&m, 3, &(struct rr){ "", DNS_OPT, 1 << 16, "", 0, 1232 });
	t = ask_message(17, &m, DNS_UDP, NULL);
	assert_string_equal(text_of(t), "0 3: 41 0 [0]");
	assert_int_equal(t->message[t->length - 6], 1);
	assert_int_equal(peers[0].udp_asked, 0);
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
		TEST(test_answer),	TEST(test_ipv6),     TEST(test_ttl),	 TEST(test_negative),
		TEST(test_failover),	TEST(test_all_silent), TEST(test_poison), TEST(test_guesses),
		TEST(test_random),	TEST(test_truncation), TEST(test_sizes), TEST(test_tcp),
		TEST(test_old_resolver), TEST(test_rebinding), TEST(test_policy), TEST(test_other_resolver),
		TEST(test_blocking),	TEST(test_host_name), TEST(test_bad_questions), TEST(test_merge),
		TEST(test_cancel),	TEST(test_ask_inside), TEST(test_limits), TEST(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
