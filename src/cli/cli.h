/* SPDX-License-Identifier: Apache-2.0 */
/** The command line: one table per command makes parsing and help; one file per group of commands. */
#ifndef MSB_CLI_CLI_H
#define MSB_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/nearest.h"
#include "engine/engine.h"

#define EXIT_USAGE 2
#define EXIT_MSB_FAILED 125 /* msb's own failure in run, so that it differs from the guest's exit 1 */
#define ARGS_LIST_MAX 512

enum option_kind { OPTION_FLAG, OPTION_STRING, OPTION_LIST, OPTION_SIZE, OPTION_NUMBER, OPTION_DURATION, OPTION_LATER };

struct option_row {
	char short_name; /* 0: none */
	const char *name, *value_name, *help;
	enum option_kind kind;
	void *target;	    /* bool, const char *, struct string_list, uint64_t */
	uint64_t min, max;  /* numbers */
};

struct string_list {
	const char *item[ARGS_LIST_MAX];
	size_t count;
};

struct parsed {
	const char *words[64]; /* positional words */
	size_t word_count;
	char **extra;	/* from the first word too many to the end of the line */
	size_t extra_count;
	char **tail; /* after -- */
	size_t tail_count;
	bool has_tail, help;
};

struct command {
	const char *name, *summary, *usage;
	const char *more; /* behind the options; NULL: nothing */
};

/** set_command() - The command that runs, for hints. Kept. */
void set_command(const char *name);
/** usage_error() - Print the error object as a usage error, with a hint in any case. Return: EXIT_USAGE. */
int usage_error(const struct error *err);
/** colour() - May escape sequences be written to this descriptor? A terminal, and NO_COLOR is not set. */
bool colour(int fd);
/** print_error() - "error: text" and the hint, else what err_advice() knows. */
void print_error(const struct error *err);
/**
 * parse_options() - Options before and after words, --name=value, -n value, -nVALUE, clusters of flags.
 * @max_words: words beyond them end the parsing and are left in out->extra: the caller says what it makes of them
 */
int parse_options(const struct option_row *rows, size_t count, size_t max_words, int argc, char **argv,
		  struct parsed *out, struct error *err);
/** print_help() - Usage, summary and options. */
void print_help(const struct command *c, const struct option_row *rows, size_t count);

/** attach() - Pump between this process's streams and a session. Return: the exit status for main(). */
int attach(struct run_session *s, bool tty, bool stdin_open, int signal_fd, uint64_t timeout_s);

/** block_signals() - Those we handle ourselves (INT, TERM, HUP, QUIT, WINCH), as a signalfd. */
int block_signals(void);

int command_run(int argc, char **argv);
int command_load(int argc, char **argv);
int command_images(int argc, char **argv);
int command_rmi(int argc, char **argv);
int command_pull(int argc, char **argv);
int command_save(int argc, char **argv);
int command_image_inspect(int argc, char **argv);
int command_image_import(int argc, char **argv);
int command_image_prune(int argc, char **argv);
int command_registry_login(int argc, char **argv);
int command_registry_logout(int argc, char **argv);
int command_registry_ls(int argc, char **argv);
int command_system_df(int argc, char **argv);
int command_system_prune(int argc, char **argv);
int command_doctor(int argc, char **argv);
int command_completion(int argc, char **argv);

#endif
