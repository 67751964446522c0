/* SPDX-License-Identifier: Apache-2.0 */
/** DEFLATE, decoding only, from one block of memory into another: compressed clusters of disk images. */
#ifndef MSB_DISK_INFLATE_H
#define MSB_DISK_INFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * inflate_block() - Decode a raw DEFLATE stream (no zlib header) until out is full.
 * Needs 16 KiB of stack, no other memory; work is bounded by in_len and out_len.
 * Return: true when all out_len bytes were made; the stream may go on after them, as may the input.
 * Source: RFC 1951.
 */
bool inflate_block(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len);

#endif
