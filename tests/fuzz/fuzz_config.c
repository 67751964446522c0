// SPDX-License-Identifier: Apache-2.0
// sources: src/config/config_file.c src/base/nearest.c src/base/fd.c src/base/buf.c src/base/error.c src/base/log.c
// libs: -ljansson
/* The input is a config.json. What is accepted is accepted again, as it is; what is refused has an error of one line. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (int part = CONFIG_SETTINGS; part <= CONFIG_REGISTRIES; part++) {
		struct error err = ERROR_INIT;
		json_t *root = config_file_parse("f", data, size, (enum config_part)part, true, &err);
		json_t *again;
		char *text;

		if (!root) {
			if (err.code == ERR_NONE || strchr(err.text, '\n'))
				abort();
			continue;
		}
		text = json_dumps(root, 0);
		again = text ? config_file_parse("f", text, strlen(text), (enum config_part)part, true, &err) : NULL;
		if (text && (!again || !json_equal(root, again)))
			abort();
		free(text);
		json_decref(again);
		json_decref(root);
	}
	return 0;
}
