/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands of a sandbox wrote: lines, characters that are cut, bytes that are none, rotation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "sandbox/output_log.h"

static char root[64];
static int dir = -1;
static struct output_log *out;

static int setup(void **state)
{
	(void)state;
	snprintf(root, sizeof(root), "/tmp/msb-test-XXXXXX");
	if (!mkdtemp(root))
		return -1;
	dir = open(root, O_RDONLY | O_DIRECTORY);
	out = output_log_open(dir, NULL);
	return dir >= 0 && out ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	output_log_close(out);
	fd_close(&dir);
	return dir_remove_tree(AT_FDCWD, root, NULL);
}

/** entry() - The n-th line of a file as JSON, owned; NULL: there are not so many. */
static json_t *entry(const char *name, size_t n)
{
	struct buf b = BUF_INIT(MIB(16));
	json_t *found = NULL;
	char *rest, *line;

	assert_int_equal(file_read(dir, name, MIB(15), &b, NULL), 0);
	rest = buf_cstr(&b);
	for (line = strsep(&rest, "\n"); line && rest; line = strsep(&rest, "\n"))
		if (n-- == 0) {
			found = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
			assert_non_null(found);
			break;
		}
	buf_free(&b);
	return found;
}

/** expect() - What the n-th entry says. @e: NULL: plain text */
static void expect(size_t n, const char *s, const char *d, int id, const char *e)
{
	json_t *j = entry("logs/output.log", n);
	const char *t;

	assert_non_null(j);
	assert_string_equal(json_string_value(json_object_get(j, "s")), s);
	assert_string_equal(json_string_value(json_object_get(j, "d")), d);
	assert_int_equal(json_integer_value(json_object_get(j, "id")), id);
	if (e)
		assert_string_equal(json_string_value(json_object_get(j, "e")), e);
	else
		assert_null(json_object_get(j, "e"));
	t = json_string_value(json_object_get(j, "t"));
	assert_int_equal(strlen(t), strlen("2026-01-02T03:04:05.678901+00:00"));
	assert_true(t[4] == '-' && t[10] == 'T' && t[19] == '.' && strcmp(t + 26, "+00:00") == 0);
	json_decref(j);
}

static void a_line_is_an_entry(void **state)
{
	static const char quoted[] = "\"quoted\\\"\ttab\x1b[0m\x7f\n";

	(void)state;
	output_log_write(out, OUTPUT_STDOUT, 1, "one\ntwo\nhalf", 12);
	output_log_write(out, OUTPUT_STDERR, 2, quoted, strlen(quoted));
	output_log_write(out, OUTPUT_PTY, 3, "\n", 1);
	output_log_write(out, OUTPUT_SYSTEM, 0, "sandbox started\n", 16);
	output_log_write(out, OUTPUT_STDOUT, 1, "", 0);
	expect(0, "stdout", "one\n", 1, NULL);
	expect(1, "stdout", "two\n", 1, NULL);
	expect(2, "stdout", "half", 1, NULL);
	expect(3, "stderr", quoted, 2, NULL);
	expect(4, "output", "\n", 3, NULL);
	expect(5, "system", "sandbox started\n", 0, NULL);
	assert_null(entry("logs/output.log", 6));
}

static void bytes_that_are_no_text(void **state)
{
	/* Not UTF-8 by RFC 3629: a lone continuation, an overlong form, a surrogate, above U+10FFFF, a cut sequence. */
	static const char *const bad[] = { "\x80", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82" };
	static const char *const as[] = { "gA==", "wK8=", "7aCA", "9JCAgA==", "4oI=" };
	static const char *const good[] = { "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		output_log_write(out, OUTPUT_STDOUT, 1, bad[i], strlen(bad[i]));
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		output_log_write(out, OUTPUT_STDOUT, 1, good[i], strlen(good[i]));
	output_log_write(out, OUTPUT_STDOUT, 1, "a\0b", 3);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		expect(i, "stdout", as[i], 1, "b64");
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		expect(ARRAY_LEN(bad) + i, "stdout", good[i], 1, NULL);
}

/* A line without an end, of characters of three bytes: cut between them, and complete together. */
static void long_line_is_cut_between_characters(void **state)
{
	const size_t characters = 40000;
	char *text = malloc(3 * characters), *got = calloc(1, 3 * characters + 1);
	size_t entries = 0;
	json_t *j;

	(void)state;
	for (size_t i = 0; i < characters; i++)
		memcpy(text + 3 * i, "\xe2\x82\xac", 3);
	output_log_write(out, OUTPUT_STDOUT, 1, text, 3 * characters);
	while ((j = entry("logs/output.log", entries))) {
		const char *d = json_string_value(json_object_get(j, "d"));

		assert_null(json_object_get(j, "e"));
		assert_true(strlen(d) <= 16384 && strlen(got) + strlen(d) <= 3 * characters);
		memcpy(got + strlen(got), d, strlen(d));
		json_decref(j);
		entries++;
	}
	assert_true(entries >= 8 && entries <= 9);
	assert_memory_equal(got, text, 3 * characters);
	free(text);
	free(got);
}

/** first_number() - Of a file: what its first entry counts. -1: no such file */
static int first_number(const char *name)
{
	json_t *j;
	int n;

	if (faccessat(dir, name, F_OK, 0) < 0)
		return -1;
	j = entry(name, 0);
	n = (int)strtol(json_string_value(json_object_get(j, "d")), NULL, 10);
	json_decref(j);
	return n;
}

static void three_old_files_are_kept(void **state)
{
	static char line[8192];
	struct stat st;
	int oldest;

	(void)state;
	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\n';
	for (int i = 0; i < 7000; i++) { /* 57 MB: five rotations */
		line[snprintf(line, 16, "%d", i)] = ' ';
		output_log_write(out, OUTPUT_STDOUT, 1, line, sizeof(line));
	}
	oldest = first_number("logs/output.log.3");
	assert_true(oldest > 0); /* what was before it is gone */
	for (int i = 3; i >= 0; i--) {
		char name[32], next[32];

		snprintf(name, sizeof(name), i ? "logs/output.log.%d" : "logs/output.log", i);
		assert_int_equal(fstatat(dir, name, &st, 0), 0);
		assert_true(st.st_size < OUTPUT_LOG_MAX + (1 << 19) && (i == 0 || st.st_size >= OUTPUT_LOG_MAX));
		snprintf(next, sizeof(next), i > 1 ? "logs/output.log.%d" : "logs/output.log", i - 1);
		if (i > 0)
			assert_true(first_number(next) > first_number(name));
	}
	assert_int_equal(first_number("logs/output.log.4"), -1);
}

/* The next supervisor goes on where the last one stopped. */
static void opened_again(void **state)
{
	(void)state;
	output_log_write(out, OUTPUT_STDOUT, 1, "before\n", 7);
	output_log_close(out);
	out = output_log_open(dir, NULL);
	assert_non_null(out);
	output_log_write(out, OUTPUT_STDOUT, 1, "after\n", 6);
	expect(0, "stdout", "before\n", 1, NULL);
	expect(1, "stdout", "after\n", 1, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_line_is_an_entry, setup, teardown),
		cmocka_unit_test_setup_teardown(bytes_that_are_no_text, setup, teardown),
		cmocka_unit_test_setup_teardown(long_line_is_cut_between_characters, setup, teardown),
		cmocka_unit_test_setup_teardown(three_old_files_are_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(opened_again, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
