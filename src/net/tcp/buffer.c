/* SPDX-License-Identifier: Apache-2.0 */
#include "net/tcp/buffer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/macros.h"

#define WARM_MAX 512u

bool pool_open(struct pool *p, uint32_t total)
{
	*p = (struct pool){ .total = total };
	p->free = calloc(total, sizeof(p->free[0]));
	if (!p->free)
		return false;
	p->base = mmap(NULL, (size_t)total * TCP_CHUNK, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p->base == MAP_FAILED) {
		free(p->free);
		*p = (struct pool){ 0 };
		return false;
	}
	for (uint32_t i = 0; i < total; i++)
		p->free[i] = (uint16_t)(total - 1 - i);
	p->free_count = total;
	return true;
}

void pool_close(struct pool *p)
{
	if (p->base)
		munmap(p->base, (size_t)p->total * TCP_CHUNK);
	free(p->free);
	*p = (struct pool){ 0 };
}

/** cool() - Give the pages of the warm chunk that was used longest ago back to the host. */
static void cool(struct pool *p)
{
	uint32_t chunk = p->free[p->free_count - p->warm];

	madvise(p->base + (size_t)chunk * TCP_CHUNK, TCP_CHUNK, MADV_DONTNEED);
	p->warm--;
}

bool pool_trim(struct pool *p)
{
	for (uint32_t n = p->warm_low; n > 0; n--)
		cool(p);
	p->warm_low = p->warm;
	return p->warm > 0;
}

/** chunk_get() - Return: number + 1, or 0. */
static uint16_t chunk_get(struct pool *p)
{
	uint16_t chunk;

	if (p->free_count == 0)
		return 0;
	chunk = p->free[--p->free_count];
	if (p->warm > 0)
		p->warm--;
	p->warm_low = MIN(p->warm_low, p->warm);
	p->used_peak = MAX(p->used_peak, pool_used(p));
	return chunk + 1;
}

static void chunk_put(struct pool *p, uint16_t *slot)
{
	if (*slot == 0)
		return;
	p->free[p->free_count++] = *slot - 1;
	*slot = 0;
	p->warm++;
	if (p->warm > WARM_MAX)
		cool(p);
}

static inline uint32_t slot_of(uint32_t seq)
{
	return seq / TCP_CHUNK % RING_SLOTS;
}

static inline uint8_t *byte_at(const struct pool *p, const struct ring *r, uint32_t seq)
{
	return p->base + (size_t)(r->slot[slot_of(seq)] - 1u) * TCP_CHUNK + seq % TCP_CHUNK;
}

uint32_t ring_ensure(struct pool *p, struct ring *r, uint32_t seq, uint32_t len)
{
	uint32_t done = 0;

	while (done < len) {
		uint32_t at = seq + done;
		uint16_t *slot = &r->slot[slot_of(at)];

		if (*slot == 0)
			*slot = chunk_get(p);
		if (*slot == 0)
			break;
		done += MIN(len - done, TCP_CHUNK - at % TCP_CHUNK);
	}
	return done;
}

void ring_put(struct pool *p, struct ring *r, uint32_t seq, const uint8_t *data, uint32_t len)
{
	while (len > 0) {
		uint32_t n = MIN(len, TCP_CHUNK - seq % TCP_CHUNK);

		memcpy(byte_at(p, r, seq), data, n);
		seq += n;
		data += n;
		len -= n;
	}
}

int ring_iov(const struct pool *p, const struct ring *r, uint32_t seq, uint32_t len, struct iovec *iov, int count)
{
	int n = 0;

	while (len > 0 && n < count) {
		uint32_t piece = MIN(len, TCP_CHUNK - seq % TCP_CHUNK);

		iov[n++] = (struct iovec){ byte_at(p, r, seq), piece };
		seq += piece;
		len -= piece;
	}
	return n;
}

void ring_release(struct pool *p, struct ring *r, uint32_t from, uint32_t to, uint32_t end)
{
	uint32_t at = ALIGN_DOWN(from, TCP_CHUNK), last = ALIGN_DOWN(to, TCP_CHUNK);

	for (; at != last; at += TCP_CHUNK)
		chunk_put(p, &r->slot[slot_of(at)]);
	if (to == end)
		chunk_put(p, &r->slot[slot_of(to)]);
}

void ring_unreserve(struct pool *p, struct ring *r, uint32_t first, uint32_t end, uint32_t reserved_end)
{
	uint32_t at = first == end ? ALIGN_DOWN(end, TCP_CHUNK) : ALIGN_UP(end, TCP_CHUNK);

	for (; seq_before(at, reserved_end); at += TCP_CHUNK)
		chunk_put(p, &r->slot[slot_of(at)]);
}

void ring_clear(struct pool *p, struct ring *r)
{
	for (uint32_t i = 0; i < RING_SLOTS; i++)
		chunk_put(p, &r->slot[i]);
}

bool ranges_add(struct ranges *l, uint32_t start, uint32_t end)
{
	uint32_t first = 0, last;

	/* [first, last) are those that the new one overlaps or touches: they become one with it. */
	while (first < l->count && seq_before(l->r[first].end, start))
		first++;
	last = first;
	while (last < l->count && !seq_after(l->r[last].start, end))
		last++;
	if (first == last) {
		if (l->count == TCP_RANGES_MAX)
			return false;
		memmove(&l->r[first + 1], &l->r[first], (l->count - first) * sizeof(l->r[0]));
		l->r[first] = (struct range){ start, end };
		l->count++;
		return true;
	}
	l->r[first].start = seq_min(start, l->r[first].start);
	l->r[first].end = seq_max(end, l->r[last - 1].end);
	memmove(&l->r[first + 1], &l->r[last], (l->count - last) * sizeof(l->r[0]));
	l->count -= last - first - 1;
	return true;
}

void ranges_cut(struct ranges *l, uint32_t seq)
{
	uint32_t gone = 0;

	while (gone < l->count && !seq_after(l->r[gone].end, seq))
		gone++;
	memmove(&l->r[0], &l->r[gone], (l->count - gone) * sizeof(l->r[0]));
	l->count -= gone;
	if (l->count > 0)
		l->r[0].start = seq_max(l->r[0].start, seq);
}

uint32_t ranges_bytes(const struct ranges *l, uint32_t start, uint32_t end)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; l && i < l->count; i++) {
		uint32_t a = seq_max(start, l->r[i].start), b = seq_min(end, l->r[i].end);

		if (seq_before(a, b))
			sum += b - a;
	}
	return sum;
}
