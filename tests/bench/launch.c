/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
/*
 * launch TIMELINE PROGRAM ARG... - Run a program and append to TIMELINE the moments only its parent sees: "exec" just
 * before it starts, "first output" of its standard output, "exit". Same format as base/timeline.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

int main(int argc, char **argv)
{
	long long start, first = 0, end;
	char chunk[4096];
	int out[2], status;
	ssize_t n;
	FILE *f;
	pid_t pid;

	if (argc < 3 || pipe2(out, O_CLOEXEC) < 0)
		return 2;
	start = now();
	pid = fork();
	if (pid == 0) {
		dup2(out[1], 1);
		execv(argv[2], argv + 2);
		_exit(127);
	}
	close(out[1]);
	while ((n = read(out[0], chunk, sizeof(chunk))) > 0 || (n < 0 && errno == EINTR)) {
		if (!first)
			first = now();
		if (write(1, chunk, (size_t)n) < 0)
			return 2;
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 2;
	end = now();
	f = fopen(argv[1], "a");
	if (!f)
		return 2;
	fprintf(f, "%lld exec\n%lld first output\n%lld exit\n", start, first, end);
	fclose(f);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
