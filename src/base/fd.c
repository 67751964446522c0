/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

void fd_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

/** set_flag() - Set or clear one bit of the flags that get/set commands reach. */
static int set_flag(int fd, int get, int set, int bit, bool on)
{
	int flags = fcntl(fd, get);

	if (flags < 0)
		return -1;
	return fcntl(fd, set, on ? flags | bit : flags & ~bit);
}

int fd_set_nonblock(int fd, bool on)
{
	return set_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, on);
}

int fd_set_cloexec(int fd, bool on)
{
	return set_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on);
}

ssize_t fd_read_full(int fd, void *to, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = read(fd, (char *)to + done, n - done);

		if (r == 0)
			break;
		if (r < 0) {
			if (errno == EINTR)
				continue;
			return -1;
		}
		done += (size_t)r;
	}
	return (ssize_t)done;
}

ssize_t fd_pread_full(int fd, void *to, size_t n, off_t offset)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = pread(fd, (char *)to + done, n - done, offset + (off_t)done);

		if (r == 0)
			break;
		if (r < 0) {
			if (errno == EINTR)
				continue;
			return -1;
		}
		done += (size_t)r;
	}
	return (ssize_t)done;
}

int fd_write_full(int fd, const void *from, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = write(fd, (const char *)from + done, n - done);

		if (r < 0) {
			if (errno == EINTR)
				continue;
			return -1;
		}
		done += (size_t)r;
	}
	return 0;
}

int fd_pwrite_full(int fd, const void *from, size_t n, off_t offset)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = pwrite(fd, (const char *)from + done, n - done, offset + (off_t)done);

		if (r < 0) {
			if (errno == EINTR)
				continue;
			return -1;
		}
		done += (size_t)r;
	}
	return 0;
}

int fd_memfd(const char *name, uint64_t size, bool sealable)
{
	_cleanup_fd_ int fd = memfd_create(name, MFD_CLOEXEC | (sealable ? MFD_ALLOW_SEALING : 0U));

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		return -1;
	return TAKE_FD(fd);
}

/** compare_int() - For qsort. */
static int compare_int(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

/** close_all() - Descriptors from..to; one by one where a container's filter does not know the system call. */
static void close_all(unsigned int from, unsigned int to)
{
	long max = sysconf(_SC_OPEN_MAX);

	/* musl has no function for it. */
	if (syscall(SYS_close_range, from, to, 0) == 0)
		return;
	for (unsigned int fd = from; fd <= to && (long)fd < max; fd++)
		close((int)fd);
}

void fd_close_except(int *keep, size_t count)
{
	unsigned int from = 0;

	qsort(keep, count, sizeof(*keep), compare_int);
	for (size_t i = 0; i < count; i++) {
		if (keep[i] < 0 || (unsigned int)keep[i] < from)
			continue;
		if ((unsigned int)keep[i] > from)
			close_all(from, (unsigned int)keep[i] - 1);
		from = (unsigned int)keep[i] + 1;
	}
	close_all(from, ~0U);
}

int fd_send_msg(int sock, const void *data, size_t n, const int *fds, size_t fd_count)
{
	union {
		char space[CMSG_SPACE(sizeof(int) * FD_PASS_MAX)];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = n };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t r;

	if (fd_count > FD_PASS_MAX) {
		errno = EINVAL;
		return -1;
	}
	if (fd_count) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		msg.msg_control = control.space;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * fd_count);
	}
	do
		r = sendmsg(sock, &msg, MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	if (r >= 0 && (size_t)r != n) {
		errno = EMSGSIZE;
		return -1;
	}
	return r < 0 ? -1 : 0;
}

ssize_t fd_recv_msg(int sock, void *to, size_t max, int *fds, size_t *fd_count)
{
	union {
		char space[CMSG_SPACE(sizeof(int) * FD_PASS_MAX)];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = to, .iov_len = max };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof(control)
	};
	ssize_t r;

	*fd_count = 0;
	do
		r = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -1;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = MIN((c->cmsg_len - CMSG_LEN(0)) / sizeof(int), FD_PASS_MAX - *fd_count);
		memcpy(fds + *fd_count, CMSG_DATA(c), count * sizeof(int));
		*fd_count += count;
	}
	if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		for (size_t i = 0; i < *fd_count; i++)
			fd_close(&fds[i]);
		*fd_count = 0;
		errno = EMSGSIZE;
		return -1;
	}
	return r;
}

int file_read(int dirfd, const char *path, size_t max_bytes, struct buf *out, struct error *err)
{
	_cleanup_fd_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, err_from_errno(errno), errno, "read %s", path);
	if (!S_ISREG(st.st_mode) && st.st_size > 0)
		return err_set(err, ERR_INVALID, 0, "read %s: not a regular file", path);
	for (;;) {
		uint8_t chunk[16384];
		ssize_t r = fd_read_full(fd, chunk, sizeof(chunk));

		if (r < 0)
			return err_set(err, err_from_errno(errno), errno, "read %s", path);
		if (out->len + (size_t)r > max_bytes)
			return err_set(err, ERR_LIMIT, 0, "read %s: larger than %zu bytes", path, max_bytes);
		if (!buf_append(out, chunk, (size_t)r))
			return err_set(err, ERR_NO_MEMORY, 0, "read %s: out of memory", path);
		if ((size_t)r < sizeof(chunk))
			return 0;
	}
}

int file_write_atomic(int dirfd, const char *path, const void *data, size_t n, mode_t mode, struct error *err)
{
	char tmp[PATH_MAX], parent[PATH_MAX];
	_cleanup_fd_ int fd = -1;
	_cleanup_fd_ int dir = -1;
	char *slash;

	if (snprintf(tmp, sizeof(tmp), "%s.tmp%d", path, (int)getpid()) >= (int)sizeof(tmp))
		return err_set(err, ERR_LIMIT, 0, "write %s: path too long", path);
	fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return err_set(err, err_from_errno(errno), errno, "write %s", path);
	if (fd_write_full(fd, data, n) < 0 || fsync(fd) < 0 || renameat(dirfd, tmp, dirfd, path) < 0) {
		int code = err_set(err, err_from_errno(errno), errno, "write %s", path);

		unlinkat(dirfd, tmp, 0);
		return code;
	}
	snprintf(parent, sizeof(parent), "%s", path);
	slash = strrchr(parent, '/');
	if (slash)
		slash[slash == parent] = '\0';
	dir = openat(dirfd, slash ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir >= 0)
		(void)fsync(dir);
	return 0;
}

int dir_make_parents(const char *path, mode_t mode, struct error *err)
{
	char part[PATH_MAX];
	struct stat st;

	if (snprintf(part, sizeof(part), "%s", path) >= (int)sizeof(part))
		return err_set(err, ERR_LIMIT, 0, "create directory %s: path too long", path);
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return 0;
	for (char *p = part + 1;; p++) {
		char end = *p;

		if (end != '/' && end != '\0')
			continue;
		*p = '\0';
		if (mkdir(part, mode) < 0 && errno != EEXIST)
			return err_set(err, err_from_errno(errno), errno, "create directory %s", part);
		*p = end;
		if (end == '\0')
			break;
	}
	if (stat(path, &st) < 0)
		return err_set(err, err_from_errno(errno), errno, "create directory %s", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, ERR_EXISTS, ENOTDIR, "create directory %s", path);
	return 0;
}

#define TREE_DEPTH_MAX 64 /* directories of our own state are a few levels deep; bounds open descriptors */

/** remove_children() - Empty the directory open as fd (taken), to a bounded depth. */
static int remove_children(int fd, int depth)
{
	DIR *dir = fdopendir(fd);
	struct dirent *e;
	int rc = 0;

	if (!dir) {
		close(fd);
		return -1;
	}
	while ((e = readdir(dir))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (unlinkat(dirfd(dir), e->d_name, 0) == 0 || errno == ENOENT)
			continue;
		if ((errno == EISDIR || errno == EPERM) && depth < TREE_DEPTH_MAX) {
			int sub = openat(dirfd(dir), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

			if (sub >= 0)
				remove_children(sub, depth + 1);
			if (unlinkat(dirfd(dir), e->d_name, AT_REMOVEDIR) == 0 || errno == ENOENT)
				continue;
		}
		rc = -1;
	}
	closedir(dir);
	return rc;
}

int dir_remove_tree(int dirfd, const char *name, struct error *err)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0) {
		if (errno == ENOENT)
			return 0;
		if (errno == ENOTDIR || errno == ELOOP) {
			if (unlinkat(dirfd, name, 0) == 0)
				return 0;
		}
		return err_set(err, err_from_errno(errno), errno, "remove %s", name);
	}
	remove_children(fd, 0);
	if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return err_set(err, err_from_errno(errno), errno, "remove %s", name);
	return 0;
}
