/* SPDX-License-Identifier: Apache-2.0 */
// sources: src/disk/inflate.c
// libs: -lz
/*
 * Our decoder and zlib's must agree on every input: whether the output can be filled, and with what. What zlib thinks of
 * the stream beyond that does not matter.
 */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "disk/inflate.h"

#define OUT_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static uint8_t ours[OUT_MAX], theirs[OUT_MAX];
	z_stream z = { 0 };
	size_t want;

	if (n < 3)
		return 0;
	want = 1 + (data[0] | (size_t)data[1] << 8) % OUT_MAX;
	z.next_in = (Bytef *)(uintptr_t)(data + 2);
	z.avail_in = (uInt)(n - 2);
	z.next_out = theirs;
	z.avail_out = (uInt)want;
	if (inflateInit2(&z, -15) != Z_OK)
		abort();
	inflate(&z, Z_FINISH);
	inflateEnd(&z);
	if (inflate_block(data + 2, n - 2, ours, want) != (z.avail_out == 0))
		abort();
	if (z.avail_out == 0 && memcmp(ours, theirs, want) != 0)
		abort();
	return 0;
}
