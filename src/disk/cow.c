/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. A read-only disk below, a private sparse file of the same layout above, and one bit for each
 * cluster: set when the file holds it. A write to a part of a cluster that is still below first copies that cluster.
 * A bit is set only after the data that it stands for is in the file. So a persistent form needs no more than to keep
 * the bits beside the file and write them out, after the data, at each flush; today they live and die with the sandbox.
 *
 * What an attacker controls: where and what is written; offsets and lengths were checked against the disk's size.
 * Limits: 64 TiB; a bit stands for 4 KiB, for more where the bits would take over 32 MiB (disks from 1 TiB on).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "disk/disk.h"
#include "disk/file_io.h"

#define CLUSTER_BITS_MIN 12
#define BITS_MAX (1ULL << 28)

struct cow {
	struct disk disk;
	struct disk *base;
	int fd;
	unsigned int cluster_bits;
	uint64_t *here;	 /* bit per cluster */
	uint8_t *bounce; /* one cluster */
};

/** is_here() - Does the private file hold this cluster? */
static bool is_here(const struct cow *c, uint64_t cluster)
{
	return c->here[cluster / 64] >> (cluster % 64) & 1;
}

/** set_here() - Clusters [from, to) are in the private file. */
static void set_here(struct cow *c, uint64_t from, uint64_t to)
{
	while (from < to) {
		uint64_t n = MIN(64 - from % 64, to - from);

		c->here[from / 64] |= (n == 64 ? UINT64_MAX : (1ULL << n) - 1) << (from % 64);
		from += n;
	}
}

/** run_end() - End of the clusters from `from` on, at most `to`, that are on the same side as the first. */
static uint64_t run_end(const struct cow *c, uint64_t from, uint64_t to)
{
	uint64_t at = from + 1;

	while (at < to && is_here(c, at) == is_here(c, from))
		at++;
	return at;
}

static int cow_readv(struct disk *d, const struct iovec *iov, int count, uint64_t offset)
{
	struct cow *c = (struct cow *)d;
	struct iov_cursor at = { iov, count, 0 };
	uint64_t end = offset + iov_bytes(iov, count);

	while (offset < end) {
		uint64_t first = offset >> c->cluster_bits;
		uint64_t run = run_end(c, first, ((end - 1) >> c->cluster_bits) + 1);
		struct iovec part[FILE_IO_IOVS];
		uint64_t taken;
		int parts = iov_take(&at, MIN(run << c->cluster_bits, end) - offset, part, &taken);
		int rc = is_here(c, first) ? file_io(c->fd, part, parts, offset, false) :
					     c->base->ops->readv(c->base, part, parts, offset);

		if (rc < 0)
			return rc;
		offset += taken;
	}
	return 0;
}

/** copy_up() - Bring the cluster that byte `at` is in into the private file, unless it is there. */
static int copy_up(struct cow *c, uint64_t at)
{
	uint64_t cluster = at >> c->cluster_bits, start = cluster << c->cluster_bits;
	struct iovec iov = { c->bounce, MIN(1ULL << c->cluster_bits, c->disk.size_bytes - start) };
	int rc;

	if (is_here(c, cluster))
		return 0;
	rc = c->base->ops->readv(c->base, &iov, 1, start);
	if (rc == 0)
		rc = file_io(c->fd, &iov, 1, start, true);
	if (rc == 0)
		set_here(c, cluster, cluster + 1);
	return rc;
}

/** copy_edges() - A range about to be changed: its first and last cluster are brought up where only a part changes. */
static int copy_edges(struct cow *c, uint64_t offset, uint64_t end)
{
	uint64_t mask = (1ULL << c->cluster_bits) - 1;
	int rc = 0;

	if (offset & mask)
		rc = copy_up(c, offset);
	if (rc == 0 && end & mask && end != c->disk.size_bytes)
		rc = copy_up(c, end);
	return rc;
}

static int cow_writev(struct disk *d, const struct iovec *iov, int count, uint64_t offset)
{
	struct cow *c = (struct cow *)d;
	uint64_t end = offset + iov_bytes(iov, count);
	int rc;

	if (offset == end)
		return 0;
	rc = copy_edges(c, offset, end);
	if (rc == 0)
		rc = file_io(c->fd, iov, count, offset, true);
	if (rc == 0)
		set_here(c, offset >> c->cluster_bits, ((end - 1) >> c->cluster_bits) + 1);
	return rc;
}

static int cow_flush(struct disk *d)
{
	return fdatasync(((struct cow *)d)->fd) < 0 ? -errno : 0;
}

/** cow_discard() - A hole in the private file that counts as held: it reads as zeroes. */
static int cow_discard(struct disk *d, uint64_t offset, uint64_t length, bool zero)
{
	struct cow *c = (struct cow *)d;
	uint64_t mask = (1ULL << c->cluster_bits) - 1, end = offset + length;
	int rc = 0;

	if (!zero) {
		/* A wish: whole clusters only, so that nothing has to be copied for it. */
		offset = (offset + mask) & ~mask;
		end = end == d->size_bytes ? end : end & ~mask;
	}
	if (offset >= end)
		return 0;
	if (zero)
		rc = copy_edges(c, offset, end);
	if (rc < 0)
		return rc;
	if (fallocate(c->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)(end - offset)) < 0)
		return zero ? -EOPNOTSUPP : 0; /* the driver writes the zeroes then */
	set_here(c, offset >> c->cluster_bits, ((end - 1) >> c->cluster_bits) + 1);
	return 0;
}

static void cow_close(struct disk *d)
{
	struct cow *c = (struct cow *)d;

	disk_close(c->base);
	fd_close(&c->fd);
	free(c->here);
	free(c->bounce);
	free(c);
}

static const struct disk_ops cow_ops = {
	.readv = cow_readv,
	.writev = cow_writev,
	.flush = cow_flush,
	.discard = cow_discard,
	.close = cow_close,
};

struct disk *disk_open_cow(struct disk *base, int fd, struct error *err)
{
	struct cow *c = calloc(1, sizeof(*c));
	uint64_t clusters;

	if (!c || base->size_bytes > DISK_COW_BYTES_MAX) {
		if (!c)
			err_set(err, ERR_NO_MEMORY, 0, "disk: out of memory");
		else
			err_set(err, ERR_LIMIT, 0, "the disk has %llu bytes (limit 64 TiB)",
				(unsigned long long)base->size_bytes);
		disk_close(base);
		close(fd);
		free(c);
		return NULL;
	}
	*c = (struct cow){ .base = base, .fd = fd, .cluster_bits = CLUSTER_BITS_MIN };
	c->disk = (struct disk){ .ops = &cow_ops, .size_bytes = base->size_bytes };
	while (base->size_bytes >> c->cluster_bits >= BITS_MAX)
		c->cluster_bits++;
	clusters = ((base->size_bytes - 1) >> c->cluster_bits) + 1;
	c->here = calloc((size_t)(clusters + 63) / 64, sizeof(*c->here));
	c->bounce = malloc(1UL << c->cluster_bits);
	if (!c->here || !c->bounce) {
		cow_close(&c->disk);
		err_set(err, ERR_NO_MEMORY, 0, "disk: out of memory");
		return NULL;
	}
	if (ftruncate(fd, 0) < 0 || ftruncate(fd, (off_t)base->size_bytes) < 0) {
		err_set(err, err_from_errno(errno), errno, "make the private layer of a disk of %llu bytes",
			(unsigned long long)base->size_bytes);
		cow_close(&c->disk);
		return NULL;
	}
	return &c->disk;
}
