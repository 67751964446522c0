/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Where the time of a run goes, for the benchmark: with MSB_TIMELINE=FILE in the environment each process of a
 * sandbox appends lines "NANOSECONDS NAME" (CLOCK_MONOTONIC) to FILE. Otherwise a mark costs one comparison.
 */
#ifndef MSB_BASE_TIMELINE_H
#define MSB_BASE_TIMELINE_H

#include <stdint.h>

/** timeline_open() - Once, at the start of the program and before threads; forked children share the file. */
void timeline_open(void);
/** timeline_fd() - The file, to be kept open over a fork; -1 without MSB_TIMELINE. */
int timeline_fd(void);
/** timeline_mark() - One line, now. Any thread. */
void timeline_mark(const char *name);
/** timeline_mark_at() - One line for a moment that was measured elsewhere. */
void timeline_mark_at(const char *name, int64_t monotonic_ns);

#endif
