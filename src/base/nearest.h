/* SPDX-License-Identifier: Apache-2.0 */
/** What a mistyped word may have meant. */
#ifndef MSB_BASE_NEAREST_H
#define MSB_BASE_NEAREST_H

#include <stddef.h>

#define NEAREST_FAR 99

/** word_distance() - Edits between two words below 64 letters (Levenshtein); NEAREST_FAR for longer ones. */
size_t word_distance(const char *a, const char *b);
/** nearest() - The word of a list closest to what was typed (NULL entries ignored), or NULL when none is close. */
const char *nearest(const char *typed, const char *const *words, size_t count);

#endif
