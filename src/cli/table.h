/* SPDX-License-Identifier: Apache-2.0 */
/** A table whose columns are as wide as they must be; the last is not padded. contract 1.1 */
#ifndef MSB_CLI_TABLE_H
#define MSB_CLI_TABLE_H

#include <stddef.h>

#include "base/buf.h"

#define CELLS_MAX 8
#define CELL_MAX 200

/** Begin with { .columns = ... } of at most CELLS_MAX. */
struct table {
	size_t columns, rows, room;
	char (*cells)[CELL_MAX];
};

/** table_row() - One more; words are copied, control characters become '?'. */
void table_row(struct table *t, const char *const *words);
/** table_render() - Append its lines, and free it. */
void table_render(struct table *t, struct buf *out);
/** table_print() - To standard output, and free it. */
void table_print(struct table *t);
/** characters() - Of UTF-8: what a terminal shows. */
size_t characters(const char *text);

#endif
