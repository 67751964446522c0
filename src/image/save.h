/* SPDX-License-Identifier: Apache-2.0 */
/** Commands of msb-image that tell what is in the store. */
#ifndef MSB_IMAGE_SAVE_H
#define MSB_IMAGE_SAVE_H

#include "image/add.h"

/**
 * save_images() - An archive of images: layers uncompressed, with the diff_ids they came with (checked while writing).
 * @path: NULL for standard output; else the file appears when it is whole
 */
int save_images(struct adder *a, const char *const *references, size_t count, bool oci, const char *path,
		struct error *err);
/** inspect_image() - Print config and layers, as text or JSON. */
int inspect_image(struct adder *a, const char *reference, bool json, struct error *err);

#endif
