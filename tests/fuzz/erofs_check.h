/* SPDX-License-Identifier: Apache-2.0 */
/**
 * A strict reader of what the EROFS writer makes, for fuzz targets: aborts on the first thing that a kernel would have
 * to survive. Walks from the root; whatever a name leads to must lie in the metadata, apart from everything else, and
 * the data of files in the layers behind it.
 */
#ifndef MSB_TESTS_EROFS_CHECK_H
#define MSB_TESTS_EROFS_CHECK_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CHECK_BLOCK 4096u
#define CHECK(x)                 \
	do {                     \
		if (!(x))        \
			abort(); \
	} while (0)

struct erofs_check {
	const uint8_t *image;
	uint64_t len, total_blocks;
	uint8_t *used;	/* one flag per 4 bytes of metadata: belongs to something */
	uint32_t *refs; /* names seen, by nid */
	uint64_t inodes;
};

static uint64_t check_get(const uint8_t *p, int n)
{
	uint64_t v = 0;

	while (n--)
		v = v << 8 | p[n];
	return v;
}

/** check_claim() - Bytes that nothing else uses. */
static void check_claim(struct erofs_check *c, uint64_t at, uint64_t n)
{
	CHECK(at <= c->len && n <= c->len - at && at % 4 == 0);
	for (uint64_t i = at / 4; i < (at + n + 3) / 4; i++) {
		CHECK(!c->used[i]);
		c->used[i] = 1;
	}
}

static void check_inode(struct erofs_check *c, uint64_t nid, uint64_t parent, uint32_t file_type);

/** check_dir_block() - One block of names: in order, after `before`. Return: the last name, borrowed. */
static void check_dir_block(struct erofs_check *c, const uint8_t *block, uint32_t n, uint64_t self, uint64_t parent,
			    const uint8_t **before, uint32_t *before_n, uint32_t *dots, uint32_t *subdirs)
{
	uint32_t first = (uint32_t)check_get(block + 8, 2), count = first / 12;

	CHECK(n >= 12 && first % 12 == 0 && count > 0 && first < n);
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *d = block + 12 * i;
		uint32_t from = (uint32_t)check_get(d + 8, 2), to = n, len;
		uint64_t nid = check_get(d, 8);
		int order;

		if (i + 1 < count)
			to = (uint32_t)check_get(d + 12 + 8, 2);
		else
			while (to > from && !block[to - 1])
				to--; /* a whole block is filled up with zeroes */
		CHECK(from < to && to <= n && to - from <= 255);
		len = to - from;
		CHECK(!memchr(block + from, 0, len) && !memchr(block + from, '/', len));
		order = memcmp(*before, block + from, *before_n < len ? *before_n : len);
		CHECK(order < 0 || (order == 0 && *before_n < len));
		*before = block + from;
		*before_n = len;
		if (len <= 2 && memcmp(block + from, "..", len) == 0) {
			CHECK(nid == (len == 1 ? self : parent) && d[10] == 2);
			*dots += len;
			continue;
		}
		*subdirs += d[10] == 2;
		check_inode(c, nid, self, d[10]);
	}
}

/** check_dir() - All names of a directory, and what they lead to. */
static void check_dir(struct erofs_check *c, const uint8_t *inode, uint64_t nid, uint64_t parent, const uint8_t *tail)
{
	uint64_t size = check_get(inode + 8, 8), first = check_get(inode + 16, 4);
	uint32_t before_n = 0, dots = 0, subdirs = 0;
	const uint8_t *before = (const uint8_t *)"";

	CHECK(size > 0 && first <= c->len / CHECK_BLOCK && size / CHECK_BLOCK <= c->len / CHECK_BLOCK - first);
	check_claim(c, first * CHECK_BLOCK, size / CHECK_BLOCK * CHECK_BLOCK);
	for (uint64_t at = 0; at < size; at += CHECK_BLOCK) {
		uint32_t n = (uint32_t)(size - at < CHECK_BLOCK ? size - at : CHECK_BLOCK);

		check_dir_block(c, n == CHECK_BLOCK ? c->image + first * CHECK_BLOCK + at : tail, n, nid, parent,
				&before, &before_n, &dots, &subdirs);
	}
	CHECK(dots == 3 && check_get(inode + 44, 4) == 2 + subdirs);
}

/** check_inode() - What a name leads to. Again by another name: only counted. */
static void check_inode(struct erofs_check *c, uint64_t nid, uint64_t parent, uint32_t file_type)
{
	static const uint32_t modes[] = { 0, S_IFREG, S_IFDIR, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK, S_IFLNK };
	const uint8_t *p = c->image + nid * 32;
	uint32_t format, layout, xattrs, tail;
	uint64_t size, xattr_bytes, at;

	CHECK(nid < c->len / 32 && c->len - nid * 32 >= 64 && nid * 32 >= 1152);
	CHECK(file_type > 0 && file_type < 8 && (check_get(p + 4, 2) & S_IFMT) == modes[file_type]);
	if (c->refs[nid]++) {
		CHECK(file_type != 2);
		return;
	}
	c->inodes++;
	format = (uint32_t)check_get(p, 2);
	layout = format >> 1;
	xattrs = (uint32_t)check_get(p + 2, 2);
	xattr_bytes = xattrs ? 12 + 4 * ((uint64_t)xattrs - 1) : 0;
	size = check_get(p + 8, 8);
	CHECK((format & 1) && (layout == 0 || layout == 2) && check_get(p + 20, 4) == nid &&
	      check_get(p + 40, 4) < 1000000000);
	tail = layout == 2 ? (uint32_t)(size % CHECK_BLOCK) : 0;
	CHECK(layout != 2 || tail);
	at = nid * 32 + 64 + xattr_bytes;
	check_claim(c, nid * 32, 64 + xattr_bytes + tail);
	CHECK(!tail || at / CHECK_BLOCK == (at + tail - 1) / CHECK_BLOCK);
	for (uint64_t x = 12; x < xattr_bytes;) {
		const uint8_t *e = p + 64 + x;

		CHECK(xattr_bytes - x >= 4);
		x += (4 + e[0] + check_get(e + 2, 2) + 3) & ~3ull;
		CHECK(x <= xattr_bytes);
	}
	if (file_type == 2) {
		CHECK(layout == 2 || size % CHECK_BLOCK == 0);
		check_dir(c, p, nid, parent, c->image + at);
	} else if (file_type == 1) {
		uint64_t first = check_get(p + 16, 4),
			 blocks = (size - tail) / CHECK_BLOCK + ((size - tail) % CHECK_BLOCK != 0);

		CHECK(!blocks ||
		      (first >= c->len / CHECK_BLOCK && first <= c->total_blocks && blocks <= c->total_blocks - first));
	} else if (file_type == 7) {
		CHECK(size && size < CHECK_BLOCK);
		if (layout == 0) { /* a long one, in a block of its own */
			CHECK(size > 2048 && check_get(p + 16, 4) < c->len / CHECK_BLOCK);
			check_claim(c, check_get(p + 16, 4) * CHECK_BLOCK, CHECK_BLOCK);
		}
	} else {
		CHECK(!size && layout == 0);
	}
}

/** erofs_check() - @total_blocks: metadata and layers. */
static void erofs_check(const uint8_t *image, uint64_t len, uint64_t total_blocks)
{
	struct erofs_check c = { .image = image, .len = len, .total_blocks = total_blocks };
	uint64_t root;

	CHECK(len >= CHECK_BLOCK && len % CHECK_BLOCK == 0);
	CHECK(check_get(image + 1024, 4) == 0xE0F5E1E2 && image[1024 + 12] == 12);
	CHECK(check_get(image + 1024 + 36, 4) == total_blocks);
	c.used = calloc(len / 4, 1);
	c.refs = calloc(len / 32, sizeof(*c.refs));
	CHECK(c.used && c.refs);
	check_claim(&c, 0, 1152);
	root = check_get(image + 1024 + 14, 2);
	check_inode(&c, root, root, 2);
	for (uint64_t nid = 0; nid < len / 32; nid++)
		if (c.refs[nid] && (check_get(image + nid * 32 + 4, 2) & S_IFMT) != S_IFDIR)
			CHECK(check_get(image + nid * 32 + 44, 4) == c.refs[nid]);
	CHECK(check_get(image + 1024 + 16, 8) == c.inodes);
	free(c.used);
	free(c.refs);
}

#endif
