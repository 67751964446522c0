/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>
#include <string.h>

#include "base/macros.h"
#include "proto/cbor.h"
#include "proto/frame.h"
#include "proto/message.h"

static struct msg_exec exec_in, exec_out;
static struct msg_boot boot_in, boot_out;

static void frames_round_trip(void **state)
{
	struct buf b = BUF_INIT(MIB(4));
	struct frame f;
	size_t used;

	(void)state;
	assert_true(frame_append(&b, FRAME_STDOUT, 0x01020304, "hello", 5));
	assert_true(frame_append(&b, FRAME_PING, 7, NULL, 0));
	for (size_t n = 0; n < FRAME_HEADER_SIZE + 5; n++)
		assert_int_equal(frame_parse(b.data, n, &f, &used), FRAME_MORE);
	assert_int_equal(frame_parse(b.data, b.len, &f, &used), FRAME_OK);
	assert_int_equal(used, FRAME_HEADER_SIZE + 5);
	assert_int_equal(f.type, FRAME_STDOUT);
	assert_int_equal(f.session, 0x01020304);
	assert_memory_equal(f.body, "hello", 5);
	buf_consume(&b, used);
	assert_int_equal(frame_parse(b.data, b.len, &f, &used), FRAME_OK);
	assert_int_equal(f.type, FRAME_PING);
	assert_int_equal(f.body_len, 0);
	buf_free(&b);
}

static void frame_limits(void **state)
{
	uint8_t h[FRAME_HEADER_SIZE];
	struct buf b = BUF_INIT(MIB(4));
	struct frame f;
	size_t used;

	(void)state;
	frame_header(h, FRAME_EXEC, 1, FRAME_BODY_MAX);
	assert_int_equal(frame_parse(h, sizeof(h), &f, &used), FRAME_MORE);
	frame_header(h, FRAME_EXEC, 1, FRAME_BODY_MAX + 1);
	assert_int_equal(frame_parse(h, sizeof(h), &f, &used), FRAME_BAD);
	assert_int_equal(frame_parse(h, 4, &f, &used), FRAME_BAD); /* as soon as it is known */
	frame_header(h, FRAME_EXEC, 1, 0);
	h[7] = 1;
	assert_int_equal(frame_parse(h, sizeof(h), &f, &used), FRAME_BAD);
	assert_false(frame_append(&b, FRAME_EXEC, 1, h, FRAME_BODY_MAX + 1));
	assert_int_equal(b.len, 0);
	buf_free(&b);
}

/** fill() - A message with every field. */
static void fill(void)
{
	memset(&exec_in, 0, sizeof(exec_in));
	exec_in.argv = (struct msg_strings){ .count = 3, .item = { "ls", "", "-l" } };
	exec_in.env = (struct msg_strings){ .count = 1, .item = { "A=b" } };
	exec_in.cwd = "/work";
	exec_in.user = "1:2";
	exec_in.tty = true;
	exec_in.rows = 24;
	exec_in.cols = 100000;
	exec_in.rlimit_count = 2;
	exec_in.rlimits[0] = (struct msg_rlimit){ 7, 1024, UINT64_MAX };
	exec_in.rlimits[1] = (struct msg_rlimit){ 1, 23, 256 };
}

static void exec_round_trip(void **state)
{
	struct buf b = BUF_INIT(FRAME_BODY_MAX);

	(void)state;
	fill();
	assert_true(msg_encode_exec(&b, &exec_in));
	assert_true(msg_decode_exec(b.data, b.len, &exec_out));
	assert_int_equal(exec_out.argv.count, 3);
	assert_string_equal(exec_out.argv.item[1], "");
	assert_string_equal(exec_out.argv.item[2], "-l");
	assert_string_equal(exec_out.env.item[0], "A=b");
	assert_string_equal(exec_out.cwd, "/work");
	assert_string_equal(exec_out.user, "1:2");
	assert_true(exec_out.tty);
	assert_false(exec_out.stdin_open);
	assert_int_equal(exec_out.cols, 100000);
	assert_int_equal(exec_out.rlimit_count, 2);
	assert_true(exec_out.rlimits[0].hard == UINT64_MAX);
	assert_int_equal(exec_out.rlimits[1].hard, 256);
	buf_free(&b);
}

static void boot_round_trip(void **state)
{
	struct buf b = BUF_INIT(FRAME_BODY_MAX);

	(void)state;
	boot_in = (struct msg_boot){ .hostname = "box", .upper = MSG_UPPER_EXT4, .tmp_bytes = 1 << 20,
				     .realtime_ns = UINT64_MAX, .env = { .count = 2, .item = { "A=1", "B=2" } },
				     .tmpfs_count = 2,
				     .tmpfs = { { .path = "/a", .bytes = 1, .mode = 01700, .read_only = true },
						{ .path = "/b", .noexec = true, .nodev = true } },
				     .restricted = true, .init = "auto", .init_args = { 1, { "--x" } },
				     .init_env = { 1, { "I=1" } }, .mkdirs = { 2, { "/m", "/n/o" } },
				     .removes = { 1, { "/r" } } };
	boot_in.ip4 = "172.16.0.2";
	boot_in.gateway6 = "fd42::1";
	assert_true(msg_encode_boot(&b, &boot_in));
	assert_true(msg_decode_boot(b.data, b.len, &boot_out));
	assert_string_equal(boot_out.ip4, "172.16.0.2");
	assert_string_equal(boot_out.gateway6, "fd42::1");
	assert_null(boot_out.gateway4);
	assert_null(boot_out.ip6);
	assert_string_equal(boot_out.hostname, "box");
	assert_int_equal(boot_out.upper, MSG_UPPER_EXT4);
	assert_true(boot_out.realtime_ns == UINT64_MAX);
	assert_null(boot_out.user);
	assert_null(boot_out.workdir);
	assert_string_equal(boot_out.env.item[1], "B=2");
	assert_int_equal(boot_out.tmpfs_count, 2);
	assert_string_equal(boot_out.tmpfs[0].path, "/a");
	assert_int_equal(boot_out.tmpfs[0].mode, 01700);
	assert_true(boot_out.tmpfs[0].read_only && !boot_out.tmpfs[0].noexec && !boot_out.tmpfs[0].nodev);
	assert_true(!boot_out.tmpfs[1].read_only && boot_out.tmpfs[1].noexec && boot_out.tmpfs[1].nodev);
	assert_true(boot_out.restricted);
	assert_string_equal(boot_out.init, "auto");
	assert_string_equal(boot_out.init_args.item[0], "--x");
	assert_string_equal(boot_out.init_env.item[0], "I=1");
	assert_string_equal(boot_out.mkdirs.item[1], "/n/o");
	assert_string_equal(boot_out.removes.item[0], "/r");
	for (size_t n = 0; n < b.len; n++)
		assert_false(msg_decode_boot(b.data, n, &boot_out));
	boot_in.tmpfs_count = MSG_MOUNTS_MAX + 1;
	b.len = 0;
	assert_false(msg_encode_boot(&b, &boot_in));
	b.len = 0;
	cbor_put_head(&b, CBOR_MAP, 1);
	cbor_put_head(&b, CBOR_UINT, 10);
	cbor_put_head(&b, CBOR_ARRAY, MSG_MOUNTS_MAX + 1);
	for (size_t i = 0; i <= MSG_MOUNTS_MAX; i++)
		buf_append(&b, "\x87\x42/\0\0\0\xf4\xf4\xf4\xf4", 10);
	assert_false(msg_decode_boot(b.data, b.len, &boot_out));
	buf_free(&b);
}

static void small_messages_round_trip(void **state)
{
	struct buf b = BUF_INIT(4096);
	struct msg_hello hello;
	struct msg_ready ready;
	struct msg_failed failed;
	struct msg_started start;
	struct msg_resize size;
	struct msg_signal sig;
	struct msg_taken taken;
	struct msg_clock clock;
	struct msg_exited end;
	struct msg_shutdown stop;
	struct msg_stats stats;

	(void)state;
#define TRIP(kind, var, ...)                                                                                           \
	do {                                                                                                           \
		b.len = 0;                                                                                             \
		assert_true(msg_encode_##kind(&b, &(struct msg_##kind){ __VA_ARGS__ }));                               \
		assert_true(msg_decode_##kind(b.data, b.len, &(var)));                                                 \
		for (size_t n = 0; n < b.len; n++)                                                                     \
			assert_false(msg_decode_##kind(b.data, n, &(var)));                                            \
		assert_true(msg_decode_##kind(b.data, b.len, &(var)));                                                 \
	} while (0)
	TRIP(hello, hello, .version = 1, .kernel_ns = 5000000000);
	assert_true(hello.kernel_ns == 5000000000);
	TRIP(ready, ready, .uid = 1, .gid = 70000, .boot_ns = 24);
	assert_int_equal(ready.gid, 70000);
	TRIP(failed, failed, .kind = MSG_FAIL_PTY, .sys_errno = 255, .text = "why");
	assert_string_equal(failed.text, "why");
	TRIP(started, start, .pid = 23);
	assert_int_equal(start.pid, 23);
	TRIP(resize, size, .rows = 256, .cols = 65536);
	assert_int_equal(size.cols, 65536);
	TRIP(signal, sig, .number = 15);
	TRIP(taken, taken, .bytes = 65536);
	assert_int_equal(sig.number, 15);
	TRIP(clock, clock, .realtime_ns = 4294967296);
	assert_true(clock.realtime_ns == 4294967296);
	TRIP(exited, end, .signaled = true, .code = 9, .oom = true, .disk_full = true);
	assert_true(end.signaled && end.oom);
	TRIP(shutdown, stop, .grace_ms = 10000);
	assert_int_equal(stop.grace_ms, 10000);
	TRIP(stats, stats, .memory_total = 1ULL << 40, .upper_free = 7, .processes = 3);
	assert_true(stats.memory_total == 1ULL << 40 && stats.upper_free == 7 && stats.processes == 3);
	buf_free(&b);
}

static void file_messages_round_trip(void **state)
{
	struct buf b = BUF_INIT(4096);
	struct msg_put put;
	struct msg_get get;
	struct msg_entry entry;
	struct msg_done done;

	(void)state;
	TRIP(put, put, .path = "/tmp/", .name = "a", .user = true);
	assert_string_equal(put.name, "a");
	assert_true(put.user);
	TRIP(get, get, .path = "/etc");
	assert_string_equal(get.path, "/etc");
	TRIP(entry, entry, .path = "", .type = MSG_ENTRY_SYMLINK, .mode = 07777, .has_owner = true, .uid = 1, .gid = 2,
	     .mtime_ns = 3, .size = MSG_ENTRY_SIZE_UNKNOWN, .target = "../x");
	assert_string_equal(entry.path, "");
	assert_string_equal(entry.target, "../x");
	assert_true(entry.type == MSG_ENTRY_SYMLINK && entry.mode == 07777 && entry.has_owner && entry.gid == 2);
	assert_true(entry.size == UINT64_MAX);
	TRIP(done, done, .entries = 2, .bytes = 1ULL << 33);
	assert_true(done.bytes == 1ULL << 33);
	buf_free(&b);
}

static void entry_paths(void **state)
{
	static const char *const good[] = { "", "a", "a/b", "..a/b..", ".a", "a/...", "a b/\xff" };
	static const char *const bad[] = { "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "./a" };
	char deep[4 * MSG_ENTRY_DEPTH_MAX] = "", name[NAME_MAX + 2];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_true(msg_entry_path_ok(good[i]));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(msg_entry_path_ok(bad[i]));
	memset(name, 'x', sizeof(name));
	name[NAME_MAX + 1] = '\0';
	assert_false(msg_entry_path_ok(name));
	name[NAME_MAX] = '\0';
	assert_true(msg_entry_path_ok(name));
	for (size_t i = 0; i <= MSG_ENTRY_DEPTH_MAX; i++)
		memcpy(deep + 2 * i, "d/", 3);
	deep[2 * MSG_ENTRY_DEPTH_MAX - 1] = '\0'; /* so many names: one folder less above the last */
	assert_true(msg_entry_path_ok(deep));
	deep[2 * MSG_ENTRY_DEPTH_MAX - 1] = '/';
	deep[2 * MSG_ENTRY_DEPTH_MAX + 1] = '\0';
	assert_false(msg_entry_path_ok(deep));
}

static void every_truncation_and_tail_fails(void **state)
{
	struct buf b = BUF_INIT(FRAME_BODY_MAX);

	(void)state;
	fill();
	assert_true(msg_encode_exec(&b, &exec_in));
	for (size_t n = 0; n < b.len; n++)
		assert_false(msg_decode_exec(b.data, n, &exec_out));
	buf_append(&b, "", 1);
	assert_false(msg_decode_exec(b.data, b.len, &exec_out));
	buf_free(&b);
}

/* Literal bytes and their number. */
#define BYTES(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })

static void strictness(void **state)
{
	struct msg_signal s;
	struct msg_failed f;
	struct msg_exited e;

	(void)state;
	assert_true(msg_decode_signal(BYTES(0xa1, 1, 15), &s));
	assert_true(msg_decode_signal(BYTES(0xa0), &s));
	assert_int_equal(s.number, 0);
	assert_false(msg_decode_signal(BYTES(0xa2, 1, 15, 1, 16), &s));		/* the key twice */
	assert_false(msg_decode_signal(BYTES(0xa2, 2, 0, 1, 15), &s));		/* keys descend */
	assert_false(msg_decode_signal(BYTES(0xa1, 1, 0x18, 15), &s));		/* not the shortest form */
	assert_false(msg_decode_signal(BYTES(0xa1, 1, 0x19, 0, 0xff), &s));
	assert_false(msg_decode_signal(BYTES(0xa1, 0x18, 1, 15), &s));
	assert_false(msg_decode_signal(BYTES(0xa1, 1, 0x2e), &s));		/* negative */
	assert_false(msg_decode_signal(BYTES(0xa1, 1, 0x41, 0), &s));		/* a string */
	assert_false(msg_decode_signal(BYTES(0xa1, 1, 0xf5), &s));		/* true */
	assert_false(msg_decode_signal(BYTES(0xa1, 1, 0xc1, 15), &s));		/* tag */
	assert_false(msg_decode_signal(BYTES(0xbf, 1, 15, 0xff), &s));		/* indefinite */
	assert_false(msg_decode_signal(BYTES(0x82, 1, 15), &s));		/* array */
	assert_false(msg_decode_signal(BYTES(0xa1, 1, 0x1c), &s));		/* reserved */
	assert_false(msg_decode_exited(BYTES(0xa1, 1, 0xf6), &e));		/* null */
	assert_false(msg_decode_exited(BYTES(0xa1, 1, 1), &e));
	assert_true(msg_decode_failed(BYTES(0xa1, 3, 0x42, 'x', 0), &f));
	assert_string_equal(f.text, "x");
	assert_false(msg_decode_failed(BYTES(0xa1, 3, 0x42, 'x', 'y'), &f));	/* no NUL */
	assert_false(msg_decode_failed(BYTES(0xa1, 3, 0x42, 0, 0), &f));	/* two */
	assert_false(msg_decode_failed(BYTES(0xa1, 3, 0x40), &f));		/* not even one */
	assert_false(msg_decode_failed(BYTES(0xa1, 3, 0x62, 'x', 0), &f));	/* text string */
	assert_false(msg_decode_failed(BYTES(0xa1, 3, 0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0), &f));
}

static void unknown_keys(void **state)
{
	struct msg_signal s;

	(void)state;
	assert_true(msg_decode_signal(BYTES(0xa2, 1, 15, 0x18, 99, 0x82, 1, 0xa1, 2, 0x41, 7), &s));
	assert_int_equal(s.number, 15);
	assert_true(msg_decode_signal(BYTES(0xa1, 9, 0x80), &s));
	assert_true(msg_decode_signal(BYTES(0xa1, 9, 0x81, 0x81, 0x81, 0), &s) ||
		    CBOR_DEPTH_MAX < 4);
	assert_false(msg_decode_signal(BYTES(0xa1, 9, 0x81, 0x81, 0x81, 0x81, 0), &s)); /* too deep */
	assert_false(msg_decode_signal(BYTES(0xa1, 9, 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), &s));
	assert_false(msg_decode_signal(BYTES(0xa1, 9, 0xbb, 0x80, 0, 0, 0, 0, 0, 0, 0), &s)); /* twice that is 0 */
	assert_false(msg_decode_signal(BYTES(0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), &s));
}

static void counts_are_limited(void **state)
{
	struct buf b = BUF_INIT(FRAME_BODY_MAX);

	(void)state;
	memset(&exec_in, 0, sizeof(exec_in));
	exec_in.argv.count = MSG_STRINGS_MAX;
	for (size_t i = 0; i < MSG_STRINGS_MAX; i++)
		exec_in.argv.item[i] = "x";
	assert_true(msg_encode_exec(&b, &exec_in));
	assert_true(msg_decode_exec(b.data, b.len, &exec_out));
	assert_int_equal(exec_out.argv.count, MSG_STRINGS_MAX);
	exec_in.argv.count++;
	b.len = 0;
	assert_false(msg_encode_exec(&b, &exec_in));
	b.len = 0;
	cbor_put_head(&b, CBOR_MAP, 1);
	cbor_put_head(&b, CBOR_UINT, 1);
	cbor_put_head(&b, CBOR_ARRAY, MSG_STRINGS_MAX + 1);
	for (size_t i = 0; i <= MSG_STRINGS_MAX; i++)
		cbor_put_string(&b, "x");
	assert_false(msg_decode_exec(b.data, b.len, &exec_out));
	b.len = 0;
	cbor_put_head(&b, CBOR_MAP, 1);
	cbor_put_head(&b, CBOR_UINT, 9);
	cbor_put_head(&b, CBOR_ARRAY, MSG_RLIMITS_MAX + 1);
	for (size_t i = 0; i <= MSG_RLIMITS_MAX; i++)
		buf_append(&b, "\x83\x00\x00\x00", 4);
	assert_false(msg_decode_exec(b.data, b.len, &exec_out));
	buf_free(&b);
}

static void full_buffer(void **state)
{
	struct buf b = BUF_INIT(16);

	(void)state;
	fill();
	assert_false(msg_encode_exec(&b, &exec_in));
	assert_true(b.failed);
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_round_trip),
		cmocka_unit_test(frame_limits),
		cmocka_unit_test(exec_round_trip),
		cmocka_unit_test(boot_round_trip),
		cmocka_unit_test(small_messages_round_trip),
		cmocka_unit_test(file_messages_round_trip),
		cmocka_unit_test(entry_paths),
		cmocka_unit_test(every_truncation_and_tail_fails),
		cmocka_unit_test(strictness),
		cmocka_unit_test(unknown_keys),
		cmocka_unit_test(counts_are_limited),
		cmocka_unit_test(full_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
