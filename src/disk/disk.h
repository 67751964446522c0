/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Block back ends behind one operations struct. Offsets and lengths are bytes and always inside the disk (the
 * device checks them against size_bytes before the call). Calls block; they run on the disk's own thread.
 */
#ifndef MSB_DISK_DISK_H
#define MSB_DISK_DISK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/error.h"

#define DISK_SECTOR 512
#define DISK_COW_BYTES_MAX (1ULL << 46) /* of a disk with a private layer: 64 TiB */
#define DISK_EXTENTS_MAX 512 /* metadata, then one per layer, padding between */

struct disk;

struct disk_ops {
	/* 0, or a negative errno; short reads and writes are finished by the back end */
	int (*readv)(struct disk *d, const struct iovec *iov, int iov_count, uint64_t offset);
	int (*writev)(struct disk *d, const struct iovec *iov, int iov_count, uint64_t offset);
	int (*flush)(struct disk *d);
	int (*discard)(struct disk *d, uint64_t offset, uint64_t length, bool zero); /* may be NULL */
	void (*close)(struct disk *d);
};

struct disk {
	const struct disk_ops *ops;
	uint64_t size_bytes; /* multiple of DISK_SECTOR */
	bool read_only;
	bool no_flush; /* contents die with the sandbox: flush may be skipped */
};

/** One piece of a disk put together from files. fd -1: zeroes. */
struct disk_extent {
	int fd;
	uint64_t fd_offset; /* bytes */
	uint64_t length;    /* bytes, multiple of DISK_SECTOR; reads past the file's end give zeroes */
};

/** disk_open_raw() - A whole file as a disk. @fd: taken, also on failure. Return: owned disk, or NULL. */
struct disk *disk_open_raw(int fd, bool read_only, struct error *err);
/** disk_open_extents() - A read-only disk from pieces in order. @extents: copied, their fds taken, also on failure. */
struct disk *disk_open_extents(const struct disk_extent *extents, size_t count, struct error *err);
/** disk_open_qcow2() - A qcow2 image that stands alone, read-only. @fd: taken, also on failure. See qcow2.c. */
struct disk *disk_open_qcow2(int fd, struct error *err);
/**
 * disk_open_cow() - A writable disk whose changes go to a private file over a base that is only read.
 * @base: taken, also on failure
 * @fd:   taken, also on failure; writable, its contents are dropped, it becomes as large (sparse) as the base
 */
struct disk *disk_open_cow(struct disk *base, int fd, struct error *err);
void disk_close(struct disk *d);

/**
 * disk_lock() - Claim an image for as long as its open file description lives: one writer, or any number of readers.
 * Other msb runs and QEMU's own programs respect it. @fd: borrowed; open for writing when write is set
 * Return: 0, or ERR_EXISTS when somebody else has it.
 */
int disk_lock(int fd, bool write, struct error *err);

#endif
