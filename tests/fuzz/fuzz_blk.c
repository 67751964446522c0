/* SPDX-License-Identifier: Apache-2.0 */
// sources: src/virtio/blk.c src/virtio/device.c src/virtio/queue.c src/virtio/memory.c src/base/loop.c
// sources: src/disk/disk.c src/disk/file_io.c src/base/error.c src/base/log.c src/base/fd.c src/base/buf.c
/*
 * Requests from a guest. The input, after one byte of settings, is laid over guest memory whose rings are set up so
 * that most inputs reach the device: the descriptor table comes first, the available ring offers heads 0 to 15.
 * The disk checks that it is never asked for a byte outside of it, nor to change when read-only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "virtio/device.h"

#define GPA 0u
#define AVAIL 0x1000u
#define USED 0x1800u
#define MEMORY 0x8000u
#define HEADERS 0x2000u
#define QUEUE_SIZE 16
#define DISK_BYTES 65536u

static uint8_t contents[DISK_BYTES];

/** total() - Bytes of the iovecs, within the disk from offset. */
static size_t total(const struct iovec *iov, int count, uint64_t offset)
{
	size_t n = 0;

	for (int i = 0; i < count; i++)
		n += iov[i].iov_len;
	if (offset % DISK_SECTOR || n % DISK_SECTOR || offset > DISK_BYTES || n > DISK_BYTES - offset)
		abort();
	return n;
}

static int checked_readv(struct disk *d, const struct iovec *iov, int count, uint64_t offset)
{
	(void)d;
	total(iov, count, offset);
	for (int i = 0; i < count; i++) {
		memcpy(iov[i].iov_base, contents + offset, iov[i].iov_len);
		offset += iov[i].iov_len;
	}
	return 0;
}

static int checked_writev(struct disk *d, const struct iovec *iov, int count, uint64_t offset)
{
	if (d->read_only)
		abort();
	total(iov, count, offset);
	for (int i = 0; i < count; i++) {
		memcpy(contents + offset, iov[i].iov_base, iov[i].iov_len);
		offset += iov[i].iov_len;
	}
	return 0;
}

static int checked_flush(struct disk *d)
{
	(void)d;
	return -EIO;
}

static int checked_discard(struct disk *d, uint64_t offset, uint64_t length, bool zero)
{
	if (d->read_only || offset > DISK_BYTES || length > DISK_BYTES - offset)
		abort();
	if (zero)
		memset(contents + offset, 0, length);
	return 0;
}

static void nothing_close(struct disk *d)
{
	(void)d;
}

static const struct disk_ops checked_ops = {
	.readv = checked_readv,
	.writev = checked_writev,
	.flush = checked_flush,
	.discard = checked_discard,
	.close = nothing_close,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct loop *loop;
	struct disk disk = { .ops = &checked_ops, .size_bytes = DISK_BYTES };
	struct guest_memory mem = { .count = 1 };
	struct virtio_device *dev;
	uint16_t ring[2 + QUEUE_SIZE];
	uint8_t *memory;

	if (n < 1 + 16)
		return 0;
	if (!loop)
		loop = loop_new(NULL);
	disk.read_only = data[0] & 1;
	dev = virtio_blk_new(loop, "blk0", &disk, NULL);
	memory = aligned_alloc(4096, MEMORY);
	memset(memory, 0, MEMORY);
	/* 16 plausible requests of header, data, status; then the input over the table, and over headers and ring. */
	ring[0] = 0;
	ring[1] = (data[0] >> 1) % (QUEUE_SIZE + 1);
	for (unsigned int i = 0; i < QUEUE_SIZE; i++)
		ring[2 + i] = (uint16_t)i;
	memcpy(memory + AVAIL, ring, sizeof(ring));
	memcpy(memory, data + 1, MIN(n - 1, (size_t)QUEUE_SIZE * 16));
	if (n - 1 > QUEUE_SIZE * 16)
		memcpy(memory + HEADERS, data + 1 + QUEUE_SIZE * 16,
		       MIN(n - 1 - QUEUE_SIZE * 16, (size_t)MEMORY - HEADERS));
	mem.regions[0] = (struct memory_region){ .gpa = GPA, .size = MEMORY, .host = memory };
	/* Without event_idx: the flags word is in the input's reach either way. */
	if (!queue_setup(&dev->queues[0], &mem, QUEUE_SIZE, GPA, GPA + AVAIL, GPA + USED,
			 1ULL << VIRTIO_F_VERSION_1_BIT | 1ULL << VIRTIO_F_INDIRECT_DESC_BIT))
		abort();
	dev->active = true;
	pthread_mutex_lock(&dev->lock);
	dev->ops->kick(dev, 0);
	pthread_mutex_unlock(&dev->lock);
	dev->ops->destroy(dev);
	free(memory);
	return 0;
}
