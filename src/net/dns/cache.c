/* SPDX-License-Identifier: Apache-2.0 */
/* Answers that are kept: a hash table of chains, and one list from the least to the most recently used. */
#include "net/dns/cache.h"

#include <stdlib.h>
#include <sys/queue.h>

#include "net/dns/dns.h"

#define BUCKETS 1024U /* a power of two */

struct entry {
	TAILQ_ENTRY(entry) used;
	LIST_ENTRY(entry) chain;
	struct dns_key key;
	int64_t stored_s;
	uint32_t ttl_s;
	uint32_t length;
	uint8_t message[];
};

struct dns_cache {
	TAILQ_HEAD(, entry) used; /* the last one was used last */
	LIST_HEAD(, entry) chains[BUCKETS];
	uint32_t entries, bytes;
};

bool dns_key_equal(const struct dns_key *a, const struct dns_key *b)
{
	return a->type == b->type && a->flags == b->flags && a->dnssec_ok == b->dnssec_ok &&
	       a->name.length == b->name.length && memcmp(a->name.b, b->name.b, a->name.length) == 0 &&
	       endpoint_equal(&a->resolver, &b->resolver);
}

struct dns_cache *dns_cache_new(void)
{
	struct dns_cache *cache = calloc(1, sizeof(*cache));

	if (cache)
		TAILQ_INIT(&cache->used);
	return cache;
}

static uint32_t size_of(const struct entry *e)
{
	return (uint32_t)sizeof(*e) + e->length;
}

static void drop(struct dns_cache *cache, struct entry *e)
{
	TAILQ_REMOVE(&cache->used, e, used);
	LIST_REMOVE(e, chain);
	cache->entries--;
	cache->bytes -= size_of(e);
	free(e);
}

void dns_cache_free(struct dns_cache *cache)
{
	if (!cache)
		return;
	while (!TAILQ_EMPTY(&cache->used))
		drop(cache, TAILQ_FIRST(&cache->used));
	free(cache);
}

static uint32_t bucket_of(const struct dns_key *key)
{
	return (dns_name_hash(&key->name) ^ key->type) % BUCKETS;
}

static struct entry *find(struct dns_cache *cache, const struct dns_key *key)
{
	struct entry *e;

	LIST_FOREACH(e, &cache->chains[bucket_of(key)], chain) {
		if (dns_key_equal(&e->key, key))
			return e;
	}
	return NULL;
}

const uint8_t *dns_cache_get(struct dns_cache *cache, const struct dns_key *key, int64_t now_s, size_t *length,
			     uint32_t *age_s)
{
	struct entry *e = find(cache, key);

	if (!e)
		return NULL;
	if (now_s - e->stored_s >= e->ttl_s) {
		drop(cache, e);
		return NULL;
	}
	TAILQ_REMOVE(&cache->used, e, used);
	TAILQ_INSERT_TAIL(&cache->used, e, used);
	*length = e->length;
	*age_s = (uint32_t)(now_s - e->stored_s);
	return e->message;
}

void dns_cache_put(struct dns_cache *cache, const struct dns_key *key, const uint8_t *message, size_t length,
		   uint32_t ttl_s, int64_t now_s)
{
	struct entry *e = find(cache, key);

	if (e)
		drop(cache, e);
	if (ttl_s == 0 || length > DNS_CACHE_ENTRY_MAX)
		return;
	e = malloc(sizeof(*e) + length);
	if (!e)
		return;
	e->key = *key;
	e->stored_s = now_s;
	e->ttl_s = ttl_s;
	e->length = (uint32_t)length;
	memcpy(e->message, message, length);
	while (cache->entries == DNS_CACHE_ENTRIES_MAX ||
	       (cache->entries > 0 && cache->bytes + size_of(e) > DNS_CACHE_BYTES_MAX))
		drop(cache, TAILQ_FIRST(&cache->used));
	TAILQ_INSERT_TAIL(&cache->used, e, used);
	LIST_INSERT_HEAD(&cache->chains[bucket_of(key)], e, chain);
	cache->entries++;
	cache->bytes += size_of(e);
}

void dns_cache_size(const struct dns_cache *cache, uint32_t *entries, uint32_t *bytes)
{
	*entries = cache->entries;
	*bytes = cache->bytes;
}
