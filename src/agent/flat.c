/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A flat root: the image is copied to an empty ext4 disk, which then is the root without an overlay. The walk keeps its
 * place in a table instead of recursing; names are opened one by one below their folder and no link is followed. Owner
 * comes before mode and extended attributes, since changing it drops them; times of a folder come when it is full.
 * Limits: FLAT_DEPTH_MAX folders deep; the paths of files with several names are kept in memory.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "agent/agent.h"

#define FLAT_DEPTH_MAX 256
#define COPY_BYTES (1 << 20)
#define LINK_BUCKETS 1024
#define FOLDER (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

struct level {
	DIR *from;
	int to;
	struct stat st;
	size_t path_len; /* of the path up to this folder */
};

struct link {
	struct link *next;
	ino_t ino;
	char path[];
};

struct copy {
	struct level levels[FLAT_DEPTH_MAX];
	int depth;
	int root;	     /* of the copy */
	char path[PATH_MAX]; /* of the entry at hand, below the root */
	struct link *links[LINK_BUCKETS];
};

/** copy_xattrs() - Every extended attribute of one entry; both paths lead through open folders. */
static bool copy_xattrs(const char *from, const char *to)
{
	static char names[65536], value[65536];
	ssize_t n = llistxattr(from, names, sizeof(names));

	if (n < 0)
		return errno == EOPNOTSUPP;
	for (const char *name = names; name < names + n; name += strlen(name) + 1) {
		ssize_t len = lgetxattr(from, name, value, sizeof(value));

		if (len < 0 || lsetxattr(to, name, value, (size_t)len, 0) < 0)
			return false;
	}
	return true;
}

/** copy_attributes() - Of an entry that exists in both folders. */
static bool copy_attributes(int from, int to, const char *name, const struct stat *st)
{
	const struct timespec times[2] = { st->st_mtim, st->st_mtim };
	char old[NAME_MAX + 48], new[NAME_MAX + 48];

	snprintf(old, sizeof(old), "/proc/self/fd/%d/%s", from, name);
	snprintf(new, sizeof(new), "/proc/self/fd/%d/%s", to, name);
	if (fchownat(to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	if (!S_ISLNK(st->st_mode) && fchmodat(to, name, st->st_mode & 07777, 0) < 0)
		return false;
	return copy_xattrs(old, new) && utimensat(to, name, times, AT_SYMLINK_NOFOLLOW) == 0;
}

/** copy_contents() - A regular file's bytes. */
static bool copy_contents(int from_dir, int to_dir, const char *name)
{
	int from = openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	int to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	ssize_t n = -1;

	if (from >= 0 && to >= 0)
		do
			n = sendfile(to, from, NULL, COPY_BYTES);
		while (n > 0 || (n < 0 && errno == EINTR));
	if (from >= 0)
		close(from);
	if (to >= 0 && close(to) < 0)
		n = -1;
	return n == 0;
}

/** copy_link() - A symbolic link. */
static bool copy_link(int from, int to, const char *name)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(from, name, target, sizeof(target) - 1);

	if (n < 0)
		return false;
	target[n] = '\0';
	return symlinkat(target, to, name) == 0;
}

/** link_known() - Another name of a file that is there: link it. *known: was it? */
static bool link_known(struct copy *c, const struct stat *st, int to, const char *name, bool *known)
{
	struct link **bucket = &c->links[st->st_ino % LINK_BUCKETS], *l;

	*known = false;
	if (st->st_nlink < 2)
		return true;
	for (l = *bucket; l; l = l->next)
		if (l->ino == st->st_ino) {
			*known = true;
			return linkat(c->root, l->path, to, name, 0) == 0;
		}
	l = malloc(sizeof(*l) + strlen(c->path) + 1);
	if (!l)
		return false;
	l->ino = st->st_ino;
	memcpy(l->path, c->path, strlen(c->path) + 1);
	l->next = *bucket;
	*bucket = l;
	return true;
}

/** push() - Go down into a folder, open on both sides. @from, @to: taken; -1 with errno where that failed. */
static bool push(struct copy *c, int from, int to, const struct stat *st)
{
	struct level *l = &c->levels[c->depth];
	DIR *dir = NULL;

	if (c->depth == FLAT_DEPTH_MAX)
		errno = ELOOP;
	else if (from >= 0 && to >= 0)
		dir = fdopendir(from);
	if (!dir) {
		if (from >= 0)
			close(from);
		if (to >= 0)
			close(to);
		return false;
	}
	*l = (struct level){ .from = dir, .to = to, .st = *st, .path_len = strlen(c->path) };
	c->depth++;
	return true;
}

/** pop() - A folder is full: its attributes, then back to the one above. */
static bool pop(struct copy *c)
{
	struct level *l = &c->levels[--c->depth];
	bool ok = copy_attributes(dirfd(l->from), l->to, ".", &l->st);

	closedir(l->from);
	close(l->to);
	return ok;
}

/** copy_entry() - One name of the folder at hand. */
static bool copy_entry(struct copy *c, const char *name)
{
	struct level *l = &c->levels[c->depth - 1];
	int from = dirfd(l->from), to = l->to;
	struct stat st;
	bool ok, known;

	if (l->path_len + strlen(name) + 2 > sizeof(c->path)) {
		errno = ENAMETOOLONG;
		return false;
	}
	snprintf(c->path + l->path_len, sizeof(c->path) - l->path_len, "%s%s", l->path_len ? "/" : "", name);
	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	if (S_ISDIR(st.st_mode))
		return mkdirat(to, name, 0700) == 0 &&
		       push(c, openat(from, name, FOLDER), openat(to, name, FOLDER), &st);
	if (!link_known(c, &st, to, name, &known))
		return false;
	if (known)
		return true;
	if (S_ISREG(st.st_mode))
		ok = copy_contents(from, to, name);
	else if (S_ISLNK(st.st_mode))
		ok = copy_link(from, to, name);
	else
		ok = mknodat(to, name, (st.st_mode & S_IFMT) | 0600, st.st_rdev) == 0;
	return ok && copy_attributes(from, to, name, &st);
}

/** copy_tree() - All that is in one folder into another, and the folder's own attributes. */
static bool copy_tree(struct copy *c, const char *from, const char *to)
{
	struct stat st;
	bool ok;

	c->root = open(to, FOLDER);
	ok = c->root >= 0 && stat(from, &st) == 0 && push(c, open(from, FOLDER), open(to, FOLDER), &st);
	while (ok && c->depth) {
		struct level *l = &c->levels[c->depth - 1];
		struct dirent *e;

		errno = 0;
		e = readdir(l->from);
		if (e)
			ok = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || copy_entry(c, e->d_name);
		else
			ok = errno == 0 && pop(c);
	}
	return ok;
}

bool flat_copy_folder(const char *from, const char *to)
{
	int from_fd = open(from, FOLDER), to_fd = open(to, FOLDER);
	struct stat st;
	bool ok = from_fd >= 0 && to_fd >= 0 && fstat(from_fd, &st) == 0 && copy_attributes(from_fd, to_fd, ".", &st);

	if (from_fd >= 0)
		close(from_fd);
	if (to_fd >= 0)
		close(to_fd);
	return ok;
}

/** release() - What the walk holds. */
static void release(struct copy *c)
{
	for (; c->depth; c->depth--) {
		closedir(c->levels[c->depth - 1].from);
		close(c->levels[c->depth - 1].to);
	}
	for (size_t i = 0; i < LINK_BUCKETS; i++)
		for (struct link *l = c->links[i], *next; l; l = next) {
			next = l->next;
			free(l);
		}
	if (c->root >= 0)
		close(c->root);
}

bool flat_root_mount(struct failure *f)
{
	static struct copy c;
	bool ok;

	mkdir("/lower", 0755);
	if (mount("/dev/vda", "/lower", "erofs", MS_RDONLY, NULL) < 0)
		return fail(f, MSG_FAIL_MOUNT, errno, "mount the image (EROFS on /dev/vda)");
	if (mount("/dev/vdb", "/root", "ext4", MS_NOATIME, "discard") < 0)
		return fail(f, MSG_FAIL_MOUNT, errno, "mount the flat root disk (ext4 on /dev/vdb)");
	rmdir("/root/lost+found"); /* mke2fs made it; the image may have one of its own */
	/* A disk that stays is taken for filled from now on, also when the machine is killed. */
	ok = copy_tree(&c, "/lower", "/root") && syncfs(c.root) == 0;
	if (!ok && errno == ENOSPC)
		fail(f, MSG_FAIL_DISK, ENOSPC, "the image does not fit on the flat root disk");
	else if (!ok)
		fail(f, MSG_FAIL_MOUNT, errno, "copy /%.150s to the flat root disk", c.path);
	release(&c);
	umount("/lower");
	return ok;
}
