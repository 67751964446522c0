/* SPDX-License-Identifier: Apache-2.0 */
#include "image/tree.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LINKS_MAX 40 /* symbolic links in one path, as Linux has it */

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

/** touch() - A layer has something here. What is above a touched node is touched. */
static void touch(struct node *n, uint32_t layer)
{
	for (; n->touched != layer; n = n->parent)
		n->touched = (uint16_t)layer;
}

/** insert() - A new child with this inode. Return: NULL with the error set. */
static struct node *insert(struct node *dir, uint32_t at, const uint8_t *name, uint32_t n, struct inode *inode,
			   uint32_t layer, struct error *err)
{
	struct node *node;

	if (dir->depth == LAYER_DEPTH_MAX) { /* by way of symbolic links: each path is checked for itself */
		err_set(err, ERR_LIMIT, 0, "%.*s: more than %u levels deep", (int)MIN(n, 100), name, LAYER_DEPTH_MAX);
		return NULL;
	}
	node = calloc(1, sizeof(*node));
	if (!node) {
		err_set(err, ERR_NO_MEMORY, 0, "merge layers: out of memory");
		return NULL;
	}
	if (dir->child_count == dir->child_cap) {
		uint32_t cap = dir->child_cap ? dir->child_cap * 2 : 8;
		struct node **grown = realloc(dir->child, cap * sizeof(*grown));

		if (!grown) {
			free(node);
			err_set(err, ERR_NO_MEMORY, 0, "merge layers: out of memory");
			return NULL;
		}
		dir->child = grown;
		dir->child_cap = cap;
	}
	memmove(dir->child + at + 1, dir->child + at, (dir->child_count - at) * sizeof(*dir->child));
	dir->child[at] = node;
	dir->child_count++;
	*node = (struct node){ .name = name, .name_len = n, .parent = dir, .inode = inode,
			       .depth = (uint16_t)(dir->depth + 1), .touched = dir->touched };
	inode->nlink++;
	touch(node, layer);
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

/** A path being walked. */
struct walk {
	struct tree *tree;
	uint32_t layer;
	bool make;	    /* what is missing, or no directory */
	unsigned int links; /* followed */
	struct error *err;
};

static struct node *descend(struct walk *w, struct node *dir, const uint8_t *p, uint32_t n);

/** make_step() - A directory nobody described, in place of what is there. */
static struct node *make_step(struct walk *w, struct node *dir, uint32_t pos, bool found, const uint8_t *name,
			      uint32_t n)
{
	struct inode *i = make_dir(w->tree, w->layer);
	struct node *made;

	if (found)
		remove_child(dir, pos);
	made = i ? insert(dir, pos, name, n, i, w->layer, w->err) : NULL;
	if (made)
		i->dir = made;
	else if (!i)
		err_set(w->err, ERR_NO_MEMORY, 0, "merge layers: out of memory");
	return made;
}

/** step() - Into the directory that a component names. Return: NULL when there is none; with make, the error is set. */
static struct node *step(struct walk *w, struct node *dir, const uint8_t *name, uint32_t n)
{
	struct inode *i;
	uint32_t pos;
	bool found;

	if (n == 0 || (n == 1 && name[0] == '.'))
		return dir;
	if (n == 2 && memcmp(name, "..", 2) == 0)
		return dir->parent;
	pos = position(dir, name, n, &found);
	i = found ? dir->child[pos]->inode : NULL;
	if (i && i->dir)
		return dir->child[pos];
	if (i && S_ISLNK(i->e.mode)) {
		if (++w->links > LINKS_MAX) {
			err_set(w->err, ERR_INVALID, 0, "a path with more than %d symbolic links", LINKS_MAX);
			return NULL;
		}
		return descend(w, i->e.link.p[0] == '/' ? w->tree->root : dir, i->e.link.p, i->e.link.n);
	}
	return w->make ? make_step(w, dir, pos, found, name, n) : NULL;
}

/** descend() - Every component of a path. The recursion with step() is bounded by LINKS_MAX. */
static struct node *descend(struct walk *w, struct node *dir, const uint8_t *p, uint32_t n)
{
	for (uint32_t at = 0; dir && at < n;) {
		const uint8_t *slash = memchr(p + at, '/', n - at);
		uint32_t len = slash ? (uint32_t)(slash - p) - at : n - at;

		dir = step(w, dir, p + at, len);
		at += len + 1;
	}
	return dir;
}

/** parent_of() - The directory of a path's last component, which is split off. */
static struct node *parent_of(struct walk *w, const struct index_bytes *path, const uint8_t **last, uint32_t *last_len)
{
	const uint8_t *slash = memrchr(path->p, '/', path->n);
	uint32_t head = slash ? (uint32_t)(slash - path->p) : 0;

	*last = slash ? slash + 1 : path->p;
	*last_len = slash ? path->n - head - 1 : path->n;
	return descend(w, w->tree->root, path->p, head);
}

/** find() - The node of a path, or NULL. */
static struct node *find(struct tree *t, const struct index_bytes *path)
{
	struct walk w = { .tree = t };
	const uint8_t *name;
	uint32_t n, pos;
	struct node *dir;
	bool found;

	if (path->n == 0)
		return t->root;
	dir = parent_of(&w, path, &name, &n);
	if (!dir)
		return NULL;
	pos = position(dir, name, n, &found);
	return found ? dir->child[pos] : NULL;
}

/** hide_below() - What this layer did not touch goes; below what it did, the same. Depth is bounded. */
static void hide_below(struct node *dir, uint32_t layer)
{
	for (uint32_t i = dir->child_count; i-- > 0;) {
		if (dir->child[i]->touched == layer)
			hide_below(dir->child[i], layer);
		else
			remove_child(dir, i);
	}
}

/** hide() - Whiteout or opaque directory. */
static void hide(struct tree *t, const struct index_entry *e, uint32_t layer)
{
	struct node *n = find(t, &e->path);
	bool found;

	if (!n)
		return;
	if (e->kind == INDEX_OPAQUE || n->touched == layer || n == t->root)
		hide_below(n, layer);
	else
		remove_child(n->parent, position(n->parent, n->name, n->name_len, &found));
}

/** add() - One entry of a layer on top of what is there. */
static int add(struct tree *t, uint32_t layer, const struct index_entry *e, struct error *err)
{
	struct walk w = { .tree = t, .layer = layer, .make = true, .err = err };
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
	dir = parent_of(&w, &e->path, &name, &n);
	if (!dir)
		return err_wrap(err, "%.*s", (int)MIN(e->path.n, 100), e->path.p);
	pos = position(dir, name, n, &found);
	if (e->kind == INDEX_HARDLINK) {
		node = find(t, &e->link);
		if (!node || node->inode->dir)
			return err_set(err, ERR_INVALID, 0, "hard link %.*s: its target %.*s is missing",
				       (int)MIN(e->path.n, 100), e->path.p, (int)MIN(e->link.n, 100), e->link.p);
		inode = node->inode;
		if (found && dir->child[pos]->inode == inode) {
			touch(dir->child[pos], layer);
			return 0;
		}
	} else if (found && dir->child[pos]->inode->dir && S_ISDIR(e->mode)) {
		/* A directory again: new attributes, same content. */
		dir->child[pos]->inode->e = *e;
		dir->child[pos]->inode->layer = layer;
		touch(dir->child[pos], layer);
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
	node = insert(dir, pos, name, n, inode, layer, err);
	if (!node)
		return -(int)err->code;
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
	struct reader r = reader_init(index, n);
	const uint8_t *magic = reader_bytes(&r, sizeof(INDEX_MAGIC));
	struct index_entry e;

	if (!magic || memcmp(magic, INDEX_MAGIC, sizeof(INDEX_MAGIC)) != 0)
		return err_set(err, ERR_INVALID, 0, "layer index is damaged");
	if (layer >= UINT16_MAX)
		return err_set(err, ERR_LIMIT, 0, "too many layers");
	while (index_next(&r, &e)) {
		if (e.kind == INDEX_WHITEOUT || e.kind == INDEX_OPAQUE)
			hide(t, &e, layer);
		else if (add(t, layer, &e, err) < 0)
			return -(int)err->code;
	}
	return r.failed ? err_set(err, ERR_INVALID, 0, "layer index is damaged") : 0;
}
