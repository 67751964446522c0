/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/boot_error.h"

#include <limits.h>

#include "base/fd.h"
#include "base/json_line.h"
#include "base/rfc3339.h"

int boot_error_write(int dir_fd, const struct boot_error *e, struct error *err)
{
	struct buf text = BUF_INIT(BOOT_ERROR_BYTES_MAX);
	char when[RFC3339_SIZE], message[sizeof(e->message)];
	bool utf8 = utf8_valid(e->message, strlen(e->message));
	int rc;

	for (size_t i = 0; i < sizeof(message); i++)
		message[i] = !utf8 && (e->message[i] & 0x80) ? '?' : e->message[i];
	buf_printf(&text, "{\"t\":\"%s\",\"stage\":\"%s\",\"errno\":%u,\"message\":\"", rfc3339_text(e->time_ns, when),
		   e->stage, (unsigned int)e->sys_errno);
	json_line_escape(&text, message, strlen(message));
	buf_append_str(&text, "\"}\n");
	rc = text.failed ? err_set(err, ERR_NO_MEMORY, 0, "out of memory")
			 : file_write_atomic(dir_fd, BOOT_ERROR_FILE, text.data, text.len, 0600, err);
	buf_free(&text);
	return rc;
}

/** copy_text() - A field into an array; cut, between characters. */
static bool copy_text(const struct json_field *f, char *to, size_t size)
{
	struct buf text = BUF_INIT(BOOT_ERROR_BYTES_MAX);
	bool ok = f->is_text && json_line_unescape(f, &text) && buf_cstr(&text);
	size_t n = MIN(text.len, size - 1);

	if (ok) {
		while (n && !utf8_valid(text.data, n))
			n--;
		memcpy(to, text.data, n);
		to[n] = '\0';
	}
	buf_free(&text);
	return ok;
}

bool boot_error_parse(const void *text, size_t n, struct boot_error *out)
{
	struct json_line line = { .r = reader_init(text, n && ((const char *)text)[n - 1] == '\n' ? n - 1 : n) };
	bool ok = n <= BOOT_ERROR_BYTES_MAX, time = false;
	struct json_field f;
	int more = -1;

	*out = (struct boot_error){ .time_ns = 0 };
	while (ok && (more = json_line_next(&line, &f)) > 0) {
		if (strcmp(f.key, "t") == 0)
			ok = time = f.is_text && rfc3339_parse((const char *)f.text, f.size, &out->time_ns);
		else if (strcmp(f.key, "stage") == 0)
			ok = copy_text(&f, out->stage, sizeof(out->stage));
		else if (strcmp(f.key, "message") == 0)
			ok = copy_text(&f, out->message, sizeof(out->message));
		else if (strcmp(f.key, "errno") == 0) {
			ok = !f.is_text && f.number <= INT_MAX;
			out->sys_errno = (int)f.number;
		}
	}
	return ok && more == 0 && time && out->stage[0] && out->message[0];
}
