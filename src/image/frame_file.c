/* SPDX-License-Identifier: Apache-2.0 */
#include "image/frame_file.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "base/fd.h"
#include "image/layer_index.h"

#define LEVEL 3
#define LITERAL_MAX 65536 /* bytes of one literal */
#define CHUNK (128u << 10)
#define TAR_BYTES_MAX (11ULL << 30) /* a layer's limit and its headers */

struct frame_writer {
	int fd;
	ZSTD_CStream *zstd;
	uint8_t literal[LITERAL_MAX];
	size_t literal_len;
	/* the piece of contents that may still grow */
	enum frame_op open;
	uint64_t entry, at, n;
	/* where the last ones ended */
	uint64_t data_end, tail_entry;
	uint64_t total; /* of the tar */
};

#define HEADER_SIZE (sizeof(FRAME_MAGIC) + 8)

struct frame_writer *frame_writer_new(int fd, struct error *err)
{
	struct frame_writer *w = calloc(1, sizeof(*w));

	if (w)
		w->zstd = ZSTD_createCStream();
	if (!w || !w->zstd || ZSTD_isError(ZSTD_initCStream(w->zstd, LEVEL))) {
		err_set(err, ERR_NO_MEMORY, 0, "out of memory");
		frame_writer_free(w);
		return NULL;
	}
	w->fd = fd;
	/* The size comes at the end, in its place. */
	if (fd_write_full(fd, FRAME_MAGIC "\0\0\0\0\0\0\0\0", HEADER_SIZE) < 0) {
		err_set(err, err_from_errno(errno), errno, "write the layer's frame");
		frame_writer_free(w);
		return NULL;
	}
	return w;
}

void frame_writer_free(struct frame_writer *w)
{
	if (w)
		ZSTD_freeCStream(w->zstd);
	free(w);
}

/** put() - Compress bytes into the file. */
static int put(struct frame_writer *w, const void *p, size_t n, ZSTD_EndDirective how, struct error *err)
{
	ZSTD_inBuffer in = { p, n, 0 };
	uint8_t made[16384];
	size_t left;

	do {
		ZSTD_outBuffer out = { made, sizeof(made), 0 };

		left = ZSTD_compressStream2(w->zstd, &out, &in, how);
		if (ZSTD_isError(left))
			return err_set(err, ERR_INTERNAL, 0, "zstd: %s", ZSTD_getErrorName(left));
		if (out.pos && fd_write_full(w->fd, made, out.pos) < 0)
			return err_set(err, err_from_errno(errno), errno, "write the layer's frame");
	} while (in.pos < n || (how == ZSTD_e_end && left));
	return 0;
}

/** put_op() - An operation and its numbers. */
static int put_op(struct frame_writer *w, enum frame_op op, const uint64_t *numbers, size_t count, struct error *err)
{
	uint8_t b[1 + 3 * 10];
	size_t n = 0;

	b[n++] = (uint8_t)op;
	for (size_t i = 0; i < count; i++) {
		uint64_t v = numbers[i];

		for (; v > 127; v >>= 7)
			b[n++] = (uint8_t)(v | 0x80);
		b[n++] = (uint8_t)v;
	}
	return put(w, b, n, ZSTD_e_continue, err);
}

/** close_piece() - Write what was still growing. */
static int close_piece(struct frame_writer *w, struct error *err)
{
	enum frame_op open = w->open;
	int rc = 0;

	w->open = 0;
	if (open == FRAME_LITERAL) {
		rc = put_op(w, FRAME_LITERAL, (uint64_t[]){ w->literal_len }, 1, err);
		if (rc == 0)
			rc = put(w, w->literal, w->literal_len, ZSTD_e_continue, err);
		w->literal_len = 0;
	} else if (open == FRAME_DATA) {
		rc = put_op(w, FRAME_DATA, (uint64_t[]){ w->at - w->data_end, w->n }, 2, err);
		w->data_end = w->at + w->n;
	} else if (open == FRAME_TAIL) {
		rc = put_op(w, FRAME_TAIL, (uint64_t[]){ w->entry - w->tail_entry, w->at, w->n }, 3, err);
		w->tail_entry = w->entry;
	}
	return rc;
}

int frame_literal(struct frame_writer *w, const uint8_t *p, size_t n, struct error *err)
{
	w->total += n;
	while (n) {
		size_t room;

		if ((w->open != FRAME_LITERAL || w->literal_len == LITERAL_MAX) && close_piece(w, err) < 0)
			return -(int)err->code;
		w->open = FRAME_LITERAL;
		room = MIN(n, LITERAL_MAX - w->literal_len);
		memcpy(w->literal + w->literal_len, p, room);
		w->literal_len += room;
		p += room;
		n -= room;
	}
	return 0;
}

int frame_data(struct frame_writer *w, uint64_t offset, uint64_t n, struct error *err)
{
	w->total += n;
	if (w->open == FRAME_DATA && w->at + w->n == offset) {
		w->n += n;
		return 0;
	}
	if (close_piece(w, err) < 0)
		return -(int)err->code;
	w->open = FRAME_DATA;
	w->at = offset;
	w->n = n;
	return 0;
}

int frame_tail(struct frame_writer *w, uint64_t entry, uint32_t at, uint32_t n, struct error *err)
{
	w->total += n;
	if (w->open == FRAME_TAIL && w->entry == entry && w->at + w->n == at) {
		w->n += n;
		return 0;
	}
	if (close_piece(w, err) < 0)
		return -(int)err->code;
	w->open = FRAME_TAIL;
	w->entry = entry;
	w->at = at;
	w->n = n;
	return 0;
}

int frame_writer_finish(struct frame_writer *w, struct error *err)
{
	uint64_t size = htole64(w->total);

	if (close_piece(w, err) < 0 || put(w, NULL, 0, ZSTD_e_end, err) < 0)
		return -(int)err->code;
	if (fd_pwrite_full(w->fd, &size, sizeof(size), sizeof(FRAME_MAGIC)) < 0)
		return err_set(err, err_from_errno(errno), errno, "write the layer's frame");
	return 0;
}

/** What frame_replay() reads from. */
struct replay {
	int fd, data_fd;
	ZSTD_DStream *zstd;
	uint8_t in[16384], out[CHUNK], chunk[CHUNK];
	ZSTD_inBuffer from;
	size_t at, have; /* in out */
	bool failed, end;
	struct reader index;
	uint64_t next_entry; /* number of the entry that index_next() gives next */
	struct index_entry entry;
	int (*sink)(void *arg, const uint8_t *p, size_t n, struct error *err);
	void *arg;
};

/** refill() - More decompressed bytes. Return: false at the end or on damage. */
static bool refill(struct replay *r)
{
	while (!r->end && !r->failed) {
		ZSTD_outBuffer out = { r->out, sizeof(r->out), 0 };
		size_t rc;

		if (r->from.pos == r->from.size) {
			ssize_t n = fd_read_full(r->fd, r->in, sizeof(r->in));

			r->failed |= n <= 0;
			if (r->failed)
				return false;
			r->from = (ZSTD_inBuffer){ r->in, (size_t)n, 0 };
		}
		rc = ZSTD_decompressStream(r->zstd, &out, &r->from);
		r->failed |= ZSTD_isError(rc);
		r->end = rc == 0;
		r->at = 0;
		r->have = out.pos;
		if (out.pos)
			return true;
	}
	return false;
}

/** get_byte() - The next one; 0 and failed at the end. */
static uint8_t get_byte(struct replay *r)
{
	if (r->at == r->have && !refill(r)) {
		r->failed = true;
		return 0;
	}
	return r->out[r->at++];
}

/** get_number() - LEB128 of at most 63 bits. */
static uint64_t get_number(struct replay *r)
{
	uint64_t v = 0;

	for (unsigned int shift = 0; shift < 70; shift += 7) {
		uint8_t b = get_byte(r);

		if (shift == 63 && b > 1)
			break;
		v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80))
			return v;
	}
	r->failed = true;
	return 0;
}

/** literal() - The next n decompressed bytes. */
static int literal(struct replay *r, uint64_t n, struct error *err)
{
	while (n && !r->failed) {
		size_t part;

		if (r->at == r->have && !refill(r)) {
			r->failed = true;
			break;
		}
		part = MIN(n, r->have - r->at);
		if (r->sink(r->arg, r->out + r->at, part, err) < 0)
			return -(int)err->code;
		r->at += part;
		n -= part;
	}
	return 0;
}

/** data() - n bytes of .data. */
static int data(struct replay *r, uint64_t offset, uint64_t n, struct error *err)
{
	while (n && !r->failed) {
		size_t part = MIN(n, CHUNK);

		if (fd_pread_full(r->data_fd, r->chunk, part, (off_t)offset) != (ssize_t)part) {
			r->failed = true;
			break;
		}
		if (r->sink(r->arg, r->chunk, part, err) < 0)
			return -(int)err->code;
		offset += part;
		n -= part;
	}
	return 0;
}

/** tail() - A piece of an entry's tail; entries ascend. */
static int tail(struct replay *r, uint64_t entry, uint64_t at, uint64_t n, struct error *err)
{
	while (r->next_entry <= entry) {
		if (!index_next(&r->index, &r->entry)) {
			r->failed = true;
			return 0;
		}
		r->next_entry++;
	}
	if (r->next_entry != entry + 1 || at > r->entry.tail.n || n > r->entry.tail.n - at) {
		r->failed = true;
		return 0;
	}
	return r->sink(r->arg, r->entry.tail.p + at, n, err);
}

/** replay_all() - Operations until the end. */
static int replay_all(struct replay *r, struct error *err)
{
	uint64_t data_end = 0, entry = 0, total = 0;
	int rc = 0;

	while (rc == 0 && !r->failed && (r->at < r->have || refill(r))) {
		uint8_t op = get_byte(r);
		uint64_t a = get_number(r), at = op == FRAME_TAIL ? get_number(r) : 0;
		uint64_t n = op == FRAME_LITERAL ? a : get_number(r);

		r->failed |= n > TAR_BYTES_MAX || (total += n) > TAR_BYTES_MAX;
		if (r->failed)
			break;
		if (op == FRAME_LITERAL) {
			rc = literal(r, n, err);
		} else if (op == FRAME_DATA) {
			r->failed |= a > TAR_BYTES_MAX || data_end > TAR_BYTES_MAX;
			rc = r->failed ? 0 : data(r, data_end + a, n, err);
			data_end += a + n;
		} else if (op == FRAME_TAIL) {
			r->failed |= __builtin_add_overflow(entry, a, &entry);
			rc = r->failed ? 0 : tail(r, entry, at, n, err);
		} else {
			r->failed = true;
		}
	}
	if (rc == 0 && (r->failed || !r->end))
		rc = err_set(err, ERR_INVALID, 0, "the layer's frame is damaged");
	return rc;
}

int frame_tar_size(int frame_fd, uint64_t *size, struct error *err)
{
	uint8_t h[HEADER_SIZE];
	uint64_t le;

	if (lseek(frame_fd, 0, SEEK_SET) < 0 || fd_read_full(frame_fd, h, sizeof(h)) != sizeof(h) ||
	    memcmp(h, FRAME_MAGIC, sizeof(FRAME_MAGIC)) != 0)
		return err_set(err, ERR_INVALID, 0, "the layer's frame is damaged");
	memcpy(&le, h + sizeof(FRAME_MAGIC), sizeof(le));
	*size = le64toh(le);
	return *size <= TAR_BYTES_MAX ? 0 : err_set(err, ERR_INVALID, 0, "the layer's frame is damaged");
}

int frame_replay(int frame_fd, int data_fd, const void *index, size_t index_size,
		 int (*sink)(void *arg, const uint8_t *p, size_t n, struct error *err), void *arg, struct error *err)
{
	struct replay *r = calloc(1, sizeof(*r));
	int rc;

	if (r)
		r->zstd = ZSTD_createDStream();
	if (!r || !r->zstd) {
		free(r);
		return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	}
	r->fd = frame_fd;
	r->data_fd = data_fd;
	r->sink = sink;
	r->arg = arg;
	r->index = reader_init(index, index_size);
	if (!reader_bytes(&r->index, sizeof(INDEX_MAGIC)))
		rc = err_set(err, ERR_INVALID, 0, "the layer's frame is damaged");
	else
		rc = replay_all(r, err);
	ZSTD_freeDStream(r->zstd);
	free(r);
	return rc;
}
