/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands of a sandbox wrote. contract 1.9 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ansi.h"
#include "base/clock.h"
#include "base/json_line.h"
#include "base/macros.h"
#include "base/num.h"
#include "base/rfc3339.h"
#include "cli/cli.h"
#include "engine/logs.h"

#define TAIL_MAX 1000000000u
#define AGO_MAX 1000000000u
#define PATTERN_MAX 4096

static struct {
	const char *since, *until, *pattern, *color;
	struct string_list sources;
	uint64_t tail;
	bool follow, timestamps, show_id, color_sessions, no_color, json;
} o;

static const struct option_row rows[] = {
	{ 'f', "follow", NULL, "go on with what is written, until the sandbox stops", OPTION_FLAG, &o.follow, 0, 0 },
	{ 0, "tail", "N", "only the last N lines of what is there", OPTION_NUMBER, &o.tail, 0, TAIL_MAX },
	{ 0, "since", "TIME", "from this time on: 2025-01-31T12:00:00Z, or 30s, 5m, 2h, 1d ago", OPTION_STRING,
	  &o.since, 0, 0 },
	{ 0, "until", "TIME", "before this time", OPTION_STRING, &o.until, 0, 0 },
	{ 0, "source", "SOURCES", "stdout, stderr, output (terminals), system, all; with commas between", OPTION_LIST,
	  &o.sources, 0, 0 },
	{ 0, "grep", "REGEX", "lines that match, as grep -E", OPTION_STRING, &o.pattern, 0, 0 },
	{ 0, "timestamps", NULL, "begin lines with their time", OPTION_FLAG, &o.timestamps, 0, 0 },
	{ 0, "show-id", NULL, "begin lines with the number of their session", OPTION_FLAG, &o.show_id, 0, 0 },
	{ 0, "color-sessions", NULL, "a colour for each session", OPTION_FLAG, &o.color_sessions, 0, 0 },
	{ 0, "color", "auto|always|never", "colours, and those of the commands (auto: on a terminal)", OPTION_STRING,
	  &o.color, 0, 0 },
	{ 0, "no-color", NULL, "the same as --color never", OPTION_FLAG, &o.no_color, 0, 0 },
	{ 0, "json", NULL, "the entries as they are stored: JSON lines", OPTION_FLAG, &o.json, 0, 0 },
};
static const struct command help = { "logs", "Show what the commands of a sandbox wrote, whether it runs or not.",
				     "[OPTIONS] NAME", NULL };

/** What was printed last. */
struct printer {
	bool colour, mid_line;
	uint32_t session;
	enum output_source source;
	struct ansi ansi;
};

/** parse_time() - --since and --until. */
static int parse_time(const char *option, const char *text, int64_t *ns, struct error *err)
{
	static const char units[] = "smhd";
	static const uint64_t seconds[] = { 1, 60, 3600, 86400 };
	size_t n = strspn(text, "0123456789");
	const char *unit = text[n] ? strchr(units, text[n]) : NULL;
	char digits[12];
	uint64_t ago;

	if (n && n < sizeof(digits) && unit && !text[n + 1]) {
		snprintf(digits, sizeof(digits), "%.*s", (int)n, text);
		if (num_parse_u64(digits, AGO_MAX / seconds[unit - units], &ago)) {
			*ns = clock_realtime_ns() - (int64_t)(ago * seconds[unit - units]) * NSEC_PER_SEC;
			return 0;
		}
	}
	if (rfc3339_parse(text, strlen(text), ns))
		return 0;
	err_set(err, ERR_USAGE, 0, "--%s: \"%.60s\" is not a time", option, text);
	return err_hint(err, "use 2025-01-31T12:00:00Z, or 30s, 5m, 2h, 1d ago");
}

/** add_source() - One word of --source. */
static int add_source(const char *word, size_t n, unsigned int *out, struct error *err)
{
	bool known = n == 3 && strncmp(word, "all", 3) == 0;

	if (known)
		*out |= (1u << OUTPUT_SOURCES) - 1;
	for (size_t i = 0; i < OUTPUT_SOURCES; i++) {
		if (strlen(output_source_names[i]) != n || strncmp(output_source_names[i], word, n) != 0)
			continue;
		*out |= 1u << i;
		known = true;
	}
	if (known)
		return 0;
	err_set(err, ERR_USAGE, 0, "--source: \"%.*s\" is no source", (int)MIN(n, 40u), word);
	return err_hint(err, "use stdout, stderr, output, system or all");
}

/** make_query() - Of the options. @pattern: compiled into this; it lasts as long as the process */
static int make_query(struct log_query *q, regex_t *pattern, struct error *err)
{
	char text[100];
	int rc;

	*q = (struct log_query){ .since_ns = 0, .until_ns = INT64_MAX, .tail = o.tail, .follow = o.follow };
	if ((o.since && parse_time("since", o.since, &q->since_ns, err) < 0) ||
	    (o.until && parse_time("until", o.until, &q->until_ns, err) < 0))
		return -(int)err->code;
	for (size_t i = 0; i < o.sources.count; i++) {
		const char *at = o.sources.item[i];

		for (size_t n; n = strcspn(at, ","), add_source(at, n, &q->sources, err) == 0 && at[n]; at += n + 1)
			;
		if (err->code)
			return -(int)err->code;
	}
	if (!o.sources.count)
		q->sources = 1u << OUTPUT_STDOUT | 1u << OUTPUT_STDERR | 1u << OUTPUT_PTY;
	if (o.color && (strcmp(o.color, "always") == 0) && o.no_color)
		return err_set(err, ERR_USAGE, 0, "--color always and --no-color exclude each other");
	if (!o.pattern)
		return 0;
	if (strlen(o.pattern) > PATTERN_MAX)
		return err_set(err, ERR_USAGE, 0, "--grep: longer than %d bytes", PATTERN_MAX);
	rc = regcomp(pattern, o.pattern, REG_EXTENDED);
	if (rc) {
		regerror(rc, pattern, text, sizeof(text));
		return err_set(err, ERR_USAGE, 0, "--grep: \"%.100s\": %s", o.pattern, text);
	}
	q->pattern = pattern;
	return 0;
}

/** begin_line() - What comes in front of a line's text. */
static void begin_line(const struct printer *p, const struct output_entry *e)
{
	char when[RFC3339_SIZE];

	if (p->colour && o.color_sessions)
		printf("\033[%um", 31 + e->session % 6);
	if (o.timestamps)
		printf("%s ", rfc3339_text(e->time_ns, when));
	if (o.show_id)
		printf("[id:%3u] ", e->session);
}

/** print_entry() - log_sink: text, or the line as it is. */
static bool print_entry(void *arg, const struct output_entry *e, const uint8_t *line, size_t n)
{
	static uint8_t plain[OUTPUT_LINE_MAX];
	struct printer *p = arg;
	const uint8_t *text;
	size_t size;
	bool ends;

	if (!e)
		return fflush(stdout) == 0;
	if (o.json) {
		fwrite(line, 1, n, stdout);
		return putchar('\n') != EOF;
	}
	if (e->session != p->session || e->source != p->source) {
		if (p->mid_line)
			putchar('\n');
		p->mid_line = false;
		p->ansi = (struct ansi){ 0 };
	}
	p->session = e->session;
	p->source = e->source;
	text = e->data;
	size = e->size;
	if (!p->colour) {
		size = ansi_strip(&p->ansi, e->data, MIN(e->size, sizeof(plain)), plain);
		text = plain;
	}
	if (size == 0)
		return true;
	if (!p->mid_line)
		begin_line(p, e);
	ends = text[size - 1] == '\n';
	fwrite(text, 1, size - ends, stdout);
	if (p->colour && o.color_sessions && ends)
		printf("\033[0m");
	if (ends)
		putchar('\n');
	p->mid_line = !ends;
	return !ferror(stdout);
}

/** print_boot_error() - Before anything else. */
static void print_boot_error(const struct boot_error *e)
{
	struct buf text = BUF_INIT(2 * BOOT_ERROR_BYTES_MAX);
	struct error err = ERROR_INIT;
	char when[RFC3339_SIZE];

	rfc3339_text(e->time_ns, when);
	if (!o.json) {
		err_set(&err, ERR_CLOSED, 0, "the last boot failed at %s (%s): %s", when, e->stage, e->message);
		err_hint(&err, "msb start tries again");
		print_error(&err);
		return;
	}
	json_line_escape(&text, e->message, strlen(e->message));
	printf("{\"t\":\"%s\",\"s\":\"system\",\"d\":\"the last boot failed: %s\\n\",\"id\":0,\"stage\":\"", when,
	       text.failed ? "" : buf_cstr(&text));
	text.len = 0;
	json_line_escape(&text, e->stage, strlen(e->stage));
	printf("%s\",\"errno\":%d}\n", text.failed ? "" : buf_cstr(&text), e->sys_errno);
	buf_free(&text);
}

/** show() - Of one sandbox. */
static int show(const char *name, const struct log_query *q, struct error *err)
{
	struct printer p = { .colour = o.color && strcmp(o.color, "always") == 0 };
	struct log_result result;
	struct boot_error failed;
	struct engine_paths paths;
	int rc = engine_paths(&paths, ENGINE_READ, err);

	if (!o.no_color && (!o.color || strcmp(o.color, "auto") == 0))
		p.colour = colour(STDOUT_FILENO);
	if (rc == 0)
		rc = engine_boot_error(&paths, name, &failed, err);
	if (rc > 0)
		print_boot_error(&failed);
	if (rc >= 0)
		rc = engine_logs(&paths, name, q, STDOUT_FILENO, print_entry, &p, &result, err);
	if (rc < 0)
		return rc;
	if (p.mid_line && p.colour && o.color_sessions)
		printf("\033[0m");
	if (fflush(stdout) != 0)
		return 0; /* main() says so */
	if (result.lost)
		fprintf(stderr, "warn: lines may be missing: the log was rotated faster than it was read\n");
	if (result.broken)
		fprintf(stderr, "warn: %llu damaged %s left out\n", (unsigned long long)result.broken,
			result.broken == 1 ? "line was" : "lines were");
	return 0;
}

int command_logs(int argc, char **argv)
{
	struct error err = ERROR_INIT;
	struct log_query q;
	regex_t pattern;
	struct parsed p;

	o.tail = LOG_TAIL_ALL;
	if (parse_options(rows, ARRAY_LEN(rows), 1, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, rows, ARRAY_LEN(rows));
		return 0;
	}
	if (p.word_count != 1 || p.extra_count) {
		err_set(&err, ERR_USAGE, 0, p.word_count ? "logs: one NAME only" : "logs: which sandbox?");
		err_hint(&err, "msb ls lists those there are");
		return usage_error(&err);
	}
	if (make_query(&q, &pattern, &err) < 0)
		return usage_error(&err);
	return show(p.words[0], &q, &err) < 0 ? command_failed(&err) : 0;
}
