/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting a command: identity, directory, environment, pipes or a pseudo-terminal, then fork and execve. Why it did
 * not start comes back from the child over a pipe that a successful execve closes.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <pty.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/fd.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#ifndef AGENT_SCRIPTS
#define AGENT_SCRIPTS "/.msb/scripts" /* the unit test has a place of its own */
#endif

/** env_find() - Value of a key in a list. */
static const char *env_find(char *const *env, const char *key)
{
	size_t n = strlen(key);

	for (; *env; env++)
		if (strncmp(*env, key, n) == 0 && (*env)[n] == '=')
			return *env + n + 1;
	return NULL;
}

/** env_merge() - Later entries of a key win. */
static void env_merge(char **env, size_t *count, const struct msg_strings *more)
{
	for (uint32_t i = 0; i < more->count; i++) {
		size_t key = strcspn(more->item[i], "="), j;

		for (j = 0; j < *count; j++)
			if (strncmp(env[j], more->item[i], key) == 0 && env[j][key] == '=')
				break;
		env[j] = (char *)(uintptr_t)more->item[i];
		if (j == *count)
			(*count)++;
	}
}

/** What the child needs; made before the fork. */
struct launch {
	const struct msg_exec *exec;
	struct user user;
	char cwd[4096];
	char **env, **argv;
	char home[300];
	char *path;	  /* owned: "PATH=..." with the scripts in front */
	int in, out, err; /* child's ends */
	int report;	  /* CLOEXEC pipe: a struct failure comes back when execve did not happen */
};

/** child_fail() - Report and leave. */
static _Noreturn void child_fail(const struct launch *l, enum msg_failure kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static _Noreturn void child_fail(const struct launch *l, enum msg_failure kind, const char *fmt, ...)
{
	struct failure f = { .kind = kind, .sys_errno = errno };
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f.text, sizeof(f.text), fmt, ap);
	va_end(ap);
	if (write(l->report, &f, sizeof(f)) < 0)
		_exit(126);
	_exit(127);
}

/** explain_exec() - What the errno of a failed execve means for the user. Returns only when the file was not there. */
static void explain_exec(const struct launch *l, const char *path, int saved)
{
	struct stat st;

	if (stat(path, &st) < 0) {
		if (errno != EACCES)
			return;
		child_fail(l, MSG_FAIL_NOT_EXECUTABLE, "%s cannot be executed", path);
	}
	errno = saved;
	if (errno == ENOENT)
		child_fail(l, MSG_FAIL_NOT_FOUND, "%s: its interpreter is not in the image", path);
	if (S_ISDIR(st.st_mode)) {
		errno = EISDIR;
		child_fail(l, MSG_FAIL_NOT_EXECUTABLE, "%s cannot be executed", path);
	}
	if (errno == ENOMEM || errno == E2BIG)
		child_fail(l, errno == ENOMEM ? MSG_FAIL_NO_MEMORY : MSG_FAIL_BAD_ARGS, "%s cannot be executed", path);
	child_fail(l, MSG_FAIL_NOT_EXECUTABLE, "%s cannot be executed", path);
}

/** search_path() - argv[0] without a slash along PATH; what may not be executed is passed over, but remembered. */
static void search_path(const struct launch *l)
{
	const char *path = env_find(l->env, "PATH");
	char file[PATH_MAX], denied[PATH_MAX] = "";
	struct stat st;

	while (path && *path) {
		size_t n = strcspn(path, ":");

		if (n && snprintf(file, sizeof(file), "%.*s/%s", (int)n, path, l->argv[0]) < (int)sizeof(file)) {
			execve(file, l->argv, l->env);
			if (errno != EACCES)
				explain_exec(l, file, errno);
			else if (!denied[0] && stat(file, &st) == 0)
				memcpy(denied, file, sizeof(denied));
		}
		path += n + (path[n] == ':');
	}
	if (denied[0])
		explain_exec(l, denied, EACCES);
}

/** child() - Become the command. */
static _Noreturn void child(const struct launch *l)
{
	const struct msg_exec *m = l->exec;
	sigset_t none;

	setsid();
	if (m->tty && ioctl(l->in, TIOCSCTTY, 0) < 0)
		child_fail(l, MSG_FAIL_PTY, "controlling terminal");
	dup2(l->in, 0);
	dup2(l->out, 1);
	dup2(l->err, 2);
	for (uint32_t i = 0; i < m->rlimit_count; i++) {
		struct rlimit r = { .rlim_cur = m->rlimits[i].soft, .rlim_max = m->rlimits[i].hard };
		uint64_t resource = m->rlimits[i].resource;

		if (setrlimit((int)resource, &r) < 0)
			child_fail(l, MSG_FAIL_RLIMIT, "--rlimit %s: soft %llu, hard %llu",
				   resource < MSG_RLIMIT_NAMES ? msg_rlimit_names[resource] : "unknown",
				   (unsigned long long)r.rlim_cur, (unsigned long long)r.rlim_max);
	}
	/* As root: a directory that its user cannot search may still be the working directory. */
	if (chdir(l->cwd) < 0)
		child_fail(l, MSG_FAIL_BAD_CWD, "working directory %s", l->cwd);
	if (defaults.restricted &&
	    (prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0))
		child_fail(l, MSG_FAIL_OTHER, "give up privileges");
	if (setgroups(l->user.group_count, l->user.groups) < 0 || setgid(l->user.gid) < 0 || setuid(l->user.uid) < 0)
		child_fail(l, MSG_FAIL_BAD_USER, "become uid %u", l->user.uid);
	handoff_reset_child();
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	umask(022);
	if (strchr(l->argv[0], '/')) {
		execve(l->argv[0], l->argv, l->env);
		explain_exec(l, l->argv[0], errno);
	} else {
		search_path(l);
	}
	errno = 0;
	child_fail(l, MSG_FAIL_NOT_FOUND, "%s: not found%s", l->argv[0], strchr(l->argv[0], '/') ? "" : " in PATH");
}

/** plumb() - Pipes or a pty: our ends go out, the child's are the launch's. */
static bool plumb(struct launch *l, struct launched *out, struct failure *f)
{
	const struct msg_exec *m = l->exec;
	int p[2];

	if (m->tty) {
		struct winsize size = { .ws_row = (unsigned short)(m->rows ? m->rows : 24),
					.ws_col = (unsigned short)(m->cols ? m->cols : 80) };
		int master, slave;

		if (openpty(&master, &slave, NULL, NULL, &size) < 0)
			return fail(f, MSG_FAIL_PTY, errno, "pseudo-terminal");
		fcntl(master, F_SETFD, FD_CLOEXEC);
		fcntl(slave, F_SETFD, FD_CLOEXEC);
		if (fchown(slave, l->user.uid, (gid_t)-1) < 0)
			dprintf(2, "agent: chown pty: %s\n", strerror(errno));
		fd_set_nonblock(master, true);
		out->out_fd[0] = out->stdin_fd = master;
		l->in = l->out = l->err = slave;
		return true;
	}
	for (int i = 0; i < OUT_PIPES; i++) {
		if (pipe2(p, O_CLOEXEC) < 0)
			return fail(f, MSG_FAIL_OTHER, errno, "pipe");
		fd_set_nonblock(p[0], true);
		out->out_fd[i] = p[0];
		*(i == 0 ? &l->out : &l->err) = p[1];
		/* /dev/stdout must be usable by the command's user. */
		if (fchown(p[1], l->user.uid, (gid_t)-1) < 0)
			dprintf(2, "agent: chown pipe: %s\n", strerror(errno));
	}
	if (!m->stdin_open) {
		l->in = open("/dev/null", O_RDONLY | O_CLOEXEC);
		return l->in >= 0 || fail(f, MSG_FAIL_OTHER, errno, "/dev/null");
	}
	if (pipe2(p, O_CLOEXEC) < 0)
		return fail(f, MSG_FAIL_OTHER, errno, "pipe");
	fd_set_nonblock(p[1], true);
	out->stdin_fd = p[1];
	l->in = p[0];
	return true;
}

/** lead_path() - The folder of the sandbox's scripts comes first in PATH, when there is one. */
static bool lead_path(struct launch *l)
{
	const char *path = env_find(l->env, "PATH");
	struct stat st;
	char **at = l->env;

	if (stat(AGENT_SCRIPTS, &st) < 0 || !S_ISDIR(st.st_mode))
		return true;
	while (*at + 5 != path)
		at++;
	if (asprintf(&l->path, "PATH=%s:%s", AGENT_SCRIPTS, path) < 0)
		return false;
	*at = l->path;
	return true;
}

/** prepare() - Identity, directory, environment. */
static bool prepare(struct launch *l, struct failure *f)
{
	const struct msg_exec *m = l->exec;
	size_t n = 0;

	if (m->argv.count == 0 || !m->argv.item[0][0])
		return fail(f, MSG_FAIL_BAD_ARGS, 0, "empty command");
	if (!user_resolve(m->user ? m->user : defaults.user, &l->user, f))
		return false;
	snprintf(l->cwd, sizeof(l->cwd), "%s", m->cwd ? m->cwd : defaults.workdir);
	l->env = calloc(2 * (size_t)MSG_STRINGS_MAX + 8, sizeof(char *));
	l->argv = calloc((size_t)m->argv.count + 1, sizeof(char *));
	if (!l->env || !l->argv)
		return fail(f, MSG_FAIL_NO_MEMORY, 0, "out of memory");
	for (uint32_t i = 0; i < m->argv.count; i++)
		l->argv[i] = (char *)(uintptr_t)m->argv.item[i];
	env_merge(l->env, &n, &defaults.env);
	env_merge(l->env, &n, &m->env);
	if (!env_find(l->env, "HOME")) {
		snprintf(l->home, sizeof(l->home), "HOME=%s", l->user.home);
		l->env[n++] = l->home;
	}
	if (!env_find(l->env, "PATH"))
		l->env[n++] = (char *)(uintptr_t) "PATH=" DEFAULT_PATH;
	if (m->tty && !env_find(l->env, "TERM"))
		l->env[n++] = (char *)(uintptr_t) "TERM=xterm";
	return lead_path(l) || fail(f, MSG_FAIL_NO_MEMORY, 0, "out of memory");
}

/** spawn() - Fork and wait for execve's outcome. A child that failed is reaped like an orphan. */
static bool spawn(struct launch *l, pid_t *pid, struct failure *f)
{
	int report[2];
	ssize_t n;

	if (pipe2(report, O_CLOEXEC) < 0)
		return fail(f, MSG_FAIL_OTHER, errno, "pipe");
	l->report = report[1];
	*pid = fork();
	if (*pid == 0)
		child(l);
	close(report[1]);
	if (*pid < 0) {
		close(report[0]);
		return fail(f, MSG_FAIL_NO_MEMORY, errno, "fork");
	}
	do
		n = read(report[0], f, sizeof(*f));
	while (n < 0 && errno == EINTR);
	close(report[0]);
	return n == 0;
}

bool launch_command(const struct msg_exec *exec, struct launched *out, struct failure *f)
{
	struct launch l = { .exec = exec, .in = -1, .out = -1, .err = -1 };
	bool ok;

	*out = (struct launched){ .stdin_fd = -1, .out_fd = { -1, -1 } };
	ok = prepare(&l, f) && plumb(&l, out, f) && spawn(&l, &out->pid, f);
	if (!ok) {
		if (out->stdin_fd != out->out_fd[0])
			fd_close(&out->stdin_fd);
		for (int i = 0; i < OUT_PIPES; i++)
			fd_close(&out->out_fd[i]);
	}
	if (l.err != l.out)
		fd_close(&l.err);
	if (l.out != l.in)
		fd_close(&l.out);
	fd_close(&l.in);
	free(l.path);
	free(l.env);
	free(l.argv);
	return ok;
}
