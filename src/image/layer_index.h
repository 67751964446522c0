/* SPDX-License-Identifier: Apache-2.0 */
/**
 * What a layer holds, beside the bytes of its files: one entry per tar entry, in the layer's own order.
 *
 * On disk (<diff_id>.index): magic, then entries, little endian, length-prefixed; read with a bounds-checked reader.
 * File contents are in <diff_id>.data in whole 4 KiB blocks; a last part of at most INDEX_TAIL_MAX bytes is kept here
 * and ends up inline behind its inode.
 */
#ifndef MSB_IMAGE_LAYER_INDEX_H
#define MSB_IMAGE_LAYER_INDEX_H

#include "base/buf.h"
#include "base/reader.h"

#define INDEX_MAGIC "MSBIDX1"
#define INDEX_BLOCK 4096u
#define INDEX_TAIL_MAX 2047u
#define INDEX_XATTRS_MAX 60000u
#define INDEX_BYTES_MAX (512u << 20)
#define LAYER_ENTRIES_MAX 1000000u
#define LAYER_PATH_MAX 4096u
#define LAYER_DEPTH_MAX 128u

enum index_kind {
	INDEX_NODE = 1, /* file, directory, symlink, device, fifo */
	INDEX_HARDLINK, /* link: path of the target, in this layer or a lower one */
	INDEX_WHITEOUT, /* path is removed from lower layers */
	INDEX_OPAQUE,	/* lower content of directory path is hidden */
};

struct index_bytes {
	const uint8_t *p;
	uint32_t n;
};

/** One entry; when decoded, bytes borrow the input. Paths: no leading slash, no "." or "..", "" is the root. */
struct index_entry {
	uint8_t kind;
	uint32_t mode; /* type and permission bits */
	uint32_t uid, gid;
	int64_t mtime_s;
	uint32_t mtime_ns;
	uint32_t rdev; /* in the kernel's new_encode_dev form */
	uint64_t size;
	uint64_t data_offset; /* of the whole blocks in .data */
	struct index_bytes path, link, tail;
	struct index_bytes xattrs; /* EROFS entries, ready to copy, a multiple of 4 bytes */
};

bool index_append(struct buf *out, const struct index_entry *e);
/** index_check() - Does the entry keep to the limits, with the parts its kind and type have and no others? */
bool index_check(const struct index_entry *e);
/** index_next() - Decode one entry. Return: false at the end or when the reader failed (r->failed). */
bool index_next(struct reader *r, struct index_entry *e);
/** index_check_path() - Is it a clean relative path within the limits? */
bool index_check_path(const struct index_bytes *path);

#endif
