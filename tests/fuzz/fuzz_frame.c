/* SPDX-License-Identifier: Apache-2.0 */
// sources: src/proto/frame.c src/base/buf.c src/base/log.c src/base/error.c
/* A stream of frames: what is parsed lies in the input, and encoding it again gives the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "proto/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct buf again = BUF_INIT(MIB(2));
	struct frame f;
	size_t used = 0;

	while (frame_parse(data, n, &f, &used) == FRAME_OK) {
		if (used > n || used != FRAME_HEADER_SIZE + f.body_len || f.body != data + FRAME_HEADER_SIZE)
			abort();
		again.len = 0;
		if (!frame_append(&again, f.type, f.session, f.body, f.body_len) || again.len != used ||
		    memcmp(again.data, data, used) != 0)
			abort();
		data += used;
		n -= used;
	}
	buf_free(&again);
	return 0;
}
