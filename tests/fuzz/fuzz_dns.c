/* SPDX-License-Identifier: Apache-2.0 */
// sources: src/net/dns/answer.c src/net/dns/block.c src/net/dns/cache.c src/net/dns/dns.c src/net/dns/forward.c
// sources: src/net/dns/message.c src/net/dns/name.c src/net/dns/query.c src/net/dns/table.c src/net/ip.c
// sources: src/base/loop.c src/base/error.c src/base/log.c src/base/fd.c src/base/buf.c src/base/num.c
/*
 * A message, taken three ways: as the guest's question to a resolver that has nobody to ask; as another one's answer to the
 * question in it; as a stream of questions by TCP. What is written of an answer must be read back as the same, whole
 * and without anything that was not asked; names survive being text.
 */
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/macros.h"
#include "net/dns/answer.h"
#include "net/dns/block.h"
#include "net/dns/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t first[65536], second[65536];

static void require(bool true_)
{
	if (!true_)
		abort();
}

static void check_text(const struct dns_name *name)
{
	char text[DNS_NAME_TEXT_MAX], again[DNS_NAME_TEXT_MAX];
	struct dns_name back;

	dns_name_to_text(name, text);
	require(strlen(text) < DNS_NAME_TEXT_MAX && dns_name_from_text(&back, text) && dns_name_equal(&back, name));
	dns_name_to_text(&back, again);
	require(strcmp(text, again) == 0);
}

/** check_records() - All of a message of ours can be read and belongs to the chain that begins with the question. */
static void check_records(const uint8_t *message, size_t length, const struct dns_question *q)
{
	struct dns_in in = dns_in_at(message, length, 0);
	struct dns_name at = q->name;
	struct dns_question got;
	struct dns_header h;

	dns_read_header(&in, &h);
	dns_read_question(&in, &got);
	require(h.counts[0] == 1 && h.counts[3] == 0 && dns_name_equal(&got.name, &q->name) && got.type == q->type);
	for (unsigned int i = 0; i < (unsigned int)h.counts[1] + h.counts[2]; i++) {
		struct dns_record r;

		dns_read_record(&in, &r);
		require(!in.r.failed && r.klass == DNS_CLASS_IN && r.ttl <= DNS_TTL_MAX_S && r.type != DNS_OPT);
		check_text(&r.owner);
		if (i >= h.counts[1])
			continue;
		require(r.type == DNS_DNAME ? dns_name_within(&at, &r.owner) : true);
		if (r.type == DNS_A || r.type == DNS_AAAA)
			require(dns_name_equal(&r.owner, &at) && (q->type == r.type || q->type == DNS_ANY));
		if (r.type == DNS_CNAME && q->type != DNS_CNAME && q->type != DNS_ANY) {
			struct dns_in data = dns_in_at(message, r.at + r.size, r.at);

			require(dns_name_equal(&r.owner, &at));
			dns_read_name(&data, &at);
			require(!data.r.failed);
		}
	}
	require(in.r.left == 0);
}

static bool see(void *arg, const struct ip *ip, uint32_t ttl_s, bool hint)
{
	(void)arg;
	(void)hint;
	dns_rebind_address(ip);
	return ttl_s != 3;
}

static void as_answer(const uint8_t *data, size_t size)
{
	struct dns_in in = dns_in_at(data, size, 0);
	struct dns_request asked = { .edns = true };
	const struct dns_question *q = &asked.question;
	struct dns_answer answer, again;
	struct dns_header h;

	dns_read_header(&in, &h);
	dns_read_question(&in, &asked.question);
	if (in.r.failed)
		return;
	check_text(&q->name);
	asked.id = h.id;
	asked.dnssec_ok = h.flags & DNS_FLAG_CD;
	if (dns_rebuild(data, size, &asked, first, DNS_MESSAGE_MAX, &answer) != DNS_RESULT_ANSWER)
		return;
	require(answer.length <= DNS_MESSAGE_MAX);
	if (q->klass != DNS_CLASS_IN)
		return;
	check_records(first, answer.length, q);
	dns_each_address(first, answer.length, see, NULL);
	/* Once more: there is nothing left to leave out. */
	asked.id = 0;
	asked.edns = false;
	if (dns_rebuild(first, answer.length, &asked, second, DNS_MESSAGE_MAX, &again) == DNS_RESULT_ANSWER)
		require(again.length == answer.length && memcmp(first, second, again.length) == 0 &&
			again.ttl_s == answer.ttl_s);
	dns_age(first, answer.length, 7);
	check_records(first, answer.length, q);
}

static void told(void *arg, const uint8_t *message, size_t length)
{
	struct dns_header h;
	struct dns_in in;

	*(unsigned int *)arg += 1;
	if (length == 0)
		return;
	in = dns_in_at(message, length, 0);
	dns_read_header(&in, &h);
	require(!in.r.failed && h.flags & DNS_FLAG_QR && length <= UINT16_MAX);
	for (unsigned int i = 0; i < h.counts[0]; i++) {
		struct dns_question q;

		dns_read_question(&in, &q);
	}
	for (unsigned int i = 0; i < (unsigned int)h.counts[1] + h.counts[3]; i++) {
		struct dns_record r;

		dns_read_record(&in, &r);
	}
	require(!in.r.failed && in.r.left == 0);
}

static void as_question(const uint8_t *data, size_t size)
{
	static const char *const blocked[] = { "com" };
	static struct dns *dns;
	static struct dns_split split;
	unsigned int answers = 0;
	size_t taken, length;

	if (!dns) {
		struct dns_config config = { .rebind_protection = true, .v4 = true, .block_suffixes = blocked,
					     .block_suffix_count = 1 };

		dns = dns_new(loop_new(NULL), &config, NULL, NULL, NULL);
	}
	require(dns_ask(dns, data, size, NULL, size % 2 ? DNS_UDP : DNS_TCP, told, &answers) == 0 && answers == 1);
	split = (struct dns_split){ 0 };
	for (; size > 0; data += taken, size -= taken) {
		const uint8_t *message;

		if (!dns_split(&split, data, MIN(size, 100U), &taken, &message, &length))
			return;
		require(taken > 0);
		if (message)
			dns_ask(dns, message, length, NULL, DNS_TCP, told, &answers);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0 || size > DNS_MESSAGE_MAX)
		return 0;
	as_answer(data, size);
	as_question(data, size);
	return 0;
}
