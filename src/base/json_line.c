/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json_line.h"

/** utf8_length() - Bytes of the valid sequence at p; 0: none. */
static size_t utf8_length(const uint8_t *p, size_t n)
{
	size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;

	if (len == 0 || len > n)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
	    (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return len;
}

bool utf8_valid(const void *text, size_t n)
{
	const uint8_t *p = text;

	for (size_t at = 0, len; at < n; at += len) {
		len = utf8_length(p + at, n - at);
		if (!len)
			return false;
	}
	return true;
}

/** take_string() - Behind its opening quote, to behind its closing one. *size: what is between. */
static const uint8_t *take_string(struct reader *r, size_t *size)
{
	const uint8_t *from = r->p;

	for (*size = 0;; ++*size) {
		uint8_t c = reader_u8(r);

		if (c < 0x20)
			return NULL; /* none stands in a string; also the end of the line */
		if (c == '"')
			return from;
		if (c == '\\') {
			++*size;
			reader_u8(r);
		}
	}
}

/** take_number() - A whole one without a sign. */
static bool take_number(struct reader *r, uint64_t *out)
{
	const uint8_t *from = r->p;

	*out = 0;
	while (!r->failed && r->left && r->p[0] >= '0' && r->p[0] <= '9')
		if (__builtin_mul_overflow(*out, 10u, out) ||
		    __builtin_add_overflow(*out, (uint64_t)(reader_u8(r) - '0'), out))
			return false;
	return r->p - from == 1 || (r->p > from && from[0] != '0');
}

int json_line_next(struct json_line *line, struct json_field *f)
{
	struct reader *r = &line->r;
	uint8_t c = reader_u8(r);
	const uint8_t *key;
	size_t n;

	if (line->begun && c == '}')
		return r->left ? -1 : 0;
	if (c != (line->begun ? ',' : '{') || reader_u8(r) != '"')
		return -1;
	line->begun = true;
	key = take_string(r, &n);
	if (!key || n == 0 || n > JSON_KEY_MAX || memchr(key, '\\', n) || reader_u8(r) != ':')
		return -1;
	memcpy(f->key, key, n);
	f->key[n] = '\0';
	f->is_text = r->left && r->p[0] == '"';
	if (!f->is_text)
		return take_number(r, &f->number) && r->left ? 1 : -1;
	reader_u8(r);
	f->text = take_string(r, &f->size);
	return f->text && r->left ? 1 : -1;
}

/** take_hex() - Four digits. */
static uint32_t take_hex(struct reader *r)
{
	uint32_t v = 0;

	for (int i = 0; i < 4; i++) {
		uint8_t c = reader_u8(r);

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint32_t)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			v = v << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
		else
			r->failed = true;
	}
	return v;
}

/** put_utf8() - One character. */
static void put_utf8(struct buf *out, uint32_t c)
{
	uint8_t b[4] = { (uint8_t)c };
	size_t n = 1;

	if (c >= 0x10000) {
		b[0] = (uint8_t)(0xf0 | c >> 18);
		b[1] = (uint8_t)(0x80 | (c >> 12 & 63));
		b[2] = (uint8_t)(0x80 | (c >> 6 & 63));
		n = 4;
	} else if (c >= 0x800) {
		b[0] = (uint8_t)(0xe0 | c >> 12);
		b[1] = (uint8_t)(0x80 | (c >> 6 & 63));
		n = 3;
	} else if (c >= 0x80) {
		b[0] = (uint8_t)(0xc0 | c >> 6);
		n = 2;
	}
	if (n > 1)
		b[n - 1] = (uint8_t)(0x80 | (c & 63));
	buf_append(out, b, n);
}

/** take_escaped() - \uXXXX, behind the u: two of them for what is beyond 16 bits. */
static void take_escaped(struct reader *r, struct buf *out)
{
	uint32_t c = take_hex(r);

	if (c >= 0xd800 && c < 0xe000) {
		uint32_t low = c < 0xdc00 && reader_u8(r) == '\\' && reader_u8(r) == 'u' ? take_hex(r) : 0;

		if (low < 0xdc00 || low >= 0xe000)
			r->failed = true;
		c = 0x10000 + ((c & 0x3ff) << 10 | (low & 0x3ff));
	}
	if (!r->failed)
		put_utf8(out, c);
}

bool json_line_unescape(const struct json_field *f, struct buf *out)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	struct reader r = reader_init(f->text, f->size);

	while (r.left && !r.failed) {
		const uint8_t *escape = memchr(r.p, '\\', r.left);
		size_t plain = escape ? (size_t)(escape - r.p) : r.left;
		const char *at;
		uint8_t c;

		if (!utf8_valid(r.p, plain))
			return false;
		buf_append(out, reader_bytes(&r, plain), plain);
		if (!escape)
			break;
		reader_u8(&r);
		c = reader_u8(&r);
		at = c ? strchr(from, c) : NULL;
		if (at)
			buf_append(out, &to[at - from], 1);
		else if (c == 'u')
			take_escaped(&r, out);
		else
			return false;
	}
	return !r.failed && !out->failed;
}

void json_line_escape(struct buf *out, const void *text, size_t n)
{
	const uint8_t *p = text;
	size_t plain = 0;

	if (n == 0)
		return;
	for (size_t i = 0; i < n; i++) {
		if (p[i] >= 0x20 && p[i] != '"' && p[i] != '\\' && p[i] != 0x7f)
			continue;
		buf_append(out, p + plain, i - plain);
		plain = i + 1;
		if (p[i] == '\n')
			buf_append_str(out, "\\n");
		else if (p[i] == '"' || p[i] == '\\')
			buf_printf(out, "\\%c", p[i]);
		else
			buf_printf(out, "\\u%04x", p[i]);
	}
	buf_append(out, p + plain, n - plain);
}
