/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Flat JSON objects as programs of ours write them into logs, one a line: {"key":"text","key":12}, without blanks,
 * keys of at most 15 plain characters, values that are strings or whole numbers. Read strictly: whatever else is not
 * one. The reader needs no memory of its own. Source: RFC 8259.
 */
#ifndef MSB_BASE_JSON_LINE_H
#define MSB_BASE_JSON_LINE_H

#include "base/buf.h"
#include "base/reader.h"

#define JSON_KEY_MAX 15

struct json_field {
	char key[JSON_KEY_MAX + 1];
	bool is_text;
	const uint8_t *text; /* between the quotes, escapes in it; borrowed from the line */
	size_t size;
	uint64_t number;
};

/** A line that is being read: { .r = reader_init(line, n) }, without its end. */
struct json_line {
	struct reader r;
	bool begun;
};

/** json_line_next() - Return: 1: *f is the next field, 0: there are no more, -1: malformed. */
int json_line_next(struct json_line *line, struct json_field *f);
/** json_line_unescape() - Append the text of a field as UTF-8. Return: false when it is not well-formed. */
bool json_line_unescape(const struct json_field *f, struct buf *out);
/** json_line_escape() - Append UTF-8 text as it stands between quotes. */
void json_line_escape(struct buf *out, const void *text, size_t n);

/** utf8_valid() - Is all of it? Source: RFC 3629, section 4. */
bool utf8_valid(const void *text, size_t n);

#endif
