/* SPDX-License-Identifier: Apache-2.0 */
/* What there is: ls, ps, inspect. contract 1.9 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/macros.h"
#include "cli/cli.h"
#include "cli/table.h"
#include "engine/lifecycle.h"
#include "engine/net_json.h"

static struct {
	struct string_list labels;
	const char *format;
	bool running, stopped, all, quiet;
} o;

#define COMMON_ROWS                                                                                                   \
	{ 0, "label", "KEY[=VALUE]", "only those with this label; several: with all of them", OPTION_LIST, &o.labels, \
	  0, 0 },                                                                                                     \
		{ 0, "format", "json", "as JSON", OPTION_STRING, &o.format, 0, 0 },                                   \
	{                                                                                                             \
		'q', "quiet", NULL, "names only", OPTION_FLAG, &o.quiet, 0, 0                                         \
	}

static const struct option_row ls_rows[] = {
	{ 0, "running", NULL, "only those that run", OPTION_FLAG, &o.running, 0, 0 },
	{ 0, "stopped", NULL, "only those that were stopped", OPTION_FLAG, &o.stopped, 0, 0 },
	COMMON_ROWS,
};
static const struct option_row ps_rows[] = {
	{ 'a', "all", NULL, "those that do not run, too", OPTION_FLAG, &o.all, 0, 0 },
	COMMON_ROWS,
};
static const struct option_row inspect_rows[] = {
	{ 0, "format", "json", "as JSON", OPTION_STRING, &o.format, 0, 0 },
};

/** local_time() - For tables. */
static const char *local_time(int64_t ns, char to[32])
{
	time_t seconds = (time_t)(ns / NSEC_PER_SEC);
	struct tm tm;

	localtime_r(&seconds, &tm);
	strftime(to, 32, "%Y-%m-%d %H:%M:%S", &tm);
	return to;
}

/** json_time() - RFC 3339, UTC. */
static json_t *json_time(int64_t ns)
{
	time_t seconds = (time_t)(ns / NSEC_PER_SEC);
	char text[32];
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S+00:00", &tm);
	return json_string(text);
}

/** cut() - At most so many characters, the last one an ellipsis. */
static void cut(char *text, size_t max)
{
	size_t n = 0;

	if (characters(text) <= max)
		return;
	for (; *text; text++) {
		n += ((unsigned char)*text & 0xc0) != 0x80;
		if (n == max)
			break;
	}
	snprintf(text, 4, "…");
}

void print_json_value(json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2));
	printf("\n");
	json_decref(value);
}

/** is_wanted() - By label. */
static bool is_wanted(const struct sandbox_record *r)
{
	struct sandbox_json *j;
	bool all = true;

	if (o.labels.count == 0)
		return true;
	j = engine_spec(r, NULL);
	for (size_t i = 0; all && i < o.labels.count; i++)
		all = j && engine_has_label(engine_spec_of(j), o.labels.item[i]);
	engine_spec_free(j);
	return all;
}

/** check_format() - json is the only one. */
static int check_format(struct error *err)
{
	if (!o.format || strcmp(o.format, "json") == 0)
		return 0;
	return err_set(err, ERR_USAGE, 0, "--format: \"%.40s\" is not json", o.format);
}

int command_ls(int argc, char **argv)
{
	static const struct command help = { "ls", "List sandboxes, the newest first.", "[OPTIONS]", NULL };
	static const char *const heads[] = { "NAME", "IMAGE", "STATUS", "CREATED" };
	struct table table = { .columns = ARRAY_LEN(heads) };
	struct sandbox_record *list = NULL;
	struct engine_paths paths;
	struct error err = ERROR_INIT;
	json_t *json = json_array();
	struct parsed p;
	size_t count, shown = 0;

	if (parse_options(ls_rows, ARRAY_LEN(ls_rows), 0, argc, argv, &p, &err) < 0 || check_format(&err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, ls_rows, ARRAY_LEN(ls_rows));
		return 0;
	}
	if (p.extra_count) {
		err_set(&err, ERR_USAGE, 0, "ls: unexpected \"%.100s\"", p.extra[0]);
		err_hint(&err, "msb ps %.60s shows one", p.extra[0]);
		return usage_error(&err);
	}
	if (engine_paths(&paths, ENGINE_READ, &err) < 0 || engine_list(&paths, &list, &count, &err) < 0)
		return command_failed(&err);
	table_row(&table, heads);
	for (size_t i = 0; i < count; i++) {
		const struct sandbox_record *r = &list[i];
		char when[32];

		if ((o.running && r->state != SANDBOX_RUNNING && r->state != SANDBOX_DRAINING) ||
		    (o.stopped && r->state != SANDBOX_STOPPED) || !is_wanted(r))
			continue;
		shown++;
		if (o.quiet)
			printf("%s\n", r->name);
		table_row(&table, (const char *const[]){ r->name, r->image, state_word(r->state, false),
							 local_time(r->created_ns, when) });
		if (o.format)
			json_array_append_new(json, json_pack("{s:s,s:s,s:o,s:s}", "name", r->name, "status",
							      state_word(r->state, true), "created_at",
							      json_time(r->created_ns), "image", r->image));
	}
	sandbox_records_free(list, count);
	if (o.format && !o.quiet)
		print_json_value(json);
	else if (!o.quiet && shown)
		table_print(&table);
	else if (!o.quiet)
		fprintf(stderr, o.running ? "No running sandboxes.\n" : "No sandboxes found.\n");
	return 0;
}

/** command_text() - Words in quotes, as ps shows them; "-" for none. */
static void command_text(const struct run_spec *s, char to[CELL_MAX])
{
	size_t used = 0;

	snprintf(to, CELL_MAX, "-");
	for (size_t i = 0; i < s->command_count && used < CELL_MAX - 2; i++)
		used += (size_t)snprintf(to + used, CELL_MAX - used, "%s%s", i ? " " : "\"", s->command[i]);
	if (s->command_count && used < CELL_MAX - 1)
		snprintf(to + used, CELL_MAX - used, "\"");
	cut(to, 40);
}

/** ports_text() - As ps shows them: "127.0.0.1:8080->80/tcp,..."; "-" for none. */
static void ports_text(const struct net_spec *n, char to[CELL_MAX])
{
	char port[NET_PORT_TEXT_MAX];
	size_t used = 0;

	snprintf(to, CELL_MAX, "-");
	for (size_t i = 0; i < n->port_count && used < CELL_MAX; i++)
		used += (size_t)snprintf(to + used, CELL_MAX - used, "%s%s", i ? "," : "",
					 net_port_format(&n->ports[i], port));
	cut(to, 32);
}

/** ps_json() - One sandbox. */
static json_t *ps_json(const struct sandbox_record *r, const struct run_spec *s)
{
	json_t *words = s->command_count ? json_array() : json_null(), *ports = json_array();
	char port[NET_PORT_TEXT_MAX];

	for (size_t i = 0; i < s->net->port_count; i++)
		json_array_append_new(ports, json_string(net_port_format(&s->net->ports[i], port)));
	for (size_t i = 0; i < s->command_count; i++)
		json_array_append_new(words, json_string(s->command[i]));
	return json_pack("{s:s,s:s,s:s,s:o,s:i,s:i,s:I,s:I,s:n,s:o}", "name", r->name, "status",
			 state_word(r->state, true), "image", r->image, "command", words, "cpus", (int)s->cpus,
			 "max_cpus", (int)s->cpus, "memory_mib", (json_int_t)s->memory_mib, "max_memory_mib",
			 (json_int_t)s->memory_mib, "thp", "ports", ports);
}

/** ps_row() - One sandbox. */
static void ps_row(struct table *t, const struct sandbox_record *r, const struct run_spec *s)
{
	char image[CELL_MAX], command[CELL_MAX], cpus[24], memory[24], ports[CELL_MAX];

	snprintf(image, sizeof(image), "%s", r->image);
	cut(image, 36);
	command_text(s, command);
	ports_text(s->net, ports);
	snprintf(cpus, sizeof(cpus), "%u", s->cpus);
	snprintf(memory, sizeof(memory), s->memory_mib % 1024 ? "%lluM" : "%lluG",
		 (unsigned long long)(s->memory_mib % 1024 ? s->memory_mib : s->memory_mib / 1024));
	table_row(t,
		  (const char *const[]){ r->name, image, command, cpus, memory, state_word(r->state, false), ports });
}

/** compare_names() - ps is sorted by name. */
static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct sandbox_record *)a)->name, ((const struct sandbox_record *)b)->name);
}

/** ps_selects() - By state or name. */
static bool ps_selects(const struct sandbox_record *r, const char *name)
{
	if (name)
		return strcmp(name, r->name) == 0;
	return (o.all || r->state == SANDBOX_RUNNING || r->state == SANDBOX_DRAINING) && is_wanted(r);
}

int command_ps(int argc, char **argv)
{
	static const struct command help = { "ps", "Show running sandboxes with what they are; NAME: one in any state.",
					     "[OPTIONS] [NAME]", NULL };
	static const char *const heads[] = { "NAME", "IMAGE", "COMMAND", "CPUS", "MEM", "STATUS", "PORTS" };
	struct table table = { .columns = ARRAY_LEN(heads) };
	struct sandbox_record *list = NULL;
	struct engine_paths paths;
	struct error err = ERROR_INIT;
	json_t *json = json_array();
	struct parsed p;
	size_t count, shown = 0;
	const char *name;

	if (parse_options(ps_rows, ARRAY_LEN(ps_rows), 1, argc, argv, &p, &err) < 0 || check_format(&err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, ps_rows, ARRAY_LEN(ps_rows));
		return 0;
	}
	name = p.word_count ? p.words[0] : NULL;
	if (p.extra_count || (name && o.all)) {
		err_set(&err, ERR_USAGE, 0,
			p.extra_count ? "ps: one NAME at most" : "ps: --all and NAME exclude each other");
		return usage_error(&err);
	}
	if (engine_paths(&paths, ENGINE_READ, &err) < 0 || engine_list(&paths, &list, &count, &err) < 0)
		return command_failed(&err);
	table_row(&table, heads);
	if (count)
		qsort(list, count, sizeof(*list), compare_names);
	for (size_t i = 0; i < count; i++) {
		struct sandbox_json *j = ps_selects(&list[i], name) ? engine_spec(&list[i], &err) : NULL;

		if (!j)
			continue;
		shown++;
		if (o.quiet)
			printf("%s\n", list[i].name);
		ps_row(&table, &list[i], engine_spec_of(j));
		json_array_append_new(json, ps_json(&list[i], engine_spec_of(j)));
		engine_spec_free(j);
	}
	sandbox_records_free(list, count);
	if (name && !shown) {
		if (!err.code) {
			err_set(&err, ERR_NOT_FOUND, 0, "there is no sandbox named %.128s", name);
			err_hint(&err, "msb ls lists those there are");
		}
		return command_failed(&err);
	}
	if (o.format && !o.quiet)
		print_json_value(name ? json_incref(json_array_get(json, 0)) : json);
	else if (!o.quiet && shown)
		table_print(&table);
	else if (!o.quiet)
		fprintf(stderr, o.all ? "No sandboxes found.\n" : "No running sandboxes.\n");
	return 0;
}

/** inspect_list() - A section of lines. */
static void inspect_list(const char *title, const char *const *items, size_t count)
{
	if (count)
		printf("%s:\n", title);
	for (size_t i = 0; i < count; i++)
		printf("  %s\n", items[i]);
}

/** inspect_text() - For people. */
static void inspect_text(const struct sandbox_record *r, const struct run_spec *s)
{
	char when[32], changed[32];

	printf("%-16s%s\n%-16s%s\n", "Name:", r->name, "Status:", state_word(r->state, false));
	if (r->reason[0])
		printf("%-16s%s\n", "Reason:", r->reason);
	printf("%-16s%s\n%-16s%s\n", "Created:", local_time(r->created_ns, when),
	       "Updated:", local_time(r->updated_ns, changed));
	printf("%-16s%s\n", "Image:", r->image);
	if (s->digest)
		printf("%-16s%.19s...\n", "Digest:", s->digest);
	if (s->root_disk.kind == ROOT_DISK_TMPFS)
		printf("%-16stmpfs\n", "Root disk:");
	else if (s->root_disk.kind == ROOT_DISK_FILE)
		printf("%-16s%s\n", "Root disk:", s->root_disk.path);
	else
		printf("%-16s%llu MiB\n",
		       "Root disk:", (unsigned long long)(s->root_disk.size_mib ? s->root_disk.size_mib : 4096));
	printf("Resources:\n  %-14s%u\n  %-14s%llu MiB\n", "CPUs:", s->cpus,
	       "Memory:", (unsigned long long)s->memory_mib);
	printf("%-16s%s\n", "Security:", s->restricted ? "restricted" : "default");
	if (s->workdir)
		printf("%-16s%s\n", "Workdir:", s->workdir);
	if (s->user)
		printf("%-16s%s\n", "User:", s->user);
	printf("%-16s%s\n", "Shell:", s->shell ? s->shell : "/bin/sh");
	if (s->max_duration_s)
		printf("%-16s%llu s\n", "Max duration:", (unsigned long long)s->max_duration_s);
	if (s->idle_timeout_s)
		printf("%-16s%llu s\n", "Idle timeout:", (unsigned long long)s->idle_timeout_s);
	print_network(s->net);
	inspect_list("Environment", s->env, s->env_count);
	inspect_list("Labels", s->labels, s->label_count);
	if (s->tmpfs_count)
		printf("Mounts:\n");
	for (size_t i = 0; i < s->tmpfs_count; i++)
		printf("  %s → tmpfs (%s)\n", s->tmpfs[i].path, s->tmpfs[i].read_only ? "ro" : "rw");
}

/** inspect_json() - For programs. */
static void inspect_json(const struct sandbox_record *r, const struct run_spec *s)
{
	json_t *file = json_loads(r->config, 0, NULL), *config = json_object_get(file, "config");

	json_object_set(config, "image", json_object_get(file, "image"));
	json_object_set(config, "digest", json_object_get(file, "digest"));
	json_object_set_new(config, "network", net_json_encode(s->net)); /* of an older file: what it means now */
	print_json_value(json_pack("{s:s,s:s,s:s,s:O,s:o,s:o,s:o?,s:[]}", "name", r->name, "status",
				   state_word(r->state, true), "reason", r->reason, "config", config, "created_at",
				   json_time(r->created_ns), "updated_at", json_time(r->updated_ns), "active_config",
				   state_is_live(r->state) ? json_incref(config) : NULL, "pending_changes"));
	json_decref(file);
}

int command_inspect(int argc, char **argv)
{
	static const struct command help = { "inspect", "Show how a sandbox is configured and in which state it is.",
					     "[OPTIONS] NAME", NULL };
	struct sandbox_record r;
	struct engine_paths paths;
	struct error err = ERROR_INIT;
	struct sandbox_json *j;
	struct parsed p;

	if (parse_options(inspect_rows, ARRAY_LEN(inspect_rows), 1, argc, argv, &p, &err) < 0 || check_format(&err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, inspect_rows, ARRAY_LEN(inspect_rows));
		return 0;
	}
	if (p.word_count != 1 || p.extra_count) {
		err_set(&err, ERR_USAGE, 0, p.word_count ? "inspect: one NAME only" : "inspect: which sandbox?");
		err_hint(&err, "msb ls lists those there are; msb image inspect shows images");
		return usage_error(&err);
	}
	if (engine_paths(&paths, ENGINE_READ, &err) < 0 || engine_find(&paths, p.words[0], &r, &err) < 0)
		return command_failed(&err);
	j = engine_spec(&r, &err);
	if (!j) {
		sandbox_record_clear(&r);
		return command_failed(&err);
	}
	if (o.format)
		inspect_json(&r, engine_spec_of(j));
	else
		inspect_text(&r, engine_spec_of(j));
	engine_spec_free(j);
	sandbox_record_clear(&r);
	return 0;
}
