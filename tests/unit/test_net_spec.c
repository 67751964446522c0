/* SPDX-License-Identifier: Apache-2.0 */
/* What may be said of ports and name servers: src/net/spec.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "net/spec.h"

static void test_ports(void **state)
{
	static const struct {
		const char *typed, *text;
	} good[] = {
		{ "8080:80", "127.0.0.1:8080->80/tcp" },
		{ "8080:80/tcp", "127.0.0.1:8080->80/tcp" },
		{ "5353:53/udp", "127.0.0.1:5353->53/udp" },
		{ "0.0.0.0:1:65535", "0.0.0.0:1->65535/tcp" },
		{ "[::]:80:80", "[::]:80->80/tcp" },
		{ "[2001:db8:0:0::1]:443:8443/udp", "[2001:db8::1]:443->8443/udp" },
	};
	static const struct {
		const char *typed, *text;
	} bad[] = {
		{ "", "\"\" is no published port; expected [BIND:]HOST:GUEST[/tcp|/udp], as in 8080:80" },
		{ "80", "\"80\" is no published port" },
		{ "[::1]", "\"[::1]\" is no published port" },
		{ "0:80", "\"0:80\": \"0\" is no port; expected 1 to 65535" },
		{ "80:0", "\"80:0\": \"0\" is no port" },
		{ "80:65536", "\"65536\" is no port" },
		{ "http:80", "\"http\" is no port" },
		{ "80:", "\"\" is no port" },
		{ ":80", "\"\" is no port" },
		{ "80:80/sctp", "\"sctp\" is no protocol; expected tcp or udp" },
		{ "80:80/", "\"\" is no protocol" },
		{ "80:80/tcp/udp", "\"tcp/udp\" is no protocol" },
		{ "localhost:80:80", "\"localhost\" is no address to listen on; expected one such as 127.0.0.1" },
		{ "1.2.3:80:80", "\"1.2.3\" is no address" },
		{ "::1:80:80", "an IPv6 address needs brackets, as in [::1]:80:80" },
		{ "[::1:80:80", "expected an IPv6 address between the brackets" },
		{ "[1.2.3.4]:80:80", "expected an IPv6 address between the brackets" },
		{ "[::1]80:80", "expected an IPv6 address between the brackets" },
		{ "8080:00000000000000000000000000000000000000000000000000000000000000000000000000000080/tcp",
		  "is no published port" },
	};
	char text[NET_PORT_TEXT_MAX];
	struct net_port p;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(net_port_parse(good[i].typed, &p, NULL), 0);
		assert_string_equal(net_port_format(&p, text), good[i].text);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct error err = ERROR_INIT;

		assert_int_equal(net_port_parse(bad[i].typed, &p, &err), -(int)ERR_USAGE);
		if (!strstr(err.text, bad[i].text))
			fail_msg("%s: %s", bad[i].typed, err.text);
	}
}

static void test_servers(void **state)
{
	static const struct {
		const char *typed, *host, *endpoint;
	} good[] = {
		{ "1.1.1.1", "", "1.1.1.1:53" },
		{ "1.1.1.1:5353", "", "1.1.1.1:5353" },
		{ "2606:4700::1111", "", "[2606:4700::1111]:53" },
		{ "[2606:4700::1111]", "", "[2606:4700::1111]:53" },
		{ "[2606:4700::1111]:54", "", "[2606:4700::1111]:54" },
		{ "dns.example.com", "dns.example.com", "[::]:53" },
		{ "resolver:5300", "resolver", "[::]:5300" },
	};
	static const struct {
		const char *typed, *text;
	} bad[] = {
		{ "", "\"\" is no name server; expected IP, IP:PORT, [IPV6]:PORT, HOST or HOST:PORT" },
		{ "1.1.1", "\"1.1.1\" is no name server" },
		{ "1.1.1.1:0", "\"0\" is no port; expected 1 to 65535" },
		{ "1.1.1.1:dns", "\"dns\" is no port" },
		{ "1.1.1.1:", "\"\" is no port" },
		{ "[1.1.1.1]:53", "expected an IPv6 address between the brackets" },
		{ "[::1]53", "expected an IPv6 address between the brackets" },
		{ "[::1]:x", "\"x\" is no port" },
		{ "::zz", "is no name server" },
		{ "https://dns.example.com", "\"//dns.example.com\" is no port" },
		{ "a b", "\"a b\" is no name server" },
		{ "-x", "\"-x\" is no name server" },
	};
	char text[ENDPOINT_TEXT_MAX];
	struct net_server s;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(net_server_parse(good[i].typed, &s, NULL), 0);
		assert_string_equal(s.host, good[i].host);
		assert_string_equal(endpoint_format(&(struct endpoint){ s.ip, s.port }, text), good[i].endpoint);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct error err = ERROR_INIT;

		assert_int_equal(net_server_parse(bad[i].typed, &s, &err), -(int)ERR_USAGE);
		if (!strstr(err.text, bad[i].text))
			fail_msg("%s: %s", bad[i].typed, err.text);
	}
}

static void test_spec(void **state)
{
	struct error err = ERROR_INIT;
	struct policy_source s;
	struct net_spec n;

	(void)state;
	assert_true(net_spec_default(&n));
	assert_int_equal(net_spec_check(&n, &err), 0);
	net_spec_source(&n, &s);
	assert_int_equal(s.rule_count, 2);
	assert_string_equal(s.rules[1], "allow@public");
	assert_false(s.allow_egress);
	assert_true(s.allow_ingress);
	n.mtu = NET_MTU_MAX + 1;
	assert_int_equal(net_spec_check(&n, &err), -(int)ERR_INVALID);
	n.mtu = NET_MTU;
	err_clear(&err);
	assert_true(net_words_add(&n.rules, "allow@publik"));
	assert_int_equal(net_spec_check(&n, &err), -(int)ERR_USAGE);
	for (size_t i = n.rules.count; i < NET_WORDS_MAX; i++)
		assert_true(net_words_add(&n.rules, "deny@any"));
	assert_false(net_words_add(&n.rules, "deny@any"));
	net_spec_free(&n);
	assert_int_equal(n.rules.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_ports), cmocka_unit_test(test_servers),
					    cmocka_unit_test(test_spec) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
