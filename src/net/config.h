/* SPDX-License-Identifier: Apache-2.0 */
/**
 * What the gateway is told of its sandbox's network: one CBOR map in a memfd. Both ends are of the same build, so an
 * unknown key is an error. Limits are stated here and hold for encoder and decoder; at most GATEWAY_CONFIG_MAX bytes.
 */
#ifndef MSB_NET_CONFIG_H
#define MSB_NET_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "net/ip.h"
#include "net/rate.h"

#define GATEWAY_CONFIG_MAX 1048576 /* bytes of the map */
#define GATEWAY_NAMESERVERS_MAX 8
#define GATEWAY_PORTS_MAX 256  /* published */
#define GATEWAY_NAMES_MAX 4096 /* blocked domains, and as many suffixes */
#define GATEWAY_CONNECTIONS_MAX 4096
#define GATEWAY_MTU_MIN 1280 /* RFC 8200, 5 */
#define GATEWAY_MTU_MAX 65520

struct gateway_port {
	bool udp;
	uint16_t guest_port;
};

struct gateway_config {
	uint8_t guest_mac[6], gateway_mac[6];
	struct ip guest4, gateway4; /* of a /30 */
	struct ip guest6, gateway6; /* of a /64 */
	bool have4, have6;	    /* the host has a route for the family */
	uint32_t mtu;
	uint32_t max_connections; /* TCP, of the guest */
	/* The policy, in the words of the command line; borrowed, NULL is the same as empty. */
	const char *rules;	    /* RULE,RULE... */
	const char *egress_default; /* allow or deny */
	const char *ingress_default;
	bool strict;	   /* a rule that allows a name needs a name that can be seen */
	bool multi_tenant; /* public addresses only, whatever the rules say */
	struct endpoint nameservers[GATEWAY_NAMESERVERS_MAX];
	size_t nameserver_count;
	bool rebind_protection;
	uint32_t dns_timeout_ms;	  /* for each nameserver */
	const char **blocked, **suffixes; /* names; the arrays and what they point at are borrowed */
	size_t blocked_count, suffix_count;
	struct rates rates;
	struct gateway_port ports[GATEWAY_PORTS_MAX];
	size_t port_count;
};

/** gateway_config_encode() - Append the map to out. Return: false when out failed or a limit is exceeded. */
bool gateway_config_encode(struct buf *out, const struct gateway_config *c);

/**
 * gateway_config_decode() - From a map. Strings point into p; the two arrays of names are allocated: give c to
 * gateway_config_free() also after a failure. Return: 0, or ERR_PROTOCOL, ERR_NO_MEMORY.
 */
int gateway_config_decode(const uint8_t *p, size_t n, struct gateway_config *c, struct error *err);
void gateway_config_free(struct gateway_config *c);

#endif
