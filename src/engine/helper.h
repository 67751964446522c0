/* SPDX-License-Identifier: Apache-2.0 */
/** Running the programs that read what strangers made: msb-image, and msb-registry beside it where the network is
 * needed. */
#ifndef MSB_ENGINE_HELPER_H
#define MSB_ENGINE_HELPER_H

#include "engine/engine.h"

#define HELPER_ARGS_MAX 1100

/** A command line under construction; words are borrowed. */
struct helper_line {
	const char *words[HELPER_ARGS_MAX + 1];
	size_t count;
	bool overflow;
};

void helper_add(struct helper_line *line, const char *word);
/** helper_add_each() - "--option word" for each word. */
void helper_add_each(struct helper_line *line, const char *option, const char *const *words, size_t count);

/**
 * helper_run() - Start a program, wait for its end.
 * @beside: NULL, or msb-registry's line: it runs as long, joined to the first by a socket pair (image/fetch.h)
 * @input:  standard input of the first, -1: ours
 *
 * Standard output and error are ours. SIGINT, SIGTERM, SIGHUP and SIGQUIT that arrive meanwhile are handed on and stay
 * pending for the caller when it has them blocked. Return: 0; ERR_CANCELLED when it was interrupted; else a negative
 * code whose text is empty when the program has printed the reason itself.
 */
int helper_run(struct helper_line *line, struct helper_line *beside, int input, struct error *err);

#endif
