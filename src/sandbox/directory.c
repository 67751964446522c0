/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

/** lock_parent() - Exclude others while directories appear or are swept. Return: owned fd, or -1 with errno. */
static int lock_parent(int parent)
{
	_cleanup_fd_ int fd = openat(parent, ".lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		return -1;
	return TAKE_FD(fd);
}

int sandbox_dir_create(const char *parent_dir, const char *name, int *dir_fd, int *lock_fd, struct error *err)
{
	_cleanup_fd_ int parent = open(parent_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_fd_ int guard = parent < 0 ? -1 : lock_parent(parent);
	_cleanup_fd_ int dir = -1;
	_cleanup_fd_ int lock = -1;

	if (guard < 0)
		return err_set(err, err_from_errno(errno), errno, "open %s", parent_dir);
	if (mkdirat(parent, name, 0700) < 0)
		return err_set(err, err_from_errno(errno), errno, "create %s/%s", parent_dir, name);
	dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir >= 0)
		lock = openat(dir, "lock", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) < 0) {
		int code = err_set(err, err_from_errno(errno), errno, "create %s/%s", parent_dir, name);

		dir_remove_tree(parent, name, NULL);
		return code;
	}
	*dir_fd = TAKE_FD(dir);
	*lock_fd = TAKE_FD(lock);
	return 0;
}

int sandbox_dir_open(const char *parent_dir, const char *name, int limit_ms, int *dir_fd, int *lock_fd,
		     struct error *err)
{
	_cleanup_fd_ int parent = open(parent_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int64_t end = clock_monotonic_ns() + limit_ms * NSEC_PER_MSEC;
	_cleanup_fd_ int dir = -1;
	_cleanup_fd_ int lock = -1;

	if (parent >= 0)
		dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir >= 0)
		lock = openat(dir, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (lock < 0)
		return err_set(err, err_from_errno(errno), errno, "open %s/%s", parent_dir, name);
	/* The processes of a sandbox that ended by force may need a moment; flock() has no limit of time. */
	while (flock(lock, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return err_set(err, ERR_SYSTEM, errno, "lock %s/%s", parent_dir, name);
		if (clock_monotonic_ns() >= end)
			return err_set(err, ERR_EXISTS, 0, "sandbox %s is running", name);
		poll(NULL, 0, 2);
	}
	*dir_fd = TAKE_FD(dir);
	*lock_fd = TAKE_FD(lock);
	return 0;
}

/** is_persistent() - Is it one that stays when nothing of it runs? */
static bool is_persistent(int parent, const char *name)
{
	char path[NAME_MAX + 32];

	snprintf(path, sizeof(path), "%s/" SANDBOX_FILE, name);
	return faccessat(parent, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

bool sandbox_dir_is_dead(int parent, const char *name)
{
	char path[NAME_MAX + 16];
	_cleanup_fd_ int lock = -1;

	snprintf(path, sizeof(path), "%s/lock", name);
	lock = openat(parent, path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (lock < 0)
		return errno == ENOENT;
	return flock(lock, LOCK_EX | LOCK_NB) == 0;
}

void sandbox_sweep(const char *parent_dir)
{
	_cleanup_fd_ int parent = open(parent_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_fd_ int guard = -1;
	struct dirent *e;
	DIR *dir;

	if (parent < 0)
		return;
	guard = lock_parent(parent);
	dir = guard < 0 ? NULL : fdopendir(dup(parent));
	if (!dir)
		return;
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.' || (e->d_type != DT_DIR && e->d_type != DT_UNKNOWN))
			continue;
		if (!is_persistent(parent, e->d_name) && sandbox_dir_is_dead(parent, e->d_name)) {
			struct error err = ERROR_INIT;

			if (dir_remove_tree(parent, e->d_name, &err) < 0)
				log_warn(LOG_SANDBOX, "%s", err.text);
		}
	}
	closedir(dir);
}
