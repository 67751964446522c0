/* SPDX-License-Identifier: Apache-2.0 */
/** Messages of the DNS for tests, byte by byte and without the writer that is under test. */
#ifndef MSB_TESTS_DNS_BUILD_H
#define MSB_TESTS_DNS_BUILD_H

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/dns/message.h"

/** A record as text: A, AAAA: an address; CNAME, NS, PTR, DNAME: a name; SOA: its last number; others: the bytes. */
struct rr {
	const char *owner;
	uint16_t type;
	uint32_t ttl;
	const char *data;
	size_t size; /* of the bytes */
	uint16_t klass; /* 0: IN */
};

struct build {
	uint8_t b[70000];
	size_t n;
};

static inline void build_number(struct build *m, uint64_t value, unsigned int bytes)
{
	while (bytes-- > 0)
		m->b[m->n++] = (uint8_t)(value >> (8 * bytes));
}

static inline void build_name(struct build *m, const char *name)
{
	while (*name) {
		size_t n = strcspn(name, ".");

		m->b[m->n++] = (uint8_t)n;
		memcpy(m->b + m->n, name, n);
		m->n += n;
		name += n + (name[n] == '.');
	}
	m->b[m->n++] = 0;
}

/** build_start() - A header that counts one question, and that question unless name is NULL. */
static inline void build_start(struct build *m, uint16_t id, uint16_t flags, const char *name, uint16_t type)
{
	m->n = 0;
	build_number(m, id, 2);
	build_number(m, flags, 2);
	build_number(m, name != NULL, 2);
	build_number(m, 0, 6);
	if (name) {
		build_name(m, name);
		build_number(m, type, 2);
		build_number(m, DNS_CLASS_IN, 2);
	}
}

/** build_record() - @section: 1 answers, 2 authority, 3 additional; in this order */
static inline void build_record(struct build *m, unsigned int section, const struct rr *rr)
{
	size_t at;

	m->b[5 + 2 * section]++;
	if (m->b[5 + 2 * section] == 0)
		m->b[4 + 2 * section]++;
	build_name(m, rr->owner);
	build_number(m, rr->type, 2);
	build_number(m, rr->klass ? rr->klass : DNS_CLASS_IN, 2);
	build_number(m, rr->ttl, 4);
	build_number(m, 0, 2);
	at = m->n;
	if (rr->type == DNS_A || rr->type == DNS_AAAA) {
		inet_pton(rr->type == DNS_A ? AF_INET : AF_INET6, rr->data, m->b + m->n);
		m->n += rr->type == DNS_A ? 4 : 16;
	} else if (rr->type == DNS_CNAME || rr->type == DNS_NS || rr->type == DNS_PTR || rr->type == DNS_DNAME) {
		build_name(m, rr->data);
	} else if (rr->type == DNS_SOA) {
		build_name(m, "ns");
		build_name(m, "mail");
		build_number(m, 1, 4);
		build_number(m, 2, 4);
		build_number(m, 3, 4);
		build_number(m, 4, 4);
		build_number(m, (uint32_t)strtoul(rr->data, NULL, 10), 4);
	} else {
		memcpy(m->b + m->n, rr->data, rr->size);
		m->n += rr->size;
	}
	m->b[at - 2] = (uint8_t)((m->n - at) >> 8);
	m->b[at - 1] = (uint8_t)(m->n - at);
}

/**
 * show() - A message as text: rcode, flags, then " section:owner type ttl data" for each record.
 * Return: text of the last call but three.
 */
static inline const char *show(const uint8_t *message, size_t length)
{
	static char texts[4][8192];
	static unsigned int turn;
	char *text = texts[turn++ % 4], name[1024], data[1024];
	struct dns_in in = dns_in_at(message, length, 0);
	struct dns_question q;
	struct dns_header h;
	size_t n;

	dns_read_header(&in, &h);
	n = (size_t)snprintf(text, sizeof(texts[0]), "%u%s%s%s", h.flags & DNS_FLAG_RCODE,
			     h.flags & DNS_FLAG_TC ? " TC" : "", h.flags & DNS_FLAG_AD ? " AD" : "",
			     h.flags & DNS_FLAG_QR ? "" : " question");
	if (h.counts[0])
		dns_read_question(&in, &q);
	for (unsigned int section = 1; section < 4; section++)
		for (unsigned int i = 0; i < h.counts[section]; i++) {
			struct dns_record r;
			struct dns_name inside;

			dns_read_record(&in, &r);
			if (in.r.failed)
				return "broken";
			dns_name_to_text(&r.owner, name);
			if ((r.type == DNS_A && r.size == 4) || (r.type == DNS_AAAA && r.size == 16)) {
				inet_ntop(r.type == DNS_A ? AF_INET : AF_INET6, message + r.at, data, sizeof(data));
			} else if (r.type == DNS_CNAME || r.type == DNS_NS || r.type == DNS_PTR) {
				struct dns_in at = dns_in_at(message, r.at + r.size, r.at);

				dns_read_name(&at, &inside);
				dns_name_to_text(&inside, data);
			} else {
				snprintf(data, sizeof(data), "[%u]", r.size);
			}
			if (n + strlen(name) + strlen(data) + 40 > sizeof(texts[0]))
				return "long";
			n += (size_t)snprintf(text + n, sizeof(texts[0]) - n, " %u:%s %u %u %s", section, name, r.type,
					      r.type == DNS_OPT ? 0 : r.ttl, data);
		}
	return in.r.left ? "longer than its records" : text;
}

#endif
