/* SPDX-License-Identifier: Apache-2.0 */
/* The vsock device, driven as a guest would: one fake memory per queue, packets by hand, a socket pair per connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "proto/frame.h"
#include "loop_pump.h"
#include "virtio_driver.h"

#define SIZE 16
#define RX_BYTES 2048u
#define HEADER 44u
#define CREDIT (128u * 1024)
#define DATA (DRIVER_DATA + 0x1000)

enum { REQUEST = 1, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST };
enum { RCV = 1, SEND = 2 };

struct packet {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
	const uint8_t *data;
};

static struct driver rx, tx;
static struct virtio_device *dev;
static struct loop *loop;
static int control;
static uint16_t rx_seen;
static uint32_t failed_id, failures;
static uint32_t guest_alloc, guest_fwd;

static void on_failed(void *arg, uint32_t id)
{
	(void)arg;
	failed_id = id;
	failures++;
}

/** offer_rx() - Buffers for n packets, from descriptor `first` on. */
static void offer_rx(unsigned int first, unsigned int n)
{
	for (unsigned int i = first; i < first + n; i++) {
		desc(&rx, i, DRIVER_DATA + i * RX_BYTES, RX_BYTES, D_WRITE, 0);
		offer(&rx, (uint16_t)i);
	}
	dev->ops->kick(dev, 0);
}

static void set_up(unsigned int rx_buffers)
{
	driver_init(&rx, SIZE);
	driver_init(&tx, SIZE);
	rx_seen = 0;
	assert_true(queue_setup(&dev->queues[0], &rx.mem, SIZE, DRIVER_DESC, DRIVER_AVAIL, DRIVER_USED, DRIVER_FEATURES));
	assert_true(queue_setup(&dev->queues[1], &tx.mem, SIZE, DRIVER_DESC, DRIVER_AVAIL, DRIVER_USED, DRIVER_FEATURES));
	dev->active = true;
	dev->broken = false;
	offer_rx(0, rx_buffers);
}

static int start(void **state)
{
	int pair[2];

	(void)state;
	loop = loop_new(NULL);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	control = pair[1];
	dev = virtio_vsock_new(loop, pair[0], on_failed, NULL, NULL);
	assert_non_null(dev);
	failures = 0;
	guest_alloc = 256 * 1024;
	guest_fwd = 0;
	set_up(SIZE);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	dev->ops->destroy(dev);
	loop_free(loop);
	close(control);
	return 0;
}

/** poll_packet() - The next packet for the guest, whose buffer is then offered again. Return: false when there is none. */
static bool poll_packet(struct packet *p, bool again)
{
	static uint8_t copy[RX_BYTES];
	uint32_t id, len;

	if (used_idx(&rx) == rx_seen)
		return false;
	id = get32(&rx, DRIVER_USED + 4 + 8u * (rx_seen % SIZE));
	len = used_len(&rx, rx_seen++);
	assert_in_range(len, HEADER, RX_BYTES);
	memcpy(copy, at(&rx, DRIVER_DATA + id * RX_BYTES), len);
	memcpy(&p->src_cid, copy, 8);
	memcpy(&p->dst_cid, copy + 8, 8);
	memcpy(&p->src_port, copy + 16, 4);
	memcpy(&p->dst_port, copy + 20, 4);
	memcpy(&p->len, copy + 24, 4);
	memcpy(&p->type, copy + 28, 2);
	memcpy(&p->op, copy + 30, 2);
	memcpy(&p->flags, copy + 32, 4);
	memcpy(&p->buf_alloc, copy + 36, 4);
	memcpy(&p->fwd_cnt, copy + 40, 4);
	p->data = copy + HEADER;
	assert_int_equal(p->len, len - HEADER);
	assert_int_equal(p->src_cid, 2);
	assert_int_equal(p->dst_cid, 3);
	assert_int_equal(p->type, 1);
	if (again)
		offer_rx(id, 1);
	return true;
}

/** expect() - The next packet is this one. */
static struct packet expect(uint16_t op)
{
	struct packet p = { 0 };

	assert_true(poll_packet(&p, true));
	assert_int_equal(p.op, op);
	return p;
}

static void expect_none(void)
{
	struct packet p;

	assert_false(poll_packet(&p, true));
}

/** raw() - A packet of the guest with every field given. */
static void raw(uint64_t src_cid, uint64_t dst_cid, uint32_t src_port, uint32_t dst_port, uint16_t type, uint16_t op,
		uint32_t flags, const void *data, uint32_t len, uint32_t claimed)
{
	uint64_t h = DRIVER_DATA;

	put64(&tx, h, src_cid);
	put64(&tx, h + 8, dst_cid);
	put32(&tx, h + 16, src_port);
	put32(&tx, h + 20, dst_port);
	put32(&tx, h + 24, claimed);
	put16(&tx, h + 28, type);
	put16(&tx, h + 30, op);
	put32(&tx, h + 32, flags);
	put32(&tx, h + 36, guest_alloc);
	put32(&tx, h + 40, guest_fwd);
	desc(&tx, 0, h, HEADER, len ? D_NEXT : 0, 1);
	if (len) {
		memcpy(at(&tx, DATA), data, len);
		desc(&tx, 1, DATA, len, 0, 0);
	}
	offer(&tx, 0);
	dev->ops->kick(dev, 1);
}

static void guest(uint32_t src_port, uint32_t dst_port, uint16_t op, uint32_t flags, const void *data, uint32_t len)
{
	raw(3, 2, src_port, dst_port, 1, op, flags, data, len, len);
}

/** host_connect() - Ask for a connection to guest port 2. Return: our end; *port: the device's. */
static int host_connect(uint32_t id, uint32_t *port)
{
	struct packet p;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	fd_set_nonblock(pair[1], true);
	assert_int_equal(virtio_vsock_connect(dev, pair[0], 2, id, NULL), 0);
	p = expect(REQUEST);
	assert_int_equal(p.dst_port, 2);
	assert_int_equal(p.buf_alloc, CREDIT);
	assert_true(p.src_port >= 1024);
	*port = p.src_port;
	return pair[1];
}

static int open_conn(uint32_t *port)
{
	int fd = host_connect(1, port);

	guest(2, *port, RESPONSE, 0, NULL, 0);
	return fd;
}

/** at_eof() - The host's peer reads end of file. */
static void at_eof(int fd)
{
	char c;

	assert_int_equal(read(fd, &c, 1), 0);
}

static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 2654435761u >> 11);
}

static void control_connection(void **state)
{
	char text[8];

	(void)state;
	guest(1024, VSOCK_PORT_CONTROL, REQUEST, 0, NULL, 0);
	assert_int_equal(expect(RST).dst_port, 1024);
	guest(1023, 99, REQUEST, 0, NULL, 0);
	assert_int_equal(expect(RST).src_port, 99);
	guest(1023, VSOCK_PORT_CONTROL, REQUEST, 0, NULL, 0);
	expect(RESPONSE);
	guest(1023, VSOCK_PORT_CONTROL, RW, 0, "hello", 5);
	assert_int_equal(read(control, text, sizeof(text)), 5);
	assert_int_equal(write(control, "boot", 4), 4);
	loop_pump(loop, 4);
	assert_memory_equal(expect(RW).data, "boot", 4);
	guest(1023, VSOCK_PORT_CONTROL, RST, 0, NULL, 0);
	at_eof(control);
	/* Once only. */
	guest(1023, VSOCK_PORT_CONTROL, REQUEST, 0, NULL, 0);
	expect(RST);
	expect_none();
}

static void strangers(void **state)
{
	uint32_t port;
	int fd = open_conn(&port);

	(void)state;
	raw(4, 2, 2, port, 1, RW, 0, "x", 1, 1);
	raw(3, 1, 2, port, 1, RW, 0, "x", 1, 1);
	raw(3, (1ULL << 32) + 2, 2, port, 1, RW, 0, "x", 1, 1);
	expect_none();
	guest(2, port + 1, RW, 0, "x", 1);
	assert_int_equal(expect(RST).src_port, port + 1);
	raw(3, 2, 2, port, 2, RW, 0, "x", 1, 1); /* SEQPACKET */
	expect(RST);
	guest(2, port + 1, RST, 0, NULL, 0); /* never answered */
	expect_none();
	guest(2, port, RW, 0, "y", 1);
	assert_int_equal(read(fd, &port, 4), 1);
	close(fd);
}

static void refused(void **state)
{
	uint32_t port;
	int fd = host_connect(77, &port);

	(void)state;
	guest(2, port, RST, 0, NULL, 0);
	assert_int_equal(failures, 1);
	assert_int_equal(failed_id, 77);
	at_eof(fd);
	close(fd);
	/* Data before the answer is no way to open a connection. */
	fd = host_connect(78, &port);
	guest(2, port, RW, 0, "x", 1);
	expect(RST);
	assert_int_equal(failed_id, 78);
	close(fd);
}

static void guest_credit(void **state)
{
	uint8_t sent[5000], got[5000];
	struct packet p;
	size_t have = 0;
	uint32_t port;
	int fd;

	(void)state;
	guest_alloc = 1000;
	fd = open_conn(&port);
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = pattern(i);
	assert_int_equal(write(fd, sent, sizeof(sent)), sizeof(sent));
	while (have < sizeof(sent)) {
		loop_pump(loop, 4);
		p = expect(RW);
		assert_int_equal(p.len, 1000);
		memcpy(got + have, p.data, p.len);
		have += p.len;
		loop_pump(loop, 4);
		expect_none();
		guest_fwd += 600;
		guest(2, port, CREDIT_UPDATE, 0, NULL, 0);
		p = expect(RW);
		assert_int_equal(p.len, MIN(600, sizeof(sent) - have));
		memcpy(got + have, p.data, p.len);
		have += p.len;
		guest_fwd = (uint32_t)have;
		guest(2, port, CREDIT_UPDATE, 0, NULL, 0);
		if (sizeof(sent) - have >= 1000)
			continue;
		while (poll_packet(&p, true)) {
			memcpy(got + have, p.data, p.len);
			have += p.len;
		}
	}
	assert_memory_equal(sent, got, sizeof(sent));
	guest(2, port, CREDIT_REQUEST, 0, NULL, 0);
	expect(CREDIT_UPDATE);
	close(fd);
}

static void no_rx_buffers(void **state)
{
	uint8_t sent[40000];
	struct packet p;
	size_t have = 0;
	uint32_t port;
	int fd = open_conn(&port);

	(void)state;
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = pattern(i);
	assert_int_equal(write(fd, sent, sizeof(sent)), sizeof(sent));
	close(fd); /* whatever was written arrives all the same */
	loop_pump(loop, 4);
	for (;;) {
		assert_true(poll_packet(&p, false));
		if (p.op != RW)
			break;
		assert_memory_equal(p.data, sent + have, p.len);
		have += p.len;
		if (used_idx(&rx) == rx_seen) {
			loop_pump(loop, 4);
			offer_rx(0, 3);
			loop_pump(loop, 4);
		}
	}
	/* Nobody listens on the host's side. */
	while (p.op == SHUTDOWN) {
		assert_int_equal(p.flags, RCV);
		for (;;) {
			if (used_idx(&rx) == rx_seen) {
				offer_rx(0, 3);
				loop_pump(loop, 4);
			}
			assert_true(poll_packet(&p, false));
			if (p.op != RW)
				break;
			assert_memory_equal(p.data, sent + have, p.len);
			have += p.len;
		}
	}
	assert_int_equal(p.op, RST);
	assert_int_equal(have, sizeof(sent));
}

static void slow_host(void **state)
{
	enum { TOTAL = 1 << 20 };
	static uint8_t piece[16384];
	uint32_t port, told = 0, sent = 0, got = 0;
	struct packet p;
	int fd = open_conn(&port);

	(void)state;
	while (got < TOTAL) {
		uint32_t n = MIN(MIN((uint32_t)sizeof(piece), CREDIT - (sent - told)), TOTAL - sent);
		ssize_t r;

		if (n) {
			for (uint32_t i = 0; i < n; i++)
				piece[i] = pattern(sent + i);
			guest(2, port, RW, 0, piece, n);
			sent += n;
		} else {
			r = read(fd, piece, 5000);
			assert_true(r > 0);
			for (ssize_t i = 0; i < r; i++)
				assert_int_equal(piece[i], pattern(got + (size_t)i));
			got += (uint32_t)r;
			loop_pump(loop, 4);
		}
		while (poll_packet(&p, true)) {
			assert_int_equal(p.op, CREDIT_UPDATE);
			told = p.fwd_cnt;
		}
	}
	close(fd);
}

static void credit_broken(void **state)
{
	static uint8_t piece[32768];
	struct packet p = { 0 };
	uint32_t port;
	int fd = open_conn(&port), i;

	(void)state;
	for (i = 0; i < 64 && !poll_packet(&p, true); i++)
		guest(2, port, RW, 0, piece, sizeof(piece));
	/* The socket took some, the ring 128 KiB; then no more. Credit updates ended before. */
	while (p.op == CREDIT_UPDATE && i++ < 64) {
		guest(2, port, RW, 0, piece, sizeof(piece));
		poll_packet(&p, true);
	}
	assert_int_equal(p.op, RST);
	assert_true(i < 64);
	assert_false(dev->broken);
	close(fd);
}

static void half_close(void **state)
{
	uint32_t port;
	char c[4];
	int fd = open_conn(&port);

	(void)state;
	assert_int_equal(write(fd, "in", 2), 2);
	shutdown(fd, SHUT_WR);
	loop_pump(loop, 4);
	assert_int_equal(expect(RW).len, 2);
	assert_int_equal(expect(SHUTDOWN).flags, SEND);
	guest(2, port, RW, 0, "out", 3);
	assert_int_equal(read(fd, c, 4), 3);
	loop_pump(loop, 4);
	expect_none();
	guest(2, port, SHUTDOWN, SEND, NULL, 0);
	at_eof(fd);
	expect(RST);
	close(fd);
	/* The other one first. */
	fd = open_conn(&port);
	guest(2, port, SHUTDOWN, SEND, NULL, 0);
	at_eof(fd);
	assert_int_equal(write(fd, "more", 4), 4);
	loop_pump(loop, 4);
	assert_int_equal(expect(RW).len, 4);
	guest(2, port, RW, 0, "x", 1); /* after its SHUTDOWN(SEND) */
	expect(RST);
	close(fd);
}

/** closes_behind_data() - The guest ends while 400 KiB wait for a slow host: all of it still arrives, then end of file. */
static void closes_behind_data(bool reset)
{
	static uint8_t piece[16384];
	uint32_t port, sent = 0, got = 0, told = 0;
	struct packet p;
	int fd = open_conn(&port);
	ssize_t r;

	assert_int_equal(write(fd, "unread", 6), 6);
	for (;;) {
		uint32_t n = MIN((uint32_t)sizeof(piece), CREDIT - (sent - told));

		if (!n)
			break;
		for (uint32_t i = 0; i < n; i++)
			piece[i] = pattern(sent + i);
		guest(2, port, RW, 0, piece, n);
		sent += n;
		while (poll_packet(&p, true))
			told = p.op == RST ? 0 : p.fwd_cnt;
	}
	guest(2, port, reset ? RST : SHUTDOWN, reset ? 0 : RCV | SEND, NULL, 0);
	if (!reset)
		expect(RST);
	expect_none();
	for (;;) {
		r = read(fd, piece, sizeof(piece));
		if (r == 0)
			break;
		assert_true(r > 0);
		for (ssize_t i = 0; i < r; i++)
			assert_int_equal(piece[i], pattern(got + (size_t)i));
		got += (uint32_t)r;
		loop_pump(loop, 4);
	}
	assert_int_equal(got, sent);
	expect_none();
	close(fd);
}

static void guest_closes_behind_data(void **state)
{
	(void)state;
	closes_behind_data(false);
}

static void guest_resets_behind_data(void **state)
{
	(void)state;
	closes_behind_data(true);
}

static void hang_up_without_credit(void **state)
{
	uint8_t sent[3000];
	struct packet p;
	size_t have = 0;
	uint32_t port;
	int fd;

	(void)state;
	guest_alloc = 0;
	fd = open_conn(&port);
	memset(sent, 'h', sizeof(sent));
	assert_int_equal(write(fd, sent, sizeof(sent)), sizeof(sent));
	close(fd);
	loop_pump(loop, 4);
	assert_int_equal(expect(SHUTDOWN).flags, RCV);
	expect_none();
	guest_alloc = 4096;
	guest(2, port, CREDIT_UPDATE, 0, NULL, 0);
	while (poll_packet(&p, true) && p.op == RW)
		have += p.len;
	assert_int_equal(have, sizeof(sent));
	assert_int_equal(p.op, RST);
}

static void lies_about_length(void **state)
{
	uint32_t port;
	int fd = open_conn(&port);

	(void)state;
	raw(3, 2, 2, port, 1, RW, 0, "x", 1, 2);
	assert_true(dev->broken);
	at_eof(fd);
	close(fd);
}

static void too_many(void **state)
{
	struct error err = ERROR_INIT;
	unsigned int n = 0;
	int pair[2];

	(void)state;
	for (; n < 300; n++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		close(pair[1]);
		if (virtio_vsock_connect(dev, pair[0], 2, n, &err) < 0)
			break;
	}
	assert_int_equal(n, 256);
	assert_int_equal(err.code, ERR_LIMIT);
	dev->ops->reset(dev);
	assert_int_equal(failures, 256);
}

static void garbage(void **state)
{
	uint64_t seed = 88172645463325252ULL;
	uint8_t data[64] = { 0 };
	struct packet p;
	uint32_t port;
	int fd = -1;

	(void)state;
	for (int i = 0; i < 4000; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		if (fd < 0)
			fd = open_conn(&port);
		guest_alloc = seed >> 60 ? 4096 : (uint32_t)seed;
		guest_fwd = (uint32_t)(seed >> 8);
		raw(3, 2, seed >> 40 & 1 ? 2 : 3, port + (seed >> 41 & 1), 1, (uint16_t)(seed >> 50 & 7), (uint32_t)seed & 3, data,
		    seed >> 20 & 63, seed >> 20 & 63);
		if (seed >> 30 & 1)
			assert_true(send(fd, data, 8, MSG_NOSIGNAL) <= 8);
		assert_false(dev->broken);
		if (i % 16 == 0) {
			close(fd);
			fd = -1;
		}
		if (i % 16 == 0)
			loop_pump(loop, 4);
		while (poll_packet(&p, true))
			;
	}
	if (fd >= 0)
		close(fd);
}

/* A driver that breaks the device, resets it and begins anew, for ever, must not fill the log. */
static void broken_in_a_loop(void **state)
{
	char text[65536];
	int log = fd_memfd("log", 0, false);
	ssize_t n;

	(void)state;
	log_setup(LOG_WARN, log, NULL);
	for (int i = 0; i < 200; i++) {
		put16(&tx, DRIVER_AVAIL + 2, (uint16_t)(tx.avail_idx + SIZE + 1));
		dev->ops->kick(dev, 1);
		assert_true(dev->broken);
		virtio_device_reset(dev);
		assert_false(dev->broken);
		set_up(SIZE);
	}
	log_setup(LOG_WARN, STDERR_FILENO, NULL);
	n = fd_pread_full(log, text, sizeof(text), 0);
	assert_in_range(n, 1, 1000);
	close(log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(control_connection, start, stop),
		cmocka_unit_test_setup_teardown(strangers, start, stop),
		cmocka_unit_test_setup_teardown(refused, start, stop),
		cmocka_unit_test_setup_teardown(guest_credit, start, stop),
		cmocka_unit_test_setup_teardown(no_rx_buffers, start, stop),
		cmocka_unit_test_setup_teardown(slow_host, start, stop),
		cmocka_unit_test_setup_teardown(credit_broken, start, stop),
		cmocka_unit_test_setup_teardown(half_close, start, stop),
		cmocka_unit_test_setup_teardown(guest_closes_behind_data, start, stop),
		cmocka_unit_test_setup_teardown(guest_resets_behind_data, start, stop),
		cmocka_unit_test_setup_teardown(hang_up_without_credit, start, stop),
		cmocka_unit_test_setup_teardown(lies_about_length, start, stop),
		cmocka_unit_test_setup_teardown(too_many, start, stop),
		cmocka_unit_test_setup_teardown(garbage, start, stop),
		cmocka_unit_test_setup_teardown(broken_in_a_loop, start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
