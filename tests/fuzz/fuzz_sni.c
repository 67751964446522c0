/* SPDX-License-Identifier: Apache-2.0 */
// sources: src/net/sni.c
/* The first bytes of a stream. A verdict that was reached does not change by what comes later. */
#include <stdlib.h>
#include <string.h>

#include "net/sni.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char name[SNI_NAME_MAX], earlier[SNI_NAME_MAX];
	enum sni_result whole = sni_find(data, n, name);

	if (whole == SNI_NAME && (!name[0] || strlen(name) >= sizeof(name)))
		abort();
	for (size_t part = n / 2; part < n; part += 1 + n / 16) {
		enum sni_result before = sni_find(data, part, earlier);

		if (before != SNI_MORE && (before != whole || (whole == SNI_NAME && strcmp(name, earlier) != 0)))
			abort();
	}
	return 0;
}
