/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Addresses of both families in one type: an IPv4 address is kept as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2), so that no
 * code chooses by family but what writes or reads packets. A mapped address that arrives in an IPv6 packet is therefore
 * the IPv4 address, for every rule and table.
 */
#ifndef MSB_NET_IP_H
#define MSB_NET_IP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define IP_TEXT_MAX 46	     /* bytes with NUL, as INET6_ADDRSTRLEN */
#define ENDPOINT_TEXT_MAX 54 /* [address]:port */

struct ip {
	uint8_t b[16]; /* network byte order */
};

struct endpoint {
	struct ip ip;
	uint16_t port; /* host byte order */
};

/** A prefix. bits counts in the 16-byte form: 10.0.0.0/8 has 104. */
struct ip_net {
	struct ip ip;
	uint8_t bits; /* 0..128 */
};

/** ip_v4() - From four bytes in network byte order. */
static inline struct ip ip_v4(const uint8_t b[4])
{
	return (struct ip){ { [10] = 0xff, [11] = 0xff, [12] = b[0], [13] = b[1], [14] = b[2], [15] = b[3] } };
}

static inline bool ip_is_v4(const struct ip *ip)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	return memcmp(ip->b, mapped, sizeof(mapped)) == 0;
}

static inline bool ip_equal(const struct ip *a, const struct ip *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

static inline bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	return a->port == b->port && ip_equal(&a->ip, &b->ip);
}

/** ip_in() - Does the prefix cover the address? */
bool ip_in(const struct ip_net *net, const struct ip *ip);
/** ip_parse() - Text of either family, without brackets, zone or prefix. Return: false when it is none. */
bool ip_parse(const char *text, struct ip *out);
/**
 * ip_net_parse() - ADDRESS or ADDRESS/BITS, BITS in the family's own count. Bits of the host part must be zero.
 * Return: false when it is none.
 */
bool ip_net_parse(const char *text, struct ip_net *out);
/** ip_format() - As people write it: dotted quad, or RFC 5952. Return: to */
const char *ip_format(const struct ip *ip, char to[IP_TEXT_MAX]);
/** endpoint_format() - 1.2.3.4:5 or [2001:db8::1]:5. Return: to */
const char *endpoint_format(const struct endpoint *e, char to[ENDPOINT_TEXT_MAX]);

#endif
