/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "disk/disk.h"

/** file_of() - A memfd of n bytes, byte i being seed + i / 512 (so that every sector differs). */
static int file_of(uint8_t seed, size_t n)
{
	int fd = fd_memfd("test-disk", n, false);

	assert_true(fd >= 0);
	for (size_t i = 0; i < n; i++) {
		uint8_t b = (uint8_t)(seed + i / 512);

		assert_int_equal(pwrite(fd, &b, 1, (off_t)i), 1);
	}
	return fd;
}

/** is_open() - Is this descriptor open? */
static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void raw_round_trip(void **state)
{
	struct error err = ERROR_INIT;
	int fd = file_of(1, 4096);
	struct disk *d = disk_open_raw(fd, false, &err);
	uint8_t a[100], b[924], c[1024];
	struct iovec out[2] = { { a, sizeof(a) }, { b, sizeof(b) } };
	struct iovec in[3] = { { c, 1000 }, { NULL, 0 }, { c + 1000, 24 } };

	(void)state;
	assert_non_null(d);
	assert_int_equal(d->size_bytes, 4096);
	memset(a, 0xaa, sizeof(a));
	memset(b, 0xbb, sizeof(b));
	assert_int_equal(d->ops->writev(d, out, 2, 512), 0);
	assert_int_equal(d->ops->flush(d), 0);
	assert_int_equal(d->ops->readv(d, in, 3, 512), 0);
	assert_memory_equal(c, a, sizeof(a));
	assert_memory_equal(c + 100, b, sizeof(b));
	assert_int_equal(d->ops->discard(d, 512, 512, true), 0);
	assert_int_equal(d->ops->readv(d, in, 1, 0), 0);
	assert_int_equal(c[511], 1);
	for (int i = 512; i < 1000; i++)
		assert_int_equal(c[i], 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), 4096); /* the size stays */
	disk_close(d);
	assert_false(is_open(fd));
}

static void raw_shrunk_below(void **state)
{
	struct error err = ERROR_INIT;
	int fd = file_of(1, 4096);
	struct disk *d = disk_open_raw(fd, true, &err);
	uint8_t c[1024];
	struct iovec in = { c, sizeof(c) };

	(void)state;
	assert_true(d->read_only);
	assert_int_equal(ftruncate(fd, 700), 0);
	memset(c, 0xee, sizeof(c));
	assert_int_equal(d->ops->readv(d, &in, 1, 512), 0);
	assert_int_equal(c[187], 2);
	assert_int_equal(c[188], 0);
	assert_int_equal(c[1023], 0);
	disk_close(d);
}

static void raw_refuses(void **state)
{
	struct error err = ERROR_INIT;
	int dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	assert_null(disk_open_raw(dir, true, &err));
	assert_int_equal(err.code, ERR_INVALID);
	assert_false(is_open(dir));
}

static void extents_read(void **state)
{
	struct error err = ERROR_INIT;
	/* 3 sectors from the middle of one file, 2 of zeroes, 4 of a file that has only 1.5: padding. */
	struct disk_extent e[3] = {
		{ .fd = file_of(10, 4096), .fd_offset = 512, .length = 1536 },
		{ .fd = -1, .length = 1024 },
		{ .fd = file_of(50, 768), .fd_offset = 0, .length = 2048 },
	};
	static const uint8_t first[9] = { 11, 12, 13, 0, 0, 50, 51, 0, 0 };
	struct disk *d = disk_open_extents(e, ARRAY_LEN(e), &err);
	uint8_t want[9 * 512], got[9 * 512];

	(void)state;
	assert_non_null(d);
	assert_int_equal(d->size_bytes, sizeof(want));
	assert_true(d->read_only);
	for (size_t i = 0; i < sizeof(want); i++)
		want[i] = i < 6 * 512 + 256 ? first[i / 512] : 0;
	/* Every pair of sector ranges, cut into odd iovecs, gives the same as the flat model. */
	for (size_t from = 0; from < 9; from++) {
		for (size_t to = from + 1; to <= 9; to++) {
			size_t n = (to - from) * 512, at = 0;
			struct iovec iov[128];
			int count = 0;

			memset(got, 0xee, sizeof(got));
			for (size_t step = 37; at < n; at += step, count++, step = 37 + (at * 7) % 101) {
				step = MIN(step, n - at);
				iov[count] = (struct iovec){ got + at, step };
				if (at + step >= n)
					break;
			}
			assert_int_equal(d->ops->readv(d, iov, count + 1, from * 512), 0);
			assert_memory_equal(got, want + from * 512, n);
			if (n < sizeof(got))
				assert_int_equal(got[n], 0xee);
		}
	}
	assert_int_equal(d->ops->writev(d, &(struct iovec){ got, 512 }, 1, 0), -EROFS);
	assert_null(d->ops->discard);
	disk_close(d);
	assert_false(is_open(e[0].fd));
	assert_false(is_open(e[2].fd));
}

static void extents_past_the_end(void **state)
{
	struct error err = ERROR_INIT;
	struct disk_extent e = { .fd = -1, .length = 512 };
	struct disk *d = disk_open_extents(&e, 1, &err);
	uint8_t got[1024];

	(void)state;
	assert_int_equal(d->ops->readv(d, &(struct iovec){ got, 1024 }, 1, 0), -EINVAL);
	disk_close(d);
}

static void extents_refused(void **state)
{
	static const struct disk_extent bad[] = {
		{ .length = 0 },
		{ .length = 100 },
		{ .length = 512, .fd_offset = UINT64_MAX - 10 },
		{ .length = 1ULL << 63, .fd_offset = 0 },
	};
	struct disk_extent many[DISK_EXTENTS_MAX + 1];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct error err = ERROR_INIT;
		struct disk_extent e = bad[i];

		e.fd = file_of(0, 512);
		assert_null(disk_open_extents(&e, 1, &err));
		assert_int_equal(err.code, ERR_INVALID);
		assert_false(is_open(e.fd));
	}
	for (size_t i = 0; i < ARRAY_LEN(many); i++)
		many[i] = (struct disk_extent){ .fd = -1, .length = 512 };
	many[DISK_EXTENTS_MAX].fd = file_of(0, 512);
	assert_null(disk_open_extents(many, ARRAY_LEN(many), NULL));
	assert_false(is_open(many[DISK_EXTENTS_MAX].fd));
	assert_null(disk_open_extents(many, 0, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(raw_round_trip), cmocka_unit_test(raw_shrunk_below),
		cmocka_unit_test(raw_refuses),	  cmocka_unit_test(extents_read),
		cmocka_unit_test(extents_past_the_end), cmocka_unit_test(extents_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
