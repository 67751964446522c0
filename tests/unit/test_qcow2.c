/* SPDX-License-Identifier: Apache-2.0 */
/* The qcow2 reader against images made by qemu-img and qemu-io, byte for byte; then headers and tables that lie. */
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

#define ARGS_MAX 160

static char folder[64];

/** sectors() - Bytes of 1 to max sectors, at most left. */
static uint64_t sectors(unsigned int max, uint64_t left)
{
	uint64_t n = 512 * (1 + (uint64_t)random() % max);

	return MIN(n, left);
}

/** run() - A program with its output thrown away; it must succeed. */
static void run(const char *const *argv)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 1);
		execvp(argv[0], (char **)(uintptr_t)argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail_msg("%s %s: status %d", argv[0], argv[1], status);
}
#define RUN(...) run((const char *const[]){ __VA_ARGS__, NULL })

/** scribble() - Random writes, zeroes and discards by qemu-io into an image. */
static void scribble(const char *image, uint64_t size, int writes, bool discards)
{
	static char commands[ARGS_MAX / 2][64];
	const char *argv[ARGS_MAX] = { "qemu-io", "-f", "qcow2", "-d", "unmap", "-t", "unsafe" };
	size_t n = 7;

	for (int i = 0; i < writes; i++) {
		uint64_t at = (uint64_t)random() % size & ~511ULL;
		uint64_t len = sectors(300, size - at);
		long kind = random() % (discards ? 8 : 6);

		if (kind < 6)
			snprintf(commands[i], sizeof(commands[i]), "write -P %d %llu %llu", (int)(1 + random() % 255),
				 (unsigned long long)at, (unsigned long long)len);
		else
			snprintf(commands[i], sizeof(commands[i]), "%s %llu %llu", kind == 6 ? "write -z" : "discard",
				 (unsigned long long)at, (unsigned long long)len);
		argv[n++] = "-c";
		argv[n++] = commands[i];
	}
	argv[n++] = image;
	run(argv);
}

/** compare() - Every byte of the image as we read it, in odd steps, against qemu-img's own conversion. */
static void compare(const char *image)
{
	struct error err = ERROR_INIT;
	struct disk *d = disk_open_qcow2(open(image, O_RDONLY | O_CLOEXEC), &err);
	char raw[128];
	uint8_t *got = malloc(MIB(1)), *want = malloc(MIB(1));
	uint64_t at = 0;
	struct stat st;
	int fd;

	if (!d)
		fail_msg("%s: %s", image, err.text);
	snprintf(raw, sizeof(raw), "%s/raw", folder);
	RUN("qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, raw);
	fd = open(raw, O_RDONLY | O_CLOEXEC);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(d->size_bytes, st.st_size);
	assert_true(d->read_only);
	while (at < d->size_bytes) {
		uint64_t n = sectors(600, d->size_bytes - at), cut = (uint64_t)random() % n;
		struct iovec iov[3] = { { got, cut }, { NULL, 0 }, { got + cut, n - cut } };

		memset(got, 0xee, n);
		assert_int_equal(d->ops->readv(d, iov, 3, at), 0);
		assert_int_equal(fd_pread_full(fd, want, n, (off_t)at), (ssize_t)n);
		if (memcmp(got, want, n) != 0)
			fail_msg("%s: differs within %llu bytes at %llu", image, (unsigned long long)n, (unsigned long long)at);
		at += n;
	}
	assert_int_equal(d->ops->writev(d, &(struct iovec){ got, 512 }, 1, 0), -EROFS);
	free(got);
	free(want);
	close(fd);
	unlink(raw);
	disk_close(d);
}

static void random_writes(void **state)
{
	static const char *const options[] = {
		"compat=1.1", "compat=0.10", "compat=1.1,cluster_size=512", "compat=1.1,cluster_size=4096,lazy_refcounts=on",
		"compat=1.1,cluster_size=2097152", "compat=1.1,preallocation=metadata", "compat=0.10,cluster_size=1024",
		"compat=1.1,refcount_bits=1",
	};
	static const char *const sizes[] = { "9437184", "3333632", "33554944" };
	char image[128];

	(void)state;
	snprintf(image, sizeof(image), "%s/scribbled.qcow2", folder);
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
			RUN("qemu-img", "create", "-q", "-f", "qcow2", "-o", options[i], image, sizes[k]);
			if (k > 0)
				scribble(image, strtoull(sizes[k], NULL, 10), 40, strstr(options[i], "1.1"));
			compare(image);
		}
}

static void compressed(void **state)
{
	static const char *const options[] = { "compat=1.1", "compat=0.10", "compat=1.1,cluster_size=512",
					       "compat=1.1,cluster_size=2097152", "compat=1.1,cluster_size=8192" };
	char image[128], packed[128];

	(void)state;
	snprintf(image, sizeof(image), "%s/scribbled.qcow2", folder);
	snprintf(packed, sizeof(packed), "%s/packed.qcow2", folder);
	RUN("qemu-img", "create", "-q", "-f", "qcow2", image, "9437696");
	scribble(image, 9437696, 60, true);
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		RUN("qemu-img", "convert", "-c", "-f", "qcow2", "-O", "qcow2", "-o", options[i], image, packed);
		compare(packed);
		scribble(packed, 9437696, 10, false); /* compressed and plain clusters side by side */
		compare(packed);
	}
	/* Contents that are no run of one byte: a program. */
	RUN("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "/proc/self/exe", packed);
	compare(packed);
}

static void with_snapshot(void **state)
{
	char image[128];

	(void)state;
	snprintf(image, sizeof(image), "%s/snapshot.qcow2", folder);
	RUN("qemu-img", "create", "-q", "-f", "qcow2", image, "4194304");
	scribble(image, 4194304, 20, true);
	RUN("qemu-img", "snapshot", "-c", "before", image);
	scribble(image, 4194304, 20, true);
	compare(image);
}

/** refused() - It does not open; the text has this in it. */
static void refused(const char *image, const char *text)
{
	struct error err = ERROR_INIT;
	int fd = open(image, O_RDONLY | O_CLOEXEC);

	assert_null(disk_open_qcow2(fd, &err));
	if (!strstr(err.text, text))
		fail_msg("\"%s\" expected, got \"%s\"", text, err.text);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void refused_by_name(void **state)
{
	char image[128], base[128], data[160];

	(void)state;
	snprintf(image, sizeof(image), "%s/refused.qcow2", folder);
	snprintf(base, sizeof(base), "%s/base.raw", folder);
	snprintf(data, sizeof(data), "data_file=%s/data", folder);
	RUN("qemu-img", "create", "-q", "-f", "raw", base, "1M");
	RUN("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", image);
	refused(image, "base.raw");
	RUN("qemu-img", "create", "-q", "-f", "qcow2", "-o", data, image, "1M");
	refused(image, "external data file");
	RUN("qemu-img", "create", "-q", "-f", "qcow2", "-o", "extended_l2=on", image, "1M");
	refused(image, "extended L2");
	RUN("qemu-img", "create", "-q", "-f", "qcow2", "-o", "compression_type=zstd", image, "1M");
	refused(image, "zstd");
	RUN("qemu-img", "create", "-q", "-f", "qcow", image, "1M");
	refused(image, "version 1");
	refused(base, "not a qcow2");
	refused("/dev/null", "not a regular file");
}

static void lying_headers(void **state)
{
	static const struct {
		int offset, bytes;
		uint64_t value;
		const char *text;
	} lies[] = {
		{ 0, 4, 0, "not a qcow2" },
		{ 4, 4, 4, "version 4" },
		{ 8, 8, UINT64_MAX, "backing file" },
		{ 8, 8, 0x20000, "backing file" },
		{ 20, 4, 8, "cluster size" },
		{ 20, 4, 22, "cluster size" },
		{ 20, 4, UINT32_MAX, "cluster size" },
		{ 24, 8, 0, "disk size" },
		{ 24, 8, 513, "disk size" },
		{ 24, 8, UINT64_MAX - 511, "64 TiB" },
		{ 24, 8, (1ULL << 46) + 512, "64 TiB" },
		{ 24, 8, 1ULL << 46, "does not cover" },
		{ 24, 8, 1ULL << 40, "does not cover" },
		{ 32, 4, 1, "encrypted" },
		{ 32, 4, 2, "encrypted" },
		{ 36, 4, 0, "does not cover" },
		{ 36, 4, UINT32_MAX, "larger than 32 MiB" },
		{ 36, 4, 1 << 20, "not in the file" },
		{ 40, 8, 0, "not in the file" },
		{ 40, 8, 0x30008, "not in the file" },
		{ 40, 8, 0xffffffffffff0000, "not in the file" },
		{ 40, 8, 1ULL << 40, "not in the file" },
		{ 48, 8, 0x10001, "refcount table" },
		{ 48, 8, 1ULL << 60, "refcount table" },
		{ 72, 8, 2, "corrupt" },
		{ 72, 8, 4, "external data file" },
		{ 72, 8, 8, "zstd" },
		{ 72, 8, 16, "extended L2" },
		{ 72, 8, 1ULL << 63, "incompatible bit 63" },
		{ 96, 4, 7, "refcount width" },
		{ 100, 4, 96, "length of its header" },
		{ 100, 4, 105, "length of its header" },
		{ 100, 4, 1 << 20, "length of its header" },
	};
	char image[128];

	(void)state;
	snprintf(image, sizeof(image), "%s/lying.qcow2", folder);
	for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
		uint64_t value = __builtin_bswap64(lies[i].value << (64 - 8 * lies[i].bytes));
		int fd;

		RUN("qemu-img", "create", "-q", "-f", "qcow2", image, "1M");
		fd = open(image, O_WRONLY | O_CLOEXEC);
		assert_int_equal(pwrite(fd, &value, (size_t)lies[i].bytes, lies[i].offset), lies[i].bytes);
		close(fd);
		refused(image, lies[i].text);
	}
	for (off_t cut = 103; cut >= 0; cut -= 13) {
		assert_int_equal(truncate(image, cut), 0);
		refused(image, cut < 4 ? "not a qcow2" : cut < 8 ? "cut off" : "cut off");
	}
}

static void dirty_is_fine(void **state)
{
	const uint64_t one = __builtin_bswap64(1);
	char image[128];
	int fd;

	(void)state;
	snprintf(image, sizeof(image), "%s/dirty.qcow2", folder);
	RUN("qemu-img", "create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", image, "1M");
	fd = open(image, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, &one, 8, 72), 8);
	disk_close(disk_open_qcow2(fd, NULL));
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void lying_tables(void **state)
{
	/* L1 is at 0x30000 in an image that qemu-img makes; its first L2 and data clusters follow at 0x40000, 0x50000. */
	static const struct {
		off_t offset;
		uint64_t value;
		int rc;
	} lies[] = {
		{ 0x30000, 0x40000, 0 },		    /* L1: without "copied" */
		{ 0x30000, 0x40200, -EIO },		    /* not aligned */
		{ 0x30000, 0x40001, -EIO },		    /* bits that must be zero */
		{ 0x30000, 1ULL << 62 | 0x40000, -EIO },
		{ 0x30000, 1ULL << 40, -EIO },		    /* beyond the file */
		{ 0x30000, 0x00ffffffffff0000, -EIO },
		{ 0x40000, 0x50000, 0 },		    /* L2 */
		{ 0x40000, 0x50200, -EIO },
		{ 0x40000, 0x50002, -EIO },
		{ 0x40000, 1ULL << 61 | 0x50000, -EIO },
		{ 0x40000, 1ULL << 40, -EIO },
		{ 0x40000, 0x00ffffffffff0000, -EIO },
		{ 0x40000, 1, 0 },			    /* zeroes */
		{ 0x40000, 1ULL << 62 | 0x50000, -EIO },    /* compressed, but no DEFLATE stream of a cluster */
		{ 0x40000, 1ULL << 62 | 1ULL << 40, -EIO }, /* beyond the file */
		{ 0x40000, UINT64_MAX, -EIO },
	};
	char image[128];
	uint8_t got[4096];

	(void)state;
	snprintf(image, sizeof(image), "%s/tables.qcow2", folder);
	for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
		uint64_t value = __builtin_bswap64(lies[i].value);
		struct disk *d;
		int fd;

		RUN("qemu-img", "create", "-q", "-f", "qcow2", image, "1M");
		RUN("qemu-io", "-c", "write -P 0xff 0 64k", image);
		fd = open(image, O_RDWR | O_CLOEXEC);
		assert_int_equal(pwrite(fd, &value, 8, lies[i].offset), 8);
		d = disk_open_qcow2(fd, NULL);
		assert_non_null(d);
		for (int again = 0; again < 2; again++) /* a failure is not taken for a hit of the cache */
			if (d->ops->readv(d, &(struct iovec){ got, sizeof(got) }, 1, 512) != lies[i].rc)
				fail_msg("lie %zu", i);
		assert_int_equal(d->ops->readv(d, &(struct iovec){ got, sizeof(got) }, 1, 1 << 20), -EINVAL);
		disk_close(d);
	}
}

/** make_folder() - For all tests. */
static int make_folder(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(folder, sizeof(folder), "%.40s/msb-qcow2.XXXXXX", tmp ? tmp : "/tmp");
	return mkdtemp(folder) ? 0 : -1;
}

/** remove_folder() - With the images. */
static int remove_folder(void **state)
{
	(void)state;
	return dir_remove_tree(AT_FDCWD, folder, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_writes),   cmocka_unit_test(compressed),    cmocka_unit_test(with_snapshot),
		cmocka_unit_test(refused_by_name), cmocka_unit_test(lying_headers), cmocka_unit_test(dirty_is_fine),
		cmocka_unit_test(lying_tables),
	};
	unsigned int seed = (unsigned int)time(NULL);

	printf("# seed %u\n", seed);
	srandom(seed);
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
