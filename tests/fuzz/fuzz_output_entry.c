// SPDX-License-Identifier: Apache-2.0
// sources: src/sandbox/output_entry.c src/sandbox/boot_error.c src/base/json_line.c src/base/rfc3339.c src/base/ansi.c
// sources: src/base/buf.c src/base/error.c src/base/fd.c src/base/log.c
/*
 * A line of a sandbox's log: what is taken for an entry is written and read again as the same one. The input also as a
 * boot error, and as text with escape sequences: in pieces they are found as in one.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/ansi.h"
#include "sandbox/boot_error.h"
#include "sandbox/output_entry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** check_again() - The entry as this program would have written it. Its time is kept to microseconds. */
static void check_again(const struct output_entry *e)
{
	struct buf line = BUF_INIT(2 * OUTPUT_LINE_MAX), text = BUF_INIT(OUTPUT_LINE_MAX);
	struct output_entry again;

	output_entry_put(&line, e);
	if (!line.failed && line.len - 1 <= OUTPUT_LINE_MAX) {
		if (!output_entry_parse(line.data, line.len - 1, &text, &again) || again.source != e->source ||
		    again.session != e->session || again.size != e->size || again.time_ns / 1000 != e->time_ns / 1000 ||
		    (e->size && memcmp(again.data, e->data, e->size) != 0))
			abort();
	}
	buf_free(&line);
	buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t whole[OUTPUT_LINE_MAX], parts[OUTPUT_LINE_MAX];
	struct buf text = BUF_INIT(OUTPUT_LINE_MAX);
	struct ansi a = { 0 }, b = { 0 };
	struct boot_error failed;
	struct output_entry e;
	size_t n, done = 0;

	if (size > OUTPUT_LINE_MAX)
		return 0;
	if (output_entry_parse(data, size, &text, &e)) {
		if (e.size > size || e.source >= OUTPUT_SOURCES)
			abort();
		check_again(&e);
	}
	if (boot_error_parse(data, size, &failed) && (strlen(failed.stage) >= sizeof(failed.stage) ||
						       strlen(failed.message) >= sizeof(failed.message)))
		abort();
	n = ansi_strip(&a, data, size, whole);
	for (size_t i = 0; i < size; i++)
		done += ansi_strip(&b, data + i, 1, parts + done);
	if (done != n || (n && memcmp(whole, parts, n) != 0) || memchr(whole, '\033', n))
		abort();
	buf_free(&text);
	return 0;
}
