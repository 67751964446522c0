/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layout of the image: block 0 holds the superblock at byte 1024; inodes follow from byte 1152 in slots of 32 bytes
 * (nid = offset / 32), each with its xattrs and, when short enough, the last part of its data (FLAT_INLINE); then the
 * whole blocks of directories; then, as separate files joined by the block device, the layers' data.
 */
#include "image/erofs.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BLOCK 4096u
#define SB_OFFSET 1024u
#define FIRST_INODE 1152u
#define SLOT 32u
#define INODE_SIZE 64u
#define XATTR_HEADER 12u
#define DIRENT 12u
#define DIR_TAIL_MAX 2048u /* more than this of a directory, or of a symbolic link, takes a block of its own */
#define LAYOUT_PLAIN 0u
#define LAYOUT_INLINE 2u

struct writer {
	struct tree *tree;
	struct buf *out;
	uint64_t at;	     /* next free byte of the inode area */
	uint64_t dir_blocks; /* whole blocks of directories (and long links) so far */
	uint64_t layer_base[256];
	bool failed;
};

/** put() - Little-endian number at a place of the image. */
static void put(uint8_t *p, uint64_t v, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

/** names_before() - How many children sort before a name. */
static uint32_t names_before(const struct node *dir, const char *name)
{
	uint32_t low = 0, high = dir->child_count, n = (uint32_t)strlen(name);

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		const struct node *c = dir->child[mid];
		int order = memcmp(c->name, name, MIN(c->name_len, n));

		if (order < 0 || (order == 0 && c->name_len < n))
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/** dir_name() - Name `i` of a directory in byte order, "." and ".." among the others. */
static const uint8_t *dir_name(const struct node *dir, uint32_t i, uint32_t *n, struct inode **inode)
{
	uint32_t dot = names_before(dir, "."), dotdot = names_before(dir, "..") + 1;

	if (i == dot || i == dotdot) {
		*n = i == dot ? 1 : 2;
		*inode = i == dot ? dir->inode : dir->parent->inode;
		return (const uint8_t *)"..";
	}
	i -= (i > dot) + (i > dotdot);
	*n = dir->child[i]->name_len;
	*inode = dir->child[i]->inode;
	return dir->child[i]->name;
}

/** fill_block() - How many names from `from` fit into one block, and the bytes they use. */
static uint32_t fill_block(const struct node *dir, uint32_t from, uint32_t *bytes)
{
	uint32_t total = dir->child_count + 2, count = 0;

	*bytes = 0;
	while (from + count < total) {
		struct inode *inode;
		uint32_t n;

		dir_name(dir, from + count, &n, &inode);
		if (*bytes + DIRENT + n > BLOCK)
			break;
		*bytes += DIRENT + n;
		count++;
	}
	return count;
}

/** dir_size() - i_size of a directory. */
static uint64_t dir_size(const struct node *dir)
{
	uint64_t size = 0;
	uint32_t from = 0, total = dir->child_count + 2;

	while (from < total) {
		uint32_t bytes;

		from += fill_block(dir, from, &bytes);
		size += from < total || bytes > DIR_TAIL_MAX ? BLOCK : bytes;
	}
	return size;
}

/** is_long_link() - A symbolic link with a block of its own: with xattrs, no place for it inline is sure. */
static bool is_long_link(const struct inode *i)
{
	return S_ISLNK(i->e.mode) && i->e.link.n > DIR_TAIL_MAX;
}

/** tail_of() - Bytes of an inode's last part that are written inline; 0 when it has none or it is plain. */
static uint32_t tail_of(const struct inode *i)
{
	if (i->dir)
		return (uint32_t)(i->dir_size % BLOCK);
	if (S_ISLNK(i->e.mode))
		return is_long_link(i) ? 0 : i->e.link.n;
	return i->e.tail.n;
}

/** xattr_size() - Bytes of the inline xattr area. */
static uint32_t xattr_size(const struct inode *i)
{
	return i->e.xattrs.n ? XATTR_HEADER + i->e.xattrs.n : 0;
}

/** place() - Give an inode its nid, and a directory or long link its whole blocks. */
static void place(struct writer *w, struct inode *i)
{
	uint32_t tail, size;

	if (i->dir)
		i->dir_size = dir_size(i->dir);
	tail = tail_of(i);
	size = INODE_SIZE + xattr_size(i);
	w->at = ALIGN_UP(w->at, SLOT);
	/* The inline part must not cross a block: start the inode in a place where it does not. */
	if (tail && (w->at + size) / BLOCK != (w->at + size + tail - 1) / BLOCK) {
		uint64_t next = ALIGN_UP(w->at + size, BLOCK);

		w->at = size + tail <= BLOCK ? ALIGN_UP(w->at, BLOCK) : ALIGN_UP(next - size, SLOT);
		if ((w->at + size) / BLOCK != (w->at + size + tail - 1) / BLOCK)
			w->failed = true;
	}
	i->nid = w->at / SLOT;
	w->at += size + tail;
	if (i->dir || is_long_link(i)) {
		i->block = (uint32_t)w->dir_blocks; /* relative; the base is known when all are placed */
		w->dir_blocks += i->dir ? i->dir_size / BLOCK : 1;
	}
}

/** place_all() - The directory and everything below, names in order; an inode with several names once. */
static void place_all(struct writer *w, struct node *dir)
{
	for (uint32_t i = 0; i < dir->child_count; i++)
		if (!dir->child[i]->inode->nid)
			place(w, dir->child[i]->inode);
	for (uint32_t i = 0; i < dir->child_count; i++)
		if (dir->child[i]->inode->dir)
			place_all(w, dir->child[i]);
}

/** data_ok() - The whole blocks of a file lie in its layer's .data. */
static bool data_ok(const struct inode *i, const uint64_t *layer_blocks)
{
	uint64_t first = i->e.data_offset / BLOCK, whole = i->e.size - i->e.tail.n;
	uint64_t blocks = whole / BLOCK + (whole % BLOCK != 0);

	return !S_ISREG(i->e.mode) || (first <= layer_blocks[i->layer] && blocks <= layer_blocks[i->layer] - first);
}

/** file_type() - EROFS_FT_* of a mode. */
static uint8_t file_type(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return 1;
	case S_IFDIR:
		return 2;
	case S_IFCHR:
		return 3;
	case S_IFBLK:
		return 4;
	case S_IFIFO:
		return 5;
	case S_IFSOCK:
		return 6;
	case S_IFLNK:
		return 7;
	default:
		return 0;
	}
}

/** write_dir() - All blocks of a directory: whole ones to `blocks`, the rest to `tail`. */
static void write_dir(const struct node *dir, uint8_t *blocks, uint8_t *tail)
{
	uint32_t from = 0, total = dir->child_count + 2;

	while (from < total) {
		uint32_t bytes, count = fill_block(dir, from, &bytes);
		bool last = from + count == total && bytes <= DIR_TAIL_MAX;
		uint8_t *block = last ? tail : blocks;
		uint32_t name_at = count * DIRENT;

		for (uint32_t i = 0; i < count; i++) {
			struct inode *inode;
			uint32_t n;
			const uint8_t *name = dir_name(dir, from + i, &n, &inode);

			put(block + i * DIRENT, inode->nid, 8);
			put(block + i * DIRENT + 8, name_at, 2);
			block[i * DIRENT + 10] = file_type(inode->e.mode);
			memcpy(block + name_at, name, n);
			name_at += n;
		}
		if (!last)
			blocks += BLOCK;
		from += count;
	}
}

/** dir_nlink() - 2 and one per sub-directory. */
static uint32_t dir_nlink(const struct node *dir)
{
	uint32_t n = 2;

	for (uint32_t i = 0; i < dir->child_count; i++)
		n += dir->child[i]->inode->dir != NULL;
	return n;
}

/** write_inode() - One inode with xattrs and inline part. */
static void write_inode(struct writer *w, uint8_t *image, const struct inode *i, uint64_t dir_base)
{
	uint8_t *p = image + i->nid * SLOT;
	uint32_t tail = tail_of(i), xattrs = xattr_size(i);
	uint8_t *after = p + INODE_SIZE + xattrs;
	uint64_t size = i->dir ? i->dir_size : S_ISLNK(i->e.mode) ? i->e.link.n : S_ISREG(i->e.mode) ? i->e.size : 0;
	uint64_t u = 0;

	if (i->dir || is_long_link(i))
		u = dir_base + i->block;
	else if (S_ISREG(i->e.mode))
		u = w->layer_base[i->layer] + i->e.data_offset / BLOCK;
	else if (S_ISCHR(i->e.mode) || S_ISBLK(i->e.mode))
		u = i->e.rdev;
	put(p, 1u | (tail ? LAYOUT_INLINE : LAYOUT_PLAIN) << 1, 2);
	put(p + 2, xattrs ? (xattrs - XATTR_HEADER) / 4 + 1 : 0, 2);
	put(p + 4, i->e.mode, 2);
	put(p + 8, size, 8);
	put(p + 16, u, 4);
	put(p + 20, i->nid, 4);
	put(p + 24, i->e.uid, 4);
	put(p + 28, i->e.gid, 4);
	put(p + 32, (uint64_t)i->e.mtime_s, 8);
	put(p + 40, i->e.mtime_ns, 4);
	put(p + 44, i->dir ? dir_nlink(i->dir) : i->nlink, 4);
	if (xattrs)
		memcpy(p + INODE_SIZE + XATTR_HEADER, i->e.xattrs.p, i->e.xattrs.n);
	if (i->dir)
		write_dir(i->dir, image + u * BLOCK, after);
	else if (S_ISLNK(i->e.mode))
		memcpy(is_long_link(i) ? image + u * BLOCK : after, i->e.link.p, i->e.link.n);
	else if (tail)
		memcpy(after, i->e.tail.p, tail);
}

int erofs_write(struct tree *t, const uint64_t *layer_blocks, uint32_t layer_count, const uint8_t *uuid,
		struct buf *out, struct error *err)
{
	struct writer w = { .tree = t, .out = out, .at = FIRST_INODE };
	uint64_t dir_base, total, inodes = 0;
	uint8_t *image, *sb;

	if (layer_count > ARRAY_LEN(w.layer_base))
		return err_set(err, ERR_LIMIT, 0, "more than %zu layers", ARRAY_LEN(w.layer_base));
	place(&w, t->root->inode);
	place_all(&w, t->root);
	dir_base = ALIGN_UP(w.at, BLOCK) / BLOCK;
	total = dir_base + w.dir_blocks;
	image = w.failed ? NULL : buf_extend(out, total * BLOCK);
	if (!image)
		return err_set(err, ERR_LIMIT, 0, "file system metadata does not fit (%llu blocks)",
			       (unsigned long long)total);
	memset(image, 0, total * BLOCK);
	for (uint32_t i = 0; i < layer_count; i++) {
		w.layer_base[i] = total;
		total += layer_blocks[i];
	}
	if (total > UINT32_MAX)
		return err_set(err, ERR_LIMIT, 0, "image is larger than 16 TiB");
	for (const struct inode *i = t->inodes; i; i = i->next) {
		if (!i->nid || !i->nlink)
			continue;
		if (!data_ok(i, layer_blocks))
			return err_set(err, ERR_INVALID, 0, "layer index is damaged: a file lies outside of its layer");
		write_inode(&w, image, i, dir_base);
		inodes++;
	}
	sb = image + SB_OFFSET;
	put(sb, 0xE0F5E1E2, 4);
	put(sb + 8, 2, 4); /* feature_compat: MTIME */
	sb[12] = 12;	   /* blkszbits */
	put(sb + 14, t->root->inode->nid, 2);
	put(sb + 16, inodes, 8);
	put(sb + 36, total, 4);
	memcpy(sb + 48, uuid, 16);
	return 0;
}
