/* SPDX-License-Identifier: Apache-2.0 */
#include "base/num.h"

/** parse_digits() - Digits of the base up to the end of the string. */
static bool parse_digits(const char *s, unsigned int base, uint64_t max, uint64_t *out)
{
	uint64_t value = 0;

	if (!*s)
		return false;
	for (; *s; s++) {
		unsigned int digit = (unsigned int)(*s - '0');

		if (*s < '0' || digit >= base)
			return false;
		if (__builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, digit, &value) ||
		    value > max)
			return false;
	}
	*out = value;
	return true;
}

bool num_parse_u64(const char *s, uint64_t max, uint64_t *out)
{
	return parse_digits(s, 10, max, out);
}

bool num_parse_octal(const char *s, uint64_t max, uint64_t *out)
{
	return parse_digits(s, 8, max, out);
}
