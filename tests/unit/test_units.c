/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/resource.h>

/* The command line is not part of the core library. */
#include "cli/units.c"

/** size() - MiB of a text, or 0 when refused. */
static uint64_t size(const char *text)
{
	uint64_t mib = 0;
	struct error err = ERROR_INIT;

	if (unit_size_mib("memory", text, 1, 1u << 22, &mib, &err) < 0) {
		assert_int_equal(err.code, ERR_USAGE);
		assert_non_null(strstr(err.text, "--memory"));
		assert_true(err.hint[0] != '\0');
		return 0;
	}
	return mib;
}

static void test_sizes(void **state)
{
	(void)state;
	assert_int_equal(size("512"), 512);
	assert_int_equal(size("512M"), 512);
	assert_int_equal(size("512m"), 512);
	assert_int_equal(size("1G"), 1024);
	assert_int_equal(size("1.5G"), 1536);
	assert_int_equal(size("1.25g"), 1280);
	assert_int_equal(size("0.5G"), 512);
	assert_int_equal(size("4194304"), 4194304);
}

static void test_sizes_refused(void **state)
{
	static const char *const bad[] = {
		"", "0", "0M", "0.0G", "M", "G", ".5G", "1.", "1.G", "1.5", "1.5M", "1.2.3G", "512MB", "512MiB", "1K",
		"1T", "-1", "+1", " 1", "1 ", "1 G", "0x10", "99999999999999999999", "99999999999999999999G", "4194305",
		"16777216G", "1.1234567G", "1e3", "512M ",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (size(bad[i]))
			fail_msg("\"%s\" was accepted", bad[i]);
}

static void test_size_hint(void **state)
{
	struct error err = ERROR_INIT;
	uint64_t mib;

	(void)state;
	assert_true(unit_size_mib("memory", "512MB", 1, 4096, &mib, &err) < 0);
	assert_string_equal(err.hint, "use 512M");
	assert_true(unit_size_mib("memory", "1.5GiB", 1, 4096, &mib, &err) < 0);
	assert_string_equal(err.hint, "use 1.5G");
}

static void test_milliseconds(void **state)
{
	static const struct {
		const char *text;
		bool zero, ok;
		uint64_t ms;
	} rows[] = {
		{ "500ms", false, true, 500 }, { "2s", false, true, 2000 }, { "3", false, true, 3000 },
		{ "1m", false, true, 60000 },  { "0", true, true, 0 },	    { "0ms", true, true, 0 },
		{ "0", false, false, 0 },      { "0ms", false, false, 0 },  { "ms", true, false, 0 },
		{ "-1ms", true, false, 0 },    { "1.5ms", true, false, 0 }, { "99999999999999999999ms", true, false, 0 },
		{ "1 ms", true, false, 0 },    { "", true, false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct error err = ERROR_INIT;
		uint64_t ms = 7;

		assert_int_equal(unit_duration_ms("interval", rows[i].text, rows[i].zero, &ms, &err),
				 rows[i].ok ? 0 : -ERR_USAGE);
		if (rows[i].ok)
			assert_int_equal(ms, rows[i].ms);
	}
}

static void test_size_texts(void **state)
{
	char text[24];

	(void)state;
	assert_string_equal(unit_size_text(1023, text), "1023 B");
	assert_string_equal(unit_size_text(1536, text), "1.5 KiB");
	assert_string_equal(unit_size_text(1536 << 10, text), "1.5 MiB");
	assert_string_equal(unit_size_text(5ull << 29, text), "2.50 GiB");
}

static void test_durations(void **state)
{
	static const struct {
		const char *text;
		uint64_t seconds; /* 0: refused */
	} rows[] = {
		{ "30", 30 }, { "30s", 30 }, { "5m", 300 }, { "1h", 3600 }, { "", 0 },	 { "0", 0 },   { "0s", 0 },
		{ "s", 0 },   { "1d", 0 },   { "1h30m", 0 }, { "-1", 0 },   { "1.5s", 0 }, { "1 s", 0 }, { "500ms", 0 },
		{ "99999999999999999999999", 0 }, { "100000001", 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct error err = ERROR_INIT;
		uint64_t seconds = 0;
		int rc = unit_duration("timeout", rows[i].text, &seconds, &err);

		if ((rc == 0) != (rows[i].seconds != 0) || seconds != rows[i].seconds)
			fail_msg("\"%s\": %d, %llu", rows[i].text, rc, (unsigned long long)seconds);
	}
}

static void test_rlimits(void **state)
{
	static const char *const bad[] = {
		"", "nofile", "nofile=", "nofile=x", "nofile=10:5", "nofile=-1", "files=1", "NOFILE=1", "=1", "nofile=1:",
		"nofile=1:2:3", "nofile=18446744073709551616",
	};
	struct error err = ERROR_INIT;
	struct msg_rlimit limit;

	(void)state;
	assert_int_equal(unit_rlimit("rlimit", "nofile=1024", &limit, &err), 0);
	assert_true(limit.resource == RLIMIT_NOFILE && limit.soft == 1024 && limit.hard == 1024);
	assert_int_equal(unit_rlimit("rlimit", "core=0:unlimited", &limit, &err), 0);
	assert_true(limit.resource == RLIMIT_CORE && limit.soft == 0 && limit.hard == UINT64_MAX);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (unit_rlimit("rlimit", bad[i], &limit, &err) == 0)
			fail_msg("\"%s\" was accepted", bad[i]);
}

static void test_env(void **state)
{
	struct error err = ERROR_INIT;
	const char *entry;

	(void)state;
	assert_int_equal(unit_env("env", "A=b=c", &entry, &err), 0);
	assert_string_equal(entry, "A=b=c");
	assert_int_equal(unit_env("env", "A=", &entry, &err), 0);
	setenv("UNITS_TEST", "from host", 1);
	assert_int_equal(unit_env("env", "UNITS_TEST", &entry, &err), 0);
	assert_string_equal(entry, "UNITS_TEST=from host");
	free((char *)entry);
	unsetenv("UNITS_TEST");
	assert_int_equal(unit_env("env", "UNITS_TEST", &entry, &err), -ERR_USAGE);
	assert_int_equal(unit_env("env", "=x", &entry, &err), -ERR_USAGE);
	assert_int_equal(unit_env("env", "", &entry, &err), -ERR_USAGE);
	assert_int_equal(unit_env("env", "MSB_HOME=/x", &entry, &err), -ERR_USAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),	  cmocka_unit_test(test_sizes_refused),
		cmocka_unit_test(test_size_hint), cmocka_unit_test(test_durations), cmocka_unit_test(test_milliseconds),
		cmocka_unit_test(test_size_texts),
		cmocka_unit_test(test_rlimits),	  cmocka_unit_test(test_env),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
