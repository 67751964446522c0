/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses: src/net/ip.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macros.h"
#include "net/ip.h"

static void test_text(void **state)
{
	static const char *const same[] = { "10.0.0.1", "0.0.0.0", "255.255.255.255", "::", "::1", "2001:db8::1",
					    "fd42:6d73:62::2" };
	static const char *const bad[] = { "", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.4/8", "[::1]", "fe80::1%eth0",
					   "::1::", "localhost", " 1.2.3.4" };
	char text[ENDPOINT_TEXT_MAX];
	struct ip ip;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(same); i++) {
		assert_true(ip_parse(same[i], &ip));
		assert_string_equal(ip_format(&ip, text), same[i]);
		assert_int_equal(ip_is_v4(&ip), strchr(same[i], ':') == NULL);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(ip_parse(bad[i], &ip));
	assert_true(ip_parse("::ffff:10.0.0.1", &ip) && ip_is_v4(&ip));
	assert_string_equal(ip_format(&ip, text), "10.0.0.1");
	assert_string_equal(endpoint_format(&(struct endpoint){ ip, 53 }, text), "10.0.0.1:53");
	assert_true(ip_parse("2001:DB8:0::1", &ip));
	assert_string_equal(endpoint_format(&(struct endpoint){ ip, 65535 }, text), "[2001:db8::1]:65535");
}

static void test_prefix(void **state)
{
	static const struct {
		const char *net, *ip;
		bool in;
	} rows[] = {
		{ "10.0.0.0/8", "10.255.255.255", true },
		{ "10.0.0.0/8", "11.0.0.0", false },
		{ "172.16.0.0/12", "172.31.255.255", true },
		{ "172.16.0.0/12", "172.32.0.0", false },
		{ "0.0.0.0/0", "8.8.8.8", true },
		{ "0.0.0.0/0", "2001:db8::1", false },
		{ "::/0", "8.8.8.8", true },
		{ "1.2.3.4", "1.2.3.4", true },
		{ "1.2.3.4", "1.2.3.5", false },
		{ "fc00::/7", "fdff::1", true },
		{ "fc00::/7", "fe00::1", false },
		{ "::ffff:10.0.0.0/104", "10.1.2.3", true },
		{ "2001:db8::/127", "2001:db8::1", true },
		{ "2001:db8::/127", "2001:db8::2", false },
	};
	static const char *const bad[] = { "10.0.0.1/8", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8/8", "/8",
					   "x/8", "2001:db8::1/64", "10.0.0.0/ 8" };
	struct ip_net net;
	struct ip ip;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_true(ip_net_parse(rows[i].net, &net));
		assert_true(ip_parse(rows[i].ip, &ip));
		assert_int_equal(ip_in(&net, &ip), rows[i].in);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(ip_net_parse(bad[i], &net));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_prefix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
