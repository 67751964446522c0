/* SPDX-License-Identifier: Apache-2.0 */
/** One layer blob into the store, as a stream. Helper program only (libarchive, libcrypto, zlib or zstd behind it). */
#ifndef MSB_IMAGE_UNPACK_H
#define MSB_IMAGE_UNPACK_H

#include "image/bundle.h"
#include "image/store.h"

/**
 * layer_unpack() - Decompress, verify and split a layer into cache/layers/<diff_id>.data and .index.
 * @blob_digest: hex of the compressed blob, or NULL when the archive does not say
 * @diff_id: hex of the tar inside; a mismatch is an error and nothing stays
 * @blocks: length of .data in 4 KiB blocks
 */
int layer_unpack(int layers_fd, int fd, const struct member *blob, const char *blob_digest, const char *diff_id,
		 uint64_t *blocks, uint64_t *bytes, struct error *err);

/** digest_hex() - SHA-256 of a buffer as 64 hex digits and NUL. */
void digest_hex(const void *p, size_t n, char out[DIGEST_HEX + 1]);

#endif
