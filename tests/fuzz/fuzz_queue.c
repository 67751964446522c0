/* SPDX-License-Identifier: Apache-2.0 */
// sources: src/virtio/queue.c src/virtio/memory.c
/*
 * The input is guest memory, rings included, after 16 bytes of settings. Whatever the rings say, every part of a
 * popped chain lies in guest memory, counts add up and the walk ends.
 */
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "virtio/device.h"

#define GPA 0x1000u

/** check() - What queue_pop_chain() promises. */
static void check(const struct queue_chain *c, const uint8_t *memory, size_t size)
{
	uint64_t total[2] = { 0, 0 };

	if (c->read_count + c->write_count > QUEUE_IOV_MAX)
		abort();
	for (unsigned int i = 0; i < (unsigned int)(c->read_count + c->write_count); i++) {
		const uint8_t *p = c->iov[i].iov_base;

		if (p < memory || c->iov[i].iov_len == 0 || c->iov[i].iov_len > size - (size_t)(p - memory))
			abort();
		total[i >= c->read_count] += c->iov[i].iov_len;
	}
	if (total[0] != c->read_bytes || total[1] != c->write_bytes)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct guest_memory mem = { .count = 1 };
	static struct queue_chain chain;
	uint16_t settings[8];
	struct queue q = { 0 };
	uint8_t *memory;
	size_t size;

	if (n < sizeof(settings) + 64 || n > 65536)
		return 0;
	memcpy(settings, data, sizeof(settings));
	size = n - sizeof(settings);
	memory = aligned_alloc(16, ALIGN_UP(size, (size_t)16));
	memcpy(memory, data + sizeof(settings), size);
	mem.regions[0] = (struct memory_region){ .gpa = GPA, .size = size, .host = memory };
	if (!queue_setup(&q, &mem, (uint16_t)(1u << (settings[0] % 11)), GPA + (settings[1] & ~15ULL),
			 GPA + (settings[2] & ~1ULL), GPA + (settings[3] & ~3ULL),
			 (uint64_t)settings[4] << VIRTIO_F_INDIRECT_DESC_BIT)) {
		free(memory);
		return 0;
	}
	for (int i = 0; i < 64; i++) {
		uint8_t bytes[100];

		if (queue_pop_chain(&q, &chain) != QUEUE_OK)
			break;
		check(&chain, memory, size);
		if (settings[5] >> (i % 16) & 1) {
			queue_unpop(&q);
			if (queue_pop_chain(&q, &chain) != QUEUE_OK)
				break;
			check(&chain, memory, size);
		}
		chain_read(&chain, settings[6], bytes, sizeof(bytes));
		if (chain_write(&chain, settings[6], data, MIN(n, (size_t)settings[7])) > chain.write_bytes)
			abort();
		queue_push(&q, &chain, chain.write_bytes);
		queue_should_notify(&q);
		queue_enable_kicks(&q, i & 1);
	}
	free(memory);
	return 0;
}
