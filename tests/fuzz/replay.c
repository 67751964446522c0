/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Feeds every file of a corpus to a fuzz target, without a fuzzer: replay FOLDER. What once crashed is in there, so a
 * test of this is a regression test. TAP output. Each input is copied to memory of its exact size first.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"

#define INPUT_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
	DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
	unsigned int count = 0;
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		struct error err = ERROR_INIT;
		struct buf b = BUF_INIT(INPUT_MAX);
		uint8_t *exact;

		if (e->d_name[0] == '.')
			continue;
		fprintf(stderr, "# %s\n", e->d_name);
		if (file_read(dirfd(dir), e->d_name, INPUT_MAX, &b, &err) < 0) {
			printf("Bail out! %s\n", err.text);
			return 1;
		}
		exact = malloc(b.len + !b.len);
		if (!exact)
			return 1;
		if (b.len)
			memcpy(exact, b.data, b.len);
		LLVMFuzzerTestOneInput(exact, b.len);
		free(exact);
		buf_free(&b);
		count++;
	}
	if (dir)
		closedir(dir);
	/* An empty corpus tests nothing. */
	printf("1..1\n%sok 1 - %u inputs\n", count ? "" : "not ", count);
	return count == 0;
}
