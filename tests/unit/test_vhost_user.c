/* SPDX-License-Identifier: Apache-2.0 */
/* vhost-user as a peer: a small front end speaks to a block device; then every message with something wrong in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "virtio/transport.h"
#include "loop_pump.h"

#define NO_FD (-1)
#define MEM_SIZE 0x20000u
#define GPA 0x100000u
#define USER 0x7f0000000000ULL
#define FEATURES (1ULL << 30 | 1ULL << 32)

enum { GET_FEATURES = 1, SET_FEATURES, SET_OWNER, RESET_OWNER, SET_MEM_TABLE, SET_VRING_NUM = 8, SET_VRING_ADDR,
       SET_VRING_BASE, GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR, GET_PROTOCOL_FEATURES,
       SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, SET_VRING_ENABLE, GET_CONFIG = 24 };

static struct loop *loop;
static struct virtio_device *dev;
static struct vhost_user *vu;
static int sock, mem_fd, kick_fd, call_fd;
static uint8_t *mem;
static unsigned int closed;

static void on_closed(void *arg)
{
	(void)arg;
	closed++;
}

static int start(void **state)
{
	int pair[2], file = fd_memfd("disk", 1 << 20, false);

	(void)state;
	loop = loop_new(NULL);
	assert_int_equal(pwrite(file, "sector two", 10, 1024), 10);
	dev = virtio_blk_new(loop, "blk0", disk_open_raw(file, false, NULL), NULL);
	assert_non_null(dev);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	sock = pair[1];
	fd_set_nonblock(sock, true);
	vu = vhost_user_new(dev, pair[0], on_closed, NULL, NULL);
	assert_non_null(vu);
	mem_fd = fd_memfd("ram", MEM_SIZE, true);
	assert_int_equal(fcntl(mem_fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	mem = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, mem_fd, 0);
	assert_ptr_not_equal(mem, MAP_FAILED);
	kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	closed = 0;
	return 0;
}

static int stop(void **state)
{
	(void)state;
	vhost_user_free(vu);
	dev->ops->destroy(dev);
	loop_free(loop);
	munmap(mem, MEM_SIZE);
	close(mem_fd);
	close(kick_fd);
	close(call_fd);
	fd_close(&sock);
	return 0;
}

/** send_raw() - Header with any flags and size, payload, one descriptor or none. */
static void send_raw(uint32_t request, uint32_t flags, uint32_t claimed, const void *payload, size_t n, int fd)
{
	uint8_t bytes[600];
	uint32_t head[3] = { request, flags, claimed };

	memcpy(bytes, head, 12);
	if (n)
		memcpy(bytes + 12, payload, n);
	assert_int_equal(fd_send_msg(sock, bytes, 12 + n, &fd, fd == NO_FD ? 0 : 1), 0);
	loop_pump(loop, 4);
}

static void request(uint32_t type, const void *payload, size_t n, int fd)
{
	send_raw(type, 1, (uint32_t)n, payload, n, fd);
}

/** answer() - Payload of the reply that is there. */
static size_t answer(uint32_t type, void *payload, size_t max)
{
	uint8_t bytes[600];
	uint32_t head[3];
	ssize_t n = read(sock, bytes, sizeof(bytes));

	assert_true(n >= 12);
	memcpy(head, bytes, 12);
	assert_int_equal(head[0], type);
	assert_int_equal(head[1], 5);
	assert_int_equal(head[2], n - 12);
	assert_true((size_t)n - 12 <= max);
	memcpy(payload, bytes + 12, (size_t)n - 12);
	return (size_t)n - 12;
}

static uint64_t get_u64(uint32_t type)
{
	uint64_t v;

	request(type, NULL, 0, NO_FD);
	assert_int_equal(answer(type, &v, sizeof(v)), 8);
	return v;
}

static void set_u64(uint32_t type, uint64_t v, int fd)
{
	request(type, &v, sizeof(v), fd);
}

static void set_state(uint32_t type, uint32_t index, uint32_t value)
{
	request(type, (uint32_t[2]){ index, value }, 8, NO_FD);
}

static void set_table(uint64_t gpa, uint64_t size, uint64_t user, uint64_t offset, int fd)
{
	request(SET_MEM_TABLE, (uint64_t[5]){ 1, gpa, size, user, offset }, 40, fd);
}

static void set_addr(uint64_t desc, uint64_t used, uint64_t avail)
{
	request(SET_VRING_ADDR, (uint64_t[5]){ 0, desc, used, avail, 0 }, 40, NO_FD);
}

/** prepare() - All but the kick of ring 0: table at 0, available ring at 0x1000, used ring at 0x2000. */
static void prepare(void)
{
	request(SET_OWNER, NULL, 0, NO_FD);
	set_u64(SET_FEATURES, FEATURES, NO_FD);
	set_table(GPA, MEM_SIZE, USER, 0, mem_fd);
	set_state(SET_VRING_NUM, 0, 8);
	set_state(SET_VRING_BASE, 0, 0);
	set_addr(USER, USER + 0x2000, USER + 0x1000);
	set_u64(SET_VRING_CALL, 0, call_fd);
	assert_int_equal(closed, 0);
}

static void put(uint32_t at, uint64_t v, size_t n)
{
	memcpy(mem + at, &v, n);
}

static void descriptor(unsigned int i, uint32_t at, uint32_t len, uint16_t flags)
{
	put(16 * i, GPA + at, 8);
	put(16 * i + 8, len, 4);
	put(16 * i + 12, flags, 2);
	put(16 * i + 14, i + 1, 2);
}

/** offer_read() - Request number `n` of the driver: read sector 2. */
static void offer_read(uint16_t n)
{
	put(0x3000, 0, 8);
	put(0x3008, 2, 8);
	descriptor(0, 0x3000, 16, 1);
	descriptor(1, 0x4000, 512, 3);
	descriptor(2, 0x5000, 1, 2);
	memset(mem + 0x4000, 0, 512);
	put(0x1000 + 4 + 2u * (n % 8), 0, 2);
	put(0x1002, (uint16_t)(n + 1), 2);
}

static uint64_t take(int fd)
{
	uint64_t v = 0;

	return read(fd, &v, sizeof(v)) == sizeof(v) ? v : 0;
}

static uint16_t used_index(void)
{
	uint16_t v;

	memcpy(&v, mem + 0x2002, 2);
	return v;
}

static void whole_life(void **state)
{
	uint8_t config[12 + 60] = { 0 };
	uint32_t base[2];
	uint64_t capacity, one = 1;

	(void)state;
	assert_true(get_u64(GET_FEATURES) & 1ULL << 30);
	assert_int_equal(get_u64(GET_PROTOCOL_FEATURES), 1 << 3 | 1 << 9);
	set_u64(SET_PROTOCOL_FEATURES, 1 << 9, NO_FD);
	assert_int_equal(get_u64(GET_QUEUE_NUM), 1);
	config[4] = 60;
	request(GET_CONFIG, config, sizeof(config), NO_FD);
	assert_int_equal(answer(GET_CONFIG, config, sizeof(config)), sizeof(config));
	memcpy(&capacity, config + 12, 8);
	assert_int_equal(capacity, 2048);
	prepare();
	offer_read(0);
	set_u64(SET_VRING_KICK, 0, kick_fd);
	assert_int_equal(closed, 0);
	assert_int_equal(used_index(), 1); /* what waited was looked at */
	assert_memory_equal(mem + 0x4000, "sector two", 10);
	assert_int_equal(take(call_fd), 1);
	offer_read(1);
	assert_int_equal(write(kick_fd, &one, 8), 8);
	loop_pump(loop, 4);
	assert_int_equal(used_index(), 2);
	assert_int_equal(take(call_fd), 1);
	/* A new call descriptor is signalled: the old one may not have been heard. */
	set_u64(SET_VRING_CALL, 0, call_fd);
	assert_int_equal(take(call_fd), 1);
	set_state(SET_VRING_ENABLE, 0, 1);
	set_state(GET_VRING_BASE, 0, 0);
	assert_int_equal(answer(GET_VRING_BASE, base, sizeof(base)), 8);
	assert_int_equal(base[1], 2);
	assert_false(dev->active);
	offer_read(2);
	assert_int_equal(write(kick_fd, &one, 8), 8);
	loop_pump(loop, 4);
	assert_int_equal(used_index(), 2); /* stopped */
	take(kick_fd);
	/* A second life, from where it stood, with a new table. */
	set_table(GPA, MEM_SIZE, USER * 2, 0, mem_fd);
	set_addr(USER * 2, USER * 2 + 0x2000, USER * 2 + 0x1000);
	set_state(SET_VRING_BASE, 0, 2);
	set_u64(SET_VRING_KICK, 0, kick_fd);
	assert_int_equal(used_index(), 3);
	assert_int_equal(closed, 0);
	fd_close(&sock);
	loop_pump(loop, 4);
	assert_int_equal(closed, 1);
	assert_false(dev->active);
}

static void in_pieces(void **state)
{
	uint64_t table[5] = { 1, GPA, MEM_SIZE, USER, 0 };
	uint8_t bytes[52];

	(void)state;
	memcpy(bytes, (uint32_t[3]){ SET_MEM_TABLE, 1 | 8, 40 }, 12);
	memcpy(bytes + 12, table, 40);
	set_u64(SET_PROTOCOL_FEATURES, 1 << 3, NO_FD);
	assert_int_equal(fd_send_msg(sock, bytes, 1, &mem_fd, 1), 0);
	loop_pump(loop, 4);
	for (size_t i = 1; i < sizeof(bytes); i += 3) {
		assert_true(write(sock, bytes + i, MIN((size_t)3, sizeof(bytes) - i)) > 0);
		loop_pump(loop, 4);
	}
	assert_int_equal(answer(SET_MEM_TABLE, table, 8), 8);
	assert_int_equal(table[0], 0);
	assert_int_equal(closed, 0);
}

static void refusal_is_answered(void **state)
{
	uint64_t v = 0;

	(void)state;
	set_u64(SET_PROTOCOL_FEATURES, 1 << 3, NO_FD);
	send_raw(SET_FEATURES, 1 | 8, 8, &(uint64_t){ 1ULL << 63 }, 8, NO_FD);
	answer(SET_FEATURES, &v, 8);
	assert_int_equal(v, 1);
	assert_int_equal(closed, 1);
}

/** bad() - The connection was closed by what was sent since start(); begin anew. */
static void bad(void)
{
	char c;

	assert_int_equal(closed, 1);
	assert_true(read(sock, &c, 1) <= 0);
	stop(NULL);
	start(NULL);
}

static void bad_messages(void **state)
{
	int pipe_fds[2], plain;

	(void)state;
	send_raw(GET_FEATURES, 2, 0, NULL, 0, NO_FD); /* version */
	bad();
	send_raw(GET_FEATURES, 5, 0, NULL, 0, NO_FD); /* a reply */
	bad();
	send_raw(GET_FEATURES, 1, 513, NULL, 0, NO_FD);
	bad();
	send_raw(GET_FEATURES, 1, UINT32_MAX, NULL, 0, NO_FD);
	bad();
	request(0, NULL, 0, NO_FD);
	bad();
	request(99, NULL, 0, NO_FD);
	bad();
	request(GET_FEATURES, NULL, 0, mem_fd); /* a descriptor it does not take */
	bad();
	request(SET_FEATURES, "1234", 4, NO_FD);
	bad();
	set_u64(SET_PROTOCOL_FEATURES, 1 << 4, NO_FD); /* not offered */
	bad();
	request(GET_CONFIG, (uint32_t[3]){ 0, 60, 0 }, 12, NO_FD);
	bad();
	request(GET_CONFIG, (uint32_t[3]){ 0, UINT32_MAX, 0 }, 12, NO_FD);
	bad();
	set_state(SET_VRING_NUM, 1, 8); /* no such ring */
	bad();
	set_state(SET_VRING_NUM, 0, 65536);
	bad();
	request(SET_VRING_NUM, "12", 2, NO_FD);
	bad();
	set_state(GET_VRING_BASE, UINT32_MAX, 0);
	bad();
	set_u64(SET_VRING_CALL, 0, NO_FD); /* says there is one */
	bad();
	set_u64(SET_VRING_CALL, 256, call_fd); /* says there is none */
	bad();
	prepare();
	set_u64(SET_VRING_KICK, 256, NO_FD); /* polling */
	bad();
	assert_int_equal(pipe(pipe_fds), 0);
	prepare();
	set_u64(SET_VRING_KICK, 0, pipe_fds[0]);
	bad();
	set_u64(SET_VRING_CALL, 0, pipe_fds[1]);
	bad();
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	plain = fd_memfd("plain", 64, false);
	prepare();
	set_u64(SET_VRING_KICK, 0, plain); /* a file is no doorbell */
	bad();
	set_u64(SET_VRING_CALL, 0, plain); /* nor an interrupt: it would grow beyond QEMU's limit */
	bad();
	close(plain);
	plain = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	set_u64(SET_VRING_CALL, 0, plain);
	bad();
	close(plain);
	set_u64(SET_VRING_KICK, 0, kick_fd); /* nothing is known of the ring */
	bad();
}

static void bad_memory(void **state)
{
	int open_memfd = fd_memfd("ram", MEM_SIZE, true);

	(void)state;
	set_table(GPA, MEM_SIZE, USER, 0, open_memfd); /* could shrink under us */
	bad();
	close(open_memfd);
	set_table(GPA, MEM_SIZE, USER, 0, NO_FD);
	bad();
	set_table(GPA, 0, USER, 0, mem_fd);
	bad();
	set_table(GPA, MEM_SIZE + 4096, USER, 0, mem_fd);
	bad();
	set_table(GPA, MEM_SIZE, USER, 4096, mem_fd);
	bad();
	set_table(GPA, 4096, USER, UINT64_MAX - 4095, mem_fd);
	bad();
	set_table(UINT64_MAX - 4095, MEM_SIZE, USER, 0, mem_fd);
	bad();
	set_table(GPA, MEM_SIZE, UINT64_MAX - 10, 0, mem_fd);
	bad();
	set_table(GPA + 1, 4096, USER, 0, mem_fd);
	bad();
	request(SET_MEM_TABLE, (uint64_t[5]){ 9, GPA, 4096, USER, 0 }, 40, mem_fd);
	bad();
	request(SET_MEM_TABLE, (uint64_t[5]){ 0, GPA, 4096, USER, 0 }, 40, NO_FD);
	bad();
	request(SET_MEM_TABLE, (uint64_t[5]){ 1, GPA, 4096, USER, 0 }, 32, mem_fd);
	bad();
	prepare();
	set_addr(USER + MEM_SIZE, USER + 0x2000, USER + 0x1000);
	bad();
	prepare();
	set_addr(USER - 1, USER + 0x2000, USER + 0x1000);
	bad();
	prepare();
	set_addr(USER + MEM_SIZE - 16, USER + 0x2000, USER + 0x1000); /* starts inside, ends outside */
	set_u64(SET_VRING_KICK, 0, kick_fd);
	bad();
	prepare();
	set_u64(SET_VRING_KICK, 0, kick_fd);
	assert_int_equal(closed, 0);
	set_table(GPA, MEM_SIZE, USER, 0, mem_fd); /* under a running ring */
	bad();
	prepare();
	set_state(SET_VRING_NUM, 0, 3);
	set_u64(SET_VRING_KICK, 0, kick_fd);
	bad();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(whole_life, start, stop),
		cmocka_unit_test_setup_teardown(in_pieces, start, stop),
		cmocka_unit_test_setup_teardown(refusal_is_answered, start, stop),
		cmocka_unit_test_setup_teardown(bad_messages, start, stop),
		cmocka_unit_test_setup_teardown(bad_memory, start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
