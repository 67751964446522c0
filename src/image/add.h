/* SPDX-License-Identifier: Apache-2.0 */
/** Adding images to the store: locks, layers, merged metadata, record, name. Helper program only. */
#ifndef MSB_IMAGE_ADD_H
#define MSB_IMAGE_ADD_H

#include "image/config.h"
#include "image/unpack.h"

/** The store, open for adding. While one is open nothing is collected as garbage. */
struct adder {
	bool quiet;
	int home, cache, layers, lock;
	struct image_store *store;
};

int adder_open(struct adder *a, const char *home, struct error *err);
/** adder_close() - @collect: remove what no reference needs, unless somebody else is adding. */
void adder_close(struct adder *a, bool collect);

/** layer_known() - Is the layer in the store, whole? @blocks: length of its .data in 4 KiB blocks */
bool layer_known(const struct adder *a, const char *diff_id, uint64_t *blocks);

/** image_known() - Is the image in the store, with all its layers? @digest: hex */
bool image_known(const struct adder *a, const char *digest);

/**
 * layer_lock() - Take the layer's lock: the file .<diff_id>.part, which also keeps the compressed bytes of a download
 * that was broken off. Blocks while another process has it. Return: owned fd of that file, or a negative code.
 */
int layer_lock(const struct adder *a, const char *diff_id, struct error *err);
/**
 * layer_part() - The file of layer_lock() once more, for msb-registry to write into; who holds this does not hold the
 * lock. Return: owned fd, or -1.
 */
int layer_part(const struct adder *a, const char *diff_id);
/** layer_forget_part() - The layer is there: what a killed pull kept of it is of no use. Never blocks. */
void layer_forget_part(const struct adder *a, const char *diff_id);
/** layer_unlock() - @keep: leave the file for the next try. */
void layer_unlock(const struct adder *a, const char *diff_id, int *fd, bool keep);

/**
 * image_add() - All layers are in the store: write merged metadata, the JSON texts and the record.
 * @r:        config_parse()d; block counts are filled in
 * @digest:   hex: of the manifest, or of the config where the archive has none
 * @manifest: NULL when there is none
 */
int image_add(const struct adder *a, struct record *r, const char *digest, const struct buf *config,
	      const struct buf *manifest, struct error *err);

/**
 * image_name() - A reference for a stored image. @top: hex digest that the tag stands for in its registry (of an index,
 * it may be), NULL when nobody knows
 */
int image_name(const struct adder *a, const char *reference, const char *digest, const char *top, struct error *err);

#endif
