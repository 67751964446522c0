/* SPDX-License-Identifier: Apache-2.0 */
/**
 * One layer into the store, entry by entry: cache/layers/<diff_id>.data (contents, whole 4 KiB blocks, holes where they
 * are zero), .index (image/layer_index.h) and .frame (what gives the tar back, image/frame.h). Helper program only.
 */
#ifndef MSB_IMAGE_LAYER_WRITER_H
#define MSB_IMAGE_LAYER_WRITER_H

#include "image/tar.h"

#define LAYER_BYTES_MAX (10ULL << 30)
#define LAYER_FILE_BYTES_MAX (5ULL << 30)

struct layer_writer;

/** A tar_sink whose arg is a layer_writer. */
extern const struct tar_sink layer_sink;

/** layer_writer_new() - @diff_id: 64 hex digits. The caller holds the layer's lock, so the temporary names are its own.
 */
struct layer_writer *layer_writer_new(int layers_fd, const char *diff_id, struct error *err);
/** layer_writer_commit() - Everything was read and verified: durable, then under its names; the .data name comes last.
 */
int layer_writer_commit(struct layer_writer *w, uint64_t *blocks, struct error *err);
/** layer_writer_note() - What was left out of the layer, for the user; NULL when nothing was. */
const char *layer_writer_note(const struct layer_writer *w);
/** layer_writer_free() - What was not committed is removed. */
void layer_writer_free(struct layer_writer *w);

#endif
