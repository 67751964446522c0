/* SPDX-License-Identifier: Apache-2.0 */
/* What the guest is told by the gateway's resolver: src/net/dns/dns.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "dns_world.h"

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

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
	const struct CMUnitTest tests[] = {
		TEST(test_answer),
		TEST(test_ipv6),
		TEST(test_ttl),
		TEST(test_negative),
		TEST(test_rebinding),
		TEST(test_policy),
		TEST(test_other_resolver),
		TEST(test_blocking),
		TEST(test_host_name),
		TEST(test_bad_questions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
