/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The image store as the rest of msb sees it: find an image, list, remove, open its root file system. Reading it
 * needs no JSON, no digest library and no helper: `msb load` (program msb-image) leaves compact records behind.
 */
#ifndef MSB_IMAGE_STORE_H
#define MSB_IMAGE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "disk/disk.h"
#include "image/reference.h"

#define IMAGE_LAYERS_MAX 256
#define IMAGE_STRINGS_MAX 1024 /* env entries, words of entrypoint or cmd, labels */

struct image_strings {
	uint32_t count;
	char **item; /* owned, NUL-terminated */
};

/** One cached image, everything owned; made by image_store_find() or image_store_list(). */
struct image {
	char reference[REFERENCE_MAX]; /* normalised: docker.io/library/python:3.12 */
	char digest[8 + DIGEST_HEX];   /* manifest digest, "sha256:..." */
	uint64_t size_bytes;	       /* sum of unpacked layers */
	int64_t created_s;	       /* image's own creation time, UNIX seconds; 0: unknown */
	char os[32], architecture[32];
	uint32_t layer_count;
	char (*layers)[DIGEST_HEX + 1]; /* diff_ids, lowest first */
	struct image_strings env, entrypoint, cmd, labels;
	char *user, *workdir, *stop_signal; /* "" when the image says nothing */
};

struct image_store; /* open store: directory descriptors under MSB_HOME/cache */

/** image_store_open() - @home_fd: MSB_HOME, borrowed for the call; directories are made when missing. */
struct image_store *image_store_open(int home_fd, struct error *err);
void image_store_close(struct image_store *s);

/**
 * image_store_find() - Look up an image by a reference as users type it ("python", "localhost/msb-demo:1",
 * "alpine@sha256:..."). Return: 0; ERR_NOT_FOUND (hint set); ERR_INVALID for a bad reference.
 */
int image_store_find(struct image_store *s, const char *reference, struct image **out, struct error *err);
void image_free(struct image *img);

/** image_store_list() - All images by reference. *out owned array of owned images. */
int image_store_list(struct image_store *s, struct image ***out, size_t *count, struct error *err);
void image_list_free(struct image **images, size_t count);

/**
 * image_store_hold() - Nothing is collected until the descriptor is closed: between finding an image and noting that a
 * sandbox needs it. Return: owned fd, or a negative code.
 */
int image_store_hold(struct image_store *s, struct error *err);
/** image_store_pinned() - The image that a sandbox was made from; needs no reference. @digest: "sha256:..." */
int image_store_pinned(struct image_store *s, const char *digest, struct image **out, struct error *err);
/** image_store_users() - Names of the sandboxes made from this manifest, comma-separated, cut with "..."; "" for none.
 */
void image_store_users(struct image_store *s, const char *digest, char *to, size_t size);

enum collect { COLLECT_GARBAGE, COLLECT_PARTS }; /* PARTS: also downloads that were broken off */

/** What was removed. */
struct collected {
	uint64_t manifests, layers, parts, bytes; /* bytes as allocated on the disk */
	bool busy;				  /* nothing was: somebody is adding images */
};

/**
 * image_store_collect() - Remove metadata, records, layers and half-written files that no reference needs. Does nothing
 * while somebody is adding images (holds cache/lock); who comes later collects. @out: NULL when not wanted
 */
int image_store_collect(struct image_store *s, enum collect how, struct collected *out, struct error *err);

/** What the store takes on the disk, really allocated. */
struct store_usage {
	uint64_t images, manifests, layers, unused_layers, parts;
	uint64_t layer_bytes, unused_bytes, part_bytes, metadata_bytes;
};

int image_store_usage(struct image_store *s, struct store_usage *out, struct error *err);
/** image_store_remove() - Drop one reference; layers and metadata no longer needed go too. */
int image_store_remove(struct image_store *s, const char *reference, struct error *err);

/**
 * image_store_open_root() - The image's root file system as extents of a read-only disk: the EROFS metadata file
 * first, then each layer's .data file, as the metadata expects them.
 * @extents: room for DISK_EXTENTS_MAX; the fds in it are the caller's
 */
int image_store_open_root(struct image_store *s, const struct image *img, struct disk_extent *extents, size_t *count,
			  struct error *err);

#endif
