/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/macros.h"
#include "base/num.h"
#include "cli/cli.h"

void print_error(const struct error *err)
{
	if (!err->text[0])
		return; /* a helper program has printed it */
	fprintf(stderr, "error: %s\n", err->text);
	if (err->hint[0])
		fprintf(stderr, "  → %s\n", err->hint);
}

int usage_error(const struct error *err)
{
	print_error(err);
	return EXIT_USAGE;
}

/** distance() - Edits between two short words (Levenshtein), cut at 8 letters difference. */
static size_t distance(const char *a, const char *b)
{
	size_t row[32], n = strlen(b);

	if (n >= ARRAY_LEN(row) || strlen(a) >= ARRAY_LEN(row))
		return 99;
	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t before = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			size_t up = row[j];

			row[j] = MIN(MIN(row[j] + 1, row[j - 1] + 1), before + (a[i - 1] != b[j - 1]));
			before = up;
		}
	}
	return row[n];
}

const char *nearest(const char *typed, const char *const *words, size_t count)
{
	const char *best = NULL;
	size_t best_distance = 3;

	for (size_t i = 0; i < count; i++) {
		size_t d = words[i] ? distance(typed, words[i]) : 99;

		if (d < best_distance) {
			best_distance = d;
			best = words[i];
		}
	}
	return best;
}

/** set_size() - SIZE: MiB, NM, NG with decimals. */
static int set_size(const struct option_row *row, const char *v, struct error *err)
{
	char digits[32];
	const char *dot = strchr(v, '.');
	size_t n = strspn(v, "0123456789.");
	uint64_t whole = 0, tenths = 0, mib;
	bool giga = v[n] == 'G' || v[n] == 'g', mega = v[n] == 'M' || v[n] == 'm';

	if (n == 0 || n >= sizeof(digits) || (v[n] && !giga && !mega) || (v[n] && v[n + 1]) || (dot && !giga)) {
		err_set(err, ERR_USAGE, 0, "--%s: \"%s\" is not a size", row->name, v);
		if (v[n] && (v[n + 1] == 'B' || v[n + 1] == 'b' || v[n + 1] == 'i'))
			return err_hint(err, "use %.*s%c, for example 512M or 1.5G", (int)n, v, v[n]);
		return err_hint(err, "use 512M, 1G or 1.5G (a bare number is MiB)");
	}
	snprintf(digits, sizeof(digits), "%.*s", (int)(dot ? (size_t)(dot - v) : n), v);
	if (!num_parse_u64(digits, 1u << 24, &whole) || (dot && (!(dot[1] >= '0' && dot[1] <= '9') || dot + 2 != v + n)))
		return err_set(err, ERR_USAGE, 0, "--%s: \"%s\" is not a size", row->name, v);
	if (dot)
		tenths = (uint64_t)(dot[1] - '0');
	mib = giga ? whole * 1024 + tenths * 1024 / 10 : whole;
	if (mib < row->min || mib > row->max) {
		err_set(err, ERR_USAGE, 0, "--%s: \"%s\" is out of range", row->name, v);
		return err_hint(err, "use a size from %lluM up", (unsigned long long)row->min);
	}
	*(uint64_t *)row->target = mib;
	return 0;
}

/** set_duration() - 30s, 5m, 1h or bare seconds. */
static int set_duration(const struct option_row *row, const char *v, struct error *err)
{
	char digits[16];
	size_t n = strspn(v, "0123456789");
	uint64_t unit = v[n] == 'm' ? 60 : v[n] == 'h' ? 3600 : 1, value;

	snprintf(digits, sizeof(digits), "%.*s", (int)MIN(n, sizeof(digits)), v);
	if (n == 0 || (v[n] && !strchr("smh", v[n])) || (v[n] && v[n + 1]) || !num_parse_u64(digits, 100000000, &value) || !value) {
		err_set(err, ERR_USAGE, 0, "--%s: \"%s\" is not a duration", row->name, v);
		return err_hint(err, "use 30s, 5m or 1h");
	}
	*(uint64_t *)row->target = value * unit;
	return 0;
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
		*(const char **)row->target = v;
		return 0;
	case OPTION_LIST:
		if (list->count == ARGS_LIST_MAX)
			return err_set(err, ERR_USAGE, 0, "--%s: given more than %d times", row->name, ARGS_LIST_MAX);
		list->item[list->count++] = v;
		return 0;
	case OPTION_SIZE:
		return set_size(row, v, err);
	case OPTION_NUMBER:
		if (num_parse_u64(v, row->max, row->target) && *(uint64_t *)row->target >= row->min)
			return 0;
		return err_set(err, ERR_USAGE, 0, "--%s: \"%s\" is not a number from %llu to %llu", row->name, v,
			       (unsigned long long)row->min, (unsigned long long)row->max);
	case OPTION_DURATION:
		return set_duration(row, v, err);
	case OPTION_LATER:
		err_set(err, ERR_USAGE, 0, "--%s is not available in this version", row->name);
		return err_hint(err, "docs/architecture.md lists what is not there yet");
	}
	return 0;
}

/** takes_value() - Does an option of this kind need a value? */
static bool takes_value(const struct option_row *row)
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
	return near ? err_hint(err, "did you mean --%s?", near) : err_hint(err, "--help lists the options");
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
		if (!row) {
			err_set(err, ERR_USAGE, 0, "unknown option -%c", *arg);
			return err_hint(err, "--help lists the options");
		}
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

int parse_options(const struct option_row *rows, size_t count, int argc, char **argv, struct parsed *out,
		  struct error *err)
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
			if (out->word_count == ARRAY_LEN(out->words))
				return err_set(err, ERR_USAGE, 0, "too many words");
			out->words[out->word_count++] = a;
			continue;
		}
		rc = a[1] == '-' ? long_option(rows, count, a + 2, argv, argc, &i, err) :
				   short_options(rows, count, a + 1, argv, argc, &i, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

void print_help(const struct command *c, const struct option_row *rows, size_t count)
{
	printf("%s\n\nUsage: msb %s %s\n", c->summary, c->name, c->usage);
	if (count)
		printf("\nOptions:\n");
	for (size_t i = 0; i < count; i++) {
		char left[64];

		if (rows[i].kind == OPTION_LATER || !rows[i].help)
			continue;
		snprintf(left, sizeof(left), "%c%c%s --%s%s%s", rows[i].short_name ? '-' : ' ',
			 rows[i].short_name ? rows[i].short_name : ' ', rows[i].short_name ? "," : " ", rows[i].name,
			 rows[i].value_name ? " " : "", rows[i].value_name ? rows[i].value_name : "");
		printf("  %-28s  %s\n", left, rows[i].help);
	}
}
