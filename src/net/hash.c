/* SPDX-License-Identifier: Apache-2.0 */
#include "net/hash.h"

#include <endian.h>
#include <string.h>

static inline uint64_t rotate(uint64_t x, unsigned int bits)
{
	return (x << bits) | (x >> (64 - bits));
}

static inline uint64_t load(const uint8_t *p)
{
	uint64_t x;

	memcpy(&x, p, sizeof(x));
	return le64toh(x);
}

static inline void rounds(uint64_t v[4], int count)
{
	while (count-- > 0) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = rotate(v[1], 13) ^ v[0];
		v[3] = rotate(v[3], 16) ^ v[2];
		v[0] = rotate(v[0], 32);
		v[2] += v[1];
		v[0] += v[3];
		v[1] = rotate(v[1], 17) ^ v[2];
		v[3] = rotate(v[3], 21) ^ v[0];
		v[2] = rotate(v[2], 32);
	}
}

uint64_t hash_keyed(const uint8_t key[16], const void *data, size_t len)
{
	uint64_t k0 = load(key), k1 = load(key + 8);
	uint64_t v[4] = { k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261,
			  k1 ^ 0x7465646279746573 };
	const uint8_t *p = data, *end = p + (len & ~(size_t)7);
	uint8_t last[8] = { [7] = (uint8_t)len };

	for (; p < end; p += 8) {
		uint64_t m = load(p);

		v[3] ^= m;
		rounds(v, 2);
		v[0] ^= m;
	}
	memcpy(last, p, len & 7);
	v[3] ^= load(last);
	rounds(v, 2);
	v[0] ^= load(last);
	v[2] ^= 0xff;
	rounds(v, 4);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}
