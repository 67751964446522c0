/* SPDX-License-Identifier: Apache-2.0 */
// sources: src/virtio/memory.c
/*
 * Guest addresses to pointers. The input: a region count, gap and size of each, then queries of address and length.
 * The answer is that of arithmetic which cannot overflow. Nothing is mapped: only addresses are compared.
 */
#include <stdlib.h>
#include <string.h>

#include "base/reader.h"
#include "virtio/memory.h"

/** expected() - The same by 128-bit numbers. */
static void *expected(const struct guest_memory *mem, uint64_t gpa, uint64_t len)
{
	for (size_t i = 0; len && i < mem->count; i++) {
		const struct memory_region *r = &mem->regions[i];

		if (gpa >= r->gpa && (__int128)gpa + len <= (__int128)r->gpa + r->size)
			return (void *)((uintptr_t)r->host + (uintptr_t)(gpa - r->gpa));
	}
	return NULL;
}

/** number() - Sizes of every magnitude: a byte says how many bytes follow. */
static uint64_t number(struct reader *r)
{
	uint8_t shift = reader_u8(r);

	return (reader_u64(r) >> (shift % 64)) + (shift / 64);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct reader r = reader_init(data, n);
	struct guest_memory mem = { .count = reader_u8(&r) % (MEMORY_REGIONS_MAX + 1) };
	unsigned __int128 at = 0;

	for (size_t i = 0; i < mem.count; i++) {
		unsigned __int128 start = at + number(&r);
		uint64_t size = number(&r) >> 18; /* no host address overflows, as with real mappings */

		if (start > UINT64_MAX || !size || start + size - 1 > UINT64_MAX) {
			mem.count = i;
			break;
		}
		mem.regions[i] = (struct memory_region){ .gpa = (uint64_t)start,
							 .size = size,
							 .host = (uint8_t *)(0x10000 + i) };
		at = start + size;
	}
	while (!r.failed) {
		uint8_t how = reader_u8(&r);
		uint64_t gpa = number(&r), len = number(&r);

		/* Near a region, mostly. */
		if (how & 1 && mem.count)
			gpa += mem.regions[how % mem.count].gpa;
		if (how & 2 && mem.count)
			len = mem.regions[how % mem.count].size - (how >> 2) + 32;
		if (memory_ptr(&mem, gpa, len) != expected(&mem, gpa, len))
			abort();
	}
	return 0;
}
