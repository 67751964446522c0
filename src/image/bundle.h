/* SPDX-License-Identifier: Apache-2.0 */
/** The outer archive (docker save, OCI layout in a tar): where each member's bytes are. Helper program only. */
#ifndef MSB_IMAGE_BUNDLE_H
#define MSB_IMAGE_BUNDLE_H

#include <stdbool.h>
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

/** A look at a tar while it streams by, so that what is none, or has no end, is not stored first. Starts zeroed. */
struct bundle_watch {
	uint8_t header[512];
	size_t have;	       /* bytes of the header */
	uint64_t at, skip;     /* bytes seen; bytes of the member that are still to come */
	bool ended;	       /* the zero block at the end was seen */
};

/** bundle_feed() - The next bytes. Return: 0; ERR_INVALID: no tar; ERR_LIMIT: a member that ends beyond max. */
int bundle_feed(struct bundle_watch *w, const uint8_t *p, size_t n, uint64_t max, struct error *err);

/** bundle_scan() - Read the headers of a plain tar. Source: POSIX.1-2017 pax, ustar; GNU tar manual, long names. */
int bundle_scan(int fd, struct bundle *out, struct error *err);
void bundle_free(struct bundle *a);
/** bundle_find() - A member by name, links followed a few times. NULL when missing. */
const struct member *bundle_find(const struct bundle *a, const char *name);
/** archive_read() - A small member whole. */
int bundle_read(const struct bundle *a, const char *name, struct buf *out, struct error *err);

#endif
