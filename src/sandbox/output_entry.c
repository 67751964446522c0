/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/output_entry.h"

#include "base/json_line.h"
#include "base/macros.h"
#include "base/rfc3339.h"

const char *const output_source_names[OUTPUT_SOURCES] = {
	[OUTPUT_STDOUT] = "stdout", [OUTPUT_STDERR] = "stderr", [OUTPUT_PTY] = "output", [OUTPUT_SYSTEM] = "system"
};

static const char base64_set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** put_base64() - Source: RFC 4648, section 4. */
static void put_base64(struct buf *out, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i += 3) {
		uint32_t v =
			(uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
		char four[4] = { base64_set[v >> 18], base64_set[v >> 12 & 63],
				 i + 1 < n ? base64_set[v >> 6 & 63] : '=', i + 2 < n ? base64_set[v & 63] : '=' };

		buf_append(out, four, 4);
	}
}

/** take_base64() - Append what it stands for. Return: false when it is not whole, or not in its shortest form. */
static bool take_base64(struct buf *out, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i += 4) {
		size_t pads = i + 4 == n ? (size_t)(p[n - 1] == '=') + (p[n - 1] == '=' && p[n - 2] == '=') : 0;
		uint8_t three[3];
		uint32_t v = 0;

		for (size_t j = 0; j < 4 - pads; j++) {
			const char *at = p[i + j] ? strchr(base64_set, p[i + j]) : NULL;

			if (!at)
				return false;
			v |= (uint32_t)(at - base64_set) << (18 - 6 * j);
		}
		three[0] = (uint8_t)(v >> 16);
		three[1] = (uint8_t)(v >> 8);
		three[2] = (uint8_t)v;
		if ((pads > 0 && three[2]) || (pads > 1 && three[1]))
			return false;
		buf_append(out, three, 3 - pads);
	}
	return !out->failed;
}

void output_entry_put(struct buf *out, const struct output_entry *e)
{
	bool text = utf8_valid(e->data, e->size);
	char when[RFC3339_SIZE];

	buf_printf(out, "{\"t\":\"%s\",\"s\":\"%s\",\"d\":\"", rfc3339_text(e->time_ns, when),
		   output_source_names[e->source]);
	if (text)
		json_line_escape(out, e->data, e->size);
	else
		put_base64(out, e->data, e->size);
	buf_printf(out, "\",\"id\":%u%s}\n", e->session, text ? "" : ",\"e\":\"b64\"");
}

/** find_source() - By its name. */
static bool find_source(const struct json_field *f, enum output_source *out)
{
	for (size_t i = 0; i < OUTPUT_SOURCES; i++)
		if (strlen(output_source_names[i]) == f->size &&
		    memcmp(output_source_names[i], f->text, f->size) == 0) {
			*out = (enum output_source)i;
			return true;
		}
	return false;
}

bool output_entry_parse(const uint8_t *line, size_t n, struct buf *text, struct output_entry *e)
{
	struct json_line reading = { .r = reader_init(line, n) };
	struct json_field f, data = { .is_text = false };
	bool time = false, source = false, base64 = false, ok = n <= OUTPUT_LINE_MAX;
	int more = -1;

	*e = (struct output_entry){ .session = 0 };
	text->len = 0;
	while (ok && (more = json_line_next(&reading, &f)) > 0) {
		if (strcmp(f.key, "t") == 0)
			ok = time = f.is_text && rfc3339_parse((const char *)f.text, f.size, &e->time_ns);
		else if (strcmp(f.key, "s") == 0)
			ok = source = f.is_text && find_source(&f, &e->source);
		else if (strcmp(f.key, "d") == 0)
			data = f;
		else if (strcmp(f.key, "e") == 0)
			ok = base64 = f.is_text && f.size == 3 && memcmp(f.text, "b64", 3) == 0;
		else if (strcmp(f.key, "id") == 0) {
			ok = !f.is_text && f.number <= UINT32_MAX;
			e->session = (uint32_t)f.number;
		}
	}
	if (!ok || more < 0 || !time || !source || !data.is_text)
		return false;
	if (base64 ? !(data.size % 4 == 0 && take_base64(text, data.text, data.size))
		   : !json_line_unescape(&data, text))
		return false;
	e->data = text->data;
	e->size = text->len;
	return true;
}
