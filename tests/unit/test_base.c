/* SPDX-License-Identifier: Apache-2.0 */
/* Unit test of the base library: errors, buffers, reader, numbers, event loop, descriptors, directories. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/child.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/num.h"
#include "base/reader.h"

/** error_texts() - Set, wrapped, hinted; cut at the end of its room, never beyond. */
static void error_texts(void **state)
{
	struct error err = ERROR_INIT;
	char longer[600];

	(void)state;
	assert_int_equal(err_set(&err, ERR_NOT_FOUND, ENOENT, "open %s", "x"), -ERR_NOT_FOUND);
	assert_string_equal(err.text, "open x: No such file or directory");
	assert_int_equal(err_wrap(&err, "load %d", 7), -ERR_NOT_FOUND);
	assert_string_equal(err.text, "load 7: open x: No such file or directory");
	err_hint(&err, "make it");
	assert_string_equal(err.hint, "make it");
	err_clear(&err);
	assert_int_equal(err.code, ERR_NONE);
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	err_set(&err, ERR_INVALID, 0, "%s", longer);
	err_wrap(&err, "%s", longer);
	assert_true(strnlen(err.text, sizeof(err.text)) < sizeof(err.text));
	assert_int_equal(err_set(NULL, ERR_LIMIT, 0, "no object"), -ERR_LIMIT);
	assert_int_equal(err_from_errno(ENOENT), ERR_NOT_FOUND);
	assert_int_equal(err_from_errno(EACCES), ERR_PERMISSION);
	err_set(&err, ERR_INVALID, 0, "a\033]0;x\007b\tc\177 \x9b" "1m \xc2\x9b" "2m h\xc3\xa4\xc3\x9f \xe4\xb8\xad");
	assert_string_equal(err.text, "a?]0;x?b?c? ?1m \xc2?2m h\xc3\xa4\xc3\x9f \xe4\xb8\xad");
	err_wrap(&err, "x\ny");
	err_hint(&err, "\033[31m");
	assert_memory_equal(err.text, "x?y: a?", 7);
	assert_string_equal(err.hint, "?[31m");
	for (int i = 0; i < ERR_CODE_COUNT; i++)
		assert_non_null(err_code_name((enum err_code)i));
}

/** buffer_limit() - The maximum is kept to the byte and failure sticks. */
static void buffer_limit(void **state)
{
	struct buf b = BUF_INIT(8);

	(void)state;
	assert_true(buf_append(&b, "12345678", 8));
	assert_false(buf_append(&b, "9", 1));
	assert_true(b.failed);
	assert_int_equal(b.len, 8);
	assert_null(buf_extend(&b, 0 + 1));
	buf_consume(&b, 8);
	assert_false(buf_append(&b, "x", 1)); /* sticky */
	buf_free(&b);
	b = (struct buf)BUF_INIT(100);
	assert_true(buf_printf(&b, "%d-%s", 5, "five"));
	assert_string_equal(buf_cstr(&b), "5-five");
	assert_int_equal(b.len, 6);
	buf_consume(&b, 2);
	assert_memory_equal(b.data, "five", 4);
	assert_null(buf_extend(&b, SIZE_MAX)); /* len + n overflows */
	buf_free(&b);
}

/** reader_bounds() - Reads in order; the first one too many gives zero and sticks. */
static void reader_bounds(void **state)
{
	static const uint8_t bytes[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 };
	struct reader r = reader_init(bytes, sizeof(bytes));
	uint8_t to[4] = { 9, 9, 9, 9 };

	(void)state;
	assert_int_equal(reader_u8(&r), 1);
	assert_int_equal(reader_u16(&r), 0x0302);
	assert_int_equal(reader_u16_be(&r), 0x0405);
	assert_int_equal(reader_u32(&r), 0x09080706);
	assert_false(r.failed);
	assert_int_equal(r.left, 0);
	reader_copy(&r, to, sizeof(to));
	assert_true(r.failed);
	assert_int_equal(to[0] | to[3], 0);
	r = reader_init(bytes, 7);
	reader_u64(&r);
	assert_true(r.failed);
	assert_int_equal(reader_u8(&r), 0);
	r = reader_init(bytes, 8);
	assert_null(reader_bytes(&r, SIZE_MAX));
}

/** numbers() - Whole strings, no sign, no blank, no overflow. */
static void numbers(void **state)
{
	static const char *const bad[] = { "", " 1", "1 ", "+1", "-1", "0x1", "1a", "18446744073709551616",
					   "99999999999999999999999" };
	uint64_t v = 42;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(num_parse_u64(bad[i], UINT64_MAX, &v));
	assert_true(num_parse_u64("18446744073709551615", UINT64_MAX, &v));
	assert_true(v == UINT64_MAX);
	assert_true(num_parse_u64("100", 100, &v));
	assert_false(num_parse_u64("101", 100, &v));
	assert_true(num_parse_octal("0755", 07777, &v));
	assert_int_equal(v, 0755);
	assert_false(num_parse_octal("8", 07777, &v));
	assert_false(num_parse_octal("10000", 07777, &v));
}

struct pair {
	struct loop *loop;
	int source[2];
	int calls;
};

/** take_both() - The first handler to run removes both sources: the other's fetched event is stale. */
static void take_both(void *arg, uint32_t events)
{
	struct pair *p = arg;

	(void)events;
	p->calls++;
	loop_remove(p->loop, &p->source[0]);
	loop_remove(p->loop, &p->source[1]);
}

static void on_timer(void *arg, uint32_t events)
{
	(void)events;
	loop_stop(arg, 7);
}

/** loop_stale() - An event fetched in the same round for a removed source is dropped. */
static void loop_stale(void **state)
{
	struct error err = ERROR_INIT;
	struct pair p = { .loop = loop_new(&err) };
	int fd[2] = { eventfd(1, EFD_CLOEXEC), eventfd(1, EFD_CLOEXEC) };
	int timer;

	(void)state;
	assert_non_null(p.loop);
	for (int i = 0; i < 2; i++) {
		p.source[i] = loop_add(p.loop, fd[i], EPOLLIN, take_both, &p, &err);
		assert_true(p.source[i] >= 0);
	}
	timer = loop_timer(p.loop, on_timer, p.loop, &err);
	assert_true(timer >= 0);
	loop_timer_set(p.loop, timer, 20 * 1000 * 1000);
	assert_int_equal(loop_run(p.loop, &err), 7);
	assert_int_equal(p.calls, 1);
	assert_int_equal(p.source[0], -1);
	loop_remove(p.loop, &timer);
	loop_remove(p.loop, &timer); /* -1 is ignored */
	loop_free(p.loop);
	close(fd[0]);
	close(fd[1]);
}

/** count_fds() - Open descriptors of this process. */
static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/** pass_descriptors() - They arrive close-on-exec; a message too long for the room leaves none behind. */
static void pass_descriptors(void **state)
{
	int sock[2], fds[FD_PASS_MAX], before;
	size_t count;
	char text[8];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock), 0);
	before = count_fds();
	assert_int_equal(fd_send_msg(sock[0], "hello", 5, (int[]){ 0, sock[0] }, 2), 0);
	assert_int_equal(fd_recv_msg(sock[1], text, sizeof(text), fds, &count), 5);
	assert_int_equal(count, 2);
	assert_memory_equal(text, "hello", 5);
	for (size_t i = 0; i < count; i++) {
		assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
		close(fds[i]);
	}
	assert_int_equal(fd_send_msg(sock[0], "much too long", 13, (int[]){ 0 }, 1), 0);
	assert_int_equal(fd_recv_msg(sock[1], text, sizeof(text), fds, &count), -1);
	assert_int_equal(errno, EMSGSIZE);
	assert_int_equal(count_fds(), before);
	fd_close(&sock[0]);
	assert_int_equal(sock[0], -1);
	assert_int_equal(fd_recv_msg(sock[1], text, sizeof(text), fds, &count), 0);
	fd_close(&sock[1]);
}

/** remove_tree() - Symbolic links are removed, never followed; a missing directory is no failure. */
static void remove_tree(void **state)
{
	char top[] = "/tmp/msb-test-base.XXXXXX";
	struct error err = ERROR_INIT;
	struct stat st;
	int dir, fd;

	(void)state;
	assert_non_null(mkdtemp(top));
	dir = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(dir >= 0);
	assert_int_equal(mkdirat(dir, "keep", 0700), 0);
	fd = openat(dir, "keep/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(mkdirat(dir, "gone", 0700), 0);
	assert_int_equal(mkdirat(dir, "gone/deep", 0700), 0);
	assert_int_equal(symlinkat("../keep", dir, "gone/link"), 0);
	assert_int_equal(symlinkat("../../keep/file", dir, "gone/deep/link"), 0);
	assert_int_equal(dir_remove_tree(dir, "gone", &err), 0);
	assert_int_equal(fstatat(dir, "gone", &st, AT_SYMLINK_NOFOLLOW), -1);
	assert_int_equal(fstatat(dir, "keep/file", &st, 0), 0);
	assert_int_equal(dir_remove_tree(dir, "gone", &err), 0);
	/* The name itself is a link: what it points at stays. */
	assert_int_equal(symlinkat("keep", dir, "alias"), 0);
	dir_remove_tree(dir, "alias", &err);
	assert_int_equal(fstatat(dir, "keep/file", &st, 0), 0);
	unlinkat(dir, "alias", 0);
	err_clear(&err);
	assert_int_equal(dir_remove_tree(dir, "keep", &err), 0);
	close(dir);
	assert_int_equal(rmdir(top), 0);
}

/** files() - A file is replaced as a whole; reading stops at the limit. */
static void files(void **state)
{
	char top[] = "/tmp/msb-test-base.XXXXXX";
	struct buf b = BUF_INIT(100);
	struct error err = ERROR_INIT;
	int dir;

	(void)state;
	assert_non_null(mkdtemp(top));
	dir = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(file_write_atomic(dir, "f", "first", 5, 0600, &err), 0);
	assert_int_equal(file_write_atomic(dir, "f", "second", 6, 0600, &err), 0);
	assert_int_equal(file_read(dir, "f", 100, &b, &err), 0);
	assert_int_equal(b.len, 6);
	assert_memory_equal(b.data, "second", 6);
	buf_free(&b);
	assert_true(file_read(dir, "f", 5, &b, &err) < 0);
	buf_free(&b);
	assert_int_equal(dir_remove_tree(AT_FDCWD, top, &err), 0);
	close(dir);
}

/** orphans_end() - A child, and its child that dies with nobody: neither is left. In a process of its own, the subreaper. */
static int orphans_end(void)
{
	int up[2];
	char c;

	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 || pipe(up) < 0 || !children_kill(0))
		return 1;
	if (fork() == 0) {
		if (fork() == 0) {
			signal(SIGTERM, SIG_IGN);
			prctl(PR_SET_PDEATHSIG, 0);
			(void)!write(up[1], "u", 1);
		}
		for (;;)
			pause();
	}
	close(up[1]);
	if (read(up[0], &c, 1) != 1 || children_reap(20))
		return 2;
	if (!children_kill(20000))
		return 3;
	/* Both had the pipe open. */
	return read(up[0], &c, 1) == 0 && waitpid(-1, NULL, WNOHANG) < 0 ? 0 : 4;
}

static void children_end(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		_exit(orphans_end());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(error_texts),	 cmocka_unit_test(buffer_limit), cmocka_unit_test(reader_bounds),
		cmocka_unit_test(numbers),	 cmocka_unit_test(loop_stale),	 cmocka_unit_test(pass_descriptors),
		cmocka_unit_test(remove_tree),	 cmocka_unit_test(files),
		cmocka_unit_test(children_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
