/* SPDX-License-Identifier: Apache-2.0 */
/** Deterministic EROFS metadata for a merged tree; file data stays in the layers' .data files behind it. */
#ifndef MSB_IMAGE_EROFS_H
#define MSB_IMAGE_EROFS_H

#include "image/tree.h"

#define EROFS_WRITER_VERSION 1

/**
 * erofs_write() - Append the metadata image (a multiple of 4 KiB) to out.
 * @layer_blocks: length of each layer's .data in blocks, in the order in which they follow the metadata
 * @uuid: 16 bytes
 * Source: Linux Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h (on-disk format).
 */
int erofs_write(struct tree *t, const uint64_t *layer_blocks, uint32_t layer_count, const uint8_t *uuid,
		struct buf *out, struct error *err);

#endif
