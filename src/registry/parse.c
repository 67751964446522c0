/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/parse.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/macros.h"
#include "base/num.h"

/** A place in a header's value. */
struct cursor {
	const char *p, *end;
};

/** skip() - Blanks, and with `commas` also list separators. */
static void skip(struct cursor *c, bool commas)
{
	while (c->p < c->end && (*c->p == ' ' || *c->p == '\t' || (commas && *c->p == ',')))
		c->p++;
}

/** is_token_char() - RFC 7230: tchar. */
static bool is_token_char(char ch)
{
	return isalnum((unsigned char)ch) || (ch && strchr("!#$%&'*+-.^_`|~", ch));
}

/** take_token() - Return: its length, 0 when there is none. */
static size_t take_token(struct cursor *c, const char **start)
{
	*start = c->p;
	while (c->p < c->end && is_token_char(*c->p))
		c->p++;
	return (size_t)(c->p - *start);
}

/**
 * take_value() - A token or quoted string into room bytes; what does not fit or holds control characters becomes "".
 */
static void take_value(struct cursor *c, char *out, size_t room)
{
	size_t n = 0;
	bool good = true, quoted = c->p < c->end && *c->p == '"';

	if (quoted)
		c->p++;
	while (c->p < c->end && (quoted ? *c->p != '"' : *c->p != ',' && *c->p != ' ' && *c->p != '\t')) {
		if (quoted && *c->p == '\\' && c->end - c->p > 1)
			c->p++;
		if (n + 1 < room && (unsigned char)*c->p >= 0x20 && *c->p != 0x7f)
			out[n++] = *c->p;
		else
			good = false;
		c->p++;
	}
	if (quoted && c->p < c->end)
		c->p++;
	else if (quoted)
		good = false;
	out[good ? n : 0] = '\0';
}

/** word_is() - Case does not matter. */
static bool word_is(const char *s, size_t n, const char *word)
{
	return n == strlen(word) && strncasecmp(s, word, n) == 0;
}

void challenge_parse(const char *s, size_t n, struct challenge *out)
{
	struct cursor c = { s, s + n };
	bool in_bearer = false;
	char dropped[2];
	const char *word;

	for (skip(&c, true); c.p < c.end; skip(&c, true)) {
		size_t len = take_token(&c, &word);

		if (len == 0) {
			c.p++; /* not the grammar: go on behind it */
			continue;
		}
		skip(&c, false);
		if (c.p < c.end && *c.p == '=') { /* a parameter of the scheme before */
			c.p++;
			skip(&c, false);
			if (in_bearer && word_is(word, len, "realm"))
				take_value(&c, out->realm, sizeof(out->realm));
			else if (in_bearer && word_is(word, len, "service"))
				take_value(&c, out->service, sizeof(out->service));
			else if (in_bearer && word_is(word, len, "scope"))
				take_value(&c, out->scope, sizeof(out->scope));
			else
				take_value(&c, dropped, sizeof(dropped));
			continue;
		}
		in_bearer = word_is(word, len, "bearer");
		out->bearer |= in_bearer;
		out->basic |= word_is(word, len, "basic");
	}
}

/** keep() - A header's value into its room; too long or with control characters: not said. */
static void keep(char *out, size_t room, const char *value, size_t n)
{
	bool good = n < room;

	for (size_t i = 0; i < n; i++)
		good = good && (unsigned char)value[i] >= 0x20 && value[i] != 0x7f;
	if (good)
		memcpy(out, value, n);
	out[good ? n : 0] = '\0';
}

bool answer_header(struct answer *a, const char *line, size_t n)
{
	const char *colon = memchr(line, ':', n), *value;
	size_t name_len, value_len;
	char number[24];

	if (n >= 12 && memcmp(line, "HTTP/", 5) == 0) {
		const char *blank = memchr(line, ' ', n);
		size_t bytes = a->bytes;

		*a = (struct answer){ .length = NOT_SAID, .bytes = bytes };
		for (size_t i = 1; blank && i <= 3 && blank + i < line + n && isdigit((unsigned char)blank[i]); i++)
			a->status = a->status * 10 + (blank[i] - '0');
	}
	a->bytes += n;
	if (a->bytes > HEADERS_BYTES_MAX)
		return false;
	if (!colon)
		return true;
	name_len = (size_t)(colon - line);
	for (value = colon + 1; value < line + n && (*value == ' ' || *value == '\t'); value++)
		;
	value_len = (size_t)(line + n - value);
	while (value_len && strchr(" \t\r\n", value[value_len - 1]))
		value_len--;
	if (word_is(line, name_len, "content-length")) {
		keep(number, sizeof(number), value, value_len);
		if (!num_parse_u64(number, INT64_MAX, &a->length))
			a->length = NOT_SAID;
		a->framed |= a->length != NOT_SAID;
	} else if (word_is(line, name_len, "transfer-encoding")) {
		a->framed = true;
	} else if (word_is(line, name_len, "content-type")) {
		const char *semicolon = memchr(value, ';', value_len);

		keep(a->type, sizeof(a->type), value, semicolon ? (size_t)(semicolon - value) : value_len);
		for (char *p = a->type; *p; p++)
			*p = *p == ' ' ? '\0' : (char)tolower((unsigned char)*p);
	} else if (word_is(line, name_len, "docker-content-digest")) {
		keep(a->digest, sizeof(a->digest), value, value_len);
	} else if (word_is(line, name_len, "content-range")) {
		keep(a->range, sizeof(a->range), value, value_len);
	} else if (word_is(line, name_len, "retry-after")) {
		keep(a->retry_after, sizeof(a->retry_after), value, value_len);
	} else if (word_is(line, name_len, "location")) {
		keep(a->location, sizeof(a->location), value, value_len);
	} else if (word_is(line, name_len, "www-authenticate")) {
		challenge_parse(value, value_len, &a->challenge);
	}
	return true;
}

/** take_number() - Decimal digits, up to 2^63-1. */
static bool take_number(const char **s, uint64_t *out)
{
	char digits[24];
	size_t n = strspn(*s, "0123456789");

	if (n == 0 || n >= sizeof(digits))
		return false;
	memcpy(digits, *s, n);
	digits[n] = '\0';
	*s += n;
	return num_parse_u64(digits, INT64_MAX, out);
}

bool content_range_parse(const char *s, uint64_t *first, uint64_t *last, uint64_t *total)
{
	if (strncasecmp(s, "bytes ", 6) != 0)
		return false;
	s += 6;
	if (!take_number(&s, first) || *s++ != '-' || !take_number(&s, last) || *s++ != '/')
		return false;
	if (strcmp(s, "*") == 0)
		*total = NOT_SAID;
	else if (!take_number(&s, total) || *s || *last >= *total)
		return false;
	return *first <= *last;
}

bool retry_after_parse(const char *s, int64_t now, uint64_t *seconds)
{
	struct tm tm = { 0 };
	const char *end;
	int64_t then;

	if (*s && strspn(s, "0123456789") == strlen(s)) {
		if (!num_parse_u64(s, INT64_MAX, seconds))
			*seconds = INT64_MAX;
		return true;
	}
	end = strptime(s, "%a, %d %b %Y %H:%M:%S GMT", &tm);
	if (!end || *end)
		return false;
	then = timegm(&tm);
	*seconds = then > now ? (uint64_t)(then - now) : 0;
	return true;
}

static const char base64_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

long base64_decode(const char *s, size_t n, uint8_t *out)
{
	uint32_t bits = 0, count = 0;
	long done = 0;

	while (n && s[n - 1] == '=')
		n--;
	for (size_t i = 0; i < n; i++) {
		const char *at = s[i] ? strchr(base64_alphabet, s[i]) : NULL;

		if (!at)
			return -1;
		bits = bits << 6 | (uint32_t)(at - base64_alphabet);
		count += 6;
		if (count >= 8) {
			count -= 8;
			out[done++] = (uint8_t)(bits >> count);
		}
	}
	return count >= 6 ? -1 : done;
}

void base64_encode(const uint8_t *p, size_t n, char *out)
{
	for (size_t i = 0; i < n; i += 3) {
		uint32_t bits =
			(uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0u);

		*out++ = base64_alphabet[bits >> 18];
		*out++ = base64_alphabet[bits >> 12 & 63];
		*out++ = i + 1 < n ? base64_alphabet[bits >> 6 & 63] : '=';
		*out++ = i + 2 < n ? base64_alphabet[bits & 63] : '=';
	}
	*out = '\0';
}

bool host_canonical(const char *typed, char out[256])
{
	static const char *const hub[] = { "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com",
					   "hub.docker.com", "www.docker.io" };
	size_t n;

	if (strncasecmp(typed, "https://", 8) == 0)
		typed += 8;
	else if (strncasecmp(typed, "http://", 7) == 0)
		typed += 7;
	n = strcspn(typed, "/");
	if (n == 0 || n >= 256 || (!isalnum((unsigned char)typed[0]) && typed[0] != '['))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!isalnum((unsigned char)typed[i]) && !strchr(".-_:[]", typed[i]))
			return false;
		out[i] = (char)tolower((unsigned char)typed[i]);
	}
	out[n] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(hub); i++)
		if (strcmp(out, hub[i]) == 0)
			snprintf(out, 256, "docker.io");
	return true;
}

bool host_is_loopback(const char *host)
{
	size_t n = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
	unsigned int part[4];
	char name[64];
	int end = 0;

	if (n >= sizeof(name) || n > strlen(host))
		return false;
	memcpy(name, host, n);
	name[n] = '\0';
	if (strcasecmp(name, "localhost") == 0 || strcmp(name, "[::1]") == 0)
		return true;
	return sscanf(name, "%3u.%3u.%3u.%3u%n", &part[0], &part[1], &part[2], &part[3], &end) == 4 && !name[end] &&
	       part[0] == 127;
}
