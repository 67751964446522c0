/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "image/layer_index.h"
#include "image/layer_writer.h"

static const char id[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
static char folder[64];
static int layers = -1;

static int setup(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/msb-layer.XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	layers = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return layers < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	close(layers);
	return dir_remove_tree(AT_FDCWD, folder, NULL);
}

/** count_files() - In the folder. */
static unsigned int count_files(void)
{
	DIR *dir = opendir(folder);
	unsigned int n = 0;
	struct dirent *e;

	assert_non_null(dir);
	while ((e = readdir(dir)))
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(dir);
	return n;
}

static struct tar_entry node(enum tar_type type, const char *path)
{
	return (struct tar_entry){ .type = type, .path = path, .link = "", .mode = 0640, .uid = 4000000000u, .gid = 7, .mtime_s = -5,
				   .mtime_ns = 6 };
}

/** give() - An entry, its contents in one piece (NULL: none) and its end. */
static int give(struct layer_writer *w, const struct tar_entry *e, const void *data, size_t n, struct error *err)
{
	int rc = layer_sink.entry(w, e, err);

	if (rc == 0 && n)
		rc = layer_sink.data(w, 0, data, n, err);
	return rc < 0 ? rc : layer_sink.end(w, err);
}

static struct layer_writer *begin(void)
{
	struct error err = ERROR_INIT;
	struct layer_writer *w = layer_writer_new(layers, id, &err);

	assert_non_null(w);
	return w;
}

/** A layer as it was written. */
struct written {
	struct buf index, data;
	struct reader r;
	uint64_t blocks, allocated; /* of .data: 4 KiB blocks, and bytes on the disk */
};

/** commit() - Close the layer and read it back; its files are removed. */
static void commit(struct layer_writer *w, struct written *out)
{
	static const char *const kinds[] = { "index", "data", "frame" };
	struct error err = ERROR_INIT;
	struct stat st;
	char name[80];

	*out = (struct written){ .index = BUF_INIT(INDEX_BYTES_MAX), .data = BUF_INIT(64 << 20) };
	assert_int_equal(layer_writer_commit(w, &out->blocks, &err), 0);
	layer_writer_free(w);
	assert_int_equal(count_files(), 3);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct buf *to = i == 0 ? &out->index : &out->data;

		snprintf(name, sizeof(name), "%s.%s", id, kinds[i]);
		if (i == 1) {
			assert_int_equal(fstatat(layers, name, &st, 0), 0);
			out->allocated = (uint64_t)st.st_blocks * 512;
		}
		if (i < 2)
			assert_int_equal(file_read(layers, name, to->max, to, &err), 0);
		assert_int_equal(unlinkat(layers, name, 0), 0);
	}
	assert_int_equal(out->data.len, out->blocks * INDEX_BLOCK);
	out->r = reader_init(out->index.data, out->index.len);
	assert_memory_equal(reader_bytes(&out->r, sizeof(INDEX_MAGIC)), INDEX_MAGIC, sizeof(INDEX_MAGIC));
}

static struct index_entry next(struct written *w)
{
	struct index_entry e;

	assert_true(index_next(&w->r, &e));
	return e;
}

static void drop(struct written *w)
{
	struct index_entry e;

	assert_false(index_next(&w->r, &e));
	assert_false(w->r.failed);
	buf_free(&w->index);
	buf_free(&w->data);
}

static void same(const struct index_bytes *b, const char *text)
{
	assert_int_equal(b->n, strlen(text));
	assert_memory_equal(b->p, text, b->n);
}

/** sizes() - Whole blocks go to .data, last parts of up to 2047 bytes to the index, at every edge and fed in odd pieces. */
static void sizes(void **state)
{
	static const uint32_t edges[] = { 0, 1, 2046, 2047, 2048, 2049, 4095, 4096, 4097, 6143, 6144, 8192, 1 << 20, (1 << 20) + 2047, 3000001 };
	static const size_t pieces[] = { 1 << 22, 1000, 4096, 7777 };
	uint8_t *body = malloc(3000001);
	struct written got;

	(void)state;
	assert_non_null(body);
	for (size_t i = 0; i < 3000001; i++)
		body[i] = (uint8_t)(i * 2654435761u >> 24 | 1);
	for (size_t piece = 0; piece < ARRAY_LEN(pieces); piece++) {
		struct layer_writer *w = begin();
		struct error err = ERROR_INIT;
		uint64_t at = 0;

		for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
			struct tar_entry e = node(TAR_FILE, "f");

			e.size = edges[i];
			assert_int_equal(layer_sink.entry(w, &e, &err), 0);
			for (size_t from = 0; from < edges[i]; from += pieces[piece])
				assert_int_equal(layer_sink.data(w, from, body + from, MIN(pieces[piece], edges[i] - from), &err), 0);
			assert_int_equal(layer_sink.end(w, &err), 0);
		}
		commit(w, &got);
		for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
			struct index_entry e = next(&got);
			uint32_t tail = edges[i] % 4096 <= 2047 ? edges[i] % 4096 : 0, whole = edges[i] - tail;

			assert_true(e.kind == INDEX_NODE && e.size == edges[i] && e.tail.n == tail && e.data_offset == at);
			if (tail)
				assert_memory_equal(e.tail.p, body + whole, tail);
			if (whole)
				assert_memory_equal(got.data.data + at, body, whole);
			for (; whole % 4096; whole++)
				assert_int_equal(got.data.data[at + whole], 0);
			at += whole;
		}
		assert_int_equal(at, got.data.len);
		drop(&got);
	}
	free(body);
}

/** holes() - Zero blocks and gaps of sparse files take no space, and read as zeros, also in the tail. */
static void holes(void **state)
{
	static const uint8_t zeros[1 << 20];
	struct layer_writer *w = begin();
	struct tar_entry e = node(TAR_FILE, "zeros");
	struct error err = ERROR_INIT;
	struct written got;
	struct index_entry i;

	(void)state;
	e.size = 1 << 20;
	assert_int_equal(give(w, &e, zeros, 1 << 20, &err), 0);
	e.path = "gaps";
	e.size = (40 << 20) + 1000;
	assert_int_equal(layer_sink.entry(w, &e, &err), 0);
	assert_int_equal(layer_sink.data(w, 5000, (const uint8_t *)"five", 4, &err), 0);
	assert_int_equal(layer_sink.data(w, (20 << 20) - 1, (const uint8_t *)"xy", 2, &err), 0);
	assert_int_equal(layer_sink.data(w, (40 << 20) + 10, (const uint8_t *)"tail", 4, &err), 0);
	assert_int_equal(layer_sink.end(w, &err), 0);
	e.path = "nothing-stored";
	e.size = 3000;
	assert_int_equal(give(w, &e, NULL, 0, &err), 0);
	e.path = "after";
	e.size = 5;
	assert_int_equal(give(w, &e, "after", 5, &err), 0);
	commit(w, &got);
	assert_in_range(got.allocated, 3 * 4096, 64 * 1024);
	i = next(&got);
	assert_true(i.size == 1 << 20 && i.data_offset == 0 && i.tail.n == 0);
	i = next(&got);
	assert_true(i.data_offset == 1 << 20 && i.tail.n == 1000);
	assert_memory_equal(got.data.data + i.data_offset + 5000, "five", 5);
	assert_memory_equal(got.data.data + i.data_offset + (20 << 20) - 2, "\0xy", 4);
	assert_memory_equal(i.tail.p + 9, "\0tail", 6);
	i = next(&got);
	assert_true(i.data_offset == (41 << 20) && i.size == 3000 && i.tail.n == 0);
	i = next(&got);
	assert_true(i.data_offset == (41 << 20) + 4096);
	same(&i.tail, "after");
	drop(&got);
}

/** kinds() - Everything that is no file. */
static void kinds(void **state)
{
	struct tar_entry e = node(TAR_DIRECTORY, "./a//b/./c/");
	struct layer_writer *w = begin();
	struct error err = ERROR_INIT;
	struct index_entry i;
	struct written got;

	(void)state;
	e.xattrs[0] = (struct tar_xattr){ "user.a", (const uint8_t *)"value", 5 };
	e.xattrs[1] = (struct tar_xattr){ "security.capability", (const uint8_t *)"", 0 };
	e.xattrs[2] = (struct tar_xattr){ "trusted.overlay.opaque", (const uint8_t *)"y", 1 };
	e.xattrs[3] = (struct tar_xattr){ "system.posix_acl_access", (const uint8_t *)"acl", 3 };
	e.xattrs[4] = (struct tar_xattr){ "other.prefix", (const uint8_t *)"x", 1 };
	e.xattr_count = 5;
	assert_int_equal(give(w, &e, NULL, 0, &err), 0);
	e = node(TAR_SYMLINK, "/link");
	e.link = "../any/thing//at/all";
	assert_int_equal(give(w, &e, NULL, 0, &err), 0);
	e = node(TAR_HARDLINK, "hard");
	e.link = "/./a/b";
	assert_int_equal(give(w, &e, NULL, 0, &err), 0);
	e = node(TAR_CHAR, "c");
	e.major = 0xfff;
	e.minor = 0xfffff;
	assert_int_equal(give(w, &e, NULL, 0, &err), 0);
	e = node(TAR_BLOCKDEV, "b"); /* 0:0 is a whiteout only as a character device */
	assert_int_equal(give(w, &e, NULL, 0, &err), 0);
	e = node(TAR_FIFO, "p");
	assert_int_equal(give(w, &e, NULL, 0, &err), 0);
	assert_null(layer_writer_note(w));
	e = node(TAR_CHAR, "zero");
	assert_int_equal(give(w, &e, NULL, 0, &err), 0);
	assert_non_null(strstr(layer_writer_note(w), "zero: character device 0:0"));
	e = node(TAR_DIRECTORY, "./");
	assert_int_equal(give(w, &e, NULL, 0, &err), 0);
	commit(w, &got);

	i = next(&got);
	same(&i.path, "a/b/c");
	assert_true(i.mode == (S_IFDIR | 0640) && i.uid == 4000000000u && i.gid == 7 && i.mtime_s == -5 && i.mtime_ns == 6);
	assert_int_equal(i.xattrs.n, 12 + 16 + 8);
	assert_memory_equal(i.xattrs.p, "\1\1\5\0avalue\0\0" "\x0a\6\0\0capability\0\0" "\0\2\3\0acl\0", 36);
	i = next(&got);
	same(&i.path, "link");
	same(&i.link, "../any/thing//at/all");
	i = next(&got);
	assert_int_equal(i.kind, INDEX_HARDLINK);
	same(&i.link, "a/b");
	i = next(&got);
	assert_true(i.mode == (S_IFCHR | 0640) && i.rdev == (0xff | 0xfff << 8 | 0xfff00u << 12));
	i = next(&got);
	assert_true(i.mode == (S_IFBLK | 0640) && i.rdev == 0);
	i = next(&got);
	assert_int_equal(i.mode, S_IFIFO | 0640);
	i = next(&got);
	assert_true(i.mode == (S_IFDIR | 0640) && i.path.n == 0);
	drop(&got);
}

/** whiteouts() - By name, whatever their type and contents. */
static void whiteouts(void **state)
{
	static const struct { const char *path; uint8_t kind; const char *means; } cases[] = {
		{ ".wh.a", INDEX_WHITEOUT, "a" },	    { "d/.wh.a", INDEX_WHITEOUT, "d/a" },
		{ "d/.wh..wh..opq", INDEX_OPAQUE, "d" },    { ".wh..wh..opq", INDEX_OPAQUE, "" },
		{ "d/.wh.", INDEX_NODE, "d/.wh." },	    { ".wh..wh.plnk", INDEX_WHITEOUT, ".wh.plnk" },
		{ "x.wh.a", INDEX_NODE, "x.wh.a" },	    { ".wh.d/a", INDEX_NODE, ".wh.d/a" },
		{ ".wh..hidden", INDEX_WHITEOUT, ".hidden" }, { ".wh....", INDEX_WHITEOUT, "..." },
	};
	struct layer_writer *w = begin();
	struct error err = ERROR_INIT;
	struct written got;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct tar_entry e = node(i % 2 ? TAR_FILE : TAR_FIFO, cases[i].path);

		e.size = i % 2 ? 4 : 0;
		assert_int_equal(give(w, &e, "gone", i % 2 ? 4 : 0, &err), 0);
	}
	commit(w, &got);
	assert_int_equal(got.blocks, 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct index_entry e = next(&got);

		assert_int_equal(e.kind, cases[i].kind);
		same(&e.path, cases[i].means);
	}
	drop(&got);
}

/** refuses() - What a layer cannot have; what was begun is gone. */
static void refuses(void **state)
{
	static char long_name[300], deep[600], long_path[6000];
	static uint8_t big[70000];
	struct { struct tar_entry e; enum err_code code; const char *words; } cases[] = {
		{ node(TAR_FILE, "a/../b"), ERR_INVALID, "\"..\"" },
		{ node(TAR_FILE, ".."), ERR_INVALID, "\"..\"" },
		{ node(TAR_FILE, "a/.."), ERR_INVALID, "\"..\"" },
		{ node(TAR_HARDLINK, "a"), ERR_INVALID, "\"..\"" },
		{ node(TAR_FILE, ".wh.."), ERR_INVALID, "whiteout of" },
		{ node(TAR_FILE, ".wh..."), ERR_INVALID, "whiteout of" },
		{ node(TAR_FILE, long_name), ERR_LIMIT, "255 bytes" },
		{ node(TAR_FILE, deep), ERR_LIMIT, "128 levels" },
		{ node(TAR_FILE, long_path), ERR_LIMIT, "longer than 4096" },
		{ node(TAR_FILE, "./"), ERR_INVALID, "without a name" },
		{ node(TAR_FILE, ""), ERR_INVALID, "without a name" },
		{ node(TAR_SYMLINK, "l"), ERR_LIMIT, "bad symbolic link" },
		{ node(TAR_SYMLINK, "l"), ERR_LIMIT, "bad symbolic link" },
		{ node(TAR_FILE, "f"), ERR_INVALID, "out of range" },
		{ node(TAR_FILE, "f"), ERR_INVALID, "out of range" },
		{ node(TAR_CHAR, "c"), ERR_INVALID, "device number" },
		{ node(TAR_BLOCKDEV, "b"), ERR_INVALID, "device number" },
		{ node(TAR_FILE, "f"), ERR_LIMIT, "5 GiB" },
		{ node(TAR_FILE, "f"), ERR_LIMIT, "attributes too large" },
		{ node(TAR_FILE, "f"), ERR_LIMIT, "attributes too large" },
	};
	size_t n = ARRAY_LEN(cases);

	(void)state;
	memset(long_name, 'n', 256);
	for (int i = 0; i < 129; i++)
		memcpy(deep + 2 * i, "d/", 2);
	for (int i = 0; i < 5000; i += 250) {
		memset(long_path + i, 'p', 249);
		long_path[i + 249] = '/';
	}
	cases[3].e.link = "x/../../etc/passwd";
	cases[11].e.link = "";
	cases[12].e.link = long_path;
	cases[13].e.uid = 1ULL << 32;
	cases[14].e.gid = 1ULL << 32;
	cases[15].e.major = 0x1000;
	cases[16].e.minor = 0x100000;
	cases[17].e.size = LAYER_FILE_BYTES_MAX + 1;
	cases[n - 2].e.xattrs[0] = (struct tar_xattr){ "user.x", big, sizeof(big) };
	cases[n - 2].e.xattr_count = 1;
	for (size_t i = 0; i < 2; i++) /* each is small enough, both are not */
		cases[n - 1].e.xattrs[i] = (struct tar_xattr){ "user.x", big, 40000 };
	cases[n - 1].e.xattr_count = 2;
	for (size_t i = 0; i < n; i++) {
		struct layer_writer *w = begin();
		struct error err = ERROR_INIT;

		assert_int_equal(layer_sink.entry(w, &cases[i].e, &err), -(int)cases[i].code);
		if (!strstr(err.text, cases[i].words))
			fail_msg("\"%s\" does not say \"%s\"", err.text, cases[i].words);
		layer_writer_free(w);
		assert_int_equal(count_files(), 0);
	}
}

/** limits() - 10 GiB of files, holes counted too; a million entries. */
static void limits(void **state)
{
	struct tar_entry e = node(TAR_FILE, "f");
	struct layer_writer *w = begin();
	struct error err = ERROR_INIT;

	(void)state;
	e.size = LAYER_FILE_BYTES_MAX;
	assert_int_equal(give(w, &e, NULL, 0, &err), 0);
	assert_int_equal(give(w, &e, NULL, 0, &err), 0);
	e.size = 1;
	assert_int_equal(give(w, &e, NULL, 0, &err), -ERR_LIMIT);
	assert_non_null(strstr(err.text, "10 GiB"));
	layer_writer_free(w);
	w = begin();
	err = (struct error)ERROR_INIT;
	e.size = 0;
	for (uint32_t i = 0; i < LAYER_ENTRIES_MAX; i++)
		assert_int_equal(give(w, &e, NULL, 0, &err), 0);
	assert_int_equal(give(w, &e, NULL, 0, &err), -ERR_LIMIT);
	assert_non_null(strstr(err.text, "1000000 entries"));
	layer_writer_free(w);
	assert_int_equal(count_files(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes), cmocka_unit_test(holes), cmocka_unit_test(kinds),
		cmocka_unit_test(whiteouts), cmocka_unit_test(refuses), cmocka_unit_test(limits),
	};

	return cmocka_run_group_tests_name("layer_writer", tests, setup, teardown);
}
