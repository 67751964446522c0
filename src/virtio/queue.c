/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. The driver owns the descriptor table and the available ring, the device the used ring; all
 * three are in guest memory and may change at any moment. Therefore: every field is read exactly once, with an atomic
 * load, into a local that is checked before use; walks are bounded by the queue's size (chains), by the table's length
 * (indirect) and by QUEUE_IOV_MAX; a queue whose driver breaks a rule is `broken` until it is set up again.
 * Source: virtio 1.2, 2.7.
 */
#include "virtio/queue.h"

#include <endian.h>
#include <string.h>

#include "base/macros.h"
#include "virtio/device.h"

#define DESC_SIZE 16
#define DESC_F_NEXT 1
#define DESC_F_WRITE 2
#define DESC_F_INDIRECT 4
#define AVAIL_F_NO_INTERRUPT 1
#define USED_F_NO_NOTIFY 1

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

/** load16() - One atomic little-endian load; acquire, so that what it publishes is seen. */
static uint16_t load16(const uint8_t *p)
{
	return le16toh(__atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE));
}

/** store16() - One atomic store; release. */
static void store16(uint8_t *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)(void *)p, htole16(v), __ATOMIC_RELEASE);
}

/** load_desc() - Private copy of one descriptor. Each field is loaded once. */
static struct desc load_desc(const uint8_t *table, unsigned int index)
{
	const uint8_t *p = table + (size_t)index * DESC_SIZE;

	return (struct desc){
		.addr = le64toh(__atomic_load_n((const uint64_t *)(const void *)p, __ATOMIC_RELAXED)),
		.len = le32toh(__atomic_load_n((const uint32_t *)(const void *)(p + 8), __ATOMIC_RELAXED)),
		.flags = le16toh(__atomic_load_n((const uint16_t *)(const void *)(p + 12), __ATOMIC_RELAXED)),
		.next = le16toh(__atomic_load_n((const uint16_t *)(const void *)(p + 14), __ATOMIC_RELAXED)),
	};
}

bool queue_setup(struct queue *q, const struct guest_memory *mem, uint16_t size, uint64_t desc, uint64_t avail,
		 uint64_t used, uint64_t driver_features)
{
	queue_reset(q);
	if (size == 0 || size > QUEUE_SIZE_MAX || (size & (size - 1)) || desc % 16 || avail % 2 || used % 4)
		return false;
	q->desc = memory_ptr(mem, desc, (uint64_t)size * DESC_SIZE);
	q->avail = memory_ptr(mem, avail, 6 + 2 * (uint64_t)size);
	q->used = memory_ptr(mem, used, 6 + 8 * (uint64_t)size);
	if (!q->desc || !q->avail || !q->used)
		return false;
	q->mem = mem;
	q->size = size;
	q->chain_bytes_max = QUEUE_CHAIN_BYTES_MAX;
	q->event_idx = driver_features >> VIRTIO_F_EVENT_IDX_BIT & 1;
	q->indirect = driver_features >> VIRTIO_F_INDIRECT_DESC_BIT & 1;
	q->ready = true;
	return true;
}

void queue_reset(struct queue *q)
{
	memset(q, 0, sizeof(*q));
}

/** add_iov() - Translate one descriptor into the chain. Return: false when it breaks a rule. */
static bool add_iov(const struct queue *q, struct queue_chain *chain, const struct desc *d)
{
	bool write = d->flags & DESC_F_WRITE;
	unsigned int n = chain->read_count + chain->write_count;
	uint32_t *total = write ? &chain->write_bytes : &chain->read_bytes;
	void *p;

	if (n == QUEUE_IOV_MAX || (!write && chain->write_count))
		return false;
	p = memory_ptr(q->mem, d->addr, d->len);
	if (!p || d->len > q->chain_bytes_max - *total)
		return false;
	*total += d->len;
	chain->iov[n] = (struct iovec){ .iov_base = p, .iov_len = d->len };
	if (write)
		chain->write_count++;
	else
		chain->read_count++;
	return true;
}

/** walk() - Follow a chain through one table of `count` descriptors. */
static bool walk(const struct queue *q, struct queue_chain *chain, const uint8_t *table, unsigned int count,
		 unsigned int index, bool nested)
{
	for (unsigned int steps = 0; steps < count; steps++) {
		struct desc d;

		if (index >= count)
			return false;
		d = load_desc(table, index);
		if (d.flags & DESC_F_INDIRECT) {
			const uint8_t *inner;

			/* 2.7.5.3.1: not nested, not together with NEXT, only when negotiated. */
			if (nested || !q->indirect || (d.flags & DESC_F_NEXT) || d.len == 0 || d.len % DESC_SIZE ||
			    d.len / DESC_SIZE > QUEUE_IOV_MAX || d.addr % 2)
				return false;
			inner = memory_ptr(q->mem, d.addr, d.len);
			/* Atomic loads need alignment; Linux allocates these tables with kmalloc. */
			if (!inner || (uintptr_t)inner % 8)
				return false;
			return walk(q, chain, inner, d.len / DESC_SIZE, 0, true);
		}
		if (!add_iov(q, chain, &d))
			return false;
		if (!(d.flags & DESC_F_NEXT))
			return true;
		index = d.next;
	}
	return false; /* a loop */
}

enum queue_result queue_pop_chain(struct queue *q, struct queue_chain *chain)
{
	uint16_t avail_idx, head;

	if (!q->ready || q->broken)
		return QUEUE_BROKEN;
	avail_idx = load16(q->avail + 2);
	if (avail_idx == q->next_avail)
		return QUEUE_EMPTY;
	if ((uint16_t)(avail_idx - q->next_avail) > q->size) {
		q->broken = true;
		return QUEUE_BROKEN;
	}
	head = load16(q->avail + 4 + 2 * (size_t)(q->next_avail & (q->size - 1)));
	chain->head = head;
	chain->read_count = chain->write_count = 0;
	chain->read_bytes = chain->write_bytes = 0;
	if (head >= q->size || !walk(q, chain, q->desc, q->size, head, false)) {
		q->broken = true;
		return QUEUE_BROKEN;
	}
	q->next_avail++;
	return QUEUE_OK;
}

void queue_unpop(struct queue *q)
{
	q->next_avail--;
}

void queue_push(struct queue *q, const struct queue_chain *chain, uint32_t written)
{
	uint8_t *slot = q->used + 4 + 8 * (size_t)(q->next_used & (q->size - 1));

	__atomic_store_n((uint32_t *)(void *)slot, htole32(chain->head), __ATOMIC_RELAXED);
	__atomic_store_n((uint32_t *)(void *)(slot + 4), htole32(written), __ATOMIC_RELAXED);
	q->next_used++;
	store16(q->used + 2, q->next_used);
}

bool queue_should_notify(struct queue *q)
{
	uint16_t old = q->signalled_used, event;
	bool valid = q->signalled_valid;

	if (!q->ready || q->broken)
		return false;
	/* The used index must be visible before the driver's wish is read (2.7.10). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	/* Advanced at every look, notified or not: a driver that polls for 65,536 buffers must not wrap the window. */
	q->signalled_used = q->next_used;
	q->signalled_valid = true;
	if (valid && old == q->next_used)
		return false;
	if (!q->event_idx)
		return !(load16(q->avail) & AVAIL_F_NO_INTERRUPT);
	event = load16(q->avail + 4 + 2 * (size_t)q->size);
	return !valid || (uint16_t)(q->next_used - event - 1) < (uint16_t)(q->next_used - old);
}

bool queue_enable_kicks(struct queue *q, bool on)
{
	if (!q->ready || q->broken)
		return false;
	if (q->event_idx) {
		/* avail_event: "ring me when you pass this index"; to be left alone, leave the last one in place. */
		if (on)
			store16(q->used + 4 + 8 * (size_t)q->size, q->next_avail);
	} else {
		store16(q->used, on ? 0 : USED_F_NO_NOTIFY);
	}
	if (!on)
		return false;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return load16(q->avail + 2) != q->next_avail;
}

int iov_slice(const struct iovec *from, unsigned int count, size_t skip, size_t take, struct iovec *to)
{
	int n = 0;

	for (unsigned int i = 0; i < count && take; i++) {
		size_t len = from[i].iov_len;

		if (skip >= len) {
			skip -= len;
			continue;
		}
		to[n].iov_base = (uint8_t *)from[i].iov_base + skip;
		to[n].iov_len = MIN(len - skip, take);
		take -= to[n].iov_len;
		skip = 0;
		n++;
	}
	return n;
}

/** copy_parts() - Copy between a flat buffer and iovecs, from an offset. */
static size_t copy_parts(const struct iovec *iov, unsigned int count, size_t offset, void *flat, size_t n,
			 bool to_guest)
{
	size_t done = 0;

	for (unsigned int i = 0; i < count && done < n; i++) {
		size_t len = iov[i].iov_len, part;
		uint8_t *p = iov[i].iov_base;

		if (offset >= len) {
			offset -= len;
			continue;
		}
		part = MIN(len - offset, n - done);
		if (to_guest)
			memcpy(p + offset, (uint8_t *)flat + done, part);
		else
			memcpy((uint8_t *)flat + done, p + offset, part);
		done += part;
		offset = 0;
	}
	return done;
}

size_t chain_read(const struct queue_chain *chain, size_t offset, void *to, size_t n)
{
	return copy_parts(chain->iov, chain->read_count, offset, to, n, false);
}

size_t iov_write(const struct iovec *iov, unsigned int count, size_t offset, const void *from, size_t n)
{
	return copy_parts(iov, count, offset, (void *)(uintptr_t)from, n, true);
}

size_t chain_write(const struct queue_chain *chain, size_t offset, const void *from, size_t n)
{
	return iov_write(chain->iov + chain->read_count, chain->write_count, offset, from, n);
}
