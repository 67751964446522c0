/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "image/erofs.h"

/** A layer under construction. */
static void begin(struct buf *b)
{
	*b = (struct buf)BUF_INIT(1 << 24);
	assert_true(buf_append(b, INDEX_MAGIC, sizeof(INDEX_MAGIC)));
}

static void entry(struct buf *b, uint8_t kind, const char *path, uint32_t mode, const char *link)
{
	struct index_entry e = { .kind = kind, .mode = mode };

	e.path = (struct index_bytes){ (const uint8_t *)path, (uint32_t)strlen(path) };
	if (link)
		e.link = (struct index_bytes){ (const uint8_t *)link, (uint32_t)strlen(link) };
	assert_true(index_append(b, &e));
}

static uint64_t get(const uint8_t *p, int n)
{
	uint64_t v = 0;

	while (n--)
		v = v << 8 | p[n];
	return v;
}

/** lookup() - One name in a directory of the written image. Return: nid, 0 when missing. Checks the order of names. */
static uint64_t lookup(const uint8_t *image, uint64_t dir, const char *name)
{
	const uint8_t *inode = image + dir * 32;
	uint64_t size = get(inode + 8, 8), found = 0;
	uint32_t xattrs = (uint32_t)get(inode + 2, 2);
	const uint8_t *tail = inode + 64 + (xattrs ? 12 + 4 * (xattrs - 1) : 0);
	char before[256] = "";

	for (uint64_t at = 0; at < size; at += 4096) {
		uint32_t n = size - at < 4096 ? (uint32_t)(size - at) : 4096, count;
		const uint8_t *block = n == 4096 ? image + (get(inode + 16, 4) * 4096 + at) : tail;

		count = (uint32_t)get(block + 8, 2) / 12;
		for (uint32_t i = 0; i < count; i++) {
			uint32_t from = (uint32_t)get(block + 12 * i + 8, 2), to = n;
			char text[256];

			if (i + 1 < count)
				to = (uint32_t)get(block + 12 * (i + 1) + 8, 2);
			assert_true(from < to && to <= n);
			snprintf(text, sizeof(text), "%.*s", (int)(to - from), block + from);
			assert_true(strcmp(before, text) < 0);
			snprintf(before, sizeof(before), "%s", text);
			if (strcmp(text, name) == 0)
				found = get(block + 12 * i, 8);
		}
	}
	return found;
}

static uint64_t write_image(struct tree *t, struct buf *out)
{
	uint64_t blocks[2] = { 3, 4 };
	struct error err = ERROR_INIT;

	*out = (struct buf)BUF_INIT(1 << 24);
	assert_int_equal(erofs_write(t, blocks, 2, (const uint8_t *)"0123456789abcdef", out, &err), 0);
	assert_int_equal(out->len % 4096, 0);
	assert_int_equal(get(out->data + 1024, 4), 0xE0F5E1E2);
	assert_int_equal(get(out->data + 1024 + 36, 4), out->len / 4096 + 7);
	return get(out->data + 1024 + 14, 2);
}

/** merges() - Whiteouts, opaque directories, hard links into lower layers, parents nobody described. */
static void merges(void **state)
{
	struct error err = ERROR_INIT;
	struct buf low, high, image, again;
	struct tree t;
	uint64_t root, dir;

	(void)state;
	begin(&low);
	entry(&low, INDEX_NODE, "etc", S_IFDIR | 0750, NULL);
	entry(&low, INDEX_NODE, "etc/a", S_IFREG | 0644, NULL);
	entry(&low, INDEX_NODE, "etc/gone", S_IFREG | 0644, NULL);
	entry(&low, INDEX_NODE, "opq/x/y", S_IFREG | 0644, NULL);
	entry(&low, INDEX_NODE, "!before-dot", S_IFREG | 0644, NULL);
	begin(&high);
	entry(&high, INDEX_HARDLINK, "b", 0, "etc/a");
	entry(&high, INDEX_NODE, "opq/new", S_IFREG | 0644, NULL);
	entry(&high, INDEX_OPAQUE, "opq", 0, NULL);
	entry(&high, INDEX_WHITEOUT, "etc/gone", 0, NULL);
	entry(&high, INDEX_WHITEOUT, "not/there", 0, NULL);
	entry(&high, INDEX_NODE, "etc/new", S_IFLNK | 0777, "a");
	assert_true(tree_init(&t));
	assert_int_equal(tree_add_layer(&t, 0, low.data, low.len, &err), 0);
	assert_int_equal(tree_add_layer(&t, 1, high.data, high.len, &err), 0);
	root = write_image(&t, &image);
	dir = lookup(image.data, root, "etc");
	assert_int_equal(get(image.data + dir * 32 + 4, 2), S_IFDIR | 0750);
	assert_int_equal(lookup(image.data, root, "b"), lookup(image.data, dir, "a"));
	assert_int_equal(get(image.data + lookup(image.data, dir, "a") * 32 + 44, 4), 2);
	assert_int_equal(lookup(image.data, dir, "gone"), 0);
	assert_int_not_equal(lookup(image.data, dir, "new"), 0);
	assert_int_equal(lookup(image.data, dir, ".."), root);
	assert_int_equal(lookup(image.data, dir, "."), dir);
	assert_int_not_equal(lookup(image.data, root, "!before-dot"), 0);
	assert_int_equal(lookup(image.data, root, "not"), 0);
	dir = lookup(image.data, root, "opq");
	assert_int_equal(lookup(image.data, dir, "x"), 0);
	assert_int_not_equal(lookup(image.data, dir, "new"), 0);
	tree_free(&t);
	/* The same layers give the same bytes. */
	assert_true(tree_init(&t));
	assert_int_equal(tree_add_layer(&t, 0, low.data, low.len, &err), 0);
	assert_int_equal(tree_add_layer(&t, 1, high.data, high.len, &err), 0);
	write_image(&t, &again);
	assert_int_equal(image.len, again.len);
	assert_memory_equal(image.data, again.data, image.len);
	tree_free(&t);
	buf_free(&low);
	buf_free(&high);
	buf_free(&image);
	buf_free(&again);
}

/** big_directories() - Any number of names, with attributes on the directory: all are found again. */
static void big_directories(void **state)
{
	(void)state;
	for (int count = 1; count < 400; count = count < 40 ? count + 1 : count * 2) {
		struct error err = ERROR_INIT;
		struct index_entry e = { .kind = INDEX_NODE, .mode = S_IFDIR | 0755 };
		struct buf low, image;
		char path[300];
		struct tree t;
		uint64_t root, dir;

		begin(&low);
		e.path = (struct index_bytes){ (const uint8_t *)"d", 1 };
		e.xattrs = (struct index_bytes){ (const uint8_t *)"\1\1\1\0dv\0\0", 8 };
		assert_true(index_append(&low, &e));
		for (int i = 0; i < count; i++) {
			snprintf(path, sizeof(path), "d/%03d%0*d", i, 100 + count, 0);
			path[2 + 250] = '\0';
			entry(&low, INDEX_NODE, path, S_IFREG | 0644, NULL);
		}
		assert_true(tree_init(&t));
		assert_int_equal(tree_add_layer(&t, 0, low.data, low.len, &err), 0);
		root = write_image(&t, &image);
		dir = lookup(image.data, root, "d");
		for (int i = 0; i < count; i++) {
			snprintf(path, sizeof(path), "%03d%0*d", i, 100 + count, 0);
			path[250] = '\0';
			assert_int_not_equal(lookup(image.data, dir, path), 0);
		}
		tree_free(&t);
		buf_free(&low);
		buf_free(&image);
	}
}

/** refuses() - Hard links to nothing and to directories; damaged indexes. */
static void refuses(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		struct error err = ERROR_INIT;
		struct buf b;
		struct tree t;

		begin(&b);
		entry(&b, INDEX_NODE, "dir", S_IFDIR | 0755, NULL);
		entry(&b, i == 2 ? INDEX_NODE : INDEX_HARDLINK, "x", S_IFREG, i == 0 ? "nothing" : "dir");
		if (i == 2)
			b.len--;
		assert_true(tree_init(&t));
		assert_int_equal(tree_add_layer(&t, 0, b.data, b.len, &err), -ERR_INVALID);
		tree_free(&t);
		buf_free(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(merges),
		cmocka_unit_test(big_directories),
		cmocka_unit_test(refuses),
	};

	return cmocka_run_group_tests_name("erofs", tests, NULL, NULL);
}
