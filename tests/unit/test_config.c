/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "config/config_file.h"

static json_t *parse(const char *text, enum config_part part, struct error *err)
{
	*err = (struct error)ERROR_INIT;
	return config_file_parse("/c", text, strlen(text), part, true, err);
}

static void test_refused(void **state)
{
	static const char *const cases[][2] = {
		{ "", "/c, line 1: " },
		{ "[]", "/c: must be an object: { ... }, not []" },
		{ "{\"sandbox_defaults\": 1}", "/c: sandbox_defaults must be an object: { ... }, not 1" },
		{ "{\"sandbox_defaults\": {\"cpus\": \"two\"}}",
		  "/c: sandbox_defaults.cpus must be a number from 1 to 32, not \"two\"" },
		{ "{\"sandbox_defaults\": {\"cpus\": 0}}", "/c: sandbox_defaults.cpus must be a number from 1 to 32, not 0" },
		{ "{\"sandbox_defaults\": {\"cpus\": 1.5}}",
		  "/c: sandbox_defaults.cpus must be a number from 1 to 32, not 1.5" },
		{ "{\"sandbox_defaults\": {\"shell\": \"a b\"}}",
		  "/c: sandbox_defaults.shell must be a program, by path or name, not \"a b\"" },
		{ "{\"sandbox_defaults\": {\"workdir\": \"tmp\"}}",
		  "/c: sandbox_defaults.workdir must be an absolute path, not \"tmp\"" },
		{ "{\"hypervisor\": \"xen\"}", "/c: hypervisor must be \"auto\", \"kvm\", \"qemu\", not \"xen\"" },
		{ "{\"hypervisor\": \"kv\"}", "/c: hypervisor must be \"auto\", \"kvm\", \"qemu\", not \"kv\"" },
		{ "{\"hypervisor\": \"\"}", "/c: hypervisor must be \"auto\", \"kvm\", \"qemu\", not \"\"" },
		{ "{\"paths\": {\"cache\": []}}", "/c: paths.cache must be a string, not []" },
		{ "{\"hypervisor\": \"kvm\", \"hypervisor\": \"kvm\"}", "/c, line 1: duplicate object key" },
	};
	struct error err;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_null(parse(cases[i][0], CONFIG_SETTINGS, &err));
		if (strncmp(err.text, cases[i][1], strlen(cases[i][1])) != 0)
			fail_msg("%s: %s", cases[i][0], err.text);
	}
}

static void test_each_part_alone(void **state)
{
	struct error err;
	json_t *root = parse("{\"registries\": 1, \"hypervisor\": \"kvm\"}", CONFIG_SETTINGS, &err);

	(void)state;
	assert_non_null(root);
	json_decref(root);
	root = parse("{\"registries\": {}, \"hypervisor\": 7}", CONFIG_REGISTRIES, &err);
	assert_non_null(root);
	json_decref(root);
	assert_null(parse("{\"registries\": {\"hosts\": {\"a.b\": {\"insecure\": 1}}}}", CONFIG_REGISTRIES, &err));
	assert_string_equal(err.text, "/c: registries.hosts.a.b.insecure must be true or false, not 1");
}

static void test_null_is_not_said(void **state)
{
	struct error err;
	json_t *root = parse("{\"log_level\": null, \"sandbox_defaults\": {\"cpus\": null, \"shell\": \"sh\"}, \"paths\": null}",
			     CONFIG_SETTINGS, &err);

	(void)state;
	assert_non_null(root);
	assert_int_equal(json_object_size(root), 1);
	assert_int_equal(json_object_size(json_object_get(root, "sandbox_defaults")), 1);
	json_decref(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_refused), cmocka_unit_test(test_each_part_alone),
					    cmocka_unit_test(test_null_is_not_said) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
