/* SPDX-License-Identifier: Apache-2.0 */
/* One line for each entry of the root file system: all that a copy of it must keep. For tests, static. */
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

/** contents() - FNV-1a of a file. */
static uint64_t contents(const char *path)
{
	static unsigned char chunk[65536];
	uint64_t h = 0xcbf29ce484222325ULL;
	int fd = open(path, O_RDONLY);
	ssize_t n;

	while ((n = read(fd, chunk, sizeof(chunk))) > 0)
		for (ssize_t i = 0; i < n; i++)
			h = (h ^ chunk[i]) * 0x100000001b3ULL;
	close(fd);
	return h;
}

/** xattrs() - Names and values in hex. */
static void xattrs(const char *path)
{
	static char names[65536], value[65536];
	ssize_t n = llistxattr(path, names, sizeof(names));

	for (char *name = names; name < names + n; name += strlen(name) + 1) {
		ssize_t len = lgetxattr(path, name, value, sizeof(value));

		printf(" %s=", name);
		for (ssize_t i = 0; i < len; i++)
			printf("%02x", (unsigned char)value[i]);
	}
}

/** entry() - One line. */
static int entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
	char target[PATH_MAX];
	ssize_t n;

	(void)type;
	(void)at;
	for (const unsigned char *p = (const unsigned char *)path; *p; p++)
		printf(*p > ' ' && *p < 127 ? "%c" : "\\x%02x", *p);
	printf(" %o %u:%u %lld.%09ld", st->st_mode, st->st_uid, st->st_gid, (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	if (!S_ISDIR(st->st_mode))
		printf(" links %lu size %lld rdev %llx", (unsigned long)st->st_nlink, (long long)st->st_size,
		       (unsigned long long)st->st_rdev);
	if (S_ISREG(st->st_mode))
		printf(" %016llx", (unsigned long long)contents(path));
	n = S_ISLNK(st->st_mode) ? readlink(path, target, sizeof(target)) : 0;
	if (n > 0)
		printf(" -> %.*s", (int)n, target);
	xattrs(path);
	printf("\n");
	return 0;
}

int main(void)
{
	return nftw("/", entry, 64, FTW_PHYS | FTW_MOUNT);
}
