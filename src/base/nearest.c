/* SPDX-License-Identifier: Apache-2.0 */
#include "base/nearest.h"

#include <string.h>

#include "base/macros.h"

size_t word_distance(const char *a, const char *b)
{
	size_t row[64], n = strlen(b);

	if (n >= ARRAY_LEN(row) || strlen(a) >= ARRAY_LEN(row))
		return NEAREST_FAR;
	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t before = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			size_t up = row[j];

			row[j] = MIN(MIN(row[j] + 1, row[j - 1] + 1), before + (a[i - 1] != b[j - 1]));
			before = up;
		}
	}
	return row[n];
}

const char *nearest(const char *typed, const char *const *words, size_t count)
{
	const char *best = NULL;
	size_t best_distance = 3;

	for (size_t i = 0; i < count; i++) {
		size_t d = words[i] ? word_distance(typed, words[i]) : NEAREST_FAR;

		if (d < best_distance) {
			best_distance = d;
			best = words[i];
		}
	}
	return best;
}
