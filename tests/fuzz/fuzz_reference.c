// SPDX-License-Identifier: Apache-2.0
// sources: src/image/reference.c src/image/record.c src/base/buf.c src/base/error.c src/base/log.c
/* Fuzz references: what is accepted is stable under a second pass and survives its file name. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "image/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char typed[600], out[REFERENCE_MAX], again[REFERENCE_MAX], file[REF_FILE_MAX + 1], back[REFERENCE_MAX];
	struct error err = ERROR_INIT;

	if (size >= sizeof(typed))
		return 0;
	memcpy(typed, data, size);
	typed[size] = '\0';
	if (ref_name(typed, back))
		for (const char *p = back; *p; p++)
			if (*p <= ' ' || *p > '~')
				abort();
	if (reference_normalise(typed, out, &err) < 0)
		return 0;
	if (reference_normalise(out, again, &err) < 0 || strcmp(out, again) != 0)
		abort();
	if (ref_file(out, file, &err) == 0 && (strchr(file, '/') || file[0] == '.'))
		abort();
	return 0;
}
