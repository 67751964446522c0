/* SPDX-License-Identifier: Apache-2.0 */
/* Sandbox directories: locked while alive, swept when dead, symbolic links never followed; the writable disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "sandbox/sandbox.h"

static char root[64];

static int setup(void **state)
{
	(void)state;
	snprintf(root, sizeof(root), "/tmp/msb-test-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	return dir_remove_tree(AT_FDCWD, root, NULL);
}

static bool exists(const char *name)
{
	char path[200];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	return lstat(path, &st) == 0;
}

static void live_directory_is_kept(void **state)
{
	struct error err = ERROR_INIT;
	int dir = -1, lock = -1;

	(void)state;
	assert_int_equal(sandbox_dir_create(root, "one", &dir, &lock, &err), 0);
	sandbox_sweep(root);
	assert_true(exists("one/lock"));
	/* A second of the same name is refused and does not harm the first. */
	assert_int_equal(sandbox_dir_create(root, "one", &(int){ -1 }, &(int){ -1 }, &err), -ERR_EXISTS);
	assert_true(exists("one/lock"));
	fd_close(&dir);
	fd_close(&lock);
	sandbox_sweep(root);
	assert_false(exists("one"));
}

static void lock_lives_in_a_child(void **state)
{
	struct error err = ERROR_INIT;
	int dir = -1, lock = -1, go[2];
	char byte;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(go), 0);
	assert_int_equal(sandbox_dir_create(root, "two", &dir, &lock, &err), 0);
	pid = fork();
	if (pid == 0) {
		close(go[1]);
		_exit(read(go[0], &byte, 1) == 0 ? 0 : 1);
	}
	close(go[0]);
	fd_close(&dir);
	fd_close(&lock);
	sandbox_sweep(root);
	assert_true(exists("two"));
	close(go[1]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	sandbox_sweep(root);
	assert_false(exists("two"));
}

static void sweep_does_not_follow_links(void **state)
{
	char path[200], target[200];

	(void)state;
	snprintf(path, sizeof(path), "%s/outside", root);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/outside/keep", root);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/sandboxes", root);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/sandboxes/dead", root);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/sandboxes/dead/link", root);
	snprintf(target, sizeof(target), "%s/outside", root);
	assert_int_equal(symlink(target, path), 0);
	snprintf(path, sizeof(path), "%s/sandboxes", root);
	sandbox_sweep(path);
	assert_false(exists("sandboxes/dead"));
	assert_true(exists("outside/keep"));
}

static void upper_is_a_clean_ext4(void **state)
{
	struct error err = ERROR_INIT;
	char templates[200], command[300];
	int dir = open(root, O_RDONLY | O_DIRECTORY);
	struct stat st;
	int fd, status;
	pid_t pid;

	(void)state;
	snprintf(templates, sizeof(templates), "%s/templates", root);
	fd = upper_open(templates, dir, MIB(256), UPPER_CLONE_AUTO, &err);
	if (fd == -ERR_UNSUPPORTED)
		skip();
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, MIB(256));
	assert_true(st.st_blocks * 512 < (off_t)MIB(4));
	assert_int_equal(st.st_nlink, 0);
	snprintf(command, sizeof(command), "/proc/%d/fd/%d", (int)getpid(), fd);
	pid = fork();
	if (pid == 0) {
		dup2(open("/dev/null", O_RDWR), 1);
		dup2(1, 2);
		execl("/usr/sbin/e2fsck", "e2fsck", "-fn", command, NULL);
		_exit(99);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 0);
	close(fd);
	/* The second one is a copy of the same template. */
	fd = upper_open(templates, dir, MIB(256), UPPER_CLONE_AUTO, &err);
	assert_true(fd >= 0);
	close(fd);
	close(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(live_directory_is_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(lock_lives_in_a_child, setup, teardown),
		cmocka_unit_test_setup_teardown(sweep_does_not_follow_links, setup, teardown),
		cmocka_unit_test_setup_teardown(upper_is_a_clean_ext4, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
