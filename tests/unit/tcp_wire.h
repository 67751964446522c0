/* SPDX-License-Identifier: Apache-2.0 */
/* TCP segments as a peer of the stack writes and reads them; shares no source with the stack. */
#ifndef MSB_TEST_TCP_WIRE_H
#define MSB_TEST_TCP_WIRE_H

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "net/tcp/tcp.h"

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };

struct wire {
	uint32_t seq, ack;
	uint8_t flags;
	uint16_t window; /* as in the header */
	uint16_t mss;	 /* 0: no such option; so with the others */
	bool sack_permitted, time;
	int scale; /* shift + 1 */
	uint32_t tsval, tsecr;
	unsigned int sacks;
	uint32_t sack[4][2];
	size_t len;
	const uint8_t *data;
};

static inline uint32_t wire_get32(const uint8_t *p)
{
	uint32_t x;

	memcpy(&x, p, 4);
	return ntohl(x);
}

static inline uint8_t *wire_put32(uint8_t *p, uint32_t x)
{
	x = htonl(x);
	memcpy(p, &x, 4);
	return p + 4;
}

/** wire_write() - Header, options, payload (zeros when data is NULL). Return: length. */
static inline size_t wire_write(const struct wire *w, const struct tcp_pair *pair, uint8_t *to)
{
	uint8_t *p = to;

	p = wire_put32(p, (uint32_t)pair->guest.port << 16 | pair->us.port);
	p = wire_put32(p, w->seq);
	p = wire_put32(p, w->ack);
	p = wire_put32(p, (uint32_t)w->flags << 16 | w->window);
	p = wire_put32(p, 0);
	if (w->mss)
		p = wire_put32(p, 2u << 24 | 4u << 16 | w->mss);
	if (w->scale)
		p = wire_put32(p, 1u << 24 | 3u << 16 | 3u << 8 | (uint32_t)(w->scale - 1));
	if (w->sack_permitted)
		p = wire_put32(p, 0x01010402);
	if (w->time) {
		p = wire_put32(p, 0x0101080a);
		p = wire_put32(p, w->tsval);
		p = wire_put32(p, w->tsecr);
	}
	if (w->sacks) {
		p = wire_put32(p, 0x01010500 | (2 + 8 * w->sacks));
		for (unsigned int i = 0; i < w->sacks; i++) {
			p = wire_put32(p, w->sack[i][0]);
			p = wire_put32(p, w->sack[i][1]);
		}
	}
	to[12] = (uint8_t)((p - to) / 4 << 4);
	if (w->len) {
		if (w->data)
			memcpy(p, w->data, w->len);
		else
			memset(p, 0, w->len);
	}
	return (size_t)(p - to) + w->len;
}

/** wire_read() - Return: false when it is no segment. */
static inline bool wire_read(struct wire *w, const uint8_t *p, size_t len)
{
	size_t header = len >= 20 ? (p[12] >> 4) * 4u : 0;

	if (header < 20 || header > len)
		return false;
	*w = (struct wire){ .seq = wire_get32(p + 4), .ack = wire_get32(p + 8), .flags = p[13],
			    .window = (uint16_t)wire_get32(p + 12), .len = len - header, .data = p + header };
	for (size_t at = 20; at < header && p[at] != 0;) {
		size_t n = p[at] == 1 ? 1 : at + 1 < header ? p[at + 1] : 0;

		if (n == 0 || at + n > header)
			return false;
		if (p[at] == 2 && n == 4)
			w->mss = (uint16_t)(p[at + 2] << 8 | p[at + 3]);
		else if (p[at] == 3 && n == 3)
			w->scale = p[at + 2] + 1;
		else if (p[at] == 4 && n == 2)
			w->sack_permitted = true;
		else if (p[at] == 5 && n >= 10 && (n - 2) % 8 == 0)
			for (w->sacks = 0; w->sacks < (n - 2) / 8; w->sacks++) {
				w->sack[w->sacks][0] = wire_get32(p + at + 2 + 8 * w->sacks);
				w->sack[w->sacks][1] = wire_get32(p + at + 6 + 8 * w->sacks);
			}
		else if (p[at] == 8 && n == 10) {
			w->time = true;
			w->tsval = wire_get32(p + at + 2);
			w->tsecr = wire_get32(p + at + 6);
		}
		at += n;
	}
	return true;
}

/** wire_pair() - 93.184.216.34:80, and the guest 172.16.0.2 with a port of its own. */
static inline struct tcp_pair wire_pair(uint16_t port)
{
	return (struct tcp_pair){ .us = { ip_v4((const uint8_t[4]){ 93, 184, 216, 34 }), 80 },
				  .guest = { ip_v4((const uint8_t[4]){ 172, 16, 0, 2 }), port } };
}

#endif
