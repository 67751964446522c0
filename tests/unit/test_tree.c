/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "image/tree.h"

/**
 * A layer in words: "d PATH" folder, "f PATH" file, "l PATH TARGET" symbolic link, "h PATH TARGET" hard link, "w PATH" whiteout,
 * "o PATH" opaque folder; one a line. Files are told apart by their layer.
 */
static void layer(struct buf *b, const char *words)
{
	char line[512], path[200], target[200];

	*b = (struct buf)BUF_INIT(1 << 24);
	assert_true(buf_append(b, INDEX_MAGIC, sizeof(INDEX_MAGIC)));
	for (const char *p = words; *p;) {
		size_t n = strcspn(p, "\n");
		struct index_entry e = { .kind = INDEX_NODE };
		char kind;

		assert_true(n < sizeof(line));
		snprintf(line, sizeof(line), "%.*s", (int)n, p);
		path[0] = target[0] = '\0';
		assert_true(sscanf(line, "%c %199s %199s", &kind, path, target) >= 1);
		e.kind = kind == 'h' ? INDEX_HARDLINK : kind == 'w' ? INDEX_WHITEOUT : kind == 'o' ? INDEX_OPAQUE : INDEX_NODE;
		e.mode = kind == 'd' ? S_IFDIR | 0700 : kind == 'f' ? S_IFREG | 0644 : kind == 'l' ? S_IFLNK | 0777 : 0;
		e.path = (struct index_bytes){ (const uint8_t *)path, (uint32_t)strlen(path) };
		e.link = (struct index_bytes){ (const uint8_t *)target, (uint32_t)strlen(target) };
		assert_true(index_append(b, &e));
		p += n + (p[n] == '\n');
	}
}

/** describe() - Every path below a node: name, type, layer of its inode, "+" for each further link. */
static void describe(const struct node *dir, const char *above, struct buf *out)
{
	for (uint32_t i = 0; i < dir->child_count; i++) {
		const struct node *n = dir->child[i];
		char path[600];

		snprintf(path, sizeof(path), "%s%.*s", above, (int)n->name_len, n->name);
		assert_true(n->parent == dir && n->inode->nlink >= 1);
		assert_true(buf_printf(out, "%s%s%u%.*s ", path, S_ISDIR(n->inode->e.mode) ? "/" : S_ISLNK(n->inode->e.mode) ? "@" : ":",
				       n->inode->layer, (int)(n->inode->nlink - 1), "+++++++"));
		if (n->inode->dir) {
			snprintf(path + strlen(path), sizeof(path) - strlen(path), "/");
			describe(n, path, out);
		}
	}
}

/** merge() - Layers, lowest first, and what they make: or the words of the error. */
static void merge(const char *const *layers, size_t count, const char *want)
{
	struct buf index[4], out = BUF_INIT(1 << 20);
	struct error err = ERROR_INIT;
	struct tree t;
	int rc = 0;

	assert_true(count <= 4 && tree_init(&t));
	for (size_t i = 0; i < count; i++)
		layer(&index[i], layers[i]);
	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = tree_add_layer(&t, (uint32_t)i, index[i].data, index[i].len, &err);
	if (rc == 0) {
		describe(t.root, "", &out);
		assert_string_equal(buf_cstr(&out), want);
	} else {
		assert_int_equal(rc, -(int)err.code);
		if (!strstr(err.text, want))
			fail_msg("\"%s\" does not say \"%s\"", err.text, want);
	}
	tree_free(&t);
	for (size_t i = 0; i < count; i++)
		buf_free(&index[i]);
	buf_free(&out);
}

#define MERGE(want, ...) merge((const char *const[]){ __VA_ARGS__ }, sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *), want)

/** whiteouts() - Of lower layers, wherever they stand in their own. */
static void whiteouts(void **state)
{
	(void)state;
	MERGE("b:0 ", "f a\nf b", "w a");
	MERGE("a:1 b:0 ", "f a\nf b", "w a\nf a");
	MERGE("a:1 b:0 ", "f a\nf b", "f a\nw a");
	MERGE("d/1 d/new:1 ", "d d\nf d/old", "w d\nd d\nf d/new");
	MERGE("d/1 d/new:1 ", "d d\nf d/old", "d d\nf d/new\nw d");
	MERGE("d/0 d/e/1 d/e/new:1 d/new:1 ", "d d\nf d/old\nd d/e\nf d/e/old", "f d/new\no d\nd d/e\nf d/e/new");
	MERGE("d/0 d/e/0 d/e/new:1 ", "d d\nf d/old\nd d/e\nf d/e/old", "f d/e/new\no d");
	MERGE("a:1 ", "f x\nd y\nf y/z", "f a\no ");
	MERGE("a:0 ", "f a", "w nothing\nw a/b\no b\nw a/b/c\nw b/c");
	MERGE("", "f a\nw a", "w a\nw a"); /* twice is once; and none in the lowest layer */
	MERGE("a:0 ", "f a\nw a");
	MERGE("d/2 ", "d d\nf d/a", "w d", "d d");
}

/** links() - Identity is kept: by the inode, not by the path. */
static void links(void **state)
{
	(void)state;
	MERGE("a:0++ b:0++ c:0++ ", "f a\nh b a\nh c b");
	MERGE("a:0 b:0 ", "f a\nh b a\nf a");
	MERGE("a:1 b:0 ", "f a\nh b a", "f a");
	MERGE("b:0 ", "f a\nh b a", "w a");
	MERGE("a:0++ b:0++ c:0++ ", "f a\nh b a", "h c b");
	MERGE("a:0+ b:0+ ", "f a\nh b a", "h b a");
	MERGE("a@0+ b@0+ ", "l a x\nh b a");
	MERGE("d:0+ f:0+ ", "f f\nd d\nf d/x\nh d f");
	MERGE("target missing is missing", "h a missing");
	MERGE("target d is missing", "d d\nh a d");
	MERGE("target a is missing", "f a", "w a\nh b a");
	MERGE("b:0 ", "f a", "h b a\nw a"); /* in order, as umoci */
}

/** changes() - One type over another. */
static void changes(void **state)
{
	(void)state;
	MERGE("a:1 ", "d a\nf a/b", "f a");
	MERGE("a/1 ", "f a", "d a");
	MERGE("a/1 b:0 ", "f a\nf b", "d a");
	MERGE("a@1 ", "d a\nf a/b", "l a b");
	MERGE("a/1 a/b:0 ", "d a\nf a/b", "d a");
	MERGE("a/1 a/b:1 ", "f a", "f a/b"); /* a file cannot have one below it: it gives way */
	MERGE("a/0 a/b/0 a/b/c:0 ", "f a/b/c");
	MERGE("a/1 ", "l a b", "d a");
}

/** through_links() - As if each entry were made in the merged tree, whose root nothing leaves. */
static void through_links(void **state)
{
	(void)state;
	MERGE("l@0 real/0 real/f:1 ", "d real\nl l real", "f l/f");
	MERGE("l@0 real/0 real/f:0 ", "d real\nl l /real\nf l/f");
	MERGE("d/0 d/l@0 real/0 real/f:1 ", "d real\nd d\nl d/l ../../../real", "f d/l/f");
	MERGE("a@0 b@0 real/0 real/f:1 ", "d real\nl a b\nl b real", "f a/f");
	MERGE("l@0 no/1 no/where/1 no/where/f:1 ", "l l no/where", "f l/f");
	MERGE("l@0 real/0 ", "d real\nf real/f\nl l real", "w l/f");
	MERGE("h:0+ l@0 real/0 real/f:0+ ", "d real\nf real/f\nl l real", "h h l/f");
	MERGE("l@0 real/0 real/d/0 real/d/f:1 ", "d real\nd real/d\nl l real/.", "f l/d/f");
	MERGE("l@0 x:1 ", "l l /", "f l/x");
	/* The last component is never followed. */
	MERGE("l:1 real/0 ", "d real\nl l real", "f l");
	/* An opaque mark behind the folder that replaces a link speaks of that folder. */
	MERGE("lib/1 lib/new:1 usr/0 usr/lib/0 usr/lib/old:0 ", "d usr\nd usr/lib\nf usr/lib/old\nl lib usr/lib", "d lib\no lib\nf lib/new");
	MERGE("more than 40 symbolic links", "l a b\nl b a", "f a/f");
	MERGE("a@0 b@0 ", "l a b\nl b a", "w a/f");
	MERGE("target a/f is missing", "l a b\nl b a", "h f a/f");
}

/** deep() - Links lead deeper than any path: there is an end to it. */
static void deep(void **state)
{
	struct buf words = BUF_INIT(1 << 16);
	char path[200] = "x";

	(void)state;
	/* 60 levels; a link to the lowest; 60 more through it; and a link to those. */
	for (int i = 0; i < 60; i++)
		snprintf(path + strlen(path), sizeof(path) - strlen(path), "/x");
	assert_true(buf_printf(&words, "d %s\nl l %s\nd l/%s\nl m l/%s\n", path, path, path, path));
	for (int i = 0; i < 2; i++) {
		struct buf index;
		struct error err = ERROR_INIT;
		struct tree t;

		layer(&index, buf_cstr(&words));
		assert_true(tree_init(&t));
		assert_int_equal(tree_add_layer(&t, 0, index.data, index.len, &err), i ? -ERR_LIMIT : 0);
		if (i)
			assert_non_null(strstr(err.text, "more than 128 levels"));
		tree_free(&t);
		buf_free(&index);
		assert_true(buf_printf(&words, "f m/a/b/c/d/e/f/g/h\n"));
	}
	buf_free(&words);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whiteouts), cmocka_unit_test(links), cmocka_unit_test(changes),
		cmocka_unit_test(through_links), cmocka_unit_test(deep),
	};

	return cmocka_run_group_tests_name("tree", tests, NULL, NULL);
}
