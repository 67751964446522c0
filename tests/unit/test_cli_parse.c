/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The command line is not part of the core library; cmocka has a print_error() of its own. */
#define print_error msb_print_error
#include "cli/parse.c"
#include "cli/units.c"
#undef print_error

#include <cmocka.h>

#define WORDS_MAX 16

static struct {
	bool interactive, tty, quiet;
	const char *user;
	struct string_list env;
	uint64_t memory, cpus, timeout;
} got;

static const struct option_row rows[] = {
	{ 'i', "interactive", NULL, "", OPTION_FLAG, &got.interactive, 0, 0 },
	{ 't', "tty", NULL, "", OPTION_FLAG, &got.tty, 0, 0 },
	{ 'q', "quiet", NULL, "", OPTION_FLAG, &got.quiet, 0, 0 },
	{ 'u', "user", "USER", "", OPTION_STRING, &got.user, 0, 0 },
	{ 'e', "env", "KEY", "", OPTION_LIST, &got.env, 0, 0 },
	{ 'm', "memory", "SIZE", "", OPTION_SIZE, &got.memory, 1, 1u << 22 },
	{ 'c', "cpus", "N", "", OPTION_NUMBER, &got.cpus, 1, 32 },
	{ 0, "timeout", "TIME", "", OPTION_DURATION, &got.timeout, 0, 0 },
	{ 'v', "volume", "SPEC", NULL, OPTION_LATER, NULL, 0, 0 },
	{ 'd', "detach", NULL, NULL, OPTION_LATER, NULL, 0, 0 },
};

static struct parsed parsed;
static struct error error;

/** parse() - A line split at blanks; at most one word. */
static int parse(const char *line)
{
	static char copy[256];
	static char *argv[WORDS_MAX];
	char *rest = copy;
	int argc = 0;

	memset(&got, 0, sizeof(got));
	err_clear(&error);
	snprintf(copy, sizeof(copy), "%s", line);
	while (rest && argc < WORDS_MAX)
		argv[argc++] = strsep(&rest, " ");
	return parse_options(rows, ARRAY_LEN(rows), 1, argc, argv, &parsed, &error);
}

static void test_around_the_word(void **state)
{
	(void)state;
	assert_int_equal(parse("-m 1G image --cpus=2 -u me -- ls -la --help"), 0);
	assert_true(got.memory == 1024 && got.cpus == 2);
	assert_string_equal(got.user, "me");
	assert_int_equal(parsed.word_count, 1);
	assert_string_equal(parsed.words[0], "image");
	assert_true(parsed.has_tail && !parsed.help);
	assert_int_equal(parsed.tail_count, 3);
	assert_string_equal(parsed.tail[2], "--help");
}

static void test_clusters(void **state)
{
	(void)state;
	assert_int_equal(parse("-it image"), 0);
	assert_true(got.interactive && got.tty);
	assert_int_equal(parse("-qtm512M -c=4 image"), 0);
	assert_true(got.quiet && got.tty && got.memory == 512 && got.cpus == 4);
	assert_int_equal(parse("-tm 512M image"), 0);
	assert_int_equal(got.memory, 512);
	assert_int_equal(parse("-tx image"), -ERR_USAGE);
	assert_string_equal(error.text, "unknown option -x");
}

static void test_lists_and_empty_values(void **state)
{
	(void)state;
	assert_int_equal(parse("-e A=1 --env=B=2 -eC image --user="), 0);
	assert_int_equal(got.env.count, 3);
	assert_string_equal(got.env.item[1], "B=2");
	assert_string_equal(got.env.item[2], "C");
	assert_string_equal(got.user, "");
}

static void test_words_too_many(void **state)
{
	(void)state;
	assert_int_equal(parse("image ls -la --nonsense"), 0);
	assert_int_equal(parsed.word_count, 1);
	assert_int_equal(parsed.extra_count, 3);
	assert_string_equal(parsed.extra[1], "-la");
	assert_int_equal(parse("-"), 0);
	assert_string_equal(parsed.words[0], "-");
}

static void test_refused(void **state)
{
	static const char *const bad[][2] = {
		{ "--memory", "--memory needs a value (SIZE)" },
		{ "-m", "-m needs a value (SIZE)" },
		{ "--tty=yes", "--tty takes no value" },
		{ "-c 0", "--cpus: \"0\" is not a number from 1 to 32" },
		{ "-c 33", "--cpus: \"33\" is not a number from 1 to 32" },
		{ "-c 1x", "--cpus: \"1x\" is not a number from 1 to 32" },
		{ "--memory 512MB", "--memory: \"512MB\" is not a size" },
		{ "-m 0", "--memory: \"0\" is out of range" },
		{ "--timeout 0", "--timeout: \"0\" is not a duration" },
		{ "-v /a:/b", "--volume is not available in this version" },
		{ "-itd", "--detach is not available in this version" },
		{ "--memroy 1G", "unknown option --memroy" },
		{ "-Z", "unknown option -Z" },
		{ "---", "unknown option ---" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(parse(bad[i][0]), -ERR_USAGE);
		assert_string_equal(error.text, bad[i][1]);
	}
}

static void test_hints(void **state)
{
	static const char *const words[] = { "run", "load", "images", "rmi", "doctor" };

	(void)state;
	assert_int_equal(parse("--memroy 1G"), -ERR_USAGE);
	assert_string_equal(error.hint, "did you mean --memory?");
	assert_string_equal(nearest("rnu", words, ARRAY_LEN(words)), "run");
	assert_string_equal(nearest("image", words, ARRAY_LEN(words)), "images");
	assert_null(nearest("frobnicate", words, ARRAY_LEN(words)));
	assert_null(nearest("a-word-that-is-much-longer-than-any-command-of-ours", words, ARRAY_LEN(words)));
}

static void test_help(void **state)
{
	(void)state;
	assert_int_equal(parse("-m 1G --help --nonsense"), 0);
	assert_true(parsed.help);
	assert_int_equal(parse("-h"), 0);
	assert_true(parsed.help);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_around_the_word), cmocka_unit_test(test_clusters),
		cmocka_unit_test(test_lists_and_empty_values), cmocka_unit_test(test_words_too_many),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_hints), cmocka_unit_test(test_help),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
