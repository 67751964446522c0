/* SPDX-License-Identifier: Apache-2.0 */
#include "image/layer_index.h"

#include <string.h>

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
	r->failed |= e->kind < INDEX_NODE || e->kind > INDEX_OPAQUE || !index_check_path(&e->path) ||
		     e->tail.n > INDEX_TAIL_MAX || e->xattrs.n % 4 || e->data_offset % INDEX_BLOCK ||
		     e->link.n > LAYER_PATH_MAX;
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
