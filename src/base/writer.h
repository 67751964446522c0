/* SPDX-License-Identifier: Apache-2.0 */
/** Numbers into bytes; the counterpart of base/reader.h for fixed places. */
#ifndef MSB_BASE_WRITER_H
#define MSB_BASE_WRITER_H

#include <stdint.h>

/** put_le() - The low `bytes` bytes of a number, least significant first. */
static inline void put_le(uint8_t *at, uint64_t value, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

#endif
