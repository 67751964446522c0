/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's copies and places. Copies run in a process whose root is a folder of the test's own, as root only.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#undef fail /* the agent has a function of this name */

#include <sys/time.h>
#include <sys/wait.h>

#include "agent/files.c"
#include "agent/places.c"

#define TIMEOUT_SEC 10

struct defaults defaults = { .user = "someone" };
static char top[] = "/tmp/test-agent-files-XXXXXX";
static int top_fd = -1, host = -1;
static pid_t engine;
static struct buf in;
static size_t used;
static struct msg_failed failure;

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
	*out = (struct user){ .uid = 1234, .gid = 5678 };
	return strcmp(spec, "someone") == 0 || fail(f, MSG_FAIL_BAD_USER, 0, "no such user");
}

/** need_root() - Copies set owners, and the test changes its root. */
static void need_root(void)
{
	if (geteuid() != 0)
		skip();
}

static int begin(void **state)
{
	(void)state;
	memcpy(top + strlen(top) - 6, "XXXXXX", 6);
	assert_non_null(mkdtemp(top));
	assert_int_equal(chmod(top, 0755), 0);
	top_fd = open(top, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(top_fd >= 0);
	return 0;
}

static int finish(void **state)
{
	(void)state;
	fd_close(&host);
	buf_free(&in);
	fd_close(&top_fd);
	return dir_remove_tree(AT_FDCWD, top, NULL);
}

/** ask() - Start the engine with this request. */
static void ask(enum frame_type type, const struct buf *body)
{
	struct timeval limit = { .tv_sec = TIMEOUT_SEC };
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	fd_close(&host);
	engine = fork();
	assert_true(engine >= 0);
	if (engine == 0) {
		const struct frame f = { .type = (uint16_t)type, .body = body->data, .body_len = body->len };

		alarm(2 * TIMEOUT_SEC);
		close(pair[0]);
		if (chroot(top) < 0 || chdir("/") < 0)
			_exit(99);
		files_serve(pair[1], &f, NULL, 0);
	}
	close(pair[1]);
	host = pair[0];
	setsockopt(host, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	buf_free(&in);
	in = (struct buf)BUF_INIT(MIB(4));
	used = 0;
}

static void ask_put(const char *path, const char *name, bool user)
{
	struct buf body = BUF_INIT(16384);

	assert_true(msg_encode_put(&body, &(struct msg_put){ .path = path, .name = name, .user = user }));
	ask(FRAME_PUT, &body);
	buf_free(&body);
}

static void ask_get(const char *path)
{
	struct buf body = BUF_INIT(16384);

	assert_true(msg_encode_get(&body, &(struct msg_get){ .path = path }));
	ask(FRAME_GET, &body);
	buf_free(&body);
}

/** tell() - One frame; the engine may have ended already. */
static void tell(enum frame_type type, const void *body, size_t n)
{
	struct buf b = BUF_INIT(MIB(2));

	assert_true(frame_append(&b, (uint16_t)type, 1, body, n));
	(void)send(host, b.data, b.len, MSG_NOSIGNAL);
	buf_free(&b);
}

static void tell_entry(struct msg_entry e)
{
	struct buf body = BUF_INIT(32768);

	assert_true(msg_encode_entry(&body, &e));
	tell(FRAME_ENTRY, body.data, body.len);
	buf_free(&body);
}

#define ENTRY(...) tell_entry((struct msg_entry){ __VA_ARGS__ })

/** next() - The next frame; type 0 when the engine closed. */
static struct frame next(void)
{
	struct frame f;

	buf_consume(&in, used);
	for (used = 0;;) {
		uint8_t chunk[8192];
		ssize_t n;

		if (frame_parse(in.data, in.len, &f, &used) == FRAME_OK)
			return f;
		used = 0;
		n = recv(host, chunk, sizeof(chunk), 0);
		assert_true(n >= 0);
		if (n == 0)
			return (struct frame){ 0 };
		buf_append(&in, chunk, (size_t)n);
	}
}

/** gone() - The engine ends by itself once the host has closed. */
static void gone(void)
{
	int status;

	fd_close(&host);
	assert_int_equal(waitpid(engine, &status, 0), engine);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
}

static void done(uint64_t entries, uint64_t bytes)
{
	struct msg_done m;
	struct frame f;

	tell(FRAME_END, NULL, 0);
	f = next();
	assert_int_equal(f.type, FRAME_DONE);
	assert_true(msg_decode_done(f.body, f.body_len, &m));
	assert_int_equal(m.entries, entries);
	assert_int_equal(m.bytes, bytes);
	assert_int_equal(next().type, 0);
	gone();
}

/** refused() - The copy fails, and the text has these words. */
static void refused(enum msg_failure kind, int sys_errno, const char *words)
{
	struct frame f = next();

	while (f.type == FRAME_ENTRY || f.type == FRAME_DATA)
		f = next();
	assert_int_equal(f.type, FRAME_EXEC_FAILED);
	assert_true(msg_decode_failed(f.body, f.body_len, &failure));
	assert_int_equal(failure.kind, kind);
	assert_int_equal(failure.sys_errno, sys_errno);
	assert_non_null(strstr(failure.text, words));
	gone();
}

/** look() - What is at a path of the test's root; links are not followed. */
static struct stat look(const char *path)
{
	struct stat st;

	assert_int_equal(fstatat(top_fd, path, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st;
}

static bool there(const char *path)
{
	return faccessat(top_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/** text_is() - Contents of a file of the test's root. */
static void text_is(const char *path, const char *text)
{
	struct buf b = BUF_INIT(MIB(1));

	assert_int_equal(file_read(top_fd, path, MIB(1), &b, NULL), 0);
	assert_string_equal(buf_cstr(&b), text);
	buf_free(&b);
}

static void write_file(const char *path, const char *text)
{
	int fd = openat(top_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0 && fd_write_full(fd, text, strlen(text)) == 0);
	close(fd);
}

static void make_link(const char *target, const char *path)
{
	assert_int_equal(symlinkat(target, top_fd, path), 0);
}

static void a_tree_comes(void **state)
{
	static uint8_t block[FRAME_STREAM_MAX];
	struct stat st;
	char target[8];

	(void)state;
	need_root();
	mkdirat(top_fd, "to", 0755);
	ask_put("/to", "tree", true);
	ENTRY(.path = "", .type = MSG_ENTRY_DIR, .mode = 02751, .mtime_ns = 1000000000000000001);
	ENTRY(.path = "a", .type = MSG_ENTRY_DIR, .mode = 0500);
	ENTRY(.path = "a/b", .type = MSG_ENTRY_DIR, .mode = 0700);
	ENTRY(.path = "a/b/f", .mode = 04755, .size = sizeof(block) + 3, .mtime_ns = 1);
	tell(FRAME_DATA, block, sizeof(block));
	tell(FRAME_DATA, "end", 3);
	ENTRY(.path = "a/c", .mode = 0640, .has_owner = true, .uid = 7, .gid = 8, .size = 9);
	tell(FRAME_DATA, "less", 4);
	ENTRY(.path = "l", .type = MSG_ENTRY_SYMLINK, .target = "../x", .mtime_ns = 2000000000);
	done(6, sizeof(block) + 7);
	st = look("to/tree");
	assert_int_equal(st.st_mode, S_IFDIR | 02751);
	assert_int_equal(st.st_mtim.tv_sec, 1000000000); /* though it was filled later */
	assert_int_equal(st.st_mtim.tv_nsec, 1);
	assert_int_equal(st.st_uid, 1234);
	st = look("to/tree/a/b/f");
	assert_int_equal(st.st_mode, S_IFREG | 04755);
	assert_int_equal(st.st_size, sizeof(block) + 3);
	assert_int_equal(st.st_gid, 5678);
	assert_int_equal(st.st_mtim.tv_nsec, 1);
	st = look("to/tree/a/c");
	assert_true(st.st_uid == 7 && st.st_gid == 8);
	text_is("to/tree/a/c", "less");
	st = look("to/tree/l");
	assert_true(S_ISLNK(st.st_mode) && st.st_uid == 1234 && st.st_mtim.tv_sec == 2);
	assert_int_equal(readlinkat(top_fd, "to/tree/l", target, sizeof(target)), 4);
	assert_memory_equal(target, "../x", 4);
}

static void what_is_there_is_replaced(void **state)
{
	struct stat st;

	(void)state;
	need_root();
	mkdirat(top_fd, "d", 0700);
	write_file("d/f", "old and longer");
	assert_int_equal(fchownat(top_fd, "d/f", 3, 4, 0), 0);
	write_file("secret", "kept");
	make_link("/secret", "d/l");
	mkdirat(top_fd, "d/sub", 0700);
	ask_put("/d", NULL, false);
	ENTRY(.path = "", .type = MSG_ENTRY_DIR, .mode = 0777);
	ENTRY(.path = "f", .mode = 0600, .size = 3);
	tell(FRAME_DATA, "new", 3);
	ENTRY(.path = "l", .mode = 0600, .size = 1);
	tell(FRAME_DATA, "x", 1);
	done(3, 4);
	assert_int_equal(look("d").st_mode, S_IFDIR | 0700); /* a folder stays as it is */
	text_is("d/f", "new");
	st = look("d/f");
	assert_true(st.st_uid == 3 && st.st_gid == 4 && (st.st_mode & 07777) == 0600);
	text_is("d/l", "x"); /* a link is not written through */
	text_is("secret", "kept");
	ask_put("/d", NULL, false);
	ENTRY(.path = "", .type = MSG_ENTRY_DIR, .mode = 0777);
	ENTRY(.path = "sub", .mode = 0600);
	refused(MSG_FAIL_OTHER, EISDIR, "file /d/sub");
	ask_put("/d", NULL, false);
	ENTRY(.path = "", .type = MSG_ENTRY_DIR, .mode = 0777);
	ENTRY(.path = "f", .type = MSG_ENTRY_DIR, .mode = 0777);
	refused(MSG_FAIL_OTHER, ENOTDIR, "folder /d/f");
}

/** one() - Ask for a file of one byte. */
static void one(const char *path, const char *name)
{
	ask_put(path, name, false);
	ENTRY(.path = "", .mode = 0600, .size = 1);
	tell(FRAME_DATA, "1", 1);
}

static void where_it_goes(void **state)
{
	(void)state;
	need_root();
	mkdirat(top_fd, "real", 0755);
	make_link("/real", "link"); /* inside this root */
	write_file("file", "f");
	make_link("../../../file", "real/to-file");
	one("/link", "n");
	done(1, 1);
	text_is("real/n", "1");
	one("/link/m", "n"); /* there is no such folder: this is the name */
	done(1, 1);
	text_is("real/m", "1");
	one("/real/to-file", NULL);
	done(1, 1);
	text_is("file", "1");
	assert_true(S_ISLNK(look("real/to-file").st_mode));
	one("/../../escaped", NULL);
	done(1, 1);
	text_is("escaped", "1");
	one("/", "rooted");
	done(1, 1);
	text_is("rooted", "1");
	one("/none/", "n");
	refused(MSG_FAIL_OTHER, ENOENT, "folder /none");
	one("/none/n", NULL);
	refused(MSG_FAIL_OTHER, ENOENT, "folder /none/");
	one("/file/n", NULL);
	refused(MSG_FAIL_OTHER, ENOTDIR, "folder /file/");
	one("relative", NULL);
	refused(MSG_FAIL_BAD_ARGS, 0, "bad request");
	one("/real", "a/b");
	refused(MSG_FAIL_BAD_ARGS, 0, "bad request");
	one("/real", "..");
	refused(MSG_FAIL_BAD_ARGS, 0, "bad request");
	assert_int_equal(mkfifoat(top_fd, "fifo", 0600), 0);
	one("/fifo", NULL);
	refused(MSG_FAIL_OTHER, 0, "something else than a file at /fifo");
}

static void disorder_is_refused(void **state)
{
	(void)state;
	need_root();
#define TREE()                                                           \
	do {                                                             \
		ask_put("/d", NULL, false);                              \
		ENTRY(.path = "", .type = MSG_ENTRY_DIR, .mode = 0700);  \
		ENTRY(.path = "a", .type = MSG_ENTRY_DIR, .mode = 0700); \
		ENTRY(.path = "b", .type = MSG_ENTRY_DIR, .mode = 0700); \
	} while (0)
#define BAD() refused(MSG_FAIL_BAD_ARGS, 0, "bad request")
	TREE();
	ENTRY(.path = "a/f"); /* that folder is closed */
	BAD();
	TREE();
	ENTRY(.path = "b/../../f");
	BAD();
	TREE();
	ENTRY(.path = "/etc/f");
	BAD();
	TREE();
	ENTRY(.path = "");
	BAD();
	TREE();
	ENTRY(.path = "b/x", .type = MSG_ENTRY_TYPE_COUNT);
	BAD();
	TREE();
	tell(FRAME_DATA, "x", 1);
	BAD();
	TREE();
	ENTRY(.path = "b/x", .size = 1);
	tell(FRAME_DATA, "xy", 2);
	BAD();
	TREE();
	tell(FRAME_ENTRY, "nonsense", 8);
	BAD();
	ask_put("/f", NULL, false);
	ENTRY(.path = "below");
	BAD();
	ask_put("/f", NULL, false);
	tell(FRAME_END, NULL, 0);
	BAD();
	ask_put("/f", NULL, false);
	ENTRY(.path = "");
	ENTRY(.path = "x"); /* in a file */
	BAD();
	assert_false(there("etc"));
}

static void a_host_that_leaves(void **state)
{
	(void)state;
	need_root();
	ask_put("/f", NULL, false);
	ENTRY(.path = "", .size = 10);
	gone();
	ask_get("/f");
	gone();
}

static void a_tree_goes(void **state)
{
	static const char *const names[] = { "", "d", "d/big", "l" };
	struct msg_entry seen[ARRAY_LEN(names)] = { 0 };
	char big[FRAME_STREAM_MAX + 5];
	size_t entries = 0, bytes = 0;
	struct frame f;

	(void)state;
	need_root();
	mkdirat(top_fd, "t", 0750);
	mkdirat(top_fd, "t/d", 0700);
	memset(big, 'b', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	write_file("t/d/big", big);
	assert_int_equal(fchownat(top_fd, "t/d/big", 11, 12, 0), 0);
	make_link("/outside", "t/l");
	ask_get("/t");
	for (f = next(); f.type == FRAME_ENTRY || f.type == FRAME_DATA; f = next()) {
		struct msg_entry e;

		if (f.type == FRAME_DATA) {
			assert_true(f.body_len <= FRAME_STREAM_MAX && f.body[0] == 'b');
			bytes += f.body_len;
			continue;
		}
		assert_true(msg_decode_entry(f.body, f.body_len, &e));
		assert_true(entries > 0 || !*e.path); /* itself first */
		for (size_t i = 0; i < ARRAY_LEN(names); i++)
			if (strcmp(e.path, names[i]) == 0)
				seen[i] = e;
		if (strcmp(e.path, "l") == 0)
			assert_string_equal(e.target, "/outside");
		entries++;
	}
	assert_int_equal(f.type, FRAME_END);
	assert_int_equal(next().type, 0);
	assert_int_equal(entries, ARRAY_LEN(names));
	assert_int_equal(bytes, sizeof(big) - 1);
	assert_int_equal(seen[0].type, MSG_ENTRY_DIR);
	assert_int_equal(seen[0].mode, 0750);
	assert_int_equal(seen[2].size, sizeof(big) - 1);
	assert_true(seen[2].has_owner && seen[2].uid == 11 && seen[2].gid == 12);
	assert_int_equal(seen[3].type, MSG_ENTRY_SYMLINK);
	gone();
	ask_get("/t/l"); /* itself, not what it leads to */
	f = next();
	assert_int_equal(f.type, FRAME_ENTRY);
	assert_int_equal(next().type, FRAME_END);
	gone();
}

static void what_cannot_go(void **state)
{
	(void)state;
	need_root();
	ask_get("/none");
	refused(MSG_FAIL_OTHER, ENOENT, "/none");
	ask_get("none");
	refused(MSG_FAIL_BAD_ARGS, 0, "bad request");
	mkdirat(top_fd, "t", 0750);
	assert_int_equal(mkfifoat(top_fd, "t/fifo", 0600), 0);
	ask_get("/t");
	refused(MSG_FAIL_OTHER, 0, "cannot copy the pipe /t/fifo");
	ask_get("/t/fifo");
	refused(MSG_FAIL_OTHER, 0, "cannot copy the pipe /t/fifo");
}

static void deep_folders(void **state)
{
	char path[2 * (MSG_ENTRY_DEPTH_MAX + 4) + 1] = "", below[sizeof(path)];

	(void)state;
	need_root();
	for (size_t i = 0; i < MSG_ENTRY_DEPTH_MAX + 2; i++) {
		memcpy(path + 2 * i, "/d", 3);
		assert_int_equal(mkdirat(top_fd, path + 1, 0755), 0);
	}
	ask_get("/d");
	refused(MSG_FAIL_OTHER, ELOOP, "folder /d/d");
	ask_get("/d/d");
	for (struct frame f = next(); f.type != FRAME_END; f = next())
		assert_int_equal(f.type, FRAME_ENTRY);
	gone();
	memcpy(below, path, sizeof(path));
	ask_put("/p", NULL, false);
	ENTRY(.path = "", .type = MSG_ENTRY_DIR, .mode = 0755);
	for (size_t i = 1; i <= MSG_ENTRY_DEPTH_MAX; i++) {
		path[2 * i] = '\0';
		ENTRY(.path = path + 1, .type = MSG_ENTRY_DIR, .mode = 0755);
		path[2 * i] = '/';
	}
	done(1 + MSG_ENTRY_DEPTH_MAX, 0);
	for (size_t i = MSG_ENTRY_DEPTH_MAX + 2; i > 0; i--) { /* deeper than what finish() removes */
		path[2 * i] = '\0';
		assert_int_equal(unlinkat(top_fd, path + 1, AT_REMOVEDIR), 0);
	}
	memcpy(path, "p", 1);
	for (size_t i = MSG_ENTRY_DEPTH_MAX; i > 0; i--) {
		snprintf(path + 1, sizeof(path) - 1, "%.*s", (int)(2 * i), below);
		assert_int_equal(unlinkat(top_fd, path, AT_REMOVEDIR), 0);
	}
}

static void folders_are_made(void **state)
{
	struct failure f;
	int fd;

	(void)state;
	mkdirat(top_fd, "real", 0755);
	make_link("/real", "link");
	make_link("/nowhere", "dangling");
	write_file("file", "");
#define MAKE(path) (fd = place_make(top_fd, path, &f), close(fd), fd >= 0)
	assert_true(MAKE("/a/b//c/"));
	assert_true(there("a/b/c"));
	assert_true(MAKE("/a/b/c")); /* again */
	assert_true(MAKE("/link/x/y"));
	assert_true(there("real/x/y"));
	assert_true(MAKE("/../../up"));
	assert_true(there("up"));
	assert_true(MAKE("/"));
	assert_false(MAKE("/file/x"));
	assert_true(f.kind == MSG_FAIL_MOUNT && f.sys_errno == ENOTDIR);
	assert_non_null(strstr(f.text, "/file"));
	assert_false(MAKE("/dangling/x"));
	assert_int_equal(f.sys_errno, ENOENT);
	assert_false(MAKE("relative"));
	assert_false(MAKE(""));
	assert_int_equal(f.kind, MSG_FAIL_BAD_ARGS);
}

static void places_are_removed(void **state)
{
	static struct msg_boot boot;
	struct failure f;

	(void)state;
	mkdirat(top_fd, "real", 0755);
	write_file("real/kept", "");
	mkdirat(top_fd, "d", 0755);
	mkdirat(top_fd, "d/e", 0755);
	make_link("/real", "d/e/link");
	make_link("/real", "link");
	write_file("file", "");
#define REMOVE(path) (boot.removes = (struct msg_strings){ 1, { path } }, places_remove(top_fd, &boot, &f))
	assert_true(REMOVE("/d/"));
	assert_false(there("d"));
	assert_true(REMOVE("/link")); /* itself */
	assert_true(there("real/kept"));
	assert_true(REMOVE("/file"));
	assert_true(REMOVE("/file")); /* again */
	assert_true(REMOVE("/none/x"));
	assert_true(REMOVE("/real/kept/x")); /* not a folder: nothing there */
	make_link("/real", "link");
	assert_true(REMOVE("/link/kept")); /* on the way links count */
	assert_false(there("real/kept"));
	assert_true(there("real"));
	assert_false(REMOVE("/"));
	assert_int_equal(f.kind, MSG_FAIL_BAD_ARGS);
	assert_false(REMOVE("/real/.."));
	assert_false(REMOVE("real"));
	assert_true(there("real"));
}

static void implicit_tmp_gives_way(void **state)
{
	static struct msg_boot boot;

	(void)state;
	boot.tmpfs_count = 2;
	boot.tmpfs[0].path = "/tmp/x";
	boot.tmpfs[1].path = "/tmpx";
	assert_false(places_has_tmp(&boot));
	boot.tmpfs[1].path = "/tmp//";
	assert_true(places_has_tmp(&boot));
	boot.tmpfs[1].path = "/tmp";
	assert_true(places_has_tmp(&boot));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, finish)
	const struct CMUnitTest tests[] = {
		T(a_tree_comes),	   T(what_is_there_is_replaced),
		T(where_it_goes),	   T(disorder_is_refused),
		T(a_host_that_leaves),	   T(a_tree_goes),
		T(what_cannot_go),	   T(deep_folders),
		T(folders_are_made),	   T(places_are_removed),
		T(implicit_tmp_gives_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
