/* SPDX-License-Identifier: Apache-2.0 */
/* contract 1.9: modify */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/macros.h"
#include "cli/cli.h"
#include "cli/interactive.h"
#include "cli/units.h"
#include "engine/modify.h"

static struct {
	struct string_list env, env_rm, labels, label_rm;
	uint64_t memory, cpus;
	const char *workdir, *format;
	bool dry_run, next_start, restart, quiet;
} o;

static const struct option_row rows[] = {
	{ 0, "env", "KEY=VALUE", "set a variable, for what is run in it from now on", OPTION_LIST, &o.env, 0, 0 },
	{ 0, "env-rm", "KEY", "forget a variable", OPTION_LIST, &o.env_rm, 0, 0 },
	{ 0, "label", "KEY=VALUE", "set a label", OPTION_LIST, &o.labels, 0, 0 },
	{ 0, "label-rm", "KEY", "remove a label", OPTION_LIST, &o.label_rm, 0, 0 },
	{ 0, "workdir", "DIR", "working directory of what is run in it from now on", OPTION_STRING, &o.workdir, 0, 0 },
	{ 'm', "memory", "SIZE", "memory of the machine, from the next start on", OPTION_SIZE, &o.memory, 1,
	  UNIT_MEMORY_MIB_MAX },
	{ 'c', "cpus", "N", "virtual CPUs, from the next start on", OPTION_NUMBER, &o.cpus, 1, UNIT_CPUS_MAX },
	{ 0, "next-start", NULL, "what cannot change while it runs waits for its next start", OPTION_FLAG,
	  &o.next_start, 0, 0 },
	{ 0, "restart", NULL, "restart it when something cannot change while it runs", OPTION_FLAG, &o.restart, 0, 0 },
	{ 0, "dry-run", NULL, "say what would change, and when", OPTION_FLAG, &o.dry_run, 0, 0 },
	{ 0, "format", "json", "as JSON", OPTION_STRING, &o.format, 0, 0 },
	{ 'q', "quiet", NULL, "print errors only", OPTION_FLAG, &o.quiet, 0, 0 },
};

/** check() - The values, as create checks them. */
static int check(struct modify_spec *m, struct error *err)
{
	static struct string_list env;

	for (size_t i = 0; i < o.env.count; i++)
		if (unit_env("env", o.env.item[i], &env.item[env.count++], err) < 0)
			return -(int)err->code;
	if (o.workdir && unit_guest_path("workdir", o.workdir, err) < 0)
		return -(int)err->code;
	if (check_labels(&o.labels, err) < 0)
		return -(int)err->code;
	if (o.next_start + o.restart + o.dry_run > 1)
		return err_set(err, ERR_USAGE, 0, "--next-start, --restart and --dry-run exclude each other");
	*m = (struct modify_spec){ .env = env.item,
				   .env_count = env.count,
				   .env_removes = o.env_rm.item,
				   .env_remove_count = o.env_rm.count,
				   .labels = o.labels.item,
				   .label_count = o.labels.count,
				   .label_removes = o.label_rm.item,
				   .label_remove_count = o.label_rm.count,
				   .workdir = o.workdir,
				   .memory_mib = o.memory,
				   .cpus = o.cpus };
	if (env.count || o.env_rm.count || o.labels.count || o.label_rm.count || o.workdir || o.memory || o.cpus)
		return 0;
	err_set(err, ERR_USAGE, 0, "modify: nothing to change");
	return err_hint(err, "msb modify NAME --env KEY=VALUE");
}

/** show() - The plan. */
static void show(const struct modify_change *changes, size_t count)
{
	if (o.format)
		printf("[");
	for (size_t i = 0; i < count; i++) {
		const char *when = changes[i].when == MODIFY_LIVE ? "live" : o.restart ? "restart" : "next start";

		if (o.format) {
			printf("%s\n  {\"change\": ", i ? "," : "");
			print_json_string(changes[i].what);
			printf(", \"when\": \"%s\"}", when);
		} else if (o.dry_run || (!o.quiet && changes[i].when == MODIFY_NEXT_START)) {
			printf("%-12s%s\n", when, changes[i].what);
		}
	}
	if (o.format)
		printf("%s]\n", count ? "\n" : "");
}

int command_modify(int argc, char **argv)
{
	static const struct command help = {
		"modify", "Change how a sandbox is configured.", "[OPTIONS] NAME",
		"All or nothing: when something cannot change while the sandbox runs, nothing does, unless\n"
		"--next-start or --restart says what is to happen then.\n"
	};
	static struct modify_change changes[MODIFY_CHANGES_MAX];
	struct engine_paths paths;
	struct error err = ERROR_INIT;
	struct modify_spec m;
	struct parsed p;
	size_t count;

	if (parse_options(rows, ARRAY_LEN(rows), 1, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, rows, ARRAY_LEN(rows));
		return 0;
	}
	if (p.word_count != 1 || p.extra_count || p.has_tail) {
		err_set(&err, ERR_USAGE, 0, p.word_count ? "modify: one NAME only" : "modify: which sandbox?");
		err_hint(&err, "msb ls lists those there are");
		return usage_error(&err);
	}
	if (check(&m, &err) < 0)
		return usage_error(&err);
	if (engine_paths(&paths, ENGINE_READ, &err) < 0 || engine_modify(&paths, p.words[0], &m,
									 o.dry_run	? MODIFY_DRY_RUN
									 : o.restart	? MODIFY_RESTART
									 : o.next_start ? MODIFY_AT_NEXT_START
											: MODIFY_ALL_OR_NOTHING,
									 changes, &count, &err) < 0)
		return command_failed(&err);
	show(changes, count);
	return 0;
}
