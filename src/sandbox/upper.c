/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writable disk above an image. One empty template per size is made by mke2fs and kept; a sandbox gets a copy
 * by reflink, or of the template's data blocks only. An ephemeral disk has no journal (it dies with the sandbox)
 * and no name: an unlinked file in the sandbox's directory, so that nothing can be left behind. The disk of a
 * persistent sandbox has both.
 */
#include "sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

#define TEMPLATE_VERSION 1 /* part of the file name: raise when the options change */

/** run_mke2fs() - Format path, an existing sparse file of the right size. */
static int run_mke2fs(const char *path, bool journal, struct error *err)
{
	char *const argv[] = { (char *)"mke2fs",
			       (char *)"-q",
			       (char *)"-F",
			       (char *)"-t",
			       (char *)"ext4",
			       (char *)"-b",
			       (char *)"4096",
			       (char *)"-m",
			       (char *)"0",
			       (char *)"-O",
			       (char *)(journal ? "has_journal,^resize_inode" : "^has_journal,^resize_inode"),
			       (char *)"-E",
			       (char *)"assume_storage_prezeroed=1,root_owner=0:0,"
				       "hash_seed=6d736220-7570-7065-7220-6469736b2031",
			       (char *)"-U",
			       (char *)"6d736220-7570-7065-7220-6469736b2030",
			       (char *)path,
			       NULL };
	char *const envp[] = { (char *)"PATH=/usr/sbin:/sbin:/usr/bin:/bin", (char *)"LC_ALL=C", NULL };
	_cleanup_fd_ int said = fd_memfd("mke2fs", 0, false);
	char text[256] = "";
	int status;
	pid_t pid = said < 0 ? -1 : fork();

	if (pid < 0)
		return err_set(err, err_from_errno(errno), errno, "start mke2fs");
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 0);
		dup2(null, 1);
		dup2(said, 2);
		execve("/usr/sbin/mke2fs", argv, envp);
		execve("/sbin/mke2fs", argv, envp);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_set(err, ERR_SYSTEM, errno, "wait for mke2fs");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
		err_set(err, ERR_UNSUPPORTED, 0, "mke2fs not found");
		return err_hint(err, "apt-get install e2fsprogs");
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (fd_pread_full(said, text, sizeof(text) - 1, 0) > 0)
		text[strcspn(text, "\n")] = '\0';
	err_set(err, ERR_SYSTEM, 0, "format the writable disk: %s", text[0] ? text : "mke2fs failed");
	return err_hint(err, "free some space in MSB_HOME, or choose another place with it");
}

/** make_template() - Format a new template under a temporary name, then rename. */
static int make_template(const char *path, uint64_t size_bytes, bool journal, struct error *err)
{
	char tmp[PATH_MAX];
	_cleanup_fd_ int fd = -1;
	int rc;

	if (snprintf(tmp, sizeof(tmp), "%s.tmp%d", path, (int)getpid()) >= (int)sizeof(tmp))
		return err_set(err, ERR_LIMIT, 0, "%s: path too long", path);
	fd = open(tmp, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)size_bytes) < 0)
		rc = err_set(err, err_from_errno(errno), errno, "create %s", tmp);
	else
		rc = run_mke2fs(tmp, journal, err);
	if (rc == 0 && rename(tmp, path) < 0)
		rc = err_set(err, err_from_errno(errno), errno, "create %s", path);
	if (rc < 0)
		unlink(tmp);
	return rc;
}

/** copy_data() - Copy the data ranges of `from` into the empty file `to`. */
static int copy_data(int from, int to, off_t size)
{
	_cleanup_(freep) char *chunk = malloc(MIB(1));
	off_t at = 0;

	if (!chunk)
		return -1;
	for (;;) {
		off_t data = lseek(from, at, SEEK_DATA), hole;

		if (data < 0)
			return errno == ENXIO ? 0 : -1;
		hole = lseek(from, data, SEEK_HOLE);
		if (hole < 0)
			return -1;
		for (at = data; at < hole && at < size;) {
			ssize_t n = fd_pread_full(from, chunk, MIN((size_t)(hole - at), MIB(1)), at);

			if (n <= 0 || fd_pwrite_full(to, chunk, (size_t)n, at) < 0)
				return -1;
			at += n;
		}
	}
}

int upper_open_private(int dir_fd, struct error *err)
{
	int fd = openat(dir_fd, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);

	if (fd >= 0)
		return fd;
	/* File systems without O_TMPFILE: a name for a moment. */
	fd = openat(dir_fd, "upper.img", O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, err_from_errno(errno), errno, "create the writable disk");
	unlinkat(dir_fd, "upper.img", 0);
	return fd;
}

/** fill() - Make the empty file fd an empty ext4 of this size. */
static int fill(const char *templates_dir, int fd, uint64_t size_bytes, bool journal, enum upper_clone clone,
		struct error *err)
{
	char path[PATH_MAX];
	_cleanup_fd_ int template = -1;

	if (snprintf(path, sizeof(path), "%s/ext4%s-%llu-v%d.img", templates_dir, journal ? "j" : "",
		     (unsigned long long)(size_bytes >> 20), TEMPLATE_VERSION) >= (int)sizeof(path))
		return err_set(err, ERR_LIMIT, 0, "%s: path too long", templates_dir);
	template = open(path, O_RDONLY | O_CLOEXEC);
	if (template <0) {
		if (dir_make_parents(templates_dir, 0700, err) < 0 || make_template(path, size_bytes, journal, err) < 0)
			return -(int)err->code;
		template = open(path, O_RDONLY | O_CLOEXEC);
		if (template <0)
			return err_set(err, err_from_errno(errno), errno, "open %s", path);
	}
	if (clone != UPPER_CLONE_COPY && ioctl(fd, FICLONE, template) == 0)
		return 0;
	if (clone == UPPER_CLONE_REFLINK) {
		err_set(err, ERR_UNSUPPORTED, errno, "the file system of MSB_HOME cannot share blocks (reflink)");
		return err_hint(err, "use clone=auto, or keep MSB_HOME on btrfs or XFS");
	}
	if (lseek(template, 0, SEEK_HOLE) >= (off_t)size_bytes) {
		/* This file system does not tell holes (9p, some NFS): formatting is quicker than copying them. */
		if (ftruncate(fd, (off_t)size_bytes) < 0)
			return err_set(err, err_from_errno(errno), errno, "create the writable disk");
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), fd);
		return run_mke2fs(path, journal, err);
	}
	if (ftruncate(fd, (off_t)size_bytes) < 0 || copy_data(template, fd, (off_t)size_bytes) < 0)
		return err_set(err, err_from_errno(errno), errno, "copy the template of the writable disk");
	return 0;
}

int upper_open(const char *templates_dir, int dir_fd, uint64_t size_bytes, enum upper_clone clone, struct error *err)
{
	_cleanup_fd_ int fd = upper_open_private(dir_fd, err);

	if (fd < 0)
		return fd;
	return fill(templates_dir, fd, size_bytes, false, clone, err) < 0 ? -(int)err->code : TAKE_FD(fd);
}

int upper_open_named(const char *templates_dir, int dir_fd, const char *name, uint64_t size_bytes,
		     enum upper_clone clone, struct error *err)
{
	_cleanup_fd_ int fd = openat(dir_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	char half[64];

	if (fd >= 0 || errno != ENOENT)
		return fd >= 0 ? TAKE_FD(fd) : err_set(err, err_from_errno(errno), errno, "open the writable disk");
	snprintf(half, sizeof(half), "%.50s.new", name);
	fd = openat(dir_fd, half, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, err_from_errno(errno), errno, "create the writable disk");
	if (fill(templates_dir, fd, size_bytes, true, clone, err) < 0) {
		unlinkat(dir_fd, half, 0);
		return -(int)err->code;
	}
	if (fdatasync(fd) < 0 || renameat(dir_fd, half, dir_fd, name) < 0)
		return err_set(err, err_from_errno(errno), errno, "create the writable disk");
	return TAKE_FD(fd);
}
