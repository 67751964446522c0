/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine reads of the host: control groups, the guest kernel's file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "engine/cgroup.h"
#include "engine/kernel_file.h"

static char top[64];

/** put() - A file below the test's folder, its folders made. */
static void put(const char *path, const char *text)
{
	char full[512], *slash;

	snprintf(full, sizeof(full), "%s/%s", top, path);
	slash = strrchr(full, '/');
	*slash = '\0';
	assert_int_equal(dir_make_parents(full, 0700, NULL), 0);
	*slash = '/';
	assert_int_equal(file_write_atomic(-1, full, text, strlen(text), 0600, NULL), 0);
}

/** limit() - With these two files; "@" in mountinfo stands for the test's folder. */
static uint64_t limit(const char *groups, const char *mountinfo)
{
	char text[2048] = "", g[128], m[128];
	size_t n = 0;

	for (; *mountinfo; mountinfo++)
		n += (size_t)(*mountinfo == '@' ? snprintf(text + n, sizeof(text) - n, "%s", top)
						: snprintf(text + n, sizeof(text) - n, "%c", *mountinfo));
	put("groups", groups);
	put("mounts", text);
	snprintf(g, sizeof(g), "%s/groups", top);
	snprintf(m, sizeof(m), "%s/mounts", top);
	return cgroup_memory_limit(g, m);
}

#define V2 "30 20 0:26 / @/v2 rw,nosuid - cgroup2 cgroup2 rw\n"
#define V1 "31 20 0:27 / @/v1/cpu rw - cgroup cgroup rw,cpu\n32 20 0:28 / @/v1/memory rw - cgroup cgroup rw,memory\n"

/** version_2() - The smallest on the way up; "max" and missing files are no limit. */
static void version_2(void **state)
{
	(void)state;
	put("v2/a/memory.max", "2000\n");
	put("v2/a/b/memory.max", "max\n");
	put("v2/a/b/c/memory.max", "3000\n");
	put("v2/other/memory.max", "1\n");
	assert_int_equal(limit("0::/a/b/c\n", V2), 2000);
	assert_int_equal(limit("0::/a/b\n", V2), 2000);
	assert_true(limit("0::/\n", V2) == UINT64_MAX);
	assert_true(limit("0::/gone\n", V2) == UINT64_MAX);
	assert_true(limit("0::/../other\n", V2) == UINT64_MAX);
	put("v2/a/b/c/memory.max", "1500\n");
	assert_int_equal(limit("0::/a/b/c\n", V2), 1500);
}

/** version_1() - Only the memory controller's hierarchy counts, also beside version 2. */
static void version_1(void **state)
{
	(void)state;
	put("v1/memory/memory.limit_in_bytes", "9223372036854771712\n");
	put("v1/memory/x/memory.limit_in_bytes", "5000\n");
	put("v1/cpu/y/memory.limit_in_bytes", "1\n");
	assert_int_equal(limit("9:name=systemd:/y\n4:memory:/x/z\n3:cpu:/y\n0::/a/b/c\n", V1), 5000);
	assert_int_equal(limit("4:cpu,memory:/x\n0::/a/b/c\n", V1 V2), 1500);
	assert_int_equal(limit("4:memory:/\n", V1), 9223372036854771712u);
	assert_true(limit("4:notmemory:/x\n", V1) == UINT64_MAX);
}

/** in_a_container() - The mount shows a part of the hierarchy, its path has blanks. */
static void in_a_container(void **state)
{
	(void)state;
	put("with blank/in/memory.max", "700\n");
	put("with blank/memory.max", "800\n");
	assert_int_equal(limit("0::/pod/in\n", "30 20 0:26 /pod @/with\\040blank rw - cgroup2 c rw\n"), 700);
	assert_int_equal(limit("0::/podium\n", "30 20 0:26 /pod @/with\\040blank rw - cgroup2 c rw\n"), 800);
}

static void broken_files(void **state)
{
	static const char *const bad[] = { "", "\n\n", "0", "0:", "0::", "::", "4:memory", "0::/a\0x", "0:::::/a" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_true(limit(bad[i], "30 20 0:26 / /nowhere rw - cgroup2 c rw\n") == UINT64_MAX);
		assert_true(limit("0::/a\n4:memory:/a\n", bad[i]) == UINT64_MAX);
	}
	assert_true(limit("0::/a\n", " - cgroup2\n- \n - \n1 - cgroup2 c rw\n") == UINT64_MAX);
	assert_true(cgroup_memory_limit("/nonexistent", "/nonexistent") == UINT64_MAX);
}

/** kernel() - Check a file with this header and one segment, cut at `size`. Return: its code. */
static int kernel(Elf64_Ehdr h, uint64_t filesz, size_t size)
{
	Elf64_Phdr ph = { .p_type = PT_LOAD, .p_offset = 0x1000, .p_filesz = filesz };
	_cleanup_fd_ int fd = fd_memfd("kernel", 0x2000, false);
	struct error err = ERROR_INIT;
	int rc;

	assert_int_equal(fd_pwrite_full(fd, &h, sizeof(h), 0), 0);
	assert_int_equal(fd_pwrite_full(fd, &ph, sizeof(ph), sizeof(h)), 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	rc = kernel_file_check(fd, "the-kernel", &err);
	assert_true(rc == 0 || strstr(err.text, "the-kernel"));
	return rc;
}

static void kernel_files(void **state)
{
	Elf64_Ehdr good = { .e_type = ET_EXEC,
			    .e_machine = EM_X86_64,
			    .e_phoff = sizeof(good),
			    .e_phnum = 1,
			    .e_phentsize = sizeof(Elf64_Phdr) },
		   h;

	(void)state;
	memcpy(good.e_ident, ELFMAG, SELFMAG);
	good.e_ident[EI_CLASS] = ELFCLASS64;
	assert_int_equal(kernel(good, 0x1000, 0x2000), 0);
	assert_int_equal(kernel(good, 0x1001, 0x2000), -ERR_INVALID);
	assert_int_equal(kernel(good, UINT64_MAX, 0x2000), -ERR_INVALID);
	assert_int_equal(kernel(good, 0x1000, 0x1fff), -ERR_INVALID);
	assert_int_equal(kernel(good, 0x1000, sizeof(good)), -ERR_INVALID);
	assert_int_equal(kernel(good, 0x1000, 10), -ERR_INVALID);
	assert_int_equal(kernel(good, 0x1000, 0), -ERR_INVALID);
	h = good;
	h.e_type = ET_DYN;
	assert_int_equal(kernel(h, 0x1000, 0x2000), -ERR_INVALID);
	h = good;
	h.e_machine = EM_AARCH64;
	assert_int_equal(kernel(h, 0x1000, 0x2000), -ERR_INVALID);
	h = good;
	h.e_phoff = UINT64_MAX;
	assert_int_equal(kernel(h, 0x1000, 0x2000), -ERR_INVALID);
	h = good;
	h.e_phnum = 65535;
	assert_int_equal(kernel(h, 0x1000, 0x2000), -ERR_INVALID);
}

static int setup(void **state)
{
	(void)state;
	snprintf(top, sizeof(top), "/tmp/test-engine-XXXXXX");
	return mkdtemp(top) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	return dir_remove_tree(-1, top, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(version_2),	cmocka_unit_test(version_1),	cmocka_unit_test(in_a_container),
		cmocka_unit_test(broken_files), cmocka_unit_test(kernel_files),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
