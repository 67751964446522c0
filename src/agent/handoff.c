/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --init: the image's init becomes PID 1 and the agent goes on as a process beside it. What init starts is init's: at
 * the end the agent asks it to power off, and does so itself only when the grace is over (stop.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/fd.h"
#include "base/macros.h"

#define SYSTEMD_POWEROFF (34 + 4) /* its SIGRTMIN+4, as counted by glibc */

static bool handed_off;

/** is_program() - A file that root can execute. */
static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111);
}

/** find_init() - The path of the program, or NULL. */
static const char *find_init(const char *spec, struct failure *f)
{
	static const char *const known[] = { "/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd" };

	if (strcmp(spec, "auto") != 0) {
		if (spec[0] == '/' && is_program(spec))
			return spec;
		fail(f, MSG_FAIL_NOT_FOUND, 0, "--init %.150s: there is no such program in the image", spec);
		return NULL;
	}
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (is_program(known[i]))
			return known[i];
	fail(f, MSG_FAIL_NOT_FOUND, 0, "--init auto: the image has none of /sbin/init and systemd");
	return NULL;
}

/** become() - PID 1 is init from here on. Returns only when that failed, with errno. */
static void become(const char *path, const struct msg_boot *boot)
{
	static const char *argv[MSG_STRINGS_MAX + 2], *env[MSG_STRINGS_MAX + 4];
	size_t n = 0;
	sigset_t none;

	argv[0] = path;
	memcpy(argv + 1, boot->init_args.item, boot->init_args.count * sizeof(argv[0]));
	env[n++] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	env[n++] = "HOME=/";
	env[n++] = "TERM=linux";
	memcpy(env + n, boot->init_env.item, boot->init_env.count * sizeof(env[0]));
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(path, (char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)env);
}

/** go_on() - The agent's life as an ordinary process: memory shortage and a killing init shall spare it. */
static void go_on(char *name)
{
	static const char never[] = "-1000";
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, never, sizeof(never) - 1) < 0)
		dprintf(2, "agent: oom_score_adj: %s\n", strerror(errno));
	fd_close(&fd);
	setsid();
	prctl(PR_SET_NAME, "msb-agent");
	name[0] = '@'; /* systemd leaves such processes alone until the end */
	signal(SIGTERM, SIG_IGN);
	handed_off = true;
}

bool handoff(const struct msg_boot *boot, char *name, struct failure *f)
{
	const char *path = find_init(boot->init, f);
	int report[2], why = 0;
	ssize_t n;
	pid_t pid;

	if (!path)
		return false;
	if (pipe2(report, O_CLOEXEC) < 0)
		return fail(f, MSG_FAIL_OTHER, errno, "pipe");
	pid = fork();
	if (pid < 0)
		return fail(f, MSG_FAIL_NO_MEMORY, errno, "fork");
	if (pid > 0) {
		become(path, boot);
		if (write(report[1], &errno, sizeof(errno)) == sizeof(errno))
			close(report[1]);
		for (;;) /* the child reports; the host ends the machine */
			pause();
	}
	close(report[1]);
	do
		n = read(report[0], &why, sizeof(why));
	while (n < 0 && errno == EINTR);
	close(report[0]);
	go_on(name);
	return n == 0 || fail(f, MSG_FAIL_NOT_EXECUTABLE, why, "--init %.150s", path);
}

bool handoff_done(void)
{
	return handed_off;
}

void handoff_ask_off(void)
{
	char path[256];
	ssize_t n = readlink("/proc/1/exe", path, sizeof(path) - 1);
	const char *name;

	path[MAX(n, 0)] = '\0';
	name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	if (strncmp(name, "systemd", 7) == 0)
		kill(1, SYSTEMD_POWEROFF);
	else if (strcmp(name, "busybox") == 0)
		kill(1, SIGUSR2);
	else
		kill(1, SIGTERM);
}

void handoff_reset_child(void)
{
	static const char usual[] = "0";
	int fd = handed_off ? open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC) : -1;

	if (fd >= 0 && write(fd, usual, sizeof(usual) - 1) < 0)
		dprintf(2, "agent: oom_score_adj: %s\n", strerror(errno));
	fd_close(&fd);
	signal(SIGTERM, SIG_DFL);
}
