/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The subset of CBOR that messages use: unsigned integers, byte strings, booleans, definite arrays and maps, in the
 * shortest form. Anything else makes the reader fail. No allocation. Source: RFC 8949, 3 and 4.2.1.
 */
#ifndef MSB_PROTO_CBOR_H
#define MSB_PROTO_CBOR_H

#include "base/buf.h"
#include "base/reader.h"

#define CBOR_DEPTH_MAX 4 /* of values that are skipped */

enum cbor_major { CBOR_UINT = 0, CBOR_BYTES = 2, CBOR_ARRAY = 4, CBOR_MAP = 5, CBOR_SIMPLE = 7 };

bool cbor_put_head(struct buf *out, enum cbor_major major, uint64_t value);
bool cbor_put_bool(struct buf *out, bool value);
/** cbor_put_string() - A NUL-terminated string as a byte string that includes its NUL. */
bool cbor_put_string(struct buf *out, const char *s);

/** cbor_head() - Value (integer, length, count) of the next item's head. Another major type fails the reader. */
uint64_t cbor_head(struct reader *r, enum cbor_major major);
bool cbor_bool(struct reader *r);
/** cbor_string() - A byte string that ends with its only NUL; points into the input. NULL when the reader failed. */
const char *cbor_string(struct reader *r);
/** cbor_skip() - Pass over one value of any kind in the subset. */
void cbor_skip(struct reader *r);

#endif
