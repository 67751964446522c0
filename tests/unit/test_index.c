/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/stat.h>

#include "image/layer_index.h"

static struct index_bytes text(const char *s)
{
	return (struct index_bytes){ (const uint8_t *)s, (uint32_t)strlen(s) };
}

/** round_trip() - Every field survives. */
static void round_trip(void **state)
{
	struct buf b = BUF_INIT(65536);
	struct index_entry in = { .kind = INDEX_NODE, .mode = S_IFREG | 04755, .uid = UINT32_MAX - 1, .gid = 3000000000u,
				  .mtime_s = -5, .mtime_ns = 999999999, .rdev = 77, .size = (1ULL << 40) + 4, .data_offset = 4096 * 5 };
	struct index_entry out;
	struct reader r;

	(void)state;
	in.path = text("etc/x");
	in.tail = text("tail");
	in.xattrs = (struct index_bytes){ (const uint8_t *)"\1\1\1\0dv\0\0", 8 };
	assert_true(index_append(&b, &in));
	r = reader_init(b.data, b.len);
	assert_true(index_next(&r, &out));
	assert_int_equal(out.mode, in.mode);
	assert_int_equal(out.uid, in.uid);
	assert_int_equal(out.gid, in.gid);
	assert_true(out.mtime_s == -5 && out.mtime_ns == 999999999 && out.rdev == 77);
	assert_true(out.size == in.size && out.data_offset == in.data_offset);
	assert_true(out.path.n == 5 && memcmp(out.path.p, "etc/x", 5) == 0);
	assert_true(out.link.n == 0 && out.tail.n == 4 && out.xattrs.n == 8);
	assert_false(index_next(&r, &out));
	assert_false(r.failed);
	/* Cut anywhere: an error, never a read past the end. */
	for (size_t n = 1; n < b.len; n++) {
		r = reader_init(b.data, n);
		assert_false(index_next(&r, &out));
		assert_true(r.failed);
	}
	buf_free(&b);
}

/** refuses() - Entries that break the rules. */
static void refuses(void **state)
{
	(void)state;
	for (int i = 0; i <= 14; i++) {
		struct index_entry e = { .kind = INDEX_NODE, .mode = S_IFREG | 0644, .path = text("a"), .size = 4096 + 4 }, out;
		struct buf b = BUF_INIT(65536);
		static uint8_t big[LAYER_PATH_MAX];
		struct reader r;

		e.tail = text("tail");
		switch (i) {
		case 0:
			e.kind = 0;
			break;
		case 1:
			e.kind = INDEX_OPAQUE + 1;
			break;
		case 2:
			e.data_offset = 1;
			break;
		case 3:
			e.xattrs = (struct index_bytes){ big, 3 };
			break;
		case 4:
			e.tail = (struct index_bytes){ big, INDEX_TAIL_MAX + 1 };
			e.size = INDEX_TAIL_MAX + 1;
			break;
		case 5:
			e.path = text("a/../b");
			break;
		case 6: /* the last part is not the size's */
			e.size++;
			break;
		case 7: /* a directory with data */
			e.mode = S_IFDIR | 0755;
			break;
		case 8:
			e.link = text("x");
			break;
		case 9:
			e = (struct index_entry){ .kind = INDEX_NODE, .mode = S_IFLNK | 0777, .path = text("a") };
			break;
		case 10:
			e = (struct index_entry){ .kind = INDEX_HARDLINK, .path = text("a"), .link = text("../b") };
			break;
		case 11: /* no type */
			e.mode = 0644;
			break;
		case 12:
			e.mode |= 1u << 16;
			break;
		case 13: /* an attribute longer than its area */
			e.xattrs = (struct index_bytes){ (const uint8_t *)"\1\1\5\0dv\0\0", 8 };
			break;
		default:
			break; /* this one is good */
		}
		assert_true(index_append(&b, &e));
		r = reader_init(b.data, b.len);
		assert_int_equal(index_next(&r, &out), i == 14);
		assert_int_equal(r.failed, i != 14);
		buf_free(&b);
	}
}

/** paths() - Clean relative paths only. */
static void paths(void **state)
{
	static const char *const good[] = { "", "a", "a/b", "...", "a/.b", "..a" };
	static const char *const wrong[] = { "/", "/a", "a/", "a//b", ".", "..", "a/.", "a/../b", "../a" };
	char deep[2 * LAYER_DEPTH_MAX + 2], name[257];
	struct index_bytes b;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		b = text(good[i]);
		assert_true(index_check_path(&b));
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		b = text(wrong[i]);
		assert_false(index_check_path(&b));
	}
	for (size_t i = 0; i < sizeof(deep); i++)
		deep[i] = i % 2 ? '/' : 'd';
	b = (struct index_bytes){ (uint8_t *)deep, 2 * LAYER_DEPTH_MAX - 1 };
	assert_true(index_check_path(&b));
	b.n += 2;
	assert_false(index_check_path(&b));
	memset(name, 'n', sizeof(name));
	b = (struct index_bytes){ (uint8_t *)name, 255 };
	assert_true(index_check_path(&b));
	b.n = 256;
	assert_false(index_check_path(&b));
	b = (struct index_bytes){ (const uint8_t *)"a\0b", 3 };
	assert_false(index_check_path(&b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(refuses),
		cmocka_unit_test(paths),
	};

	return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
