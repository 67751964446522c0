/* SPDX-License-Identifier: Apache-2.0 */
/** Commands of msb-image that put images into the store. */
#ifndef MSB_IMAGE_LOAD_H
#define MSB_IMAGE_LOAD_H

#include "image/add.h"

#define TAGS_MAX 64

struct tags {
	const char *item[TAGS_MAX];
	size_t count;
};

/** load_archive() - Every image of an archive (docker save, OCI layout; plain or gzip). @path: NULL for standard input.
 */
int load_archive(struct adder *a, const char *path, const struct tags *tags, struct error *err);
/** import_tar() - A root file system as an image of one layer. @path: as above; @tags: at least one. */
int import_tar(struct adder *a, const char *path, const struct tags *tags, struct error *err);
/** open_archive() - The file, or standard input spooled to an unlinked file. Return: owned fd, or a negative code. */
int open_archive(const struct adder *a, const char *path, struct error *err);

#endif
