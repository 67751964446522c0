/* SPDX-License-Identifier: Apache-2.0 */
/* The grammar of --root-disk, and which IMAGEs are paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cli/root_disk.c"
#include "cli/units.c"

#include <cmocka.h>

static void good(void **state)
{
	static const struct {
		const char *text;
		enum root_disk_kind kind;
		uint64_t size_mib;
		enum root_disk_clone clone;
		const char *path;
		bool qcow2;
	} forms[] = {
		{ "16", ROOT_DISK_MANAGED, 16, 0, NULL, false },
		{ "1.5G", ROOT_DISK_MANAGED, 1536, 0, NULL, false },
		{ "8192G", ROOT_DISK_MANAGED, 8 << 20, 0, NULL, false },
		{ "tmpfs", ROOT_DISK_TMPFS, 0, 0, NULL, false },
		{ "tmpfs:1M", ROOT_DISK_TMPFS, 1, 0, NULL, false },
		{ "flat", ROOT_DISK_FLAT, 0, 0, NULL, false },
		{ "flat:20G", ROOT_DISK_FLAT, 20480, 0, NULL, false },
		{ "flat:20G,fstype=ext4", ROOT_DISK_FLAT, 20480, 0, NULL, false },
		{ "flat,clone=copy", ROOT_DISK_FLAT, 0, ROOT_DISK_CLONE_COPY, NULL, false },
		{ "flat:1G,fstype=ext4,clone=reflink", ROOT_DISK_FLAT, 1024, ROOT_DISK_CLONE_REFLINK, NULL, false },
		{ "flat,clone=copy,clone=auto", ROOT_DISK_FLAT, 0, ROOT_DISK_CLONE_AUTO, NULL, false },
		{ "./x", ROOT_DISK_FILE, 0, 0, "./x", false },
		{ "/x.qcow2", ROOT_DISK_FILE, 0, 0, "/x.qcow2", true },
		{ "/x.qcow2:format=raw", ROOT_DISK_FILE, 0, 0, "/x.qcow2", false },
		{ "../x:format=qcow2", ROOT_DISK_FILE, 0, 0, "../x", true },
		{ "./x:format=raw,fstype=ext4", ROOT_DISK_FILE, 0, 0, "./x", false },
		{ "./x,fstype=ext4", ROOT_DISK_FILE, 0, 0, "./x", false },
		{ "./a:b,c", ROOT_DISK_FILE, 0, 0, "./a:b,c", false },
		{ "./a=b:c", ROOT_DISK_FILE, 0, 0, "./a=b:c", false },
		{ "./a:b:format=qcow2", ROOT_DISK_FILE, 0, 0, "./a:b", true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		struct error err = ERROR_INIT;
		struct root_disk got;

		if (root_disk_parse(forms[i].text, &got, &err) < 0)
			fail_msg("%s: %s", forms[i].text, err.text);
		assert_int_equal(got.kind, forms[i].kind);
		assert_int_equal(got.size_mib, forms[i].size_mib);
		assert_int_equal(got.clone, forms[i].clone);
		assert_int_equal(got.qcow2, forms[i].qcow2);
		assert_int_equal(got.path != NULL, forms[i].path != NULL);
		if (got.path)
			assert_string_equal(got.path, forms[i].path);
	}
}

static void bad_forms(void **state)
{
	static const char *const forms[] = {
		"", "0", "15M", "8193G", "99999999999999999999", "1T", "1GB", "-1", "tmpf", "tmpfs:", "tmpfs:0", "tmpfs:1G:x",
		"tmpfs,fstype=ext4", "tmpfs:1G,", "flat:", "flat:0", "flat:15", "flat,", "flat:1G,", "flat,fstype=xfs",
		"flat,clone=", "flat,clone=fast", "flat,format=raw", "flat,x", "flats", "flat.img", "disk.raw", "x/y.raw",
		"./x:format=", "./x:format=vmdk", "./x:fromat=raw", "./x:format=raw,", "./x,fstype=xfs", "./x:fstype=btrfs",
		"./x:format=raw,clone=copy",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		struct error err = ERROR_INIT;
		struct root_disk got;

		if (root_disk_parse(forms[i], &got, &err) != -ERR_USAGE)
			fail_msg("\"%s\" was taken", forms[i]);
		assert_non_null(strstr(err.text, "--root-disk"));
		assert_true(err.hint[0]);
	}
}

static void paths(void **state)
{
	static const char *const yes[] = { "/", "/x.raw", "./x", "../x", ".", "..", "./", "//x" };
	static const char *const no[] = { "", "x", "x.raw", ".x", "..x", "a/b", "...", "~/x" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(yes); i++)
		assert_true(engine_image_is_path(yes[i]));
	for (size_t i = 0; i < ARRAY_LEN(no); i++)
		assert_false(engine_image_is_path(no[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good),
		cmocka_unit_test(bad_forms),
		cmocka_unit_test(paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
