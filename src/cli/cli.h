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

/** A value_name in lower case is the list of the values themselves: "json", "auto|kvm|qemu". No help: not shown. */
struct option_row {
	char short_name; /* 0: none */
	const char *name, *value_name, *help;
	enum option_kind kind;
	void *target;	   /* bool, const char *, struct string_list, uint64_t */
	uint64_t min, max; /* numbers */
};

struct string_list {
	const char *item[ARGS_LIST_MAX];
	size_t count;
};

struct parsed {
	const char *words[64]; /* positional words */
	size_t word_count;
	char **extra; /* from the first word too many to the end of the line */
	size_t extra_count;
	char **tail; /* after -- */
	size_t tail_count;
	bool has_tail, help;
};

struct command {
	const char *name, *summary, *usage;
	const char *details; /* below the options, ends with a newline; may be NULL */
};

/** A command with its options, for what is made of the tables. All strings last as long as the program. */
struct command_info {
	const char *name, *brief; /* as typed; as in msb --help, "" for a word that help does not list */
	const char *group;	  /* NULL: another name of alias_of */
	const char *alias_of;
	struct command command;
	const struct option_row *rows;
	size_t row_count;
};

/** set_command() - The command that runs, for hints. Kept. */
void set_command(const char *name);
/** usage_error() - Print the error object as a usage error, with a hint in any case. Return: EXIT_USAGE. */
int usage_error(const struct error *err);
/** colour() - May escape sequences be written to this descriptor? A terminal, and NO_COLOR is not set. */
bool colour(int fd);
/** check_labels() - KEY=VALUE, or KEY alone, which becomes KEY=. Changed in place. */
int check_labels(struct string_list *labels, struct error *err);
/** command_failed() - Print the error. Return: the exit status of a command that is not run, exec or shell. */
int command_failed(const struct error *err);
/** print_error() - "error: text" and the hint, else what err_advice() knows. */
void print_error(const struct error *err);
/** log_option() - --debug and its like, without the dashes. Return: false when it is none of them. */
bool log_option(const char *name);
/** log_default() - The level of logging, unless an option has chosen one. */
void log_default(const char *name);
/**
 * parse_options() - Options before and after words, --name=value, -n value, -nVALUE, clusters of flags.
 * @max_words: words beyond them end the parsing and are left in out->extra: the caller says what it makes of them
 */
int parse_options(const struct option_row *rows, size_t count, size_t max_words, int argc, char **argv,
		  struct parsed *out, struct error *err);
/**
 * print_help() - Summary, usage, options and details. Every command calls it for --help, before it does anything else:
 * between describe_into(out) and describe_into(NULL) it prints nothing and fills *out with what it got.
 */
void print_help(const struct command *c, const struct option_row *rows, size_t count);
void describe_into(struct command_info *out);
/** takes_value() - Does an option need a value? */
bool takes_value(const struct option_row *row);
/** is_choice_list() - Is this value_name the list of values? */
bool is_choice_list(const char *value_name);

/** command_info() - Of the index-th command of msb, other names included. Return: false behind the last. */
bool command_info(size_t index, struct command_info *out);
/** dispatch() - Run a command line; args[0] is the command. Return: the exit status. */
int dispatch(int count, char **args);
/** confirm() - -y, or a yes on the terminal to the question WHAT. Return: 0 go on, else the exit status. */
int confirm(bool yes, const char *command, const char *what);
/** doctor_fixes() - Print what doctor_fix() would do. Return: how many things. */
size_t doctor_fixes(const struct engine_paths *paths);
/** doctor_fix() - Do it. Return: exit status. */
int doctor_fix(const struct engine_paths *paths);
/** print_json_value() - And free it. */
struct json_t;
void print_json_value(struct json_t *value);
/** print_network() - How a sandbox's network is configured, in words. */
void print_network(const struct net_spec *n);
/** print_json_string() - Quoted and escaped. */
void print_json_string(const char *s);

/** attach() - Pump between this process's streams and a session. Return: the exit status for main(). */
int attach(struct run_session *s, bool tty, bool stdin_open, int signal_fd, uint64_t timeout_s);

/** block_signals() - Those we handle ourselves (INT, TERM, HUP, QUIT, WINCH), as a signalfd. */
int block_signals(void);

int command_run(int argc, char **argv);
int command_create(int argc, char **argv);
int command_exec(int argc, char **argv);
int command_shell(int argc, char **argv);
int command_start(int argc, char **argv);
int command_stop(int argc, char **argv);
int command_restart(int argc, char **argv);
int command_rm(int argc, char **argv);
int command_ping(int argc, char **argv);
int command_touch(int argc, char **argv);
int command_modify(int argc, char **argv);
int command_cp(int argc, char **argv);
int command_ls(int argc, char **argv);
int command_ps(int argc, char **argv);
int command_inspect(int argc, char **argv);
int command_net_explain(int argc, char **argv);
int command_metrics(int argc, char **argv);
int command_logs(int argc, char **argv);
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
int command_install(int argc, char **argv);
int command_uninstall(int argc, char **argv);
int command_self_uninstall(int argc, char **argv);
int command_doctor(int argc, char **argv);
int command_completion(int argc, char **argv);
/** command_complete() - Hidden: what can stand for the last of these words; for the scripts of msb completion. */
int command_complete(int argc, char **argv);
/** command_tables() - Hidden: all commands and options as JSON; for tools/make_docs.py. */
int command_tables(int argc, char **argv);

#endif
