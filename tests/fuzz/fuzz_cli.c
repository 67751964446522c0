/* SPDX-License-Identifier: Apache-2.0 */
// sources: src/cli/parse.c src/cli/root_disk.c src/cli/units.c
// sources: src/base/nearest.c src/base/num.c src/base/buf.c src/base/error.c src/base/log.c
// sources: src/proto/message.c src/proto/cbor.c
/*
 * The input is a command line, one argument a line. What is parsed keeps to the table's limits, every word, tail and
 * value is one of the arguments, and a refusal is a usage error with a text.
 */
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "cli/cli.h"
#include "cli/root_disk.h"
#include "cli/units.h"

#define ARGS 600
#define MEMORY_MAX (1u << 22)

static struct {
	bool interactive, tty;
	const char *user;
	struct string_list env, rlimits;
	uint64_t memory, cpus, timeout;
} got;

static const struct option_row rows[] = {
	{ 'i', "interactive", NULL, NULL, OPTION_FLAG, &got.interactive, 0, 0 },
	{ 't', "tty", NULL, "", OPTION_FLAG, &got.tty, 0, 0 },
	{ 'u', "user", "USER", "", OPTION_STRING, &got.user, 0, 0 },
	{ 'e', "env", "KEY=VALUE", "", OPTION_LIST, &got.env, 0, 0 },
	{ 'm', "memory", "SIZE", "", OPTION_SIZE, &got.memory, 1, MEMORY_MAX },
	{ 'c', "cpus", "N", "", OPTION_NUMBER, &got.cpus, 1, 32 },
	{ 0, "timeout", "TIME", "", OPTION_DURATION, &got.timeout, 0, 0 },
	{ 0, "rlimit", "NAME=SOFT[:HARD]", "", OPTION_LIST, &got.rlimits, 0, 0 },
	{ 'v', "volume", "SPEC", NULL, OPTION_LATER, NULL, 0, 0 },
	{ 'd', "detach", NULL, NULL, OPTION_LATER, NULL, 0, 0 },
};

static char text[65536];
static char *argv[ARGS];

/** inside() - A string of the command line. */
static void inside(const char *s)
{
	if (s < text || s >= text + sizeof(text))
		abort();
}

/** check_error() - Set, by the command line's fault, and one line. */
static void check_error(int rc, const struct error *err)
{
	if (rc != -(int)err->code || (rc < 0 && (!err->text[0] || strchr(err->text, '\n'))) ||
	    (rc < 0 && err->code != ERR_USAGE))
		abort();
}

/** try_units() - One argument as a value of each kind. */
static void try_units(const char *arg)
{
	struct error err = ERROR_INIT;
	struct msg_rlimit limit;
	struct root_disk disk;
	const char *env;
	uint64_t n;
	int rc;

	rc = unit_size_mib("memory", arg, 1, MEMORY_MAX, &n, &err);
	check_error(rc, &err);
	if (rc == 0 && (n < 1 || n > MEMORY_MAX))
		abort();
	err_clear(&err);
	rc = unit_duration("timeout", arg, &n, &err);
	check_error(rc, &err);
	if (rc == 0 && (n == 0 || n > 100000000ull * 3600))
		abort();
	err_clear(&err);
	rc = unit_rlimit("rlimit", arg, &limit, &err);
	check_error(rc, &err);
	if (rc == 0 && (limit.soft > limit.hard || limit.resource >= 16))
		abort();
	err_clear(&err);
	rc = root_disk_parse(arg, &disk, &err);
	check_error(rc, &err);
	if (rc == 0) {
		if (disk.size_mib > ROOT_DISK_MIB_MAX || (disk.kind == ROOT_DISK_FILE) != (disk.path != NULL) ||
		    disk.kind == ROOT_DISK_DEFAULT)
			abort();
		free((char *)(uintptr_t)disk.path);
	}
	err_clear(&err);
	rc = unit_env("env", arg, &env, &err);
	check_error(rc, &err);
	if (rc == 0) {
		if (!strchr(env, '=') || env[0] == '=' || strncmp(env, "MSB_", 4) == 0)
			abort();
		if (env != arg)
			free((char *)(uintptr_t)env);
	}
}

/** check_parsed() - What parse_options() promises of a good command line. */
static void check_parsed(const struct parsed *p, size_t max_words, int argc)
{
	if (p->word_count > max_words || (int)(p->word_count + p->extra_count + p->tail_count) > argc)
		abort();
	for (size_t i = 0; i < p->word_count; i++)
		inside(p->words[i]);
	for (size_t i = 0; i < p->extra_count; i++)
		inside(p->extra[i]);
	for (size_t i = 0; i < p->tail_count; i++)
		inside(p->tail[i]);
	for (size_t i = 0; i < got.env.count; i++)
		inside(got.env.item[i]);
	if (got.user)
		inside(got.user);
	if (got.cpus > 32 || got.memory > MEMORY_MAX)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	size_t max_words = n ? data[0] % 70 : 0;
	struct error err = ERROR_INIT;
	struct parsed p;
	char *rest = text;
	int argc = 0, rc;

	if (n < 1 || n > sizeof(text))
		return 0;
	memcpy(text, data + 1, n - 1);
	text[n - 1] = '\0';
	while (rest && argc < ARGS)
		argv[argc++] = strsep(&rest, "\n");
	memset(&got, 0, sizeof(got));
	rc = parse_options(rows, ARRAY_LEN(rows), max_words, argc, argv, &p, &err);
	check_error(rc, &err);
	if (rc == 0)
		check_parsed(&p, max_words, argc);
	for (int i = 0; i < MIN(argc, 20); i++)
		try_units(argv[i]);
	return 0;
}
