/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Bounds-checked cursor over untrusted bytes with a sticky error: after the first read past the end every read
 * gives zeroes and `failed` stays true, so a parser checks once where it is done. Little endian unless named _be.
 */
#ifndef MSB_BASE_READER_H
#define MSB_BASE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct reader {
	const uint8_t *p; /* borrowed */
	size_t left;
	bool failed;
};

static inline struct reader reader_init(const void *p, size_t n)
{
	return (struct reader){ .p = p, .left = n };
}

/** reader_bytes() - The next n bytes, borrowed from the input; NULL when fewer are left. */
static inline const uint8_t *reader_bytes(struct reader *r, size_t n)
{
	const uint8_t *at = r->p;

	if (r->failed || n > r->left) {
		r->failed = true;
		return NULL;
	}
	r->p += n;
	r->left -= n;
	return at;
}

static inline void reader_copy(struct reader *r, void *to, size_t n)
{
	const uint8_t *at = reader_bytes(r, n);

	if (at)
		memcpy(to, at, n);
	else
		memset(to, 0, n);
}

static inline uint8_t reader_u8(struct reader *r)
{
	const uint8_t *b = reader_bytes(r, 1);

	return b ? b[0] : 0;
}

static inline uint16_t reader_u16(struct reader *r)
{
	const uint8_t *b = reader_bytes(r, 2);

	return b ? (uint16_t)(b[0] | b[1] << 8) : 0;
}

static inline uint32_t reader_u32(struct reader *r)
{
	uint32_t lo = reader_u16(r);

	return lo | (uint32_t)reader_u16(r) << 16;
}

static inline uint64_t reader_u64(struct reader *r)
{
	uint64_t lo = reader_u32(r);

	return lo | (uint64_t)reader_u32(r) << 32;
}

static inline uint16_t reader_u16_be(struct reader *r)
{
	return __builtin_bswap16(reader_u16(r));
}

static inline uint32_t reader_u32_be(struct reader *r)
{
	return __builtin_bswap32(reader_u32(r));
}

static inline uint64_t reader_u64_be(struct reader *r)
{
	return __builtin_bswap64(reader_u64(r));
}

#endif
