/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/macros.h"
#include "image/record.h"

/** accepts() - What references become. */
static void accepts(void **state)
{
	static const char *const cases[][2] = {
		{ "python", "docker.io/library/python:latest" },
		{ "python:3.12", "docker.io/library/python:3.12" },
		{ "user/app", "docker.io/user/app:latest" },
		{ "index.docker.io/python", "docker.io/library/python:latest" },
		{ "docker.io/python", "docker.io/library/python:latest" },
		{ "localhost/msb-demo:1", "localhost/msb-demo:1" },
		{ "registry.example:5000/a/b:T-1_x", "registry.example:5000/a/b:T-1_x" },
		{ "alpine@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		  "docker.io/library/alpine@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct error err = ERROR_INIT;
		char out[REFERENCE_MAX], again[REFERENCE_MAX], file[REF_FILE_MAX + 1], back[REFERENCE_MAX];

		assert_int_equal(reference_normalise(cases[i][0], out, &err), 0);
		assert_string_equal(out, cases[i][1]);
		assert_int_equal(reference_normalise(out, again, &err), 0);
		assert_string_equal(again, out);
		assert_int_equal(ref_file(out, file, &err), 0);
		assert_null(strchr(file, '/'));
		assert_true(ref_name(file, back));
		assert_string_equal(back, out);
	}
}

/** refuses() - Each with a text that names what was typed. */
static void refuses(void **state)
{
	static const char *const cases[] = {
		"", "/", ":", "Upper", "a//b", "a/", "-a", "a:", "a:.x", "a:b:c", "../x", "a/../b", "a b", "a@sha256:12", "a@md5:x",
		"x\n", "ex ample.org/a", "a:\xc3\xa4",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct error err = ERROR_INIT;
		char out[REFERENCE_MAX];

		if (reference_normalise(cases[i], out, &err) != -ERR_INVALID)
			fail_msg("accepted: \"%s\" as %s", cases[i], out);
		assert_memory_equal(err.text, "image \"", 7);
		assert_memory_equal(err.text + 7, cases[i], strcspn(cases[i], "\n")); /* no control character in a text */
	}
}

/** capitals() - A name that capital letters spoil is given back without them; its host and tag stay. */
static void capitals(void **state)
{
	static const char *const cases[][2] = {
		{ "Python:3.12", "did you mean python:3.12?" },
		{ "GHCR.io/Owner/App:V1", "did you mean GHCR.io/owner/app:V1?" },
		{ "A b", "expected [registry/]name[:tag], for example python:3.12" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct error err = ERROR_INIT;
		char out[REFERENCE_MAX];

		assert_int_equal(reference_normalise(cases[i][0], out, &err), -ERR_INVALID);
		assert_string_equal(err.hint, cases[i][1]);
	}
}

/** bad_files() - Names in cache/refs that are none of ours. */
static void bad_files(void **state)
{
	char out[REFERENCE_MAX];

	(void)state;
	assert_false(ref_name(".", out));
	assert_false(ref_name("a%2", out));
	assert_false(ref_name("a%zz", out));
	assert_false(ref_name("a%", out));
	assert_false(ref_name("x.tmp12", out));
	assert_false(ref_name("a b", out));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts),
		cmocka_unit_test(refuses),
		cmocka_unit_test(capitals),
		cmocka_unit_test(bad_files),
	};

	return cmocka_run_group_tests_name("reference", tests, NULL, NULL);
}
