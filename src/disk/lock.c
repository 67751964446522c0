/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks on disk images that QEMU understands. It marks byte 100 + N of an image for each permission N that it uses,
 * and byte 200 + N for each that it does not let others have, with shared locks, then looks for the others' marks. A
 * writer of ours locks the whole file, which collides with every such mark; a reader forbids others to write and looks
 * for writers. The locks belong to the open file description, so they survive a fork and end with the last descriptor.
 * Source: QEMU, block/file-posix.c, docs/system/images (image locking).
 */
#include <errno.h>
#include <fcntl.h>

#include "disk/disk.h"

#define PERMISSION_WRITE 1
#define MARK_USED (100 + PERMISSION_WRITE)
#define MARK_FORBIDDEN (200 + PERMISSION_WRITE)

/** cannot_lock() - With errno: some network file systems. */
static int cannot_lock(struct error *err)
{
	err_set(err, ERR_UNSUPPORTED, errno, "this file system cannot lock the disk image");
	return err_hint(err, "copy the image to a file system of this host");
}

int disk_lock(int fd, bool write, struct error *err)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct flock writer = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = MARK_USED, .l_len = 1 };

	if (!write)
		lock = (struct flock){ .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = MARK_FORBIDDEN, .l_len = 1 };
	if (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
		if (errno != EAGAIN && errno != EACCES)
			return cannot_lock(err);
		err_set(err, ERR_EXISTS, 0, "the disk image is in use by another process");
		return err_hint(err, "a disk image has one writer at a time: end the other run, or use a copy");
	}
	if (write)
		return 0;
	if (fcntl(fd, F_OFD_GETLK, &writer) < 0)
		return cannot_lock(err);
	if (writer.l_type == F_UNLCK)
		return 0;
	err_set(err, ERR_EXISTS, 0, "another process is writing to the disk image");
	return err_hint(err, "end that process first, or use a copy of the image");
}
