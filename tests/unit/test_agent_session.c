/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's sessions over a socket pair, in a process that plays PID 1. As root only: a session sets its identity.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#undef fail /* the agent has a function of this name */

#include <errno.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

static char scripts[] = "/tmp/test-scripts-XXXXXX";
#define AGENT_SCRIPTS scripts

#include "agent/files.c"
#include "agent/launch.c"
#include "agent/places.c"
#include "agent/session.c"

#define TIMEOUT_SEC 10

struct defaults defaults = { .workdir = "/" };
static int host = -1;
static pid_t engine;
static struct buf in;
static struct buf text[2];
static struct msg_exec request;
static size_t used; /* by the frame that next() returned last */

bool fail(struct failure *f, enum msg_failure kind, int sys_errno, const char *fmt, ...)
{
	va_list ap;

	f->kind = kind;
	f->sys_errno = sys_errno;
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
	return false;
}

void handoff_reset_child(void)
{
}

bool user_resolve(const char *spec, struct user *out, struct failure *f)
{
	*out = (struct user){ .home = "/here" };
	return !spec || strcmp(spec, "nobody-such") != 0 || fail(f, MSG_FAIL_BAD_USER, 0, "no such user");
}

static bool stopping;
static unsigned int oom_rises; /* how often the count of OOM kills rises when it is looked at */

void stop_progress(void)
{
}

bool stop_active(void)
{
	return stopping;
}

bool stats_disk_full(void)
{
	return false;
}

uint64_t stats_oom_kills(void)
{
	static uint64_t kills = 5;

	if (oom_rises) {
		oom_rises--;
		kills++;
	}
	return kills;
}

/** on_children() - What the agent's main.c does. */
static void on_children(void *arg, uint32_t events)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	(void)events;
	while (read(*(int *)arg, &info, sizeof(info)) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		session_reap(pid, status);
	if (!sessions)
		_exit(0);
}

/** on_tick() - Leave when the session was freed. */
static void on_tick(void *arg, uint32_t events)
{
	(void)events;
	if (!sessions)
		_exit(0);
	loop_timer_set(arg, 0, 10 * NSEC_PER_MSEC);
}

/** serve() - The engine's process. */
static _Noreturn void serve(int sock)
{
	static int signals;
	struct loop *loop = loop_new(NULL);
	sigset_t chld;
	int timer;

	alarm(2 * TIMEOUT_SEC);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	signals = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
	timer = loop_timer(loop, on_tick, loop, NULL);
	if (timer != 0 || loop_add(loop, signals, EPOLLIN, on_children, &signals, NULL) < 0)
		_exit(99);
	loop_timer_set(loop, timer, 10 * NSEC_PER_MSEC);
	session_accept(loop, sock);
	loop_run(loop, NULL);
	_exit(98);
}

static uint64_t unacked;  /* bytes of stdin under way */
static bool only_window; /* next() returns after a FRAME_STDIN_TAKEN */

static int begin(void **state)
{
	struct timeval limit = { .tv_sec = TIMEOUT_SEC };
	int pair[2];

	(void)state;
	if (geteuid() != 0)
		return 0;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	fd_set_nonblock(pair[1], true);
	engine = fork();
	assert_true(engine >= 0);
	if (engine == 0) {
		close(pair[0]);
		serve(pair[1]);
	}
	close(pair[1]);
	host = pair[0];
	setsockopt(host, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	in = (struct buf)BUF_INIT(MIB(4));
	used = 0;
	text[0] = text[1] = (struct buf)BUF_INIT(MIB(16));
	unacked = 0;
	memset(&request, 0, sizeof(request));
	return 0;
}

static int finish(void **state)
{
	int status = 0;

	(void)state;
	if (geteuid() != 0)
		return 0;
	close(host);
	buf_free(&in);
	buf_free(&text[0]);
	buf_free(&text[1]);
	waitpid(engine, &status, 0);
	return !WIFEXITED(status) || WEXITSTATUS(status) != 0; /* no crash, session freed when the host left */
}

/** need_root() - Sessions change identity. */
static void need_root(void)
{
	if (geteuid() != 0)
		skip();
}

/** tell() - One frame to the engine. */
static void tell(enum frame_type type, const void *body, size_t n)
{
	struct buf b = BUF_INIT(MIB(2));

	assert_true(frame_append(&b, (uint16_t)type, 1, body, n));
	assert_int_equal(send(host, b.data, b.len, MSG_NOSIGNAL), (ssize_t)b.len);
	buf_free(&b);
}

/** run() - Ask for a command: words until NULL. */
static void run(const char *first, ...)
{
	struct buf body = BUF_INIT(FRAME_BODY_MAX);
	va_list ap;

	va_start(ap, first);
	for (const char *word = first; word; word = va_arg(ap, const char *))
		request.argv.item[request.argv.count++] = word;
	va_end(ap);
	assert_true(msg_encode_exec(&body, &request));
	tell(FRAME_EXEC, body.data, body.len);
	buf_free(&body);
}

/**
 * next() - The next frame that is neither output, which is collected, nor of stdin's window, unless only_window. Its
 * body is valid until the next call.
 */
static struct frame next(void)
{
	struct frame f;

	buf_consume(&in, used);
	for (used = 0;;) {
		enum frame_result r = frame_parse(in.data, in.len, &f, &used);
		uint8_t chunk[8192];
		ssize_t n;

		assert_int_not_equal(r, FRAME_BAD);
		if (r == FRAME_OK && f.type == FRAME_STDIN_TAKEN) {
			struct msg_taken m;

			assert_true(msg_decode_taken(f.body, f.body_len, &m) && m.bytes <= unacked);
			unacked -= m.bytes;
			buf_consume(&in, used);
			used = 0;
			if (only_window)
				return (struct frame){ 0 };
			continue;
		}
		if (r == FRAME_OK && f.type != FRAME_STDOUT && f.type != FRAME_STDERR)
			return f;
		if (r == FRAME_OK) {
			assert_true(buf_append(&text[f.type == FRAME_STDERR], f.body, f.body_len));
			buf_consume(&in, used);
			used = 0;
			continue;
		}
		used = 0;
		n = recv(host, chunk, sizeof(chunk), 0);
		/* Reset: the session was closed before it had read all that was sent. */
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return (struct frame){ 0 };
		assert_true(n > 0);
		buf_append(&in, chunk, (size_t)n);
	}
}

/** tell_stdin() - As much as the window takes now; the rest as it opens. */
static void tell_stdin(const void *p, size_t n)
{
	while (unacked + n > STDIN_WINDOW) {
		only_window = true;
		assert_int_equal(next().type, 0);
		only_window = false;
	}
	unacked += n;
	tell(FRAME_STDIN, p, n);
}

/** started() - The command runs. */
static pid_t started(void)
{
	struct frame f = next();
	struct msg_started m;

	assert_int_equal(f.type, FRAME_STARTED);
	assert_true(msg_decode_started(f.body, f.body_len, &m));
	return (pid_t)m.pid;
}

/** exited() - It ended like this, and nothing comes after. */
static void exited(bool signaled, int code)
{
	struct frame f = next();
	struct msg_exited m;

	assert_int_equal(f.type, FRAME_EXITED);
	assert_true(msg_decode_exited(f.body, f.body_len, &m));
	assert_int_equal(m.signaled, signaled);
	assert_int_equal(m.code, code);
	assert_int_equal(next().type, 0);
}

/** failed() - It could not be started. */
static void failed(enum msg_failure kind, const char *words)
{
	struct frame f = next();
	struct msg_failed m;

	assert_int_equal(f.type, FRAME_EXEC_FAILED);
	assert_true(msg_decode_failed(f.body, f.body_len, &m));
	assert_int_equal(m.kind, kind);
	assert_non_null(strstr(m.text, words));
	assert_int_equal(next().type, 0);
}

static void output_and_code(void **state)
{
	(void)state;
	need_root();
	request.env.item[request.env.count++] = "X=1";
	request.env.item[request.env.count++] = "X=2";
	request.cwd = "/usr";
	run("sh", "-c", "echo $X $HOME $PWD; echo err >&2; exit 7", NULL);
	started();
	exited(false, 7);
	assert_string_equal(buf_cstr(&text[0]), "2 /here /usr\n");
	assert_string_equal(buf_cstr(&text[1]), "err\n");
}

static void failures_have_kinds(void **state)
{
	static const struct {
		const char *program, *cwd, *user, *words;
		enum msg_failure kind;
	} cases[] = {
		{ "no-such-program", NULL, NULL, "not found in PATH", MSG_FAIL_NOT_FOUND },
		{ "/no/such/program", NULL, NULL, "not found", MSG_FAIL_NOT_FOUND },
		{ "/etc/passwd", NULL, NULL, "cannot be executed", MSG_FAIL_NOT_EXECUTABLE },
		{ "/etc", NULL, NULL, "cannot be executed", MSG_FAIL_NOT_EXECUTABLE },
		{ "true", "/no/such", NULL, "/no/such", MSG_FAIL_BAD_CWD },
		{ "true", NULL, "nobody-such", "user", MSG_FAIL_BAD_USER },
		{ "", NULL, NULL, "empty", MSG_FAIL_BAD_ARGS },
	};

	need_root();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		request.cwd = cases[i].cwd;
		request.user = cases[i].user;
		run(cases[i].program, NULL);
		failed(cases[i].kind, cases[i].words);
		finish(state);
		begin(state);
	}
}

static void missing_interpreter(void **state)
{
	char path[] = "/tmp/test-interpreter-XXXXXX";
	int fd;

	(void)state;
	need_root();
	fd = mkstemp(path);
	assert_true(fd >= 0 && write(fd, "#!/no/such/sh\n", 14) == 14 && fchmod(fd, 0755) == 0);
	close(fd);
	run(path, NULL);
	failed(MSG_FAIL_NOT_FOUND, "interpreter");
	unlink(path);
}

static void stdin_is_whole(void **state)
{
	static uint8_t block[FRAME_STREAM_MAX];

	(void)state;
	need_root();
	request.stdin_open = true;
	run("sh", "-c", "sleep 0.2; wc -c", NULL); /* the pipe fills first */
	started();
	for (int i = 0; i < 20; i++)
		tell_stdin(block, sizeof(block));
	tell(FRAME_STDIN_EOF, NULL, 0);
	exited(false, 0);
	assert_string_equal(buf_cstr(&text[0]), "1310720\n");
}

static void stdin_nobody_reads(void **state)
{
	static uint8_t block[FRAME_STREAM_MAX];

	(void)state;
	need_root();
	request.stdin_open = true;
	run("sh", "-c", "exec <&-; sleep 0.1; echo done", NULL);
	started();
	for (int i = 0; i < 10; i++)
		tell_stdin(block, sizeof(block));
	exited(false, 0);
	assert_string_equal(buf_cstr(&text[0]), "done\n");
}

static void output_waits_for_the_host(void **state)
{
	(void)state;
	need_root();
	run("sh", "-c", "head -c 8000000 /dev/zero", NULL);
	started();
	usleep(300000); /* the buffers are full by now: nothing may be lost */
	exited(false, 0);
	assert_int_equal(text[0].len, 8000000);
}

static void signals_reach_the_group(void **state)
{
	struct buf body = BUF_INIT(64);

	(void)state;
	need_root();
	run("sh", "-c", "sleep 100; true", NULL);
	started();
	msg_encode_signal(&body, &(struct msg_signal){ .number = SIGTERM });
	tell(FRAME_SIGNAL, body.data, body.len);
	buf_free(&body);
	exited(true, SIGTERM);
}

static void background_child_does_not_hold(void **state)
{
	int64_t from = clock_monotonic_ns();

	(void)state;
	need_root();
	run("sh", "-c", "(while echo y; do :; done) & echo $! >&2", NULL); /* which even writes */
	started();
	exited(false, 0);
	assert_true(clock_monotonic_ns() - from < 3000 * NSEC_PER_MSEC);
	assert_true(text[1].len > 0);
	kill((pid_t)strtol(buf_cstr(&text[1]), NULL, 10), SIGKILL);
}

/** until() - Read frames until the output has this word. */
static void until(const char *word)
{
	while (!text[0].data || !memmem(text[0].data, text[0].len, word, strlen(word))) {
		uint8_t chunk[4096];
		struct frame f;
		ssize_t n;

		buf_consume(&in, used);
		used = 0;
		if (frame_parse(in.data, in.len, &f, &used) == FRAME_OK) {
			assert_int_equal(f.type, FRAME_STDOUT);
			assert_true(buf_append(&text[0], f.body, f.body_len));
			continue;
		}
		used = 0;
		n = recv(host, chunk, sizeof(chunk), 0);
		assert_true(n > 0);
		buf_append(&in, chunk, (size_t)n);
	}
}

static void terminal(void **state)
{
	struct buf body = BUF_INIT(64);

	(void)state;
	need_root();
	request.tty = request.stdin_open = true;
	request.rows = 33;
	request.cols = 99;
	run("sh", "-c", "stty size; test -t 0 && echo $TERM; read x; stty size; cat; echo end", NULL);
	started();
	msg_encode_resize(&body, &(struct msg_resize){ .rows = 11, .cols = 22 });
	tell(FRAME_STDIN, "", 0);
	until("xterm");
	tell(FRAME_RESIZE, body.data, body.len);
	tell_stdin("\n", 1);
	tell(FRAME_STDIN_EOF, NULL, 0);
	buf_free(&body);
	exited(false, 0);
	assert_non_null(memmem(text[0].data, text[0].len, "33 99", 5));
	assert_non_null(memmem(text[0].data, text[0].len, "11 22", 5));
	assert_non_null(memmem(text[0].data, text[0].len, "end", 3));
}

static void limits_apply(void **state)
{
	(void)state;
	need_root();
	request.rlimit_count = 1;
	request.rlimits[0] = (struct msg_rlimit){ .resource = RLIMIT_NOFILE, .soft = 20, .hard = 20 };
	run("sh", "-c", "ulimit -n", NULL);
	started();
	exited(false, 0);
	assert_string_equal(buf_cstr(&text[0]), "20\n");
}

static void host_leaves(void **state)
{
	pid_t pid;

	(void)state;
	need_root();
	run("sleep", "100", NULL);
	pid = started();
	shutdown(host, SHUT_RDWR);
	for (int i = 0; i < 500 && kill(pid, 0) == 0; i++)
		usleep(10000);
	assert_int_equal(kill(pid, 0), -1);
}

static void host_leaves_behind_full_stdin(void **state)
{
	static uint8_t block[FRAME_STREAM_MAX];
	pid_t pid;

	(void)state;
	need_root();
	request.stdin_open = true;
	run("sleep", "100", NULL);
	pid = started();
	for (int i = 0; i < 3; i++)
		tell_stdin(block, sizeof(block));
	shutdown(host, SHUT_RDWR);
	for (int i = 0; i < 500 && kill(pid, 0) == 0; i++)
		usleep(10000);
	assert_int_equal(kill(pid, 0), -1);
}

static void signal_overtakes_full_stdin(void **state)
{
	static uint8_t block[FRAME_STREAM_MAX];
	struct buf body = BUF_INIT(64);

	(void)state;
	need_root();
	request.stdin_open = true;
	run("sleep", "100", NULL);
	started();
	for (int i = 0; i < STDIN_WINDOW / FRAME_STREAM_MAX; i++)
		tell(FRAME_STDIN, block, sizeof(block));
	unacked = STDIN_WINDOW;
	msg_encode_signal(&body, &(struct msg_signal){ .number = SIGTERM });
	tell(FRAME_SIGNAL, body.data, body.len);
	buf_free(&body);
	exited(true, SIGTERM);
}

static void more_than_the_window_closes(void **state)
{
	static uint8_t block[FRAME_STREAM_MAX];

	(void)state;
	need_root();
	request.stdin_open = true;
	run("sleep", "100", NULL);
	started();
	for (int i = 0; i < 2 * STDIN_WINDOW / FRAME_STREAM_MAX; i++) {
		struct buf b = BUF_INIT(MIB(1));

		frame_append(&b, FRAME_STDIN, 1, block, sizeof(block));
		(void)send(host, b.data, b.len, MSG_NOSIGNAL);
		buf_free(&b);
	}
	unacked = UINT32_MAX;
	assert_int_equal(next().type, 0);
}

static void nonsense_closes(void **state)
{
	static const uint8_t bad[FRAME_HEADER_SIZE] = { 0xff, 0xff, 0xff, 0xff };

	(void)state;
	need_root();
	assert_int_equal(send(host, bad, sizeof(bad), MSG_NOSIGNAL), (ssize_t)sizeof(bad));
	assert_int_equal(next().type, 0);
	finish(state);
	begin(state);
	tell(FRAME_STDIN, "x", 1); /* before EXEC */
	assert_int_equal(next().type, 0);
	finish(state);
	begin(state);
	tell(FRAME_EXEC, "not cbor", 8);
	failed(MSG_FAIL_BAD_ARGS, "bad request");
}

static void nothing_starts_while_stopping(void **state)
{
	static const enum frame_type copies[] = { FRAME_PUT, FRAME_GET };

	(void)state;
	need_root();
	finish(state);
	stopping = true;
	begin(state);
	run("true", NULL);
	failed(MSG_FAIL_STOPPING, "shutting down");
	for (size_t i = 0; i < ARRAY_LEN(copies); i++) {
		finish(state);
		begin(state);
		tell(copies[i], NULL, 0);
		failed(MSG_FAIL_STOPPING, "shutting down");
	}
	stopping = false;
}

static void restricted_sessions(void **state)
{
	(void)state;
	need_root();
	finish(state);
	defaults.restricted = true;
	begin(state);
	run("grep", "-E", "^(CapBnd|CapEff|NoNewPrivs)", "/proc/self/status", NULL);
	started();
	exited(false, 0);
	defaults.restricted = false;
	assert_non_null(strstr(buf_cstr(&text[0]), "NoNewPrivs:\t1"));
	for (const char *at = buf_cstr(&text[0]); (at = strstr(at, "Cap")); at++)
		assert_false(strtoull(strchr(at, ':') + 1, NULL, 16) & 1ULL << CAP_SYS_ADMIN);
}

static void scripts_lead_path(void **state)
{
	(void)state;
	need_root();
	finish(state);
	assert_non_null(mkdtemp(scripts));
	begin(state);
	request.env = (struct msg_strings){ 1, { "PATH=/usr/bin:/bin" } };
	run("sh", "-c", "echo $PATH", NULL);
	started();
	exited(false, 0);
	rmdir(scripts);
	assert_int_equal(strncmp(buf_cstr(&text[0]), scripts, strlen(scripts)), 0);
	assert_string_equal(buf_cstr(&text[0]) + strlen(scripts), ":/usr/bin:/bin\n");
}

/** oom_of() - What EXITED says of memory when the count rises so often and a shell does this. */
static bool oom_of(void **state, unsigned int rises, const char *command)
{
	struct msg_exited m;
	struct frame f;

	finish(state);
	oom_rises = rises; /* the first rise comes before the command */
	begin(state);
	oom_rises = 0;
	run("sh", "-c", command, NULL);
	started();
	f = next();
	assert_int_equal(f.type, FRAME_EXITED);
	assert_true(msg_decode_exited(f.body, f.body_len, &m));
	return m.oom;
}

static void memory_ran_out(void **state)
{
	(void)state;
	need_root();
	assert_true(oom_of(state, 2, "kill -9 $$"));
	assert_true(oom_of(state, 2, "exit 137")); /* a shell's way to say that its child was killed */
	assert_false(oom_of(state, 2, "exit 1"));
	assert_false(oom_of(state, 2, "kill -15 $$"));
	assert_false(oom_of(state, 1, "kill -9 $$"));
}

/** files_travel() - PUT on a session, GET on the next. */
static void files_travel(void **state)
{
	struct msg_put put = { .path = "/tmp", .name = strrchr(scripts, '/') + 1 };
	struct buf body = BUF_INIT(4096);
	struct msg_entry e;
	struct frame f;

	(void)state;
	need_root();
	assert_true(msg_encode_put(&body, &put));
	tell(FRAME_PUT, body.data, body.len);
	body.len = 0;
	assert_true(msg_encode_entry(&body, &(struct msg_entry){ .path = "", .mode = 0600, .size = 5 }));
	tell(FRAME_ENTRY, body.data, body.len);
	tell(FRAME_DATA, "hello", 5);
	tell(FRAME_END, NULL, 0);
	assert_int_equal(next().type, FRAME_DONE);
	finish(state);
	begin(state);
	body.len = 0;
	assert_true(msg_encode_get(&body, &(struct msg_get){ .path = scripts }));
	tell(FRAME_GET, body.data, body.len);
	f = next();
	unlink(scripts);
	assert_int_equal(f.type, FRAME_ENTRY);
	assert_true(msg_decode_entry(f.body, f.body_len, &e));
	assert_int_equal(e.size, 5);
	f = next();
	assert_int_equal(f.type, FRAME_DATA);
	assert_memory_equal(f.body, "hello", 5);
	assert_int_equal(next().type, FRAME_END);
	buf_free(&body);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, finish)
	const struct CMUnitTest tests[] = {
		T(output_and_code),	     T(failures_have_kinds),	T(missing_interpreter),
		T(stdin_is_whole),	     T(stdin_nobody_reads),	T(output_waits_for_the_host),
		T(signals_reach_the_group),  T(terminal),		T(background_child_does_not_hold),
		T(limits_apply),	     T(host_leaves),		T(host_leaves_behind_full_stdin),
		T(signal_overtakes_full_stdin), T(more_than_the_window_closes),
		T(nonsense_closes),	     T(nothing_starts_while_stopping), T(restricted_sessions),
		T(scripts_lead_path),	     T(memory_ran_out),		T(files_travel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
