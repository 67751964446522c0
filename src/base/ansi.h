/* SPDX-License-Identifier: Apache-2.0 */
/** Text without the escape sequences that a terminal acts on. Source: ECMA-48, 5.4 and 5.6; xterm's ctlseqs. */
#ifndef MSB_BASE_ANSI_H
#define MSB_BASE_ANSI_H

#include <stddef.h>
#include <stdint.h>

/** Where in a sequence a stream is, since it may go on in the next piece; zero: in none. */
struct ansi {
	int state;
};

/**
 * ansi_strip() - Copy without sequences that begin with ESC; other characters are left alone. One that does not end
 * ends with its line. @to: room for n bytes; may be @from. Return: bytes that are left.
 */
size_t ansi_strip(struct ansi *a, const void *from, size_t n, void *to);

#endif
