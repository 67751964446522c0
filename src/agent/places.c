/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Places in the root that is being built, and what the user asked for in it: folders removed and made, tmpfs. Every
 * path is resolved inside the root, so links of the image lead nowhere else; what is removed is never a link's target.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/fd.h"

int place_enter(int root, const char *path, uint64_t flags)
{
	struct open_how how = { .flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };

	return (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
}

/** enter_or_make() - A folder: path, which is name in the folder at, if that exists. Return: fd, or -1 with errno. */
static int enter_or_make(int root, const char *path, int at, const char *name)
{
	int fd = place_enter(root, path, O_PATH | O_DIRECTORY);

	if (fd >= 0 || errno != ENOENT)
		return fd;
	if (mkdirat(at, name, 0755) < 0 && errno != EEXIST)
		return -1;
	return place_enter(root, path, O_PATH | O_DIRECTORY); /* fails for a link to nothing */
}

int place_make(int root, const char *path, struct failure *f)
{
	int at = place_enter(root, "/", O_PATH | O_DIRECTORY);
	char part[PATH_MAX];
	size_t len = 0;

	if (path[0] != '/' || strlen(path) >= sizeof(part)) {
		fd_close(&at);
		fail(f, MSG_FAIL_BAD_ARGS, EINVAL, "folder %.150s", path);
		return -1;
	}
	while (at >= 0 && path[len]) {
		size_t name = len + strspn(path + len, "/"), end = name + strcspn(path + name, "/");
		int next;

		memcpy(part, path, end);
		part[end] = '\0';
		next = enter_or_make(root, part, at, part + name);
		fd_close(&at);
		at = next;
		len = end + strspn(path + end, "/");
	}
	if (at < 0)
		fail(f, MSG_FAIL_MOUNT, errno, "folder %.200s", len ? part : "/");
	return at;
}

/** remove_place() - A file, a link or a folder with all that is in it; one that is not there is no failure. */
static bool remove_place(int root, const char *path, struct failure *f)
{
	struct error err = ERROR_INIT;
	char parent[PATH_MAX];
	_cleanup_fd_ int at = -1;
	char *name;
	size_t n = strlen(path);

	while (n > 1 && path[n - 1] == '/')
		n--;
	if (path[0] != '/' || n >= sizeof(parent))
		return fail(f, MSG_FAIL_BAD_ARGS, EINVAL, "remove %.150s", path);
	memcpy(parent, path, n);
	parent[n] = '\0';
	name = strrchr(parent, '/') + 1;
	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return fail(f, MSG_FAIL_BAD_ARGS, EINVAL, "remove %.150s", path);
	name[-1] = '\0';
	at = place_enter(root, parent[0] ? parent : "/", O_PATH | O_DIRECTORY);
	if (at < 0)
		return errno == ENOENT || errno == ENOTDIR || fail(f, MSG_FAIL_MOUNT, errno, "remove %.200s", path);
	return dir_remove_tree(at, name, &err) == 0 || fail(f, MSG_FAIL_MOUNT, err.sys_errno, "remove %.200s", path);
}

bool places_remove(int root, const struct msg_boot *boot, struct failure *f)
{
	for (uint32_t i = 0; i < boot->removes.count; i++)
		if (!remove_place(root, boot->removes.item[i], f))
			return false;
	return true;
}

/** by_length() - For qsort(): what lies in another folder has the longer path. */
static int by_length(const void *a, const void *b)
{
	size_t x = strlen(((const struct msg_mount *)a)->path), y = strlen(((const struct msg_mount *)b)->path);

	return x < y ? -1 : x > y;
}

/** mount_tmpfs() - One of the user's. */
static bool mount_tmpfs(int root, const struct msg_mount *m, bool restricted, struct failure *f)
{
	unsigned long flags = (m->read_only ? MS_RDONLY : 0UL) | (m->noexec ? MS_NOEXEC : 0UL) |
			      (m->nosuid || restricted ? MS_NOSUID : 0UL) | (m->nodev || restricted ? MS_NODEV : 0UL);
	_cleanup_fd_ int fd = place_make(root, m->path, f);
	char at[64], options[96];
	struct stat here, top;

	if (fd < 0)
		return false;
	if (fstat(fd, &here) < 0 || fstat(root, &top) < 0 || (here.st_dev == top.st_dev && here.st_ino == top.st_ino))
		return fail(f, MSG_FAIL_BAD_ARGS, EINVAL, "tmpfs at %.150s", m->path);
	snprintf(at, sizeof(at), "/proc/self/fd/%d", fd);
	snprintf(options, sizeof(options), m->bytes ? "mode=%o,size=%llu" : "mode=%o",
		 m->mode ? (unsigned int)(m->mode & 07777) : 01777U, (unsigned long long)m->bytes);
	return mount("tmpfs", at, "tmpfs", flags, options) == 0 ||
	       fail(f, MSG_FAIL_MOUNT, errno, "tmpfs at %.200s", m->path);
}

bool places_make(int root, struct msg_boot *boot, struct failure *f)
{
	qsort(boot->tmpfs, boot->tmpfs_count, sizeof(boot->tmpfs[0]), by_length);
	for (uint32_t i = 0; i < boot->tmpfs_count; i++)
		if (!mount_tmpfs(root, &boot->tmpfs[i], boot->restricted, f))
			return false;
	for (uint32_t i = 0; i < boot->mkdirs.count; i++) {
		int fd = place_make(root, boot->mkdirs.item[i], f);

		if (fd < 0)
			return false;
		close(fd);
	}
	return true;
}

bool places_has_tmp(const struct msg_boot *boot)
{
	for (uint32_t i = 0; i < boot->tmpfs_count; i++) {
		const char *path = boot->tmpfs[i].path;

		if (strncmp(path, "/tmp", 4) == 0 && path[4 + strspn(path + 4, "/")] == '\0')
			return true;
	}
	return false;
}
