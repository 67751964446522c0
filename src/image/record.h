/* SPDX-License-Identifier: Apache-2.0 */
/** The compact record of an image (cache/manifests/DIGEST.image) and the names of the store's files. */
#ifndef MSB_IMAGE_RECORD_H
#define MSB_IMAGE_RECORD_H

#include "base/buf.h"
#include "image/store.h"

#define RECORD_MAGIC "MSBIMG1"
#define RECORD_BYTES_MAX (4u << 20)
#define REF_FILE_MAX 255

struct image_store {
	int cache; /* MSB_HOME/cache */
	int home;  /* MSB_HOME */
};

/** What the record adds to struct image. */
struct record {
	struct image img;
	uint64_t meta_bytes; /* length of the EROFS metadata */
	uint64_t layer_blocks[IMAGE_LAYERS_MAX];
};

bool record_encode(struct buf *out, const struct record *r);
/** record_decode() - Strict. On failure nothing is owned. */
int record_decode(const void *p, size_t n, struct record *out, struct error *err);
/** image_clear() - Free what the image owns, not the struct. */
void image_clear(struct image *img);
/** ref_file() - Name of the file in cache/refs for a normalised reference. */
int ref_file(const char *reference, char out[REF_FILE_MAX + 1], struct error *err);
/** ref_name() - The reverse. Return: false when the file name is none of ours. */
bool ref_name(const char *file, char out[REFERENCE_MAX]);

/** image_store_ref() - The digests (hex) a normalised reference stands for: the image's, and the tag's in its registry
 * or "". */
int image_store_ref(struct image_store *s, const char *reference, char digest[DIGEST_HEX + 1], char top[DIGEST_HEX + 1],
		    struct error *err);
/** image_store_record() - The image of a manifest, without a reference. *out owned. @digest: hex */
int image_store_record(struct image_store *s, const char *digest, struct image **out, struct error *err);

#endif
