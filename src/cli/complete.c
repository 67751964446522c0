/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb __complete WORD...: what can stand for the last word, which may be empty. The scripts of msb completion ask it
 * when TAB is pressed, so that they never disagree with the tables. A line is "CANDIDATE" or "CANDIDATE<TAB>what it
 * is"; ":files" asks the shell for its own file names. Candidates that do not fit what was typed are for the shell to
 * drop.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/macros.h"
#include "cli/cli.h"

#define TOKEN_MAX 64

/* What stands for a placeholder of a usage line or an option. */
static const struct placeholder {
	const char *name;
	const char *words;   /* with | between them */
	const char *list[2]; /* a command that prints them, one a line */
	bool files, if_path; /* files in any case, or when it begins like a path */
} placeholders[] = {
	{ .name = "IMAGE", .list = { "images" }, .if_path = true },
	{ .name = "REF", .list = { "images" } },
	{ .name = "NAME", .list = { "ls" } },
	{ .name = "ALIAS", .list = { "install", "--list" } },
	{ .name = "SHELL", .words = "bash|zsh|fish" },
	{ .name = "DISK", .words = "tmpfs|flat", .if_path = true },
	{ .name = "FILE", .files = true },
	{ .name = "DIR|TAR", .files = true },
	{ .name = "SRC", .list = { "ls" }, .files = true },
	{ .name = "DST", .list = { "ls" }, .files = true },
	{ .name = "GROUPS", .words = "public|private|host|all|none" },
	{ .name = "SPEC", .if_path = true },
	{ .name = "SRC:DST", .files = true },
};

/** candidate() - One line. @before: what was typed in front of it, as in --pull=always. */
static void candidate(const char *before, const char *word, size_t n, const char *about)
{
	printf("%s%.*s%s%s\n", before, (int)n, word, about && *about ? "\t" : "", about ? about : "");
}

/** choices() - The words of "a|b|c". */
static void choices(const char *before, const char *list)
{
	while (*list) {
		size_t n = strcspn(list, "|");

		candidate(before, list, n, NULL);
		list += n + (list[n] == '|');
	}
}

/** complete_value() - Of an option or a word of the command. @typed: what is there of it */
static void complete_value(const char *placeholder, const char *before, const char *typed)
{
	if (is_choice_list(placeholder)) {
		choices(before, placeholder);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(placeholders); i++) {
		const struct placeholder *p = &placeholders[i];
		char first[16], second[16], quiet[] = "-q";
		char *args[] = { first, p->list[1] ? second : quiet, quiet };

		if (strcmp(p->name, placeholder) != 0)
			continue;
		if (p->words)
			choices(before, p->words);
		if (p->files || (p->if_path && (typed[0] == '.' || typed[0] == '/')))
			puts(":files");
		else if (p->list[0] && !*before) {
			snprintf(first, sizeof(first), "%s", p->list[0]);
			snprintf(second, sizeof(second), "%s", p->list[1] ? p->list[1] : "");
			dispatch(p->list[1] ? 3 : 2, args);
		}
	}
}

/** usage_word() - The placeholder of a command's index-th word: of "[OPTIONS] IMAGE [-- COMMAND...]" IMAGE. */
static bool usage_word(const char *usage, size_t index, char out[TOKEN_MAX])
{
	bool in_option = false;

	while (*usage) {
		size_t n = strcspn(usage, " "), skip = *usage == '[';
		bool ends = n && strchr("].", usage[n - 1]), many = n > 3 && strncmp(usage + n - 3, "...", 3) == 0;

		if (*usage == '-' || (n == 3 && strncmp(usage, "[--", n) == 0))
			return false;
		in_option |= strncmp(usage, "[-", 2) == 0;
		if (!in_option && strncmp(usage, "[OPTIONS]", n) != 0 && (many || index-- == 0)) {
			snprintf(out, TOKEN_MAX, "%.*s", (int)(n - skip), usage + skip);
			out[strcspn(out, "].")] = '\0';
			return true;
		}
		in_option &= !ends;
		usage += n + (usage[n] == ' ');
	}
	return false;
}

/** option_of() - The option that a word asks for and that takes the next word as its value, else NULL. */
static const struct option_row *option_of(const struct command_info *info, const char *word)
{
	for (size_t i = 0; i < info->row_count; i++) {
		const struct option_row *row = &info->rows[i];

		if (!takes_value(row))
			continue;
		if (word[1] == '-' ? strcmp(word + 2, row->name) == 0
				   : row->short_name && word[strlen(word) - 1] == row->short_name)
			return row;
	}
	return NULL;
}

/** complete_options() - Their names; behind a '=' their values. */
static void complete_options(const struct command_info *info, const char *typed)
{
	const char *eq = strchr(typed, '=');
	char name[TOKEN_MAX];

	for (size_t i = 0; i < info->row_count; i++) {
		const struct option_row *row = &info->rows[i];

		if (row->kind == OPTION_LATER || !row->help)
			continue;
		snprintf(name, sizeof(name), "--%s", row->name);
		if (!eq)
			candidate("", name, strlen(name), row->help);
		else if (takes_value(row) && strlen(name) == (size_t)(eq - typed) &&
			 strncmp(name, typed, strlen(name)) == 0) {
			snprintf(name, sizeof(name), "--%s=", row->name);
			complete_value(row->value_name, name, eq + 1);
		}
	}
	if (!eq)
		candidate("", "--help", 6, "what the command takes");
}

/** complete_command() - @words: behind the command's name, the last one being typed. */
static void complete_command(const struct command_info *info, char **words, size_t count)
{
	const struct option_row *pending = NULL;
	char token[TOKEN_MAX];
	size_t given = 0;

	for (size_t i = 0; i + 1 < count; i++) {
		if (pending)
			pending = NULL;
		else if (words[i][0] == '-' && words[i][1])
			pending = option_of(info, words[i]);
		else
			given++;
	}
	if (pending)
		complete_value(pending->value_name, "", words[count - 1]);
	else if (words[count - 1][0] == '-')
		complete_options(info, words[count - 1]);
	else if (usage_word(info->command.usage, given, token))
		complete_value(token, "", words[count - 1]);
}

/** complete_name() - The names of commands, or behind a first word their second words. */
static void complete_name(const char *first)
{
	struct command_info info;
	char last[TOKEN_MAX] = "";
	size_t skip = first ? strlen(first) + 1 : 0;

	for (size_t i = 0; command_info(i, &info); i++) {
		size_t n = strcspn(info.name + MIN(skip, strlen(info.name)), " ");

		if (first && (strncmp(info.name, first, skip - 1) != 0 || info.name[skip - 1] != ' '))
			continue;
		/* Of other names for a whole command only those that help lists; groups of commands once. */
		if (info.alias_of && !first)
			continue;
		if (strncmp(last, info.name + skip, n) == 0 && !last[n])
			continue;
		snprintf(last, sizeof(last), "%.*s", (int)n, info.name + skip);
		candidate("", info.name + skip, n, info.name[skip + n] ? "more commands" : info.brief);
	}
}

/** find_command() - The command that words begin with. Return: how many words its name has, 0 when none. */
static size_t find_command(char **words, size_t count, struct command_info *out)
{
	for (size_t i = 0; command_info(i, out); i++) {
		const char *space = strchr(out->name, ' ');
		size_t n = space ? (size_t)(space - out->name) : strlen(out->name);

		if (count < (space ? 2u : 1u) || strlen(words[0]) != n || strncmp(words[0], out->name, n) != 0)
			continue;
		if (!space || strcmp(words[1], space + 1) == 0)
			return space ? 2 : 1;
	}
	return 0;
}

int command_complete(int argc, char **argv)
{
	struct command_info info;
	size_t count = (size_t)argc, used;

	if (argc < 1)
		return EXIT_USAGE;
	for (size_t i = 0; i + 1 < count; i++) {
		if (strcmp(argv[i], "--") == 0) {
			puts(":files");
			return 0;
		}
	}
	used = find_command(argv, count - 1, &info);
	if (used)
		complete_command(&info, argv + used, count - used);
	else if (count <= 2)
		complete_name(count == 2 ? argv[0] : NULL);
	return 0;
}
