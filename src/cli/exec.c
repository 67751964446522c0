/* SPDX-License-Identifier: Apache-2.0 */
/* Commands in a persistent sandbox: exec and shell. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli/creation.h"
#include "cli/interactive.h"
#include "cli/units.h"

#define SCRIPT_MAX (1u << 20) /* of standard input, for shell */

static struct {
	uint64_t timeout;
	struct string_list env, rlimits;
	const char *workdir, *user, *shell, *detach_keys;
	bool tty, no_tty, quiet, interactive, stream;
} o;

static const struct option_row exec_rows[] = {
	{ 'e', "env", "KEY=VALUE", "environment variable; KEY alone copies the host's", OPTION_LIST, &o.env, 0, 0 },
	{ 'w', "workdir", "DIR", "working directory in the guest", OPTION_STRING, &o.workdir, 0, 0 },
	{ 'u', "user", "USER", "user in the guest: name, uid, name:group, uid:gid", OPTION_STRING, &o.user, 0, 0 },
	{ 't', "tty", NULL, "give the command a terminal", OPTION_FLAG, &o.tty, 0, 0 },
	{ 0, "no-tty", NULL, "never give the command a terminal", OPTION_FLAG, &o.no_tty, 0, 0 },
	{ 0, "timeout", "TIME", "end the command after 30s, 5m, 1h", OPTION_DURATION, &o.timeout, 0, 0 },
	{ 0, "rlimit", "NAME=SOFT[:HARD]", "resource limit of the command (nofile=1024)", OPTION_LIST, &o.rlimits, 0,
	  0 },
	{ 0, "detach-keys", "KEYS", "leave the terminal with these (ctrl-])", OPTION_STRING, &o.detach_keys, 0, 0 },
	{ 'q', "quiet", NULL, "no notes", OPTION_FLAG, &o.quiet, 0, 0 },
	{ 'i', "interactive", NULL, NULL, OPTION_FLAG, &o.interactive, 0, 0 }, /* a docker habit: it is so anyway */
	{ 0, "stream", NULL, NULL, OPTION_FLAG, &o.stream, 0, 0 },	       /* of other releases: it is so anyway */
};
static const struct option_row shell_rows[] = {
	{ 'u', "user", "USER", "user in the guest: name, uid, name:group, uid:gid", OPTION_STRING, &o.user, 0, 0 },
	{ 0, "shell", "PROGRAM", "instead of the sandbox's shell", OPTION_STRING, &o.shell, 0, 0 },
	{ 0, "detach-keys", "KEYS", "leave the terminal with these (ctrl-])", OPTION_STRING, &o.detach_keys, 0, 0 },
	{ 'q', "quiet", NULL, "no notes", OPTION_FLAG, &o.quiet, 0, 0 },
};
static const struct command exec_help = { "exec", "Run a command in a sandbox, which is started for it if need be.",
					  "[OPTIONS] NAME [-- COMMAND...]", NULL };
static const struct command shell_help = { "shell", "A shell in a sandbox, which is started for it if need be.",
					   "[OPTIONS] NAME [-- SCRIPT...]", NULL };

/** check() - One name; the values of the options, before anything is started. */
static int check(const char *command, const struct parsed *p, struct exec_spec *spec, struct error *err)
{
	static struct msg_rlimit limits[MSG_RLIMITS_MAX];
	static struct string_list env;

	if (p->word_count == 0) {
		err_set(err, ERR_USAGE, 0, "%s: which sandbox?", command);
		return err_hint(err, "msb ls lists those there are");
	}
	if (p->extra_count) {
		err_set(err, ERR_USAGE, 0, "%s: unexpected \"%.100s\": a command follows \"--\"", command, p->extra[0]);
		return err_hint(err, "did you mean: msb %s %.60s -- %.60s", command, p->words[0], p->extra[0]);
	}
	if (o.tty && o.no_tty)
		return err_set(err, ERR_USAGE, 0, "--tty and --no-tty exclude each other");
	if (o.workdir && o.workdir[0] != '/')
		return err_set(err, ERR_USAGE, 0, "--workdir: \"%.200s\" is not an absolute path", o.workdir);
	if (o.rlimits.count > MSG_RLIMITS_MAX)
		return err_set(err, ERR_USAGE, 0, "--rlimit: given more than %d times", MSG_RLIMITS_MAX);
	for (size_t i = 0; i < o.rlimits.count; i++)
		if (unit_rlimit("rlimit", o.rlimits.item[i], &limits[i], err) < 0)
			return -(int)err->code;
	for (size_t i = 0; i < o.env.count; i++)
		if (unit_env("env", o.env.item[i], &env.item[env.count++], err) < 0)
			return -(int)err->code;
	if (o.shell && (!o.shell[0] || strcmp(o.shell, "/") == 0 || strpbrk(o.shell, " \t\r\n")))
		return err_set(err, ERR_USAGE, 0, "--shell: \"%.100s\" is not a program", o.shell);
	spec->env = env.item;
	spec->env_count = env.count;
	spec->rlimits = limits;
	spec->rlimit_count = o.rlimits.count;
	spec->workdir = o.workdir;
	spec->user = o.user;
	spec->shell_program = o.shell;
	spec->command = p->tail;
	spec->command_count = p->tail_count;
	spec->stdin_open = true;
	terminal_facts(o.tty, o.no_tty, &spec->interactive, &spec->tty, &spec->rows, &spec->cols, &spec->term);
	return set_detach_keys(o.detach_keys, err);
}

/** session() - The rest is the same for both. */
static int session(const char *name, const struct exec_spec *spec)
{
	struct engine_paths paths;
	struct error err = ERROR_INIT;
	int signals = block_signals();

	if (engine_paths(&paths, ENGINE_READ, &err) < 0 || machine_settings(paths.home, NULL, &err) < 0)
		return failed_status(&err);
	return exec_session(&paths, name, spec, NULL, signals, cancel_signals(), o.timeout, o.quiet);
}

int command_exec(int argc, char **argv)
{
	struct exec_spec spec = { 0 };
	struct error err = ERROR_INIT;
	struct parsed p;

	if (parse_options(exec_rows, ARRAY_LEN(exec_rows), 1, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&exec_help, exec_rows, ARRAY_LEN(exec_rows));
		return 0;
	}
	if (check("exec", &p, &spec, &err) < 0)
		return failed_status(&err);
	spec.own_command = spec.command_count == 0;
	return session(p.words[0], &spec);
}

/** read_script() - All of standard input. Return: 1: there is something, 0: blank, or a negative code. */
static int read_script(struct buf *to, struct error *err)
{
	uint8_t *at = buf_extend(to, SCRIPT_MAX + 1);
	ssize_t n = at ? fd_read_full(STDIN_FILENO, at, SCRIPT_MAX + 1) : -1;

	if (!at)
		return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	if (n < 0)
		return err_set(err, err_from_errno(errno), errno, "read the script from standard input");
	if ((size_t)n > SCRIPT_MAX) {
		err_set(err, ERR_LIMIT, 0, "the script on standard input is longer than 1 MiB");
		return err_hint(err, "copy it into the sandbox (msb cp) and run it there");
	}
	to->len = (size_t)n;
	if (memchr(to->data, '\0', to->len))
		return err_set(err, ERR_INVALID, 0, "the script on standard input has a NUL byte: it is no text");
	return strspn(buf_cstr(to), " \t\r\n") < to->len;
}

int command_shell(int argc, char **argv)
{
	static struct buf script = BUF_INIT(SCRIPT_MAX + 2);
	struct exec_spec spec = { .shell = true };
	struct error err = ERROR_INIT;
	struct parsed p;
	char *words[1];
	int some;

	if (parse_options(shell_rows, ARRAY_LEN(shell_rows), 1, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&shell_help, shell_rows, ARRAY_LEN(shell_rows));
		return 0;
	}
	if (check("shell", &p, &spec, &err) < 0)
		return failed_status(&err);
	if (!spec.interactive && spec.command_count == 0) {
		some = read_script(&script, &err);
		if (some < 0)
			return failed_status(&err);
		if (!some)
			return 0;
		words[0] = buf_cstr(&script);
		spec.command = words;
		spec.command_count = 1;
		spec.stdin_open = false; /* it was the script */
	}
	return session(p.words[0], &spec);
}
