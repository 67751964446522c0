/* SPDX-License-Identifier: Apache-2.0 */
/**
 * <diff_id>.frame: how to make the layer's tar again, to the last bit, from .data and .index. zstd over a sequence of
 *
 *   LITERAL n bytes...        bytes that are no content (headers, padding, end)
 *   DATA    skip n            contents in .data: skip bytes further than the end of the last DATA, n of them
 *   TAIL    skip at n         contents in .index: n bytes from byte `at` of the tail of the entry that is `skip`
 * entries further than the last TAIL's
 *
 * behind FRAME_MAGIC and the tar's size (u64, little endian); each a byte (enum frame_op) and LEB128 numbers. Contents
 * stand in .data and .index in the order of the tar, also those that a later entry of the same layer replaces.
 */
#ifndef MSB_IMAGE_FRAME_FILE_H
#define MSB_IMAGE_FRAME_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define FRAME_MAGIC "MSBFRM1"

enum frame_op { FRAME_LITERAL = 1, FRAME_DATA, FRAME_TAIL };

struct frame_writer;

/** frame_writer_new() - @fd: borrowed, empty file. */
struct frame_writer *frame_writer_new(int fd, struct error *err);
int frame_literal(struct frame_writer *w, const uint8_t *p, size_t n, struct error *err);
/** frame_data() - n content bytes are at this offset of .data. */
int frame_data(struct frame_writer *w, uint64_t offset, uint64_t n, struct error *err);
/** frame_tail() - n content bytes are at byte `at` of the tail of index entry number `entry`. */
int frame_tail(struct frame_writer *w, uint64_t entry, uint32_t at, uint32_t n, struct error *err);
int frame_writer_finish(struct frame_writer *w, struct error *err);
void frame_writer_free(struct frame_writer *w);

/** frame_tar_size() - How long the tar is; leaves the file where frame_replay() wants it. */
int frame_tar_size(int frame_fd, uint64_t *size, struct error *err);

/**
 * frame_replay() - Give the layer's tar to a sink. The caller compares its digest with the diff_id.
 * @frame_fd: behind frame_tar_size()
 * @index:    the whole .index file
 * Return: 0, the sink's negative code, or ERR_INVALID for a damaged file.
 */
int frame_replay(int frame_fd, int data_fd, const void *index, size_t index_size,
		 int (*sink)(void *arg, const uint8_t *p, size_t n, struct error *err), void *arg, struct error *err);

#endif
