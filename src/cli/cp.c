/* SPDX-License-Identifier: Apache-2.0 */
/* contract 1.9: cp */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "cli/cli.h"
#include "cli/interactive.h"
#include "engine/copy.h"

static bool quiet;

static const struct option_row rows[] = {
	{ 'q', "quiet", NULL, "print errors only", OPTION_FLAG, &quiet, 0, 0 },
};

/** parse_side() - NAME:/PATH, or a path of the host (with a colon behind a slash: ./a:b). */
static int parse_side(const char *text, struct copy_side *out, struct error *err)
{
	const char *colon = strchr(text, ':'), *slash = strchr(text, '/');

	*out = (struct copy_side){ .path = text };
	if (!*text)
		return err_set(err, ERR_USAGE, 0, "cp: a path is empty");
	if (!colon || (slash && slash < colon))
		return 0;
	out->sandbox = strndup(text, (size_t)(colon - text)); /* kept for the life of the process */
	out->path = colon + 1;
	if (!out->sandbox || !sandbox_name_valid(out->sandbox)) {
		err_set(err, ERR_USAGE, 0, "cp: \"%.100s\" is neither NAME:/PATH nor a path", text);
		return err_hint(err, "for a file of the host whose name has a colon: ./%.80s", text);
	}
	if (out->path[0] != '/') {
		err_set(err, ERR_USAGE, 0, "cp: \"%.100s\": paths in a sandbox are absolute", text);
		return err_hint(err, "%.60s:/%.60s; for a file of the host: ./%.60s", out->sandbox, out->path, text);
	}
	return 0;
}

/** left_out() - A link that would have led from the copy into the host. */
static void left_out(const char *path, const char *target)
{
	struct error shown = ERROR_INIT; /* what a guest calls its files is no text for a terminal */

	err_set(&shown, ERR_INVALID, 0, "%.200s → %.200s", path, target);
	fprintf(stderr, "warn: left out, since it leads out of the copy: %s\n", shown.text);
}

int command_cp(int argc, char **argv)
{
	static const struct command help = {
		"cp", "Copy files between the host and a sandbox, which is started for it if need be.",
		"[OPTIONS] SRC DST",
		"SRC and DST are NAME:/PATH in a sandbox or a path on the host; one is in a sandbox.\n"
		"Folders are copied with all they hold, into DST when that is a folder or ends in \"/\".\n"
		"Links are copied as links.\n"
	};
	struct engine_paths paths;
	struct error err = ERROR_INIT;
	struct copy_side from, to;
	struct parsed p;
	int cancel;

	if (parse_options(rows, ARRAY_LEN(rows), 2, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, rows, ARRAY_LEN(rows));
		return 0;
	}
	if (p.word_count != 2 || p.extra_count || p.has_tail) {
		err_set(&err, ERR_USAGE, 0, "cp: needs a source and a destination");
		err_hint(&err, "msb cp ./file NAME:/tmp/; msb cp NAME:/etc/os-release .");
		return usage_error(&err);
	}
	if (parse_side(p.words[0], &from, &err) < 0 || parse_side(p.words[1], &to, &err) < 0)
		return usage_error(&err);
	if (!from.sandbox == !to.sandbox) {
		err_set(&err, ERR_USAGE, 0,
			from.sandbox ? "cp: one side is on the host" : "cp: one side is in a sandbox");
		err_hint(&err, from.sandbox ? "copy to the host first, then from there" : "NAME:/PATH");
		return usage_error(&err);
	}
	if (engine_paths(&paths, ENGINE_READ, &err) < 0)
		return command_failed(&err);
	block_signals();
	cancel = cancel_signals();
	if (engine_copy(&paths, &from, &to, cancel, left_out, &err) < 0)
		return err.code == ERR_CANCELLED ? cancelled_status(cancel) : command_failed(&err);
	return 0;
}
