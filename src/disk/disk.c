/* SPDX-License-Identifier: Apache-2.0 */
/* Disks made of files: a whole writable file (raw), or a read-only list of extents. */
#include "disk/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "disk/file_io.h"

struct file_disk {
	struct disk disk;
	size_t count;
	uint64_t *start; /* first byte of each extent on the disk; extents only */
	struct disk_extent *extents;
};

static int raw_readv(struct disk *d, const struct iovec *iov, int count, uint64_t offset)
{
	return file_io(((struct file_disk *)d)->extents[0].fd, iov, count, offset, false);
}

static int raw_writev(struct disk *d, const struct iovec *iov, int count, uint64_t offset)
{
	return file_io(((struct file_disk *)d)->extents[0].fd, iov, count, offset, true);
}

static int raw_flush(struct disk *d)
{
	return fdatasync(((struct file_disk *)d)->extents[0].fd) < 0 ? -errno : 0;
}

static int raw_discard(struct disk *d, uint64_t offset, uint64_t length, bool zero)
{
	int fd = ((struct file_disk *)d)->extents[0].fd;

	if (length == 0)
		return 0;
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length) == 0)
		return 0;
	/* Discarding is a wish; zeroes are a promise. */
	if (!zero)
		return 0;
	return fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length) < 0 ? -errno : 0;
}

static void file_close(struct disk *d)
{
	struct file_disk *f = (struct file_disk *)d;

	for (size_t i = 0; i < f->count; i++)
		fd_close(&f->extents[i].fd);
	free(f->extents);
	free(f->start);
	free(f);
}

/** find_extent() - Index of the extent that holds byte `at` of the disk. */
static size_t find_extent(const struct file_disk *f, uint64_t at)
{
	size_t low = 0, high = f->count;

	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;

		if (f->start[mid] <= at)
			low = mid;
		else
			high = mid;
	}
	return low;
}

static int extents_readv(struct disk *d, const struct iovec *iov, int count, uint64_t offset)
{
	struct file_disk *f = (struct file_disk *)d;
	struct iov_cursor at = { iov, count, 0 };
	uint64_t left = iov_bytes(iov, count);

	while (left) {
		struct iovec part[FILE_IO_IOVS];
		size_t i = find_extent(f, offset);
		const struct disk_extent *e = &f->extents[i];
		uint64_t inside = offset - f->start[i], taken;
		int parts, rc = 0;

		if (inside >= e->length)
			return -EINVAL;
		parts = iov_take(&at, e->length - inside, part, &taken);
		if (e->fd < 0)
			iov_zero(part, parts);
		else
			rc = file_io(e->fd, part, parts, e->fd_offset + inside, false);
		if (rc < 0)
			return rc;
		offset += taken;
		left -= taken;
	}
	return 0;
}

int disk_refuse_writev(struct disk *d, const struct iovec *iov, int count, uint64_t offset)
{
	(void)d;
	(void)iov;
	(void)count;
	(void)offset;
	return -EROFS;
}

int disk_nothing_flush(struct disk *d)
{
	(void)d;
	return 0;
}

static const struct disk_ops raw_ops = {
	.readv = raw_readv,
	.writev = raw_writev,
	.flush = raw_flush,
	.discard = raw_discard,
	.close = file_close,
};
static const struct disk_ops extents_ops = {
	.readv = extents_readv,
	.writev = disk_refuse_writev,
	.flush = disk_nothing_flush,
	.close = file_close,
};

/** close_extents() - Give up what a failed open took. */
static void close_extents(const struct disk_extent *extents, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (extents[i].fd >= 0)
			close(extents[i].fd);
}

/** file_disk_new() - Memory for a disk of count extents, fds taken. */
static struct file_disk *file_disk_new(const struct disk_extent *extents, size_t count, struct error *err)
{
	struct file_disk *f = calloc(1, sizeof(*f));

	if (f) {
		f->extents = calloc(count, sizeof(*extents));
		f->start = calloc(count, sizeof(*f->start));
	}
	if (!f || !f->extents || !f->start) {
		close_extents(extents, count);
		if (f) {
			free(f->extents);
			free(f->start);
			free(f);
		}
		err_set(err, ERR_NO_MEMORY, 0, "disk: out of memory");
		return NULL;
	}
	f->count = count;
	memcpy(f->extents, extents, count * sizeof(*extents));
	return f;
}

struct disk *disk_open_raw(int fd, bool read_only, struct error *err)
{
	struct disk_extent whole = { .fd = fd };
	struct file_disk *f;
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < DISK_SECTOR) {
		err_set(err, ERR_INVALID, 0, "disk: not a regular file with contents");
		err_hint(err, "make one: mke2fs -t ext4 -d DIR disk.raw 1G");
		close(fd);
		return NULL;
	}
	f = file_disk_new(&whole, 1, err);
	if (!f)
		return NULL;
	f->disk.ops = &raw_ops;
	f->disk.size_bytes = ALIGN_DOWN((uint64_t)st.st_size, DISK_SECTOR);
	f->disk.read_only = read_only;
	return &f->disk;
}

struct disk *disk_open_extents(const struct disk_extent *extents, size_t count, struct error *err)
{
	struct file_disk *f;

	if (count == 0 || count > DISK_EXTENTS_MAX) {
		close_extents(extents, count);
		err_set(err, ERR_LIMIT, 0, "disk: %zu extents (limit %d)", count, DISK_EXTENTS_MAX);
		return NULL;
	}
	f = file_disk_new(extents, count, err);
	if (!f)
		return NULL;
	f->disk.ops = &extents_ops;
	f->disk.read_only = true;
	for (size_t i = 0; i < count; i++) {
		f->start[i] = f->disk.size_bytes;
		uint64_t file_end;

		if (extents[i].length == 0 || extents[i].length % DISK_SECTOR ||
		    __builtin_add_overflow(extents[i].fd_offset, extents[i].length, &file_end) ||
		    file_end > INT64_MAX ||
		    __builtin_add_overflow(f->disk.size_bytes, extents[i].length, &f->disk.size_bytes)) {
			err_set(err, ERR_INVALID, 0, "disk: extent %zu has length %llu at offset %llu", i,
				(unsigned long long)extents[i].length, (unsigned long long)extents[i].fd_offset);
			file_close(&f->disk);
			return NULL;
		}
	}
	return &f->disk;
}

void disk_close(struct disk *d)
{
	if (d)
		d->ops->close(d);
}
