/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#undef fail /* the agent has a function of this name */

static char passwd_path[64] = "/tmp/test-agent-user-XXXXXX/passwd";
static char group_path[96];
#define AGENT_PASSWD passwd_path
#define AGENT_GROUP group_path
#include "agent/user.c"

static struct user user;
static struct failure why;

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

/** put() - Write a file. */
static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int setup(void **state)
{
	char *slash = strrchr(passwd_path, '/');

	(void)state;
	*slash = '\0';
	if (!mkdtemp(passwd_path))
		return -1;
	snprintf(group_path, sizeof(group_path), "%s/group", passwd_path);
	*slash = '/';
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(passwd_path);
	unlink(group_path);
	*strrchr(passwd_path, '/') = '\0';
	return rmdir(passwd_path);
}

static int files(void **state)
{
	(void)state;
	unlink(passwd_path);
	put(passwd_path, "root:x:0:0:root:/root:/bin/sh\n"
			 "broken\n::::::\nbad:x:-1:5::/x:\nhuge:x:4294967295:1::/x:\n"
			 "app:x:1000:1001:App:/home/app:/bin/sh\n"
			 "homeless:x:7:7:::\n"
			 "last:x:9:9::/last:/bin/sh"); /* no newline */
	put(group_path, "root:x:0:\nwheel:x:10:root,app\nbroken\napps:x:1001:\nextra:x:20:x,app\nnot:x:30:application\n");
	return 0;
}

static void empty_is_root(void **state)
{
	(void)state;
	assert_true(user_resolve(NULL, &user, &why));
	assert_int_equal(user.uid, 0);
	assert_string_equal(user.home, "/root");
	assert_true(user_resolve("", &user, &why));
	assert_int_equal(user.group_count, 1);
	assert_int_equal(user.groups[0], 10);
}

static void names_and_numbers(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_true(user_resolve(i ? "1000" : "app", &user, &why));
		assert_int_equal(user.uid, 1000);
		assert_int_equal(user.gid, 1001);
		assert_string_equal(user.home, "/home/app");
		assert_int_equal(user.group_count, 2);
		assert_int_equal(user.groups[1], 20);
	}
	assert_true(user_resolve("last", &user, &why));
	assert_int_equal(user.uid, 9);
	assert_true(user_resolve("homeless", &user, &why));
	assert_string_equal(user.home, "/");
	assert_true(user_resolve("4242", &user, &why));
	assert_int_equal(user.uid, 4242);
	assert_int_equal(user.gid, 0);
	assert_string_equal(user.home, "/");
}

static void explicit_groups(void **state)
{
	(void)state;
	assert_true(user_resolve("app:wheel", &user, &why));
	assert_int_equal(user.gid, 10);
	assert_int_equal(user.group_count, 0);
	assert_true(user_resolve("5:6", &user, &why));
	assert_int_equal(user.uid, 5);
	assert_int_equal(user.gid, 6);
	assert_true(user_resolve("app:", &user, &why));
	assert_int_equal(user.gid, 1001);
	assert_true(user_resolve(":apps", &user, &why));
	assert_int_equal(user.uid, 0);
	assert_int_equal(user.gid, 1001);
}

static void refused(void **state)
{
	static const char *const bad[] = { "nosuch", "app:nosuch", "bad", "huge", "-1", "4294967295", "app:-1", "1000 " };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_false(user_resolve(bad[i], &user, &why));
		assert_int_equal(why.kind, MSG_FAIL_BAD_USER);
	}
}

static void without_files(void **state)
{
	(void)state;
	unlink(passwd_path);
	unlink(group_path);
	assert_true(user_resolve("", &user, &why));
	assert_int_equal(user.uid, 0);
	assert_string_equal(user.home, "/root");
	assert_true(user_resolve("12:34", &user, &why));
	assert_int_equal(user.gid, 34);
	assert_false(user_resolve("app", &user, &why));
}

static void odd_files_do_not_hang(void **state)
{
	(void)state;
	unlink(passwd_path);
	assert_int_equal(mkfifo(passwd_path, 0600), 0);
	assert_false(user_resolve("app", &user, &why));
	unlink(passwd_path);
	assert_int_equal(symlink("/dev/zero", passwd_path), 0);
	assert_false(user_resolve("app", &user, &why));
}

static void long_line_is_passed_over(void **state)
{
	FILE *f;

	(void)state;
	f = fopen(passwd_path, "w");
	assert_non_null(f);
	fprintf(f, "%09000d:x:1:1::/x:\n", 0);
	fprintf(f, "app:x:1000:1001::/home/app:\n");
	fclose(f);
	assert_true(user_resolve("app", &user, &why));
	assert_int_equal(user.uid, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(empty_is_root, files),	  cmocka_unit_test_setup(names_and_numbers, files),
		cmocka_unit_test_setup(explicit_groups, files),	  cmocka_unit_test_setup(refused, files),
		cmocka_unit_test_setup(without_files, files),	  cmocka_unit_test_setup(odd_files_do_not_hang, files),
		cmocka_unit_test_setup(long_line_is_passed_over, files),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
