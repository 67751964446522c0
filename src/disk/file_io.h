/* SPDX-License-Identifier: Apache-2.0 */
/** The folder's own: positional transfers over iovecs, a place within a caller's iovecs, read-only operations. */
#ifndef MSB_DISK_FILE_IO_H
#define MSB_DISK_FILE_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "disk/disk.h"

#define FILE_IO_IOVS 64 /* per system call */

/** Where a request has come to in the iovecs that it was given (borrowed, never written). */
struct iov_cursor {
	const struct iovec *iov;
	int count;
	size_t used; /* bytes of *iov that are done */
};

/** iov_take() - The next bytes, at most n and FILE_IO_IOVS pieces. *taken: their sum. Return: number of pieces. */
int iov_take(struct iov_cursor *c, uint64_t n, struct iovec part[FILE_IO_IOVS], uint64_t *taken);
/** iov_bytes() - Sum of all lengths. */
uint64_t iov_bytes(const struct iovec *iov, int count);
/** iov_zero() - Fill with zeroes. */
void iov_zero(const struct iovec *iov, int count);
/** iov_copy() - Copy contiguous bytes into the pieces, as many as fit them. */
void iov_copy(const struct iovec *iov, int count, const uint8_t *from);

/** file_io() - preadv or pwritev until done; reads past the end of the file give zeroes. Return: 0 or -errno. */
int file_io(int fd, const struct iovec *iov, int count, uint64_t offset, bool write);

/** disk_refuse_writev(), disk_nothing_flush() - Operations of disks that are never written. */
int disk_refuse_writev(struct disk *d, const struct iovec *iov, int count, uint64_t offset);
int disk_nothing_flush(struct disk *d);

#endif
