/* SPDX-License-Identifier: Apache-2.0 */
/* msb net explain: which rule of a sandbox decides on a connection. Asked of the stored policy; nothing is sent. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/macros.h"
#include "cli/cli.h"
#include "engine/lifecycle.h"
#include "net/policy/words.h"
#include "net/spec.h"

#define SERVICE_PORT 443 /* when none is named */
#define GATEWAY_NAME "host.microsandbox.internal"

static struct {
	const char *format;
} o;

static const struct option_row rows[] = {
	{ 0, "format", "json", "output for programs", OPTION_STRING, &o.format, 0, 0 },
};

/** What was asked about. */
struct question {
	const char *typed;
	bool is_ip, gateway;
	struct ip ip;
	char name[NET_HOST_MAX];
	enum policy_protocol protocol;
	uint16_t port;	       /* 0: ICMP */
	struct ifaddrs *host;  /* owned: the addresses of this host */
	struct ip gateways[2]; /* the sandbox's */
	bool given;	       /* the name has the address that is looked at */
};

/** is_host() - The gateway, or an address of this host's interfaces. */
static bool is_host(void *ctx, const struct ip *ip)
{
	const struct question *q = ctx;
	struct ip one;

	for (const struct ifaddrs *a = q->host; a; a = a->ifa_next) {
		if (!a->ifa_addr)
			continue;
		if (a->ifa_addr->sa_family == AF_INET)
			one = ip_v4(
				(const uint8_t *)&((const struct sockaddr_in *)(const void *)a->ifa_addr)->sin_addr);
		else if (a->ifa_addr->sa_family == AF_INET6)
			memcpy(one.b, &((const struct sockaddr_in6 *)(const void *)a->ifa_addr)->sin6_addr,
			       sizeof(one.b));
		else
			continue;
		if (ip_equal(&one, ip))
			return true;
	}
	return ip_equal(&q->gateways[0], ip) || ip_equal(&q->gateways[1], ip);
}

/** has_name() - The name that was asked about leads to the address that is looked at; no other does. */
static bool has_name(void *ctx, const struct ip *ip, const char *name, bool below, bool allows)
{
	const struct question *q = ctx;
	size_t n = strlen(q->name), want = strlen(name);

	(void)allows;
	(void)ip;
	if (!q->given || n < want || strcasecmp(q->name + n - want, name) != 0)
		return false;
	return n == want || (below && q->name[n - want - 1] == '.');
}

/** read_protocol() - What follows the slash. */
static int read_protocol(struct question *q, const char *text, struct error *err)
{
	static const char *const words[] = { "icmp", "icmpv4", "icmpv6", "tcp", "udp" };
	const char *near;

	for (size_t i = 0; i < POLICY_PROTOCOL_COUNT; i++)
		if (strcmp(text, policy_protocol_name((enum policy_protocol)i)) == 0) {
			q->protocol = (enum policy_protocol)i;
			return 0;
		}
	q->protocol = q->is_ip && !ip_is_v4(&q->ip) ? POLICY_ICMPV6 : POLICY_ICMPV4;
	if (strcmp(text, "icmp") == 0)
		return 0;
	near = nearest(text, words, ARRAY_LEN(words));
	return err_set(err, ERR_USAGE, 0, "net explain: \"%.40s\" is no protocol; expected tcp, udp or icmp%s%s%s",
		       text, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

/** read_question() - HOST[:PORT][/PROTO]. */
static int read_question(struct question *q, const char *typed, struct error *err)
{
	const char *slash = strchr(typed, '/'), *end;
	_cleanup_(freep) char *host = strndup(typed, slash ? (size_t)(slash - typed) : strlen(typed));
	struct net_server at;
	bool has_port;

	*q = (struct question){ .typed = typed };
	if (!host)
		return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	end = host + strlen(host);
	has_port = !ip_parse(host, &q->ip) && strchr(host, ':') && end[-1] != ']';
	if (net_server_parse(host, &at, NULL) < 0)
		return err_set(
			err, ERR_USAGE, 0,
			"net explain: \"%.100s\" is not HOST[:PORT][/PROTO]; expected a name or an address, as in "
			"example.com:443, 10.0.0.1:53/udp or [2001:db8::1]:80",
			typed);
	q->is_ip = !at.host[0];
	q->ip = at.ip;
	memcpy(q->name, at.host, sizeof(q->name));
	if (q->name[0] && q->name[strlen(q->name) - 1] == '.')
		q->name[strlen(q->name) - 1] = '\0';
	q->protocol = POLICY_TCP;
	if (slash && read_protocol(q, slash + 1, err) < 0)
		return -(int)err->code;
	if (q->protocol != POLICY_TCP && q->protocol != POLICY_UDP) {
		if (has_port)
			return err_set(err, ERR_USAGE, 0, "net explain: \"%.100s\": ICMP has no ports", typed);
		return 0;
	}
	q->port = has_port ? at.port : SERVICE_PORT;
	return 0;
}

/** decide() - @name_state: what the connection says of its name, @name */
static struct policy_decision decide(const struct policy *p, struct question *q, const struct ip *ip,
				     enum policy_name_state name_state, const char *name)
{
	const struct policy_facts facts = { .is_host = is_host, .has_name = has_name, .ctx = q };
	const struct policy_flow flow = {
		.protocol = q->protocol, .ip = *ip, .port = q->port, .name_state = name_state, .name = name
	};
	struct policy_decision d;

	policy_decide(p, &flow, &facts, &d);
	return d;
}

/** verdict_word() - For programs. */
static const char *verdict_word(enum policy_verdict v)
{
	return v == POLICY_ALLOW ? "allow" : v == POLICY_DENY ? "deny" : "need_name";
}

/** decision_json() - Rules count from 1, as msb inspect shows them. */
static json_t *decision_json(const struct policy_decision *d)
{
	return json_pack("{s:s,s:o,s:s}", "verdict", verdict_word(d->verdict), "rule",
			 d->rule < 0 ? json_null() : json_integer(d->rule + 1), "why", d->text);
}

/** print_decision() - "denied by rule 2: deny@10.0.0.0/8 (deny everything to 10.0.0.0/8)". */
static void print_decision(const struct policy *p, const struct policy_decision *d)
{
	struct buf words = BUF_INIT(1024);
	const char *verdict = d->verdict == POLICY_ALLOW  ? "allowed"
			      : d->verdict == POLICY_DENY ? "denied"
							  : "decided by the name that it says (SNI)";

	if (d->rule < 0) {
		printf("%s: %s\n", verdict, d->text);
		return;
	}
	policy_rule_words(p, (size_t)d->rule, &words);
	printf("%s by rule %d: %s (%s)\n", verdict, d->rule + 1, d->text, buf_cstr(&words));
	buf_free(&words);
}

/** service() - ":443/tcp". */
static const char *service(const struct question *q, char to[24])
{
	char port[8] = "";

	if (q->port)
		snprintf(port, sizeof(port), ":%u", q->port);
	snprintf(to, 24, "%s/%s", port, policy_protocol_name(q->protocol));
	return to;
}

/** explain_address() - Whether it may be reached, and what its group is. */
static void explain_address(const struct policy *p, struct question *q)
{
	struct policy_decision d = decide(p, q, &q->ip, POLICY_NAME_UNSEEN, NULL);
	struct ip judged = policy_judged(&q->ip);
	enum policy_group group = policy_group_of(&q->ip, is_host(q, &q->ip) || is_host(q, &judged));
	char text[IP_TEXT_MAX], inside[IP_TEXT_MAX], at[24];

	ip_format(&q->ip, text);
	if (o.format) {
		json_t *out = decision_json(&d);

		json_object_set_new(out, "address", json_string(text));
		json_object_set_new(out, "port", q->port ? json_integer(q->port) : json_null());
		json_object_set_new(out, "protocol", json_string(policy_protocol_name(q->protocol)));
		json_object_set_new(out, "group", json_string(policy_group_name(group)));
		print_json_value(out);
		return;
	}
	printf(ip_is_v4(&q->ip) || !q->port ? "%s%s is " : "[%s]%s is ", text, service(q, at));
	print_decision(p, &d);
	printf("  It is one of the %s.\n", group == POLICY_GROUP_HOST ? "host's addresses" : policy_group_words(group));
	if (!ip_equal(&judged, &q->ip))
		printf("  It is judged as the IPv4 address in it, %s.\n", ip_format(&judged, inside));
	if (d.verdict == POLICY_NEED_NAME) {
		d = decide(p, q, &q->ip, POLICY_NAME_NONE, NULL);
		printf("  Without a name it is ");
		print_decision(p, &d);
	}
	if (policy_has_names(p))
		printf("  Rules on names count too where the sandbox's DNS gave this address for the name: "
		       "msb net explain NAME HOST\n");
}

/** explain_name() - What its question gets, and connections to an address that DNS gave for it. */
static void explain_name(const struct policy *p, struct question *q, bool rebind_protection)
{
	static const struct {
		const char *key, *words, *example;
		bool gateway;
	} kinds[] = { { "public", "a public address, such as 1.1.1.1", "1.1.1.1", false },
		      { "private", "a private address, such as 10.255.255.254", "10.255.255.254", false },
		      { "host", "the host, which this is the name of", NULL, true } };
	enum policy_name_state said = q->protocol == POLICY_TCP ? POLICY_NAME_SEEN : POLICY_NAME_NONE;
	struct policy_decision asked, d;
	json_t *out;
	char at[24];

	policy_decide_question(p, POLICY_UDP, q->name, &asked);
	q->given = true;
	out = json_pack("{s:s,s:o,s:s,s:o}", "name", q->name, "port", q->port ? json_integer(q->port) : json_null(),
			"protocol", policy_protocol_name(q->protocol), "question", decision_json(&asked));
	if (!o.format) {
		printf("%s%s\n  Its question to DNS is ", q->name, service(q, at));
		print_decision(p, &asked);
	}
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (kinds[i].gateway != q->gateway)
			continue;
		if (!kinds[i].example || !ip_parse(kinds[i].example, &q->ip))
			q->ip = q->gateways[0];
		d = decide(p, q, &q->ip, said, q->name);
		json_object_set_new(out, kinds[i].key, decision_json(&d));
		if (o.format)
			continue;
		printf("  A connection to %s, is ", kinds[i].words);
		print_decision(p, &d);
	}
	if (o.format) {
		print_json_value(out);
		return;
	}
	json_decref(out);
	if (rebind_protection && !q->gateway)
		printf("  Answers with private addresses are refused unless a rule on that address allows it "
		       "(rebind protection).\n");
	printf("  Addresses come from the guest's DNS; msb net explain NAME ADDRESS looks at one.\n");
}

/** explain_none() - Without a network card. */
static void explain_none(const struct question *q)
{
	static const char why[] = "the machine has no network card (--no-network)";

	if (o.format)
		print_json_value(
			json_pack("{s:s,s:s,s:n,s:s}", "host", q->typed, "verdict", "deny", "rule", "why", why));
	else
		printf("%s is denied: %s\n", q->typed, why);
}

/** explain() - One question to the policy of a sandbox. */
static int explain(const char *name, const struct net_spec *n, struct question *q, struct error *err)
{
	struct policy_source source;
	struct policy *p;

	if (n->none) {
		explain_none(q);
		return 0;
	}
	if (getifaddrs(&q->host) < 0)
		return err_set(err, ERR_SYSTEM, errno, "the host's addresses");
	net_spec_source(n, &source);
	p = policy_new(&source, err);
	if (p) {
		engine_gateway(name, q->gateways);
		q->gateway = !q->is_ip && strcasecmp(q->name, GATEWAY_NAME) == 0;
		if (q->is_ip)
			explain_address(p, q);
		else
			explain_name(p, q, !n->no_rebind_protection);
	}
	policy_free(p);
	freeifaddrs(q->host);
	return -(int)err->code;
}

/** print_words() - A line of a list, unless it is empty. */
static void print_words(const char *title, const struct net_words *words)
{
	for (size_t i = 0; i < words->count; i++)
		if (i)
			printf(", %s", words->item[i]);
		else
			printf("  %-14s%s", title, words->item[i]);
	if (words->count)
		printf("\n");
}

/** print_rates() - A line for each limit. */
static void print_rates(const struct rates *rates)
{
	for (size_t i = 0; i < RATE_DIRECTIONS * RATE_KINDS; i++) {
		const struct rate *r = &rates->of[i / RATE_KINDS][i % RATE_KINDS];

		if (!r->amount)
			continue;
		printf("  %-14s%llu %s in %u ms",
		       i / RATE_KINDS == RATE_EGRESS ? "From guest:" : "To guest:", (unsigned long long)r->amount,
		       i % RATE_KINDS == RATE_BYTES ? "bytes" : "packets", r->interval_ms);
		if (r->burst)
			printf(", once %llu more", (unsigned long long)r->burst);
		printf("\n");
	}
}

void print_network(const struct net_spec *n)
{
	struct buf words = BUF_INIT(1 << 20);
	char port[NET_PORT_TEXT_MAX];
	struct policy_source source;
	struct policy *p;

	if (n->none) {
		printf("%-16snone\n", "Network:");
		return;
	}
	net_spec_source(n, &source);
	p = policy_new(&source, NULL);
	if (p)
		policy_words(p, 2, &words);
	policy_free(p);
	printf("Network:\n%s", buf_cstr(&words) ? buf_cstr(&words) : "");
	buf_free(&words);
	for (size_t i = 0; i < n->port_count; i++)
		printf(i ? ", %s" : "  Ports:        %s", net_port_format(&n->ports[i], port));
	if (n->port_count)
		printf("\n");
	print_words("Name servers:", &n->nameservers);
	if (n->no_rebind_protection)
		printf("  %-14s%s\n", "Names:", "may lead to private addresses");
	printf("  %-14s%u\n  %-14s%u\n", "Connections:", n->max_connections, "MTU:", n->mtu);
	print_rates(&n->rates);
	if (n->pcap)
		printf("  %-14s%s\n", "Recorded in:", n->pcap);
}

int command_net_explain(int argc, char **argv)
{
	static const struct command help = {
		"net explain", "Say which rule of a sandbox decides on a connection, and why. Nothing is sent.",
		"[OPTIONS] NAME HOST[:PORT][/PROTO]",
		"HOST is an address or a name. PORT: 443 unless given; PROTO: tcp (also udp, icmp).\n"
	};
	struct sandbox_record r;
	struct engine_paths paths;
	struct error err = ERROR_INIT;
	struct sandbox_json *j;
	struct question q;
	struct parsed p;
	int rc;

	if (parse_options(rows, ARRAY_LEN(rows), 2, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, rows, ARRAY_LEN(rows));
		return 0;
	}
	if (p.word_count != 2 || p.extra_count || p.tail_count) {
		err_set(&err, ERR_USAGE, 0, "net explain: %s",
			p.word_count < 2 ? "which sandbox, and which host?" : "one NAME and one HOST only");
		err_hint(&err, "msb net explain dev example.com:443");
		return usage_error(&err);
	}
	if (read_question(&q, p.words[1], &err) < 0)
		return usage_error(&err);
	if (engine_paths(&paths, ENGINE_READ, &err) < 0 || engine_find(&paths, p.words[0], &r, &err) < 0)
		return command_failed(&err);
	j = engine_spec(&r, &err);
	rc = j ? explain(r.name, engine_spec_of(j)->net, &q, &err) : -(int)err.code;
	engine_spec_free(j);
	sandbox_record_clear(&r);
	return rc < 0 ? command_failed(&err) : 0;
}
