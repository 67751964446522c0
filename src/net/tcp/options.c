/* SPDX-License-Identifier: Apache-2.0 */
/* TCP headers and options, from the guest and to it. */
#include <endian.h>
#include <string.h>

#include "net/tcp/stack.h"

enum { OPTION_END, OPTION_NOP, OPTION_MSS, OPTION_SCALE, OPTION_SACK_PERMITTED, OPTION_SACK, OPTION_TIME = 8 };

#define TIME_BYTES 12u /* two NOPs, then timestamps */

static inline uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get32(const uint8_t *p)
{
	uint32_t x;

	memcpy(&x, p, sizeof(x));
	return be32toh(x);
}

static inline void put16(uint8_t *p, uint16_t x)
{
	p[0] = (uint8_t)(x >> 8);
	p[1] = (uint8_t)x;
}

static inline void put32(uint8_t *p, uint32_t x)
{
	x = htobe32(x);
	memcpy(p, &x, sizeof(x));
}

/** option_parse() - One option of known length. Lengths that do not fit its kind: ignored, as an unknown kind. */
static void option_parse(struct segment *g, const uint8_t *o, uint8_t len)
{
	switch (o[0]) {
	case OPTION_MSS:
		g->has_mss = len == 4;
		g->mss = g->has_mss ? get16(o + 2) : 0;
		break;
	case OPTION_SCALE:
		g->has_scale = len == 3;
		g->scale = g->has_scale ? MIN(o[2], 14) : 0; /* RFC 7323, 2.3 */
		break;
	case OPTION_SACK_PERMITTED:
		g->sack_permitted = len == 2;
		break;
	case OPTION_SACK:
		if ((len - 2) % 8 != 0)
			break;
		g->sacks = MIN((len - 2u) / 8, SACK_BLOCKS_MAX);
		for (uint32_t i = 0; i < g->sacks; i++)
			g->sack[i] = (struct range){ get32(o + 2 + 8 * i), get32(o + 6 + 8 * i) };
		break;
	case OPTION_TIME:
		if (len != 10)
			break;
		g->has_time = true;
		g->tsval = get32(o + 2);
		g->tsecr = get32(o + 6);
		break;
	default:
		break;
	}
}

bool segment_parse(struct segment *g, const uint8_t *data, size_t len)
{
	size_t header;

	if (len < TCP_HEADER || len > TCP_IP_MAX)
		return false;
	header = (data[12] >> 4) * 4u;
	if (header < TCP_HEADER || header > len)
		return false;
	*g = (struct segment){ .seq = get32(data + 4), .ack = get32(data + 8), .flags = data[13] & 0x1f,
			       .window = get16(data + 14), .data = data + header, .len = (uint32_t)(len - header) };
	for (size_t at = TCP_HEADER; at < header && data[at] != OPTION_END;) {
		if (data[at] == OPTION_NOP) {
			at++;
			continue;
		}
		if (header - at < 2 || data[at + 1] < 2 || data[at + 1] > header - at)
			return false;
		option_parse(g, data + at, data[at + 1]);
		at += data[at + 1];
	}
	return true;
}

uint16_t mss_of_link(const struct tcp_stack *s, const struct tcp_pair *pair)
{
	return (uint16_t)(s->config.mtu - TCP_HEADER - (ip_is_v4(&pair->guest.ip) ? 20 : 40));
}

void options_adopt(struct tcp_conn *c, const struct segment *g)
{
	uint16_t mss = g->has_mss ? g->mss : MSS_DEFAULT;

	c->mss = MIN(MAX(mss, MSS_MIN), mss_of_link(c->s, &c->pair));
	c->has_sack = g->sack_permitted;
	c->has_scale = g->has_scale;
	c->snd_shift = g->has_scale ? g->scale : 0;
	c->rcv_shift = g->has_scale ? WINDOW_SHIFT : 0;
	c->has_time = g->has_time;
	if (g->has_time) {
		c->ts_recent = g->tsval;
		c->ts_recent_at = c->s->now;
	}
}

/** sack_count() - Blocks for which there is space. */
static uint32_t sack_count(const struct tcp_conn *c)
{
	return c->has_sack && c->early ? MIN(c->early->count, c->has_time ? 3u : 4u) : 0;
}

uint32_t options_len(const struct tcp_conn *c)
{
	uint32_t blocks = sack_count(c);

	return (c->has_time ? TIME_BYTES : 0) + (blocks > 0 ? 4 + 8 * blocks : 0);
}

static uint8_t *put_time(struct tcp_conn *c, uint8_t *o)
{
	put32(o, OPTION_NOP << 24 | OPTION_NOP << 16 | OPTION_TIME << 8 | 10);
	put32(o + 4, tcp_clock(c));
	put32(o + 8, c->ts_recent);
	return o + TIME_BYTES;
}

/** put_sacks() - RFC 2018, 4: first the piece that came last, then the highest. */
static uint8_t *put_sacks(const struct tcp_conn *c, uint8_t *o)
{
	const struct ranges *l = c->early;
	uint32_t blocks = sack_count(c), latest = 0, n = 0;

	if (blocks == 0)
		return o;
	while (latest + 1 < l->count && !seq_after(l->r[latest].end, c->rcv_latest))
		latest++;
	put32(o, OPTION_NOP << 24 | OPTION_NOP << 16 | OPTION_SACK << 8 | (2 + 8 * blocks));
	put32(o + 4, l->r[latest].start);
	put32(o + 8, l->r[latest].end);
	for (uint32_t i = l->count; n + 1 < blocks && i-- > 0;) {
		if (i == latest)
			continue;
		n++;
		put32(o + 4 + 8 * n, l->r[i].start);
		put32(o + 8 + 8 * n, l->r[i].end);
	}
	return o + 4 + 8 * blocks;
}

/** put_syn() - Options of SYN and SYN-ACK: all of ours, or those that the guest offered. */
static uint8_t *put_syn(struct tcp_conn *c, uint8_t *o)
{
	bool all = c->state == TCP_SYN_SENT;

	put32(o, (uint32_t)OPTION_MSS << 24 | 4 << 16 | mss_of_link(c->s, &c->pair));
	o += 4;
	if (all || c->has_time)
		o = put_time(c, o);
	if (all || c->has_sack) {
		put32(o, OPTION_NOP << 24 | OPTION_NOP << 16 | OPTION_SACK_PERMITTED << 8 | 2);
		o += 4;
	}
	if (all || c->has_scale) {
		put32(o, OPTION_NOP << 24 | OPTION_SCALE << 16 | 3 << 8 | WINDOW_SHIFT);
		o += 4;
	}
	return o;
}

void header_plain(uint8_t to[TCP_HEADER], const struct tcp_pair *pair, uint32_t seq, uint32_t ack, uint8_t flags)
{
	put16(to, pair->us.port);
	put16(to + 2, pair->guest.port);
	put32(to + 4, seq);
	put32(to + 8, flags & FLAG_ACK ? ack : 0);
	to[12] = TCP_HEADER / 4 << 4;
	to[13] = flags;
	memset(to + 14, 0, 6);
}

uint32_t header_write(struct tcp_conn *c, uint8_t to[TCP_HEADER_MAX], uint32_t seq, uint8_t flags, uint16_t window)
{
	uint8_t *o = to + TCP_HEADER;

	header_plain(to, &c->pair, seq, c->rcv_nxt, flags);
	put16(to + 14, window);
	if (flags & FLAG_SYN) {
		o = put_syn(c, o);
	} else {
		if (c->has_time)
			o = put_time(c, o);
		if (!(flags & FLAG_RST))
			o = put_sacks(c, o);
	}
	to[12] = (uint8_t)((o - to) / 4 << 4);
	return (uint32_t)(o - to);
}
