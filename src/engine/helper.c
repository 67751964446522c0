/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/helper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

#define JOINT_FD 3 /* where both programs expect their end of the pair (FETCH_CONTROL_FD) */
#define STATUS_NO_PROGRAM 127
#define STATUS_CANCELLED 130

void helper_add(struct helper_line *line, const char *word)
{
	if (line->count == HELPER_ARGS_MAX)
		line->overflow = true;
	else
		line->words[line->count++] = word;
}

void helper_add_each(struct helper_line *line, const char *option, const char *const *words, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		helper_add(line, option);
		helper_add(line, words[i]);
	}
}

/** start() - Fork and execute. @joint: our end for descriptor 3, or -1. Return: pid, or -1 with errno. */
static pid_t start(const struct helper_line *line, int joint, int input)
{
	pid_t parent = getpid(), pid = fork();
	sigset_t none;

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(STATUS_CANCELLED);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (input >= 0)
		dup2(input, STDIN_FILENO);
	if (joint == JOINT_FD)
		fd_set_cloexec(joint, false);
	else if (joint >= 0)
		dup2(joint, JOINT_FD);
	execv(line->words[0], (char *const *)(uintptr_t)line->words);
	_exit(STATUS_NO_PROGRAM);
}

/** forward() - The signals that are waiting for us, to the program; they stay waiting. */
static void forward(pid_t pid)
{
	static const int all[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	sigset_t pending;

	sigpending(&pending);
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (sigismember(&pending, all[i]))
			kill(pid, all[i] == SIGQUIT ? SIGTERM : all[i]);
}

/** wait_for() - Its status; meanwhile signals are handed on. */
static int wait_for(pid_t pid)
{
	_cleanup_fd_ int gone = (int)syscall(SYS_pidfd_open, pid, 0);
	_cleanup_fd_ int signals = -1;
	sigset_t ours, before;
	int status = 0;

	sigemptyset(&ours);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGTERM);
	sigaddset(&ours, SIGHUP);
	sigaddset(&ours, SIGQUIT);
	sigprocmask(SIG_BLOCK, &ours, &before);
	signals = signalfd(-1, &ours, SFD_CLOEXEC);
	while (gone >= 0) {
		struct pollfd p[2] = { { .fd = gone, .events = POLLIN }, { .fd = signals, .events = POLLIN } };

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[0].revents)
			break;
		if (p[1].revents) {
			forward(pid);
			fd_close(&signals); /* once: it stays readable */
		}
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	sigprocmask(SIG_SETMASK, &before, NULL);
	return status;
}

/** judge() - A wait status as an error object. */
static int judge(const char *program, int status, struct error *err)
{
	const char *name = strrchr(program, '/') ? strrchr(program, '/') + 1 : program;

	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == STATUS_CANCELLED)
		return err_set(err, ERR_CANCELLED, 0, "%s", "");
	if (WIFEXITED(status) && WEXITSTATUS(status) != 1) {
		if (WEXITSTATUS(status) == STATUS_NO_PROGRAM)
			err_set(err, ERR_SYSTEM, 0, "%s cannot be started", program);
		else
			err_set(err, ERR_SYSTEM, 0, "%s ended with status %d", program, WEXITSTATUS(status));
		return err_hint(err, "it must be of the same build as msb: copy both, or run scripts/setup.sh again");
	}
	if (WIFSIGNALED(status) &&
	    (WTERMSIG(status) == SIGINT || WTERMSIG(status) == SIGTERM || WTERMSIG(status) == SIGHUP))
		return err_set(err, ERR_CANCELLED, 0, "interrupted; nothing was changed");
	if (WIFSIGNALED(status)) {
		err_set(err, ERR_INTERNAL, 0, "%s was ended by signal %d (%s); nothing was kept", name,
			WTERMSIG(status), strsignal(WTERMSIG(status)));
		return err_hint(err, "see whether a limit did it: ulimit -a, or dmesg when memory ran out");
	}
	/* The program has printed its own error; an empty text tells the caller not to print a second one. */
	return err_set(err, ERR_INVALID, 0, "%s", "");
}

int helper_run(struct helper_line *line, struct helper_line *beside, int input, struct error *err)
{
	_cleanup_fd_ int near = -1;
	_cleanup_fd_ int far = -1;
	pid_t second = -1, first;
	int pair[2], status;

	if (line->overflow || (beside && beside->overflow))
		return err_set(err, ERR_USAGE, 0, "more than %d words", HELPER_ARGS_MAX);
	if (beside) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
			return err_set(err, ERR_SYSTEM, errno, "socketpair");
		near = pair[0];
		far = pair[1];
		second = start(beside, far, -1);
		fd_close(&far);
		if (second < 0)
			return err_set(err, ERR_SYSTEM, errno, "fork");
	}
	first = start(line, near, input);
	fd_close(&near);
	if (first < 0)
		err_set(err, ERR_SYSTEM, errno, "fork");
	status = first < 0 ? 0 : wait_for(first);
	/* It ends with the socket, whose other end is closed now. */
	while (second > 0 && waitpid(second, NULL, 0) < 0 && errno == EINTR)
		;
	return first < 0 ? -(int)err->code : judge(line->words[0], status, err);
}
