/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli/creation.h"
#include "cli/interactive.h"

static const struct option_row rows[] = { CREATION_ROWS };

static const struct command help = { "create", "Make a sandbox that stays, and boot it in the background.",
				     "[OPTIONS] IMAGE", creation_details };

/** check_words() - One image, no command. */
static int check_words(const struct parsed *p, struct error *err)
{
	if (p->word_count == 0) {
		err_set(err, ERR_USAGE, 0, "create: which image?");
		return err_hint(err, "msb create --name NAME IMAGE; msb images lists what is here");
	}
	if (p->extra_count == 0 && p->tail_count == 0)
		return 0;
	err_set(err, ERR_USAGE, 0, "create: runs no command (\"%.100s\")", p->extra_count ? p->extra[0] : p->tail[0]);
	return err_hint(err, "msb create ... IMAGE, then msb exec NAME -- COMMAND; or msb run -d IMAGE -- COMMAND");
}

int command_create(int argc, char **argv)
{
	struct create_options how = { .mode = START_STAYS };
	struct engine_paths paths;
	struct run_spec spec = { 0 };
	struct error err = ERROR_INIT;
	struct started made;
	struct parsed p;
	int cancel;

	if (parse_options(rows, ARRAY_LEN(rows), 1, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, rows, ARRAY_LEN(rows));
		return 0;
	}
	if (check_words(&p, &err) < 0)
		return usage_error(&err);
	if (creation_spec(p.words[0], &spec, &how, &err) < 0)
		return command_failed(&err);
	if (engine_paths(&paths, ENGINE_READ, &err) < 0 || creation_defaults(paths.home, &spec, &err) < 0 ||
	    engine_paths(&paths, ENGINE_WRITE, &err) < 0)
		return command_failed(&err);
	engine_sweep(&paths);
	block_signals();
	cancel = cancel_signals();
	if (engine_create(&spec, &how, cancel, &made, &err) < 0)
		return err.code == ERR_CANCELLED ? cancelled_status(cancel) : command_failed(&err);
	fd_close(&made.starter_fd);
	note_fallback(made.note_fallback, made.fallback_reason, creation.quiet);
	if (!spec.name)
		printf("%s\n", made.name);
	return 0;
}
