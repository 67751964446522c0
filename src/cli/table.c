/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/macros.h"

size_t characters(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

void table_row(struct table *t, const char *const *words)
{
	if (t->rows == t->room) {
		size_t room = t->room ? 2 * t->room : 64;
		char(*grown)[CELL_MAX] = realloc(t->cells, room * t->columns * CELL_MAX);

		if (!grown)
			return;
		t->cells = grown;
		t->room = room;
	}
	for (size_t i = 0; i < t->columns; i++) {
		char *cell = t->cells[t->rows * t->columns + i];

		snprintf(cell, CELL_MAX, "%s", words[i]);
		for (; *cell; cell++)
			if ((unsigned char)*cell < 0x20 || *cell == 0x7f)
				*cell = '?';
	}
	t->rows++;
}

void table_render(struct table *t, struct buf *out)
{
	size_t width[CELLS_MAX] = { 0 };

	for (size_t i = 0; i < t->rows * t->columns; i++)
		width[i % t->columns] = MAX(width[i % t->columns], characters(t->cells[i]));
	for (size_t i = 0; i < t->rows * t->columns; i++) {
		size_t column = i % t->columns;
		int pad = (int)(width[column] + 4 - characters(t->cells[i]));

		if (column + 1 == t->columns)
			buf_printf(out, "%s\n", t->cells[i]);
		else
			buf_printf(out, "%s%*s", t->cells[i], pad, "");
	}
	free(t->cells);
	*t = (struct table){ .columns = t->columns };
}

void table_print(struct table *t)
{
	struct buf out = BUF_INIT(SIZE_MAX);

	table_render(t, &out);
	fwrite(out.data, 1, out.len, stdout);
	buf_free(&out);
}
