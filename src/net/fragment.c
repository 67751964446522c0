/* SPDX-License-Identifier: Apache-2.0 */
#include "net/fragment.h"

/** find() - The datagram's slot, or a new one. */
static struct fragment_slot *find(struct fragments *f, const struct packet *p, int64_t now)
{
	struct fragment_slot *free_slot = &f->slot[0];

	for (int i = 0; i < FRAGMENT_SLOTS; i++) {
		struct fragment_slot *s = &f->slot[i];

		if (s->used && now - s->since > FRAGMENT_LIFE_NS)
			s->used = false;
		if (s->used && s->id == p->id && s->v6 == p->v6 && s->proto == p->proto && ip_equal(&s->src, &p->src) &&
		    ip_equal(&s->dst, &p->dst))
			return s;
		if (free_slot->used && (!s->used || s->since < free_slot->since))
			free_slot = s;
	}
	free_slot->used = true;
	free_slot->spoiled = false;
	free_slot->v6 = p->v6;
	free_slot->proto = p->proto;
	free_slot->src = p->src;
	free_slot->dst = p->dst;
	free_slot->id = p->id;
	free_slot->since = now;
	free_slot->total = free_slot->have = free_slot->highest = 0;
	memset(free_slot->map, 0, sizeof(free_slot->map));
	return free_slot;
}

/** place() - Put the piece where it belongs. Return: false when it contradicts what is there. */
static bool place(struct fragment_slot *s, const struct packet *p)
{
	uint32_t start = p->offset, end = start + (uint32_t)p->len, there = 0, units = 0;

	if (!p->len || end > PACKET_MAX - IP4_HEADER || (p->more && p->len % 8))
		return false;
	if (!p->more && ((s->total && s->total != end) || end < s->highest))
		return false;
	if (s->total && end > s->total)
		return false;
	for (uint32_t u = start / 8; u < (end + 7) / 8; u++, units++)
		there += s->map[u / 64] >> (u % 64) & 1;
	if (there)
		return there == units && end <= s->highest && memcmp(s->data + start, p->data, p->len) == 0;
	for (uint32_t u = start / 8; u < (end + 7) / 8; u++)
		s->map[u / 64] |= 1ull << (u % 64);
	memcpy(s->data + start, p->data, p->len);
	s->have += (uint32_t)p->len;
	if (end > s->highest)
		s->highest = end;
	if (!p->more)
		s->total = end;
	return true;
}

bool fragments_add(struct fragments *f, struct packet *p, int64_t now)
{
	struct fragment_slot *s = find(f, p, now);

	if (s->spoiled)
		return false;
	if (!place(s, p)) {
		s->spoiled = true; /* and stays so until it is too old, for what is still to come */
		return false;
	}
	if (!s->total || s->have != s->total)
		return false;
	s->used = false;
	p->fragment = p->more = false;
	p->offset = 0;
	p->data = s->data;
	p->len = s->total;
	return true;
}

bool fragments_expire(struct fragments *f, int64_t now)
{
	bool left = false;

	for (int i = 0; i < FRAGMENT_SLOTS; i++) {
		if (f->slot[i].used && now - f->slot[i].since > FRAGMENT_LIFE_NS)
			f->slot[i].used = false;
		left |= f->slot[i].used;
	}
	return left;
}
