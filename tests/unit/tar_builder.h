/* SPDX-License-Identifier: Apache-2.0 */
/** Tars made header by header, for tests of what reads them. Include behind cmocka.h. */
#ifndef MSB_TESTS_TAR_BUILDER_H
#define MSB_TESTS_TAR_BUILDER_H

#include <stdio.h>
#include <string.h>

#include "base/buf.h"

#define USTAR_MAGIC "ustar\0" "00"
#define GNU_MAGIC "ustar  \0"

/** tar_octal() - A number as most programs write it. */
static inline void tar_octal(uint8_t *at, int width, uint64_t v)
{
	char text[32];

	snprintf(text, sizeof(text), "%0*llo", width - 1, (unsigned long long)v);
	memcpy(at, text, (size_t)width);
}

/** tar_start() - A header with everything but the checksum: 0644, root's, time 0. @magic: NULL for V7 */
static inline void tar_start(uint8_t h[512], const char *name, char type, uint64_t size, const char *magic)
{
	memset(h, 0, 512);
	memcpy(h, name, strnlen(name, 100));
	tar_octal(h + 100, 8, 0644);
	tar_octal(h + 108, 8, 0);
	tar_octal(h + 116, 8, 0);
	tar_octal(h + 124, 12, size);
	tar_octal(h + 136, 12, 0);
	h[156] = (uint8_t)type;
	if (magic)
		memcpy(h + 257, magic, 8);
}

/** tar_seal() - The checksum. */
static inline void tar_seal(uint8_t h[512])
{
	unsigned int sum = 0;

	memset(h + 148, ' ', 8);
	for (int i = 0; i < 512; i++)
		sum += h[i];
	tar_octal(h + 148, 7, sum);
}

static inline void tar_pad(struct buf *b)
{
	uint8_t *at = buf_extend(b, -b->len % 512);

	assert_true(at || b->len % 512 == 0);
	if (at)
		memset(at, 0, (size_t)(b->data + b->len - at));
}

/** tar_put() - A header, sealed here, and its body in whole blocks. */
static inline void tar_put(struct buf *b, uint8_t h[512], const void *body, size_t n)
{
	tar_seal(h);
	assert_true(buf_append(b, h, 512) && buf_append(b, body, n));
	tar_pad(b);
}

/** tar_simple() - An entry in one call. */
static inline void tar_simple(struct buf *b, const char *name, char type, const char *link, const void *body, size_t n)
{
	uint8_t h[512];

	tar_start(h, name, type, n, USTAR_MAGIC);
	memcpy(h + 157, link, strnlen(link, 100));
	tar_put(b, h, body, n);
}

/** tar_record() - A pax record, with its own length in front. */
static inline void tar_record(struct buf *b, const char *key, const void *value, size_t n)
{
	size_t rest = strlen(key) + n + 3, len = rest + 1;

	while (len != rest + (size_t)snprintf(NULL, 0, "%zu", len))
		len = rest + (size_t)snprintf(NULL, 0, "%zu", len);
	assert_true(buf_printf(b, "%zu %s=", len, key) && buf_append(b, value, n) && buf_append(b, "\n", 1));
}

static inline void tar_text_record(struct buf *b, const char *key, const char *value)
{
	tar_record(b, key, value, strlen(value));
}

/** tar_special() - A pax header ('x', 'g') or a long name ('L', 'K') of these bytes. */
static inline void tar_special(struct buf *b, char type, const void *body, size_t n)
{
	uint8_t h[512];

	tar_start(h, "special", type, n, type == 'L' || type == 'K' ? GNU_MAGIC : USTAR_MAGIC);
	tar_put(b, h, body, n);
}

/** tar_pax() - A pax header of one record. */
static inline void tar_pax(struct buf *b, const char *key, const char *value)
{
	struct buf body = BUF_INIT(1 << 20);

	tar_text_record(&body, key, value);
	tar_special(b, 'x', body.data, body.len);
	buf_free(&body);
}

static inline void tar_end(struct buf *b)
{
	static const uint8_t zeros[1024];

	assert_true(buf_append(b, zeros, sizeof(zeros)));
}

#endif
