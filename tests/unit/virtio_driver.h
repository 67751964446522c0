/* SPDX-License-Identifier: Apache-2.0 */
/** A guest driver small enough for tests: one page-aligned memory, split rings at fixed addresses, raw descriptors. */
#ifndef MSB_TESTS_VIRTIO_DRIVER_H
#define MSB_TESTS_VIRTIO_DRIVER_H

#include <stdint.h>
#include <string.h>

#include "virtio/device.h"

#define DRIVER_GPA 0x10000u
#define DRIVER_MEM 0x20000u
#define DRIVER_DESC (DRIVER_GPA + 0x0000u)
#define DRIVER_AVAIL (DRIVER_GPA + 0x2000u)
#define DRIVER_USED (DRIVER_GPA + 0x3000u)
#define DRIVER_DATA (DRIVER_GPA + 0x5000u)
#define DRIVER_FEATURES                                                                                                \
	(1ULL << VIRTIO_F_VERSION_1_BIT | 1ULL << VIRTIO_F_INDIRECT_DESC_BIT | 1ULL << VIRTIO_F_EVENT_IDX_BIT)

#define D_NEXT 1
#define D_WRITE 2
#define D_INDIRECT 4

struct driver {
	_Alignas(4096) uint8_t bytes[DRIVER_MEM];
	struct guest_memory mem;
	uint16_t size;
	uint16_t avail_idx;
};

/** driver_init() - Zeroed memory of one region, an empty ring of `size` entries. */
static inline void driver_init(struct driver *d, uint16_t size)
{
	memset(d, 0, sizeof(*d));
	d->mem.count = 1;
	d->mem.regions[0] = (struct memory_region){ .gpa = DRIVER_GPA, .size = DRIVER_MEM, .host = d->bytes };
	d->size = size;
}

/** at() - Host address of a guest address. */
static inline void *at(struct driver *d, uint64_t gpa)
{
	return d->bytes + (gpa - DRIVER_GPA);
}

static inline void put16(struct driver *d, uint64_t gpa, uint16_t v)
{
	memcpy(at(d, gpa), &v, sizeof(v));
}

static inline void put32(struct driver *d, uint64_t gpa, uint32_t v)
{
	memcpy(at(d, gpa), &v, sizeof(v));
}

static inline void put64(struct driver *d, uint64_t gpa, uint64_t v)
{
	memcpy(at(d, gpa), &v, sizeof(v));
}

static inline uint16_t get16(struct driver *d, uint64_t gpa)
{
	uint16_t v;

	memcpy(&v, at(d, gpa), sizeof(v));
	return v;
}

static inline uint32_t get32(struct driver *d, uint64_t gpa)
{
	uint32_t v;

	memcpy(&v, at(d, gpa), sizeof(v));
	return v;
}

/** desc_at() - Write one descriptor into the table at guest address `table`. */
static inline void desc_at(struct driver *d, uint64_t table, unsigned int i, uint64_t addr, uint32_t len, uint16_t flags,
			   uint16_t next)
{
	uint64_t p = table + 16ULL * i;

	put64(d, p, addr);
	put32(d, p + 8, len);
	put16(d, p + 12, flags);
	put16(d, p + 14, next);
}

static inline void desc(struct driver *d, unsigned int i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	desc_at(d, DRIVER_DESC, i, addr, len, flags, next);
}

/** offer() - Make a head available. */
static inline void offer(struct driver *d, uint16_t head)
{
	put16(d, DRIVER_AVAIL + 4 + 2u * (d->avail_idx % d->size), head);
	d->avail_idx++;
	put16(d, DRIVER_AVAIL + 2, d->avail_idx);
}

static inline uint16_t used_idx(struct driver *d)
{
	return get16(d, DRIVER_USED + 2);
}

static inline uint32_t used_len(struct driver *d, uint16_t i)
{
	return get32(d, DRIVER_USED + 4 + 8u * (i % d->size) + 4);
}

#endif
