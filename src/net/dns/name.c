/* SPDX-License-Identifier: Apache-2.0 */
/* Names: text, comparison. */
#include "net/dns/name.h"

#include <string.h>

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/** unescape() - The byte behind a backslash. Return: characters used, or 0. */
static unsigned int unescape(const char *at, uint8_t *c)
{
	unsigned int value;

	if (!is_digit(at[0])) {
		*c = (uint8_t)at[0];
		return at[0] ? 1 : 0;
	}
	if (!is_digit(at[1]) || !is_digit(at[2]))
		return 0;
	value = (unsigned int)((at[0] - '0') * 100 + (at[1] - '0') * 10 + (at[2] - '0'));
	*c = (uint8_t)value;
	return value <= 255 ? 3 : 0;
}

bool dns_name_from_text(struct dns_name *name, const char *text)
{
	size_t start = 0, at = 1; /* of the label that is being written: its length byte, its next byte */

	if (strcmp(text, ".") == 0)
		text = "";
	while (*text) {
		uint8_t c = (uint8_t)*text++;

		if (c == '.') {
			/* An empty label, or a name without room for its end. */
			if (at == start + 1 || at >= DNS_NAME_MAX)
				return false;
			name->b[start] = (uint8_t)(at - start - 1);
			start = at++;
			continue;
		}
		if (c == '\\') {
			unsigned int used = unescape(text, &c);

			if (used == 0)
				return false;
			text += used;
		}
		if (at - start > DNS_LABEL_MAX || at >= DNS_NAME_MAX)
			return false;
		name->b[at++] = lower(c);
	}
	if (at > start + 1) {
		if (at >= DNS_NAME_MAX)
			return false;
		name->b[start] = (uint8_t)(at - start - 1);
		start = at;
	}
	name->b[start] = 0;
	name->length = (uint8_t)(start + 1);
	return true;
}

void dns_name_to_text(const struct dns_name *name, char *to)
{
	for (size_t at = 0; at < name->length && name->b[at];) {
		unsigned int n = name->b[at++];

		for (; n > 0; n--, at++) {
			uint8_t c = lower(name->b[at]);

			if (c == '.' || c == '\\') {
				*to++ = '\\';
				*to++ = (char)c;
			} else if (c > ' ' && c <= '~') {
				*to++ = (char)c;
			} else {
				*to++ = '\\';
				*to++ = (char)('0' + c / 100);
				*to++ = (char)('0' + c / 10 % 10);
				*to++ = (char)('0' + c % 10);
			}
		}
		if (name->b[at])
			*to++ = '.';
	}
	*to = '\0';
}

void dns_name_lower(struct dns_name *name)
{
	for (size_t i = 0; i < name->length; i++)
		name->b[i] = lower(name->b[i]);
}

bool dns_bytes_equal(const uint8_t *a, const uint8_t *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (lower(a[i]) != lower(b[i]))
			return false;
	return true;
}

bool dns_name_equal(const struct dns_name *a, const struct dns_name *b)
{
	return a->length == b->length && dns_bytes_equal(a->b, b->b, a->length);
}

bool dns_name_within(const struct dns_name *name, const struct dns_name *suffix)
{
	for (size_t at = 0; at < name->length; at += 1U + name->b[at])
		if (name->length - at == suffix->length)
			return dns_bytes_equal(name->b + at, suffix->b, suffix->length);
	return false;
}

uint32_t dns_name_hash(const struct dns_name *name)
{
	uint32_t hash = 2166136261U; /* FNV-1a */

	for (size_t i = 0; i < name->length; i++)
		hash = (hash ^ name->b[i]) * 16777619U;
	return hash;
}
