/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. Bits enter a 64-bit window at its top and leave at its bottom. A Huffman code of at most
 * FAST_BITS is found by one look into a table of all bit patterns; a longer one is counted up bit by bit through
 * the canonical order. What an attacker controls: every bit. Codes that claim more than the code space are refused,
 * copies reach back only over bytes that were made, bits past the end of the input end the decoding.
 */
#include "disk/inflate.h"

#include <string.h>

#include "base/macros.h"

#define CODE_BITS_MAX 15
#define FAST_BITS 10
#define LITERALS_MAX 288
#define DISTANCES_MAX 32
#define LENGTH_CODES_MAX 19
#define END_OF_BLOCK 256

struct stream {
	const uint8_t *in, *in_end;
	uint64_t window;
	unsigned int bits; /* valid ones in the window */
	bool failed;
	uint8_t *out;
	size_t made, out_len;
};

struct code {
	uint16_t count[CODE_BITS_MAX + 1]; /* codes of each length */
	uint16_t symbols[LITERALS_MAX];	   /* by length, then by value */
	uint16_t fast[1 << FAST_BITS];	   /* symbol << 4 | length; 0: not here */
};

/** refill() - At least 56 bits in the window, unless the input ends. */
static void refill(struct stream *s)
{
	while (s->bits <= 56 && s->in < s->in_end) {
		s->window |= (uint64_t)*s->in++ << s->bits;
		s->bits += 8;
	}
}

/** drop() - Take n bits that were looked at. */
static void drop(struct stream *s, unsigned int n)
{
	if (n > s->bits) {
		s->failed = true;
		n = s->bits;
	}
	s->window >>= n;
	s->bits -= n;
}

/** get_bits() - The next n bits, at most 16, as a number. */
static unsigned int get_bits(struct stream *s, unsigned int n)
{
	unsigned int value;

	refill(s);
	value = (unsigned int)(s->window & ((1u << n) - 1));
	drop(s, n);
	return value;
}

/** reversed() - The low n bits of v in the opposite order: codes are stored from their top bit on. */
static unsigned int reversed(unsigned int v, unsigned int n)
{
	unsigned int r = 0;

	for (unsigned int i = 0; i < n; i++)
		r |= (v >> i & 1) << (n - 1 - i);
	return r;
}

/**
 * make_code() - Canonical code from lengths (3.2.2).
 * @single: it may be incomplete: a single code of one bit. An empty one decodes nothing and is no error by itself.
 */
static bool make_code(struct code *c, const uint8_t *lengths, unsigned int n, bool single)
{
	uint16_t at[CODE_BITS_MAX + 2] = { 0 }, next[CODE_BITS_MAX + 2] = { 0 };
	unsigned int left = 1, used = 0;

	memset(c, 0, sizeof(*c));
	for (unsigned int i = 0; i < n; i++)
		if (lengths[i]) {
			c->count[lengths[i]]++;
			used++;
		}
	for (unsigned int len = 1; len <= CODE_BITS_MAX; len++) {
		left <<= 1;
		if (c->count[len] > left)
			return false;
		left -= c->count[len];
		at[len + 1] = (uint16_t)(at[len] + c->count[len]);
		next[len + 1] = (uint16_t)((next[len] + c->count[len]) << 1);
	}
	if (left && used && !(single && used == 1 && c->count[1] == 1))
		return false;
	for (unsigned int i = 0; i < n; i++) {
		unsigned int len = lengths[i], step;

		if (!len)
			continue;
		c->symbols[at[len]++] = (uint16_t)i;
		step = next[len]++;
		if (len <= FAST_BITS)
			for (unsigned int k = reversed(step, len); k < 1 << FAST_BITS; k += 1u << len)
				c->fast[k] = (uint16_t)(i << 4 | len);
	}
	return true;
}

/** get_symbol() - Decode one symbol; after a bad one the stream has failed. */
static unsigned int get_symbol(struct stream *s, const struct code *c)
{
	unsigned int entry, value = 0, first = 0, index = 0;

	refill(s);
	entry = c->fast[s->window & ((1u << FAST_BITS) - 1)];
	if (entry) {
		drop(s, entry & 15);
		return entry >> 4;
	}
	for (unsigned int len = 1; len <= CODE_BITS_MAX; len++) {
		value |= (unsigned int)(s->window >> (len - 1)) & 1;
		if (value - first < c->count[len]) {
			drop(s, len);
			return c->symbols[index + value - first];
		}
		index += c->count[len];
		first = (first + c->count[len]) << 1;
		value <<= 1;
	}
	s->failed = true;
	return 0;
}

/** copy_back() - Repeat length bytes from distance before the end; they may overlap what is being made. */
static void copy_back(struct stream *s, size_t length, size_t distance)
{
	length = MIN(length, s->out_len - s->made);
	if (distance > s->made) {
		s->failed = true;
		return;
	}
	for (; length; length--, s->made++)
		s->out[s->made] = s->out[s->made - distance];
}

/** block_data() - Literals and copies until the end of the block (3.2.5). */
static void block_data(struct stream *s, const struct code *literals, const struct code *distances)
{
	static const uint16_t length_base[29] = { 3,  4,  5,  6,  7,  8,  9,  10, 11,  13,	15,  17,  19,  23, 27,
						  31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258 };
	static const uint8_t length_bits[29] = { 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
						 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0 };
	static const uint16_t distance_base[30] = { 1,   2,   3,   4,   5,   7,	   9,	 13,   17,   25,
						    33,  49,  65,  97,  129, 193,  257,	 385,  513,  769,
						    1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577 };

	while (!s->failed && s->made < s->out_len) {
		unsigned int symbol = get_symbol(s, literals), length;

		if (symbol < END_OF_BLOCK) {
			if (!s->failed)
				s->out[s->made++] = (uint8_t)symbol;
			continue;
		}
		if (symbol == END_OF_BLOCK)
			return;
		symbol -= END_OF_BLOCK + 1;
		if (symbol >= ARRAY_LEN(length_base))
			break;
		length = length_base[symbol] + get_bits(s, length_bits[symbol]);
		symbol = get_symbol(s, distances);
		if (symbol >= ARRAY_LEN(distance_base))
			break;
		/* Extra bits of a distance: none for the first four, then one more for every second code. */
		copy_back(s, length, distance_base[symbol] + get_bits(s, symbol < 4 ? 0 : symbol / 2 - 1));
	}
	s->failed |= s->made < s->out_len;
}

/** block_stored() - Bytes as they are, after a length and its complement (3.2.4). */
static void block_stored(struct stream *s)
{
	unsigned int n, check;

	get_bits(s, s->bits % 8);
	n = get_bits(s, 16);
	check = get_bits(s, 16);
	s->failed |= n != (check ^ 0xffff);
	for (; n && !s->failed && s->made < s->out_len; n--)
		s->out[s->made++] = (uint8_t)get_bits(s, 8);
}

/** block_fixed() - The code that needs no description (3.2.6). */
static void block_fixed(struct stream *s)
{
	uint8_t lengths[LITERALS_MAX];
	struct code literals, distances;

	memset(lengths, 8, 144);
	memset(lengths + 144, 9, 112);
	memset(lengths + 256, 7, 24);
	memset(lengths + 280, 8, 8);
	make_code(&literals, lengths, LITERALS_MAX, false);
	memset(lengths, 5, DISTANCES_MAX);
	make_code(&distances, lengths, DISTANCES_MAX, false);
	block_data(s, &literals, &distances);
}

/** block_dynamic() - A code described by code lengths, which are coded themselves (3.2.7). */
static void block_dynamic(struct stream *s)
{
	static const uint8_t order[LENGTH_CODES_MAX] = { 16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
							 11, 4,  12, 3, 13, 2, 14, 1, 15 };
	uint8_t lengths[LITERALS_MAX + DISTANCES_MAX] = { 0 };
	unsigned int literal_count = get_bits(s, 5) + 257;
	unsigned int distance_count = get_bits(s, 5) + 1;
	unsigned int n = get_bits(s, 4) + 4;
	struct code literals, distances;

	for (unsigned int i = 0; i < n; i++)
		lengths[order[i]] = (uint8_t)get_bits(s, 3);
	if (literal_count > 286 || distance_count > 30 || !make_code(&literals, lengths, LENGTH_CODES_MAX, false)) {
		s->failed = true;
		return;
	}
	memset(lengths, 0, sizeof(lengths));
	n = literal_count + distance_count;
	for (unsigned int i = 0; i < n && !s->failed;) {
		unsigned int symbol = get_symbol(s, &literals), repeat = 1;
		uint8_t value = (uint8_t)symbol;

		if (symbol == 16) {
			s->failed |= i == 0;
			value = i ? lengths[i - 1] : 0;
			repeat = 3 + get_bits(s, 2);
		} else if (symbol > 16) {
			value = 0;
			repeat = symbol == 17 ? 3 + get_bits(s, 3) : 11 + get_bits(s, 7);
		}
		if (repeat > n - i)
			s->failed = true;
		else
			memset(lengths + i, value, repeat);
		i += repeat;
	}
	if (s->failed || !lengths[END_OF_BLOCK] || !make_code(&literals, lengths, literal_count, true) ||
	    !make_code(&distances, lengths + literal_count, distance_count, true)) {
		s->failed = true;
		return;
	}
	block_data(s, &literals, &distances);
}

bool inflate_block(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len)
{
	struct stream s = { .in = in, .in_end = in + in_len, .out = out, .out_len = out_len };
	bool last = false;

	while (!s.failed && s.made < s.out_len && !last) {
		last = get_bits(&s, 1);
		switch (get_bits(&s, 2)) {
		case 0:
			block_stored(&s);
			break;
		case 1:
			block_fixed(&s);
			break;
		case 2:
			block_dynamic(&s);
			break;
		default:
			return false;
		}
	}
	return !s.failed && s.made == s.out_len;
}
