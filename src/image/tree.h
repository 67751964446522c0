/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The merged view of an image's layers, in memory: names over inodes. Entries are applied in order, as if each were
 * made in the merged tree: a path whose folder is a symbolic link goes where that points to, never above the root. A
 * whiteout takes away what lower layers made, wherever it stands in its own.
 */
#ifndef MSB_IMAGE_TREE_H
#define MSB_IMAGE_TREE_H

#include "base/error.h"
#include "base/macros.h"
#include "image/layer_index.h"

struct inode {
	struct inode *next; /* all inodes, for freeing */
	struct index_entry e; /* borrows the index bytes it came from */
	uint32_t layer;
	uint32_t nlink;
	struct node *dir; /* a directory's node, else NULL */
	/* EROFS writer */
	uint64_t nid;
	uint32_t block; /* first whole block (directories: in the metadata) */
	uint64_t dir_size;
};

struct node {
	const uint8_t *name;
	uint32_t name_len;
	uint16_t depth;	  /* below the root */
	uint16_t touched; /* the last layer that had something here or below */
	struct inode *inode;
	struct node *parent;
	struct node **child; /* sorted by bytes */
	uint32_t child_count, child_cap;
};

struct tree {
	struct node *root;
	struct inode *inodes, **last;
	uint64_t inode_count;
};

bool tree_init(struct tree *t);
void tree_free(struct tree *t);
/** tree_add_layer() - Apply one layer's index (borrowed for the life of the tree) on top. */
int tree_add_layer(struct tree *t, uint32_t layer, const void *index, size_t n, struct error *err);

#endif
