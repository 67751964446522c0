/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. A state machine over 512-byte blocks: HEADER collects one; SPECIAL collects the body of a pax
 * header or long name, whose effect is on the next entry; EXTENSION and MAP collect the two kinds of sparse map that
 * lie outside the header; DATA hands contents out as they come; PADDING runs to the next block; TRAILER is all that
 * follows the two zero blocks at the end. What an attacker controls is every byte; memory is bounded by TAR_SPECIAL_MAX
 * (three buffers) and TAR_FRAGMENTS_MAX, and nothing but the entry's own size moves the reader, so two readers of one
 * stream cannot differ by a field that one of them passes over: what is not understood is an error.
 */
#include "image/tar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "image/tar_internal.h"

#define TRAILING_BYTES_MAX (1u << 20) /* of zeroes, which fill a tar up to its record size */

enum state { HEADER, SPECIAL, EXTENSION, MAP, DATA, PADDING, TRAILER };

struct tar {
	const struct tar_sink *sink;
	void *arg;
	enum state state;
	uint8_t block[TAR_BLOCK];
	size_t have;
	uint8_t header[TAR_BLOCK]; /* of the entry, while an extension is read */
	unsigned int zero_blocks;
	uint64_t trailing; /* bytes behind them */
	char special;	   /* type of the special header being read */
	uint64_t left;	   /* of its body, or of the contents as stored */
	uint32_t padding;
	bool in_entry; /* the padding ends an entry */
	struct buf pax_body, long_name, long_link;
	bool has_pax, has_name, has_link;
	struct tar_pax pax;
	struct tar_map map;
	/* the map of pax 1.0, while it is read */
	uint64_t number, map_offset, pairs, numbers;
	unsigned int digits;
	bool sparse;
	size_t fragment; /* being read */
	uint64_t fragment_done, at;
	char name[260], link[104];
	struct tar_entry e;
};

struct tar *tar_new(const struct tar_sink *sink, void *arg)
{
	struct tar *t = calloc(1, sizeof(*t));

	if (t) {
		t->sink = sink;
		t->arg = arg;
		t->pax_body.max = t->long_name.max = t->long_link.max = TAR_SPECIAL_MAX + 1;
	}
	return t;
}

void tar_free(struct tar *t)
{
	if (!t)
		return;
	buf_free(&t->pax_body);
	buf_free(&t->long_name);
	buf_free(&t->long_link);
	free(t->map.fragments);
	free(t);
}

/** forget() - What special headers said held for one entry. */
static void forget(struct tar *t)
{
	t->pax_body.len = t->long_name.len = t->long_link.len = 0;
	t->has_pax = t->has_name = t->has_link = t->sparse = false;
	t->map.count = 0;
	t->map.stored = 0;
	t->fragment = 0;
	t->fragment_done = 0;
	t->number = t->numbers = t->pairs = 0;
	t->digits = 0;
	t->at = 0;
}

/** end_entry() - Its last byte was read. */
static int end_entry(struct tar *t, struct error *err)
{
	int rc = t->sink->end(t->arg, err);

	t->in_entry = false;
	forget(t);
	return rc;
}

/** pad() - To the next block, then a header. */
static int pad(struct tar *t, uint64_t size, struct error *err)
{
	t->padding = (uint32_t)(-size % TAR_BLOCK);
	t->state = PADDING;
	if (t->padding)
		return 0;
	t->state = HEADER;
	return t->in_entry ? end_entry(t, err) : 0;
}

/** start_data() - The entry is known whole: hand it out, contents follow. */
static int start_data(struct tar *t, struct error *err)
{
	int rc;

	if (t->sparse) {
		const struct tar_fragment *last = t->map.count ? &t->map.fragments[t->map.count - 1] : NULL;

		if (t->map.stored != t->left || (last && last->offset + last->size > t->e.size))
			return err_set(err, ERR_INVALID, 0, "%s: the sparse map does not fit the file", t->e.path);
	}
	rc = t->sink->entry(t->arg, &t->e, err);
	if (rc < 0)
		return rc;
	t->in_entry = true;
	t->state = DATA;
	return t->left ? 0 : pad(t, 0, err);
}

/** entry_type() - Of a header's type flag. Return: false when it is none we know. */
static bool entry_type(uint8_t flag, const char *name, enum tar_type *out)
{
	static const enum tar_type digits[] = { TAR_FILE,     TAR_HARDLINK,  TAR_SYMLINK, TAR_CHAR,
						TAR_BLOCKDEV, TAR_DIRECTORY, TAR_FIFO,	  TAR_FILE };
	size_t n = strlen(name);

	if (flag == 'S' || flag == '\0')
		*out = flag == '\0' && n && name[n - 1] == '/' ? TAR_DIRECTORY : TAR_FILE;
	else if (flag >= '0' && flag <= '7')
		*out = digits[flag - '0'];
	else
		return false;
	return true;
}

/** apply_pax() - Records win over the header. */
static void apply_pax(struct tar *t)
{
	const struct tar_pax *p = &t->pax;
	struct tar_entry *e = &t->e;

	e->path = p->path ? p->path : e->path;
	e->link = p->link ? p->link : e->link;
	e->uid = p->has_uid ? p->uid : e->uid;
	e->gid = p->has_gid ? p->gid : e->gid;
	if (p->has_mtime) {
		e->mtime_s = p->mtime_s;
		e->mtime_ns = p->mtime_ns;
	}
	t->left = p->has_size ? p->size : t->left;
	e->xattr_count = p->xattr_count;
	memcpy(e->xattrs, p->xattrs, p->xattr_count * sizeof(e->xattrs[0]));
}

/** start_sparse() - Which map the file has, and where it is. Return: 1 when it follows, 0 when known, or a code. */
static int start_sparse(struct tar *t, struct error *err)
{
	const uint8_t *h = t->header;
	uint64_t real;

	t->e.size = t->left;
	if (h[156] == 'S' && tar_is_gnu(h)) {
		t->sparse = true;
		t->map.count = 0;
		t->map.stored = 0;
		if (!tar_field(h + 483, 12, &real))
			return err_set(err, ERR_INVALID, 0, "%s: bad size of a sparse file", t->e.path);
		t->e.size = real;
		if (tar_map_old(&t->map, h + 386, 4, err) < 0)
			return -(int)err->code;
		t->state = EXTENSION;
		return h[482] ? 1 : 0;
	}
	if (h[156] == 'S')
		return err_set(err, ERR_UNSUPPORTED, 0, "%s: a sparse file that is none of GNU tar's", t->e.path);
	if (!t->has_pax || (!t->pax.sparse_1 && !t->pax.sparse_0))
		return 0;
	if (!t->pax.has_real_size)
		return err_set(err, ERR_INVALID, 0, "%s: a sparse file without its size", t->e.path);
	t->sparse = true;
	t->e.size = t->pax.real_size;
	t->e.path = t->pax.sparse_name ? t->pax.sparse_name : t->e.path;
	t->state = MAP;
	return t->pax.sparse_1 ? 1 : 0;
}

/** start_entry() - A header that is an entry: fields, what special headers said, then its contents. */
static int start_entry(struct tar *t, struct error *err)
{
	const uint8_t *h = t->header;
	struct tar_entry *e = &t->e;
	uint64_t mode, major = 0, minor = 0;
	int rc = 0;

	memset(e, 0, sizeof(*e));
	tar_header_name(h, t->name);
	snprintf(t->link, sizeof(t->link), "%.100s", (const char *)h + 157);
	e->path = t->name;
	e->link = t->link;
	if (!tar_field(h + 100, 8, &mode) || !tar_field(h + 108, 8, &e->uid) || !tar_field(h + 116, 8, &e->gid) ||
	    !tar_field(h + 124, 12, &t->left) || !tar_field_signed(h + 136, 12, &e->mtime_s))
		return err_set(err, ERR_INVALID, 0, "%s: a number in the header is damaged", e->path);
	if (t->has_pax)
		apply_pax(t);
	e->path = t->has_name ? (const char *)t->long_name.data : e->path; /* before a pax path, as Go has it */
	e->link = t->has_link ? (const char *)t->long_link.data : e->link;
	if (!entry_type(h[156], e->path, &e->type))
		return err_set(err, ERR_UNSUPPORTED, 0, "%s: an entry of unknown type 0x%02x", e->path, h[156]);
	if ((e->type == TAR_CHAR || e->type == TAR_BLOCKDEV) &&
	    (!tar_field(h + 329, 8, &major) || !tar_field(h + 337, 8, &minor)))
		return err_set(err, ERR_INVALID, 0, "%s: a number in the header is damaged", e->path);
	if (major > UINT32_MAX || minor > UINT32_MAX || t->left > INT64_MAX)
		return err_set(err, ERR_INVALID, 0, "%s: a number in the header is out of range", e->path);
	e->mode = (uint32_t)(mode & 07777);
	e->major = (uint32_t)major;
	e->minor = (uint32_t)minor;
	if (e->type == TAR_FILE)
		rc = start_sparse(t, err);
	else
		t->left = 0;
	return rc ? MIN(rc, 0) : start_data(t, err);
}

/** on_header() - A whole header block. */
static int on_header(struct tar *t, struct error *err)
{
	const uint8_t *h = t->block;

	if (tar_is_zero(h)) {
		if (++t->zero_blocks == 2)
			t->state = TRAILER;
		return 0;
	}
	if (t->zero_blocks)
		return err_set(err, ERR_INVALID, 0, "a header behind a zero block");
	if (!tar_checksum_ok(h))
		return err_set(err, ERR_INVALID, 0, "not a tar header (its checksum is wrong)");
	if (strchr("xgLK", h[156]) && h[156]) {
		struct buf *body = h[156] == 'x' ? &t->pax_body : h[156] == 'L' ? &t->long_name : &t->long_link;

		if (!tar_field(h + 124, 12, &t->left) || t->left > TAR_SPECIAL_MAX)
			return err_set(err, ERR_LIMIT, 0, "a pax header or long name of more than %u bytes",
				       TAR_SPECIAL_MAX);
		t->special = (char)h[156];
		/* Go forgets there what the special header said: another size would be another archive. */
		if (t->special == 'g' && (t->has_pax || t->has_name || t->has_link))
			return err_set(err, ERR_INVALID, 0, "a global pax header between a special one and its entry");
		if (t->special != 'g')
			body->len = 0;
		t->padding = (uint32_t)(-t->left % TAR_BLOCK);
		t->state = SPECIAL;
		return 0;
	}
	memcpy(t->header, h, TAR_BLOCK);
	return start_entry(t, err);
}

/** on_special() - The body of a special header is whole. */
static int on_special(struct tar *t, struct error *err)
{
	struct buf *body = t->special == 'x' ? &t->pax_body : t->special == 'L' ? &t->long_name : &t->long_link;
	size_t n = body->len;

	if (t->special == 'g')
		return 0;
	if (!buf_cstr(body))
		return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	if (t->special == 'x') {
		t->has_pax = true;
		t->map.count = 0;
		t->map.stored = 0;
		return tar_pax_parse((char *)body->data, n, &t->pax, &t->map, err);
	}
	/* GNU tar ends the name with a NUL, and counts it. */
	if (n && strlen((char *)body->data) < n - 1)
		return err_set(err, ERR_INVALID, 0, "a long name with a NUL in it");
	t->has_name |= t->special == 'L';
	t->has_link |= t->special == 'K';
	return 0;
}

/** on_extension() - Further entries of an old GNU sparse map. */
static int on_extension(struct tar *t, struct error *err)
{
	if (tar_map_old(&t->map, t->block, 21, err) < 0)
		return -(int)err->code;
	return t->block[504] ? 0 : start_data(t, err);
}

/** on_map() - A block of a pax 1.0 map: a count and as many pairs of numbers, each on a line; the rest is padding. */
static int on_map(struct tar *t, struct error *err)
{
	if (t->left < TAR_BLOCK)
		return err_set(err, ERR_INVALID, 0, "%s: the sparse map does not end", t->e.path);
	t->left -= TAR_BLOCK;
	for (size_t i = 0; i < TAR_BLOCK; i++) {
		uint8_t c = t->block[i];

		if (c >= '0' && c <= '9' && t->number < INT64_MAX / 16) {
			t->number = t->number * 10 + (uint64_t)(c - '0');
			t->digits++;
			continue;
		}
		if (c != '\n' || !t->digits)
			return err_set(err, ERR_INVALID, 0, "%s: the sparse map is damaged", t->e.path);
		if (t->numbers == 0)
			t->pairs = t->number;
		else if (t->numbers % 2)
			t->map_offset = t->number;
		else if (tar_map_add(&t->map, t->map_offset, t->number, err) < 0)
			return -(int)err->code;
		t->numbers++;
		t->number = t->digits = 0;
		if (t->pairs > TAR_FRAGMENTS_MAX)
			return err_set(err, ERR_LIMIT, 0, "%s: more than %d pieces", t->e.path, TAR_FRAGMENTS_MAX);
		if (t->numbers == 1 + 2 * t->pairs)
			return start_data(t, err);
	}
	return 0;
}

/** on_block() - A block was collected. */
static int on_block(struct tar *t, struct error *err)
{
	if (t->state == HEADER)
		return on_header(t, err);
	return t->state == EXTENSION ? on_extension(t, err) : on_map(t, err);
}

/** on_data() - Up to n bytes of contents. Return: how many were taken, or a negative code. */
static ssize_t on_data(struct tar *t, const uint8_t *p, size_t n, struct error *err)
{
	uint64_t offset = t->at;

	n = MIN(n, t->left);
	if (t->sparse) {
		const struct tar_fragment *f = &t->map.fragments[t->fragment];

		while (f->size == t->fragment_done) { /* left > 0 and the map holds that many: there is one */
			f = &t->map.fragments[++t->fragment];
			t->fragment_done = 0;
		}
		n = MIN(n, f->size - t->fragment_done);
		offset = f->offset + t->fragment_done;
		t->fragment_done += n;
	}
	if (t->sink->data(t->arg, offset, p, n, err) < 0)
		return -(int)err->code;
	t->at += n;
	t->left -= n;
	if (t->left == 0 && pad(t, t->at, err) < 0)
		return -(int)err->code;
	return (ssize_t)n;
}

/** on_frame() - Up to n bytes that are no content, by state. Return: as on_data(). */
static ssize_t on_frame(struct tar *t, const uint8_t *p, size_t n, struct error *err)
{
	struct buf *body = t->special == 'x' ? &t->pax_body : t->special == 'L' ? &t->long_name : &t->long_link;
	int rc = 0;

	switch (t->state) {
	case SPECIAL:
		n = MIN(n, t->left);
		if (t->special != 'g' && !buf_append(body, p, n))
			return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
		t->left -= n;
		break;
	case PADDING:
		n = MIN(n, t->padding);
		t->padding -= (uint32_t)n;
		break;
	case HEADER:
	case EXTENSION:
	case MAP:
		n = MIN(n, TAR_BLOCK - t->have);
		memcpy(t->block + t->have, p, n);
		t->have += n;
		break;
	case TRAILER:
		t->trailing += n;
		if (t->trailing > TRAILING_BYTES_MAX)
			return err_set(err, ERR_LIMIT, 0, "the layer goes on for more than %u KiB after its end",
				       TRAILING_BYTES_MAX >> 10);
		break;
	case DATA:
		break;
	}
	if (t->sink->frame(t->arg, p, n, err) < 0)
		return -(int)err->code;
	if (t->have == TAR_BLOCK) {
		t->have = 0;
		rc = on_block(t, err);
	} else if (t->state == SPECIAL && t->left == 0) {
		t->state = t->padding ? PADDING : HEADER;
		rc = on_special(t, err);
	} else if (t->state == PADDING && t->padding == 0) {
		t->state = HEADER;
		rc = t->in_entry ? end_entry(t, err) : 0;
	}
	return rc < 0 ? rc : (ssize_t)n;
}

int tar_feed(struct tar *t, const uint8_t *p, size_t n, struct error *err)
{
	while (n) {
		ssize_t taken = t->state == DATA ? on_data(t, p, n, err) : on_frame(t, p, n, err);

		if (taken < 0)
			return (int)taken;
		p += taken;
		n -= (size_t)taken;
	}
	return 0;
}

int tar_finish(struct tar *t, struct error *err)
{
	/* The last entry's padding may be missing, and the two zero blocks. */
	if (t->state == PADDING && t->in_entry)
		return end_entry(t, err);
	if ((t->state == HEADER && t->have == 0 && !t->has_pax && !t->has_name && !t->has_link) || t->state == TRAILER)
		return 0;
	return err_set(err, ERR_INVALID, 0, "the tar ends within an entry: truncated");
}
