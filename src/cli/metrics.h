/* SPDX-License-Identifier: Apache-2.0 */
/** What metrics.c and metrics_watch.c share. */
#ifndef MSB_CLI_METRICS_H
#define MSB_CLI_METRICS_H

#include "cli/cli.h"
#include "cli/table.h"
#include "engine/metrics.h"

/** What was asked for. */
struct metrics_query {
	struct engine_paths paths;
	const char *name; /* NULL: all */
	bool all;
	const char *sort;
	int interval_ms;
};

/** metrics_sample() - The next sample, with its rates since the last one, which it takes the place of. */
int metrics_sample(const struct metrics_query *q, struct metrics **rows, size_t *count, struct error *err);
/** metrics_sorted() - Owned array of pointers to the rows, as --sort says; NULL without memory. */
const struct metrics **metrics_sorted(const struct metrics_query *q, const struct metrics *rows, size_t count);
/** metrics_head(), metrics_line() - Of the table. @cpu_line, @memory_line: in front of the numbers; "": nothing */
void metrics_head(struct table *t);
void metrics_line(struct table *t, const struct metrics *m, const char *cpu_line, const char *memory_line);
/** metrics_watch() - A table that is drawn again and again, until Ctrl-C or q. Return: exit status. */
int metrics_watch(const struct metrics_query *q);

#endif
