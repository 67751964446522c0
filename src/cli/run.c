/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli/creation.h"
#include "cli/interactive.h"
#include "cli/units.h"

static struct {
	uint64_t timeout;
	const char *detach_keys;
	bool tty, no_tty, interactive, rm, detach;
} o;

static const struct option_row rows[] = {
	CREATION_ROWS,
	{ 'd', "detach", NULL, "run in the background, print the name", OPTION_FLAG, &o.detach, 0, 0 },
	{ 't', "tty", NULL, "give the command a terminal", OPTION_FLAG, &o.tty, 0, 0 },
	{ 0, "no-tty", NULL, "never give the command a terminal", OPTION_FLAG, &o.no_tty, 0, 0 },
	{ 0, "timeout", "TIME", "end the command after 30s, 5m, 1h", OPTION_DURATION, &o.timeout, 0, 0 },
	{ 0, "detach-keys", "KEYS", "leave the terminal with these (ctrl-])", OPTION_STRING, &o.detach_keys, 0, 0 },
	/* Docker habits: what they ask for is the default here. */
	{ 'i', "interactive", NULL, NULL, OPTION_FLAG, &o.interactive, 0, 0 },
	{ 0, "rm", NULL, NULL, OPTION_FLAG, &o.rm, 0, 0 },
};

static const struct command help = { "run", "Run a command in a virtual machine made from an image.",
				     "[OPTIONS] IMAGE [-- COMMAND...]", creation_details };

/** check_words() - Exactly one image, the command behind --. */
static int check_words(const struct parsed *p, struct error *err)
{
	struct buf line = BUF_INIT(90);
	const char *words;

	if (p->word_count == 0) {
		err_set(err, ERR_USAGE, 0, "run: which image?");
		return err_hint(err, "msb run IMAGE -- COMMAND; msb images lists what is here");
	}
	if (p->extra_count == 0)
		return 0;
	if (o.rm && p->words[0][0] == '/') { /* "--rm PATH" of other releases: removes it before the boot */
		err_set(err, ERR_USAGE, 0, "--rm %.100s: removing paths is not supported yet", p->words[0]);
		return err_hint(err, "a bare --rm (remove the sandbox at its end) is what run does anyway");
	}
	for (size_t i = 0; i < p->extra_count; i++)
		if (strcmp(p->extra[i], "--") != 0)
			buf_printf(&line, " %s", p->extra[i]);
	words = buf_cstr(&line);
	err_set(err, ERR_USAGE, 0, "run: unexpected \"%.100s\" after the image: a command follows \"--\"", p->extra[0]);
	err_hint(err, "did you mean: msb run %.40s --%s", p->words[0], words ? words : " ...");
	buf_free(&line);
	return -(int)ERR_USAGE;
}

/** run_ephemeral() - Start, pump, tear down: nothing is recorded, nothing stays. */
static int run_ephemeral(const struct run_spec *spec)
{
	static struct run_session s;
	struct error err = ERROR_INIT;
	int signals = block_signals(), cancel = cancel_signals(), status;

	if (engine_run_start(spec, cancel, &s, &err) < 0)
		return err.code == ERR_CANCELLED ? cancelled_status(cancel) : failed_status(&err);
	if (s.nothing_to_run)
		return nothing_to_run();
	note_fallback(s.note_fallback, s.fallback_reason, creation.quiet);
	status = attach(&s, spec->tty, spec->stdin_open, signals, o.timeout);
	s.memory_mib = spec->memory_mib ? spec->memory_mib : RUN_MEMORY_MIB;
	note_shortage(&s, NULL, creation.quiet);
	if (s.exited) {
		engine_run_finish(&s, NULL);
		return status;
	}
	if (engine_run_finish(&s, &err) == 0)
		err_set(&err, ERR_CLOSED, 0, "the sandbox ended unexpectedly");
	print_error(&err);
	return EXIT_MSB_FAILED;
}

/** reuse() - A sandbox of this name is there: is it meant? Return: 1: yes, 0: there is none, or a negative code. */
static int reuse(const struct engine_paths *paths, const struct run_spec *spec, struct error *err)
{
	struct sandbox_record r;
	int rc = 1;

	if (engine_find(paths, spec->name, &r, err) < 0) {
		if (err->code != ERR_NOT_FOUND)
			return -(int)err->code;
		err_clear(err);
		return 0;
	}
	if (!engine_same_image(r.image, spec->image)) {
		err_set(err, ERR_EXISTS, 0, "sandbox %s was made from %.200s, not from %.200s", spec->name, r.image,
			spec->image);
		rc = err_hint(err, "--replace removes it and makes it anew; or choose another --name");
	} else if (creation_given() && !creation.quiet) {
		fprintf(stderr, "warn: %s is ignored: sandbox %s exists (--replace makes it anew)\n", creation_given(),
			spec->name);
	}
	sandbox_record_clear(&r);
	return rc;
}

/** made_meanwhile() - Another command was quicker to make it. Return: as reuse(), err as it was for 0 */
static int made_meanwhile(const struct engine_paths *paths, const struct run_spec *spec,
			  const struct create_options *how, struct error *err)
{
	struct error other = ERROR_INIT;
	int there = err->code == ERR_EXISTS && spec->name && !how->replace ? reuse(paths, spec, &other) : 0;

	if (there)
		*err = other;
	return there;
}

/** start_again() - `run -d` of one that is there: it runs, that is all. */
static int start_again(const struct engine_paths *paths, const struct run_spec *spec)
{
	struct error err = ERROR_INIT;
	struct started made;
	int cancel;

	block_signals();
	cancel = cancel_signals();
	if (spec->command_count && !creation.quiet)
		fprintf(stderr, "warn: the command is ignored: sandbox %s exists (msb exec runs one in it)\n",
			spec->name);
	if (engine_start(paths, spec->name, START_STAYS, cancel, &made, &err) < 0 && err.code != ERR_EXISTS)
		return err.code == ERR_CANCELLED ? cancelled_status(cancel) : failed_status(&err);
	fd_close(&made.starter_fd);
	printf("%s\n", spec->name);
	return 0;
}

/** run_detached() - Its command belongs to the supervisor; the name is what is printed. */
static int run_detached(const struct engine_paths *paths, const struct run_spec *spec, struct create_options *how)
{
	struct error err = ERROR_INIT;
	struct started made;
	int cancel;

	block_signals();
	cancel = cancel_signals();
	how->mode = START_WORKLOAD;
	how->remove_at_end = !spec->name;
	if (engine_create(spec, how, cancel, &made, &err) < 0) {
		if (made_meanwhile(paths, spec, how, &err) > 0)
			return start_again(paths, spec);
		return err.code == ERR_CANCELLED ? cancelled_status(cancel) : failed_status(&err);
	}
	if (made.nothing_to_run)
		return nothing_to_run();
	fd_close(&made.starter_fd);
	note_fallback(made.note_fallback, made.fallback_reason, creation.quiet);
	printf("%s\n", made.name);
	return 0;
}

/** run_attached() - In a persistent sandbox, made or started for it. */
static int run_attached(const struct engine_paths *paths, const struct run_spec *spec, struct create_options *how,
			bool there)
{
	struct exec_spec exec = { .own_command = true,
				  .interactive = spec->interactive,
				  .tty = spec->tty,
				  .stdin_open = spec->stdin_open,
				  .rows = spec->rows,
				  .cols = spec->cols,
				  .term = spec->term,
				  .rlimits = spec->rlimits,
				  .rlimit_count = spec->rlimit_count };
	struct error err = ERROR_INIT;
	struct started made = { .starter_fd = -1 };
	int signals = block_signals(), cancel = cancel_signals();

	how->mode = START_ON_USE;
	how->remove_at_end = !spec->name;
	if (!there && engine_create(spec, how, cancel, &made, &err) < 0) {
		if (made_meanwhile(paths, spec, how, &err) <= 0)
			return err.code == ERR_CANCELLED ? cancelled_status(cancel) : failed_status(&err);
		there = true;
	}
	if (there) {
		exec.command = spec->command;
		exec.command_count = spec->command_count;
	}
	if (made.nothing_to_run)
		return nothing_to_run();
	return exec_session(paths, there ? spec->name : made.name, &exec, there ? NULL : &made, signals, cancel,
			    o.timeout, creation.quiet);
}

int command_run(int argc, char **argv)
{
	struct create_options how = { 0 };
	struct engine_paths paths;
	struct run_spec spec = { 0 };
	struct error err = ERROR_INIT;
	struct parsed p;
	int there = 0;

	if (parse_options(rows, ARRAY_LEN(rows), 1, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, rows, ARRAY_LEN(rows));
		return 0;
	}
	if (check_words(&p, &err) < 0)
		return usage_error(&err);
	if (o.tty && o.no_tty) {
		err_set(&err, ERR_USAGE, 0, "--tty and --no-tty exclude each other");
		return usage_error(&err);
	}
	if (o.detach && (o.tty || o.timeout)) {
		err_set(&err, ERR_USAGE, 0, "--detach and --%s exclude each other", o.tty ? "tty" : "timeout");
		return usage_error(&err);
	}
	if (creation_spec(p.words[0], &spec, &how, &err) < 0 || set_detach_keys(o.detach_keys, &err) < 0)
		return failed_status(&err);
	if (engine_paths(&paths, ENGINE_READ, &err) < 0 || creation_defaults(paths.home, &spec, &err) < 0 ||
	    engine_paths(&paths, ENGINE_WRITE, &err) < 0)
		return failed_status(&err);
	engine_sweep(&paths);
	spec.command = p.tail;
	spec.command_count = p.tail_count;
	terminal_facts(o.tty, o.no_tty, &spec.interactive, &spec.tty, &spec.rows, &spec.cols, &spec.term);
	spec.stdin_open = true;
	if (!o.detach && creation_is_plain())
		return run_ephemeral(&spec);
	if (o.detach)
		spec.interactive = spec.tty = spec.stdin_open = false;
	if (spec.name && !how.replace)
		there = reuse(&paths, &spec, &err);
	if (there < 0)
		return failed_status(&err);
	if (o.detach)
		return there ? start_again(&paths, &spec) : run_detached(&paths, &spec, &how);
	return run_attached(&paths, &spec, &how, there);
}
