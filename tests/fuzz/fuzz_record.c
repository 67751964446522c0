// SPDX-License-Identifier: Apache-2.0
// sources: src/image/record.c src/base/buf.c src/base/error.c src/base/log.c
/* An image's record: what decodes has all its strings, and encodes to the same bytes again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "image/record.h"

/** check_list() - Every entry is there. */
static void check_list(const struct image_strings *l)
{
	if (l->count > IMAGE_STRINGS_MAX)
		abort();
	for (uint32_t i = 0; i < l->count; i++)
		if (!l->item[i])
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct record r;
	struct buf again = BUF_INIT(RECORD_BYTES_MAX);
	struct error err = ERROR_INIT;
	const struct image *m = &r.img;

	if (size > RECORD_BYTES_MAX)
		return 0;
	if (record_decode(data, size, &r, &err) < 0) {
		if (!err.code || m->layers || m->user || m->env.item || m->labels.item)
			abort();
		return 0;
	}
	if (!m->user || !m->workdir || !m->stop_signal || m->layer_count > IMAGE_LAYERS_MAX)
		abort();
	check_list(&m->env);
	check_list(&m->entrypoint);
	check_list(&m->cmd);
	check_list(&m->labels);
	for (uint32_t i = 0; i < m->layer_count; i++)
		if (strlen(m->layers[i]) != DIGEST_HEX || strchr(m->layers[i], '/'))
			abort();
	if (!record_encode(&again, &r) || again.len != size || memcmp(again.data, data, size) != 0)
		abort();
	buf_free(&again);
	image_clear(&r.img);
	return 0;
}
