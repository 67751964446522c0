/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"

void buf_free(struct buf *b)
{
	free(b->data);
	b->data = NULL;
	b->len = b->cap = 0;
	b->failed = false;
}

/** reserve() - Make cap >= len + n, within max. */
static bool reserve(struct buf *b, size_t n)
{
	size_t want, cap;
	uint8_t *p;

	if (b->failed)
		return false;
	if (__builtin_add_overflow(b->len, n, &want) || want > b->max) {
		b->failed = true;
		return false;
	}
	if (want <= b->cap)
		return true;
	cap = b->cap ? b->cap : 256;
	while (cap < want)
		cap *= 2;
	p = realloc(b->data, cap);
	if (!p) {
		b->failed = true;
		return false;
	}
	b->data = p;
	b->cap = cap;
	return true;
}

uint8_t *buf_extend(struct buf *b, size_t n)
{
	uint8_t *at;

	if (!reserve(b, n))
		return NULL;
	at = b->data + b->len;
	b->len += n;
	return at;
}

bool buf_append(struct buf *b, const void *data, size_t n)
{
	uint8_t *at;

	if (n == 0)
		return !b->failed;
	at = buf_extend(b, n);
	if (!at)
		return false;
	memcpy(at, data, n);
	return true;
}

bool buf_append_str(struct buf *b, const char *s)
{
	return buf_append(b, s, strlen(s));
}

bool buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;
	uint8_t *at;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0) {
		b->failed = true;
		return false;
	}
	/* vsnprintf wants one byte more than it leaves behind. */
	at = buf_extend(b, (size_t)n + 1);
	if (!at)
		return false;
	va_start(ap, fmt);
	vsnprintf((char *)at, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len--;
	return true;
}

char *buf_cstr(struct buf *b)
{
	uint8_t *at = buf_extend(b, 1);

	if (!at)
		return NULL;
	*at = '\0';
	b->len--;
	return (char *)b->data;
}

void buf_consume(struct buf *b, size_t n)
{
	ASSERT(n <= b->len);
	if (n == 0)
		return;
	memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
}
