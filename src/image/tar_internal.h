/* SPDX-License-Identifier: Apache-2.0 */
/** What the tar reader's two halves share: tar.c moves through the stream, tar_header.c understands headers. */
#ifndef MSB_IMAGE_TAR_INTERNAL_H
#define MSB_IMAGE_TAR_INTERNAL_H

#include "image/tar.h"

struct tar_fragment {
	uint64_t offset, size;
};

/** A sparse file's map: where the stored bytes belong. */
struct tar_map {
	struct tar_fragment *fragments; /* owned */
	size_t count, room;
	uint64_t stored; /* sum of sizes */
};

/** Records of a pax header that matter; strings borrow the header's buffer. "has" where nothing is not a value. */
struct tar_pax {
	const char *path, *link, *sparse_name, *sparse_map;
	bool has_size, has_uid, has_gid, has_mtime, has_real_size;
	uint64_t size, uid, gid, real_size;
	int64_t mtime_s;
	uint32_t mtime_ns;
	uint64_t sparse_major, sparse_minor;
	bool sparse_1; /* GNU.sparse.major = 1: the map precedes the contents */
	bool sparse_0; /* map given in the header */
	size_t xattr_count;
	struct tar_xattr xattrs[TAR_XATTRS_MAX];
};

/** tar_field() - A numeric field: octal, or base-256 not below zero. */
bool tar_field(const uint8_t *p, size_t n, uint64_t *out);
/** tar_field_signed() - The same for times, which base-256 may put before 1970. */
bool tar_field_signed(const uint8_t *p, size_t n, int64_t *out);
bool tar_checksum_ok(const uint8_t *h);
bool tar_is_zero(const uint8_t *block);
/** tar_is_gnu() - "ustar  ": the old GNU format, whose prefix field holds other things. */
bool tar_is_gnu(const uint8_t *h);
/** tar_header_name() - prefix/name into out (room for 260). */
void tar_header_name(const uint8_t *h, char out[260]);

/** tar_pax_parse() - All records of a body of n bytes, changed in place (ends of strings). Appends to map for pax 0.0.
 */
int tar_pax_parse(char *body, size_t n, struct tar_pax *out, struct tar_map *map, struct error *err);
/** tar_map_add() - Append a fragment, in order and without overlap. */
int tar_map_add(struct tar_map *map, uint64_t offset, uint64_t size, struct error *err);
/** tar_map_parse() - "offset,size,offset,size..." of pax 0.1. */
int tar_map_parse(struct tar_map *map, const char *text, struct error *err);
/** tar_map_old() - Entries of an old GNU header or extension block: 24 bytes each, until the first empty one. */
int tar_map_old(struct tar_map *map, const uint8_t *p, size_t count, struct error *err);

#endif
