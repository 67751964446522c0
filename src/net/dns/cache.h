/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Answers that are kept until their smallest TTL is over, at most DNS_CACHE_ENTRIES_MAX and DNS_CACHE_BYTES_MAX; the
 * least recently used goes. What is given out is the message as dns_rebuild() wrote it: dns_age() by age_s is due.
 */
#ifndef MSB_NET_DNS_CACHE_H
#define MSB_NET_DNS_CACHE_H

#include "net/dns/name.h"
#include "net/ip.h"

/** What makes two questions the same. */
struct dns_key {
	struct dns_name name; /* lower case */
	uint16_t type;
	uint16_t flags; /* what the resolver is told: RD, AD, CD */
	bool dnssec_ok;
	struct endpoint resolver; /* zero: the configured ones */
};

bool dns_key_equal(const struct dns_key *a, const struct dns_key *b);

struct dns_cache;

/** dns_cache_new() - Return: owned, or NULL when memory is exhausted. */
struct dns_cache *dns_cache_new(void);
void dns_cache_free(struct dns_cache *cache);
/**
 * dns_cache_get() - Look up.
 * @now_s: by a clock that does not stop when the host sleeps
 * Return: the message, borrowed until the next put, or NULL.
 */
const uint8_t *dns_cache_get(struct dns_cache *cache, const struct dns_key *key, int64_t now_s, size_t *length,
			     uint32_t *age_s);
/** dns_cache_put() - Keep a copy; one that is too long, with a TTL of 0 or without memory is not kept. */
void dns_cache_put(struct dns_cache *cache, const struct dns_key *key, const uint8_t *message, size_t length,
		   uint32_t ttl_s, int64_t now_s);
void dns_cache_size(const struct dns_cache *cache, uint32_t *entries, uint32_t *bytes);

#endif
