/* SPDX-License-Identifier: Apache-2.0 */
/**
 * One packet between guest and gateway: reading Ethernet, IPv4 and IPv6 headers, and writing them. Nothing is kept or
 * allocated. The guest wrote what is read: every length is checked against the frame, options and extension headers are
 * walked at most PACKET_EXTENSIONS_MAX times.
 *
 * Source: RFC 791, 894, 2464, 8200.
 */
#ifndef MSB_NET_PACKET_H
#define MSB_NET_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/ip.h"

#define ETH_HEADER 14
#define IP4_HEADER 20
#define IP6_HEADER 40
#define IP_HEADER_MAX 40	/* of those that are written */
#define PACKET_MAX 65535	/* IP header and all behind it */
#define PACKET_EXTENSIONS_MAX 8 /* more headers in front of the payload: not from a working stack */
#define PACKET_TTL 64

enum ether_type { ETHER_IP4 = 0x0800, ETHER_ARP = 0x0806, ETHER_IP6 = 0x86dd };
enum ip_proto { PROTO_ICMP = 1, PROTO_TCP = 6, PROTO_UDP = 17, PROTO_FRAGMENT = 44, PROTO_ICMP6 = 58 };

struct packet {
	bool v6; /* by the header; an address in it may be IPv4 all the same (mapped) */
	uint8_t proto;
	uint8_t hops; /* TTL or hop limit */
	struct ip src, dst;
	const uint8_t *start; /* IP header */
	const uint8_t *data;  /* behind all headers of IP */
	size_t len;
	/* A part of a datagram: offset and more say which; proto is that of the whole (IPv6: of what follows the
	 * header). */
	bool fragment, more;
	uint32_t id;
	uint16_t offset; /* bytes */
};

/** packet_read() - From the IP header on. Return: false when it makes no sense or is nothing for a host to take. */
bool packet_read(const uint8_t *p, size_t n, bool v6, struct packet *out);
/** packet_skip_extensions() - Of the whole datagram, put together again: proto and data as behind any extensions. */
bool packet_skip_extensions(struct packet *p);

/** What a header is written from. */
struct packet_head {
	struct ip src, dst;
	bool v6;
	uint8_t proto;
	uint8_t hops; /* 0: PACKET_TTL */
	uint32_t id;  /* of fragments */
	uint16_t offset;
	bool fragment, more;
};

/** packet_head_len() - Bytes that packet_write() will write. */
static inline size_t packet_head_len(const struct packet_head *h)
{
	return h->v6 ? (h->fragment ? IP6_HEADER + 8 : IP6_HEADER) : IP4_HEADER;
}

/** packet_write() - An IP header in front of len bytes. @to: packet_head_len() bytes */
void packet_write(uint8_t *to, const struct packet_head *h, size_t len);

static inline uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static inline void set16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void set32(uint8_t *p, uint32_t v)
{
	set16(p, (uint16_t)(v >> 16));
	set16(p + 2, (uint16_t)v);
}

#endif
