/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lister FOLDER: one line for every path below (and for the folder itself, as "."), in byte order, fields separated by tabs:
 *
 *   path type mode uid gid size mtime target group rdev xattrs sha256
 *
 * group is the first path of those that share the inode, "-" for a single one. Bytes that are not plain are \xHH, an empty field
 * is "-". The same program runs on the host and in a guest (musl, static), so what it prints can be compared as it is. It lists
 * what is on the one file system: other mounts below FOLDER are looked through (open_tree makes a copy of the mount without
 * them), where the caller may do that.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define OPEN_TREE_CLONE 1u

static char path[1 << 16]; /* of the current entry */
static size_t path_len;

/** die() - The lister says nothing rather than half of it. */
static _Noreturn void die(const char *what)
{
	fprintf(stderr, "lister: %s: %s: %s\n", path, what, strerror(errno));
	exit(1);
}

/* ---- SHA-256 (FIPS 180-4) ---- */

struct sha {
	uint32_t h[8];
	uint64_t total;
	uint8_t block[64];
};

static uint32_t k[64], start[8];

/** root_bits() - The first 32 bits of the fraction of a prime's square (2) or cube (3) root. */
static uint32_t root_bits(uint32_t prime, int power)
{
	uint64_t low = 0, high = 20ULL << 32;

	while (high - low > 1) { /* largest x with (x / 2^32)^power <= prime */
		uint64_t mid = low + (high - low) / 2;
		unsigned __int128 x = (unsigned __int128)mid * mid;
		/* cubes: drop 32 bits, then multiply again; what is lost is far below the 32 bits that count */
		bool over = power == 2 ? x > (unsigned __int128)prime << 64 : (x >> 16) * mid > (unsigned __int128)prime << 80;

		if (over)
			high = mid;
		else
			low = mid;
	}
	return (uint32_t)low;
}

static void sha_tables(void)
{
	uint32_t n = 0;

	for (uint32_t p = 2; n < 64; p++) {
		bool prime = true;

		for (uint32_t d = 2; d * d <= p; d++)
			prime &= p % d != 0;
		if (!prime)
			continue;
		if (n < 8)
			start[n] = root_bits(p, 2);
		k[n++] = root_bits(p, 3);
	}
}

static uint32_t ror(uint32_t x, int n)
{
	return x >> n | x << (32 - n);
}

static void sha_block(uint32_t h[8], const uint8_t *p)
{
	uint32_t w[64], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], last = h[7];

	for (int i = 0; i < 16; i++)
		w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
	for (int i = 16; i < 64; i++)
		w[i] = w[i - 16] + w[i - 7] + (ror(w[i - 15], 7) ^ ror(w[i - 15], 18) ^ w[i - 15] >> 3) +
		       (ror(w[i - 2], 17) ^ ror(w[i - 2], 19) ^ w[i - 2] >> 10);
	for (int i = 0; i < 64; i++) {
		uint32_t t = last + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) + ((e & f) ^ (~e & g)) + k[i] + w[i];
		uint32_t u = (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));

		last = g;
		g = f;
		f = e;
		e = d + t;
		d = c;
		c = b;
		b = a;
		a = t + u;
	}
	h[0] += a;
	h[1] += b;
	h[2] += c;
	h[3] += d;
	h[4] += e;
	h[5] += f;
	h[6] += g;
	h[7] += last;
}

static void sha_add(struct sha *c, const uint8_t *p, size_t n)
{
	while (n) {
		size_t at = c->total % 64, part = n < 64 - at ? n : 64 - at;

		if (part == 64) {
			sha_block(c->h, p);
		} else {
			memcpy(c->block + at, p, part);
			if (at + part == 64)
				sha_block(c->h, c->block);
		}
		c->total += part;
		p += part;
		n -= part;
	}
}

static void sha_end(struct sha *c)
{
	uint64_t bits = c->total * 8;
	uint8_t length[8];

	for (int i = 0; i < 8; i++)
		length[i] = (uint8_t)(bits >> (56 - 8 * i));
	sha_add(c, (const uint8_t *)"\x80", 1);
	while (c->total % 64 != 56)
		sha_add(c, (const uint8_t *)"", 1);
	sha_add(c, length, 8);
}

/* ---- hard links ---- */

struct seen {
	dev_t dev;
	ino_t ino;
	char *path;
};

static struct seen *table;
static size_t table_size, table_used;

static struct seen *slot(struct seen *t, size_t size, dev_t dev, ino_t ino)
{
	size_t i = (size_t)((ino ^ dev) * 0x9e3779b97f4a7c15ULL >> 20) & (size - 1);

	while (t[i].path && (t[i].dev != dev || t[i].ino != ino))
		i = (i + 1) & (size - 1);
	return &t[i];
}

/** first_path() - Of this inode. */
static const char *first_path(const struct stat *st)
{
	struct seen *s;

	if (2 * table_used >= table_size) {
		size_t size = table_size ? 2 * table_size : 1024;
		struct seen *grown = calloc(size, sizeof(*grown));

		if (!grown)
			die("memory");
		for (size_t i = 0; i < table_size; i++)
			if (table[i].path)
				*slot(grown, size, table[i].dev, table[i].ino) = table[i];
		free(table);
		table = grown;
		table_size = size;
	}
	s = slot(table, table_size, st->st_dev, st->st_ino);
	if (!s->path) {
		*s = (struct seen){ st->st_dev, st->st_ino, strdup(path) };
		table_used++;
	}
	return s->path;
}

/* ---- output ---- */

static void put(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)p[i];

		if (c > ' ' && c < 0x7f && c != '\\' && c != ',')
			putchar(c);
		else
			printf("\\x%02x", c);
	}
}

static void put_field(const char *p, size_t n)
{
	putchar('\t');
	if (n == 0 || (n == 1 && *p == '-'))
		fputs(n ? "\\x2d" : "-", stdout);
	else
		put(p, n);
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/** put_xattrs() - name=value,... of an entry of the working directory. */
static void put_xattrs(const char *name)
{
	static char names[1 << 17], value[1 << 17];
	char *list[4096];
	ssize_t n = llistxattr(name, names, sizeof(names));
	size_t count = 0;

	putchar('\t');
	if (n < 0 && errno != ENOTSUP)
		die("list attributes");
	for (ssize_t at = 0; at < n && count < 4096; at += (ssize_t)strlen(names + at) + 1)
		list[count++] = names + at;
	qsort(list, count, sizeof(list[0]), by_bytes);
	if (!count)
		putchar('-');
	for (size_t i = 0; i < count; i++) {
		ssize_t len = lgetxattr(name, list[i], value, sizeof(value));

		if (len < 0)
			die(list[i]);
		if (i)
			putchar(',');
		put(list[i], strlen(list[i]));
		putchar('=');
		put(value, (size_t)len);
	}
}

static void put_sum(const char *name)
{
	static uint8_t chunk[1 << 17];
	struct sha c = { .total = 0 };
	int fd = open(name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
	ssize_t n;

	memcpy(c.h, start, sizeof(c.h));
	if (fd < 0)
		fd = open(name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		die("open");
	while ((n = read(fd, chunk, sizeof(chunk))) > 0)
		sha_add(&c, chunk, (size_t)n);
	if (n < 0)
		die("read");
	close(fd);
	sha_end(&c);
	putchar('\t');
	for (int i = 0; i < 8; i++)
		printf("%08x", c.h[i]);
}

/** put_entry() - The line of an entry of the working directory. */
static void put_entry(const char *name, const struct stat *st)
{
	static const char types[] = "?pc?d?b?-?l?s???";
	char target[8192];
	ssize_t n = 0;

	put(path, path_len);
	printf("\t%c\t%04o\t%u\t%u\t%lld\t%lld.%09ld", types[(st->st_mode & S_IFMT) >> 12], st->st_mode & 07777, st->st_uid, st->st_gid,
	       S_ISDIR(st->st_mode) ? 0LL : (long long)st->st_size, (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	if (S_ISLNK(st->st_mode) && (n = readlink(name, target, sizeof(target))) < 0)
		die("readlink");
	put_field(target, (size_t)n);
	if (st->st_nlink > 1 && !S_ISDIR(st->st_mode)) {
		const char *first = first_path(st);

		put_field(first, strlen(first));
	} else {
		fputs("\t-", stdout);
	}
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		printf("\t%u:%u", major(st->st_rdev), minor(st->st_rdev));
	else
		fputs("\t-", stdout);
	put_xattrs(name);
	if (S_ISREG(st->st_mode))
		put_sum(name);
	else
		fputs("\t-", stdout);
	putchar('\n');
}

/** list() - Everything in the working directory, which fd is. */
static void list(int fd)
{
	char **names = NULL;
	size_t count = 0, room = 0, before = path_len;
	DIR *dir = fdopendir(fd);
	struct dirent *e;
	struct stat st;

	if (!dir)
		die("open folder");
	errno = 0;
	while ((e = readdir(dir))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (count == room && !(names = realloc(names, (room = room ? 2 * room : 64) * sizeof(*names))))
			die("memory");
		names[count++] = strdup(e->d_name);
	}
	if (errno)
		die("read folder");
	if (count)
		qsort(names, count, sizeof(*names), by_bytes);
	for (size_t i = 0; i < count; i++) {
		int n = snprintf(path + before, sizeof(path) - before, "%s%s", before ? "/" : "", names[i]);

		path_len = before + (size_t)n;
		if (path_len >= sizeof(path) || lstat(names[i], &st) < 0)
			die("stat");
		put_entry(names[i], &st);
		if (S_ISDIR(st.st_mode)) {
			int sub = open(names[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

			if (sub < 0 || fchdir(sub) < 0)
				die("enter");
			list(sub);
			if (fchdir(fd) < 0)
				die("go back");
		}
		free(names[i]);
	}
	free(names);
	path_len = before;
	path[before] = '\0';
	closedir(dir);
}

int main(int argc, char **argv)
{
	static char out[1 << 16];
	struct stat st;
	int fd;

	if (argc != 2)
		return 2;
	setvbuf(stdout, out, _IOFBF, sizeof(out));
	sha_tables();
	fd = (int)syscall(SYS_open_tree, AT_FDCWD, argv[1], OPEN_TREE_CLONE | O_CLOEXEC);
	if (fd >= 0) {
		int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* open_tree's own is an O_PATH */

		if (again >= 0)
			fd = again;
	} else {
		fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (fd < 0 || fchdir(fd) < 0 || fstat(fd, &st) < 0)
		die(argv[1]);
	path[0] = '.';
	path_len = 1;
	put_entry(".", &st);
	path[0] = '\0';
	path_len = 0;
	list(fd);
	return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
