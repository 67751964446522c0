/* SPDX-License-Identifier: Apache-2.0 */
/* The name table: chains by address, and one list from the record told longest ago to the latest. */
#include "net/dns/table.h"

#include <stdlib.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/macros.h"
#include "net/dns/dns.h"

#define BUCKETS 1024U /* a power of two */
#define TTL_MIN_S 1U  /* time to connect to what was just resolved */

struct record {
	TAILQ_ENTRY(record) told;
	LIST_ENTRY(record) chain;
	struct ip ip;
	int64_t expires_ns;
	bool configured;
	uint8_t length; /* of the name */
	uint8_t name[];
};

struct dns_table {
	TAILQ_HEAD(, record) told; /* the last one was told last */
	LIST_HEAD(, record) chains[BUCKETS];
	uint32_t records, bytes;
};

struct dns_table *dns_table_new(void)
{
	struct dns_table *table = calloc(1, sizeof(*table));

	if (table)
		TAILQ_INIT(&table->told);
	return table;
}

static uint32_t size_for(uint8_t length)
{
	return (uint32_t)sizeof(struct record) + length;
}

static void drop(struct dns_table *table, struct record *r)
{
	TAILQ_REMOVE(&table->told, r, told);
	LIST_REMOVE(r, chain);
	table->records--;
	table->bytes -= size_for(r->length);
	free(r);
}

void dns_table_free(struct dns_table *table)
{
	if (!table)
		return;
	while (!TAILQ_EMPTY(&table->told))
		drop(table, TAILQ_FIRST(&table->told));
	free(table);
}

static uint32_t bucket_of(const struct ip *ip)
{
	uint32_t hash = 2166136261U; /* FNV-1a */

	for (unsigned int i = 0; i < sizeof(ip->b); i++)
		hash = (hash ^ ip->b[i]) * 16777619U;
	return hash % BUCKETS;
}

static bool same_name(const struct record *r, const struct dns_name *name)
{
	return r->length == name->length && memcmp(r->name, name->b, name->length) == 0;
}

void dns_table_add(struct dns_table *table, const struct ip *ip, const struct dns_name *name, bool configured,
		   uint32_t ttl_s, int64_t now_ns)
{
	int64_t expires = now_ns + MAX(ttl_s, TTL_MIN_S) * NSEC_PER_SEC;
	uint32_t size = size_for(name->length);
	struct record *r;

	LIST_FOREACH(r, &table->chains[bucket_of(ip)], chain) {
		if (r->configured == configured && ip_equal(&r->ip, ip) && same_name(r, name))
			break;
	}
	if (r) {
		/* What the guest was told before is still true for it. */
		r->expires_ns = MAX(r->expires_ns, expires);
		TAILQ_REMOVE(&table->told, r, told);
		TAILQ_INSERT_TAIL(&table->told, r, told);
		return;
	}
	while (table->records == DNS_NAMES_MAX || (table->records > 0 && table->bytes + size > DNS_NAMES_BYTES_MAX))
		drop(table, TAILQ_FIRST(&table->told));
	r = malloc(size);
	if (!r)
		return;
	r->ip = *ip;
	r->expires_ns = expires;
	r->configured = configured;
	r->length = name->length;
	memcpy(r->name, name->b, name->length);
	TAILQ_INSERT_TAIL(&table->told, r, told);
	LIST_INSERT_HEAD(&table->chains[bucket_of(ip)], r, chain);
	table->records++;
	table->bytes += size;
}

bool dns_table_each(const struct dns_table *table, const struct ip *ip, bool configured_only, int64_t now_ns,
		    bool (*fn)(void *arg, const struct dns_name *name), void *arg)
{
	const struct record *r;

	LIST_FOREACH(r, &table->chains[bucket_of(ip)], chain) {
		struct dns_name name = { .length = r->length };

		if (!ip_equal(&r->ip, ip) || now_ns >= r->expires_ns || (configured_only && !r->configured))
			continue;
		memcpy(name.b, r->name, r->length);
		if (!fn(arg, &name))
			return false;
	}
	return true;
}

void dns_table_size(const struct dns_table *table, uint32_t *records, uint32_t *bytes)
{
	*records = table->records;
	*bytes = table->bytes;
}
