/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our terminal while its keys go to a guest. It is as before at every end: of a session, of this process (atexit), and
 * of one that is killed by force, which a child waits for that does nothing else.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli/interactive.h"

static struct termios saved, raw;
static bool is_raw;
static int watcher_fd = -1; /* a byte: we have restored it ourselves; end of file: we died */
static pid_t watcher;

/** same_modes() - Is the terminal as we left it? The padding of a struct termios says nothing. */
static bool same_modes(const struct termios *a, const struct termios *b)
{
	return a->c_iflag == b->c_iflag && a->c_oflag == b->c_oflag && a->c_cflag == b->c_cflag &&
	       a->c_lflag == b->c_lflag && memcmp(a->c_cc, b->c_cc, sizeof(a->c_cc)) == 0;
}

/** watch() - The child. A shell that has set the terminal itself by now is not disturbed. */
static _Noreturn void watch(int fd)
{
	int keep[] = { STDIN_FILENO, fd };
	struct termios now;
	sigset_t all;
	char byte;

	sigfillset(&all); /* SIGTTOU too: we are in the background then */
	sigprocmask(SIG_SETMASK, &all, NULL);
	fd_close_except(keep, sizeof(keep) / sizeof(keep[0]));
	if (fd_read_full(fd, &byte, 1) == 0 && tcgetattr(STDIN_FILENO, &now) == 0 && same_modes(&now, &raw))
		tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
	_exit(0);
}

/** start_watcher() - Without one the terminal stays raw after a kill by force, no more. */
static void start_watcher(void)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return;
	watcher = fork();
	if (watcher == 0) {
		close(ends[1]);
		watch(ends[0]);
	}
	close(ends[0]);
	watcher_fd = ends[1];
}

void terminal_restore(void)
{
	if (is_raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
	is_raw = false;
	if (watcher_fd < 0)
		return;
	(void)!write(watcher_fd, "", 1);
	fd_close(&watcher_fd);
	while (watcher > 0 && waitpid(watcher, NULL, 0) < 0 && errno == EINTR)
		;
}

void terminal_make_raw(void)
{
	if (tcgetattr(STDIN_FILENO, &saved) < 0)
		return;
	raw = saved;
	cfmakeraw(&raw);
	start_watcher();
	if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0) {
		is_raw = true;
		atexit(terminal_restore);
	}
}
