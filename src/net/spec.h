/* SPDX-License-Identifier: Apache-2.0 */
/**
 * How a sandbox's network was asked for: plain data, as sandbox.json keeps it. A zeroed struct is no valid one;
 * net_spec_default() is what a sandbox gets without any option. All strings are owned, all were checked.
 */
#ifndef MSB_NET_SPEC_H
#define MSB_NET_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "net/ip.h"
#include "net/policy/policy.h"
#include "net/rate.h"

#define NET_WORDS_MAX 1024 /* of one list */
#define NET_PORTS_MAX 256
#define NET_CONNECTIONS 256
#define NET_CONNECTIONS_MAX 4096
#define NET_MTU 1500
#define NET_MTU_MIN 1280 /* the least that IPv6 may see (RFC 8200, 5) */
#define NET_MTU_MAX 65520
#define NET_DNS_TIMEOUT_MS 5000
#define NET_DNS_TIMEOUT_MS_MAX 60000
#define NET_NAMESERVERS_MAX 8
#define NET_HOST_MAX 254 /* bytes with NUL of a host's name */

/** A list of owned strings. */
struct net_words {
	char **item;
	size_t count;
};

/** A published port: [BIND:]HOST:GUEST[/PROTO]. */
struct net_port {
	struct ip bind; /* 127.0.0.1 unless given */
	uint16_t host_port, guest_port;
	bool udp;
};

struct net_spec {
	bool none; /* --no-network: the machine has no network card; nothing else here counts */
	/* The policy: rules one by one, what a profile stands for (allow@dns, allow@public) included. */
	struct net_words rules;
	bool allow_egress, allow_ingress, strict;
	bool multi_tenant; /* --deployment-profile: what it forbids has been left out of this */
	struct net_words block_domains, block_suffixes; /* lower case, no dot at either end */
	struct net_words nameservers; /* net_server_parse() reads each; none: those of the host's resolv.conf */
	uint32_t dns_timeout_ms;      /* of one question to one of them */
	bool no_rebind_protection;
	uint32_t max_connections, mtu;
	struct rates rates;
	struct net_port *ports; /* owned */
	size_t port_count;
	char *pcap; /* --net-pcap: absolute path; NULL: none */
};

/** A name server as typed. */
struct net_server {
	char host[NET_HOST_MAX]; /* a name of the host's to be looked up; "" when ip is set */
	struct ip ip;
	uint16_t port;
};

/** net_spec_default() - Public addresses and DNS only. Return: false without memory. Free it in any case. */
bool net_spec_default(struct net_spec *out);
/** net_spec_free() - Everything owned; the struct is zeroed. */
void net_spec_free(struct net_spec *n);
/** net_spec_source() - What policy_new() takes, borrowed from the spec. */
void net_spec_source(const struct net_spec *n, struct policy_source *out);
/** net_spec_check() - Are all values within their limits and all texts as their parsers want them? For files. */
int net_spec_check(const struct net_spec *n, struct error *err);

/** net_words_add() - One more, copied. Return: false without memory or beyond NET_WORDS_MAX. */
bool net_words_add(struct net_words *words, const char *text);

/** net_words_clear() - Empty again, and freed. */
void net_words_clear(struct net_words *words);

/** net_spec_block() - One more name that does not exist for the guest. @below: nor those below it. ERR_USAGE */
int net_spec_block(struct net_spec *n, const char *name, bool below, struct error *err);
/** net_spec_publish() - One more port. ERR_USAGE: no port, given twice, too many */
int net_spec_publish(struct net_spec *n, const char *text, struct error *err);
/** net_spec_ask() - One more name server. ERR_USAGE */
int net_spec_ask(struct net_spec *n, const char *text, struct error *err);

/** net_server_parse() - IP, IP:port, [v6]:port, host, host:port; port 53 unless given. ERR_USAGE */
int net_server_parse(const char *text, struct net_server *out, struct error *err);
/** net_port_parse() - [BIND:]HOST:GUEST[/tcp|/udp], an IPv6 BIND in brackets. ERR_USAGE */
int net_port_parse(const char *text, struct net_port *out, struct error *err);
/** net_port_format() - 127.0.0.1:8080->80/tcp. Return: to */
#define NET_PORT_TEXT_MAX (ENDPOINT_TEXT_MAX + 16)
const char *net_port_format(const struct net_port *p, char to[NET_PORT_TEXT_MAX]);

#endif
