/* SPDX-License-Identifier: Apache-2.0 */
#include "net/packet.h"

#include <string.h>

#include "net/checksum.h"

#define IP4_MORE 0x2000
#define IP4_DONT 0x4000
#define IP4_OFFSET 0x1fff

enum extension { EXT_HOP_BY_HOP = 0, EXT_ROUTING = 43, EXT_DESTINATION = 60 };

/** read4() - RFC 791, 3.1. Options are passed over, except source routes: the packet is not for whom it names. */
static bool read4(const uint8_t *p, size_t n, struct packet *out)
{
	size_t head, total, at = IP4_HEADER;
	uint16_t flags;

	if (n < IP4_HEADER || p[0] >> 4 != 4)
		return false;
	head = (size_t)(p[0] & 15) * 4;
	total = get16(p + 2);
	if (head < IP4_HEADER || total < head || total > n || checksum_fold(checksum_add(0, p, head)) != 0xffff)
		return false;
	while (at < head && p[at] != 0) {
		if (p[at] == 1) {
			at++;
			continue;
		}
		if (at + 1 >= head || p[at + 1] < 2 || p[at + 1] > head - at || p[at] == 131 || p[at] == 137)
			return false;
		at += p[at + 1];
	}
	flags = get16(p + 6);
	out->proto = p[9];
	out->hops = p[8];
	out->src = ip_v4(p + 12);
	out->dst = ip_v4(p + 16);
	out->data = p + head;
	out->len = total - head;
	out->id = get16(p + 4);
	out->offset = (uint16_t)((flags & IP4_OFFSET) * 8);
	out->more = flags & IP4_MORE;
	out->fragment = out->more || out->offset;
	return true;
}

bool packet_skip_extensions(struct packet *p)
{
	if (!p->v6)
		return true;
	for (int i = 0; i < PACKET_EXTENSIONS_MAX; i++) {
		size_t len;

		if (p->proto == PROTO_FRAGMENT) {
			/* One is enough; a fragment of a fragment is somebody's trick. */
			if (p->fragment || p->len < 8)
				return false;
			p->offset = get16(p->data + 2) & 0xfff8;
			p->more = p->data[3] & 1;
			p->id = get32(p->data + 4);
			p->proto = p->data[0];
			p->data += 8;
			p->len -= 8;
			if (!p->offset && !p->more)
				continue; /* "atomic": whole (RFC 6946) */
			p->fragment = true;
			return true;
		}
		if (p->proto != EXT_HOP_BY_HOP && p->proto != EXT_ROUTING && p->proto != EXT_DESTINATION)
			return true;
		if (p->len < 8)
			return false;
		len = 8 + (size_t)p->data[1] * 8;
		if (len > p->len || (p->proto == EXT_ROUTING && p->data[3] != 0))
			return false;
		p->proto = p->data[0];
		p->data += len;
		p->len -= len;
	}
	return false;
}

/** read6() - RFC 8200, 3. No jumbograms. */
static bool read6(const uint8_t *p, size_t n, struct packet *out)
{
	size_t len;

	if (n < IP6_HEADER || p[0] >> 4 != 6)
		return false;
	len = get16(p + 4);
	if (len > n - IP6_HEADER)
		return false;
	out->proto = p[6];
	out->hops = p[7];
	memcpy(out->src.b, p + 8, 16);
	memcpy(out->dst.b, p + 24, 16);
	out->data = p + IP6_HEADER;
	out->len = len;
	return packet_skip_extensions(out);
}

bool packet_read(const uint8_t *p, size_t n, bool v6, struct packet *out)
{
	*out = (struct packet){ .v6 = v6, .start = p };
	return v6 ? read6(p, n, out) : read4(p, n, out);
}

void packet_write(uint8_t *to, const struct packet_head *h, size_t len)
{
	uint8_t hops = h->hops ? h->hops : PACKET_TTL;
	uint16_t sum;

	memset(to, 0, packet_head_len(h));
	if (h->v6) {
		to[0] = 0x60;
		to[6] = h->proto;
		to[7] = hops;
		memcpy(to + 8, h->src.b, 16);
		memcpy(to + 24, h->dst.b, 16);
		if (h->fragment) {
			to[6] = PROTO_FRAGMENT;
			to[IP6_HEADER] = h->proto;
			set16(to + IP6_HEADER + 2, (uint16_t)(h->offset | h->more));
			set32(to + IP6_HEADER + 4, h->id);
			len += 8;
		}
		set16(to + 4, (uint16_t)len);
		return;
	}
	to[0] = 0x45;
	set16(to + 2, (uint16_t)(IP4_HEADER + len));
	set16(to + 4, (uint16_t)h->id);
	set16(to + 6, (uint16_t)(h->fragment ? h->offset / 8 | (h->more ? IP4_MORE : 0) : IP4_DONT));
	to[8] = hops;
	to[9] = h->proto;
	memcpy(to + 12, h->src.b + 12, 4);
	memcpy(to + 16, h->dst.b + 12, 4);
	sum = checksum_end(checksum_add(0, to, IP4_HEADER));
	memcpy(to + 10, &sum, 2);
}
