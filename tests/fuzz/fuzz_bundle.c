// SPDX-License-Identifier: Apache-2.0
// sources: src/image/bundle.c src/base/buf.c src/base/error.c src/base/fd.c src/base/log.c src/base/num.c
/* Fuzz the reader of outer archives. Checksums are made right first, so that the input gets behind them. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "image/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t copy[1 << 16];
	struct error err = ERROR_INIT;
	struct buf out = BUF_INIT(1 << 20);
	struct bundle_watch watch = { 0 };
	struct bundle a;
	size_t cut = size ? data[0] * 3 % (size + 1) : 0;
	bool followed;
	int fd;

	if (size > sizeof(copy))
		return 0;
	memcpy(copy, data, size);
	for (size_t at = 0; at + 512 <= size; at += 512) {
		unsigned int sum = 0;
		char text[8];

		memset(copy + at + 148, ' ', 8);
		for (int i = 0; i < 512; i++)
			sum += copy[at + (size_t)i];
		snprintf(text, sizeof(text), "%06o", sum);
		memcpy(copy + at + 148, text, 7);
	}
	fd = fd_memfd("fuzz-bundle", 0, false);
	if (fd < 0 || fd_write_full(fd, copy, size) < 0)
		abort();
	/* However it arrives, what can be scanned can be followed. */
	followed = bundle_feed(&watch, copy, cut, 1ULL << 40, NULL) == 0 &&
		   bundle_feed(&watch, copy + cut, size - cut, 1ULL << 40, NULL) == 0;
	if (bundle_scan(fd, &a, &err) == 0) {
		if (!followed)
			abort();
		for (size_t i = 0; i < a.count; i++) {
			const struct member *m = &a.members[i];

			if (m->offset > size || m->size > size - m->offset || !memchr(m->name, 0, sizeof(m->name)) ||
			    !memchr(m->link, 0, sizeof(m->link)))
				abort();
		}
		for (size_t i = 0; i < a.count && i < 20; i++, out.len = 0)
			if (bundle_read(&a, a.members[i].name, &out, NULL) == 0 && out.len > size)
				abort();
	} else if (!err.code) {
		abort();
	}
	bundle_free(&a);
	buf_free(&out);
	close(fd);
	return 0;
}
