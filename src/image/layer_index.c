/* SPDX-License-Identifier: Apache-2.0 */
#include "image/layer_index.h"

#include <string.h>
#include <sys/stat.h>

/** put() - Little-endian number. */
static bool put(struct buf *out, uint64_t v, unsigned int bytes)
{
	uint8_t b[8];

	for (unsigned int i = 0; i < bytes; i++)
		b[i] = (uint8_t)(v >> (8 * i));
	return buf_append(out, b, bytes);
}

/** put_bytes() - Length and bytes. */
static bool put_bytes(struct buf *out, const struct index_bytes *b)
{
	return put(out, b->n, 4) && buf_append(out, b->p, b->n);
}

bool index_append(struct buf *out, const struct index_entry *e)
{
	return put(out, e->kind, 1) && put(out, e->mode, 4) && put(out, e->uid, 4) && put(out, e->gid, 4) &&
	       put(out, (uint64_t)e->mtime_s, 8) && put(out, e->mtime_ns, 4) && put(out, e->rdev, 4) &&
	       put(out, e->size, 8) && put(out, e->data_offset, 8) && put_bytes(out, &e->path) &&
	       put_bytes(out, &e->link) && put_bytes(out, &e->tail) && put_bytes(out, &e->xattrs);
}

/** get_bytes() - See put_bytes(). */
static struct index_bytes get_bytes(struct reader *r)
{
	struct index_bytes b = { .n = reader_u32(r) };

	b.p = reader_bytes(r, b.n);
	if (!b.p)
		b.n = 0;
	return b;
}

/** xattrs_ok() - Whole entries that fill the area exactly, as the EROFS writer copies them. */
static bool xattrs_ok(const struct index_bytes *x)
{
	uint32_t at = 0;

	while (x->n <= INDEX_XATTRS_MAX && x->n - at >= 4) {
		uint32_t size = 4u + x->p[at] + (x->p[at + 2] | (uint32_t)x->p[at + 3] << 8);

		size = (size + 3) & ~3u;
		if (size > x->n - at)
			return false;
		at += size;
	}
	return at == x->n;
}

/** node_ok() - A type that exists, and the parts that this type has and no others. */
static bool node_ok(const struct index_entry *e)
{
	bool has_link = false, has_data = false;

	switch (e->mode & S_IFMT) {
	case S_IFREG:
		has_data = true;
		break;
	case S_IFLNK:
		has_link = true;
		break;
	case S_IFDIR:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		break;
	default:
		return false;
	}
	if (e->mode > (S_IFMT | 07777) || e->mtime_ns >= 1000000000)
		return false;
	if (has_link != (e->link.n > 0) || e->link.n >= LAYER_PATH_MAX)
		return false;
	if ((!has_data && (e->size || e->tail.n)) || e->size > INT64_MAX || e->data_offset % INDEX_BLOCK)
		return false;
	if (e->tail.n > INDEX_TAIL_MAX || (e->tail.n && e->tail.n != e->size % INDEX_BLOCK))
		return false;
	return xattrs_ok(&e->xattrs);
}

bool index_check(const struct index_entry *e)
{
	if (!index_check_path(&e->path))
		return false;
	switch (e->kind) {
	case INDEX_NODE:
		return node_ok(e);
	case INDEX_HARDLINK:
		return index_check_path(&e->link);
	default:
		return e->kind == INDEX_WHITEOUT || e->kind == INDEX_OPAQUE;
	}
}

bool index_next(struct reader *r, struct index_entry *e)
{
	if (r->left == 0 || r->failed)
		return false;
	e->kind = reader_u8(r);
	e->mode = reader_u32(r);
	e->uid = reader_u32(r);
	e->gid = reader_u32(r);
	e->mtime_s = (int64_t)reader_u64(r);
	e->mtime_ns = reader_u32(r);
	e->rdev = reader_u32(r);
	e->size = reader_u64(r);
	e->data_offset = reader_u64(r);
	e->path = get_bytes(r);
	e->link = get_bytes(r);
	e->tail = get_bytes(r);
	e->xattrs = get_bytes(r);
	r->failed |= !index_check(e);
	return !r->failed;
}

bool index_check_path(const struct index_bytes *path)
{
	unsigned int depth = 0;
	uint32_t at = 0;

	if (path->n > LAYER_PATH_MAX)
		return false;
	while (at < path->n) {
		const uint8_t *slash = memchr(path->p + at, '/', path->n - at);
		uint32_t n = slash ? (uint32_t)(slash - path->p) - at : path->n - at;

		if (n == 0 || n > 255 || ++depth > LAYER_DEPTH_MAX || memchr(path->p + at, 0, n) ||
		    (n == 1 && path->p[at] == '.') || (n == 2 && memcmp(path->p + at, "..", 2) == 0))
			return false;
		at += n + 1;
		if (slash && at == path->n)
			return false;
	}
	return true;
}
