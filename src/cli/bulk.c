/* SPDX-License-Identifier: Apache-2.0 */
/* What is done to several sandboxes, by name or label: start, stop, restart, rm, ping, touch. contract 1.7 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/num.h"
#include "cli/creation.h"
#include "cli/interactive.h"
#include "engine/lifecycle.h"

#define NAMES_MAX 4096
#define GRACE_MAX_S 1000000
#define SLOW_MS 500 /* from here on the time is said */

static struct {
	struct string_list labels;
	const char *grace;
	uint64_t grace_ms;
	bool force, quiet, touch;
} o;

#define COMMON_ROWS                                                                  \
	{                                                                            \
		0,                                                                   \
		"label",                                                             \
		"KEY[=VALUE]",                                                       \
		"all sandboxes with this label; several: with all of them",          \
		OPTION_LIST,                                                         \
		&o.labels,                                                           \
		0,                                                                   \
		0                                                                    \
	},                                                                           \
	{                                                                            \
		'q', "quiet", NULL, "print errors only", OPTION_FLAG, &o.quiet, 0, 0 \
	}

static const struct option_row start_rows[] = { COMMON_ROWS };
static const struct option_row stop_rows[] = {
	{ 'f', "force", NULL, "kill it: what the guest has not written is lost", OPTION_FLAG, &o.force, 0, 0 },
	{ 't', "time", "SECONDS", "how long the guest may take before it is killed (10)", OPTION_STRING, &o.grace, 0,
	  0 },
	COMMON_ROWS,
};
static const struct option_row rm_rows[] = {
	{ 'f', "force", NULL, "also when it runs", OPTION_FLAG, &o.force, 0, 0 },
	COMMON_ROWS,
};
static const struct option_row ping_rows[] = {
	{ 0, "touch", NULL, "restart its idle timer, too", OPTION_FLAG, &o.touch, 0, 0 },
	COMMON_ROWS,
};

/** One verb: what is done to each. */
struct verb {
	struct command help;
	const struct option_row *rows;
	size_t row_count;
	const char *done; /* "Stopped" */
	int (*one)(const struct engine_paths *paths, const char *name, char *more, size_t size, struct error *err);
};

struct names {
	const char *item[NAMES_MAX];
	size_t count;
};

/** add() - Once each. */
static void add(struct names *all, const char *name)
{
	for (size_t i = 0; i < all->count; i++)
		if (strcmp(all->item[i], name) == 0)
			return;
	if (all->count < NAMES_MAX)
		all->item[all->count++] = name;
}

/** has_all() - AND of the labels. */
static bool has_all(const struct sandbox_record *r)
{
	struct sandbox_json *j = engine_spec(r, NULL);
	bool all = j != NULL;

	for (size_t i = 0; all && i < o.labels.count; i++)
		all = engine_has_label(engine_spec_of(j), o.labels.item[i]);
	engine_spec_free(j);
	return all;
}

/** collect() - The names that were typed and those of the labels. */
static int collect(const struct engine_paths *paths, const struct parsed *p, struct names *all, struct error *err)
{
	struct sandbox_record *list;
	size_t count, before;

	for (size_t i = 0; i < p->word_count; i++)
		add(all, p->words[i]);
	before = all->count;
	if (o.labels.count == 0)
		return 0;
	if (engine_list(paths, &list, &count, err) < 0)
		return -(int)err->code;
	for (size_t i = 0; i < count; i++)
		if (has_all(&list[i]))
			add(all, strdup(list[i].name)); /* kept for the life of the process */
	sandbox_records_free(list, count);
	if (all->count == before && !o.quiet)
		fprintf(stderr, "warn: no sandbox has %s\n", o.labels.count == 1 ? "this label" : "all these labels");
	return 0;
}

/** read_grace() - -t, -f. */
static int read_grace(struct error *err)
{
	uint64_t seconds = STOP_GRACE_MS / 1000;

	if (o.grace && !num_parse_u64(o.grace, GRACE_MAX_S, &seconds))
		return err_set(err, ERR_USAGE, 0, "--time: \"%.40s\" is not a number of seconds", o.grace);
	o.grace_ms = o.force ? 0 : seconds * 1000;
	return 0;
}

/** run_verb() - Each of them, whatever happens to the others. */
static int run_verb(const struct verb *v, int argc, char **argv)
{
	static struct names all;
	struct engine_paths paths;
	struct error err = ERROR_INIT;
	struct parsed p;
	int status = 0;

	if (parse_options(v->rows, v->row_count, ARRAY_LEN(p.words), argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&v->help, v->rows, v->row_count);
		return 0;
	}
	if (p.word_count == 0 && o.labels.count == 0)
		err_set(&err, ERR_USAGE, 0, "%s: which sandbox?", v->help.name);
	else if (p.has_tail || p.extra_count)
		err_set(&err, ERR_USAGE, 0, "%s: takes names only", v->help.name);
	if (err.code) {
		err_hint(&err, "msb ls lists those there are");
		return usage_error(&err);
	}
	if (read_grace(&err) < 0)
		return usage_error(&err);
	if (engine_paths(&paths, ENGINE_READ, &err) < 0)
		return command_failed(&err);
	engine_sweep(&paths);
	if (collect(&paths, &p, &all, &err) < 0)
		return command_failed(&err);
	for (size_t i = 0; i < all.count; i++) {
		int64_t start = clock_monotonic_ns(), took_ms;
		char more[64] = "";

		err_clear(&err);
		if (v->one(&paths, all.item[i], more, sizeof(more), &err) < 0) {
			status = command_failed(&err);
			if (status == 130)
				return status;
			status = 1;
			continue;
		}
		took_ms = (clock_monotonic_ns() - start) / NSEC_PER_MSEC;
		if (more[0]) { /* an answer, not a note */
			if (!o.quiet)
				printf("%s: %s\n", all.item[i], more);
		} else if (!o.quiet && isatty(STDERR_FILENO)) {
			fprintf(stderr, "✓ %s %s", v->done, all.item[i]);
			if (took_ms > SLOW_MS)
				fprintf(stderr, " (%.1f s)", (double)took_ms / 1000);
			fprintf(stderr, "\n");
		}
	}
	return status;
}

/** start_one() - contract 1.7 */
static int start_one(const struct engine_paths *paths, const char *name, char *more, size_t size, struct error *err)
{
	static int cancel = -1;
	struct started made;
	int rc;

	(void)more;
	(void)size;
	if (cancel < 0) {
		block_signals();
		cancel = cancel_signals();
	}
	if (machine_settings(paths->home, NULL, err) < 0)
		return -(int)err->code;
	rc = engine_start(paths, name, START_STAYS, cancel, &made, err);
	fd_close(&made.starter_fd);
	if (rc == 0)
		note_fallback(made.note_fallback, made.fallback_reason, o.quiet);
	return rc;
}

/** stop_one() - contract 5.2 */
static int stop_one(const struct engine_paths *paths, const char *name, char *more, size_t size, struct error *err)
{
	(void)more;
	(void)size;
	return engine_stop(paths, name, o.grace_ms, err);
}

/** restart_one() - Stopped first when it runs. */
static int restart_one(const struct engine_paths *paths, const char *name, char *more, size_t size, struct error *err)
{
	struct sandbox_record r;
	enum sandbox_state state;

	if (engine_find(paths, name, &r, err) < 0)
		return -(int)err->code;
	state = r.state;
	sandbox_record_clear(&r);
	if (state == SANDBOX_STARTING) {
		err_set(err, ERR_EXISTS, 0, "sandbox %s is starting", name);
		return err_hint(err, "wait until it runs, or msb stop %.60s first", name);
	}
	return stop_one(paths, name, more, size, err) < 0 ? -(int)err->code : start_one(paths, name, more, size, err);
}

static int rm_one(const struct engine_paths *paths, const char *name, char *more, size_t size, struct error *err)
{
	(void)more;
	(void)size;
	return engine_remove(paths, name, o.force, err);
}

static int ping_one(const struct engine_paths *paths, const char *name, char *more, size_t size, struct error *err)
{
	int64_t ns;

	if (engine_ping(paths, name, &ns, err) < 0 || (o.touch && engine_touch(paths, name, err) < 0))
		return -(int)err->code;
	snprintf(more, size, "%.1f ms", (double)ns / NSEC_PER_MSEC);
	return 0;
}

static int touch_one(const struct engine_paths *paths, const char *name, char *more, size_t size, struct error *err)
{
	(void)more;
	(void)size;
	return engine_touch(paths, name, err);
}

int command_start(int argc, char **argv)
{
	static const struct verb v = {
		.help = { "start", "Boot sandboxes that were stopped.", "[OPTIONS] NAME...", NULL },
		.rows = start_rows,
		.row_count = ARRAY_LEN(start_rows),
		.done = "Started",
		.one = start_one,
	};

	return run_verb(&v, argc, argv);
}

int command_stop(int argc, char **argv)
{
	static const struct verb v = {
		.help = { "stop", "Shut sandboxes down: the guest ends its programs and writes what it has.",
			  "[OPTIONS] NAME...", NULL },
		.rows = stop_rows,
		.row_count = ARRAY_LEN(stop_rows),
		.done = "Stopped",
		.one = stop_one,
	};

	return run_verb(&v, argc, argv);
}

int command_restart(int argc, char **argv)
{
	static const struct verb v = {
		.help = { "restart", "Stop sandboxes that run, then start them.", "[OPTIONS] NAME...", NULL },
		.rows = stop_rows,
		.row_count = ARRAY_LEN(stop_rows),
		.done = "Restarted",
		.one = restart_one,
	};

	return run_verb(&v, argc, argv);
}

int command_rm(int argc, char **argv)
{
	static const struct verb v = {
		.help = { "rm", "Remove sandboxes with their disks and logs. Images stay.", "[OPTIONS] NAME...", NULL },
		.rows = rm_rows,
		.row_count = ARRAY_LEN(rm_rows),
		.done = "Removed",
		.one = rm_one,
	};

	return run_verb(&v, argc, argv);
}

int command_ping(int argc, char **argv)
{
	static const struct verb v = {
		.help = { "ping", "Ask the agents of sandboxes for an answer. Does not restart their idle timers.",
			  "[OPTIONS] NAME...", NULL },
		.rows = ping_rows,
		.row_count = ARRAY_LEN(ping_rows),
		.done = "Answered",
		.one = ping_one,
	};

	return run_verb(&v, argc, argv);
}

int command_touch(int argc, char **argv)
{
	static const struct verb v = {
		.help = { "touch", "Restart the idle timers of sandboxes.", "[OPTIONS] NAME...", NULL },
		.rows = start_rows,
		.row_count = ARRAY_LEN(start_rows),
		.done = "Touched",
		.one = touch_one,
	};

	return run_verb(&v, argc, argv);
}
