/* SPDX-License-Identifier: Apache-2.0 */
/* Names, messages, questions, answers and lists of the gateway's resolver, without sockets: src/net/dns/ */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/macros.h"
#include "dns_build.h"
#include "net/dns/answer.h"
#include "net/dns/block.h"
#include "net/dns/dns.h"

#define FLAGS_OK (DNS_FLAG_QR | DNS_FLAG_RD | DNS_FLAG_RA)

static struct build m;
static uint8_t to[65536];
static bool dnssec; /* is asked for */

static struct dns_name name_of(const char *text)
{
	struct dns_name name;

	assert_true(dns_name_from_text(&name, text));
	return name;
}

static void test_name_text(void **state)
{
	static const struct {
		const char *text, *back;
		unsigned int length;
	} rows[] = {
		{ "", "", 1 },
		{ ".", "", 1 },
		{ "com", "com", 5 },
		{ "Example.COM.", "example.com", 13 },
		{ "_x._tcp.a-b.c", "_x._tcp.a-b.c", 15 },
		{ "a\\.b.c", "a\\.b.c", 7 },
		{ "a\\046b", "a\\.b", 5 },
		{ "\\000\\255\\\\", "\\000\\255\\\\", 5 },
		{ "a b", "a\\032b", 5 },
		{ "\xc3\xa4.de", "\\195\\164.de", 7 },
		{ "A\\065", "aa", 4 },
	};
	static const char *const bad[] = { "..", ".a", "a..b", "a..", "\\", "\\1", "\\12", "\\256", "\\1x2", "a\\" };
	char text[DNS_NAME_TEXT_MAX], longest[300];
	struct dns_name name;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		name = name_of(rows[i].text);
		assert_int_equal(name.length, rows[i].length);
		dns_name_to_text(&name, text);
		assert_string_equal(text, rows[i].back);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(dns_name_from_text(&name, bad[i]));

	/* 63 bytes in a label, 255 in all: 3 labels of 63 and one of 61. */
	memset(longest, 'x', sizeof(longest));
	longest[63] = longest[127] = longest[191] = '.';
	longest[253] = '\0';
	assert_int_equal(name_of(longest).length, 255);
	longest[253] = '.';
	longest[254] = '\0';
	assert_int_equal(name_of(longest).length, 255);
	longest[253] = 'x';
	assert_false(dns_name_from_text(&name, longest));
	memset(longest, 'x', 64);
	longest[64] = '\0';
	assert_false(dns_name_from_text(&name, longest));
	longest[63] = '\0';
	assert_true(dns_name_from_text(&name, longest));

	/* The text of any name fits. */
	name.length = 255;
	for (unsigned int i = 0; i < 255; i++)
		name.b[i] = i % 64 == 0 ? (uint8_t)MIN(63U, 253U - i) : 1;
	name.b[254] = 0;
	dns_name_to_text(&name, text);
	assert_in_range(strlen(text), 1000, DNS_NAME_TEXT_MAX - 1);
}

static void test_name_within(void **state)
{
	static const struct {
		const char *name, *suffix;
		bool within;
	} rows[] = {
		{ "example.com", "example.com", true },	   { "a.b.Example.com", "eXample.com", true },
		{ "badexample.com", "example.com", false }, { "com", "example.com", false },
		{ "example.com", "", true },		   { "example.com.org", "example.com", false },
		{ "a\\.example.com", "example.com", false },
		/* A label's bytes that look like a length and labels. */
		{ "x\\007example\\003com", "example.com", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct dns_name name = name_of(rows[i].name), suffix = name_of(rows[i].suffix);

		assert_int_equal(dns_name_within(&name, &suffix), rows[i].within);
	}
}

/** read_at() - The name at an offset of a message of these bytes behind a header. Return: its text, or NULL. */
static const char *read_at(const char *bytes, size_t n, size_t at)
{
	static char text[DNS_NAME_TEXT_MAX];
	uint8_t message[2048] = { 0 };
	struct dns_name name;
	struct dns_in in;

	memcpy(message + DNS_HEADER_SIZE, bytes, n);
	in = dns_in_at(message, DNS_HEADER_SIZE + n, DNS_HEADER_SIZE + at);
	dns_read_name(&in, &name);
	if (in.r.failed) {
		assert_int_equal(name.length, 0);
		return NULL;
	}
	dns_name_to_text(&name, text);
	return text;
}

static void test_pointers(void **state)
{
	uint8_t chain[1024];
	size_t n = 0;

	(void)state;
	assert_string_equal(read_at("\1a\0", 3, 0), "a");
	assert_string_equal(read_at("\1a\0\1b\xc0\x0c", 7, 3), "b.a");
	assert_string_equal(read_at("\1a\0\xc0\x0c", 5, 3), "a");
	assert_null(read_at("\1a", 2, 0));
	assert_null(read_at("\2a", 2, 0));
	assert_null(read_at("\1a\xc0", 3, 0));
	assert_null(read_at("\xc0\x0c", 2, 0));		      /* to itself */
	assert_null(read_at("\1a\xc0\x0c", 4, 0));	      /* into itself: for ever */
	assert_null(read_at("\xc0\x0e\1a\0", 5, 0));	      /* ahead */
	assert_null(read_at("\xc0\x00", 2, 0));		      /* into the header */
	assert_null(read_at("\xff\xff", 2, 0));		      /* behind the end */
	assert_null(read_at("\x40" "a\0", 3, 0));	      /* label types that never were */
	assert_null(read_at("\x80" "a\0", 3, 0));
	/* Pointers to pointers, fewer than 128 and more. */
	chain[n++] = 0;
	for (unsigned int i = 0; i < 200; i++) {
		size_t before = DNS_HEADER_SIZE + (i ? n - 2 : 0);

		chain[n++] = (uint8_t)(0xc0 | before >> 8);
		chain[n++] = (uint8_t)before;
	}
	assert_string_equal(read_at((char *)chain, 1 + 2 * 127, 1 + 2 * 126), "");
	assert_null(read_at((char *)chain, 1 + 2 * 128, 1 + 2 * 127));
	/* 128 labels by pointers are too long a name. */
	n = 0;
	chain[n++] = 0;
	for (unsigned int i = 0; i < 128; i++) {
		size_t before = DNS_HEADER_SIZE + (i ? n - 4 : 0);

		chain[n++] = 1;
		chain[n++] = 'a';
		chain[n++] = (uint8_t)(0xc0 | before >> 8);
		chain[n++] = (uint8_t)before;
	}
	assert_non_null(read_at((char *)chain, 1 + 4 * 127, 1 + 4 * 126));
	assert_null(read_at((char *)chain, 1 + 4 * 128, 1 + 4 * 127));
}

static void test_compression(void **state)
{
	struct dns_out out = dns_out_start(to, sizeof(to));
	struct dns_header h = { 0 };
	struct dns_name name;
	struct dns_in in;

	(void)state;
	dns_put_header(&out, &h);
	name = name_of("www.example.com");
	dns_put_name(&out, &name, true);
	assert_int_equal(out.at, 12 + 17);
	dns_put_name(&out, &name, true);
	assert_int_equal(out.at, 12 + 17 + 2);
	name = name_of("ftp.example.com");
	dns_put_name(&out, &name, true);
	assert_int_equal(out.at, 12 + 17 + 2 + 6);
	dns_put_name(&out, &name, false);
	assert_int_equal(out.at, 12 + 17 + 2 + 6 + 17);
	name = name_of("");
	dns_put_name(&out, &name, true);
	assert_int_equal(out.at, 12 + 17 + 2 + 6 + 17 + 1);
	in = dns_in_at(to, out.at, 12 + 17 + 2);
	dns_read_name(&in, &name);
	assert_true(dns_name_equal(&name, &(struct dns_name){ 17, "\3ftp\7example\3com" }));

	/* What does not fit is noted, nothing is written beyond. */
	for (size_t size = 0; size < 29; size++) {
		memset(to, 0xee, sizeof(to));
		out = dns_out_start(to, size);
		dns_put_header(&out, &h);
		name = name_of("www.example.com");
		dns_put_name(&out, &name, true);
		assert_true(out.full && out.at <= size && to[size] == 0xee);
	}
	/* As many names as there are: all are read back, whether there was room to remember them or not. */
	out = dns_out_start(to, sizeof(to));
	dns_put_header(&out, &h);
	for (unsigned int i = 0; i < 3000; i++) {
		char text[32];

		snprintf(text, sizeof(text), "n%u.d%u.example", i % 1000, i % 7);
		name = name_of(text);
		dns_put_name(&out, &name, true);
	}
	assert_false(out.full);
	in = dns_in_at(to, out.at, DNS_HEADER_SIZE);
	for (unsigned int i = 0; i < 3000; i++) {
		char text[32], back[DNS_NAME_TEXT_MAX];

		snprintf(text, sizeof(text), "n%u.d%u.example", i % 1000, i % 7);
		dns_read_name(&in, &name);
		dns_name_to_text(&name, back);
		assert_string_equal(back, text);
	}
	assert_int_equal(in.r.left, 0);
}

static void test_query_form(void **state)
{
	struct dns_asked asked;
	static const char opt[] = "\0\0\x29\x10\0\0\0\x80\0\0\0", v1[] = "\0\0\x29\x10\0\0\1\0\0\0\0";

	(void)state;
	build_start(&m, 0x1234, DNS_FLAG_RD, "Www.Example.com", DNS_A);
	assert_int_equal(dns_parse_query(m.b, m.n, &asked), DNS_NOERROR);
	assert_int_equal(asked.id, 0x1234);
	assert_memory_equal(asked.question.name.b, "\3Www\7Example\3com", 17);
	assert_int_equal(asked.udp_size, 512);
	assert_false(asked.edns);
	/* Cut anywhere: no question, or one that is malformed. */
	for (size_t n = 0; n < m.n; n++)
		assert_int_equal(dns_parse_query(m.b, n, &asked), n < DNS_HEADER_SIZE ? -1 : DNS_FORMERR);
	m.b[m.n++] = 0;
	assert_int_equal(dns_parse_query(m.b, m.n, &asked), DNS_FORMERR);
	/* Not one question. */
	m.n--;
	for (unsigned int count = 0; count < 4; count++) {
		m.b[5] = (uint8_t)count;
		assert_int_equal(dns_parse_query(m.b, m.n, &asked), count == 1 ? DNS_NOERROR : DNS_FORMERR);
	}
	m.b[5] = 1;
	m.b[7] = 1;
	assert_int_equal(dns_parse_query(m.b, m.n, &asked), DNS_FORMERR);
	/* An answer: nothing is said to it. Another opcode. */
	build_start(&m, 1, DNS_FLAG_QR, "a", DNS_A);
	assert_int_equal(dns_parse_query(m.b, m.n, &asked), -1);
	build_start(&m, 1, 5 << 11, "a", DNS_A);
	assert_int_equal(dns_parse_query(m.b, m.n, &asked), DNS_NOTIMP);
	/* Types and classes that are not forwarded. */
	for (unsigned int type = 0; type < 257; type++) {
		int want = type == 0 || type == DNS_OPT ? DNS_FORMERR : type >= 249 && type <= 254 ? DNS_NOTIMP : 0;

		build_start(&m, 1, 0, "a", (uint16_t)type);
		assert_int_equal(dns_parse_query(m.b, m.n, &asked), want);
	}
	m.b[m.n - 1] = 3;
	assert_int_equal(dns_parse_query(m.b, m.n, &asked), DNS_NOTIMP);
	/* EDNS. */
	build_start(&m, 1, 0, "a", DNS_A);
	memcpy(m.b + m.n, opt, 11);
	m.b[11] = 1;
	assert_int_equal(dns_parse_query(m.b, m.n + 11, &asked), DNS_NOERROR);
	assert_true(asked.edns && asked.dnssec_ok && asked.udp_size == 4096);
	memcpy(m.b + m.n + 11, opt, 11);
	m.b[11] = 2;
	assert_int_equal(dns_parse_query(m.b, m.n + 22, &asked), DNS_FORMERR);
	memcpy(m.b + m.n, v1, 11);
	m.b[11] = 1;
	assert_int_equal(dns_parse_query(m.b, m.n + 11, &asked), DNS_BADVERS);
	/* Too long. */
	build_start(&m, 1, 0, "a", DNS_A);
	build_record(&m, 3, &(struct rr){ "", 65000, 0, (char *)to, DNS_QUESTION_MAX - 12 - 7 - 11 });
	assert_int_equal(m.n, DNS_QUESTION_MAX);
	assert_int_equal(dns_parse_query(m.b, m.n, &asked), DNS_NOERROR);
	build_start(&m, 1, 0, "a", DNS_A);
	build_record(&m, 3, &(struct rr){ "", 65000, 0, (char *)to, DNS_QUESTION_MAX - 12 - 7 - 11 + 1 });
	assert_int_equal(dns_parse_query(m.b, m.n, &asked), DNS_FORMERR);
}

/** rebuild() - m, as the answer to a question of id 7. Return: show() of what is left, or why nothing is. */
static const char *rebuild(const char *name, uint16_t type, struct dns_answer *answer)
{
	static const char *const why[] = { [DNS_RESULT_TRUNCATED] = "truncated", [DNS_RESULT_NO_EDNS] = "no edns",
					   [DNS_RESULT_NOT_OURS] = "not ours" };
	struct dns_request asked = { .id = 7, .edns = true, .dnssec_ok = dnssec };
	enum dns_result result;

	asked.question = (struct dns_question){ .name = name_of(name), .type = type, .klass = DNS_CLASS_IN };
	result = dns_rebuild(m.b, m.n, &asked, to, sizeof(to), answer);

	return result == DNS_RESULT_ANSWER ? show(to, answer->length) : why[result];
}

#define START(flags, name, type) build_start(&m, 7, (flags), (name), (type))
#define ADD(section, ...) build_record(&m, (section), &(struct rr){ __VA_ARGS__ })

static void test_answer_question(void **state)
{
	struct dns_answer a;

	(void)state;
	START(FLAGS_OK, "a.com", DNS_A);
	ADD(1, "a.com", DNS_A, 60, "1.2.3.4");
	assert_string_equal(rebuild("a.com", DNS_A, &a), "0 1:a.com 1 60 1.2.3.4");
	assert_int_equal(a.ttl_s, 60);
	assert_string_equal(rebuild("A.com", DNS_A, &a), "0 1:a.com 1 60 1.2.3.4");
	assert_string_equal(rebuild("b.com", DNS_A, &a), "not ours");
	assert_string_equal(rebuild("a.com", DNS_AAAA, &a), "not ours");
	m.b[1] = 8; /* id */
	assert_string_equal(rebuild("a.com", DNS_A, &a), "not ours");
	m.b[1] = 7;
	m.b[5] = 0; /* no question */
	assert_string_equal(rebuild("a.com", DNS_A, &a), "not ours");
	m.b[5] = 1;
	for (size_t n = m.n; n-- > 0; m.n++) {
		m.n = n;
		assert_string_equal(rebuild("a.com", DNS_A, &a), "not ours");
		m.n = n;
	}
	START(DNS_FLAG_RA, "a.com", DNS_A); /* a question */
	assert_string_equal(rebuild("a.com", DNS_A, &a), "not ours");
	START(FLAGS_OK | DNS_FLAG_TC, "a.com", DNS_A);
	assert_string_equal(rebuild("a.com", DNS_A, &a), "truncated");
	START(FLAGS_OK | DNS_FORMERR, "a.com", DNS_A);
	assert_string_equal(rebuild("a.com", DNS_A, &a), "no edns");
	START(FLAGS_OK | DNS_FORMERR, NULL, 0);
	assert_string_equal(rebuild("a.com", DNS_A, &a), "no edns");
	START(FLAGS_OK | DNS_SERVFAIL, NULL, 0);
	assert_string_equal(rebuild("a.com", DNS_A, &a), "not ours");
	/* What is no answer to pass on has no records, and is not kept. */
	START(FLAGS_OK | DNS_REFUSED, "a.com", DNS_A);
	ADD(1, "a.com", DNS_A, 60, "1.2.3.4");
	assert_string_equal(rebuild("a.com", DNS_A, &a), "5");
	assert_int_equal(a.ttl_s, 0);
	/* An extended rcode. */
	START(FLAGS_OK | 1, "a.com", DNS_A);
	ADD(3, "", DNS_OPT, 2U << 24, "", 0, 1232);
	assert_string_equal(rebuild("a.com", DNS_A, &a), "2");
	START(FLAGS_OK, "a.com", DNS_A);
	ADD(3, "", DNS_OPT, 1U << 24, "", 0, 1232);
	assert_string_equal(rebuild("a.com", DNS_A, &a), "no edns");
}

static void test_answer_records(void **state)
{
	struct dns_answer a;

	(void)state;
	/* The chain in its order; nothing else. */
	START(FLAGS_OK | DNS_FLAG_AD, "a.com", DNS_A);
	ADD(1, "c.net", DNS_A, 9, "6.6.6.6");
	ADD(1, "bank.com", DNS_A, 9, "6.6.6.6");
	ADD(1, "a.com", DNS_CNAME, 10, "B.org");
	ADD(1, "a.com", DNS_CNAME, 10, "bank.com");
	ADD(1, "a.com", DNS_A, 9, "6.6.6.6");
	ADD(1, "b.org", DNS_CNAME, 20, "c.net");
	ADD(1, "c.net", DNS_AAAA, 9, "::6");
	ADD(1, "c.net", DNS_A, 30, "1.1.1.1");
	ADD(1, "bank.com", DNS_A, 9, "6.6.6.6");
	ADD(1, "c.net", DNS_A, 40, "1.1.1.2");
	ADD(1, "c.net", DNS_CNAME, 10, "bank.com");
	ADD(1, "c.net", DNS_A, 9, "6.6.6.6", 0, 3);
	ADD(2, "com", DNS_NS, 9, "evil.com");
	ADD(2, "com", DNS_SOA, 9, "9");
	ADD(3, "evil.com", DNS_A, 9, "6.6.6.6");
	ADD(3, "a.com", DNS_A, 9, "6.6.6.6");
	assert_string_equal(rebuild("a.com", DNS_A, &a),
			    "0 AD 1:a.com 5 10 b.org 1:b.org 5 20 c.net 1:c.net 1 30 1.1.1.1 1:c.net 1 40 1.1.1.2");
	assert_int_equal(a.ttl_s, 10);
	/* Asked for the CNAME itself. */
	START(FLAGS_OK, "a.com", DNS_CNAME);
	ADD(1, "a.com", DNS_CNAME, 10, "b.org");
	ADD(1, "b.org", DNS_CNAME, 10, "c.org");
	assert_string_equal(rebuild("a.com", DNS_CNAME, &a), "0 1:a.com 5 10 b.org");
	/* For all types. */
	START(FLAGS_OK, "a.com", DNS_ANY);
	ADD(1, "a.com", DNS_A, 10, "1.1.1.1");
	ADD(1, "b.com", DNS_A, 10, "1.1.1.1");
	ADD(1, "a.com", DNS_TXT, 10, "\2hi", 3);
	assert_string_equal(rebuild("a.com", DNS_ANY, &a), "0 1:a.com 1 10 1.1.1.1 1:a.com 16 10 [3]");
	/* A loop, and a chain that is longer than any. */
	START(FLAGS_OK, "a.com", DNS_A);
	ADD(1, "a.com", DNS_CNAME, 10, "b.com");
	ADD(1, "b.com", DNS_CNAME, 10, "a.com");
	assert_string_equal(rebuild("a.com", DNS_A, &a), "0 1:a.com 5 10 b.com 1:b.com 5 10 a.com");
	assert_int_equal(a.ttl_s, 0);
	for (unsigned int hops = DNS_HOPS_MAX; hops <= DNS_HOPS_MAX + 1; hops++) {
		START(FLAGS_OK, "n0", DNS_A);
		for (unsigned int i = 0; i < hops; i++) {
			char owner[16], target[16];

			snprintf(owner, sizeof(owner), "n%u", i);
			snprintf(target, sizeof(target), "n%u", i + 1);
			ADD(1, owner, DNS_CNAME, 10, target);
		}
		ADD(1, hops == DNS_HOPS_MAX ? "n11" : "n12", DNS_A, 10, "1.1.1.1");
		rebuild("n0", DNS_A, &a);
		assert_int_equal(strcmp(rebuild("n0", DNS_A, &a), "not ours") == 0, hops > DNS_HOPS_MAX);
	}
	/* TTLs: cut, and 0 with the highest bit. */
	START(FLAGS_OK, "a.com", DNS_A);
	ADD(1, "a.com", DNS_A, 1000000, "1.1.1.1");
	assert_string_equal(rebuild("a.com", DNS_A, &a), "0 1:a.com 1 86400 1.1.1.1");
	START(FLAGS_OK, "a.com", DNS_A);
	ADD(1, "a.com", DNS_A, 0x80000001, "1.1.1.1");
	assert_string_equal(rebuild("a.com", DNS_A, &a), "0 1:a.com 1 0 1.1.1.1");
	assert_int_equal(a.ttl_s, 0);
	/* Data that are not what the type says. */
	START(FLAGS_OK, "a.com", DNS_MX);
	ADD(1, "a.com", DNS_MX, 10, "\0\1\1b\0", 5);
	assert_string_equal(rebuild("a.com", DNS_MX, &a), "0 1:a.com 15 10 [5]");
	START(FLAGS_OK, "a.com", DNS_MX);
	ADD(1, "a.com", DNS_MX, 10, "\0\1\1b\0\0", 6);
	assert_string_equal(rebuild("a.com", DNS_MX, &a), "not ours");
	START(FLAGS_OK, "a.com", DNS_MX);
	ADD(1, "a.com", DNS_MX, 10, "\0\1\1b", 4);
	assert_string_equal(rebuild("a.com", DNS_MX, &a), "not ours");
	START(FLAGS_OK, "a.com", DNS_MX);
	ADD(1, "a.com", DNS_MX, 10, "\0", 1);
	assert_string_equal(rebuild("a.com", DNS_MX, &a), "not ours");
	/* NAPTR: two numbers, three strings, a name; strings that reach beyond. */
	START(FLAGS_OK, "a.com", 35);
	ADD(1, "a.com", 35, 10, "\0\1\0\1\1u\0\2hi\1b\0", 13);
	assert_string_equal(rebuild("a.com", 35, &a), "0 1:a.com 35 10 [13]");
	START(FLAGS_OK, "a.com", 35);
	ADD(1, "a.com", 35, 10, "\0\1\0\1\1u\0\7hi\1b\0", 13);
	assert_string_equal(rebuild("a.com", 35, &a), "not ours");
	START(FLAGS_OK, "a.com", 35);
	ADD(1, "a.com", 35, 10, "\0\1\0\1", 4);
	assert_string_equal(rebuild("a.com", 35, &a), "not ours");
}

static void test_answer_pointers(void **state)
{
	static const uint8_t mx[] = { 0xc0, 0x0c, 0, DNS_MX, 0, 1, 0, 0, 0, 5, 0, 9, 0, 10, 4, 'm', 'a', 'i', 'l', 0xc0, 0x0c };
	struct dns_answer a;
	struct dns_record r;
	struct dns_in in;
	struct dns_name name;

	(void)state;
	/* Names in data are compressed against the resolver's message: in ours they must mean the same. */
	START(FLAGS_OK, "a.com", DNS_MX);
	ADD(2, "com", DNS_NS, 1, "x");
	m.n = 12 + 7 + 4;
	m.b[7] = 1;
	m.b[9] = 0;
	memcpy(m.b + m.n, mx, sizeof(mx));
	m.n += sizeof(mx);
	assert_string_equal(rebuild("A.com", DNS_MX, &a), "0 1:a.com 15 5 [9]");
	in = dns_in_at(to, a.length, 12 + 7 + 4);
	dns_read_record(&in, &r);
	in = dns_in_at(to, a.length, r.at + 2);
	dns_read_name(&in, &name);
	assert_true(dns_name_equal(&name, &(struct dns_name){ 12, "\4mail\1a\3com" }));
	/* A pointer in data to behind them. */
	m.b[m.n - 1] = (uint8_t)(m.n - 1);
	assert_string_equal(rebuild("A.com", DNS_MX, &a), "not ours");
	/* A name in data that would read on into the next record. */
	START(FLAGS_OK, "a.com", DNS_CNAME);
	ADD(1, "a.com", DNS_CNAME, 5, "b");
	ADD(1, "a.com", DNS_CNAME, 5, "b");
	m.b[12 + 7 + 4 + 7 + 9] = 2; /* the length of the first one's data: without the end of its name */
	assert_string_equal(rebuild("A.com", DNS_CNAME, &a), "not ours");
}

static void test_answer_negative(void **state)
{
	struct dns_answer a;

	(void)state;
	START(FLAGS_OK | DNS_NXDOMAIN, "x.a.com", DNS_A);
	ADD(2, "a.com", DNS_SOA, 100, "30");
	ADD(2, "com", DNS_NS, 9, "evil.com");
	assert_string_equal(rebuild("x.a.com", DNS_A, &a), "3 2:a.com 6 30 [30]");
	assert_int_equal(a.ttl_s, 30);
	START(FLAGS_OK, "x.a.com", DNS_A);
	ADD(2, "a.com", DNS_SOA, 20, "30");
	assert_string_equal(rebuild("x.a.com", DNS_A, &a), "0 2:a.com 6 20 [30]");
	assert_int_equal(a.ttl_s, 20);
	START(FLAGS_OK, "x.a.com", DNS_A);
	ADD(2, "a.com", DNS_SOA, 80000, "80000");
	rebuild("x.a.com", DNS_A, &a);
	assert_int_equal(a.ttl_s, DNS_NEGATIVE_TTL_MAX_S);
	/* Another's SOA, or none: not kept. */
	START(FLAGS_OK | DNS_NXDOMAIN, "x.a.com", DNS_A);
	ADD(2, "b.com", DNS_SOA, 20, "30");
	assert_string_equal(rebuild("x.a.com", DNS_A, &a), "3");
	assert_int_equal(a.ttl_s, 0);
	/* The end of a chain is not there: the SOA is that of its end. */
	START(FLAGS_OK | DNS_NXDOMAIN, "a.com", DNS_A);
	ADD(1, "a.com", DNS_CNAME, 10, "b.org");
	ADD(2, "org", DNS_SOA, 20, "30");
	assert_string_equal(rebuild("a.com", DNS_A, &a), "3 1:a.com 5 10 b.org 2:org 6 20 [30]");
	assert_int_equal(a.ttl_s, 10);
	/* That it is not there and what it is, both: it is not there. */
	START(FLAGS_OK | DNS_NXDOMAIN, "a.com", DNS_A);
	ADD(1, "a.com", DNS_A, 10, "1.1.1.1");
	assert_string_equal(rebuild("a.com", DNS_A, &a), "3");
}

static void test_answer_dnssec(void **state)
{
	static const char of_a[] = "\0\1\x0d\2\0\0\0\x0a\0\0\0\0\0\0\0\0\1\1\3com\0sig", of_dname[] = "\0\x27\x0d\2\0\0\0\x0a\0\0\0\0\0\0\0\0\1\1\3com\0sig", of_ns[] = "\0\2\x0d\2\0\0\0\x0a\0\0\0\0\0\0\0\0\1\1\3com\0sig";
	struct dns_answer a;

	(void)state;
	START(FLAGS_OK, "a.com", DNS_A);
	ADD(1, "a.com", DNS_A, 60, "1.2.3.4");
	ADD(1, "a.com", DNS_RRSIG, 60, of_a, 26);
	ADD(1, "a.com", DNS_RRSIG, 60, of_ns, 26);
	ADD(1, "b.com", DNS_RRSIG, 60, of_a, 26);
	ADD(2, "a.com", DNS_DS, 60, of_a, 26);
	ADD(2, "a.com", DNS_NSEC, 60, of_a, 26);
	assert_string_equal(rebuild("a.com", DNS_A, &a), "0 1:a.com 1 60 1.2.3.4");
	dnssec = true;
	assert_string_equal(rebuild("a.com", DNS_A, &a),
			    "0 1:a.com 1 60 1.2.3.4 1:a.com 46 60 [26] 2:a.com 47 60 [26]");
	dnssec = false;
	/* DNAME, with the CNAME that was made of it. */
	START(FLAGS_OK, "x.a.com", DNS_A);
	ADD(1, "a.com", DNS_DNAME, 60, "b.com");
	ADD(1, "c.com", DNS_DNAME, 60, "b.com");
	ADD(1, "x.a.com", DNS_CNAME, 60, "x.b.com");
	ADD(1, "x.b.com", DNS_A, 60, "1.2.3.4");
	assert_string_equal(rebuild("x.a.com", DNS_A, &a),
			    "0 1:a.com 39 60 [7] 1:x.a.com 5 60 x.b.com 1:x.b.com 1 60 1.2.3.4");
	/* Each with its signature. */
	START(FLAGS_OK, "x.a.com", DNS_A);
	ADD(1, "a.com", DNS_DNAME, 60, "b.com");
	ADD(1, "a.com", DNS_RRSIG, 60, of_dname, 26);
	ADD(1, "x.a.com", DNS_CNAME, 60, "x.b.com");
	ADD(1, "x.b.com", DNS_A, 60, "1.2.3.4");
	ADD(1, "x.b.com", DNS_A, 60, "1.2.3.5");
	ADD(1, "x.b.com", DNS_RRSIG, 60, of_a, 26);
	ADD(1, "x.b.com", DNS_RRSIG, 60, of_a, 26);
	dnssec = true;
	assert_string_equal(rebuild("x.a.com", DNS_A, &a),
			    "0 1:a.com 39 60 [7] 1:a.com 46 60 [26] 1:x.a.com 5 60 x.b.com 1:x.b.com 1 60 1.2.3.4 "
			    "1:x.b.com 1 60 1.2.3.5 1:x.b.com 46 60 [26] 1:x.b.com 46 60 [26]");
	dnssec = false;
}

/* The largest messages that are taken, and the ones beyond. */
static void test_answer_limits(void **state)
{
	struct dns_answer a;
	char text[300];

	(void)state;
	for (unsigned int count = DNS_RECORDS_MAX; count <= DNS_RECORDS_MAX + 1; count++) {
		START(FLAGS_OK, "a", DNS_A);
		for (unsigned int i = 0; i < count; i++)
			ADD(1, "a", DNS_A, 60, "1.2.3.4");
		assert_int_equal(strcmp(rebuild("a", DNS_A, &a), "not ours") == 0, count > DNS_RECORDS_MAX);
	}
	/* Names that defeat compression: more work than is spent on it, and still right or refused. */
	START(FLAGS_OK, "a", DNS_NS);
	for (unsigned int i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.%u", i);
		ADD(1, "a", DNS_NS, 60, text);
	}
	rebuild("a", DNS_NS, &a);
	assert_true(a.length <= DNS_MESSAGE_MAX);
	assert_int_equal(dns_in_at(to, a.length, 0).message[7] | to[6] << 8, 1000);
}

static void test_age(void **state)
{
	struct dns_answer a;

	(void)state;
	START(FLAGS_OK, "a.com", DNS_A);
	ADD(1, "a.com", DNS_CNAME, 10, "b.com");
	ADD(1, "b.com", DNS_A, 40, "1.1.1.1");
	rebuild("a.com", DNS_A, &a);
	dns_age(to, a.length, 8);
	assert_string_equal(show(to, a.length), "0 1:a.com 5 2 b.com 1:b.com 1 32 1.1.1.1");
	dns_age(to, a.length, 3);
	assert_string_equal(show(to, a.length), "0 1:a.com 5 0 b.com 1:b.com 1 29 1.1.1.1");
}

struct seen {
	char text[512];
	unsigned int stop_after;
};

static bool note(void *arg, const struct ip *ip, uint32_t ttl, bool hint)
{
	struct seen *seen = arg;
	size_t n = strlen(seen->text);
	char text[IP_TEXT_MAX];

	snprintf(seen->text + n, sizeof(seen->text) - n, "%s/%u%s ", ip_format(ip, text), ttl, hint ? "h" : "");
	return --seen->stop_after > 0;
}

static void test_addresses(void **state)
{
	static const char hints[] = "\0\1\0\0\1\0\3\2h2\0\4\0\x08\1\1\1\1\2\2\2\2\0\6\0\x10 01234567890abcd";
	static const char broken[] = "\0\1\0\0\4\0\3\1\1\1";
	struct seen seen = { .stop_after = 100 };
	struct dns_answer a;

	(void)state;
	START(FLAGS_OK, "a.com", DNS_ANY);
	ADD(1, "a.com", DNS_A, 10, "1.2.3.4");
	ADD(1, "a.com", DNS_AAAA, 40, "::ffff:10.0.0.1");
	rebuild("a.com", DNS_ANY, &a);
	assert_true(dns_each_address(to, a.length, note, &seen));
	assert_string_equal(seen.text, "1.2.3.4/10 10.0.0.1/10 ");
	seen = (struct seen){ .stop_after = 1 };
	assert_false(dns_each_address(to, a.length, note, &seen));
	assert_string_equal(seen.text, "1.2.3.4/10 ");
	START(FLAGS_OK, "a.com", DNS_HTTPS);
	ADD(1, "a.com", DNS_HTTPS, 10, hints, sizeof(hints) - 1);
	seen = (struct seen){ .stop_after = 100 };
	rebuild("a.com", DNS_HTTPS, &a);
	assert_true(dns_each_address(to, a.length, note, &seen));
	assert_string_equal(seen.text, "1.1.1.1/10h 2.2.2.2/10h 2030:3132:3334:3536:3738:3930:6162:6364/10h ");
	for (size_t size = 0; size < sizeof(broken); size++) {
		START(FLAGS_OK, "a.com", DNS_HTTPS);
		ADD(1, "a.com", DNS_HTTPS, 10, broken, size);
		rebuild("a.com", DNS_HTTPS, &a);
		/* Whole are: a priority and a name. */
		assert_int_equal(dns_each_address(to, a.length, note, &seen), size == 3);
	}
}

static void test_rebind_list(void **state)
{
	static const char *const refused[] = {
		"0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.1",
		"127.255.255.255", "169.254.0.0", "169.254.169.254", "172.16.0.0", "172.31.255.255", "192.0.0.1", "192.0.0.192",
		"192.0.2.1", "192.88.99.1", "192.168.0.0", "192.168.255.255", "198.18.0.0", "198.19.255.255", "198.51.100.7",
		"203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.0", "255.255.255.255", "::", "::1", "fc00::",
		"fd00:ec2::254", "fdff::1", "fe80::1", "febf::1", "fec0::1", "feff::1", "ff02::1", "100::1", "64:ff9b:1::1",
		"2001:db8::1", "3fff::1", "3fff:fff::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1",
		/* carried inside */
		"64:ff9b::a00:1", "64:ff9b::7f00:1", "2002:a00:1::1", "2002:c0a8:101::",
	};
	static const char *const fine[] = {
		"1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
		"169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.0.3.0", "192.88.98.1",
		"192.88.100.1", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "198.51.99.1", "198.51.101.1",
		"203.0.112.1", "203.0.114.1", "223.255.255.255", "8.8.8.8", "::2", "2606:4700::1", "fbff::1", "fe00::1",
		"100:0:0:1::1", "64:ff9b:2::1", "2001:db7::1", "2001:db9::1", "3fff:1000::1", "3ffe::1", "::ffff:8.8.8.8",
		"64:ff9b::808:808", "2002:808:808::1",
	};
	struct ip ip;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		assert_true(ip_parse(refused[i], &ip));
		if (!dns_rebind_address(&ip))
			fail_msg("%s", refused[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(fine); i++) {
		assert_true(ip_parse(fine[i], &ip));
		if (dns_rebind_address(&ip))
			fail_msg("%s", fine[i]);
	}
}

static bool has(const struct dns_list *list, const char *text, bool below)
{
	struct dns_name name = name_of(text);

	return dns_list_has(list, &name, below);
}

static void test_lists(void **state)
{
	static const char *const texts[] = { "Ads.Example.com.", "b.org", ".c.net", "ads.example.com", "x" };
	static const char *const bad[] = { "a..b" };
	struct error err = ERROR_INIT;
	struct dns_list list = { 0 };
	const char **many;

	(void)state;
	assert_false(has(&list, "a", true));
	assert_int_equal(dns_list_read(&list, texts, ARRAY_LEN(texts), "list", &err), 0);
	assert_true(has(&list, "aDs.example.com", false));
	assert_true(has(&list, "c.net", false));
	assert_false(has(&list, "a.ads.example.com", false));
	assert_false(has(&list, "example.com", false));
	assert_true(has(&list, "a.b.ads.example.com", true));
	assert_true(has(&list, "a.x", true));
	assert_true(has(&list, "b.org", true));
	assert_false(has(&list, "bb.org", true));
	assert_false(has(&list, "example.com", true));
	assert_false(has(&list, "b.org.com", true));
	assert_false(has(&list, "", true));
	dns_list_clear(&list);
	assert_int_equal(dns_list_read(&list, bad, 1, "blocked names", &err), -ERR_INVALID);
	assert_non_null(strstr(err.text, "a..b"));
	assert_null(list.names);
	err_clear(&err);
	many = calloc(DNS_BLOCK_MAX + 1, sizeof(*many));
	for (size_t i = 0; i <= DNS_BLOCK_MAX; i++)
		many[i] = "a.b";
	assert_int_equal(dns_list_read(&list, many, DNS_BLOCK_MAX + 1, "blocked names", &err), -ERR_LIMIT);
	assert_int_equal(dns_list_read(&list, many, DNS_BLOCK_MAX, "blocked names", NULL), 0);
	assert_true(has(&list, "a.b", false));
	dns_list_clear(&list);
	free(many);
}

static void test_split(void **state)
{
	static const uint8_t stream[] = { 0, 3, 'a', 'b', 'c', 0, 1, 'd', 0, 2, 'e', 'f' };
	static const char *const want[] = { "abc", "d", "ef" };
	static struct dns_split s;
	const uint8_t *message;
	size_t taken, length;
	uint8_t prefix[2];

	(void)state;
	for (size_t step = 1; step <= sizeof(stream); step++) {
		unsigned int got = 0;

		s = (struct dns_split){ 0 };
		for (size_t at = 0; at < sizeof(stream); at += taken) {
			assert_true(dns_split(&s, stream + at, MIN(step, sizeof(stream) - at), &taken, &message, &length));
			assert_in_range(taken, 1, step);
			if (message) {
				assert_int_equal(length, strlen(want[got]));
				assert_memory_equal(message, want[got++], length);
			}
		}
		assert_int_equal(got, ARRAY_LEN(want));
	}
	s = (struct dns_split){ 0 };
	assert_false(dns_split(&s, (const uint8_t *)"\0\0", 2, &taken, &message, &length));
	dns_prefix(prefix, DNS_QUESTION_MAX + 1);
	s = (struct dns_split){ 0 };
	assert_false(dns_split(&s, prefix, 2, &taken, &message, &length));
	dns_prefix(prefix, DNS_QUESTION_MAX);
	s = (struct dns_split){ 0 };
	assert_true(dns_split(&s, prefix, 2, &taken, &message, &length));
	assert_true(dns_split(&s, to, DNS_QUESTION_MAX, &taken, &message, &length));
	assert_true(message && length == DNS_QUESTION_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_name_text),      cmocka_unit_test(test_name_within),
		cmocka_unit_test(test_pointers),       cmocka_unit_test(test_compression),
		cmocka_unit_test(test_query_form),     cmocka_unit_test(test_answer_question),
		cmocka_unit_test(test_answer_records), cmocka_unit_test(test_answer_pointers),
		cmocka_unit_test(test_answer_negative), cmocka_unit_test(test_answer_dnssec),
		cmocka_unit_test(test_answer_limits),  cmocka_unit_test(test_age),
		cmocka_unit_test(test_addresses),      cmocka_unit_test(test_rebind_list),
		cmocka_unit_test(test_lists),	       cmocka_unit_test(test_split),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
