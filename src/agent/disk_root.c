/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A root that is a file system on a disk image: on the whole disk, else on its first partition that has one the kernel
 * knows. It is recognised by its magic number, so that a failing mount can say what it found. What it holds is as
 * hostile as any image; the kernel's own checks are what there is against it, in the guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "agent/agent.h"

#define DISK "/dev/vda"
#define PARTITIONS_MAX 15
#define MAGIC_MAX 8

struct file_system {
	const char *name, *options;
	const char *magic;
	off_t offset;
	size_t magic_len;
	bool known; /* to the guest kernel */
	bool writable;
};

static const struct file_system file_systems[] = {
	{ "ext4", "discard", "\x53\xef", 1080, 2, true, true },
	{ "erofs", NULL, "\xe2\xe1\xf5\xe0", 1024, 4, true, false },
	{ "squashfs", NULL, "hsqs", 0, 4, true, false },
	{ "xfs", NULL, "XFSB", 0, 4, false, false },
	{ "btrfs", NULL, "_BHRfS_M", 65600, 8, false, false },
};

/** identify() - The file system of a block device, or NULL. *there: is there such a device? */
static const struct file_system *identify(const char *device, bool *there)
{
	int fd = open(device, O_RDONLY | O_CLOEXEC);
	const struct file_system *found = NULL;

	*there = fd >= 0;
	for (size_t i = 0; i < sizeof(file_systems) / sizeof(file_systems[0]) && fd >= 0 && !found; i++) {
		const struct file_system *fs = &file_systems[i];
		char magic[MAGIC_MAX];

		if (pread(fd, magic, fs->magic_len, fs->offset) == (ssize_t)fs->magic_len &&
		    memcmp(magic, fs->magic, fs->magic_len) == 0)
			found = fs;
	}
	if (fd >= 0)
		close(fd);
	return found;
}

bool disk_root_mount(struct failure *f)
{
	char device[32] = DISK;
	bool there, partitions = false;
	const struct file_system *fs = identify(device, &there), *foreign = NULL;

	if (!there)
		return fail(f, MSG_FAIL_MOUNT, errno, "open the disk %s", device);
	for (int i = 1; i <= PARTITIONS_MAX && (!fs || !fs->known); i++) {
		foreign = foreign ? foreign : fs;
		snprintf(device, sizeof(device), DISK "%d", i);
		fs = identify(device, &there);
		partitions |= there;
	}
	if (!fs || !fs->known) {
		foreign = foreign ? foreign : fs;
		if (foreign)
			return fail(f, MSG_FAIL_DISK, 0,
				    "the disk image holds %s; the guest kernel has ext4, erofs, squashfs",
				    foreign->name);
		return fail(f, MSG_FAIL_DISK, 0, "no file system (ext4, erofs, squashfs) found on the disk image%s",
			    partitions ? " nor on its partitions" : "");
	}
	if (mount(device, "/root", fs->name, fs->writable ? MS_NOATIME : MS_RDONLY, fs->options) < 0)
		return fail(f, MSG_FAIL_DISK, errno, "mount the disk image (%s on %s)", fs->name, device);
	return true;
}
