/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block device over a struct disk. Requests are done one after the other on the device's own loop thread, straight
 * between guest memory and the back end. The header is copied once; sectors and lengths are checked against the disk
 * before the back end sees them; a read-only disk refuses writes here, whatever the guest was told.
 * Source: virtio 1.2, 5.2.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/macros.h"
#include "base/reader.h"
#include "base/writer.h"
#include "virtio/device.h"

#define BLK_F_SIZE_MAX 1
#define BLK_F_SEG_MAX 2
#define BLK_F_RO 5
#define BLK_F_BLK_SIZE 6
#define BLK_F_FLUSH 9
#define BLK_F_DISCARD 13
#define BLK_F_WRITE_ZEROES 14

#define BLK_T_IN 0
#define BLK_T_OUT 1
#define BLK_T_FLUSH 4
#define BLK_T_GET_ID 8
#define BLK_T_DISCARD 11
#define BLK_T_WRITE_ZEROES 13

#define BLK_S_OK 0
#define BLK_S_IOERR 1
#define BLK_S_UNSUPP 2

#define BLK_HEADER 16
#define BLK_ID_LEN 20
#define BLK_QUEUE_SIZE 128 /* the driver allocates about 1 KiB of guest memory per entry at boot */
#define BLK_SEG_MAX (QUEUE_IOV_MAX - 2)
#define BLK_SIZE_MAX 32768 /* bytes per segment, so that the largest request stays below QUEUE_CHAIN_BYTES_MAX */
_Static_assert(BLK_SIZE_MAX * BLK_SEG_MAX + BLK_HEADER < QUEUE_CHAIN_BYTES_MAX, "largest request fits a chain");
#define BLK_RANGE_BYTES 16
#define BLK_RANGES_MAX 16
#define BLK_COMPLAINTS_MAX 16
#define BLK_WRITE_ZEROES_UNMAP 1u

struct blk {
	struct virtio_device dev;
	struct disk *disk;
	unsigned int complaints; /* log lines about failed transfers */
	/* Done for the guest; also read by other threads, to whom only each number by itself means something. */
	_Atomic uint64_t read_bytes, written_bytes;
	struct iovec iov[QUEUE_IOV_MAX];
};

/** in_range() - Whole sectors inside the disk. */
static bool in_range(const struct blk *blk, uint64_t sector, uint64_t bytes)
{
	uint64_t sectors = blk->disk->size_bytes / DISK_SECTOR;

	return bytes % DISK_SECTOR == 0 && sector <= sectors && bytes / DISK_SECTOR <= sectors - sector;
}

/** discard() - DISCARD and WRITE_ZEROES: a list of ranges. */
static uint8_t discard(struct blk *blk, bool zero)
{
	uint8_t ranges[BLK_RANGES_MAX * BLK_RANGE_BYTES];
	size_t n = blk->dev.chain.read_bytes - BLK_HEADER;
	struct reader r;

	if (blk->disk->read_only || !blk->disk->ops->discard)
		return BLK_S_UNSUPP;
	if (n == 0 || n > sizeof(ranges) || n % BLK_RANGE_BYTES)
		return BLK_S_IOERR;
	chain_read(&blk->dev.chain, BLK_HEADER, ranges, n);
	r = reader_init(ranges, n);
	while (r.left) {
		uint64_t sector = reader_u64(&r);
		uint64_t bytes = (uint64_t)reader_u32(&r) * DISK_SECTOR;

		uint32_t flags = reader_u32(&r);
		int rc;

		/* 5.2.6.2: unknown flags, or unmap in a discard, are unsupported. Zeroes are unmapped either way. */
		if (flags & ~(zero ? BLK_WRITE_ZEROES_UNMAP : 0u))
			return BLK_S_UNSUPP;
		if (!in_range(blk, sector, bytes))
			return BLK_S_IOERR;
		rc = blk->disk->ops->discard(blk->disk, sector * DISK_SECTOR, bytes, zero);
		if (rc < 0)
			return rc == -EOPNOTSUPP ? BLK_S_UNSUPP : BLK_S_IOERR;
	}
	return BLK_S_OK;
}

/** transfer() - IN and OUT. *written: data bytes put into guest memory. */
static uint8_t transfer(struct blk *blk, uint64_t sector, bool to_guest, uint32_t *written)
{
	const struct queue_chain *c = &blk->dev.chain;
	uint64_t bytes = to_guest ? c->write_bytes - 1 : c->read_bytes - BLK_HEADER;
	int count, rc;

	if (!in_range(blk, sector, bytes))
		return BLK_S_IOERR;
	if (!to_guest && blk->disk->read_only)
		return BLK_S_IOERR;
	if (bytes == 0)
		return BLK_S_OK;
	if (to_guest) {
		count = iov_slice(c->iov + c->read_count, c->write_count, 0, bytes, blk->iov);
		rc = blk->disk->ops->readv(blk->disk, blk->iov, count, sector * DISK_SECTOR);
		*written = rc < 0 ? 0 : (uint32_t)bytes;
	} else {
		count = iov_slice(c->iov, c->read_count, BLK_HEADER, bytes, blk->iov);
		rc = blk->disk->ops->writev(blk->disk, blk->iov, count, sector * DISK_SECTOR);
	}
	if (rc < 0 && blk->complaints++ < BLK_COMPLAINTS_MAX)
		log_warn(LOG_VIRTIO, "%s: %s at sector %llu: %s", blk->dev.name, to_guest ? "read" : "write",
			 (unsigned long long)sector, strerror(-rc));
	if (rc < 0)
		return BLK_S_IOERR;
	atomic_fetch_add_explicit(to_guest ? &blk->read_bytes : &blk->written_bytes, bytes, memory_order_relaxed);
	return BLK_S_OK;
}

/** request() - One request. Return: bytes written to guest memory, or -1 when the chain has no room for a status. */
static int64_t request(struct virtio_device *dev)
{
	struct blk *blk = (struct blk *)dev;
	const struct queue_chain *c = &blk->dev.chain;
	uint8_t header[BLK_HEADER], status;
	uint32_t type, written = 0;
	uint64_t sector;
	struct reader r;

	if (c->read_bytes < BLK_HEADER || c->write_bytes < 1)
		return -1;
	chain_read(c, 0, header, sizeof(header));
	r = reader_init(header, sizeof(header));
	type = reader_u32(&r);
	reader_u32(&r);
	sector = reader_u64(&r);
	switch (type) {
	case BLK_T_IN:
		status = transfer(blk, sector, true, &written);
		break;
	case BLK_T_OUT:
		status = transfer(blk, sector, false, &written);
		break;
	case BLK_T_FLUSH:
		status = blk->disk->no_flush || blk->disk->ops->flush(blk->disk) == 0 ? BLK_S_OK : BLK_S_IOERR;
		break;
	case BLK_T_GET_ID: {
		char id[BLK_ID_LEN] = { 0 };

		snprintf(id, sizeof(id), "msb-%s", blk->dev.name);
		written = (uint32_t)chain_write(c, 0, id, MIN(sizeof(id), c->write_bytes - 1));
		status = BLK_S_OK;
		break;
	}
	case BLK_T_DISCARD:
	case BLK_T_WRITE_ZEROES:
		status = discard(blk, type == BLK_T_WRITE_ZEROES);
		break;
	default:
		status = BLK_S_UNSUPP;
		break;
	}
	chain_write(c, c->write_bytes - 1, &status, 1);
	/* The status byte is the last one: what lies before it counts as written only when it was. */
	return written == c->write_bytes - 1 ? (int64_t)c->write_bytes : 1;
}

/** blk_kick() - Serve until the queue is empty. */
static void blk_kick(struct virtio_device *dev, unsigned int index)
{
	virtio_device_serve(dev, index, request);
}

static void blk_destroy(struct virtio_device *dev)
{
	virtio_device_fini(dev);
	disk_close(((struct blk *)dev)->disk);
	free(dev);
}

static const struct virtio_ops blk_ops = {
	.kick = blk_kick,
	.destroy = blk_destroy,
};

void virtio_blk_count(const struct virtio_device *dev, uint64_t *read_bytes, uint64_t *written_bytes)
{
	const struct blk *blk = (const struct blk *)dev;

	*read_bytes += atomic_load_explicit(&blk->read_bytes, memory_order_relaxed);
	*written_bytes += atomic_load_explicit(&blk->written_bytes, memory_order_relaxed);
}

struct virtio_device *virtio_blk_new(struct loop *loop, const char *name, struct disk *disk, struct error *err)
{
	struct blk *blk = calloc(1, sizeof(*blk));
	struct virtio_device *dev;

	if (!blk) {
		disk_close(disk);
		err_set(err, ERR_NO_MEMORY, 0, "%s: out of memory", name);
		return NULL;
	}
	dev = &blk->dev;
	virtio_device_init(dev, &blk_ops, VIRTIO_ID_BLK, name, 1, BLK_QUEUE_SIZE, loop);
	blk->disk = disk;
	dev->features |= 1ULL << BLK_F_SIZE_MAX | 1ULL << BLK_F_SEG_MAX | 1ULL << BLK_F_BLK_SIZE | 1ULL << BLK_F_FLUSH;
	put_le(dev->config, disk->size_bytes / DISK_SECTOR, 8);
	put_le(dev->config + 8, BLK_SIZE_MAX, 4);
	put_le(dev->config + 12, BLK_SEG_MAX, 4);
	put_le(dev->config + 20, DISK_SECTOR, 4);
	if (disk->read_only)
		dev->features |= 1ULL << BLK_F_RO;
	else if (disk->ops->discard) {
		dev->features |= 1ULL << BLK_F_DISCARD | 1ULL << BLK_F_WRITE_ZEROES;
		put_le(dev->config + 36, UINT32_MAX / DISK_SECTOR, 4); /* max_discard_sectors */
		put_le(dev->config + 40, BLK_RANGES_MAX, 4);
		put_le(dev->config + 44, 8, 4); /* discard_sector_alignment: 4 KiB */
		put_le(dev->config + 48, UINT32_MAX / DISK_SECTOR, 4);
		put_le(dev->config + 52, BLK_RANGES_MAX, 4);
		dev->config[56] = 1; /* write_zeroes_may_unmap */
	}
	dev->config_len = 60;
	return dev;
}
