/* SPDX-License-Identifier: Apache-2.0 */
/** Numbers from text, strictly: whole string, no sign or blank, no silent overflow. */
#ifndef MSB_BASE_NUM_H
#define MSB_BASE_NUM_H

#include <stdbool.h>
#include <stdint.h>

/** num_parse_u64() - Decimal digits only. Return: false when not a number or above max. */
bool num_parse_u64(const char *s, uint64_t max, uint64_t *out);
/** num_parse_octal() - Octal digits only. */
bool num_parse_octal(const char *s, uint64_t max, uint64_t *out);

#endif
