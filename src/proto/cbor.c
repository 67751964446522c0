/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/cbor.h"

#include <string.h>

bool cbor_put_head(struct buf *out, enum cbor_major major, uint64_t value)
{
	uint8_t head[9];
	unsigned int bytes = value < 24 ? 0 : value <= 0xff ? 1 : value <= 0xffff ? 2 : value <= 0xffffffff ? 4 : 8;

	head[0] = (uint8_t)((unsigned int)major << 5);
	if (bytes == 0)
		head[0] |= (uint8_t)value;
	else
		head[0] |= (uint8_t)(bytes == 1 ? 24 : bytes == 2 ? 25 : bytes == 4 ? 26 : 27);
	for (unsigned int i = 0; i < bytes; i++)
		head[1 + i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
	return buf_append(out, head, 1 + bytes);
}

bool cbor_put_bool(struct buf *out, bool value)
{
	return cbor_put_head(out, CBOR_SIMPLE, value ? 21 : 20);
}

bool cbor_put_string(struct buf *out, const char *s)
{
	size_t n = strlen(s) + 1;

	return cbor_put_head(out, CBOR_BYTES, n) && buf_append(out, s, n);
}

/** any_head() - Head of whatever comes next; shortest form enforced. */
static uint64_t any_head(struct reader *r, unsigned int *major)
{
	uint8_t first = reader_u8(r);
	unsigned int info = first & 0x1f;
	uint64_t value;

	*major = first >> 5;
	switch (info) {
	case 24:
		value = reader_u8(r);
		r->failed |= value < 24;
		return value;
	case 25:
		value = reader_u16_be(r);
		r->failed |= value <= 0xff;
		return value;
	case 26:
		value = reader_u32_be(r);
		r->failed |= value <= 0xffff;
		return value;
	case 27:
		value = reader_u64_be(r);
		r->failed |= value <= 0xffffffff;
		return value;
	default:
		r->failed |= info > 23;
		return info;
	}
}

uint64_t cbor_head(struct reader *r, enum cbor_major major)
{
	unsigned int found;
	uint64_t value = any_head(r, &found);

	r->failed |= found != (unsigned int)major;
	return r->failed ? 0 : value;
}

bool cbor_bool(struct reader *r)
{
	uint64_t value = cbor_head(r, CBOR_SIMPLE);

	r->failed |= value != 20 && value != 21;
	return value == 21;
}

const char *cbor_string(struct reader *r)
{
	uint64_t n = cbor_head(r, CBOR_BYTES);
	const uint8_t *s;

	r->failed |= n == 0 || n > r->left;
	s = reader_bytes(r, r->failed ? 0 : (size_t)n);
	if (r->failed)
		return NULL;
	r->failed |= memchr(s, 0, (size_t)n) != s + n - 1;
	return r->failed ? NULL : (const char *)s;
}

void cbor_skip(struct reader *r)
{
	uint64_t pending[CBOR_DEPTH_MAX]; /* values still to pass over, per level */
	unsigned int depth = 0, major;

	pending[0] = 1;
	while (!r->failed) {
		uint64_t value;

		while (pending[depth] == 0) {
			if (depth == 0)
				return;
			depth--;
		}
		pending[depth]--;
		value = any_head(r, &major);
		switch (major) {
		case CBOR_UINT:
			break;
		case CBOR_SIMPLE:
			r->failed |= value != 20 && value != 21;
			break;
		case CBOR_BYTES:
			r->failed |= value > r->left;
			reader_bytes(r, r->failed ? 0 : (size_t)value);
			break;
		case CBOR_ARRAY:
		case CBOR_MAP:
			/* Each value takes at least one byte, which bounds the loop by the input. */
			r->failed |= value > r->left || depth + 1 == CBOR_DEPTH_MAX;
			if (!r->failed)
				pending[++depth] = major == CBOR_MAP ? value * 2 : value;
			break;
		default:
			r->failed = true;
		}
	}
}
