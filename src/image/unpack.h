/* SPDX-License-Identifier: Apache-2.0 */
/** One layer blob into the store, as a stream. Helper program only (libcrypto, zlib, zstd behind it). */
#ifndef MSB_IMAGE_UNPACK_H
#define MSB_IMAGE_UNPACK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"
#include "image/reference.h"

/** Where a blob's bytes come from. */
struct blob_source {
	/** Up to max bytes; 0 at the end; a negative code with the error set. */
	ssize_t (*read)(void *arg, void *to, size_t max, struct error *err);
	void *arg;
};

/**
 * layer_unpack() - Decompress (by magic bytes: gzip, zstd, or plain), verify and split a layer into the store.
 * @blob_digest: hex of the compressed blob, or NULL when nobody says
 * @diff_id:     hex of the tar inside; a mismatch is an error and nothing stays
 * @blocks:      length of .data in 4 KiB blocks
 * @note:        room for a line for the user (300 bytes), "" when there is nothing to say
 *
 * The caller holds the layer's lock (layer_lock()).
 */
int layer_unpack(int layers_fd, const struct blob_source *source, const char *blob_digest, const char *diff_id,
		 uint64_t *blocks, char note[300], struct error *err);

/** layer_diff_id() - What the diff_id of a blob would be, and how long the tar inside is; nothing is stored. */
int layer_diff_id(const struct blob_source *source, char out[DIGEST_HEX + 1], uint64_t *size, struct error *err);

/** digest_text() - A SHA-256 sum (32 bytes) as 64 hex digits and NUL. */
void digest_text(const uint8_t *sum, char out[DIGEST_HEX + 1]);
/** digest_hex() - SHA-256 of a buffer as 64 hex digits and NUL. */
void digest_hex(const void *p, size_t n, char out[DIGEST_HEX + 1]);

#endif
