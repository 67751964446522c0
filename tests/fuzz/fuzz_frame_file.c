// SPDX-License-Identifier: Apache-2.0
// sources: src/image/frame_file.c src/image/layer_index.c src/base/buf.c src/base/error.c src/base/fd.c src/base/log.c
// libs: -lzstd
/*
 * A hostile .frame over a hostile .index and a .data of two blocks. Input: u16 length of the index, the index behind its magic,
 * then the frame's operations, compressed here (so that the input gets behind that), or, where the first bit of the length is
 * set, the frame's file as it is. Whatever it is: the end comes, the tar is no longer than allowed, nothing is read outside.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "base/fd.h"
#include "image/frame_file.h"
#include "image/layer_index.h"

#define INPUT_MAX (1u << 16)
#define OUT_MAX (64u << 20)

static int count(void *arg, const uint8_t *p, size_t n, struct error *err)
{
	uint64_t *total = arg;
	volatile uint8_t sum = 0;

	for (size_t i = 0; i < n; i += 64)
		sum = (uint8_t)(sum + p[i]);
	*total += n;
	return *total > OUT_MAX ? err_set(err, ERR_LIMIT, 0, "enough") : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static uint8_t packed[2 * INPUT_MAX], blocks[2 * INDEX_BLOCK];
	struct buf index = BUF_INIT(INPUT_MAX + 16), file = BUF_INIT(3 * INPUT_MAX);
	struct error err = ERROR_INIT;
	uint64_t size = 0, total = 0;
	int frame, contents, rc;
	size_t cut;
	bool whole;

	if (n < 2 || n > INPUT_MAX)
		return 0;
	whole = data[0] & 1;
	cut = (size_t)(data[0] >> 1) | (size_t)data[1] << 7;
	data += 2;
	n -= 2;
	cut = cut < n ? cut : n;
	buf_append(&index, INDEX_MAGIC, sizeof(INDEX_MAGIC));
	buf_append(&index, data, cut);
	if (whole) {
		buf_append(&file, data + cut, n - cut);
	} else {
		size_t made = ZSTD_compress(packed, sizeof(packed), data + cut, n - cut, 1);

		buf_append(&file, FRAME_MAGIC, sizeof(FRAME_MAGIC));
		buf_append(&file, &size, sizeof(size));
		buf_append(&file, packed, made);
	}
	frame = fd_memfd("fuzz-frame", 0, false);
	contents = fd_memfd("fuzz-data", 0, false);
	if (frame < 0 || contents < 0 || fd_write_full(frame, file.data, file.len) < 0 ||
	    fd_write_full(contents, blocks, sizeof(blocks)) < 0)
		abort();
	rc = frame_tar_size(frame, &size, &err);
	if (rc == 0)
		rc = frame_replay(frame, contents, index.data, index.len, count, &total, &err);
	if ((rc < 0) != (err.code != ERR_NONE) || rc != -(int)err.code)
		abort();
	close(frame);
	close(contents);
	buf_free(&index);
	buf_free(&file);
	return 0;
}
