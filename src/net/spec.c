/* SPDX-License-Identifier: Apache-2.0 */
#include "net/spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "base/num.h"
#include "net/policy/rule.h"

#define DNS_PORT 53
#define QUOTE 100 /* bytes of a value in an error */

bool net_words_add(struct net_words *words, const char *text)
{
	char **grown;

	if (words->count == NET_WORDS_MAX)
		return false;
	if ((words->count & (words->count - 1)) == 0) {
		grown = reallocarray(words->item, words->count ? 2 * words->count : 1, sizeof(*grown));
		if (!grown)
			return false;
		words->item = grown;
	}
	words->item[words->count] = strdup(text);
	return words->item[words->count] && ++words->count;
}

void net_words_clear(struct net_words *words)
{
	for (size_t i = 0; i < words->count; i++)
		free(words->item[i]);
	free(words->item);
	*words = (struct net_words){ 0 };
}

bool net_spec_default(struct net_spec *out)
{
	*out = (struct net_spec){ .allow_ingress = true,
				  .dns_timeout_ms = NET_DNS_TIMEOUT_MS,
				  .max_connections = NET_CONNECTIONS,
				  .mtu = NET_MTU };
	return net_words_add(&out->rules, "allow@dns") && net_words_add(&out->rules, "allow@public");
}

void net_spec_free(struct net_spec *n)
{
	net_words_clear(&n->rules);
	net_words_clear(&n->block_domains);
	net_words_clear(&n->block_suffixes);
	net_words_clear(&n->nameservers);
	free(n->ports);
	free(n->pcap);
	*n = (struct net_spec){ 0 };
}

void net_spec_source(const struct net_spec *n, struct policy_source *out)
{
	*out = (struct policy_source){ .rules = (const char *const *)n->rules.item,
				       .rule_count = n->rules.count,
				       .allow_egress = n->allow_egress,
				       .allow_ingress = n->allow_ingress,
				       .strict = n->strict,
				       .multi_tenant = n->multi_tenant,
				       .block_domains = (const char *const *)n->block_domains.item,
				       .block_domain_count = n->block_domains.count,
				       .block_suffixes = (const char *const *)n->block_suffixes.item,
				       .block_suffix_count = n->block_suffixes.count };
}

int net_spec_check(const struct net_spec *n, struct error *err)
{
	struct policy_source source;
	struct error unread = ERROR_INIT;
	struct net_server server;
	struct policy *p;

	err = err ? err : &unread;
	net_spec_source(n, &source);
	p = policy_new(&source, err);
	if (!p)
		return -(int)err->code;
	policy_free(p);
	for (size_t i = 0; i < n->nameservers.count; i++)
		if (net_server_parse(n->nameservers.item[i], &server, err) < 0)
			return -(int)err->code;
	if (n->nameservers.count > NET_NAMESERVERS_MAX || n->port_count > NET_PORTS_MAX || n->dns_timeout_ms == 0 ||
	    n->dns_timeout_ms > NET_DNS_TIMEOUT_MS_MAX || n->max_connections == 0 ||
	    n->max_connections > NET_CONNECTIONS_MAX || n->mtu < NET_MTU_MIN || n->mtu > NET_MTU_MAX)
		return err_set(err, ERR_INVALID, 0, "a limit of the network is out of range");
	for (size_t i = 0; i < RATE_DIRECTIONS * RATE_KINDS; i++) {
		const struct rate *r = &n->rates.of[i / RATE_KINDS][i % RATE_KINDS];

		if (r->amount > RATE_AMOUNT_MAX || r->burst > RATE_AMOUNT_MAX ||
		    r->interval_ms > RATE_INTERVAL_MS_MAX || (r->amount && !r->interval_ms))
			return err_set(err, ERR_INVALID, 0, "a rate of the network is out of range");
	}
	for (size_t i = 0; i < n->port_count; i++)
		if (n->ports[i].host_port == 0 || n->ports[i].guest_port == 0)
			return err_set(err, ERR_INVALID, 0, "a published port is 0");
	return 0;
}

int net_spec_block(struct net_spec *n, const char *name, bool below, struct error *err)
{
	struct rule_list one = { 0 };
	int rc = rule_list_block(&one, name, below, err);

	if (rc == 0 && !net_words_add(below ? &n->block_suffixes : &n->block_domains, one.rule[0].name))
		rc = err_set(err, ERR_USAGE, 0, "--dns-block-%s: more than %d names", below ? "suffix" : "domain",
			     NET_WORDS_MAX);
	free(one.rule);
	return rc;
}

int net_spec_publish(struct net_spec *n, const char *text, struct error *err)
{
	struct net_port p, *grown;
	int rc = net_port_parse(text, &p, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < n->port_count; i++)
		if (n->ports[i].udp == p.udp && n->ports[i].host_port == p.host_port &&
		    ip_equal(&n->ports[i].bind, &p.bind))
			return err_set(err, ERR_USAGE, 0, "\"%.*s\": port %u of the host was given twice", QUOTE, text,
				       p.host_port);
	if (n->port_count == NET_PORTS_MAX)
		return err_set(err, ERR_USAGE, 0, "more than %d ports", NET_PORTS_MAX);
	grown = reallocarray(n->ports, n->port_count + 1, sizeof(*grown));
	if (!grown)
		return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	n->ports = grown;
	n->ports[n->port_count++] = p;
	return 0;
}

int net_spec_ask(struct net_spec *n, const char *text, struct error *err)
{
	struct net_server server;
	int rc = net_server_parse(text, &server, err);

	if (rc == 0 && (n->nameservers.count == NET_NAMESERVERS_MAX || !net_words_add(&n->nameservers, text)))
		rc = err_set(err, ERR_USAGE, 0, "more than %d name servers", NET_NAMESERVERS_MAX);
	return rc;
}

/** is_port() - 1 to 65535. */
static bool is_port(const char *text, uint16_t *out)
{
	uint64_t n;

	if (!num_parse_u64(text, UINT16_MAX, &n) || n == 0)
		return false;
	*out = (uint16_t)n;
	return true;
}

/** bracketed() - "[ADDRESS]" in front of a text. @rest: what follows. Return: false when there is none. */
static bool bracketed(const char *text, struct ip *ip, const char **rest)
{
	const char *end = strchr(text, ']');
	char address[IP_TEXT_MAX];

	if (*text != '[' || !end || (size_t)(end - text) > sizeof(address))
		return false;
	snprintf(address, sizeof(address), "%.*s", (int)(end - text - 1), text + 1);
	*rest = end + 1;
	return strchr(address, ':') && ip_parse(address, ip);
}

/** is_host() - A name to be looked up on the host. */
static bool is_host(const char *text)
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");

	return n > 0 && n < NET_HOST_MAX && !text[n] && text[0] != '.' && text[0] != '-' && !strstr(text, "..") &&
	       text[strspn(text, "0123456789.")]; /* 1.2.3 is a mistyped address */
}

int net_server_parse(const char *text, struct net_server *out, struct error *err)
{
	const char *rest, *colon = strchr(text, ':');
	char host[NET_HOST_MAX];

	*out = (struct net_server){ .port = DNS_PORT };
	if (ip_parse(text, &out->ip))
		return 0;
	if (*text == '[') {
		if (!bracketed(text, &out->ip, &rest) || (*rest && *rest != ':'))
			return err_set(
				err, ERR_USAGE, 0,
				"\"%.*s\" is no name server; expected an IPv6 address between the brackets, as in "
				"[2001:db8::1]:53",
				QUOTE, text);
		if (*rest && !is_port(rest + 1, &out->port))
			return err_set(err, ERR_USAGE, 0, "\"%.*s\": \"%.20s\" is no port; expected 1 to 65535", QUOTE,
				       text, rest + 1);
		return 0;
	}
	if (colon && strchr(colon + 1, ':'))
		return err_set(err, ERR_USAGE, 0,
			       "\"%.*s\" is no name server; expected IP, IP:PORT, [IPV6]:PORT, HOST or HOST:PORT",
			       QUOTE, text);
	if (colon && !is_port(colon + 1, &out->port))
		return err_set(err, ERR_USAGE, 0, "\"%.*s\": \"%.20s\" is no port; expected 1 to 65535", QUOTE, text,
			       colon + 1);
	snprintf(host, sizeof(host), "%.*s", (int)(colon ? colon - text : (long)strlen(text)), text);
	if (ip_parse(host, &out->ip))
		return 0;
	if (!is_host(host) || (!colon && strlen(text) >= sizeof(host)))
		return err_set(err, ERR_USAGE, 0,
			       "\"%.*s\" is no name server; expected IP, IP:PORT, [IPV6]:PORT, HOST or HOST:PORT",
			       QUOTE, text);
	memcpy(out->host, host, sizeof(host));
	return 0;
}

int net_port_parse(const char *text, struct net_port *out, struct error *err)
{
	const char *slash = strchr(text, '/'), *rest;
	char copy[IP_TEXT_MAX + 32], *guest, *host;

	*out = (struct net_port){ .bind = ip_v4((const uint8_t[]){ 127, 0, 0, 1 }) };
	if (slash && strcmp(slash + 1, "udp") != 0 && strcmp(slash + 1, "tcp") != 0)
		return err_set(err, ERR_USAGE, 0, "\"%.*s\": \"%.20s\" is no protocol; expected tcp or udp", QUOTE,
			       text, slash + 1);
	out->udp = slash && slash[1] == 'u';
	snprintf(copy, sizeof(copy), "%.*s", slash ? (int)MIN(slash - text, (long)sizeof(copy)) : (int)sizeof(copy),
		 text);
	guest = strrchr(copy, ':');
	if (!guest || strlen(text) >= sizeof(copy) || strchr(guest, ']'))
		return err_set(err, ERR_USAGE, 0,
			       "\"%.*s\" is no published port; expected [BIND:]HOST:GUEST[/tcp|/udp], as in 8080:80",
			       QUOTE, text);
	*guest++ = '\0';
	host = copy;
	if (*copy == '[') {
		if (!bracketed(copy, &out->bind, &rest) || *rest != ':')
			return err_set(err, ERR_USAGE, 0,
				       "\"%.*s\": expected an IPv6 address between the brackets, as in [::1]:8080:80",
				       QUOTE, text);
		host = copy + (rest + 1 - copy);
	} else if (strchr(copy, ':')) {
		host = strrchr(copy, ':');
		*host++ = '\0';
		if (!ip_parse(copy, &out->bind))
			return err_set(
				err, ERR_USAGE, 0,
				"\"%.*s\": \"%.40s\" is no address to listen on; expected one such as 127.0.0.1, "
				"0.0.0.0 or [::1]",
				QUOTE, text, copy);
		if (!ip_is_v4(&out->bind))
			return err_set(err, ERR_USAGE, 0,
				       "\"%.*s\": an IPv6 address needs brackets, as in [%.40s]:%.6s:%.6s", QUOTE, text,
				       copy, host, guest);
	}
	if (!is_port(host, &out->host_port) || !is_port(guest, &out->guest_port)) {
		const char *bad = is_port(host, &out->host_port) ? guest : host;

		return err_set(err, ERR_USAGE, 0, "\"%.*s\": \"%.20s\" is no port; expected 1 to 65535", QUOTE, text,
			       bad);
	}
	return 0;
}

const char *net_port_format(const struct net_port *p, char to[NET_PORT_TEXT_MAX])
{
	char bind[ENDPOINT_TEXT_MAX];

	endpoint_format(&(struct endpoint){ p->bind, p->host_port }, bind);
	snprintf(to, NET_PORT_TEXT_MAX, "%s->%u/%s", bind, p->guest_port, p->udp ? "udp" : "tcp");
	return to;
}
