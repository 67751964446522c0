/* SPDX-License-Identifier: Apache-2.0 */
// sources: src/virtio/balloon.c src/virtio/device.c src/virtio/queue.c src/virtio/memory.c src/base/loop.c
// sources: src/base/error.c src/base/log.c src/base/fd.c src/base/buf.c
/*
 * What a guest reports. The input, after one byte of settings (the queue, how many chains), is laid over guest memory:
 * the descriptor table comes first, then lists of page numbers; the available ring offers heads 0 to 15. Memory lies
 * between pages that are checked, and its map has a second region that is an alias of the first.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/macros.h"
#include "virtio/device.h"

#define PAGE 4096u
#define AVAIL 0x1000u
#define USED 0x1800u
#define LISTS 0x2000u
#define MEMORY 0x8000u
#define ALIAS 0x100000000ULL
#define QUEUE_SIZE 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct loop *loop;
	static uint8_t *all;
	struct guest_memory mem = { .count = 2 };
	struct virtio_device *dev;
	uint16_t ring[2 + QUEUE_SIZE];
	uint8_t *memory;
	unsigned int queue;

	if (n < 1 + 16)
		return 0;
	if (!loop) {
		loop = loop_new(NULL);
		all = mmap(NULL, MEMORY + 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		memset(all, 0xa5, PAGE);
		memset(all + PAGE + MEMORY, 0xa5, PAGE);
	}
	memory = all + PAGE;
	memset(memory, 0, MEMORY);
	dev = virtio_balloon_new(loop, NULL);
	queue = (data[0] & 3) % dev->queue_count;
	ring[0] = 0;
	ring[1] = (data[0] >> 2) % (QUEUE_SIZE + 1);
	for (unsigned int i = 0; i < QUEUE_SIZE; i++)
		ring[2 + i] = (uint16_t)i;
	memcpy(memory + AVAIL, ring, sizeof(ring));
	memcpy(memory, data + 1, MIN(n - 1, (size_t)QUEUE_SIZE * 16));
	if (n - 1 > QUEUE_SIZE * 16)
		memcpy(memory + LISTS, data + 1 + QUEUE_SIZE * 16,
		       MIN(n - 1 - QUEUE_SIZE * 16, (size_t)MEMORY - LISTS));
	mem.regions[0] = (struct memory_region){ .gpa = 0, .size = MEMORY, .host = memory };
	mem.regions[1] = (struct memory_region){ .gpa = ALIAS, .size = MEMORY, .host = memory };
	if (!queue_setup(&dev->queues[queue], &mem, QUEUE_SIZE, 0, AVAIL, USED,
			 1ULL << VIRTIO_F_VERSION_1_BIT | 1ULL << VIRTIO_F_INDIRECT_DESC_BIT))
		abort();
	dev->mem = &mem;
	dev->active = true;
	pthread_mutex_lock(&dev->lock);
	dev->ops->kick(dev, queue);
	pthread_mutex_unlock(&dev->lock);
	dev->ops->destroy(dev);
	for (unsigned int i = 0; i < PAGE; i++)
		if (all[i] != 0xa5 || all[PAGE + MEMORY + i] != 0xa5)
			abort();
	return 0;
}
