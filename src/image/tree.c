/* SPDX-License-Identifier: Apache-2.0 */
#include "image/tree.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/** compare() - Byte order, shorter first. */
static int compare(const uint8_t *a, uint32_t an, const uint8_t *b, uint32_t bn)
{
	int c = memcmp(a, b, an < bn ? an : bn);

	return c ? c : (an > bn) - (an < bn);
}

/** position() - Where a name is, or belongs, among the children. */
static uint32_t position(const struct node *dir, const uint8_t *name, uint32_t n, bool *found)
{
	uint32_t low = 0, high = dir->child_count;

	*found = false;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		int c = compare(dir->child[mid]->name, dir->child[mid]->name_len, name, n);

		if (c == 0) {
			*found = true;
			return mid;
		}
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/** free_node() - A name and what is below it. Depth is bounded by LAYER_DEPTH_MAX. */
static void free_node(struct node *n)
{
	for (uint32_t i = 0; i < n->child_count; i++)
		free_node(n->child[i]);
	n->inode->nlink--;
	free(n->child);
	free(n);
}

/** new_inode() - Counted in the tree, freed with it. */
static struct inode *new_inode(struct tree *t)
{
	struct inode *i = calloc(1, sizeof(*i));

	if (!i)
		return NULL;
	*t->last = i;
	t->last = &i->next;
	t->inode_count++;
	return i;
}

/** insert() - A new child with this inode. */
static struct node *insert(struct node *dir, uint32_t at, const uint8_t *name, uint32_t n, struct inode *inode)
{
	struct node *node = calloc(1, sizeof(*node));

	if (!node)
		return NULL;
	if (dir->child_count == dir->child_cap) {
		uint32_t cap = dir->child_cap ? dir->child_cap * 2 : 8;
		struct node **grown = realloc(dir->child, cap * sizeof(*grown));

		if (!grown) {
			free(node);
			return NULL;
		}
		dir->child = grown;
		dir->child_cap = cap;
	}
	memmove(dir->child + at + 1, dir->child + at, (dir->child_count - at) * sizeof(*dir->child));
	dir->child[at] = node;
	dir->child_count++;
	*node = (struct node){ .name = name, .name_len = n, .parent = dir, .inode = inode };
	inode->nlink++;
	return node;
}

/** remove_child() - Drop a name with all below it. */
static void remove_child(struct node *dir, uint32_t at)
{
	free_node(dir->child[at]);
	dir->child_count--;
	memmove(dir->child + at, dir->child + at + 1, (dir->child_count - at) * sizeof(*dir->child));
}

/** make_dir() - A directory inode nobody described: 0755 root, time 0. */
static struct inode *make_dir(struct tree *t, uint32_t layer)
{
	struct inode *i = new_inode(t);

	if (i) {
		i->e.kind = INDEX_NODE;
		i->e.mode = S_IFDIR | 0755;
		i->layer = layer;
	}
	return i;
}

/** walk() - The directory that holds the last component. With make, missing and non-directory parents are made. */
static struct node *walk(struct tree *t, const struct index_bytes *path, uint32_t layer, bool make,
			 const uint8_t **last, uint32_t *last_len)
{
	struct node *dir = t->root;
	uint32_t at = 0;

	for (;;) {
		const uint8_t *name = path->p + at;
		const uint8_t *slash = memchr(name, '/', path->n - at);
		uint32_t n, pos;
		bool found;

		if (!slash) {
			*last = name;
			*last_len = path->n - at;
			return dir;
		}
		n = (uint32_t)(slash - name);
		pos = position(dir, name, n, &found);
		if (found && !dir->child[pos]->inode->dir) {
			if (!make)
				return NULL;
			remove_child(dir, pos);
			found = false;
		}
		if (!found) {
			struct inode *i = make ? make_dir(t, layer) : NULL;
			struct node *made = i ? insert(dir, pos, name, n, i) : NULL;

			if (!made)
				return NULL;
			i->dir = made;
		}
		dir = dir->child[pos];
		at += n + 1;
	}
}

/** find() - The node of a path, or NULL. */
static struct node *find(struct tree *t, const struct index_bytes *path)
{
	const uint8_t *name;
	uint32_t n, pos;
	struct node *dir;
	bool found;

	if (path->n == 0)
		return t->root;
	dir = walk(t, path, 0, false, &name, &n);
	if (!dir)
		return NULL;
	pos = position(dir, name, n, &found);
	return found ? dir->child[pos] : NULL;
}

/** hide() - Whiteout or opaque directory: lower content goes. */
static void hide(struct tree *t, const struct index_entry *e)
{
	struct node *n = find(t, &e->path);
	bool found;

	if (!n)
		return;
	if (e->kind == INDEX_OPAQUE || n == t->root) {
		while (n->child_count)
			remove_child(n, n->child_count - 1);
		return;
	}
	remove_child(n->parent, position(n->parent, n->name, n->name_len, &found));
}

/** add() - One entry of a layer on top of what is there. */
static int add(struct tree *t, uint32_t layer, const struct index_entry *e, struct error *err)
{
	struct inode *inode = NULL;
	const uint8_t *name;
	struct node *dir, *node;
	uint32_t n, pos;
	bool found;

	if (e->path.n == 0) {
		if (e->kind == INDEX_NODE && S_ISDIR(e->mode)) {
			t->root->inode->e = *e;
			t->root->inode->layer = layer;
		}
		return 0;
	}
	dir = walk(t, &e->path, layer, true, &name, &n);
	if (!dir)
		return err_set(err, ERR_NO_MEMORY, 0, "merge layers: out of memory");
	pos = position(dir, name, n, &found);
	if (e->kind == INDEX_HARDLINK) {
		node = find(t, &e->link);
		if (!node || node->inode->dir)
			return err_set(err, ERR_INVALID, 0, "hard link %.*s: its target %.*s is missing",
				       (int)MIN(e->path.n, 100), e->path.p, (int)MIN(e->link.n, 100), e->link.p);
		inode = node->inode;
		if (found && dir->child[pos]->inode == inode)
			return 0;
	} else if (found && dir->child[pos]->inode->dir && S_ISDIR(e->mode)) {
		/* A directory again: new attributes, same content. */
		dir->child[pos]->inode->e = *e;
		dir->child[pos]->inode->layer = layer;
		return 0;
	} else {
		inode = new_inode(t);
		if (!inode)
			return err_set(err, ERR_NO_MEMORY, 0, "merge layers: out of memory");
		inode->e = *e;
		inode->layer = layer;
	}
	if (found)
		remove_child(dir, pos);
	node = insert(dir, pos, name, n, inode);
	if (!node)
		return err_set(err, ERR_NO_MEMORY, 0, "merge layers: out of memory");
	if (S_ISDIR(inode->e.mode) && e->kind == INDEX_NODE)
		inode->dir = node;
	return 0;
}

bool tree_init(struct tree *t)
{
	*t = (struct tree){ .last = &t->inodes };
	t->root = calloc(1, sizeof(*t->root));
	if (!t->root)
		return false;
	t->root->inode = make_dir(t, 0);
	if (!t->root->inode)
		return false;
	t->root->inode->nlink = 1;
	t->root->inode->dir = t->root;
	t->root->parent = t->root;
	return true;
}

void tree_free(struct tree *t)
{
	if (t->root)
		free_node(t->root);
	while (t->inodes) {
		struct inode *i = t->inodes;

		t->inodes = i->next;
		free(i);
	}
}

int tree_add_layer(struct tree *t, uint32_t layer, const void *index, size_t n, struct error *err)
{
	/* Whiteouts act on lower layers only, wherever they stand in this one: first pass. */
	for (int pass = 0; pass < 2; pass++) {
		struct reader r = reader_init(index, n);
		const uint8_t *magic = reader_bytes(&r, sizeof(INDEX_MAGIC));
		struct index_entry e;

		if (!magic || memcmp(magic, INDEX_MAGIC, sizeof(INDEX_MAGIC)) != 0)
			return err_set(err, ERR_INVALID, 0, "layer index is damaged");
		while (index_next(&r, &e)) {
			bool hides = e.kind == INDEX_WHITEOUT || e.kind == INDEX_OPAQUE;

			if (pass == 0 && hides)
				hide(t, &e);
			if (pass == 1 && !hides && add(t, layer, &e, err) < 0)
				return -(int)err->code;
		}
		if (r.failed)
			return err_set(err, ERR_INVALID, 0, "layer index is damaged");
	}
	return 0;
}
