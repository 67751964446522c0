/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/num.h"
#include "cli/cli.h"
#include "cli/units.h"

bool colour(int fd)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(fd) && !(no && *no) && term && *term && strcmp(term, "dumb") != 0;
}

static const char *command_name = ""; /* for hints */

void set_command(const char *name)
{
	command_name = name;
}

void print_error(const struct error *err)
{
	const char *hint = err->hint[0] ? err->hint : err_advice(err);

	if (!err->text[0])
		return; /* a helper program has printed it */
	fprintf(stderr, "%serror:%s %s\n", colour(2) ? "\033[1;31m" : "", colour(2) ? "\033[0m" : "", err->text);
	if (hint)
		fprintf(stderr, "  → %s\n", hint);
}

int usage_error(const struct error *err)
{
	print_error(err);
	if (!err->hint[0])
		fprintf(stderr, "  → msb %s%s--help says what it takes\n", command_name, *command_name ? " " : "");
	return EXIT_USAGE;
}

bool is_choice_list(const char *value_name)
{
	return value_name && islower((unsigned char)value_name[0]);
}

/** check_choice() - A value is one of a list "a|b|c". */
static int check_choice(const char *option, const char *list, const char *v, struct error *err)
{
	struct buf text = BUF_INIT(200);
	const char *said;
	size_t n;

	for (const char *at = list; *at; at += n + (at[n] == '|')) {
		const char *between = at == list ? "" : strchr(at, '|') ? ", " : " or ";

		n = strcspn(at, "|");
		buf_printf(&text, "%s%.*s", between, (int)n, at);
		if (strlen(v) == n && strncmp(at, v, n) == 0) {
			buf_free(&text);
			return 0;
		}
	}
	said = buf_cstr(&text);
	err_set(err, ERR_USAGE, 0, "--%s: \"%.100s\" is not %s", option, v, said ? said : list);
	buf_free(&text);
	return -(int)ERR_USAGE;
}

/** set_value() - One option's value into its target. */
static int set_value(const struct option_row *row, const char *v, struct error *err)
{
	struct string_list *list = row->target;

	switch (row->kind) {
	case OPTION_FLAG:
		*(bool *)row->target = true;
		return 0;
	case OPTION_STRING:
		if (is_choice_list(row->value_name) && check_choice(row->name, row->value_name, v, err) < 0)
			return -(int)err->code;
		*(const char **)row->target = v;
		return 0;
	case OPTION_LIST:
		if (list->count == ARGS_LIST_MAX)
			return err_set(err, ERR_USAGE, 0, "--%s: given more than %d times", row->name, ARGS_LIST_MAX);
		list->item[list->count++] = v;
		return 0;
	case OPTION_SIZE:
		return unit_size_mib(row->name, v, row->min, row->max, row->target, err);
	case OPTION_NUMBER:
		if (num_parse_u64(v, row->max, row->target) && *(uint64_t *)row->target >= row->min)
			return 0;
		return err_set(err, ERR_USAGE, 0, "--%s: \"%s\" is not a number from %llu to %llu", row->name, v,
			       (unsigned long long)row->min, (unsigned long long)row->max);
	case OPTION_DURATION:
		return unit_duration(row->name, v, row->target, err);
	case OPTION_LATER:
		err_set(err, ERR_USAGE, 0, "--%s is not available in this version", row->name);
		return err_hint(err, "docs/status.md lists what is not there yet");
	}
	return 0;
}

bool takes_value(const struct option_row *row)
{
	return row->kind != OPTION_FLAG && row->value_name;
}

/** unknown() - With the nearest name as a hint. */
static int unknown(const struct option_row *rows, size_t count, const char *name, struct error *err)
{
	const char *names[96];
	const char *near;

	for (size_t i = 0; i < count && i < ARRAY_LEN(names); i++)
		names[i] = rows[i].name;
	near = nearest(name, names, MIN(count, ARRAY_LEN(names)));
	err_set(err, ERR_USAGE, 0, "unknown option --%s", name);
	return near ? err_hint(err, "did you mean --%s?", near) : -(int)err->code;
}

static bool log_chosen;

bool log_option(const char *name)
{
	if (log_level_parse(name) < 0)
		return false;
	log_setup((enum log_level)log_level_parse(name), STDERR_FILENO, NULL);
	log_chosen = true;
	return true;
}

void log_default(const char *name)
{
	if (!log_chosen)
		log_setup((enum log_level)log_level_parse(name), STDERR_FILENO, NULL);
}

/** long_option() - --name or --name=value. */
static int long_option(const struct option_row *rows, size_t count, const char *arg, char **argv, int argc, int *i,
		       struct error *err)
{
	char name[64];
	const char *eq = strchr(arg, '=');

	snprintf(name, sizeof(name), "%.*s", (int)(eq ? (size_t)(eq - arg) : strlen(arg)), arg);
	for (size_t r = 0; r < count; r++) {
		if (strcmp(rows[r].name, name) != 0)
			continue;
		if (!takes_value(&rows[r])) {
			if (eq)
				return err_set(err, ERR_USAGE, 0, "--%s takes no value", name);
			return set_value(&rows[r], NULL, err);
		}
		if (eq)
			return set_value(&rows[r], eq + 1, err);
		if (*i + 1 >= argc)
			return err_set(err, ERR_USAGE, 0, "--%s needs a value (%s)", name, rows[r].value_name);
		return set_value(&rows[r], argv[++*i], err);
	}
	if (!eq && log_option(name))
		return 0;
	return unknown(rows, count, name, err);
}

/** short_options() - A cluster such as -it or -m512M. */
static int short_options(const struct option_row *rows, size_t count, const char *arg, char **argv, int argc, int *i,
			 struct error *err)
{
	for (; *arg; arg++) {
		const struct option_row *row = NULL;

		for (size_t r = 0; r < count && !row; r++)
			if (rows[r].short_name == *arg)
				row = &rows[r];
		if (!row)
			return err_set(err, ERR_USAGE, 0, "unknown option -%c", *arg);
		if (!takes_value(row)) {
			if (set_value(row, NULL, err) < 0)
				return -(int)err->code;
			continue;
		}
		if (arg[1])
			return set_value(row, arg[1] == '=' ? arg + 2 : arg + 1, err);
		if (*i + 1 >= argc)
			return err_set(err, ERR_USAGE, 0, "-%c needs a value (%s)", *arg, row->value_name);
		return set_value(row, argv[++*i], err);
	}
	return 0;
}

int parse_options(const struct option_row *rows, size_t count, size_t max_words, int argc, char **argv,
		  struct parsed *out, struct error *err)
{
	*out = (struct parsed){ 0 };
	for (int i = 0; i < argc; i++) {
		const char *a = argv[i];
		int rc;

		if (strcmp(a, "--") == 0) {
			out->has_tail = true;
			out->tail = argv + i + 1;
			out->tail_count = (size_t)(argc - i - 1);
			return 0;
		}
		if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0) {
			out->help = true;
			return 0;
		}
		if (a[0] != '-' || !a[1]) {
			if (out->word_count == MIN(max_words, ARRAY_LEN(out->words))) {
				/* What follows is not ours to judge: options of a command that lacks its "--". */
				out->extra = argv + i;
				out->extra_count = (size_t)(argc - i);
				return 0;
			}
			out->words[out->word_count++] = a;
			continue;
		}
		rc = a[1] == '-' ? long_option(rows, count, a + 2, argv, argc, &i, err)
				 : short_options(rows, count, a + 1, argv, argc, &i, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static struct command_info *described;

void describe_into(struct command_info *out)
{
	described = out;
}

void print_help(const struct command *c, const struct option_row *rows, size_t count)
{
	if (described) {
		described->command = *c;
		described->rows = rows;
		described->row_count = count;
		return;
	}
	printf("%s\n\nUsage: msb %s%s%s\n", c->summary, c->name, *c->usage ? " " : "", c->usage);
	if (count)
		printf("\nOptions:\n");
	for (size_t i = 0; i < count; i++) {
		char left[64];
		int width;

		if (rows[i].kind == OPTION_LATER || !rows[i].help)
			continue;
		width = snprintf(left, sizeof(left), "%c%c%s --%s%s%s", rows[i].short_name ? '-' : ' ',
				 rows[i].short_name ? rows[i].short_name : ' ', rows[i].short_name ? "," : " ",
				 rows[i].name, rows[i].value_name ? " " : "",
				 rows[i].value_name ? rows[i].value_name : "");
		printf("  %-28s%s%s\n", left, width > 28 ? "\n                                " : "  ", rows[i].help);
	}
	if (c->details)
		printf("\n%s", c->details);
}

int command_failed(const struct error *err)
{
	if (err->code == ERR_USAGE)
		return usage_error(err);
	if (err->code == ERR_CANCELLED)
		return 130;
	if (err->text[0])
		print_error(err);
	return 1;
}
