/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of the machine, played by a process that is PID 1 of a namespace of its own: as root only.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#undef fail /* the agent has a function of this name */

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/clock.h"
#include "base/fd.h"

#define LIMIT_SEC 20
#define GRACE_NS (10000 * NSEC_PER_MSEC)
#define SOON_MS 5000 /* long before that, even on a busy machine */

/** What the machine did, seen from outside of it. */
static struct seen {
	unsigned int frozen, goodbyes, hang_ups, talks_left, terms, asked;
	bool init; /* somebody else is PID 1 */
	int64_t from_ns, off_ns;
} *seen;

/** off() - In place of reboot(). */
static int off(int how)
{
	seen->off_ns = clock_monotonic_ns();
	_exit(how == RB_POWER_OFF ? 42 : 43);
}

#define reboot off
#include "agent/stop.c"
#undef reboot

static int ready[2]; /* a byte when a process of the machine is what the test wants */

void root_freeze(void)
{
	seen->frozen++;
}

void say_goodbye(void)
{
	seen->goodbyes += seen->frozen; /* not before */
}

bool sessions_talk(void)
{
	return seen->talks_left > 0;
}

void sessions_signal(int number)
{
	if (number == SIGTERM)
		seen->terms++;
}

bool handoff_done(void)
{
	return seen->init;
}

void handoff_ask_off(void)
{
	seen->asked++;
}

void sessions_hang_up(void)
{
	seen->hang_ups++;
}

/** on_children() - What the agent's main.c does. */
static void on_children(void *arg, uint32_t events)
{
	struct signalfd_siginfo info;

	(void)events;
	while (read(*(int *)arg, &info, sizeof(info)) > 0)
		;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	stop_progress();
}

struct machine {
	const char *process;	   /* a shell's script, NULL: none; it writes a line when it is ready */
	int64_t grace_ns, then_ns; /* of the second SHUTDOWN, 0: none */
	unsigned int talks;
	bool init;
};

static struct loop *machine_loop;

/** on_second() - Another SHUTDOWN. */
static void on_second(void *arg, uint32_t events)
{
	(void)events;
	stop_begin(machine_loop, ((const struct machine *)arg)->then_ns);
}

/** pid_one() - The machine. */
static _Noreturn void pid_one(const struct machine *m)
{
	static int signals;
	sigset_t chld;
	int second;
	char byte;

	alarm(LIMIT_SEC);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	signals = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
	machine_loop = loop_new(NULL);
	second = loop_timer(machine_loop, on_second, (void *)(uintptr_t)m, NULL);
	if (second < 0 || loop_add(machine_loop, signals, EPOLLIN, on_children, &signals, NULL) < 0)
		_exit(99);
	if (m->process && fork() == 0) {
		sigprocmask(SIG_UNBLOCK, &chld, NULL);
		dup2(ready[1], 1);
		execlp("sh", "sh", "-c", m->process, NULL);
		_exit(98);
	}
	if (m->process && read(ready[0], &byte, 1) != 1)
		_exit(97);
	seen->talks_left = m->talks;
	seen->init = m->init;
	if (m->then_ns)
		loop_timer_set(machine_loop, second, 100 * NSEC_PER_MSEC);
	seen->from_ns = clock_monotonic_ns();
	stop_begin(machine_loop, m->grace_ns);
	loop_run(machine_loop, NULL);
	_exit(96);
}

/** stop_takes() - Boot this machine, stop it. Return: milliseconds that took. */
static int64_t stop_takes(const struct machine *m)
{
	int status, code;
	pid_t pid;

	memset(seen, 0, sizeof(*seen));
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		pid_t one = unshare(CLONE_NEWPID) == 0 ? fork() : -1;

		if (one == 0)
			pid_one(m);
		_exit(one > 0 && waitpid(one, &status, 0) == one && WIFEXITED(status) ? WEXITSTATUS(status) : 95);
	}
	close(ready[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(ready[0]);
	code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	assert_int_equal(code, 42);
	assert_true(seen->frozen == 1 && seen->goodbyes == 1);
	assert_int_equal(seen->hang_ups, 1);
	return (seen->off_ns - seen->from_ns) / NSEC_PER_MSEC;
}

static int begin(void **state)
{
	(void)state;
	seen = mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return seen == MAP_FAILED;
}

/** need_root() - For the namespace. */
static void need_root(void)
{
	if (geteuid() != 0)
		skip();
}

#define STUBBORN "trap '' TERM; echo; while :; do sleep 1; done"

static void nobody_is_waited_for(void **state)
{
	(void)state;
	need_root();
	assert_true(stop_takes(&(struct machine){ .grace_ns = GRACE_NS }) < SOON_MS);
	assert_true(stop_takes(&(struct machine){ .process = "echo; sleep 100", .grace_ns = GRACE_NS }) < SOON_MS);
}

static void who_needs_time_gets_it(void **state)
{
	const struct machine m = {
		.process = "trap 'sleep 0.5; echo > $TMP_FILE; exit' TERM; echo; while :; do sleep 0.1; done",
		.grace_ns = GRACE_NS
	};
	char path[] = "/tmp/test-agent-stop-XXXXXX";
	struct stat st;
	int64_t ms;

	(void)state;
	need_root();
	close(mkstemp(path));
	setenv("TMP_FILE", path, 1);
	ms = stop_takes(&m);
	assert_int_equal(stat(path, &st), 0);
	unlink(path);
	assert_int_equal(st.st_size, 1);
	assert_in_range(ms, 500, SOON_MS);
}

static void who_does_not_end_is_killed(void **state)
{
	(void)state;
	need_root();
	assert_in_range(stop_takes(&(struct machine){ .process = STUBBORN, .grace_ns = 700 * NSEC_PER_MSEC }), 700,
			SOON_MS);
	assert_true(stop_takes(&(struct machine){ .process = STUBBORN, .grace_ns = 0 }) < SOON_MS);
}

static void a_stopped_process_ends_in_order(void **state)
{
	const struct machine m = { .process = "echo; kill -STOP $$", .grace_ns = GRACE_NS };

	(void)state;
	need_root();
	assert_true(stop_takes(&m) < SOON_MS);
}

static void a_second_shutdown_shortens(void **state)
{
	struct machine m = { .process = STUBBORN, .grace_ns = GRACE_NS, .then_ns = 300 * NSEC_PER_MSEC };

	(void)state;
	need_root();
	assert_in_range(stop_takes(&m), 400, SOON_MS);
	m.grace_ns = 300 * NSEC_PER_MSEC; /* but does not lengthen */
	m.then_ns = GRACE_NS;
	assert_in_range(stop_takes(&m), 300, SOON_MS);
}

static void a_host_that_does_not_read_is_not_waited_for_long(void **state)
{
	const struct machine m = { .grace_ns = GRACE_NS, .talks = 1 };
	const int64_t last_words_ms = LAST_WORDS_GRACE_NS / NSEC_PER_MSEC;

	(void)state;
	need_root();
	assert_in_range(stop_takes(&m), last_words_ms, SOON_MS);
}

static void init_has_the_whole_grace(void **state)
{
	(void)state;
	need_root();
	assert_in_range(stop_takes(&(struct machine){ .init = true, .grace_ns = 700 * NSEC_PER_MSEC }), 700, SOON_MS);
	assert_true(seen->asked == 1 && seen->terms == 1);
	assert_true(stop_takes(&(struct machine){ .grace_ns = GRACE_NS }) < SOON_MS);
	assert_true(seen->asked == 0 && seen->terms == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_is_waited_for),
		cmocka_unit_test(who_needs_time_gets_it),
		cmocka_unit_test(who_does_not_end_is_killed),
		cmocka_unit_test(a_stopped_process_ends_in_order),
		cmocka_unit_test(a_second_shutdown_shortens),
		cmocka_unit_test(a_host_that_does_not_read_is_not_waited_for_long),
		cmocka_unit_test(init_has_the_whole_grace),
	};

	return cmocka_run_group_tests(tests, begin, NULL);
}
