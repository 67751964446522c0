/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nothing of a layer is ever created on the host's file system but the three files: a path is text in the index, judged
 * here once; links are resolved when layers are merged (image/tree.h). Zero blocks are holes of .data, so an archive
 * that unpacks to gigabytes of zeros takes no disk.
 */
#include "image/layer_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "image/frame_file.h"
#include "image/layer_index.h"
#include "image/reference.h"

#define OUT_BYTES (1u << 20)	     /* written at once */
#define CACHED_BYTES_MAX (32u << 20) /* of a layer; see go_direct() */

struct layer_writer {
	int dir; /* borrowed */
	char diff_id[DIGEST_HEX + 1];
	char data_tmp[DIGEST_HEX + 16], index_tmp[DIGEST_HEX + 16], frame_tmp[DIGEST_HEX + 16];
	int data, frame_fd;
	struct frame_writer *frame;
	struct buf index, xattrs;
	uint32_t entries, written; /* seen, and in the index */
	/* .data */
	uint8_t *out; /* OUT_BYTES, at a page */
	size_t out_len;
	uint64_t out_at; /* where out begins */
	bool direct;	 /* past the page cache */
	uint64_t bytes;	 /* of all files */
	/* the current entry */
	bool in_file, skipped;
	struct index_entry e;
	uint64_t inline_from, at; /* contents from there on are the tail; how far they came */
	uint8_t tail[INDEX_BLOCK];
	char path[LAYER_PATH_MAX + 1], link[LAYER_PATH_MAX + 1];
	char note[300];
};

/** is_zero() - A whole block of zeros? */
static bool is_zero(const uint8_t *p)
{
	return p[0] == 0 && memcmp(p, p + 1, INDEX_BLOCK - 1) == 0;
}

/**
 * go_direct() - A large layer does not go through the page cache with all it has: memory for it, and copying it there,
 * cost more than reading again what somebody needs of it, and fsync would find it all still to be written. What is in
 * the cache already is written meanwhile. A file system that does not know O_DIRECT is no failure.
 */
static void go_direct(struct layer_writer *w)
{
	int flags = fcntl(w->data, F_GETFL);

	w->direct = true;
	sync_file_range(w->data, 0, (off_t)w->out_at, SYNC_FILE_RANGE_WRITE);
	if (flags >= 0)
		fcntl(w->data, F_SETFL, flags | O_DIRECT);
}

/** write_blocks() - At their place. */
static int write_blocks(struct layer_writer *w, const uint8_t *p, size_t n, uint64_t at)
{
	int flags, rc = fd_pwrite_full(w->data, p, n, (off_t)at);

	if (rc == 0 || errno != EINVAL || !w->direct)
		return rc;
	/* Larger blocks than ours are wanted: not so, then. */
	flags = fcntl(w->data, F_GETFL);
	if (flags < 0 || fcntl(w->data, F_SETFL, flags & ~O_DIRECT) < 0)
		return -1;
	return fd_pwrite_full(w->data, p, n, (off_t)at);
}

/** flush() - Write out what was collected, zero blocks left out. */
static int flush(struct layer_writer *w, struct error *err)
{
	for (size_t from = 0, to; from < w->out_len; from = to) {
		bool hole = is_zero(w->out + from);

		for (to = from + INDEX_BLOCK; to < w->out_len && is_zero(w->out + to) == hole; to += INDEX_BLOCK)
			;
		if (!hole && write_blocks(w, w->out + from, to - from, w->out_at + from) < 0)
			return err_set(err, err_from_errno(errno), errno, "write the layer");
	}
	w->out_at += w->out_len;
	w->out_len = 0;
	if (!w->direct && w->out_at >= CACHED_BYTES_MAX)
		go_direct(w);
	return 0;
}

/** put() - Contents behind those written so far. */
static int put(struct layer_writer *w, const uint8_t *p, size_t n, struct error *err)
{
	while (n) {
		size_t part = MIN(n, OUT_BYTES - w->out_len);

		memcpy(w->out + w->out_len, p, part);
		w->out_len += part;
		p += part;
		n -= part;
		if (w->out_len == OUT_BYTES && flush(w, err) < 0)
			return -(int)err->code;
	}
	return 0;
}

/** put_zeros() - A hole, or the rest of a block. */
static int put_zeros(struct layer_writer *w, uint64_t n, struct error *err)
{
	size_t part = (size_t)MIN(n, -(uint64_t)w->out_len % INDEX_BLOCK);

	memset(w->out + w->out_len, 0, part);
	w->out_len += part;
	n -= part;
	if (n == 0)
		return w->out_len == OUT_BYTES ? flush(w, err) : 0;
	if (flush(w, err) < 0)
		return -(int)err->code;
	w->out_at += ALIGN_DOWN(n, INDEX_BLOCK);
	memset(w->out, 0, n % INDEX_BLOCK);
	w->out_len = n % INDEX_BLOCK;
	return 0;
}

/** clean_path() - Strip "./" and "/", squeeze doubles; refuse "..". */
static int clean_path(const char *raw, char *out, struct index_bytes *b, struct error *err)
{
	const char *whole = raw;
	size_t n = 0;

	while (*raw) {
		size_t len = strcspn(raw, "/");

		if (len == 2 && raw[0] == '.' && raw[1] == '.')
			return err_set(err, ERR_INVALID, 0, "the layer has a path with \"..\": %.300s", whole);
		if (len && !(len == 1 && raw[0] == '.')) {
			if (n + len + 2 > LAYER_PATH_MAX)
				return err_set(err, ERR_LIMIT, 0, "the layer has a path longer than %u bytes: %.60s...",
					       LAYER_PATH_MAX, whole);
			if (n)
				out[n++] = '/';
			memcpy(out + n, raw, len);
			n += len;
		}
		raw += len + (raw[len] == '/');
	}
	out[n] = '\0';
	b->p = (uint8_t *)out;
	b->n = (uint32_t)n;
	if (!index_check_path(b))
		return err_set(err, ERR_LIMIT, 0,
			       "the layer has a path with a name over 255 bytes or %u levels: %.60s...",
			       LAYER_DEPTH_MAX, whole);
	return 0;
}

/** add_xattr() - Append one attribute in EROFS form. Names outside the known prefixes are left out. */
static bool add_xattr(struct buf *out, const struct tar_xattr *x)
{
	static const struct {
		const char *prefix;
		uint8_t index;
	} known[] = {
		{ "user.", 1 },
		{ "system.posix_acl_access", 2 },
		{ "system.posix_acl_default", 3 },
		{ "trusted.", 4 },
		{ "security.", 6 },
	};
	uint8_t head[4], zero[4] = { 0 };

	/* The guest's overlayfs would obey these. */
	if (strncmp(x->name, "trusted.overlay.", 16) == 0)
		return true;
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		size_t p = strlen(known[i].prefix), len;

		if (strncmp(x->name, known[i].prefix, p) != 0)
			continue;
		len = strlen(x->name + p);
		if (len > 255 || x->size > 65535)
			return false;
		head[0] = (uint8_t)len;
		head[1] = known[i].index;
		head[2] = (uint8_t)x->size;
		head[3] = (uint8_t)(x->size >> 8);
		return buf_append(out, head, 4) && buf_append(out, x->name + p, len) &&
		       buf_append(out, x->value, x->size) && buf_append(out, zero, -(4 + len + x->size) % 4);
	}
	return true;
}

/** encode_dev() - How the kernel keeps a device number on disk (new_encode_dev). */
static uint32_t encode_dev(uint32_t major, uint32_t minor)
{
	return (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12;
}

/** append() - The current entry into the index. */
static int append(struct layer_writer *w, struct error *err)
{
	if (!index_check(&w->e))
		return err_set(err, ERR_INVALID, 0, "%s: no file, directory, link, device or fifo", w->path);
	if (!index_append(&w->index, &w->e))
		return err_set(err, ERR_LIMIT, 0, "the layer's index is too large");
	w->written++;
	return 0;
}

/** whiteout() - A name that begins with .wh. speaks of lower layers. Return: 1 when it was one, 0, or a code. */
static int whiteout(struct layer_writer *w, struct error *err)
{
	char *base = strrchr(w->path, '/') ? strrchr(w->path, '/') + 1 : w->path;
	struct index_entry *e = &w->e;

	if (strcmp(base, ".wh..wh..opq") == 0) {
		e->kind = INDEX_OPAQUE;
		e->path.n = (uint32_t)(base > w->path ? base - w->path - 1 : 0);
		return append(w, err) < 0 ? -(int)err->code : 1;
	}
	if (strncmp(base, ".wh.", 4) != 0 || !base[4])
		return 0;
	e->kind = INDEX_WHITEOUT;
	memmove(base, base + 4, strlen(base + 4) + 1);
	e->path.n -= 4;
	if (!index_check_path(&e->path))
		return err_set(err, ERR_INVALID, 0, "the layer has a whiteout of \".\" or \"..\"");
	return append(w, err) < 0 ? -(int)err->code : 1;
}

/** set_node() - Type, owner, times, attributes. */
static int set_node(struct layer_writer *w, const struct tar_entry *t, struct error *err)
{
	static const uint32_t modes[] = {
		[TAR_FILE] = S_IFREG, [TAR_DIRECTORY] = S_IFDIR, [TAR_SYMLINK] = S_IFLNK, [TAR_HARDLINK] = 0,
		[TAR_CHAR] = S_IFCHR, [TAR_BLOCKDEV] = S_IFBLK,	 [TAR_FIFO] = S_IFIFO,
	};
	struct index_entry *e = &w->e;

	if (t->uid > UINT32_MAX || t->gid > UINT32_MAX)
		return err_set(err, ERR_INVALID, 0, "%s: owner or group out of range", w->path);
	e->kind = INDEX_NODE;
	e->mode = modes[t->type] | t->mode;
	e->uid = (uint32_t)t->uid;
	e->gid = (uint32_t)t->gid;
	e->mtime_s = t->mtime_s;
	e->mtime_ns = t->mtime_ns;
	if (w->path[0] == '\0' && t->type != TAR_DIRECTORY)
		return err_set(err, ERR_INVALID, 0, "the layer has an entry without a name");
	if (t->type == TAR_CHAR || t->type == TAR_BLOCKDEV) {
		if (t->major > 0xfff || t->minor > 0xfffff)
			return err_set(err, ERR_INVALID, 0, "%s: device number out of range", w->path);
		e->rdev = encode_dev(t->major, t->minor);
	}
	if (t->type == TAR_SYMLINK) {
		size_t n = strlen(t->link);

		if (n == 0 || n >= LAYER_PATH_MAX)
			return err_set(err, ERR_LIMIT, 0, "%s: bad symbolic link", w->path);
		memcpy(w->link, t->link, n + 1);
		e->link = (struct index_bytes){ (const uint8_t *)w->link, (uint32_t)n };
	}
	w->xattrs.len = 0;
	for (size_t i = 0; i < t->xattr_count; i++)
		if (!add_xattr(&w->xattrs, &t->xattrs[i]))
			return err_set(err, ERR_LIMIT, 0, "%s: extended attributes too large", w->path);
	e->xattrs = (struct index_bytes){ w->xattrs.data, (uint32_t)w->xattrs.len };
	return 0;
}

/** set_file() - Sizes of a regular file, whose contents follow. */
static int set_file(struct layer_writer *w, const struct tar_entry *t, struct error *err)
{
	uint64_t rest = t->size % INDEX_BLOCK;

	if (t->size > LAYER_FILE_BYTES_MAX)
		return err_set(err, ERR_LIMIT, 0, "%s: a file of more than 5 GiB", w->path);
	/* The stream's limit does not see this: holes of sparse files take no bytes of it. */
	if (t->size > LAYER_BYTES_MAX - w->bytes)
		return err_set(err, ERR_LIMIT, 0, "the layer's files hold more than 10 GiB");
	w->bytes += t->size;
	w->in_file = true;
	w->at = 0;
	w->e.size = t->size;
	w->e.data_offset = w->out_at + w->out_len;
	w->inline_from = rest <= INDEX_TAIL_MAX ? t->size - rest : t->size;
	w->e.tail = (struct index_bytes){ w->tail, (uint32_t)(t->size - w->inline_from) };
	memset(w->tail, 0, w->e.tail.n);
	return 0;
}

/** on_entry() - tar_sink: a new entry. */
static int on_entry(void *arg, const struct tar_entry *t, struct error *err)
{
	struct layer_writer *w = arg;
	int rc;

	w->e = (struct index_entry){ 0 };
	w->in_file = w->skipped = false;
	if (++w->entries > LAYER_ENTRIES_MAX)
		return err_set(err, ERR_LIMIT, 0, "the layer has more than %u entries", LAYER_ENTRIES_MAX);
	if (clean_path(t->path, w->path, &w->e.path, err) < 0)
		return -(int)err->code;
	rc = whiteout(w, err);
	if (rc) {
		w->skipped = true;
		return MIN(rc, 0);
	}
	if (t->type == TAR_HARDLINK) {
		w->e.kind = INDEX_HARDLINK;
		return clean_path(t->link, w->link, &w->e.link, err);
	}
	if (set_node(w, t, err) < 0)
		return -(int)err->code;
	if (t->type == TAR_CHAR && w->e.rdev == 0) {
		w->skipped = true;
		if (!w->note[0]) {
			struct error fit = ERROR_INIT; /* for a terminal: the name is a stranger's */

			err_set(&fit, ERR_INVALID, 0, "%.200s: character device 0:0 left out (it would be a whiteout)",
				w->path);
			snprintf(w->note, sizeof(w->note), "%.299s", fit.text);
		}
		return 0;
	}
	return t->type == TAR_FILE ? set_file(w, t, err) : 0;
}

/** on_data() - tar_sink: a piece of the current file. */
static int on_data(void *arg, uint64_t offset, const uint8_t *p, size_t n, struct error *err)
{
	struct layer_writer *w = arg;

	if (!w->in_file) /* a whiteout with contents */
		return frame_literal(w->frame, p, n, err);
	while (n) {
		size_t part = n;
		uint64_t hole = offset < w->inline_from	 ? offset - w->at
				: w->inline_from > w->at ? w->inline_from - w->at
							 : 0;

		if (hole) {
			if (put_zeros(w, hole, err) < 0)
				return -(int)err->code;
			w->at += hole;
		}
		if (offset < w->inline_from) {
			part = (size_t)MIN(n, w->inline_from - offset);
			if (frame_data(w->frame, w->out_at + w->out_len, part, err) < 0 || put(w, p, part, err) < 0)
				return -(int)err->code;
		} else {
			uint32_t at = (uint32_t)(offset - w->inline_from);

			memcpy(w->tail + at, p, part);
			if (frame_tail(w->frame, w->written, at, (uint32_t)part, err) < 0)
				return -(int)err->code;
		}
		w->at = offset + part;
		offset += part;
		p += part;
		n -= part;
	}
	return 0;
}

/** on_end() - tar_sink: the entry is whole. */
static int on_end(void *arg, struct error *err)
{
	struct layer_writer *w = arg;
	uint64_t end = w->out_at + w->out_len;

	if (w->skipped)
		return 0;
	if (w->in_file) {
		uint64_t hole = w->inline_from > w->at ? w->inline_from - w->at : 0;

		if (put_zeros(w, hole + -(end + hole) % INDEX_BLOCK, err) < 0)
			return -(int)err->code;
	}
	return append(w, err);
}

/** on_frame() - tar_sink: what is no content. */
static int on_frame(void *arg, const uint8_t *p, size_t n, struct error *err)
{
	struct layer_writer *w = arg;

	return frame_literal(w->frame, p, n, err);
}

const struct tar_sink layer_sink = { .entry = on_entry, .data = on_data, .end = on_end, .frame = on_frame };

/** create() - A file under its temporary name. */
static int create(const struct layer_writer *w, const char *name, struct error *err)
{
	int fd = openat(w->dir, name, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

	return fd < 0 ? err_set(err, err_from_errno(errno), errno, "create a file in the image cache") : fd;
}

struct layer_writer *layer_writer_new(int layers_fd, const char *diff_id, struct error *err)
{
	struct layer_writer *w = calloc(1, sizeof(*w));

	if (!w) {
		err_set(err, ERR_NO_MEMORY, 0, "out of memory");
		return NULL;
	}
	w->dir = layers_fd;
	w->data = w->frame_fd = -1;
	w->index.max = INDEX_BYTES_MAX;
	w->xattrs.max = INDEX_XATTRS_MAX;
	snprintf(w->diff_id, sizeof(w->diff_id), "%s", diff_id);
	snprintf(w->data_tmp, sizeof(w->data_tmp), ".%s.data.tmp", diff_id);
	snprintf(w->index_tmp, sizeof(w->index_tmp), ".%s.index.tmp", diff_id);
	snprintf(w->frame_tmp, sizeof(w->frame_tmp), ".%s.frame.tmp", diff_id);
	w->out = aligned_alloc(INDEX_BLOCK, OUT_BYTES);
	if (!w->out || !buf_append(&w->index, INDEX_MAGIC, sizeof(INDEX_MAGIC)))
		err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	else if ((w->data = create(w, w->data_tmp, err)) >= 0 && (w->frame_fd = create(w, w->frame_tmp, err)) >= 0)
		w->frame = frame_writer_new(w->frame_fd, err);
	if (!w->frame) {
		layer_writer_free(w);
		return NULL;
	}
	return w;
}

/** give_name() - A temporary file becomes DIFF_ID.KIND. */
static int give_name(const struct layer_writer *w, const char *tmp, const char *kind, struct error *err)
{
	char name[DIGEST_HEX + 8];

	snprintf(name, sizeof(name), "%s.%s", w->diff_id, kind);
	if (renameat(w->dir, tmp, w->dir, name) < 0)
		return err_set(err, err_from_errno(errno), errno, "write the layer");
	return 0;
}

/** write_index() - Under its temporary name. */
static int write_index(const struct layer_writer *w, struct error *err)
{
	_cleanup_fd_ int fd = create(w, w->index_tmp, err);

	if (fd < 0)
		return fd;
	if (fd_write_full(fd, w->index.data, w->index.len) < 0 || fdatasync(fd) < 0) {
		err_set(err, err_from_errno(errno), errno, "write the layer");
		unlinkat(w->dir, w->index_tmp, 0);
		return -(int)err->code;
	}
	return 0;
}

int layer_writer_commit(struct layer_writer *w, uint64_t *blocks, struct error *err)
{
	if (flush(w, err) < 0 || frame_writer_finish(w->frame, err) < 0)
		return -(int)err->code;
	if (ftruncate(w->data, (off_t)w->out_at) < 0 || fdatasync(w->data) < 0 || fdatasync(w->frame_fd) < 0)
		return err_set(err, err_from_errno(errno), errno, "write the layer");
	if (write_index(w, err) < 0 || give_name(w, w->index_tmp, "index", err) < 0 ||
	    give_name(w, w->frame_tmp, "frame", err) < 0)
		return -(int)err->code;
	fd_close(&w->frame_fd);
	if (give_name(w, w->data_tmp, "data", err) < 0)
		return -(int)err->code;
	fd_close(&w->data);
	if (fsync(w->dir) < 0)
		return err_set(err, err_from_errno(errno), errno, "write the layer");
	*blocks = w->out_at / INDEX_BLOCK;
	return 0;
}

const char *layer_writer_note(const struct layer_writer *w)
{
	return w->note[0] ? w->note : NULL;
}

void layer_writer_free(struct layer_writer *w)
{
	if (!w)
		return;
	if (w->data >= 0)
		unlinkat(w->dir, w->data_tmp, 0);
	if (w->frame_fd >= 0)
		unlinkat(w->dir, w->frame_tmp, 0);
	fd_close(&w->data);
	fd_close(&w->frame_fd);
	frame_writer_free(w->frame);
	buf_free(&w->index);
	buf_free(&w->xattrs);
	free(w->out);
	free(w);
}
