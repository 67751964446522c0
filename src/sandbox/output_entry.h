/* SPDX-License-Identifier: Apache-2.0 */
/**
 * One entry of logs/output.log (output_log.h): written, and read again. Who reads takes the file for hostile: a line is
 * at most OUTPUT_LINE_MAX bytes, as is the memory that one takes, and what is not exactly an entry is none.
 */
#ifndef MSB_SANDBOX_OUTPUT_ENTRY_H
#define MSB_SANDBOX_OUTPUT_ENTRY_H

#include "base/buf.h"

#define OUTPUT_DATA_MAX (16u << 10)  /* of one entry; longer lines are several */
#define OUTPUT_LINE_MAX (128u << 10) /* six bytes for one, at most, and the rest of the line */

enum output_source { OUTPUT_STDOUT, OUTPUT_STDERR, OUTPUT_PTY, OUTPUT_SYSTEM, OUTPUT_SOURCES };

extern const char *const output_source_names[OUTPUT_SOURCES];

struct output_entry {
	int64_t time_ns; /* CLOCK_REALTIME */
	enum output_source source;
	uint32_t session; /* 0: none */
	const uint8_t *data;
	size_t size;
};

/** output_entry_put() - Append its line. */
void output_entry_put(struct buf *out, const struct output_entry *e);
/**
 * output_entry_parse() - @line: without its end. @text: takes what e->data points to, until the next call
 * Unknown keys are passed over. Return: false when it is no entry.
 */
bool output_entry_parse(const uint8_t *line, size_t n, struct buf *text, struct output_entry *e);

#endif
