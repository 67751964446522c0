/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "image/frame_file.h"
#include "image/layer_index.h"
#include "image/layer_writer.h"
#include "tar_builder.h"

static const char id[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
static char folder[64];
static int layers = -1;

static int setup(void **state)
{
	(void)state;
	/* No disk where that can be had: every layer is synced. */
	snprintf(folder, sizeof(folder), "/dev/shm/msb-frame.XXXXXX");
	if (!mkdtemp(folder)) {
		snprintf(folder, sizeof(folder), "/tmp/msb-frame.XXXXXX");
		if (!mkdtemp(folder))
			return -1;
	}
	layers = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return layers < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	close(layers);
	return dir_remove_tree(AT_FDCWD, folder, NULL);
}

static void path_of(const char *kind, char out[80])
{
	snprintf(out, 80, "%s.%s", id, kind);
}

/** store() - A tar through the reader and the writer into the folder. Return: false when it was refused. */
static bool store(const struct buf *tar)
{
	struct error err = ERROR_INIT;
	struct layer_writer *w = layer_writer_new(layers, id, &err);
	struct tar *t = w ? tar_new(&layer_sink, w) : NULL;
	uint64_t blocks;
	bool ok;

	assert_non_null(t);
	ok = tar_feed(t, tar->data, tar->len, &err) == 0 && tar_finish(t, &err) == 0 && layer_writer_commit(w, &blocks, &err) == 0;
	tar_free(t);
	layer_writer_free(w);
	return ok;
}

static int collect(void *arg, const uint8_t *p, size_t n, struct error *err)
{
	return buf_append(arg, p, n) ? 0 : err_set(err, ERR_LIMIT, 0, "more than the buffer holds");
}

/** replay() - The tar again, from the three files. */
static int replay(struct buf *out, uint64_t *size, struct error *err)
{
	struct buf index = BUF_INIT(INDEX_BYTES_MAX);
	char name[80];
	int frame, data, rc;

	path_of("frame", name);
	frame = openat(layers, name, O_RDONLY | O_CLOEXEC);
	path_of("data", name);
	data = openat(layers, name, O_RDONLY | O_CLOEXEC);
	path_of("index", name);
	assert_true(frame >= 0 && data >= 0);
	assert_int_equal(file_read(layers, name, INDEX_BYTES_MAX, &index, NULL), 0);
	rc = frame_tar_size(frame, size, err);
	if (rc == 0)
		rc = frame_replay(frame, data, index.data, index.len, collect, out, err);
	close(frame);
	close(data);
	buf_free(&index);
	return rc;
}

/** check() - Store, replay, compare; the tar is emptied. */
static void check(struct buf *tar)
{
	struct buf out = BUF_INIT(64 << 20);
	struct error err = ERROR_INIT;
	uint64_t size = 0;

	assert_true(store(tar));
	assert_int_equal(replay(&out, &size, &err), 0);
	assert_int_equal(size, tar->len);
	assert_int_equal(out.len, tar->len);
	if (tar->len)
		assert_memory_equal(out.data, tar->data, tar->len);
	buf_free(&out);
	tar->len = 0;
}

static unsigned int dice = 1;

/** roll() - A number below n. */
static unsigned int roll(unsigned int n)
{
	dice = dice * 1103515245 + 12345;
	return (dice >> 8) % n;
}

/** put_sparse() - An old GNU sparse file of up to four pieces. */
static void put_sparse(struct buf *tar, const char *name)
{
	static uint8_t body[40000];
	uint64_t at = 0, stored = 0;
	uint8_t h[512];

	tar_start(h, name, 'S', 0, GNU_MAGIC);
	for (unsigned int i = 0; i < 1 + roll(4); i++) {
		uint64_t n = roll(3) ? roll(9000) : 0;

		at += roll(3) * roll(10000);
		tar_octal(h + 386 + 24 * i, 12, at);
		tar_octal(h + 398 + 24 * i, 12, n);
		at += n;
		stored += n;
	}
	for (uint64_t i = 0; i < stored; i++)
		body[i] = (uint8_t)roll(256);
	tar_octal(h + 124, 12, stored);
	tar_octal(h + 483, 12, at + roll(2) * roll(5000));
	tar_put(tar, h, body, stored);
}

/** put_random() - An entry of some kind. */
static void put_random(struct buf *tar, int i)
{
	static uint8_t body[70000];
	char name[64];
	size_t n = roll(8) ? roll(9000) : roll(70000);
	unsigned int kind = roll(10);

	snprintf(name, sizeof(name), "d%u/f%d", roll(5), roll(4) ? i : 0);
	memset(body, roll(3) ? 'x' : 0, n);
	if (kind == 0)
		put_sparse(tar, name);
	else if (kind == 1)
		tar_simple(tar, name, "0123456"[roll(7)], "t", NULL, 0);
	else if (kind == 2)
		tar_simple(tar, "d/.wh.x", '0', "", body, n % 50); /* contents of a whiteout are no file's */
	else if (kind == 3)
		tar_simple(tar, "dev", '3', "", NULL, 0); /* left out of the index */
	else
		tar_simple(tar, name, '0', "", body, n);
	if (roll(4) == 0)
		tar_pax(tar, "comment", "in between");
	else if (roll(4) == 0)
		tar->data[tar->len - 1] ^= (uint8_t)(tar->len % 512 == 0 && n % 512 == 100); /* padding that is not zero */
}

/** random_tars() - What went in comes out, to the last bit. */
static void random_tars(void **state)
{
	struct buf tar = BUF_INIT(64 << 20);

	(void)state;
	for (unsigned int seed = 1; seed <= 150; seed++) {
		dice = seed;
		for (unsigned int i = roll(40); i > 0; i--)
			put_random(&tar, (int)i);
		tar_simple(&tar, "last", '0', "", "x", roll(2));
		if (roll(3)) {
			tar_end(&tar);
			for (unsigned int i = roll(20); i > 0; i--)
				assert_true(buf_append(&tar, "blocks of zeros, or whatever it is", roll(34)));
		}
		print_message("# seed %u, %zu bytes\n", seed, tar.len);
		check(&tar);
	}
	buf_free(&tar);
}

/** odd_tars() - Nothing; only an end; a last padding that is missing. */
static void odd_tars(void **state)
{
	struct buf tar = BUF_INIT(1 << 20);

	(void)state;
	check(&tar);
	tar_end(&tar);
	check(&tar);
	tar_simple(&tar, "f", '0', "", "abc", 3);
	tar.len -= 509;
	check(&tar);
	buf_free(&tar);
}

/** sizes() - The frame of an ordinary layer is small: headers compress. */
static void sizes(void **state)
{
	struct buf tar = BUF_INIT(64 << 20);
	static uint8_t body[5000];
	struct buf frame = BUF_INIT(1 << 20);
	char name[128];

	(void)state;
	for (int i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "usr/lib/thing/file-%d.h", i);
		tar_simple(&tar, name, '0', "", body, 100 + (size_t)i);
	}
	tar_end(&tar);
	check(&tar);
	path_of("frame", name);
	assert_int_equal(file_read(layers, name, 1 << 20, &frame, NULL), 0);
	assert_in_range(frame.len, 100, 60000); /* 30 bytes an entry */
	buf_free(&frame);
	buf_free(&tar);
}

/** rewrite() - Replace one of the files. */
static void rewrite(const char *kind, const void *p, size_t n)
{
	char name[80];

	path_of(kind, name);
	assert_int_equal(file_write_atomic(layers, name, p, n, 0600, NULL), 0);
}

/** put_number() - LEB128. */
static void put_number(struct buf *b, uint64_t v)
{
	uint8_t c;

	do {
		c = (uint8_t)((v & 127) | (v > 127 ? 128 : 0));
		assert_true(buf_append(b, &c, 1));
	} while (v >>= 7);
}

/** rewrite_frame() - A frame of these operations: op and three numbers each, UINT64_MAX for none. */
static void rewrite_frame(const uint64_t (*ops)[4], size_t count, const char *rest)
{
	struct buf plain = BUF_INIT(1 << 20), file = BUF_INIT(1 << 20);
	uint64_t size = 0;
	uint8_t *to;
	size_t n;

	for (size_t i = 0; i < count; i++) {
		uint8_t op = (uint8_t)ops[i][0];

		assert_true(buf_append(&plain, &op, 1));
		for (int k = 1; k < 4; k++)
			if (ops[i][k] != UINT64_MAX)
				put_number(&plain, ops[i][k]);
	}
	assert_true(buf_append_str(&plain, rest));
	assert_true(buf_append(&file, FRAME_MAGIC, sizeof(FRAME_MAGIC)) && buf_append(&file, &size, 8));
	to = buf_extend(&file, ZSTD_compressBound(plain.len));
	assert_non_null(to);
	n = ZSTD_compress(to, ZSTD_compressBound(plain.len), plain.data, plain.len, 1);
	assert_false(ZSTD_isError(n));
	rewrite("frame", file.data, sizeof(FRAME_MAGIC) + 8 + n);
	buf_free(&plain);
	buf_free(&file);
}

#define NONE UINT64_MAX

/** hostile() - Operations that lead out of the files are refused, and nothing is read beyond them. */
static void hostile(void **state)
{
	static const struct { uint64_t ops[2][4]; size_t count; const char *rest; int rc; } cases[] = {
		{ { { FRAME_DATA, 0, 8192, NONE } }, 1, "", 0 },
		{ { { FRAME_DATA, 0, 8193, NONE } }, 1, "", -ERR_INVALID },
		{ { { FRAME_DATA, 8192, 1, NONE } }, 1, "", -ERR_INVALID },
		{ { { FRAME_DATA, 1ULL << 62, 1, NONE } }, 1, "", -ERR_INVALID },
		{ { { FRAME_DATA, 0, 1ULL << 62, NONE } }, 1, "", -ERR_INVALID },
		{ { { FRAME_DATA, 8000, 100, NONE }, { FRAME_DATA, UINT64_MAX - 1, 1, NONE } }, 2, "", -ERR_INVALID },
		{ { { FRAME_TAIL, 0, 0, 100 } }, 1, "", 0 },
		{ { { FRAME_TAIL, 0, 50, 50 }, { FRAME_TAIL, 1, 0, 7 } }, 2, "", 0 },
		{ { { FRAME_TAIL, 0, 0, 101 } }, 1, "", -ERR_INVALID },
		{ { { FRAME_TAIL, 0, 101, 0 } }, 1, "", -ERR_INVALID },
		{ { { FRAME_TAIL, 0, 1ULL << 62, 1 } }, 1, "", -ERR_INVALID },
		{ { { FRAME_TAIL, 2, 0, 1 } }, 1, "", -ERR_INVALID },
		{ { { FRAME_TAIL, 1, 0, 1 }, { FRAME_TAIL, UINT64_MAX - 1, 0, 1 } }, 2, "", -ERR_INVALID },
		{ { { FRAME_LITERAL, 4, NONE, NONE } }, 1, "text", 0 },
		{ { { FRAME_LITERAL, 5, NONE, NONE } }, 1, "text", -ERR_INVALID },
		{ { { FRAME_LITERAL, 3, NONE, NONE } }, 1, "text", -ERR_INVALID },
		{ { { FRAME_LITERAL, 1ULL << 40, NONE, NONE } }, 1, "text", -ERR_INVALID },
		{ { { 0, 1, NONE, NONE } }, 1, "x", -ERR_INVALID },
		{ { { 4, 1, 1, NONE } }, 1, "", -ERR_INVALID },
		{ { { FRAME_DATA, 0, NONE, NONE } }, 1, "", -ERR_INVALID },
		{ { { 0 } }, 0, "\2\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", -ERR_INVALID },
	};
	static uint8_t body[9000];
	struct buf tar = BUF_INIT(1 << 20), out = BUF_INIT(1 << 20);

	(void)state;
	memset(body, 'b', sizeof(body));
	tar_simple(&tar, "a", '0', "", body, 4196); /* a block and a tail of 100 */
	tar_simple(&tar, "b", '0', "", body, 4103); /* ... and of 7 */
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct error err = ERROR_INIT;
		uint64_t size;
		int rc;

		assert_true(store(&tar));
		rewrite_frame(cases[i].ops, cases[i].count, cases[i].rest);
		out.len = 0;
		rc = replay(&out, &size, &err);
		if (rc != cases[i].rc)
			fail_msg("case %zu: %d, expected %d", i, rc, cases[i].rc);
		if (rc)
			assert_string_equal(err.text, "the layer's frame is damaged");
		for (size_t k = 0; k < out.len; k++)
			assert_true(out.data[k] == 'b' || cases[i].rest[0]);
	}
	buf_free(&tar);
	buf_free(&out);
}

/** damaged() - Any file cut: an error. With a flipped bit: an error, or another tar, whose digest tells. */
static void damaged(void **state)
{
	static const char *const kinds[] = { "frame", "index", "data" };
	struct buf tar = BUF_INIT(1 << 20), file = BUF_INIT(1 << 20), out = BUF_INIT(1 << 20);
	uint8_t body[5000];
	char name[80];

	(void)state;
	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (uint8_t)(i * 37 >> 3);
	tar_simple(&tar, "a", '0', "", body, sizeof(body));
	tar_simple(&tar, "b", '0', "", body, 700);
	tar_end(&tar);
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		size_t step, refused = 0;

		assert_true(store(&tar));
		path_of(kinds[k], name);
		file.len = 0;
		assert_int_equal(file_read(layers, name, 1 << 20, &file, NULL), 0);
		step = file.len / 400 + 1;
		for (size_t at = 0; at < file.len; at += step) {
			struct error err = ERROR_INIT, cut = ERROR_INIT;
			uint64_t size = 0;

			file.data[at] ^= 0x10;
			rewrite(kinds[k], file.data, file.len);
			file.data[at] ^= 0x10;
			out.len = 0;
			if (replay(&out, &size, &err) < 0) {
				assert_int_equal(err.code, ERR_INVALID);
				refused++;
			} else if (k == 2) { /* what the digest is for */
				assert_int_equal(out.len, tar.len);
				assert_memory_not_equal(out.data, tar.data, tar.len);
			}
			rewrite(kinds[k], file.data, at);
			out.len = 0;
			if (k < 2 || at < 4096)
				assert_int_equal(replay(&out, &size, &cut), -ERR_INVALID);
		}
		assert_int_equal(refused > 0, k < 2);
	}
	buf_free(&tar);
	buf_free(&file);
	buf_free(&out);
}

/** broken_sink() - Its error is the caller's. */
static int broken_sink(void *arg, const uint8_t *p, size_t n, struct error *err)
{
	(void)arg;
	(void)p;
	(void)n;
	return err_set(err, ERR_CLOSED, 0, "nobody listens");
}

static void sink_fails(void **state)
{
	struct buf tar = BUF_INIT(1 << 20), index = BUF_INIT(1 << 20);
	struct error err = ERROR_INIT;
	uint64_t size;
	char name[80];
	int frame, data;

	(void)state;
	tar_simple(&tar, "a", '0', "", "abc", 3);
	assert_true(store(&tar));
	path_of("frame", name);
	frame = openat(layers, name, O_RDONLY | O_CLOEXEC);
	path_of("data", name);
	data = openat(layers, name, O_RDONLY | O_CLOEXEC);
	path_of("index", name);
	assert_int_equal(file_read(layers, name, 1 << 20, &index, NULL), 0);
	assert_int_equal(frame_tar_size(frame, &size, &err), 0);
	assert_int_equal(frame_replay(frame, data, index.data, index.len, broken_sink, NULL, &err), -ERR_CLOSED);
	close(frame);
	close(data);
	buf_free(&index);
	buf_free(&tar);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_tars), cmocka_unit_test(odd_tars), cmocka_unit_test(sizes),
		cmocka_unit_test(hostile),     cmocka_unit_test(damaged),  cmocka_unit_test(sink_fails),
	};

	return cmocka_run_group_tests_name("frame_file", tests, setup, teardown);
}
