/* SPDX-License-Identifier: Apache-2.0 */
/** A command with this process's terminal or streams: what run, exec and shell share. */
#ifndef MSB_CLI_INTERACTIVE_H
#define MSB_CLI_INTERACTIVE_H

#include "cli/cli.h"
#include "engine/lifecycle.h"

/** cancel_signals() - INT, TERM, HUP, QUIT as a signalfd, to give up while booting; they are blocked already. */
int cancel_signals(void);
/** cancelled_status() - 128 + the signal that is waiting. */
int cancelled_status(int fd);
/** terminal_facts() - What our standard input is, and what follows for the command. contract 1.4 */
void terminal_facts(bool tty, bool no_tty, bool *interactive, bool *wants_tty, uint16_t *rows, uint16_t *cols,
		    const char **term);
/** note_shortage() - After a command: that the guest ran out of memory or disk, and how to give it more. @name: of a
 * sandbox that was there before; NULL: it was made for the command */
void note_shortage(const struct run_session *s, const char *name, bool quiet);
/** note_fallback() - Once per boot and user, on a terminal: it runs without hardware virtualisation. */
void note_fallback(bool wanted, const char *reason, bool quiet);
/** nothing_to_run() - The warning. Return: exit status 0. */
int nothing_to_run(void);
/** exec_session() - Start a command in a persistent sandbox, pump, close. Return: the exit status. */
int exec_session(const struct engine_paths *paths, const char *name, const struct exec_spec *spec, struct started *made,
		 int signals, int cancel, uint64_t timeout_s, bool quiet);
/** set_detach_keys() - "ctrl-]" when NULL: comma-separated characters and ctrl-X. */
int set_detach_keys(const char *text, struct error *err);

/** terminal_make_raw() - Keys of our terminal go to the guest as bytes, until terminal_restore(). */
void terminal_make_raw(void);
void terminal_restore(void);

#endif
