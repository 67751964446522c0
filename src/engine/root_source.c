/* SPDX-License-Identifier: Apache-2.0 */
/* Where the root file system comes from: an image of the store with a writable disk above it, or a disk image. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "engine/run_plan.h"

#define UPPER_MIB 4096 /* unless --root-disk says otherwise */
#define EXT4_MAGIC_AT (1024 + 56)

/** has_suffix() - Does the name end so, with something before it? */
static bool has_suffix(const char *name, const char *suffix)
{
	size_t n = strlen(name), m = strlen(suffix);

	return n > m && strcmp(name + n - m, suffix) == 0 && name[n - m - 1] != '/';
}

int root_source_check(const char *path, bool *qcow2, struct error *err)
{
	struct stat st;

	*qcow2 = has_suffix(path, ".qcow2");
	if (stat(path, &st) < 0)
		return err_set(err, err_from_errno(errno), errno, "%.300s", path);
	if (S_ISDIR(st.st_mode)) {
		err_set(err, ERR_UNSUPPORTED, 0, "%.300s: a host directory as the root is not available yet", path);
		return err_hint(err, "make a disk image of it: mke2fs -t ext4 -d DIR disk.raw 1G");
	}
	if (has_suffix(path, ".vmdk")) {
		err_set(err, ERR_UNSUPPORTED, 0, "%.300s: VMDK images are not supported", path);
		return err_hint(err, "convert it: qemu-img convert -O qcow2 OLD.vmdk NEW.qcow2");
	}
	if (*qcow2 || has_suffix(path, ".raw"))
		return 0;
	err_set(err, ERR_INVALID, 0, "%.300s is not a disk image by its name", path);
	return err_hint(err, "names of disk images end in .raw or .qcow2; archives are loaded by msb load -i FILE");
}

bool root_source_meant(const char *typed)
{
	return (has_suffix(typed, ".raw") || has_suffix(typed, ".qcow2")) && access(typed, F_OK) == 0;
}

/** open_locked() - A disk image, ours alone if it is written. @write: raw images are written in place */
static int open_locked(const char *path, bool write, struct error *err)
{
	_cleanup_fd_ int fd = open(path, (write ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;

	if (fd < 0) {
		err_set(err, err_from_errno(errno), errno, "%.300s", path);
		if (write && (err->sys_errno == EACCES || err->sys_errno == EROFS))
			err_hint(err, "a raw disk image is written in place: make it writable, or use a copy");
		else if (err->sys_errno == EISDIR)
			err_hint(err, "a disk image is a file");
		return -(int)err->code;
	}
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		err_set(err, ERR_INVALID, 0, "%.300s is not a regular file", path);
		return err_hint(err, "a disk image is a file");
	}
	if (disk_lock(fd, write, err) < 0)
		return err_wrap(err, "%.300s", path);
	return TAKE_FD(fd);
}

/**
 * check_contents() - That the monitor will be able to use it: its errors are clearer here. Of a qcow2 image only the
 * header and the first table are read, since this process is not confined.
 * @ext4: a raw one must hold such a file system
 * @size: of the disk, in bytes
 */
static int check_contents(const char *path, int fd, bool qcow2, bool ext4, uint64_t *size, struct error *err)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	struct disk *d = qcow2 ? disk_open_qcow2(copy, err) : disk_open_raw(copy, true, err);
	uint8_t first[2048] = { 0 };
	int rc = 0;

	if (!d)
		return err_wrap(err, "%.300s", path);
	*size = d->size_bytes;
	if (qcow2) {
		disk_close(d);
		return 0;
	}
	if (d->ops->readv(d, &(struct iovec){ first, MIN(sizeof(first), d->size_bytes) }, 1, 0) < 0)
		rc = err_set(err, ERR_INVALID, EIO, "%.300s: read the disk image", path);
	else if (memcmp(first, "QFI\xfb", 4) == 0) {
		err_set(err, ERR_INVALID, 0, "%.300s is a qcow2 image, not a raw one", path);
		rc = err_hint(err, ext4 ? "add :format=qcow2" : "rename it, so that it ends in .qcow2");
	} else if (ext4 && (first[EXT4_MAGIC_AT] != 0x53 || first[EXT4_MAGIC_AT + 1] != 0xef)) {
		err_set(err, ERR_INVALID, 0, "%.300s holds no ext4 file system", path);
		rc = err_hint(err, "mkfs.ext4 makes one");
	}
	disk_close(d);
	return rc;
}

/**
 * add_image() - The next disk of the machine from a disk image: raw written in place, qcow2 below a private file.
 * @at: where its descriptor is kept, in the plan
 */
static int add_image(struct run_plan *plan, const char *path, bool qcow2, bool ext4, struct disk_extent *at,
		     struct error *err)
{
	struct monitor_config *m = &plan->spec.machine;
	uint64_t size;
	int fd;

	if (qcow2 && plan->spec.persistent) {
		err_set(err, ERR_UNSUPPORTED, 0,
			"%.300s: what is written above a qcow2 image is not kept, so a sandbox "
			"that stays cannot be made of it yet",
			path);
		return err_hint(err, "convert it: qemu-img convert -O raw OLD.qcow2 NEW.raw");
	}
	fd = open_locked(path, !qcow2, err);
	if (fd < 0)
		return fd;
	at->fd = fd;
	m->disks[m->disk_count++] = (struct monitor_disk){
		.ephemeral = qcow2, .qcow2 = qcow2, .extent_count = 1, .extents = at, .cow = qcow2 ? &plan->cow : NULL
	};
	plan->spec.orderly = plan->spec.orderly || !qcow2;
	if (check_contents(path, fd, qcow2, ext4, &size, err) < 0)
		return -(int)err->code;
	if (!qcow2)
		return 0;
	fd = upper_open_private(plan->dir_fd, err);
	if (fd < 0)
		return fd;
	plan->cow.fd = fd;
	/* The monitor would notice, too, but its words are fewer. */
	if (ftruncate(fd, (off_t)size) < 0)
		return err_set(err, err_from_errno(errno), errno, "%.300s: a private layer of %llu MiB", path,
			       (unsigned long long)size >> 20);
	return 0;
}

/** add_managed() - The next disk: an empty ext4 of ours. */
static int add_managed(const struct root_disk *r, struct run_plan *plan, struct error *err)
{
	static const enum upper_clone clones[] = { [ROOT_DISK_CLONE_AUTO] = UPPER_CLONE_AUTO,
						   [ROOT_DISK_CLONE_COPY] = UPPER_CLONE_COPY,
						   [ROOT_DISK_CLONE_REFLINK] = UPPER_CLONE_REFLINK };
	struct monitor_config *m = &plan->spec.machine;
	uint64_t bytes = (r->size_mib ? r->size_mib : UPPER_MIB) << 20;
	char templates[PATH_MAX];
	int fd;

	snprintf(templates, sizeof(templates), "%s/cache/templates", plan->paths.home);
	if (plan->spec.persistent)
		fd = upper_open_named(templates, plan->dir_fd, "disk.ext4", bytes, clones[r->clone], err);
	else
		fd = upper_open(templates, plan->dir_fd, bytes, clones[r->clone], err);
	if (fd < 0)
		return fd;
	plan->upper = (struct disk_extent){ .fd = fd, .length = bytes };
	m->disks[m->disk_count++] = (struct monitor_disk){ .ephemeral = !plan->spec.persistent,
							   .extent_count = 1,
							   .extents = &plan->upper };
	return 0;
}

/**
 * plan_flat() - The image is copied to an empty disk, once: a sandbox that stays has its disk alone from then on. A
 * copy that was broken off is begun again.
 */
static int plan_flat(const struct root_disk *r, struct run_plan *plan, struct error *err)
{
	struct monitor_config *m = &plan->spec.machine;

	if (!plan->spec.persistent)
		return add_managed(r, plan, err);
	plan->spec.fills = faccessat(plan->dir_fd, SANDBOX_FILLED, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
	if (plan->spec.fills) {
		if (unlinkat(plan->dir_fd, "disk.ext4", 0) < 0 && errno != ENOENT)
			return err_set(err, err_from_errno(errno), errno, "make the disk anew");
		return add_managed(r, plan, err);
	}
	for (size_t i = 0; i < m->disks[0].extent_count; i++)
		fd_close(&plan->root[i].fd);
	m->disk_count = 0;
	plan->spec.boot.root = MSG_ROOT_DISK;
	return add_managed(r, plan, err);
}

int root_source_plan(const struct run_spec *spec, struct image_store *store, struct run_plan *plan, struct error *err)
{
	struct monitor_config *m = &plan->spec.machine;
	const struct root_disk *r = &spec->root_disk;
	struct msg_boot *boot = &plan->spec.boot;
	int rc;

	if (!plan->image) {
		boot->root = MSG_ROOT_DISK;
		return add_image(plan, spec->image, plan->root_is_qcow2, false, &plan->root[0], err);
	}
	if (image_store_open_root(store, plan->image, plan->root, &m->disks[0].extent_count, err) < 0)
		return err_wrap(err, "image %s", plan->image->reference);
	m->disks[0].extents = plan->root;
	m->disks[0].read_only = true;
	m->disk_count = 1;
	boot->root = r->kind == ROOT_DISK_FLAT ? MSG_ROOT_FLAT : MSG_ROOT_OVERLAY;
	boot->upper = MSG_UPPER_EXT4;
	switch (r->kind) {
	case ROOT_DISK_DEFAULT:
		rc = add_managed(r, plan, err);
		if (rc != -(int)ERR_UNSUPPORTED)
			return rc;
		err_clear(err); /* no mke2fs here, and nobody asked for a disk */
		boot->upper = MSG_UPPER_TMPFS;
		return 0;
	case ROOT_DISK_MANAGED:
		return add_managed(r, plan, err);
	case ROOT_DISK_FLAT:
		return plan_flat(r, plan, err);
	case ROOT_DISK_TMPFS:
		boot->upper = MSG_UPPER_TMPFS;
		boot->upper_bytes = r->size_mib << 20;
		return 0;
	case ROOT_DISK_FILE:
		return add_image(plan, r->path, r->qcow2, true, &plan->upper, err);
	}
	return err_set(err, ERR_INTERNAL, 0, "unknown kind of root disk");
}
