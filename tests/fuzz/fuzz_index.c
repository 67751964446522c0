// SPDX-License-Identifier: Apache-2.0
// sources: src/image/layer_index.c src/image/tree.c src/image/erofs.c src/base/buf.c src/base/error.c src/base/log.c
/* Fuzz the merge: two layer indexes from the input (split by its first two bytes) become EROFS metadata, or an error.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "erofs_check.h"
#include "image/erofs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf low = BUF_INIT(1 << 20), high = BUF_INIT(1 << 20), out = BUF_INIT(64 << 20);
	struct error err = ERROR_INIT;
	uint64_t blocks[2] = { 1, 1 };
	struct tree t;
	size_t cut;

	if (size < 2)
		return 0;
	cut = data[0] | (size_t)data[1] << 8;
	data += 2;
	size -= 2;
	cut = cut < size ? cut : size;
	buf_append(&low, INDEX_MAGIC, sizeof(INDEX_MAGIC));
	buf_append(&low, data, cut);
	buf_append(&high, INDEX_MAGIC, sizeof(INDEX_MAGIC));
	buf_append(&high, data + cut, size - cut);
	if (tree_init(&t)) {
		int rc = tree_add_layer(&t, 0, low.data, low.len, &err);

		if (rc == 0)
			rc = tree_add_layer(&t, 1, high.data, high.len, &err);
		if (rc == 0)
			rc = erofs_write(&t, blocks, 2, (const uint8_t *)"0123456789abcdef", &out, &err);
		if ((rc < 0) != (err.code != ERR_NONE))
			abort();
		if (rc == 0)
			erofs_check(out.data, out.len, out.len / 4096 + 2);
		tree_free(&t);
	}
	buf_free(&low);
	buf_free(&high);
	buf_free(&out);
	return 0;
}
