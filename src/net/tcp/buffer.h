/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Memory of the TCP stack: a region cut into chunks, rings of chunks addressed by sequence number, and lists of ranges
 * of sequence numbers.
 */
#ifndef MSB_NET_TCP_BUFFER_H
#define MSB_NET_TCP_BUFFER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "net/tcp/tcp.h"

#define RING_SLOTS 64u

/* Sequence numbers are compared modulo 2^32 (RFC 9293, 3.4). */
static inline bool seq_before(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

static inline bool seq_after(uint32_t a, uint32_t b)
{
	return seq_before(b, a);
}

static inline uint32_t seq_max(uint32_t a, uint32_t b)
{
	return seq_before(a, b) ? b : a;
}

static inline uint32_t seq_min(uint32_t a, uint32_t b)
{
	return seq_before(a, b) ? a : b;
}

/**
 * The region. Free chunks are a stack whose top is what was used last; the topmost `warm` may hold pages, which go back
 * to the host when there are many of them, or when nobody needed them for a second.
 */
struct pool {
	uint8_t *base;
	uint16_t *free;
	uint32_t total, free_count;
	uint32_t warm, warm_low; /* and its lowest since the last pool_trim() */
	uint32_t used_peak;
};

/** pool_open() - Reserve a region of total chunks, at most 65,535. Return: false when the host has no memory. */
bool pool_open(struct pool *p, uint32_t total);
void pool_close(struct pool *p);
/** pool_trim() - Give back what nobody needed since the last call. Return: is it worth to call again? */
bool pool_trim(struct pool *p);

static inline uint32_t pool_used(const struct pool *p)
{
	return p->total - p->free_count;
}

/**
 * A buffer. Byte seq lies in slot seq / TCP_CHUNK % RING_SLOTS; at most TCP_BUFFER_MAX bytes are in use, so that first
 * and last byte never share a slot unless they share a chunk.
 */
struct ring {
	uint16_t slot[RING_SLOTS]; /* number of chunk + 1; 0: none */
};

/** ring_ensure() - Have chunks for len bytes from seq. Return: for how many of them there are. */
uint32_t ring_ensure(struct pool *p, struct ring *r, uint32_t seq, uint32_t len);
/** ring_put() - Copy bytes to where there are chunks. */
void ring_put(struct pool *p, struct ring *r, uint32_t seq, const uint8_t *data, uint32_t len);
/** ring_iov() - Where len bytes from seq lie. Return: number of pieces, at most count. */
int ring_iov(const struct pool *p, const struct ring *r, uint32_t seq, uint32_t len, struct iovec *iov, int count);
/**
 * ring_release() - Free the chunks that hold only bytes of [from, to), where nothing before from and after end is used.
 */
void ring_release(struct pool *p, struct ring *r, uint32_t from, uint32_t to, uint32_t end);
/** ring_unreserve() - Free the chunks up to reserved_end that hold nothing of [first, end). */
void ring_unreserve(struct pool *p, struct ring *r, uint32_t first, uint32_t end, uint32_t reserved_end);
/** ring_clear() - Free all. */
void ring_clear(struct pool *p, struct ring *r);

struct range {
	uint32_t start, end;
};

/** Disjoint, not touching, ascending. */
struct ranges {
	uint32_t count;
	struct range r[TCP_RANGES_MAX];
};

/** ranges_add() - Put [start, end) in. Return: false when the list is full. */
bool ranges_add(struct ranges *l, uint32_t start, uint32_t end);
/** ranges_cut() - Take out all before seq. */
void ranges_cut(struct ranges *l, uint32_t seq);
/** ranges_bytes() - Bytes of the list within [start, end). NULL is an empty list. */
uint32_t ranges_bytes(const struct ranges *l, uint32_t start, uint32_t end);

#endif
