/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LD_PRELOAD: from the N-th write below a folder on the disk is full. FAULT_UNDER: the folder, FAULT_AT: N (1 is the
 * first), FAULT_ONCE: only that one fails. A write is what takes room: bytes, growth, a new name. Counted in one process
 * and the supervisor that it forks; programs that are started and the monitor, which may do little, are left alone.
 * Bytes 0 to 3 of the file FAULT_COUNT: how many there were.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static _Atomic int *count;
static int at, once, depth;
static const char *under;

#define REAL(name) \
	static __typeof__(&name) real_##name; \
	if (!real_##name) \
		*(void **)&real_##name = dlsym(RTLD_NEXT, #name)

static __attribute__((constructor)) void begin(void)
{
	const char *file = getenv("FAULT_COUNT");
	int fd = file ? open(file, O_RDWR) : -1;

	under = getenv("FAULT_UNDER");
	at = getenv("FAULT_AT") ? (int)strtol(getenv("FAULT_AT"), NULL, 10) : 0;
	once = getenv("FAULT_ONCE") != NULL;
	if (fd >= 0)
		count = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	unsetenv("LD_PRELOAD");
}

/** full() - One more write: is the disk full now? */
static int full(void)
{
	int n = ++*count;

	return once ? n == at : n >= at;
}

/** below() - Is this path in the folder? */
static int below(const char *path)
{
	return count && count != MAP_FAILED && under && depth < 2 && strncmp(path, under, strlen(under)) == 0;
}

/** file_below() - Is this an open file there? */
static int file_below(int fd)
{
	char link[64], path[4096];
	ssize_t n;

	if (!count || depth > 1)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n <= 0)
		return 0;
	path[n] = '\0';
	return below(path);
}

/** name_below() - Is this name, relative to a folder, there and not taken yet? */
static int name_below(int dir, const char *name)
{
	struct stat st;

	if (!count || depth > 1 || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	return name[0] == '/' ? below(name) || strncmp(name, "/proc/self/fd/", 14) == 0 : file_below(dir);
}

#define REFUSE(condition) \
	if ((condition) && full()) { \
		errno = ENOSPC; \
		return -1; \
	}

pid_t fork(void)
{
	REAL(fork);
	pid_t pid = real_fork();

	depth += pid == 0;
	return pid;
}

ssize_t write(int fd, const void *p, size_t n)
{
	REAL(write);
	REFUSE(file_below(fd));
	return real_write(fd, p, n);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t where)
{
	REAL(pwrite);
	REFUSE(file_below(fd));
	return real_pwrite(fd, p, n, where);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t where)
{
	REAL(pwrite64);
	REFUSE(file_below(fd));
	return real_pwrite64(fd, p, n, where);
}

int ftruncate(int fd, off_t n)
{
	REAL(ftruncate);
	REFUSE(n > 0 && file_below(fd));
	return real_ftruncate(fd, n);
}

int ftruncate64(int fd, off64_t n)
{
	REAL(ftruncate64);
	REFUSE(n > 0 && file_below(fd));
	return real_ftruncate64(fd, n);
}

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t n, unsigned int flags)
{
	REAL(copy_file_range);
	REFUSE(file_below(out));
	return real_copy_file_range(in, from, out, to, n, flags);
}

int mkdirat(int dir, const char *name, mode_t mode)
{
	REAL(mkdirat);
	REFUSE(name_below(dir, name));
	return real_mkdirat(dir, name, mode);
}

int mkdir(const char *name, mode_t mode)
{
	REAL(mkdir);
	REFUSE(name_below(AT_FDCWD, name));
	return real_mkdir(name, mode);
}

static mode_t mode_of(int flags, va_list ap)
{
	return flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0;
}

#define OPENAT(name) \
	int name(int dir, const char *path, int flags, ...) \
	{ \
		REAL(name); \
		va_list ap; \
		mode_t mode; \
 \
		va_start(ap, flags); \
		mode = mode_of(flags, ap); \
		va_end(ap); \
		REFUSE((flags & O_CREAT) && name_below(dir, path)); \
		return real_##name(dir, path, flags, mode); \
	}
#define OPEN(name) \
	int name(const char *path, int flags, ...) \
	{ \
		REAL(name); \
		va_list ap; \
		mode_t mode; \
 \
		va_start(ap, flags); \
		mode = mode_of(flags, ap); \
		va_end(ap); \
		REFUSE((flags & O_CREAT) && name_below(AT_FDCWD, path)); \
		return real_##name(path, flags, mode); \
	}

OPENAT(openat)
OPENAT(openat64)
OPEN(open)
OPEN(open64)
