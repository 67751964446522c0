/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Growing byte buffer with a mandatory maximum. Appending beyond the maximum, or without memory, sets the sticky
 * flag `failed`; later appends do nothing, so a sequence of appends is checked once at its end. Any owner, one thread.
 */
#ifndef MSB_BASE_BUF_H
#define MSB_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *data; /* owned; NULL while empty */
	size_t len;
	size_t cap;
	size_t max;
	bool failed;
};

#define BUF_INIT(max_bytes) { .max = (max_bytes) }

/** buf_free() - Release the memory; the buffer is empty and usable again. Safe on a zeroed struct. */
void buf_free(struct buf *b);
/** buf_append() - Copy n bytes to the end. Return: false when the buffer failed. */
bool buf_append(struct buf *b, const void *data, size_t n);
/** buf_extend() - Make room for n more bytes and count them. Return: where they start, NULL when failed. */
uint8_t *buf_extend(struct buf *b, size_t n);
bool buf_append_str(struct buf *b, const char *s);
bool buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** buf_cstr() - Terminate with NUL (not counted) and return as a string; NULL when failed. */
char *buf_cstr(struct buf *b);
/** buf_consume() - Drop the first n bytes (n <= len). */
void buf_consume(struct buf *b, size_t n);

#endif
