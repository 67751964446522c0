/* SPDX-License-Identifier: Apache-2.0 */
#include "base/ansi.h"

#include <stdbool.h>
#include <string.h>

#define ESC 0x1b

enum state {
	TEXT,
	ESCAPE,	    /* behind ESC */
	PARAMETERS, /* ESC [ ... up to a byte from @ to ~ */
	STRING,	    /* ESC ] and the like, up to BEL or ESC \ */
	STRING_ESCAPE,
};

/** next() - The state behind c. @keep: is it text? */
static enum state next(enum state state, uint8_t c, bool *keep)
{
	*keep = false;
	if (c == ESC)
		return state == STRING || state == STRING_ESCAPE ? STRING_ESCAPE : ESCAPE;
	switch (state) {
	case TEXT:
		break;
	case ESCAPE:
		if (c == '[')
			return PARAMETERS;
		if (c && strchr("]PX^_", c))
			return STRING;
		if (c >= 0x20 && c < 0x7f)
			return c < 0x30 ? ESCAPE : TEXT;
		break;
	case PARAMETERS:
		if (c >= 0x20 && c < 0x7f)
			return c < 0x40 ? PARAMETERS : TEXT;
		break;
	case STRING:
		if (c == 0x07)
			return TEXT;
		if (c != '\n')
			return STRING;
		break;
	case STRING_ESCAPE: /* whatever follows: the string is over */
		return next(ESCAPE, c, keep);
	}
	*keep = true;
	return TEXT;
}

size_t ansi_strip(struct ansi *a, const void *from, size_t n, void *to)
{
	const uint8_t *p = from;
	uint8_t *out = to;
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		bool keep;

		a->state = next((enum state)a->state, p[i], &keep);
		if (keep)
			out[len++] = p[i];
	}
	return len;
}
