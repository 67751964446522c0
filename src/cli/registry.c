/* SPDX-License-Identifier: Apache-2.0 */
/* msb registry login, logout, ls. A password passes through here once, in a memory file that msb-registry reads. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli/cli.h"

#define PASSWORD_MAX 16384 /* tokens are long */

/** read_password() - From the terminal, not shown. Return: a descriptor that gives it, or a negative code. */
static int read_password(const char *host, struct error *err)
{
	static char line[PASSWORD_MAX];
	struct termios shown, hidden;
	_cleanup_fd_ int fd = -1;
	ssize_t n;

	if (tcgetattr(STDIN_FILENO, &shown) < 0)
		return err_set(err, ERR_SYSTEM, errno, "the terminal");
	hidden = shown;
	hidden.c_lflag &= ~(tcflag_t)ECHO;
	fprintf(stderr, "Password for %s: ", host);
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
	n = read(STDIN_FILENO, line, sizeof(line));
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
	fputc('\n', stderr);
	fd = fd_memfd("msb-password", 0, false);
	if (n < 0 || fd < 0 || fd_write_full(fd, line, (size_t)n) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		err_set(err, ERR_SYSTEM, errno, "read the password");
	explicit_bzero(line, sizeof(line));
	return err->code ? -(int)err->code : TAKE_FD(fd);
}

/** run() - msb-registry with these words. */
static int run(const char *const *words, size_t count, int input)
{
	struct engine_paths paths;
	struct error err = ERROR_INIT;

	if (engine_paths(&paths, ENGINE_WRITE, &err) == 0 && engine_registry(&paths, words, count, input, &err) == 0)
		return 0;
	print_error(&err);
	return err.code == ERR_CANCELLED ? 130 : 1;
}

/** host_word() - Exactly one word, a host. */
static int host_word(const struct parsed *p, const char *command, struct error *err)
{
	if (p->word_count == 1 && !p->extra_count && p->words[0][0] && !strchr(p->words[0], '/'))
		return 0;
	if (p->extra_count)
		err_set(err, ERR_USAGE, 0, "%s: unexpected \"%s\"", command, p->extra[0]);
	else if (p->word_count)
		err_set(err, ERR_USAGE, 0, "%s: \"%s\" is not the name of a host", command, p->words[0]);
	else
		err_set(err, ERR_USAGE, 0, "%s: which registry?", command);
	return err_hint(err, "msb %s ghcr.io", command);
}

int command_registry_login(int argc, char **argv)
{
	static struct string_list certs;
	static const char *user;
	static bool from_stdin, no_verify, insecure;
	static const struct option_row rows[] = {
		{ 'u', "username", "USER", "who you are there", OPTION_STRING, &user, 0, 0 },
		{ 0, "password-stdin", NULL, "read the password or token from standard input", OPTION_FLAG, &from_stdin,
		  0, 0 },
		{ 0, "no-verify", NULL, "store it without asking the registry", OPTION_FLAG, &no_verify, 0, 0 },
		{ 0, "insecure", NULL, "plain HTTP and unchecked certificates are good enough", OPTION_FLAG, &insecure,
		  0, 0 },
		{ 0, "ca-certs", "FILE", "trust these certificates (PEM) too", OPTION_LIST, &certs, 0, 0 },
	};
	static const struct command help = {
		"registry login", "Store a name and password for a registry, after trying them there.",
		"HOST -u USER [OPTIONS]",
		"Without --password-stdin the password is asked for on the terminal. It is "
		"kept in MSB_HOME/secrets,\nin a file that only you can read; docker.io is "
		"Docker Hub's HOST.\n"
	};
	const char *words[2 * ARGS_LIST_MAX + 8];
	struct error err = ERROR_INIT;
	struct engine_paths paths;
	struct parsed p;
	size_t n = 0;
	_cleanup_fd_ int input = -1;

	if (parse_options(rows, ARRAY_LEN(rows), 1, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, rows, ARRAY_LEN(rows));
		return 0;
	}
	if (host_word(&p, help.name, &err) < 0)
		return usage_error(&err);
	if (!user || !*user) {
		err_set(&err, ERR_USAGE, 0, "registry login: which user?");
		err_hint(&err, "msb registry login %s -u USER", p.words[0]);
		return usage_error(&err);
	}
	if (!from_stdin && !isatty(STDIN_FILENO)) {
		err_set(&err, ERR_USAGE, 0, "registry login: standard input is no terminal to ask for the password");
		err_hint(&err, "pipe it in: msb registry login %s -u %s --password-stdin", p.words[0], user);
		return usage_error(&err);
	}
	if (!from_stdin) {
		input = read_password(p.words[0], &err);
		if (input < 0) {
			print_error(&err);
			return 1;
		}
	}
	if (engine_paths(&paths, ENGINE_WRITE, &err) < 0) {
		print_error(&err);
		return 1;
	}
	words[n++] = "login";
	if (no_verify)
		words[n++] = "--no-verify";
	if (insecure)
		words[n++] = "--insecure";
	for (size_t i = 0; i < certs.count; i++) {
		words[n++] = "--ca-certs";
		words[n++] = certs.item[i];
	}
	words[n++] = paths.home;
	words[n++] = p.words[0];
	words[n++] = user;
	return run(words, n, input);
}

int command_registry_logout(int argc, char **argv)
{
	static const struct command help = { "registry logout", "Forget the name and password stored for a registry.",
					     "HOST", NULL };
	struct engine_paths paths;
	struct error err = ERROR_INIT;
	struct parsed p;

	if (parse_options(NULL, 0, 1, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, NULL, 0);
		return 0;
	}
	if (host_word(&p, help.name, &err) < 0)
		return usage_error(&err);
	if (engine_paths(&paths, ENGINE_WRITE, &err) < 0) {
		print_error(&err);
		return 1;
	}
	return run((const char *const[]){ "logout", paths.home, p.words[0] }, 3, -1);
}

int command_registry_ls(int argc, char **argv)
{
	static const struct command help = { "registry ls", "List the registries for which there are credentials.", "",
					     NULL };
	struct engine_paths paths;
	struct error err = ERROR_INIT;
	struct parsed p;

	if (parse_options(NULL, 0, 0, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, NULL, 0);
		return 0;
	}
	if (p.extra_count) {
		err_set(&err, ERR_USAGE, 0, "registry ls: unexpected \"%s\"", p.extra[0]);
		return usage_error(&err);
	}
	if (engine_paths(&paths, ENGINE_WRITE, &err) < 0) {
		print_error(&err);
		return 1;
	}
	return run((const char *const[]){ "ls", paths.home }, 2, -1);
}
