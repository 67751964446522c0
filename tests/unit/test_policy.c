/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of the network: src/net/policy */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "net/policy/profile.h"
#include "net/policy/words.h"

/* The host of these tests: a gateway, an address in its LAN, a public one. */
static const char *const host_addresses[] = { "172.16.5.1", "fd42:6d73:62:5::1", "192.168.7.7", "93.184.216.1",
					      "2606:4700::99" };
/* What our DNS told this sandbox. */
static const struct {
	const char *ip, *name;
} records[] = { { "93.184.216.34", "example.com" },
		{ "93.184.216.35", "www.example.com" },
		{ "93.184.216.34", "shared.test" },
		{ "10.1.2.3", "inside.test" } };

static bool is_host(void *ctx, const struct ip *ip)
{
	char text[IP_TEXT_MAX];

	(void)ctx;
	ip_format(ip, text);
	for (size_t i = 0; i < ARRAY_LEN(host_addresses); i++)
		if (strcmp(host_addresses[i], text) == 0)
			return true;
	return false;
}

static bool has_name(void *ctx, const struct ip *ip, const char *name, bool below, bool allows)
{
	char text[IP_TEXT_MAX];
	size_t n = strlen(name), m;

	(void)allows;
	(void)ctx;
	ip_format(ip, text);
	for (size_t i = 0; i < ARRAY_LEN(records); i++) {
		if (strcmp(records[i].ip, text) != 0)
			continue;
		m = strlen(records[i].name);
		if (strcmp(records[i].name, name) == 0 ||
		    (below && m > n && strcmp(records[i].name + m - n, name) == 0 && records[i].name[m - n - 1] == '.'))
			return true;
	}
	return false;
}

static const struct policy_facts facts = { .is_host = is_host, .has_name = has_name };

static struct ip address(const char *text)
{
	struct ip ip;

	assert_true(ip_parse(text, &ip));
	return ip;
}

static struct policy *made(const char *groups, const char *rules, bool strict)
{
	struct policy_choice c = { .groups = groups, .rules = &rules, .rule_count = rules != NULL, .strict = strict };
	struct error err = ERROR_INIT;
	struct policy *p = policy_choose(&c, &err);

	if (!p)
		fail_msg("%s", err.text);
	return p;
}

static struct policy_decision ask(const struct policy *p, enum policy_direction direction,
				  enum policy_protocol protocol, const char *ip, uint16_t port,
				  enum policy_name_state state, const char *name)
{
	struct policy_flow flow = { direction, protocol, address(ip), port, state, name };
	struct policy_decision d;

	policy_decide(p, &flow, &facts, &d);
	assert_non_null(d.text);
	return d;
}

/** tcp() - Out to an address, nothing said yet. */
static enum policy_verdict tcp(const struct policy *p, const char *ip, uint16_t port)
{
	return ask(p, POLICY_EGRESS, POLICY_TCP, ip, port, POLICY_NAME_UNSEEN, NULL).verdict;
}

/** sni() - The same, with its name said. */
static enum policy_verdict sni(const struct policy *p, const char *ip, const char *name)
{
	return ask(p, POLICY_EGRESS, POLICY_TCP, ip, 443, name ? POLICY_NAME_SEEN : POLICY_NAME_NONE, name).verdict;
}

static enum policy_verdict question(const struct policy *p, const char *name)
{
	struct policy_decision d;

	policy_decide_question(p, POLICY_UDP, name, &d);
	assert_non_null(d.text);
	return d.verdict;
}

static void test_groups(void **state)
{
	static const struct {
		const char *ip, *group;
	} rows[] = {
		{ "0.0.0.0", "none" },
		{ "::", "none" },
		{ "172.16.5.1", "host" },
		{ "fd42:6d73:62:5::1", "host" },
		{ "192.168.7.7", "host" },
		{ "93.184.216.1", "host" },
		{ "::ffff:172.16.5.1", "host" },
		{ "64:ff9b::192.168.7.7", "host" },
		{ "2002:c0a8:0707::1", "host" },
		{ "169.254.169.254", "meta" },
		{ "169.254.170.2", "meta" },
		{ "fd00:ec2::254", "meta" },
		{ "168.63.129.16", "meta" },
		{ "192.0.0.192", "meta" },
		{ "100.100.100.200", "meta" },
		{ "2002:a9fe:a9fe::", "meta" },
		{ "127.0.0.1", "loopback" },
		{ "127.255.255.255", "loopback" },
		{ "::1", "loopback" },
		{ "10.0.0.0", "private" },
		{ "10.255.255.255", "private" },
		{ "172.15.255.255", "public" },
		{ "172.16.5.2", "private" },
		{ "172.31.255.255", "private" },
		{ "172.32.0.0", "public" },
		{ "192.167.255.255", "public" },
		{ "192.168.0.0", "private" },
		{ "192.169.0.0", "public" },
		{ "100.63.255.255", "public" },
		{ "100.64.0.0", "private" },
		{ "100.127.255.255", "private" },
		{ "100.128.0.0", "public" },
		{ "fc00::", "private" },
		{ "fdff::1", "private" },
		{ "64:ff9b::a00:1", "private" },
		{ "2002:0a00:0001::1", "private" },
		{ "::ffff:10.0.0.1", "private" },
		{ "169.254.0.1", "link-local" },
		{ "fe80::1", "link-local" },
		{ "febf::1", "link-local" },
		{ "fec0::1", "none" },
		{ "224.0.0.1", "multicast" },
		{ "239.255.255.255", "multicast" },
		{ "ff02::1", "multicast" },
		{ "240.0.0.1", "none" },
		{ "255.255.255.255", "none" },
		{ "0.1.2.3", "none" },
		{ "1.0.0.1", "public" },
		{ "192.0.0.1", "none" },
		{ "192.0.0.9", "public" },
		{ "192.0.0.10", "public" },
		{ "192.0.2.1", "none" },
		{ "192.31.196.1", "public" },
		{ "192.52.193.1", "public" },
		{ "192.88.99.1", "none" },
		{ "192.175.48.1", "public" },
		{ "198.17.255.255", "public" },
		{ "198.18.0.0", "none" },
		{ "198.19.255.255", "none" },
		{ "198.51.100.1", "none" },
		{ "203.0.113.1", "none" },
		{ "8.8.8.8", "public" },
		{ "223.255.255.255", "public" },
		{ "64:ff9b::808:808", "public" },
		{ "64:ff9b:1::1", "none" },
		{ "100::1", "none" },
		{ "2001::1", "none" },
		{ "2001:1::1", "public" },
		{ "2001:1::2", "public" },
		{ "2001:1::3", "public" },
		{ "2001:1::4", "none" },
		{ "2001:2::1", "none" },
		{ "2001:3::1", "public" },
		{ "2001:4:112::1", "public" },
		{ "2001:10::1", "none" },
		{ "2001:20::1", "public" },
		{ "2001:3f::1", "public" },
		{ "2001:40::1", "none" },
		{ "2001:200::1", "public" },
		{ "2001:db8::1", "none" },
		{ "2002:0808:0808::1", "public" },
		{ "2606:4700::1", "public" },
		{ "2620:4f:8000::1", "public" },
		{ "3fff::1", "none" },
		{ "3fff:1000::1", "public" },
		{ "3ffe::1", "public" },
		{ "4000::1", "none" },
		{ "5f00::1", "none" },
		{ "::808:808", "none" },
		{ "::a00:1", "none" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct ip ip = address(rows[i].ip), judged = policy_judged(&ip);
		enum policy_group g = policy_group_of(&ip, is_host(NULL, &ip) || is_host(NULL, &judged));

		if (strcmp(policy_group_name(g), rows[i].group) != 0)
			fail_msg("%s is %s, not %s", rows[i].ip, policy_group_name(g), rows[i].group);
	}
	/* Loopback is not the host, whatever its interfaces say. */
	assert_int_equal(policy_group_of(&(struct ip){ { [15] = 1 } }, true), POLICY_GROUP_LOOPBACK);
}

/** Contract 4.5 and issue 04.3: what the default policy refuses. */
static void test_default(void **state)
{
	static const char *const refused[] = { "10.0.0.1",
					       "192.168.1.1",
					       "172.20.0.1",
					       "100.64.1.1",
					       "169.254.169.254",
					       "169.254.1.1",
					       "127.0.0.1",
					       "172.16.5.1",
					       "192.168.7.7",
					       "93.184.216.1",
					       "fd42:6d73:62:5::1",
					       "2606:4700::99",
					       "168.63.129.16",
					       "192.0.0.192",
					       "100.100.100.200",
					       "fd00:ec2::254",
					       "64:ff9b::a00:1",
					       "2002:0a00:0001::1",
					       "::ffff:10.0.0.1",
					       "fe80::1",
					       "fc00::1",
					       "::1",
					       "::",
					       "0.0.0.0",
					       "224.0.0.1",
					       "ff02::1",
					       "240.0.0.1",
					       "255.255.255.255",
					       "192.0.2.1",
					       "2001:db8::1",
					       "64:ff9b::5db8:d801" };
	static const char *const allowed[] = { "1.2.3.4", "93.184.216.34", "8.8.8.8", "2606:4700::1",
					       "64:ff9b::808:808" };
	struct policy *p = made(NULL, NULL, false);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		for (int proto = 0; proto < POLICY_PROTOCOL_COUNT; proto++)
			if (ask(p, POLICY_EGRESS, (enum policy_protocol)proto, refused[i], 443, POLICY_NAME_UNSEEN,
				NULL)
				    .verdict != POLICY_DENY)
				fail_msg("%s is not refused", refused[i]);
	for (size_t i = 0; i < ARRAY_LEN(allowed); i++)
		for (int proto = 0; proto < POLICY_PROTOCOL_COUNT; proto++)
			if (ask(p, POLICY_EGRESS, (enum policy_protocol)proto, allowed[i], 443, POLICY_NAME_UNSEEN,
				NULL)
				    .verdict != POLICY_ALLOW)
				fail_msg("%s is not allowed", allowed[i]);
	/* Of the gateway DNS only. */
	assert_int_equal(tcp(p, "172.16.5.1", 53), POLICY_ALLOW);
	assert_int_equal(ask(p, POLICY_EGRESS, POLICY_UDP, "172.16.5.1", 53, POLICY_NAME_NONE, NULL).rule, 0);
	assert_int_equal(tcp(p, "172.16.5.1", 22), POLICY_DENY);
	assert_int_equal(question(p, "example.com"), POLICY_ALLOW);
	assert_int_equal(ask(p, POLICY_INGRESS, POLICY_TCP, "192.168.9.9", 80, POLICY_NAME_UNSEEN, NULL).verdict,
			 POLICY_ALLOW);
	assert_int_equal(policy_allows_answer(p, &(struct ip){ { 0xfc } }, &facts), false);
	assert_false(policy_has_names(p));
	policy_free(p);
}

/** Contract 4.2: each way to choose a policy. */
static void test_profiles(void **state)
{
	static const char *const rule = "allow@10.1.2.3";
	static const struct {
		struct policy_choice choice;
		bool out, in;	   /* the defaults */
		const char *texts; /* of all rules */
	} rows[] = {
		{ { 0 }, false, true, "allow@dns allow@public" },
		{ { .groups = "public" }, false, true, "allow@dns allow@public" },
		{ { .groups = "host,public" }, false, true, "allow@dns allow@host allow@public" },
		{ { .groups = "private", .rules = &rule, .rule_count = 1 },
		  false,
		  true,
		  "allow@10.1.2.3 allow@dns allow@private" },
		{ { .groups = "all" }, true, true, "" },
		{ { .groups = "all", .rules = &rule, .rule_count = 1 }, true, true, "allow@10.1.2.3" },
		{ { .groups = "none" }, false, false, "" },
		{ { .groups = "none", .rules = &rule, .rule_count = 1 }, false, false, "allow@10.1.2.3" },
		{ { .no_net = true }, false, false, "" },
		{ { .no_net = true, .rules = &rule, .rule_count = 1 }, false, false, "allow@10.1.2.3" },
		{ { .fallback = "deny" }, false, false, "" },
		{ { .fallback = "allow" }, true, true, "" },
		{ { .egress = "allow" }, true, true, "" },
		{ { .egress = "deny" }, false, true, "" },
		{ { .ingress = "deny" }, false, false, "" },
		{ { .egress = "allow", .ingress = "deny" }, true, false, "" },
		{ { .rules = &rule, .rule_count = 1 }, false, true, "allow@10.1.2.3" },
	};
	static const struct {
		struct policy_choice choice;
		const char *text;
	} bad[] = {
		{ { .groups = "public", .no_net = true }, "--net and --no-net exclude each other" },
		{ { .groups = "public", .egress = "deny" }, "--net and --net-default-egress exclude each other" },
		{ { .no_net = true, .fallback = "deny" }, "--no-net and --net-default exclude each other" },
		{ { .fallback = "deny", .ingress = "deny" },
		  "--net-default and --net-default-ingress exclude each other" },
		{ { .groups = "publik" },
		  "--net: \"publik\" is not public, private, host, all or none; did you mean \"public\"?" },
		{ { .groups = "all,public" }, "--net: \"all\" stands alone" },
		{ { .groups = "public,public" }, "--net: \"public\" was given twice" },
		{ { .groups = "" }, "--net: \"\" is not public, private, host, all or none" },
		{ { .groups = "public," }, "--net: \"\" is not public, private, host, all or none" },
		{ { .groups = "publicpublicpublicpublic" },
		  "--net: \"publicpublicpublicpublic\" is not public, private, host, all or none" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct error err = ERROR_INIT;
		struct policy *p = policy_choose(&rows[i].choice, &err);
		char texts[200] = "";

		assert_non_null(p);
		for (size_t r = 0; r < policy_rule_count(p); r++)
			snprintf(texts + strlen(texts), sizeof(texts) - strlen(texts), r ? " %s" : "%s",
				 policy_rule_text(p, r));
		assert_string_equal(texts, rows[i].texts);
		assert_int_equal(policy_default(p, POLICY_EGRESS), rows[i].out);
		assert_int_equal(policy_default(p, POLICY_INGRESS), rows[i].in);
		policy_free(p);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct error err = ERROR_INIT;

		assert_null(policy_choose(&bad[i].choice, &err));
		assert_int_equal(err.code, ERR_USAGE);
		assert_string_equal(err.text, bad[i].text);
	}
}

/** Contract 4.3: spellings, and their shortest form. */
static void test_spellings(void **state)
{
	static const struct {
		const char *typed, *text, *words;
	} rows[] = {
		{ "allow@any", "allow@any", "allow everything to any address" },
		{ "deny:egress@any:any:any", "deny@any", "deny everything to any address" },
		{ "allow:any@private", "allow:any@private", "allow everything to and from private networks" },
		{ "deny:ingress@any:tcp:22", "deny:ingress@any:tcp:22", "deny TCP port 22 from any address" },
		{ "allow@dns", "allow@dns", "allow DNS at the gateway" },
		{ "allow@link-local:udp", "allow@link-local:udp", "allow UDP to link-local addresses" },
		{ " allow@public:any:1-1024 ", "allow@public:any:1-1024",
		  "allow TCP and UDP ports 1 to 1024 to public addresses" },
		{ "allow@public:icmpv4", "allow@public:icmpv4", "allow ICMP echo (IPv4) to public addresses" },
		{ "allow@1.2.3.4", "allow@1.2.3.4", "allow everything to 1.2.3.4" },
		{ "allow@1.2.3.4/32:tcp:80-80", "allow@1.2.3.4:tcp:80", "allow TCP port 80 to 1.2.3.4" },
		{ "deny@10.0.0.0/8", "deny@10.0.0.0/8", "deny everything to 10.0.0.0/8" },
		{ "deny@0.0.0.0/0", "deny@0.0.0.0/0", "deny everything to 0.0.0.0/0" },
		{ "deny@::ffff:10.0.0.0/104", "deny@10.0.0.0/8", "deny everything to 10.0.0.0/8" },
		{ "deny@::/0", "deny@[::/0]", "deny everything to ::/0" },
		{ "deny@2001:DB8::/32", "deny@[2001:db8::/32]", "deny everything to 2001:db8::/32" },
		{ "deny@[2001:db8::]/32:tcp:1", "deny@[2001:db8::/32]:tcp:1", "deny TCP port 1 to 2001:db8::/32" },
		{ "deny@[::1]:udp:53", "deny@[::1]:udp:53", "deny UDP port 53 to ::1" },
		{ "deny@2002::/16", "deny@[2002::/16]", "deny everything to 2002::/16" },
		{ "allow@Example.COM.", "allow@example.com", "allow everything to example.com" },
		{ "allow@domain=intranet", "allow@domain=intranet", "allow everything to intranet" },
		{ "allow@domain=a.b", "allow@a.b", "allow everything to a.b" },
		{ "allow@suffix=example.com:tcp:443", "allow@suffix=example.com:tcp:443",
		  "allow TCP port 443 to example.com and all names below it" },
		{ "deny@*.example.com", "deny@suffix=example.com",
		  "deny everything to example.com and all names below it" },
		{ "allow@_sip.x-1.test", "allow@_sip.x-1.test", "allow everything to _sip.x-1.test" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct policy *p = made(NULL, rows[i].typed, false), *again;
		struct buf words = BUF_INIT(500);

		assert_int_equal(policy_rule_count(p), 1);
		assert_string_equal(policy_rule_text(p, 0), rows[i].text);
		policy_rule_words(p, 0, &words);
		assert_string_equal(buf_cstr(&words), rows[i].words);
		buf_free(&words);
		again = made(NULL, policy_rule_text(p, 0), false);
		assert_string_equal(policy_rule_text(again, 0), rows[i].text);
		policy_free(again);
		policy_free(p);
	}
}

/** Every refusal points at the token and says what would do. */
static void test_mistakes(void **state)
{
	static const struct {
		const char *typed, *text;
	} rows[] = {
		{ "", "rules \"\": one of them is empty" },
		{ "allow@any,", "rules \"allow@any,\": one of them is empty" },
		{ "public", "rule \"public\" has no \"@\"; expected ACTION@TARGET" },
		{ "allw@any", "\"allw\" is no action; expected allow or deny; did you mean \"allow\"?" },
		{ "Allow@any", "did you mean \"allow\"?" },
		{ "block@any", "\"block\" is no action; expected allow or deny" },
		{ "allow:out@any", "\"out\" is no direction; expected egress, ingress or any" },
		{ "allow:ingres@any", "did you mean \"ingress\"?" },
		{ "allow@", "has no target; expected any, dns, a group" },
		{ "allow@:tcp", "has no target" },
		{ "allow@publik", "\"publik\" is no target; did you mean \"public\"?" },
		{ "allow@linklocal", "did you mean \"link-local\"?" },
		{ "allow@github", "\"github\" is no target; expected any, dns, host, meta" },
		{ "allow@host:443", "\"443\" is a port; the protocol comes before it, as in :tcp:443" },
		{ "allow@10.0.0.1:80-90", "as in :tcp:80-90" },
		{ "allow@any:tpc",
		  "\"tpc\" is no protocol; expected any, tcp, udp, icmpv4 or icmpv6; did you mean \"tcp\"?" },
		{ "allow@any:icmp", "did you mean \"icmpv4\"?" },
		{ "allow@any:", "\"\" is no protocol" },
		{ "allow@any:tcp:", "\"\" is no port; expected 1 to 65535" },
		{ "allow@any:tcp:0", "\"0\" is no port" },
		{ "allow@any:tcp:65536", "\"65536\" is no port" },
		{ "allow@any:tcp:http", "\"http\" is no port" },
		{ "allow@any:tcp:-5", "\"\" is no port" },
		{ "allow@any:tcp:5-", "\"\" is no port" },
		{ "allow@any:tcp:90-80", "\"90\" begins a range that ends at 80; expected the lower port first" },
		{ "allow@any:tcp:80:90", "\"90\" is too much" },
		{ "allow@any:icmpv6:1", "\"1\" is too much: icmpv6 has no ports" },
		{ "allow:ingress@any:icmpv4", "\"icmpv4\" is for egress only" },
		{ "allow:any@any:icmpv4", "\"icmpv4\" is for egress only" },
		{ "allow@dns:udp", "\"udp\" is too much: \"dns\" is tcp and udp port 53" },
		{ "allow:any@dns", "\"dns\" is for egress only" },
		{ "allow@10.0.0.1/8", "\"10.0.0.1/8\" has bits behind its prefix; did you mean 10.0.0.0/8?" },
		{ "allow@[2001:db8::1/32]", "did you mean 2001:db8::/32?" },
		{ "allow@10.0.0.0/33", "\"10.0.0.0/33\" is no address or prefix" },
		{ "allow@256.1.1.1", "\"256.1.1.1\" is no address or prefix" },
		{ "allow@1.2.3", "\"1.2.3\" is no address or prefix" },
		{ "allow@2001:db8::zz/3", "holds an IPv6 address; expected it in brackets" },
		{ "allow@::1:tcp:443", "holds an IPv6 address; expected it in brackets" },
		{ "allow@[::1", "\"[::1\" has no closing bracket" },
		{ "allow@[::1]x", "\"x\" follows a bracket" },
		{ "allow@[1.2.3.4]", "\"1.2.3.4\" is no IPv6 address" },
		{ "allow@[fe80::1%eth0]", "\"fe80::1%eth0\" is no address or prefix" },
		{ "allow@2002:a00:1::/48", "holds IPv4 addresses, which count; allow those (here 10.0.0.1)" },
		{ "allow@[64:ff9b::/96]", "holds IPv4 addresses, which count" },
		{ "allow@suffix=com", "\"com\" has one label only; expected at least two" },
		{ "allow@*.com", "\"com\" has one label only" },
		{ "allow@name=example.com", "\"name=example.com\" is no target; expected domain=NAME or suffix=NAME" },
		{ "allow@domain=", "\"\" is not a name" },
		{ "allow@a..b", "\"a..b\" is not a name" },
		{ "allow@.a.b", "\".a.b\" is not a name" },
		{ "allow@a.b!", "\"a.b!\" is not a name" },
		{ "allow@b\xc3\xbc"
		  "cher.de",
		  "is not ASCII; write such a name as DNS has it (xn--...)" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct policy_choice c = { .rules = &rows[i].typed, .rule_count = 1 };
		struct error err = ERROR_INIT;

		assert_null(policy_choose(&c, &err));
		assert_int_equal(err.code, ERR_USAGE);
		if (!strstr(err.text, rows[i].text) || strncmp(err.text, "--net-rule: ", 12) != 0)
			fail_msg("%s: %s", rows[i].typed, err.text);
	}
}

static void test_names(void **state)
{
	struct policy *p = made(NULL, "allow@example.com:tcp:443", false);
	struct policy_decision d;

	(void)state;
	/* Contract 4.5: only that host; its address with another SNI fails. */
	assert_int_equal(tcp(p, "93.184.216.34", 443), POLICY_NEED_NAME);
	assert_int_equal(sni(p, "93.184.216.34", "Example.com."), POLICY_ALLOW);
	assert_int_equal(sni(p, "93.184.216.34", NULL), POLICY_ALLOW);
	assert_int_equal(sni(p, "93.184.216.34", "shared.test"), POLICY_DENY);
	assert_int_equal(sni(p, "93.184.216.34", "www.example.com"), POLICY_DENY);
	assert_int_equal(sni(p, "93.184.216.34", "badexample.com"), POLICY_DENY);
	assert_int_equal(sni(p, "93.184.216.34", ""), POLICY_DENY);
	assert_int_equal(sni(p, "93.184.216.99", "example.com"), POLICY_DENY);
	assert_int_equal(tcp(p, "93.184.216.34", 80), POLICY_DENY);
	assert_int_equal(tcp(p, "93.184.216.99", 443), POLICY_DENY);
	assert_int_equal(ask(p, POLICY_EGRESS, POLICY_UDP, "93.184.216.34", 443, POLICY_NAME_UNSEEN, NULL).verdict,
			 POLICY_DENY);
	/* The name resolves without allow@dns, whatever its ports; no other does. */
	assert_int_equal(question(p, "EXAMPLE.com"), POLICY_ALLOW);
	assert_int_equal(question(p, "example.com."), POLICY_ALLOW);
	assert_int_equal(question(p, "www.example.com"), POLICY_DENY);
	assert_int_equal(question(p, "example.org"), POLICY_DENY);
	assert_int_equal(question(p, ""), POLICY_DENY);
	assert_true(policy_has_names(p));
	policy_free(p);

	p = made(NULL, "allow@suffix=example.com", false);
	assert_int_equal(tcp(p, "93.184.216.35", 80), POLICY_NEED_NAME);
	assert_int_equal(sni(p, "93.184.216.35", "www.example.com"), POLICY_ALLOW);
	assert_int_equal(sni(p, "93.184.216.35", "example.com"), POLICY_ALLOW);
	assert_int_equal(sni(p, "93.184.216.35", "xexample.com"), POLICY_DENY);
	assert_int_equal(ask(p, POLICY_EGRESS, POLICY_UDP, "93.184.216.35", 443, POLICY_NAME_UNSEEN, NULL).verdict,
			 POLICY_ALLOW);
	assert_int_equal(ask(p, POLICY_EGRESS, POLICY_ICMPV4, "93.184.216.35", 0, POLICY_NAME_NONE, NULL).verdict,
			 POLICY_ALLOW);
	assert_int_equal(question(p, "a.b.example.com"), POLICY_ALLOW);
	policy_free(p);

	/* Strict: the stream must say it. */
	p = made(NULL, "allow@example.com", true);
	assert_int_equal(tcp(p, "93.184.216.34", 443), POLICY_NEED_NAME);
	assert_int_equal(sni(p, "93.184.216.34", NULL), POLICY_DENY);
	assert_int_equal(sni(p, "93.184.216.34", "example.com"), POLICY_ALLOW);
	assert_int_equal(ask(p, POLICY_EGRESS, POLICY_UDP, "93.184.216.34", 443, POLICY_NAME_UNSEEN, NULL).verdict,
			 POLICY_DENY);
	policy_free(p);

	/* A denial matches by the stream's name alone, or by the record alone. */
	p = made("public", "deny@example.com", false);
	d = ask(p, POLICY_EGRESS, POLICY_TCP, "8.8.8.8", 443, POLICY_NAME_UNSEEN, NULL);
	assert_int_equal(d.verdict, POLICY_NEED_NAME);
	assert_string_equal(d.text, "deny@example.com");
	assert_int_equal(sni(p, "8.8.8.8", "example.com"), POLICY_DENY);
	assert_int_equal(sni(p, "8.8.8.8", "example.org"), POLICY_ALLOW);
	assert_int_equal(sni(p, "8.8.8.8", NULL), POLICY_ALLOW);
	assert_int_equal(sni(p, "93.184.216.34", NULL), POLICY_DENY);
	assert_int_equal(sni(p, "93.184.216.34", "shared.test"), POLICY_ALLOW);
	/* Denied in any case: no handshake is needed to say so. */
	assert_int_equal(tcp(p, "10.0.0.1", 443), POLICY_DENY);
	assert_int_equal(question(p, "example.com"), POLICY_DENY);
	assert_int_equal(question(p, "www.example.com"), POLICY_ALLOW);
	policy_free(p);

	/* Ingress has no name of the peer's but the record. */
	p = made(NULL, "allow:any@inside.test,deny:ingress@any", false);
	assert_int_equal(ask(p, POLICY_INGRESS, POLICY_TCP, "10.1.2.3", 80, POLICY_NAME_UNSEEN, NULL).verdict,
			 POLICY_ALLOW);
	assert_int_equal(ask(p, POLICY_INGRESS, POLICY_TCP, "10.1.2.4", 80, POLICY_NAME_UNSEEN, NULL).verdict,
			 POLICY_DENY);
	policy_free(p);
}

static void test_block_lists(void **state)
{
	static const char *const domains[] = { "ADS.example.com." }, *const suffixes[] = { ".tracker.test", "bad" };
	static const char *const rules[] = { "allow@any" };
	struct policy_source s = { .rules = rules,
				   .rule_count = 1,
				   .block_domains = domains,
				   .block_domain_count = 1,
				   .block_suffixes = suffixes,
				   .block_suffix_count = 2 };
	static const char *const wrong[] = { "a..b" };
	struct error err = ERROR_INIT;
	struct policy *p = policy_new(&s, &err);

	(void)state;
	assert_non_null(p);
	assert_string_equal(policy_rule_text(p, 0), "--dns-block-domain ads.example.com");
	assert_string_equal(policy_rule_text(p, 1), "--dns-block-suffix tracker.test");
	assert_int_equal(question(p, "ads.example.com"), POLICY_DENY);
	assert_int_equal(question(p, "example.com"), POLICY_ALLOW);
	assert_int_equal(question(p, "x.ads.example.com"), POLICY_ALLOW);
	assert_int_equal(question(p, "a.b.tracker.test"), POLICY_DENY);
	assert_int_equal(question(p, "Tracker.Test"), POLICY_DENY);
	assert_int_equal(question(p, "xtracker.test"), POLICY_ALLOW);
	assert_int_equal(question(p, "very.bad"), POLICY_DENY);
	/* Their addresses from elsewhere: the stream says the name. */
	assert_int_equal(sni(p, "8.8.8.8", "ads.example.com"), POLICY_DENY);
	assert_int_equal(sni(p, "8.8.8.8", "example.com"), POLICY_ALLOW);
	policy_free(p);
	s.block_suffixes = wrong;
	s.block_suffix_count = 1;
	assert_null(policy_new(&s, &err));
	assert_true(strstr(err.text, "--dns-block-suffix: \"a..b\" is not a name") == err.text);
}

static void test_rules(void **state)
{
	struct policy *p = made(NULL, "allow@public:tcp:443", false);

	(void)state;
	/* Contract 4.5: addresses work, names do not resolve. */
	assert_int_equal(tcp(p, "8.8.8.8", 443), POLICY_ALLOW);
	assert_int_equal(tcp(p, "8.8.8.8", 80), POLICY_DENY);
	assert_int_equal(question(p, "example.com"), POLICY_DENY);
	policy_free(p);

	/* The first match wins; ports of any protocol are not ICMP's. */
	p = made(NULL, "deny@10.0.0.5,allow@10.0.0.0/8:any:80-90,allow@10.9.0.0/16", false);
	assert_int_equal(tcp(p, "10.0.0.5", 80), POLICY_DENY);
	assert_int_equal(tcp(p, "10.0.0.6", 80), POLICY_ALLOW);
	assert_int_equal(tcp(p, "10.0.0.6", 90), POLICY_ALLOW);
	assert_int_equal(tcp(p, "10.0.0.6", 91), POLICY_DENY);
	assert_int_equal(tcp(p, "10.0.0.6", 79), POLICY_DENY);
	assert_int_equal(ask(p, POLICY_EGRESS, POLICY_UDP, "10.0.0.6", 85, POLICY_NAME_NONE, NULL).rule, 1);
	assert_int_equal(ask(p, POLICY_EGRESS, POLICY_ICMPV4, "10.0.0.6", 0, POLICY_NAME_NONE, NULL).rule,
			 POLICY_RULE_DEFAULT);
	assert_int_equal(ask(p, POLICY_EGRESS, POLICY_ICMPV4, "10.9.0.6", 0, POLICY_NAME_NONE, NULL).rule, 2);
	assert_int_equal(tcp(p, "64:ff9b::a00:6", 80), POLICY_ALLOW);
	policy_free(p);

	/* ::/0 is IPv6 only, 0.0.0.0/0 IPv4 only and what carries it. */
	p = made("all", "deny@::/0", false);
	assert_int_equal(tcp(p, "8.8.8.8", 80), POLICY_ALLOW);
	assert_int_equal(tcp(p, "2606:4700::1", 80), POLICY_DENY);
	assert_int_equal(tcp(p, "2002:0808:0808::1", 80), POLICY_DENY);
	policy_free(p);
	p = made("all", "deny@0.0.0.0/0", false);
	assert_int_equal(tcp(p, "2606:4700::1", 80), POLICY_ALLOW);
	assert_int_equal(tcp(p, "2002:0808:0808::1", 80), POLICY_DENY);
	policy_free(p);
	p = made(NULL, "allow@::/0", false);
	assert_int_equal(tcp(p, "2606:4700::1", 80), POLICY_ALLOW);
	assert_int_equal(tcp(p, "8.8.8.8", 80), POLICY_DENY);
	assert_int_equal(tcp(p, "2002:0a00:0001::1", 80), POLICY_DENY);
	policy_free(p);

	/* Never, whatever the rules say. */
	p = made("all", NULL, false);
	assert_int_equal(tcp(p, "255.255.255.255", 80), POLICY_DENY);
	assert_int_equal(tcp(p, "2002:f000:0001::1", 80), POLICY_DENY);
	assert_int_equal(ask(p, POLICY_EGRESS, POLICY_TCP, "0.0.0.0", 80, POLICY_NAME_NONE, NULL).rule,
			 POLICY_RULE_NEVER);
	assert_int_equal(tcp(p, "8.8.8.8", 853), POLICY_DENY);
	assert_int_equal(ask(p, POLICY_EGRESS, POLICY_UDP, "8.8.8.8", 5353, POLICY_NAME_NONE, NULL).rule,
			 POLICY_RULE_NEVER);
	assert_int_equal(ask(p, POLICY_INGRESS, POLICY_UDP, "8.8.8.8", 5353, POLICY_NAME_NONE, NULL).verdict,
			 POLICY_ALLOW);
	assert_int_equal(tcp(p, "240.0.0.0", 80), POLICY_DENY);
	assert_int_equal(tcp(p, "4000::1", 80), POLICY_ALLOW);
	assert_int_equal(tcp(p, "169.254.169.254", 80), POLICY_ALLOW);
	policy_free(p);

	/* Directions apart. */
	p = made("none", "allow:ingress@private:tcp:80,deny:any@10.0.0.0/8,allow:any@any", false);
	assert_int_equal(ask(p, POLICY_INGRESS, POLICY_TCP, "10.0.0.1", 80, POLICY_NAME_NONE, NULL).rule, 0);
	assert_int_equal(ask(p, POLICY_INGRESS, POLICY_TCP, "10.0.0.1", 81, POLICY_NAME_NONE, NULL).rule, 1);
	assert_int_equal(ask(p, POLICY_EGRESS, POLICY_TCP, "10.0.0.1", 80, POLICY_NAME_NONE, NULL).rule, 1);
	assert_int_equal(ask(p, POLICY_EGRESS, POLICY_TCP, "192.168.0.1", 80, POLICY_NAME_NONE, NULL).rule, 2);
	policy_free(p);
}

/** Questions by rules that are not names: any, host and dns by protocol and port 53, others never. */
static void test_questions(void **state)
{
	static const struct {
		const char *rules;
		bool udp, tcp;
	} rows[] = {
		{ "allow@any", true, true },
		{ "allow@any:tcp", false, true },
		{ "allow@any:udp:53", true, false },
		{ "allow@any:any:53-60", true, true },
		{ "allow@any:tcp:443", false, false },
		{ "allow@host", true, true },
		{ "allow@host:udp", true, false },
		{ "allow@host:tcp:22", false, false },
		{ "allow@dns", true, true },
		{ "deny@dns,allow@any", false, false },
		{ "deny@any:udp,allow@host", false, true },
		{ "allow@public", false, false },
		{ "allow@0.0.0.0/0", false, false },
		{ "allow@private,allow@172.16.5.1", false, false },
		{ "deny@x.test,allow@dns", false, false },
		{ "deny@x.test:tcp:25,allow@dns", false, false },
		{ "deny:ingress@x.test,allow@dns", true, true },
		{ "deny@suffix=x.test,allow@dns", false, false },
		{ "allow:ingress@any", false, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct policy *p = made(NULL, rows[i].rules, false);
		struct policy_decision udp, tcp;

		policy_decide_question(p, POLICY_UDP, "x.test", &udp);
		policy_decide_question(p, POLICY_TCP, "x.test", &tcp);
		if ((udp.verdict == POLICY_ALLOW) != rows[i].udp || (tcp.verdict == POLICY_ALLOW) != rows[i].tcp)
			fail_msg("%s", rows[i].rules);
		policy_free(p);
	}
}

/** Rebind protection: who lets 10.1.2.3 into an answer. */
static void test_answers(void **state)
{
	static const struct {
		const char *rules;
		bool allowed;
	} rows[] = {
		{ "allow@10.1.2.3", true },
		{ "allow@10.0.0.0/8", true },
		{ "allow:any@10.0.0.0/8", true },
		{ "allow@10.0.0.0/8:tcp", false },
		{ "allow@10.0.0.0/8:any:80", false },
		{ "allow:ingress@10.0.0.0/8", false },
		{ "allow@private", false },
		{ "allow@any", false },
		{ "allow@inside.test", false },
		{ "allow@any,allow@10.1.2.3", true },
		{ "deny@10.1.2.3,allow@10.0.0.0/8", false },
		{ "deny@private,allow@10.0.0.0/8", false },
		{ "deny@any:tcp:22,allow@10.0.0.0/8", true },
		{ "allow@10.0.0.0/8,deny@private", true },
		{ "allow@11.0.0.0/8", false },
	};
	struct ip ip = address("10.1.2.3"), mapped = address("64:ff9b::a01:203");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct policy *p = made(NULL, rows[i].rules, false);

		if (policy_allows_answer(p, &ip, &facts) != rows[i].allowed ||
		    policy_allows_answer(p, &mapped, &facts) != rows[i].allowed)
			fail_msg("%s", rows[i].rules);
		policy_free(p);
	}
}

/** Contract 4.10: the rules can only take away from public addresses and DNS. */
static void test_tenants(void **state)
{
	static const char *const rules[] = { "deny@1.2.3.4,allow@any" };
	struct policy_source s = { .rules = rules, .rule_count = 1, .allow_egress = true, .multi_tenant = true };
	struct error err = ERROR_INIT;
	struct policy *p = policy_new(&s, &err);
	struct ip private = address("10.0.0.1");

	(void)state;
	assert_non_null(p);
	assert_int_equal(tcp(p, "8.8.8.8", 80), POLICY_ALLOW);
	assert_int_equal(tcp(p, "1.2.3.4", 80), POLICY_DENY);
	assert_int_equal(tcp(p, "10.0.0.1", 80), POLICY_DENY);
	assert_int_equal(tcp(p, "192.0.2.1", 80), POLICY_DENY);
	assert_int_equal(tcp(p, "172.16.5.1", 80), POLICY_DENY);
	assert_int_equal(ask(p, POLICY_EGRESS, POLICY_UDP, "172.16.5.1", 53, POLICY_NAME_NONE, NULL).verdict,
			 POLICY_ALLOW);
	assert_int_equal(ask(p, POLICY_EGRESS, POLICY_ICMPV4, "172.16.5.1", 0, POLICY_NAME_NONE, NULL).verdict,
			 POLICY_DENY);
	assert_int_equal(ask(p, POLICY_INGRESS, POLICY_TCP, "10.0.0.1", 80, POLICY_NAME_NONE, NULL).verdict,
			 POLICY_DENY);
	policy_free(p);
	s.rules = (const char *[]){ "allow@10.0.0.0/8" };
	p = policy_new(&s, &err);
	assert_false(policy_allows_answer(p, &private, &facts));
	policy_free(p);
}

static void test_words(void **state)
{
	struct policy *p = made(NULL, "allow@example.com:tcp:443,deny:ingress@any:tcp:22", true);
	struct buf words = BUF_INIT(4096);

	(void)state;
	policy_words(p, 2, &words);
	assert_string_equal(buf_cstr(&words),
			    "  Egress:  denied, but for the first of these rules that matches:\n"
			    "    1. allow TCP port 443 to example.com\n"
			    "  Ingress: allowed, but for the first of these rules that matches:\n"
			    "    2. deny TCP port 22 from any address\n"
			    "  Strict:  a name is allowed only where the connection itself says it\n");
	buf_free(&words);
	policy_free(p);
}

/** A list as long as may be, and one longer. */
static void test_limits(void **state)
{
	static const char *rules[POLICY_RULES_MAX + 1];
	struct policy_source s = { .rules = rules, .rule_count = POLICY_RULES_MAX };
	struct error err = ERROR_INIT;
	static char label[80], name[400];
	struct policy *p;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rules); i++)
		rules[i] = "deny@any";
	p = policy_new(&s, &err);
	assert_non_null(p);
	assert_int_equal(policy_rule_count(p), POLICY_RULES_MAX);
	policy_free(p);
	s.rule_count++;
	assert_null(policy_new(&s, &err));
	assert_string_equal(err.text, "more than 1024 rules");

	/* RFC 1035, 2.3.4: labels of 63, names of 253. */
	memset(label, 'a', 63);
	snprintf(name, sizeof(name), "allow@%s.%s.%s.%.61s", label, label, label, label);
	policy_free(made(NULL, name, false));
	for (int i = 0; i < 2; i++) {
		err_clear(&err);
		snprintf(name, sizeof(name), i ? "allow@a%s.b" : "allow@%s.%s.%s.%.62s", label, label, label, label);
		rules[0] = name;
		s.rule_count = 1;
		assert_null(policy_new(&s, &err));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_groups),	    cmocka_unit_test(test_default),  cmocka_unit_test(test_profiles),
		cmocka_unit_test(test_spellings),   cmocka_unit_test(test_mistakes), cmocka_unit_test(test_names),
		cmocka_unit_test(test_block_lists), cmocka_unit_test(test_rules),    cmocka_unit_test(test_questions),
		cmocka_unit_test(test_answers),	    cmocka_unit_test(test_tenants),  cmocka_unit_test(test_words),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
