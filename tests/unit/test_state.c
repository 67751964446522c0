/* SPDX-License-Identifier: Apache-2.0 */
/* The database of sandboxes, the lock of a name, and which process is meant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "state/state.h"

static char root[64];
static int home = -1;

static int setup(void **state)
{
	(void)state;
	snprintf(root, sizeof(root), "/tmp/msb-test-XXXXXX");
	home = mkdtemp(root) ? open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	return home >= 0 ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	fd_close(&home);
	return dir_remove_tree(AT_FDCWD, root, NULL);
}

/** sql() - Behind the product's back. */
static void sql(const char *text)
{
	char path[128];
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/db/msb.db", root);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

/** put() - One record. */
static void put(struct state *s, const char *name, int64_t created_ns)
{
	struct sandbox_record r = { .image = (char *)(uintptr_t) "i", .config = (char *)(uintptr_t) "{}",
				    .created_ns = created_ns };

	snprintf(r.name, sizeof(r.name), "%s", name);
	assert_int_equal(state_put(s, &r, NULL), 0);
}

/** state_of() - As stored. */
static enum sandbox_state state_of(struct state *s, const char *name)
{
	struct sandbox_record r;
	enum sandbox_state found;

	assert_int_equal(state_get(s, name, &r, NULL), 0);
	found = r.state;
	sandbox_record_clear(&r);
	return found;
}

static void reading_makes_nothing(void **state)
{
	struct sandbox_record r, *list;
	struct error err = ERROR_INIT;
	size_t count = 9;
	struct state *s = state_open(home, STATE_READ, NULL);

	(void)state;
	assert_non_null(s);
	assert_int_equal(state_list(s, &list, &count, NULL), 0);
	assert_int_equal(count, 0);
	assert_int_equal(state_get(s, "x", &r, &err), -ERR_NOT_FOUND);
	assert_true(err.hint[0]);
	state_close(s);
	assert_int_equal(faccessat(home, "db", F_OK, 0), -1);
}

static void records_come_back(void **state)
{
	const struct identity who = { .boot_id = "00000000-1111-2222-3333-444444444444", .pid = 77,
				      .start_time = UINT64_MAX / 2 };
	struct sandbox_record in = { .name = "a", .image = (char *)(uintptr_t) "image ü", .reason = "why",
				     .config = (char *)(uintptr_t) "{\"a\": \"'\"}", .state = SANDBOX_DRAINING,
				     .created_ns = 5, .updated_ns = 6, .supervisor = who }, r, *list;
	struct state *s = state_open(home, STATE_WRITE, NULL);
	size_t count;

	(void)state;
	assert_int_equal(state_put(s, &in, NULL), 0);
	put(s, "b", 7);
	put(s, "c", 5);
	state_close(s);
	s = state_open(home, STATE_READ, NULL);
	assert_int_equal(state_get(s, "a", &r, NULL), 0);
	assert_string_equal(r.image, in.image);
	assert_string_equal(r.config, in.config);
	assert_string_equal(r.reason, "why");
	assert_true(r.state == SANDBOX_DRAINING && r.created_ns == 5 && r.updated_ns == 6);
	assert_memory_equal(&r.supervisor, &who, sizeof(who));
	sandbox_record_clear(&r);
	assert_int_equal(state_list(s, &list, &count, NULL), 0);
	assert_int_equal(count, 3); /* the newest first, then by name */
	assert_string_equal(list[0].name, "b");
	assert_string_equal(list[1].name, "a");
	assert_string_equal(list[2].name, "c");
	sandbox_records_free(list, count);
	state_close(s);
}

static void private_whatever_the_umask(void **state)
{
	mode_t old = umask(0);
	struct stat st;

	(void)state;
	state_close(state_open(home, STATE_WRITE, NULL));
	umask(old);
	assert_int_equal(fstatat(home, "db/msb.db", &st, 0), 0);
	assert_int_equal(st.st_mode & 077, 0);
	assert_int_equal(fstatat(home, "db", &st, 0), 0);
	assert_int_equal(st.st_mode & 077, 0);
}

/* An empty database is schema 0: every migration runs, once, also when two come at the same moment. */
static void migrations_run_once(void **state)
{
	struct state *s;
	int status;

	(void)state;
	assert_int_equal(mkdirat(home, "db", 0700), 0);
	sql("PRAGMA user_version = 0");
	for (int i = 0; i < 4; i++)
		if (fork() == 0)
			_exit(state_open(home, STATE_READ, NULL) ? 0 : 1);
	for (int i = 0; i < 4; i++) {
		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
	}
	s = state_open(home, STATE_WRITE, NULL);
	assert_non_null(s);
	put(s, "a", 1);
	state_close(s);
}

static void newer_schema_is_refused(void **state)
{
	struct error err = ERROR_INIT;

	(void)state;
	state_close(state_open(home, STATE_WRITE, NULL));
	sql("PRAGMA user_version = 99");
	for (int how = STATE_READ; how <= STATE_WRITE; how++) {
		assert_null(state_open(home, (enum state_access)how, &err));
		assert_int_equal(err.code, ERR_UNSUPPORTED);
		assert_non_null(strstr(err.text, "99"));
		assert_true(err.hint[0]);
	}
	sql("PRAGMA user_version = 1"); /* it was left as it is */
	state_close(state_open(home, STATE_WRITE, &err));
}

static void damaged_database(void **state)
{
	struct error err = ERROR_INIT;
	int fd;

	(void)state;
	state_close(state_open(home, STATE_WRITE, NULL));
	fd = openat(home, "db/msb.db", O_WRONLY);
	assert_int_equal(pwrite(fd, "no database at all", 18, 0), 18);
	close(fd);
	assert_null(state_open(home, STATE_READ, &err));
	assert_int_equal(err.code, ERR_INVALID);
	assert_non_null(strstr(err.hint, "doctor --fix"));
}

static void deleted_and_missing(void **state)
{
	struct state *s = state_open(home, STATE_WRITE, NULL);
	struct error err = ERROR_INIT;
	struct sandbox_record r;

	(void)state;
	put(s, "a", 1);
	assert_int_equal(state_config(s, "a", "{\"new\":1}", NULL), 0);
	assert_int_equal(state_get(s, "a", &r, NULL), 0);
	assert_string_equal(r.config, "{\"new\":1}");
	assert_true(r.updated_ns > 0);
	sandbox_record_clear(&r);
	assert_int_equal(state_delete(s, "a", NULL), 0);
	assert_int_equal(state_delete(s, "a", NULL), 0);
	assert_int_equal(state_move(s, "a", SANDBOX_STOPPED, "", NULL, NULL), 0);
	assert_int_equal(state_get(s, "a", &r, &err), -ERR_NOT_FOUND);
	state_close(s);
}

/* Who started a sandbox may be slower than its supervisor, and a supervisor slower than the next one. */
static void moves(void **state)
{
	const struct identity one = { "boot", 10, 100 }, two = { "boot", 11, 200 };
	struct state *s = state_open(home, STATE_WRITE, NULL);
	struct sandbox_record r;

	(void)state;
	put(s, "a", 1);
	assert_int_equal(state_move(s, "a", SANDBOX_STARTING, "", &one, NULL), 0);
	assert_int_equal(state_of(s, "a"), SANDBOX_STARTING);
	assert_int_equal(state_move(s, "a", SANDBOX_RUNNING, "", &one, NULL), 0);
	assert_int_equal(state_of(s, "a"), SANDBOX_RUNNING);
	/* "Starting" of the same supervisor comes too late. */
	assert_int_equal(state_move(s, "a", SANDBOX_STARTING, "", &one, NULL), 0);
	assert_int_equal(state_of(s, "a"), SANDBOX_RUNNING);
	/* What another one says of its end is not about this one. */
	assert_int_equal(state_move(s, "a", SANDBOX_STOPPED, "not me", &two, NULL), 0);
	assert_int_equal(state_of(s, "a"), SANDBOX_RUNNING);
	assert_int_equal(state_move(s, "a", SANDBOX_DRAINING, "asked", &one, NULL), 0);
	assert_int_equal(state_of(s, "a"), SANDBOX_DRAINING);
	/* The next supervisor, and the late last word of the first. */
	assert_int_equal(state_move(s, "a", SANDBOX_STARTING, "", &two, NULL), 0);
	assert_int_equal(state_move(s, "a", SANDBOX_STOPPED, "late", &one, NULL), 0);
	assert_int_equal(state_of(s, "a"), SANDBOX_STARTING);
	assert_int_equal(state_move(s, "a", SANDBOX_STOPPED, "whoever", NULL, NULL), 0);
	assert_int_equal(state_get(s, "a", &r, NULL), 0);
	assert_int_equal(r.state, SANDBOX_STOPPED);
	assert_string_equal(r.reason, "whoever");
	assert_int_equal(r.supervisor.pid, 11);
	sandbox_record_clear(&r);
	state_close(s);
}

/** child() - A process that waits to be killed. */
static pid_t child(void)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

static void dead_supervisors_are_noticed(void **state)
{
	struct sandbox_record r = { .state = SANDBOX_RUNNING };
	struct identity other;
	pid_t pid = child();
	siginfo_t info;

	(void)state;
	assert_true(identity_of(pid, &r.supervisor));
	assert_int_equal(state_effective(&r), SANDBOX_RUNNING);
	other = r.supervisor;
	other.start_time++;
	assert_false(identity_alive(&other)); /* the number passed to another process */
	other = r.supervisor;
	other.boot_id[0] = other.boot_id[0] == 'x' ? 'y' : 'x';
	assert_false(identity_alive(&other)); /* another boot */
	assert_false(identity_alive(&(struct identity){ .boot_id = "" }));
	kill(pid, SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_int_equal(state_effective(&r), SANDBOX_CRASHED); /* a zombie is dead */
	waitpid(pid, NULL, 0);
	assert_int_equal(state_effective(&r), SANDBOX_CRASHED);
	r.state = SANDBOX_STARTING;
	assert_int_equal(state_effective(&r), SANDBOX_CRASHED);
	r.state = SANDBOX_DRAINING;
	assert_int_equal(state_effective(&r), SANDBOX_STOPPED);
	r.state = SANDBOX_CREATED;
	assert_int_equal(state_effective(&r), SANDBOX_CREATED);
	r.state = SANDBOX_STOPPED;
	assert_int_equal(state_effective(&r), SANDBOX_STOPPED);
}

static void a_name_is_locked_between_processes(void **state)
{
	int ready[2], lock, other, status;
	struct error err = ERROR_INIT;
	int64_t start;
	char byte;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		lock = name_lock(home, "a", 1000, NULL);
		if (lock < 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	start = clock_monotonic_ns();
	assert_int_equal(name_lock(home, "a", 50, &err), -ERR_TIMEOUT);
	assert_true(clock_monotonic_ns() - start >= 50 * NSEC_PER_MSEC);
	assert_true(err.hint[0]);
	other = name_lock(home, "b", 0, NULL); /* another name is free */
	assert_true(other >= 0);
	close(other);
	kill(pid, SIGKILL); /* who dies releases it */
	assert_int_equal(waitpid(pid, &status, 0), pid);
	lock = name_lock(home, "a", 1000, NULL);
	assert_true(lock >= 0);
	/* Of the same process, too: it belongs to the descriptor. */
	err_clear(&err);
	assert_int_equal(name_lock(home, "a", 0, &err), -ERR_TIMEOUT);
	close(lock);
	lock = name_lock(home, "a", 0, NULL);
	assert_true(lock >= 0);
	close(lock);
	close(ready[0]);
	close(ready[1]);
}

static void names(void **state)
{
	char longest[SANDBOX_NAME_MAX + 2];

	(void)state;
	memset(longest, 'a', sizeof(longest));
	longest[SANDBOX_NAME_MAX] = '\0';
	assert_true(sandbox_name_valid("a") && sandbox_name_valid("0.x_y-Z") && sandbox_name_valid(longest));
	longest[SANDBOX_NAME_MAX] = 'a';
	longest[SANDBOX_NAME_MAX + 1] = '\0';
	assert_false(sandbox_name_valid(longest) || sandbox_name_valid("") || sandbox_name_valid(".a") ||
		     sandbox_name_valid("-a") || sandbox_name_valid("a/b") || sandbox_name_valid("a b") ||
		     sandbox_name_valid("\xc3\xa9") || sandbox_name_valid("a\n") || sandbox_name_valid(".."));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(reading_makes_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(records_come_back, setup, teardown),
		cmocka_unit_test_setup_teardown(private_whatever_the_umask, setup, teardown),
		cmocka_unit_test_setup_teardown(migrations_run_once, setup, teardown),
		cmocka_unit_test_setup_teardown(newer_schema_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(damaged_database, setup, teardown),
		cmocka_unit_test_setup_teardown(deleted_and_missing, setup, teardown),
		cmocka_unit_test_setup_teardown(moves, setup, teardown),
		cmocka_unit_test(dead_supervisors_are_noticed),
		cmocka_unit_test_setup_teardown(a_name_is_locked_between_processes, setup, teardown),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
