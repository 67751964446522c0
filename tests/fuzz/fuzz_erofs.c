// SPDX-License-Identifier: Apache-2.0
// sources: src/image/layer_index.c src/image/tree.c src/image/erofs.c src/base/buf.c src/base/error.c src/base/log.c
/*
 * The EROFS writer: the input is a script that makes up to four well-formed layer indexes of any shape (fuzz_index has
 * the malformed ones); what is written from them passes a strict reader.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/reader.h"
#include "erofs_check.h"
#include "image/erofs.h"

#define LAYERS 4
#define ENTRIES 2000

/** name() - One of 256 names: short ones, long ones, some that sort before ".". */
static uint32_t name(uint8_t choice, char *to)
{
	static const char first[] = "abcd!+-.~z";
	uint32_t n = choice % 7 == 6 ? 200 + choice % 56 : 1 + choice % 7;

	memset(to, 'a' + choice / 16, n);
	to[0] = first[choice % 10];
	if (n <= 2)
		to[n++] = (char)('A' + choice / 16);
	return n;
}

/** path() - Up to seven names. */
static struct index_bytes path(struct reader *r, char *to)
{
	unsigned int depth = reader_u8(r) % 8;
	struct index_bytes b = { .p = (uint8_t *)to };

	for (unsigned int i = 0; i < depth; i++) {
		if (i)
			to[b.n++] = '/';
		b.n += name(reader_u8(r), to + b.n);
	}
	return b;
}

/** xattrs() - Some attributes in EROFS form. */
static uint32_t xattrs(struct reader *r, uint8_t *to)
{
	uint32_t n = 0, count = reader_u8(r) % 4;

	for (uint32_t i = 0; i < count; i++) {
		uint32_t name_len = reader_u8(r), value = reader_u16(r) % 15000;
		uint32_t size = (4 + name_len + value + 3) & ~3u;

		memset(to + n, 0, size);
		to[n] = (uint8_t)name_len;
		to[n + 1] = 1;
		to[n + 2] = (uint8_t)value;
		to[n + 3] = (uint8_t)(value >> 8);
		memset(to + n + 4, 'x', name_len);
		n += size;
	}
	return n;
}

/** node() - A file, directory, link or device. Files may reach behind their layer. */
static void node(struct reader *r, struct index_entry *e, uint64_t layer_blocks)
{
	static const uint32_t types[] = { S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK, S_IFREG };
	static uint8_t tail[INDEX_TAIL_MAX], link[LAYER_PATH_MAX], attributes[3 * (4 + 255 + 15000 + 3)];
	uint8_t type = reader_u8(r);

	e->mode = types[type % 8] | (type & 0170);
	e->uid = reader_u8(r);
	if (type & 0200)
		e->xattrs = (struct index_bytes){ attributes, xattrs(r, attributes) };
	if (S_ISREG(e->mode)) {
		uint64_t blocks = reader_u8(r), at = reader_u8(r);

		if (!(type & 0100) && layer_blocks) { /* kept inside */
			at %= layer_blocks + 1;
			blocks %= layer_blocks - at + 1;
		}
		e->tail = (struct index_bytes){ tail, reader_u16(r) % (INDEX_TAIL_MAX + 1) };
		e->data_offset = at * INDEX_BLOCK;
		e->size = blocks * INDEX_BLOCK + e->tail.n;
	} else if (S_ISLNK(e->mode)) {
		memset(link, 'l', sizeof(link));
		e->link = (struct index_bytes){ link, 1 + reader_u16(r) % (LAYER_PATH_MAX - 1) };
	} else {
		e->rdev = reader_u8(r);
	}
}

/** many() - A directory of numbered files. */
static void many(struct reader *r, struct buf *out, struct index_entry *e, char *to, uint32_t *left)
{
	uint32_t count = reader_u8(r), pad = reader_u8(r) % 240, base = e->path.n;

	for (uint32_t i = 0; i < count && *left; i++, --*left) {
		struct index_entry f = { .kind = INDEX_NODE, .mode = S_IFREG | 0644 };

		f.path = e->path;
		f.path.n = base + (uint32_t)snprintf(to + base, 512, "%s%03u%0*u", base ? "/" : "", i, (int)pad, 0u);
		index_append(out, &f);
	}
}

/** layer() - One index. */
static void layer(struct reader *r, struct buf *out, uint64_t layer_blocks)
{
	uint32_t left = ENTRIES;

	buf_append(out, INDEX_MAGIC, sizeof(INDEX_MAGIC));
	for (uint8_t op = reader_u8(r); left && !r->failed && op != 0xff; op = reader_u8(r), left--) {
		static const uint8_t kinds[] = { INDEX_NODE, INDEX_NODE,     INDEX_NODE,     INDEX_NODE,
						 INDEX_NODE, INDEX_HARDLINK, INDEX_WHITEOUT, INDEX_OPAQUE };
		char to[LAYER_PATH_MAX + 512], link[LAYER_PATH_MAX];
		struct index_entry e = { .kind = kinds[op % 8] };

		e.path = path(r, to);
		if (e.kind == INDEX_NODE && op & 0x80) {
			many(r, out, &e, to, &left);
			continue;
		}
		if (e.kind == INDEX_NODE)
			node(r, &e, layer_blocks);
		else if (e.kind == INDEX_HARDLINK)
			e.link = path(r, link);
		if (!index_check(&e))
			abort(); /* the script makes good entries only */
		index_append(out, &e);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader r = reader_init(data, size);
	struct buf index[LAYERS], out = BUF_INIT(64 << 20);
	struct error err = ERROR_INIT;
	uint64_t blocks[LAYERS], total = 0;
	uint32_t count = 1 + reader_u8(&r) % LAYERS;
	struct tree t;
	int rc = 0;

	if (!tree_init(&t))
		return 0;
	for (uint32_t i = 0; i < count; i++) {
		index[i] = (struct buf)BUF_INIT(16 << 20);
		blocks[i] = reader_u8(&r);
		total += blocks[i];
		layer(&r, &index[i], blocks[i]);
		if (rc == 0)
			rc = tree_add_layer(&t, i, index[i].data, index[i].len, &err);
	}
	if (rc == 0)
		rc = erofs_write(&t, blocks, count, (const uint8_t *)"0123456789abcdef", &out, &err);
	if ((rc < 0) != (err.code != ERR_NONE))
		abort();
	if (rc == 0)
		erofs_check(out.data, out.len, out.len / 4096 + total);
	tree_free(&t);
	for (uint32_t i = 0; i < count; i++)
		buf_free(&index[i]);
	buf_free(&out);
	return 0;
}
