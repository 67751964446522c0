/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "image/bundle.h"

/** member() - A tar header with its checksum, then the content in whole blocks. */
static void member(struct buf *b, const char *name, char type, const char *link, const void *data, size_t n)
{
	uint8_t h[512] = { 0 }, *at;
	unsigned int sum = 0;

	snprintf((char *)h, 100, "%s", name);
	snprintf((char *)h + 124, 12, "%011zo", n);
	h[156] = (uint8_t)type;
	snprintf((char *)h + 157, 100, "%s", link);
	memcpy(h + 257, "ustar\00000", 8);
	memset(h + 148, ' ', 8);
	for (int i = 0; i < 512; i++)
		sum += h[i];
	snprintf((char *)h + 148, 8, "%06o", sum);
	assert_true(buf_append(b, h, 512));
	at = buf_extend(b, (n + 511) / 512 * 512);
	assert_true(at || n == 0);
	if (n)
		memcpy(memset(at, 0, (n + 511) / 512 * 512), data, n);
}

static int as_file(const struct buf *b, size_t n)
{
	int fd = fd_memfd("test-tar", 0, false);

	assert_true(fd >= 0 && fd_write_full(fd, b->data, n) >= 0);
	return fd;
}

/** finds() - Members, long names of both kinds, links as docker writes them. */
static void finds(void **state)
{
	static const char gnu[] = "a/gnu/long/name", pax[] = "19 path=a/pax/name\n";
	struct buf b = BUF_INIT(1 << 20), text = BUF_INIT(1000);
	struct error err = ERROR_INIT;
	struct bundle a;
	int fd;

	(void)state;
	member(&b, "./one", '0', "", "first", 5);
	member(&b, "x", 'L', "", gnu, sizeof(gnu));
	member(&b, "cut", '0', "", "second", 6);
	member(&b, "x", 'x', "", pax, sizeof(pax) - 1);
	member(&b, "cut", '0', "", "third", 5);
	member(&b, "dir/", '5', "", NULL, 0);
	member(&b, "id/layer.tar", '2', "../one", NULL, 0);
	member(&b, "loop", '2', "loop", NULL, 0);
	fd = as_file(&b, b.len);
	assert_int_equal(bundle_scan(fd, &a, &err), 0);
	assert_int_equal(bundle_read(&a, "one", &text, &err), 0);
	assert_int_equal(bundle_read(&a, gnu, &text, &err), 0);
	assert_int_equal(bundle_read(&a, "a/pax/name", &text, &err), 0);
	assert_int_equal(bundle_read(&a, "id/layer.tar", &text, &err), 0);
	assert_string_equal(buf_cstr(&text), "firstsecondthirdfirst");
	assert_null(bundle_find(&a, "loop"));
	assert_null(bundle_find(&a, "dir"));
	assert_int_equal(bundle_read(&a, "nothing", &text, &err), -ERR_INVALID);
	bundle_free(&a);
	close(fd);
	buf_free(&b);
	buf_free(&text);
}

/** refuses() - Damage and truncation. */
static void refuses(void **state)
{
	struct buf b = BUF_INIT(1 << 20);

	(void)state;
	member(&b, "one", '0', "", "first", 5);
	for (int i = 0; i < 4; i++) {
		struct error err = ERROR_INIT;
		struct bundle a;
		int fd;

		if (i == 1)
			b.data[5] ^= 1; /* the checksum tells */
		if (i == 3)
			b.data[0] = 0;
		fd = as_file(&b, i == 0 ? 0 : i == 2 ? 100 : b.len);
		assert_int_equal(bundle_scan(fd, &a, &err), -ERR_INVALID);
		bundle_free(&a);
		close(fd);
		if (i == 1)
			b.data[5] ^= 1;
	}
	buf_free(&b);
}

/** cut_member() - A member that the file does not hold whole. */
static void cut_member(void **state)
{
	struct buf b = BUF_INIT(1 << 20);
	struct error err = ERROR_INIT;
	uint8_t data[2000] = { 1 };
	struct bundle a;
	int fd;

	(void)state;
	member(&b, "one", '0', "", data, sizeof(data));
	fd = as_file(&b, 1500);
	assert_int_equal(bundle_scan(fd, &a, &err), -ERR_INVALID);
	assert_non_null(strstr(err.text, "truncated"));
	bundle_free(&a);
	close(fd);
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds),
		cmocka_unit_test(refuses),
		cmocka_unit_test(cut_member),
	};

	return cmocka_run_group_tests_name("tar", tests, NULL, NULL);
}
