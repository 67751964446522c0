/* SPDX-License-Identifier: Apache-2.0 */
/* Cache and name table of the gateway's resolver: src/net/dns/cache.c, table.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "net/dns/cache.h"
#include "net/dns/dns.h"
#include "net/dns/table.h"

static struct dns_key key_of(const char *text)
{
	struct dns_key key = { .type = 1 };

	assert_true(dns_name_from_text(&key.name, text));
	return key;
}

static void put(struct dns_cache *cache, const char *name, const char *message, uint32_t ttl, int64_t now)
{
	struct dns_key key = key_of(name);

	dns_cache_put(cache, &key, (const uint8_t *)message, strlen(message) + 1, ttl, now);
}

static const char *get(struct dns_cache *cache, const char *name, int64_t now, uint32_t *age)
{
	struct dns_key key = key_of(name);
	size_t length;
	const uint8_t *message = dns_cache_get(cache, &key, now, &length, age);

	if (message)
		assert_int_equal(length, strlen((const char *)message) + 1);
	return (const char *)message;
}

static void test_cache_ttl(void **state)
{
	struct dns_cache *cache = dns_cache_new();
	uint32_t age, entries, bytes;

	(void)state;
	put(cache, "a", "one", 10, 100);
	put(cache, "b", "none", 0, 100);
	assert_string_equal(get(cache, "a", 100, &age), "one");
	assert_int_equal(age, 0);
	assert_string_equal(get(cache, "a", 109, &age), "one");
	assert_int_equal(age, 9);
	assert_null(get(cache, "a", 110, &age));
	assert_null(get(cache, "a", 100, &age));
	assert_null(get(cache, "b", 100, &age));
	put(cache, "a", "one", 10, 100);
	put(cache, "a", "two", 10, 105);
	assert_string_equal(get(cache, "a", 112, &age), "two");
	/* What is not to be kept replaces what was. */
	put(cache, "a", "three", 0, 105);
	assert_null(get(cache, "a", 105, &age));
	dns_cache_size(cache, &entries, &bytes);
	assert_int_equal(entries, 0);
	assert_int_equal(bytes, 0);
	dns_cache_free(cache);
}

/* Every part of a key makes another question. */
static void test_cache_keys(void **state)
{
	struct dns_cache *cache = dns_cache_new();
	struct dns_key keys[7];
	uint32_t age;
	size_t length;

	(void)state;
	for (unsigned int i = 0; i < 7; i++)
		keys[i] = key_of("a.b");
	keys[1] = key_of("a.c");
	keys[2].type = 28;
	keys[3].flags = 0x100;
	keys[4].dnssec_ok = true;
	keys[5].resolver.port = 53;
	keys[6].resolver = (struct endpoint){ ip_v4((const uint8_t[4]){ 8, 8, 8, 8 }), 53 };
	for (uint8_t i = 0; i < 7; i++)
		dns_cache_put(cache, &keys[i], &i, 1, 10, 0);
	for (uint8_t i = 0; i < 7; i++)
		assert_int_equal(*dns_cache_get(cache, &keys[i], 0, &length, &age), i);
	dns_cache_free(cache);
}

static void test_cache_limits(void **state)
{
	static uint8_t big[DNS_CACHE_ENTRY_MAX + 1];
	struct dns_cache *cache = dns_cache_new();
	uint32_t age, entries, bytes;
	struct dns_key key;
	char name[32];

	(void)state;
	for (unsigned int i = 0; i < DNS_CACHE_ENTRIES_MAX * 2; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		put(cache, name, "x", 1000, 0);
		/* Used all the time: never the one that goes. */
		assert_non_null(get(cache, "n0", 0, &age));
		dns_cache_size(cache, &entries, &bytes);
		assert_true(entries <= DNS_CACHE_ENTRIES_MAX && bytes <= DNS_CACHE_BYTES_MAX);
	}
	assert_null(get(cache, "n1", 0, &age));
	assert_non_null(get(cache, name, 0, &age));
	assert_int_equal(entries, DNS_CACHE_ENTRIES_MAX);
	for (unsigned int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "big%u", i);
		key = key_of(name);
		dns_cache_put(cache, &key, big, DNS_CACHE_ENTRY_MAX, 1000, 0);
		dns_cache_size(cache, &entries, &bytes);
		assert_true(bytes <= DNS_CACHE_BYTES_MAX);
	}
	assert_in_range(entries, 50, 64);
	key = key_of("bigger");
	dns_cache_put(cache, &key, big, DNS_CACHE_ENTRY_MAX + 1, 1000, 0);
	assert_null(get(cache, "bigger", 0, &age));
	dns_cache_free(cache);
}

static struct ip ip_of(uint8_t last)
{
	return ip_v4((const uint8_t[4]){ 9, 9, 9, last });
}

static void add(struct dns_table *table, uint8_t last, const char *name, bool configured, uint32_t ttl, int64_t now_s)
{
	struct dns_name wire;
	struct ip ip = ip_of(last);

	assert_true(dns_name_from_text(&wire, name));
	dns_table_add(table, &ip, &wire, configured, ttl, now_s * NSEC_PER_SEC);
}

static bool join(void *arg, const struct dns_name *name)
{
	char *text = arg;

	dns_name_to_text(name, text + strlen(text));
	strncat(text, " ", 2);
	return true;
}

/** names() - All of an address, the latest first. */
static const char *names(const struct dns_table *table, uint8_t last, bool configured_only, int64_t now_ns)
{
	static char text[4096];
	struct ip ip = ip_of(last);

	text[0] = '\0';
	assert_true(dns_table_each(table, &ip, configured_only, now_ns, join, text));
	return text;
}

static void test_table_life(void **state)
{
	struct dns_table *table = dns_table_new();
	uint32_t records, bytes;

	(void)state;
	add(table, 1, "a.com", true, 10, 100);
	add(table, 1, "b.com", true, 0, 100);
	add(table, 2, "c.com", true, 10, 100);
	assert_string_equal(names(table, 1, true, 100 * NSEC_PER_SEC), "b.com a.com ");
	/* At least a second, and not a nanosecond more than it says. */
	assert_string_equal(names(table, 1, true, 101 * NSEC_PER_SEC - 1), "b.com a.com ");
	assert_string_equal(names(table, 1, true, 101 * NSEC_PER_SEC), "a.com ");
	assert_string_equal(names(table, 1, true, 110 * NSEC_PER_SEC - 1), "a.com ");
	assert_string_equal(names(table, 1, true, 110 * NSEC_PER_SEC), "");
	assert_string_equal(names(table, 2, true, 100 * NSEC_PER_SEC), "c.com ");
	assert_string_equal(names(table, 3, true, 100 * NSEC_PER_SEC), "");
	/* Told again: longer, never shorter. */
	add(table, 2, "c.com", true, 10, 105);
	add(table, 2, "c.com", true, 1, 106);
	assert_string_equal(names(table, 2, true, 115 * NSEC_PER_SEC - 1), "c.com ");
	assert_string_equal(names(table, 2, true, 115 * NSEC_PER_SEC), "");
	dns_table_size(table, &records, &bytes);
	assert_int_equal(records, 3);
	dns_table_free(table);
}

static void test_table_trust(void **state)
{
	struct dns_table *table = dns_table_new();

	(void)state;
	add(table, 1, "a.com", false, 10, 0);
	assert_string_equal(names(table, 1, false, 0), "a.com ");
	assert_string_equal(names(table, 1, true, 0), "");
	add(table, 1, "a.com", true, 2, 0);
	assert_string_equal(names(table, 1, true, 0), "a.com ");
	/* The other one's word does not make ours last longer. */
	add(table, 1, "a.com", false, 100, 0);
	assert_string_equal(names(table, 1, true, 2 * NSEC_PER_SEC), "");
	dns_table_free(table);
}

static void test_table_limits(void **state)
{
	struct dns_table *table = dns_table_new();
	uint32_t records, bytes;
	char name[256];

	(void)state;
	add(table, 1, "first.com", true, 1000, 0);
	for (unsigned int i = 0; i < DNS_NAMES_MAX - 1; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		add(table, (uint8_t)i, name, true, 1000, 0);
	}
	dns_table_size(table, &records, &bytes);
	assert_int_equal(records, DNS_NAMES_MAX);
	assert_non_null(strstr(names(table, 1, true, 0), "first.com "));
	add(table, 1, "first.com", true, 1000, 0); /* told again: n0 is the oldest now */
	add(table, 7, "last.com", true, 1000, 0);
	assert_non_null(strstr(names(table, 1, true, 0), "first.com "));
	assert_null(strstr(names(table, 0, true, 0), "n0 "));
	assert_non_null(strstr(names(table, 7, true, 0), "last.com "));
	/* Long names. */
	memset(name, 'x', sizeof(name));
	name[63] = name[127] = name[191] = '.';
	for (unsigned int i = 0; i < DNS_NAMES_MAX; i++) {
		snprintf(name + 200, 54, "%053u", i);
		add(table, (uint8_t)i, name, true, 1000, 0);
		dns_table_size(table, &records, &bytes);
		assert_true(records <= DNS_NAMES_MAX && bytes <= DNS_NAMES_BYTES_MAX);
	}
	assert_true(records < DNS_NAMES_MAX);
	dns_table_free(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cache_ttl),   cmocka_unit_test(test_cache_keys),	cmocka_unit_test(test_cache_limits),
		cmocka_unit_test(test_table_life),  cmocka_unit_test(test_table_trust), cmocka_unit_test(test_table_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
