/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway's configuration: what is written is read again, what is cut, doubled or out of range is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/macros.h"
#include "net/config.h"

static const char *blocked[] = { "ads.example.com", "x" }, *suffixes[] = { "corp" };

static struct gateway_config sample(void)
{
	struct gateway_config c = {
		.guest_mac = { 2, 1, 2, 3, 4, 5 },
		.gateway_mac = { 2, 1, 2, 3, 4, 6 },
		.have4 = true,
		.mtu = 1500,
		.max_connections = 4096,
		.rules = "allow@public,deny@10.0.0.0/8",
		.egress_default = "deny",
		.ingress_default = "allow",
		.strict = true,
		.nameserver_count = 2,
		.rebind_protection = true,
		.dns_timeout_ms = 5000,
		.blocked = blocked,
		.blocked_count = 2,
		.suffixes = suffixes,
		.suffix_count = 1,
		.rates.of[RATE_INGRESS][RATE_PACKETS] = { RATE_AMOUNT_MAX, 7, RATE_INTERVAL_MS_MAX },
		.ports = { { true, 53 }, { false, 65535 } },
		.port_count = 2,
	};

	ip_parse("172.16.0.2", &c.guest4);
	ip_parse("172.16.0.1", &c.gateway4);
	ip_parse("fd42::2", &c.guest6);
	ip_parse("fd42::1", &c.gateway6);
	c.nameservers[0] = (struct endpoint){ c.gateway4, 53 };
	c.nameservers[1] = (struct endpoint){ c.gateway6, 5353 };
	return c;
}

static void round_trip(void **state)
{
	struct gateway_config in = sample(), out;
	struct buf b = BUF_INIT(GATEWAY_CONFIG_MAX);
	struct error err = ERROR_INIT;

	(void)state;
	assert_true(gateway_config_encode(&b, &in));
	assert_int_equal(gateway_config_decode(b.data, b.len, &out, &err), 0);
	assert_memory_equal(in.guest_mac, out.guest_mac, 6);
	assert_memory_equal(in.gateway_mac, out.gateway_mac, 6);
	assert_true(ip_equal(&in.guest4, &out.guest4) && ip_equal(&in.gateway4, &out.gateway4));
	assert_true(ip_equal(&in.guest6, &out.guest6) && ip_equal(&in.gateway6, &out.gateway6));
	assert_true(out.have4 && !out.have6 && out.strict && !out.multi_tenant && out.rebind_protection);
	assert_int_equal(out.mtu, 1500);
	assert_int_equal(out.max_connections, 4096);
	assert_int_equal(out.dns_timeout_ms, 5000);
	assert_string_equal(out.rules, in.rules);
	assert_string_equal(out.egress_default, "deny");
	assert_string_equal(out.ingress_default, "allow");
	assert_int_equal(out.nameserver_count, 2);
	assert_true(endpoint_equal(&in.nameservers[1], &out.nameservers[1]));
	assert_int_equal(out.blocked_count, 2);
	assert_string_equal(out.blocked[1], "x");
	assert_int_equal(out.suffix_count, 1);
	assert_string_equal(out.suffixes[0], "corp");
	assert_memory_equal(&in.rates, &out.rates, sizeof(in.rates));
	assert_int_equal(out.port_count, 2);
	assert_true(out.ports[0].udp && !out.ports[1].udp);
	assert_int_equal(out.ports[1].guest_port, 65535);
	gateway_config_free(&out);
	buf_free(&b);
}

static void cut_or_longer(void **state)
{
	struct gateway_config in = sample(), out;
	struct buf b = BUF_INIT(GATEWAY_CONFIG_MAX);

	(void)state;
	assert_true(gateway_config_encode(&b, &in));
	for (size_t n = 0; n < b.len; n++) {
		assert_true(gateway_config_decode(b.data, n, &out, NULL) < 0);
		gateway_config_free(&out);
	}
	assert_true(buf_append(&b, "", 1));
	assert_true(gateway_config_decode(b.data, b.len, &out, NULL) < 0);
	gateway_config_free(&out);
	buf_free(&b);
}

static void out_of_range(void **state)
{
	static const struct {
		uint32_t mtu, connections;
	} bad[] = { { 1279, 1 }, { 65521, 1 }, { 1500, 0 }, { 1500, 4097 } };
	struct buf refused = BUF_INIT(GATEWAY_CONFIG_MAX);
	struct gateway_config in, out;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct buf b = BUF_INIT(GATEWAY_CONFIG_MAX);

		in = sample();
		in.mtu = bad[i].mtu;
		in.max_connections = bad[i].connections;
		assert_true(gateway_config_encode(&b, &in));
		assert_true(gateway_config_decode(b.data, b.len, &out, NULL) < 0);
		gateway_config_free(&out);
		buf_free(&b);
	}
	in = sample();
	in.port_count = GATEWAY_PORTS_MAX + 1;
	assert_false(gateway_config_encode(&refused, &in));
	buf_free(&refused);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(cut_or_longer),
		cmocka_unit_test(out_of_range),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
