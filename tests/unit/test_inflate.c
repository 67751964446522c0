/* SPDX-License-Identifier: Apache-2.0 */
/* Our decoder against zlib: what zlib packs comes back equal, and damaged streams get zlib's verdict. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zlib.h>

#include "base/macros.h"
#include "disk/inflate.h"

#define SIZE 65536

static uint8_t plain[SIZE], packed[2 * SIZE], ours[SIZE], theirs[SIZE];

/** fill() - Contents of one kind: zeroes, random, text of few letters, repeated phrases, one byte. */
static void fill(int kind, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		switch (kind) {
		case 0:
			plain[i] = 0;
			break;
		case 1:
			plain[i] = (uint8_t)random();
			break;
		case 2:
			plain[i] = (uint8_t)("etaoinshr "[random() % 10]);
			break;
		case 3:
			plain[i] = i < 300 || random() % 50 == 0 ? (uint8_t)random() : plain[i - (size_t)(random() % 3 ? 300 : 17)];
			break;
		default:
			plain[i] = (uint8_t)(random() % 1000 ? 'x' : random());
			break;
		}
	}
}

/** pack() - By zlib. Return: bytes made. */
static size_t pack(size_t n, int level, int strategy)
{
	z_stream z = { 0 };

	assert_int_equal(deflateInit2(&z, level, Z_DEFLATED, -15, 8, strategy), Z_OK);
	z.next_in = plain;
	z.avail_in = (uInt)n;
	z.next_out = packed;
	z.avail_out = sizeof(packed);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	deflateEnd(&z);
	return sizeof(packed) - z.avail_out;
}

/** zlib_block() - What inflate_block() promises, by zlib. */
static bool zlib_block(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len)
{
	z_stream z = { .next_in = (Bytef *)(uintptr_t)in, .avail_in = (uInt)in_len, .next_out = out, .avail_out = (uInt)out_len };

	assert_int_equal(inflateInit2(&z, -15), Z_OK);
	inflate(&z, Z_FINISH);
	inflateEnd(&z);
	return z.avail_out == 0;
}

static void what_zlib_packs(void **state)
{
	static const int strategies[] = { Z_DEFAULT_STRATEGY, Z_FILTERED, Z_HUFFMAN_ONLY, Z_RLE, Z_FIXED };
	static const size_t sizes[] = { 1, 2, 258, 259, 4096, SIZE / 3 };

	(void)state;
	for (int kind = 0; kind < 5; kind++)
		for (size_t s = 0; s < ARRAY_LEN(sizes); s++)
			for (int level = 0; level <= 9; level += 3)
				for (size_t k = 0; k < ARRAY_LEN(strategies); k++) {
					size_t n;

					fill(kind, sizes[s]);
					n = pack(sizes[s], level, strategies[k]);
					memset(ours, 0xee, sizeof(ours));
					assert_true(inflate_block(packed, n, ours, sizes[s]));
					assert_memory_equal(ours, plain, sizes[s]);
					/* Only as much as asked for, of a stream with more; more than there is: refused. */
					assert_true(inflate_block(packed, n, ours, (sizes[s] + 1) / 2));
					if (sizes[s] < SIZE)
						assert_false(inflate_block(packed, n, ours, sizes[s] + 1));
				}
}

static void cut_off(void **state)
{
	(void)state;
	for (int kind = 0; kind < 5; kind++) {
		size_t n;

		fill(kind, 2000);
		n = pack(2000, 6, Z_DEFAULT_STRATEGY);
		for (size_t cut = 0; cut < n; cut++) {
			bool good = zlib_block(packed, cut, theirs, 2000);

			assert_int_equal(inflate_block(packed, cut, ours, 2000), good);
			if (good)
				assert_memory_equal(ours, theirs, 2000);
		}
	}
}

static void damaged(void **state)
{
	unsigned int good_count = 0;

	(void)state;
	for (int round = 0; round < 6000; round++) {
		size_t n;
		bool good;

		fill(round % 5, 600);
		n = pack(600, 1 + round % 9, round % 7 ? Z_DEFAULT_STRATEGY : Z_FIXED);
		for (int k = 0; k <= round % 3; k++)
			packed[(size_t)random() % n] ^= (uint8_t)(1u << random() % 8);
		good = zlib_block(packed, n, theirs, 600);
		assert_int_equal(inflate_block(packed, n, ours, 600), good);
		if (good)
			assert_memory_equal(ours, theirs, 600);
		good_count += good;
	}
	assert_in_range(good_count, 1, 5999); /* both verdicts were seen */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_zlib_packs),
		cmocka_unit_test(cut_off),
		cmocka_unit_test(damaged),
	};
	unsigned int seed = (unsigned int)time(NULL);

	printf("# seed %u\n", seed);
	srandom(seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
