/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/engine.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/macros.h"

#define LOAD_ARGS_FIXED 8 /* program, load, --quiet, home, path, end, and room */

int engine_load(const struct engine_paths *paths, const char *path, const char *const *tags, size_t tag_count,
		bool quiet, struct error *err)
{
	_cleanup_(freep) const char **argv = calloc(LOAD_ARGS_FIXED + 2 * tag_count, sizeof(*argv));
	size_t n = 0;
	sigset_t none;
	int status;
	pid_t pid;

	if (!argv)
		return err_set(err, ERR_NO_MEMORY, 0, "load: out of memory");
	if (!paths->helper[0]) {
		err_set(err, ERR_NOT_FOUND, 0, "msb-image, the program that reads images, is not beside msb");
		return err_hint(err, "copy msb-image next to msb, or run scripts/setup.sh again");
	}
	argv[n++] = paths->helper;
	argv[n++] = "load";
	if (quiet)
		argv[n++] = "--quiet";
	for (size_t i = 0; i < tag_count; i++) {
		argv[n++] = "--tag";
		argv[n++] = tags[i];
	}
	argv[n++] = paths->home;
	if (path)
		argv[n++] = path;
	pid = fork();
	if (pid < 0)
		return err_set(err, ERR_SYSTEM, errno, "fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		execv(paths->helper, (char *const *)argv);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_set(err, ERR_SYSTEM, errno, "wait for %s", paths->helper);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) != 1) {
		if (WEXITSTATUS(status) == 127)
			err_set(err, ERR_SYSTEM, 0, "%s cannot be started", paths->helper);
		else
			err_set(err, ERR_SYSTEM, 0, "%s ended with status %d", paths->helper, WEXITSTATUS(status));
		return err_hint(err, "it must be of the same build as msb: copy both, or run scripts/setup.sh again");
	}
	if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGINT || WTERMSIG(status) == SIGTERM))
		return err_set(err, ERR_CANCELLED, 0, "load was interrupted; nothing was kept");
	if (WIFSIGNALED(status)) {
		err_set(err, ERR_INTERNAL, 0, "msb-image was ended by signal %d (%s); nothing was kept",
			WTERMSIG(status), strsignal(WTERMSIG(status)));
		return err_hint(err, "see whether a limit did it: ulimit -a, or dmesg when memory ran out");
	}
	/* The helper has printed its own error; an empty text tells the caller not to print a second one. */
	err_set(err, ERR_INVALID, 0, "%s", "");
	return -(int)ERR_INVALID;
}
