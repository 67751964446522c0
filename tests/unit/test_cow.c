/* SPDX-License-Identifier: Apache-2.0 */
/* The copy-on-write layer against a flat model; and locks on images. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "disk/disk.h"

#define SIZE (512 * 8 * 100 + 512 * 3) /* the last cluster is not whole */

static uint8_t before[SIZE], model[SIZE], got[SIZE];

/** base_of() - A read-only disk with the bytes of `before`. */
static struct disk *base_of(void)
{
	int fd = fd_memfd("base", 0, false);

	for (size_t i = 0; i < SIZE; i++)
		before[i] = (uint8_t)random();
	assert_int_equal(fd_write_full(fd, before, SIZE), 0);
	return disk_open_raw(fd, true, NULL);
}

/** pieces() - Cut n bytes at p into random iovecs. Return: their number. */
static int pieces(uint8_t *p, size_t n, struct iovec iov[40])
{
	int count = 0;

	for (; n && count < 39; count++) {
		size_t len = (size_t)random() % n + (random() % 4 == 0);

		len = MIN(len, n);
		iov[count] = (struct iovec){ p, len };
		p += len;
		n -= len;
	}
	iov[count++] = (struct iovec){ p, n };
	return count;
}

static void random_operations(void **state)
{
	static uint8_t data[SIZE];

	(void)state;
	for (int round = 0; round < 30; round++) {
		int fd = fd_memfd("cow", 4096, false); /* old contents are dropped */
		struct disk *d;

		assert_int_equal(pwrite(fd, "old", 3, 0), 3);
		d = disk_open_cow(base_of(), fd, NULL);
		assert_non_null(d);
		assert_int_equal(d->size_bytes, SIZE);
		assert_false(d->read_only);
		memcpy(model, before, SIZE);
		for (int i = 0; i < 200; i++) {
			size_t sectors = SIZE / 512, at = (size_t)random() % sectors;
			size_t most = random() % 3 ? 20 : 300, n = 1 + (size_t)random() % MIN(most, sectors - at);
			struct iovec iov[40];
			int count;

			at *= 512;
			n *= 512;
			switch (random() % 5) {
			case 0:
			case 1:
				for (size_t k = 0; k < n; k++)
					data[k] = (uint8_t)random();
				count = pieces(data, n, iov);
				assert_int_equal(d->ops->writev(d, iov, count, at), 0);
				memcpy(model + at, data, n);
				break;
			case 2:
				assert_int_equal(d->ops->discard(d, at, n, true), 0);
				memset(model + at, 0, n);
				break;
			case 3:
				/* After a discard old bytes or zeroes may be seen, at whole clusters' choice. */
				assert_int_equal(d->ops->discard(d, at, n, false), 0);
				assert_int_equal(d->ops->readv(d, &(struct iovec){ data, n }, 1, at), 0);
				for (size_t k = 0; k < n; k++)
					assert_true(data[k] == 0 || data[k] == model[at + k]);
				memcpy(model + at, data, n);
				break;
			default:
				count = pieces(got, n, iov);
				memset(got, 0xee, n);
				assert_int_equal(d->ops->readv(d, iov, count, at), 0);
				assert_memory_equal(got, model + at, n);
				break;
			}
		}
		assert_int_equal(d->ops->flush(d), 0);
		assert_int_equal(d->ops->readv(d, &(struct iovec){ got, SIZE }, 1, 0), 0);
		assert_memory_equal(got, model, SIZE);
		disk_close(d);
		assert_int_equal(fcntl(fd, F_GETFD), -1);
	}
}

static void base_is_not_written(void **state)
{
	int fd = fd_memfd("base", MIB(1), false), mine = dup(fd);
	struct disk *d = disk_open_cow(disk_open_raw(fd, true, NULL), fd_memfd("cow", 0, false), NULL);
	struct stat st;

	(void)state;
	memset(got, 0x55, SIZE);
	assert_int_equal(d->ops->writev(d, &(struct iovec){ got, SIZE }, 1, 4096), 0);
	assert_int_equal(d->ops->discard(d, 0, MIB(1), true), 0);
	assert_int_equal(fstat(mine, &st), 0);
	assert_int_equal(st.st_blocks, 0);
	disk_close(d);
	close(mine);
}

static void whole_discard_frees(void **state)
{
	int fd = fd_memfd("cow", 0, false), mine = dup(fd);
	struct disk *d = disk_open_cow(base_of(), fd, NULL);
	struct stat st;

	(void)state;
	assert_int_equal(d->ops->writev(d, &(struct iovec){ got, SIZE }, 1, 0), 0);
	assert_int_equal(d->ops->discard(d, 0, SIZE, false), 0);
	assert_int_equal(fstat(mine, &st), 0);
	assert_in_range(st.st_blocks, 0, 8); /* a page that the file ends in may stay, empty */
	assert_int_equal(d->ops->readv(d, &(struct iovec){ got, SIZE }, 1, 0), 0);
	for (size_t i = 0; i < SIZE; i++)
		assert_int_equal(got[i], 0);
	disk_close(d);
	close(mine);
}

static int failing_readv(struct disk *d, const struct iovec *iov, int count, uint64_t offset)
{
	(void)d;
	(void)iov;
	(void)count;
	(void)offset;
	return -EIO;
}

static void nothing_close(struct disk *d)
{
	(void)d;
}

static void broken_base(void **state)
{
	static const struct disk_ops ops = { .readv = failing_readv, .close = nothing_close };
	struct disk base = { .ops = &ops, .size_bytes = MIB(1), .read_only = true };
	struct disk *d = disk_open_cow(&base, fd_memfd("cow", 0, false), NULL);
	struct iovec part = { got, 512 }, whole = { got, 4096 };

	(void)state;
	memset(got, 7, 4096);
	/* A part of a cluster needs the base; when that fails nothing is taken for written. */
	assert_int_equal(d->ops->writev(d, &part, 1, 512), -EIO);
	assert_int_equal(d->ops->readv(d, &part, 1, 512), -EIO);
	assert_int_equal(d->ops->writev(d, &whole, 1, 4096), 0);
	assert_int_equal(d->ops->readv(d, &whole, 1, 4096), 0);
	assert_int_equal(got[0], 7);
	disk_close(d);
}

static void size_limit(void **state)
{
	static const struct disk_ops ops = { .readv = failing_readv, .close = nothing_close };
	struct disk base = { .ops = &ops, .size_bytes = (1ULL << 46) + 512, .read_only = true };
	struct error err = ERROR_INIT;
	int fd = fd_memfd("cow", 0, false);

	(void)state;
	assert_null(disk_open_cow(&base, fd, &err));
	assert_int_equal(err.code, ERR_LIMIT);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

/** try_lock() - From another open of the same file. */
static int try_lock(const char *path, bool write)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct error err = ERROR_INIT;
	int rc = disk_lock(fd, write, &err);

	close(fd);
	return rc;
}

static void locks(void **state)
{
	char path[] = "/tmp/msb-lock.XXXXXX";
	int fd = mkstemp(path), reader, inherited;

	(void)state;
	assert_int_equal(disk_lock(fd, true, NULL), 0);
	assert_int_equal(try_lock(path, true), -ERR_EXISTS);
	assert_int_equal(try_lock(path, false), -ERR_EXISTS);
	inherited = dup(fd);
	close(fd);
	assert_int_equal(try_lock(path, true), -ERR_EXISTS); /* it lives as long as the last descriptor */
	close(inherited);
	reader = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(disk_lock(reader, false, NULL), 0);
	assert_int_equal(try_lock(path, false), 0);
	assert_int_equal(try_lock(path, true), -ERR_EXISTS);
	close(reader);
	assert_int_equal(try_lock(path, true), 0);
	unlink(path);
}

/** qemu_io() - qemu-io on a raw image. @write: opened for writing. Return: did it work? */
static bool qemu_io(const char *path, bool write)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 1);
		dup2(null, 2);
		if (write)
			execlp("qemu-io", "qemu-io", "-f", "raw", "-c", "write 0 512", path, NULL);
		else
			execlp("qemu-io", "qemu-io", "-f", "raw", "-r", "-c", "read 0 512", path, NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 127);
	return WEXITSTATUS(status) == 0;
}

static void locks_against_qemu(void **state)
{
	char path[] = "/tmp/msb-lock.XXXXXX";
	int fd = mkstemp(path), to_qemu[2], from_qemu[2];
	char first;
	pid_t pid;

	(void)state;
	assert_int_equal(ftruncate(fd, 65536), 0);
	assert_int_equal(disk_lock(fd, true, NULL), 0);
	assert_false(qemu_io(path, true));
	assert_false(qemu_io(path, false));
	close(fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(disk_lock(fd, false, NULL), 0);
	assert_true(qemu_io(path, false));
	assert_false(qemu_io(path, true));
	close(fd);
	assert_true(qemu_io(path, true));
	/* And while QEMU writes: neither. Its prompt says that the image is open. */
	assert_int_equal(pipe2(to_qemu, O_CLOEXEC), 0);
	assert_int_equal(pipe2(from_qemu, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		dup2(to_qemu[0], 0);
		dup2(from_qemu[1], 1);
		execlp("qemu-io", "qemu-io", "-f", "raw", path, NULL);
		_exit(127);
	}
	close(from_qemu[1]);
	assert_int_equal(read(from_qemu[0], &first, 1), 1);
	assert_int_equal(try_lock(path, true), -ERR_EXISTS);
	assert_int_equal(try_lock(path, false), -ERR_EXISTS);
	close(to_qemu[0]);
	close(to_qemu[1]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(from_qemu[0]);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_operations), cmocka_unit_test(base_is_not_written),
		cmocka_unit_test(whole_discard_frees), cmocka_unit_test(broken_base),
		cmocka_unit_test(size_limit), cmocka_unit_test(locks), cmocka_unit_test(locks_against_qemu),
	};
	unsigned int seed = (unsigned int)time(NULL);

	printf("# seed %u\n", seed);
	srandom(seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
