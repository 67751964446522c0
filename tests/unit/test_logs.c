/* SPDX-License-Identifier: Apache-2.0 */
/* What commands wrote: entries as text and back, the chain of files while it is rotated, boot errors, escape sequences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/ansi.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/json_line.h"
#include "base/rfc3339.h"
#include "engine/logs.h"
#include "sandbox/output_log.h"
#include "state/state.h"

#define LINE 10000 /* bytes: a rotation is about a thousand of them */

static struct engine_paths paths;
static int sandbox = -1;
static struct output_log *writer;
static unsigned int written;

/** setup() - A home with one stopped sandbox in it. */
static int setup(void **state)
{
	struct sandbox_record r = { .name = "x", .image = (char *)"i", .config = (char *)"{}", .state = SANDBOX_STOPPED };
	struct error err = ERROR_INIT;
	struct state *db;
	int home;

	(void)state;
	snprintf(paths.home, sizeof(paths.home), "/tmp/msb-test-XXXXXX");
	if (!mkdtemp(paths.home))
		return -1;
	home = open(paths.home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	mkdirat(home, "sandboxes", 0700);
	mkdirat(home, "sandboxes/x", 0700);
	sandbox = openat(home, "sandboxes/x", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	close(openat(sandbox, "sandbox.json", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	db = state_open(home, STATE_WRITE, &err);
	if (!db || state_put(db, &r, &err) < 0)
		return -1;
	state_close(db);
	close(home);
	written = 0;
	writer = output_log_open(sandbox, &err);
	return writer ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	output_log_close(writer);
	fd_close(&sandbox);
	return dir_remove_tree(AT_FDCWD, paths.home, NULL);
}

/** say() - One line of session 1. */
static void say(const char *text)
{
	output_log_write(writer, OUTPUT_STDOUT, 1, text, strlen(text));
}

/** say_numbers() - Long lines that are counted. */
static void say_numbers(unsigned int count)
{
	char line[LINE + 2];

	while (count--) {
		snprintf(line, sizeof(line), "%0*u\n", LINE, written++);
		say(line);
	}
}

/** What a sink has seen. */
struct seen {
	unsigned int lines, next, more_after; /* with the line of this number so many more are written */
	unsigned int more;
	bool ordered;
	char last[64];
	unsigned int limit;
};

static bool count_line(void *arg, const struct output_entry *e, const uint8_t *line, size_t n)
{
	struct seen *s = arg;
	unsigned int number;
	char text[LINE + 1];

	if (!e)
		return true;
	assert_true(n > 0 && line[0] == '{');
	s->lines++;
	snprintf(s->last, sizeof(s->last), "%.*s", (int)MIN(e->size, sizeof(s->last) - 1), (const char *)e->data);
	snprintf(text, sizeof(text), "%.*s", (int)e->size, (const char *)e->data);
	number = (unsigned int)strtoul(text, NULL, 10);
	if (number != s->next)
		s->ordered = false;
	s->next = number + 1;
	if (s->more && number == s->more_after)
		say_numbers(s->more);
	return s->lines != s->limit;
}

static struct log_query all(void)
{
	return (struct log_query){ .since_ns = 0, .until_ns = INT64_MAX, .sources = 15, .tail = LOG_TAIL_ALL };
}

/** read_log() - All that a query gives. */
static struct log_result read_log(const struct log_query *q, struct seen *s)
{
	struct error err = ERROR_INIT;
	struct log_result result;

	assert_int_equal(engine_logs(&paths, "x", q, -1, count_line, s, &result, &err), 0);
	return result;
}

static void rotated_while_it_is_read(void **state)
{
	struct log_query q = all();
	/* In the middle of the older file of two, which is the oldest that is kept then. */
	struct seen s = { .ordered = true, .more_after = 500, .more = 2300 };
	struct log_result result;

	(void)state;
	say_numbers(1500);
	result = read_log(&q, &s);
	assert_true(s.ordered);
	assert_int_equal(s.lines, 3800);
	assert_false(result.lost);
	assert_int_equal(result.broken, 0);
}

static void rotated_too_quickly(void **state)
{
	struct log_query q = all();
	struct seen s = { .ordered = true, .more_after = 500, .more = 6000 };

	(void)state;
	say_numbers(1500);
	assert_true(read_log(&q, &s).lost);
	assert_false(s.ordered);
	assert_int_equal(s.next, 7500);
}

static void tail(void **state)
{
	struct log_query q = all();
	struct seen s = { .ordered = true, .next = 2197 };

	(void)state;
	say_numbers(2200);
	q.tail = 3;
	read_log(&q, &s);
	assert_true(s.ordered);
	assert_int_equal(s.lines, 3);
	assert_int_equal(s.next, 2200);
	s = (struct seen){ .lines = 0 };
	q.tail = 0;
	read_log(&q, &s);
	assert_int_equal(s.lines, 0);
	q.tail = 5000;
	read_log(&q, &s);
	assert_int_equal(s.lines, 2200);
	s = (struct seen){ .limit = 2 };
	read_log(&q, &s);
	assert_int_equal(s.lines, 2);
}

static void filters(void **state)
{
	struct log_query q = all();
	struct seen s = { .lines = 0 };
	regex_t pattern;

	(void)state;
	say("one\n");
	output_log_write(writer, OUTPUT_STDERR, 2, "two \033[31mred\033[0m\r\n", 17);
	output_log_write(writer, OUTPUT_SYSTEM, 0, "three\n", 6);
	q.sources = 1u << OUTPUT_STDERR | 1u << OUTPUT_SYSTEM;
	read_log(&q, &s);
	assert_int_equal(s.lines, 2);
	assert_int_equal(regcomp(&pattern, "^two r.d$", REG_EXTENDED), 0);
	q.pattern = &pattern;
	s.lines = 0;
	read_log(&q, &s);
	assert_int_equal(s.lines, 1);
	regfree(&pattern);
	q = all();
	q.since_ns = clock_realtime_ns() / 1000 * 1000; /* entries have microseconds */
	say("four\n");
	s.lines = 0;
	read_log(&q, &s);
	assert_int_equal(s.lines, 1);
	assert_string_equal(s.last, "four\n");
	q.until_ns = q.since_ns;
	q.since_ns = 0;
	s.lines = 0;
	read_log(&q, &s);
	assert_int_equal(s.lines, 3);
}

/** add_raw() - As a stranger, or a supervisor that was killed, leaves it. */
static void add_raw(const char *text, size_t n)
{
	int fd = openat(sandbox, "logs/output.log", O_WRONLY | O_APPEND | O_CLOEXEC);

	assert_int_equal(fd_write_full(fd, text, n), 0);
	close(fd);
}

static void damaged(void **state)
{
	static char huge[3 * OUTPUT_LINE_MAX];
	struct error err = ERROR_INIT;
	struct log_query q = all();
	struct seen s = { .lines = 0 };

	(void)state;
	memset(huge, 'x', sizeof(huge));
	huge[sizeof(huge) - 1] = '\n';
	add_raw("garbage\n{}\n", 11);
	add_raw(huge, sizeof(huge));
	say("one\n");
	add_raw("{\"t\":\"2025-", 11);
	/* The next supervisor's first entry is whole. */
	output_log_close(writer);
	writer = output_log_open(sandbox, &err);
	say("two\n");
	assert_int_equal(read_log(&q, &s).broken, 4);
	assert_int_equal(s.lines, 2);
	assert_string_equal(s.last, "two\n");
}

static void not_files(void **state)
{
	struct log_query q = all();
	struct seen s = { .lines = 0 };

	(void)state;
	unlinkat(sandbox, "logs/output.log", 0);
	assert_int_equal(symlinkat("/etc/passwd", sandbox, "logs/output.log"), 0);
	assert_int_equal(mkfifoat(sandbox, "logs/output.log.1", 0600), 0);
	assert_int_equal(read_log(&q, &s).broken, 0);
	assert_int_equal(s.lines, 0);
}

static void entries(void **state)
{
	static const char *const texts[] = { "", "a\n", "\"\\\n\t\r\001\177\033[1m", "a\0b", "\xc3\xa4\xf0\x9f\x98\x80", "\xff\xfe", "\xff",
					     "\xff\xff\xff" };
	static const size_t sizes[] = { 0, 2, 10, 3, 6, 2, 1, 3 };
	struct buf text = BUF_INIT(OUTPUT_LINE_MAX), line = BUF_INIT(OUTPUT_LINE_MAX);
	struct output_entry e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		line.len = 0;
		output_entry_put(&line, &(struct output_entry){ .time_ns = 1700000000123456000,
								.source = (enum output_source)(i % OUTPUT_SOURCES),
								.session = 4294967295,
								.data = (const uint8_t *)texts[i],
								.size = sizes[i] });
		assert_true(output_entry_parse(line.data, line.len - 1, &text, &e));
		assert_int_equal(e.time_ns, 1700000000123456000);
		assert_int_equal(e.source, i % OUTPUT_SOURCES);
		assert_int_equal(e.session, 4294967295);
		assert_int_equal(e.size, sizes[i]);
		assert_memory_equal(e.data ? (const void *)e.data : "", texts[i], sizes[i]);
	}
	buf_free(&line);
	buf_free(&text);
}

static void no_entries(void **state)
{
#define T "{\"t\":\"2025-01-31T00:00:00Z\",\"s\":\"stdout\","
	static const char *const good[] = {
		T "\"d\":\"\\u00e4\\ud83d\\ude00\\/\"}",
		T "\"d\":\"\",\"id\":0,\"later\":\"x\",\"more\":18446744073709551615}",
		T "\"d\":\"YQ==\",\"e\":\"b64\"}",
	};
	static const char *const bad[] = {
		"", "{", "{}", "[]", "x", T "\"d\":\"\"", T "\"d\":\"\"} ", T "\"d\":\"\"}}", T "\"d\":1}", T "\"d\":\"}",
		T "\"d\":\"\",}", T "\"d\":\"\"{\"id\":1}", T "\"d\":\"\\ud83d\"}", T "\"d\":\"\\ude00\\ud83d\"}",
		T "\"d\":\"\\u12\"}", T "\"d\":\"\\x\"}", T "\"d\":\"\xff\"}", T "\"d\":\"\n\"}", T "\"d\":\"\",\"id\":-1}",
		T "\"d\":\"\",\"id\":01}", T "\"d\":\"\",\"id\":4294967296}", T "\"d\":\"\",\"id\":\"1\"}",
		T "\"d\":\"\",\"id\":99999999999999999999}", T "\"d\":\"\",\"k\":[]}", T "\"d\":\"\",\"k\":null}",
		T "\"d\":\"YQ=\",\"e\":\"b64\"}", T "\"d\":\"YR==\",\"e\":\"b64\"}", T "\"d\":\"Y===\",\"e\":\"b64\"}",
		T "\"d\":\"=AAA\",\"e\":\"b64\"}", T "\"d\":\"AA==AAAA\",\"e\":\"b64\"}", T "\"d\":\"\",\"e\":\"b65\"}",
		T "\"sixteen-letters-\":1,\"d\":\"\"}", T "\"\":1,\"d\":\"\"}", T "\"d\" :\"\"}",
		"{\"t\":\"2025-02-30T00:00:00Z\",\"s\":\"stdout\",\"d\":\"\"}",
		"{\"t\":\"2025-01-31T00:00:00Z\",\"s\":\"stdin\",\"d\":\"\"}",
		"{\"s\":\"stdout\",\"d\":\"\"}", "{\"t\":\"2025-01-31T00:00:00Z\",\"d\":\"\"}",
		"{\"t\":\"2025-01-31T00:00:00Z\",\"s\":\"stdout\"}",
	};
#undef T
	struct buf text = BUF_INIT(OUTPUT_LINE_MAX);
	struct output_entry e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_true(output_entry_parse((const uint8_t *)good[i], strlen(good[i]), &text, &e));
	assert_true(output_entry_parse((const uint8_t *)good[0], strlen(good[0]), &text, &e));
	assert_int_equal(e.size, 7);
	assert_memory_equal(e.data, "\xc3\xa4\xf0\x9f\x98\x80/", 7);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (output_entry_parse((const uint8_t *)bad[i], strlen(bad[i]), &text, &e))
			fail_msg("taken for an entry: %s", bad[i]);
	buf_free(&text);
}

static void times(void **state)
{
	static const struct {
		const char *text;
		int64_t ns;
	} good[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "2024-02-29T23:59:60.5+00:00", 1709251200500000000 },
		{ "2023-11-14 22:13:20.123456789z", 1700000000123456789 },
		{ "2023-11-15t00:43:20+02:30", 1700000000000000000 },
		{ "2023-11-14T20:13:20.1234567899-02:00", 1700000000123456789 },
	};
	static const char *const bad[] = { "",
					   "2023-11-14",
					   "2023-11-14T22:13:20",
					   "2023-11-14T22:13Z",
					   "2023-11-14T22:13:20.Z",
					   "2023-11-14T22:13:20ZZ",
					   "2023-13-14T22:13:20Z",
					   "2023-02-29T22:13:20Z",
					   "2023-00-10T22:13:20Z",
					   "2023-11-14T24:13:20Z",
					   "2023-11-14T22:13:20+2:00",
					   "1969-11-14T22:13:20Z",
					   "9999-11-14T22:13:20Z",
					   " 023-11-14T22:13:20Z" };
	char text[RFC3339_SIZE];
	int64_t ns;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_true(rfc3339_parse(good[i].text, strlen(good[i].text), &ns));
		assert_int_equal(ns, good[i].ns);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(rfc3339_parse(bad[i], strlen(bad[i]), &ns));
	assert_string_equal(rfc3339_text(1700000000123456789, text), "2023-11-14T22:13:20.123456+00:00");
}

static void escape_sequences(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "plain\r\n", "plain\r\n" },
		{ "a\033[1;31mb\033[0mc", "abc" },
		{ "a\033]0;title\007b\033]8;;x\033\\c", "abc" },
		{ "a\033(Bb\033=c\033Md", "abcd" },
		{ "a\033Pq...\033\\b", "ab" },
		{ "a\033]never ends\nb", "a\nb" },
		{ "a\033[12\nb", "a\nb" },
		{ "a\033\033[1mb", "ab" },
		{ "a\033]x\033[1mb", "ab" },
		{ "a\033", "a" },
	};
	char out[100];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		size_t n = strlen(cases[i].in), whole, parts = 0;
		struct ansi a = { 0 }, b = { 0 };

		whole = ansi_strip(&a, cases[i].in, n, out);
		assert_int_equal(whole, strlen(cases[i].out));
		assert_memory_equal(out, cases[i].out, whole);
		/* In pieces it is the same. */
		for (size_t j = 0; j < n; j++)
			parts += ansi_strip(&b, cases[i].in + j, 1, out + parts);
		assert_int_equal(parts, whole);
		assert_memory_equal(out, cases[i].out, whole);
	}
}

static void boot_errors(void **state)
{
	struct boot_error e = { .time_ns = 1700000000000000000, .stage = "mount", .sys_errno = 5 }, again;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(engine_boot_error(&paths, "x", &again, &err), 0);
	snprintf(e.message, sizeof(e.message), "a \"b\"\n\xc3\xa4");
	assert_int_equal(boot_error_write(sandbox, &e, &err), 0);
	assert_int_equal(engine_boot_error(&paths, "x", &again, &err), 1);
	assert_int_equal(again.time_ns, e.time_ns);
	assert_int_equal(again.sys_errno, 5);
	assert_string_equal(again.stage, "mount");
	assert_string_equal(again.message, e.message);
	/* What is no text is kept as such, and a message that fills its array. */
	memset(e.message, '\xff', sizeof(e.message) - 1);
	assert_int_equal(boot_error_write(sandbox, &e, &err), 0);
	assert_int_equal(engine_boot_error(&paths, "x", &again, &err), 1);
	assert_int_equal(strspn(again.message, "?"), sizeof(e.message) - 1);
	assert_false(boot_error_parse("{\"t\":\"2025-01-31T00:00:00Z\",\"stage\":\"other\"}", 45, &again));
	assert_false(boot_error_parse("", 0, &again));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(rotated_while_it_is_read, setup, teardown),
		cmocka_unit_test_setup_teardown(rotated_too_quickly, setup, teardown),
		cmocka_unit_test_setup_teardown(tail, setup, teardown),
		cmocka_unit_test_setup_teardown(filters, setup, teardown),
		cmocka_unit_test_setup_teardown(damaged, setup, teardown),
		cmocka_unit_test_setup_teardown(not_files, setup, teardown),
		cmocka_unit_test_setup_teardown(boot_errors, setup, teardown),
		cmocka_unit_test(entries),
		cmocka_unit_test(no_entries),
		cmocka_unit_test(times),
		cmocka_unit_test(escape_sequences),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
