/* SPDX-License-Identifier: Apache-2.0 */
/** JSON of images: config, manifest, index. Helper program only (jansson behind it); everything in it is hostile. */
#ifndef MSB_IMAGE_CONFIG_H
#define MSB_IMAGE_CONFIG_H

#include <jansson.h>

#include "base/buf.h"
#include "image/record.h"

#define IMAGE_JSON_MAX (16u << 20)
#define INDEX_DEPTH_MAX 32
#define DESCRIPTORS_MAX 4096 /* indexes that name each other twice at each of 32 levels would never end */

/** A content descriptor. Source: OCI image-spec, descriptor.md. */
struct descriptor {
	char digest[DIGEST_HEX + 1]; /* hex of sha256 */
	uint64_t size;
	const char *media_type; /* borrows the JSON; "" when missing */
};

/** image_json() - Parse. @what: named in the error. Return: owned, NULL on failure. */
json_t *image_json(const void *p, size_t n, const char *what, struct error *err);
/** config_parse() - What running the image needs, into r->img. */
int config_parse(const json_t *config, struct record *r, struct error *err);
int descriptor_parse(const json_t *j, struct descriptor *out, struct error *err);
/** index_choose() - The entry of an index for this machine. NULL: none; the error then lists what there is. */
const json_t *index_choose(const json_t *index, struct error *err);
/** index_fits() - May an index entry be for this machine? (No platform named: it may.) */
bool index_fits(const json_t *entry);

#endif
