/* SPDX-License-Identifier: Apache-2.0 */
/** The outer archive (docker save, OCI layout in a tar): where each member's bytes are. Helper program only. */
#ifndef MSB_IMAGE_BUNDLE_H
#define MSB_IMAGE_BUNDLE_H

#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"

#define BUNDLE_MEMBERS_MAX 20000
#define BUNDLE_JSON_MAX (16u << 20)

struct member {
	char name[512]; /* without leading ./ */
	char link[256]; /* target of a symbolic or hard link (docker-archive shares layers so), else "" */
	uint64_t offset, size;
};

struct bundle {
	int fd; /* borrowed; seekable */
	struct member *members;
	size_t count;
};

/** bundle_scan() - Read the headers of a plain tar. Source: POSIX.1-2017 pax, ustar; GNU tar manual, long names. */
int bundle_scan(int fd, struct bundle *out, struct error *err);
void bundle_free(struct bundle *a);
/** bundle_find() - A member by name, links followed a few times. NULL when missing. */
const struct member *bundle_find(const struct bundle *a, const char *name);
/** archive_read() - A small member whole. */
int bundle_read(const struct bundle *a, const char *name, struct buf *out, struct error *err);

#endif
