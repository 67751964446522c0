/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/interactive.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli/creation.h"

int block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGWINCH);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int cancel_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int cancelled_status(int fd)
{
	struct signalfd_siginfo info;

	return read(fd, &info, sizeof(info)) == sizeof(info) ? 128 + (int)info.ssi_signo : 130;
}

void terminal_facts(bool tty, bool no_tty, bool *interactive, bool *wants_tty, uint16_t *rows, uint16_t *cols,
		    const char **term)
{
	struct winsize w = { 0 };

	*interactive = isatty(STDIN_FILENO) && !no_tty;
	*wants_tty = tty || *interactive;
	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &w) < 0 || !w.ws_row || !w.ws_col)
		w = (struct winsize){ .ws_row = 24, .ws_col = 80 };
	*rows = w.ws_row;
	*cols = w.ws_col;
	*term = getenv("TERM");
	if (*term && (!**term || strcmp(*term, "dumb") == 0))
		*term = NULL;
}

void note_fallback(bool wanted, const char *reason, bool quiet)
{
	if (wanted && !quiet && isatty(STDERR_FILENO))
		fprintf(stderr, "note: running on QEMU's software CPU, which is slower: %s (msb doctor says more)\n",
			reason);
}

void note_shortage(const struct run_session *s, const char *name, bool quiet)
{
	if (quiet)
		return;
	if (s->out_of_memory && name)
		fprintf(stderr, "note: the guest ran out of memory (%lluM): msb modify %s -m SIZE gives it more\n",
			(unsigned long long)s->memory_mib, name);
	else if (s->out_of_memory)
		fprintf(stderr, "note: the guest ran out of memory (%lluM): -m gives it more\n",
			(unsigned long long)s->memory_mib);
	if (s->disk_full)
		fprintf(stderr, "note: the guest's disk is full: --root-disk gives %s more\n",
			name ? "a new sandbox" : "it");
}

int nothing_to_run(void)
{
	fprintf(stderr, "warn: no command provided and stdin is not a terminal\n");
	return 0;
}

int exec_session(const struct engine_paths *paths, const char *name, const struct exec_spec *spec, struct started *made,
		 int signals, int cancel, uint64_t timeout_s, bool quiet)
{
	static struct run_session s;
	struct error err = ERROR_INIT;
	int status;

	if (engine_exec(paths, name, spec, made, cancel, &s, &err) < 0)
		return err.code == ERR_CANCELLED ? cancelled_status(cancel) : failed_status(&err);
	if (s.nothing_to_run) {
		engine_exec_finish(paths, &s, NULL);
		return nothing_to_run();
	}
	note_fallback(made ? made->note_fallback : s.note_fallback, made ? made->fallback_reason : s.fallback_reason,
		      quiet);
	status = attach(&s, spec->tty, spec->stdin_open, signals, timeout_s);
	note_shortage(&s, made ? NULL : name, quiet);
	if (engine_exec_finish(paths, &s, &err) == 0)
		return status;
	print_error(&err);
	return EXIT_MSB_FAILED;
}
