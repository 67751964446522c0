/* SPDX-License-Identifier: Apache-2.0 */
/* The network card, driven by raw descriptors; the test is the gateway at the other end of the socket. */
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
#include "base/macros.h"
#include "loop_pump.h"
#include "virtio_driver.h"

#define SIZE 64
#define HEADER 12
#define ALL_FEATURES (DRIVER_FEATURES | 0x99a3u) /* CSUM, GUEST_CSUM, MAC, GUEST_TSO, HOST_TSO, MRG_RXBUF */
#define MRG (1u << 15)

enum { RX, TX };

static const uint8_t mac[6] = { 2, 0x6d, 0x73, 0x12, 0x34, 2 };
static struct driver rx, tx;
static struct virtio_device *dev;
static struct loop *loop;
static int gateway = -1;
static unsigned int gone;
static uint8_t record[VIRTIO_NET_RECORD_MAX + 100];

static void on_gone(void *arg)
{
	assert_ptr_equal(arg, &gone);
	gone++;
}

static void kick(unsigned int queue)
{
	pthread_mutex_lock(&dev->lock);
	dev->ops->kick(dev, queue);
	pthread_mutex_unlock(&dev->lock);
}

/** activate() - Both rings anew, with these features. */
static void activate(uint64_t features)
{
	virtio_device_reset(dev);
	driver_init(&rx, SIZE);
	driver_init(&tx, SIZE);
	dev->driver_features = features;
	assert_true(queue_setup(&dev->queues[RX], &rx.mem, SIZE, DRIVER_DESC, DRIVER_AVAIL, DRIVER_USED, features));
	assert_true(queue_setup(&dev->queues[TX], &tx.mem, SIZE, DRIVER_DESC, DRIVER_AVAIL, DRIVER_USED, features));
	dev->active = true;
}

static int start(void **state)
{
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	gateway = pair[1];
	gone = 0;
	loop = loop_new(NULL);
	dev = virtio_net_new(loop, pair[0], mac, 1500, on_gone, &gone, NULL);
	assert_non_null(dev);
	activate(ALL_FEATURES);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	dev->ops->destroy(dev);
	loop_free(loop);
	fd_close(&gateway);
	return 0;
}

/** from_guest() - What the gateway gets next, or -1. */
static ssize_t from_guest(void)
{
	return recv(gateway, record, sizeof(record), MSG_DONTWAIT);
}

/** to_guest() - A record: header (flags, gso_type, hdr_len, gso_size, csum_start, csum_offset), frame of counted bytes.
 */
static void to_guest(uint8_t flags, uint8_t gso, uint16_t hdr_len, uint16_t gso_size, uint16_t start_at,
		     uint16_t offset, size_t frame)
{
	const uint16_t words[] = { hdr_len, gso_size, start_at, offset, 1 };
	static uint8_t out[VIRTIO_NET_RECORD_MAX + 100];

	out[0] = flags;
	out[1] = gso;
	memcpy(out + 2, words, sizeof(words));
	for (size_t i = 0; i < frame; i++)
		out[HEADER + i] = (uint8_t)(i * 7 + frame);
	assert_int_equal(send(gateway, out, HEADER + frame, 0), HEADER + frame);
}

/** plain() - Without any offload. */
static void plain(size_t frame)
{
	to_guest(0, 0, 0, 0, 0, 0, frame);
}

/** offer_room() - One buffer of `bytes` as descriptor i. */
static void offer_room(unsigned int i, uint32_t bytes)
{
	desc(&rx, i, DRIVER_DATA + 1600u * i, bytes, D_WRITE, 0);
	offer(&rx, (uint16_t)i);
}

/** expect_frame() - The frame of `frame` bytes is in buffers first, first + 1...: 1600 bytes each, `count` in all. */
static void expect_frame(unsigned int first, uint16_t used, size_t frame, uint16_t count)
{
	size_t at_byte = 0;

	assert_int_equal(get16(&rx, DRIVER_DATA + 1600u * first + 10), count);
	for (unsigned int b = 0; b < count; b++) {
		size_t in = MIN(HEADER + frame - at_byte, 1600u);
		const uint8_t *p = at(&rx, DRIVER_DATA + 1600u * (first + b));

		assert_int_equal(used_len(&rx, (uint16_t)(used + b)), in);
		for (size_t i = 0; i < in; i++, at_byte++)
			if (at_byte >= HEADER)
				assert_int_equal(p[i], (uint8_t)((at_byte - HEADER) * 7 + frame));
	}
	assert_int_equal(at_byte, HEADER + frame);
}

static void offered(void **state)
{
	(void)state;
	assert_int_equal(dev->features & 0xffffff, 0x99ab);
	assert_int_equal(dev->queue_count, 2);
	assert_int_equal(dev->config_len, 12);
	assert_memory_equal(dev->config, mac, 6);
	assert_int_equal(dev->config[10] | dev->config[11] << 8, 1500);
}

/** put_frame() - A frame of the guest's in slot i: header bytes, then `frame` bytes counted up. */
static void put_frame(unsigned int slot, const uint8_t header[HEADER], uint32_t frame)
{
	uint64_t gpa = DRIVER_DATA + 1600u * slot;
	uint8_t *p = at(&tx, gpa);

	memcpy(p, header, HEADER);
	for (uint32_t i = 0; i < frame; i++)
		p[HEADER + i] = (uint8_t)(i + slot);
	desc(&tx, slot, gpa, HEADER + frame, 0, 0);
	offer(&tx, (uint16_t)slot);
}

static void sent_from_many_parts(void **state)
{
	uint8_t *p = at(&tx, DRIVER_DATA);

	(void)state;
	for (unsigned int i = 0; i < 112; i++)
		p[i] = i < HEADER ? 0 : (uint8_t)i;
	/* the header in two parts, the frame in three */
	desc(&tx, 0, DRIVER_DATA, 5, D_NEXT, 1);
	desc(&tx, 1, DRIVER_DATA + 5, 17, D_NEXT, 2);
	desc(&tx, 2, DRIVER_DATA + 22, 1, D_NEXT, 3);
	desc(&tx, 3, DRIVER_DATA + 23, 89, 0, 0);
	offer(&tx, 0);
	kick(TX);
	assert_int_equal(from_guest(), 112);
	assert_memory_equal(record + HEADER, p + HEADER, 100);
	assert_int_equal(record[10], 1); /* num_buffers */
	assert_int_equal(used_idx(&tx), 1);
	assert_int_equal(used_len(&tx, 0), 0);
	assert_int_equal(from_guest(), -1);
}

struct header_case {
	uint8_t header[HEADER];
	uint64_t without; /* features that are not negotiated */
	bool passed;
	uint8_t seen[HEADER];
};

#define H(flags, gso, hdr, size, start, offset)                                      \
	{                                                                            \
		flags, gso, hdr, 0, size & 255, size >> 8, start, 0, offset, 0, 0, 0 \
	}
#define SEEN(flags, gso, hdr, size, start, offset)                                   \
	{                                                                            \
		flags, gso, hdr, 0, size & 255, size >> 8, start, 0, offset, 0, 1, 0 \
	}

static const struct header_case header_cases[] = {
	{ H(0, 0, 0, 0, 0, 0), 0, true, SEEN(0, 0, 0, 0, 0, 0) },
	{ H(0, 0, 9, 9, 9, 9), 0, true, SEEN(0, 0, 0, 0, 0, 0) }, /* without flags they mean nothing */
	{ H(1, 0, 0, 0, 34, 16), 0, true, SEEN(1, 0, 0, 0, 34, 16) },
	{ H(1, 0, 0, 0, 34, 16), 1u << 0, false, { 0 } },
	{ H(1, 0, 0, 0, 13, 16), 0, false, { 0 } }, /* into the Ethernet header */
	{ H(1, 0, 0, 0, 82, 16), 0, true, SEEN(1, 0, 0, 0, 82, 16) },
	{ H(1, 0, 0, 0, 83, 16), 0, false, { 0 } }, /* one byte outside of the frame of 100 */
	{ H(1, 0, 0, 0, 255, 0), 0, false, { 0 } },
	{ H(1, 1, 54, 1448, 34, 16), 0, true, SEEN(1, 1, 54, 1448, 34, 16) },
	{ H(1, 1, 54, 1448, 34, 16), 1u << 11, false, { 0 } },
	{ H(1, 4, 74, 1428, 54, 16), 0, true, SEEN(1, 4, 74, 1428, 54, 16) },
	{ H(1, 4, 74, 1428, 54, 16), 1u << 12, false, { 0 } },
	{ H(1, 1, 54, 0, 34, 16), 0, false, { 0 } },		     /* segments of nothing */
	{ H(0, 1, 54, 1448, 34, 16), 0, false, { 0 } },		     /* segments whose checksum nobody sees to */
	{ H(1, 1, 101, 1448, 34, 16), 0, false, { 0 } },	     /* headers longer than the frame */
	{ H(1, 3, 54, 1448, 34, 16), 0, false, { 0 } },		     /* UFO */
	{ H(1, 5, 54, 1448, 34, 16), 0, false, { 0 } },		     /* USO */
	{ H(1, 0x81, 54, 1448, 34, 16), 0, false, { 0 } },	     /* ECN was not offered */
	{ H(0xfe, 0, 0, 0, 0, 0), 0, true, SEEN(0, 0, 0, 0, 0, 0) }, /* DATA_VALID and unknown flags */
};

static void headers_are_judged(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(header_cases); i++) {
		const struct header_case *c = &header_cases[i];

		activate(ALL_FEATURES & ~c->without);
		put_frame(0, c->header, 100);
		put_frame(1, header_cases[0].header, 60);
		kick(TX);
		assert_false(dev->broken);
		assert_int_equal(used_idx(&tx), 2);
		if (c->passed) {
			if (from_guest() != HEADER + 100 || memcmp(record, c->seen, HEADER) != 0)
				fail_msg("case %zu", i);
		}
		assert_int_equal(from_guest(), HEADER + 60); /* what comes behind it is not held up */
		assert_int_equal(from_guest(), -1);
	}
}

/** lengths() - 14 to 65,550 bytes are frames. */
static void lengths(void **state)
{
	static const uint8_t none[HEADER];
	const struct {
		uint32_t frame;
		bool passed;
	} rows[] = { { 0, false }, { 13, false }, { 14, true }, { 65550, true }, { 65551, false } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		activate(ALL_FEATURES);
		put_frame(0, none, rows[i].frame);
		kick(TX);
		assert_int_equal(used_idx(&tx), 1);
		assert_int_equal(from_guest(), rows[i].passed ? (ssize_t)rows[i].frame + HEADER : -1);
	}
}

static void no_header_breaks_the_device(void **state)
{
	static const uint8_t none[HEADER];

	(void)state;
	put_frame(0, none, 60);
	desc(&tx, 1, DRIVER_DATA, HEADER - 1, 0, 0);
	offer(&tx, 1);
	kick(TX);
	assert_true(dev->broken);
	assert_int_equal(from_guest(), HEADER + 60);
	activate(ALL_FEATURES);
	offer_room(0, HEADER - 1);
	kick(RX);
	plain(60);
	loop_pump(loop, 4);
	assert_true(dev->broken);
	assert_int_equal(used_idx(&rx), 0);
}

/** full_socket() - More frames than fit: they wait in the ring and come in order, each once. */
static void full_socket(void **state)
{
	static const uint8_t none[HEADER];
	const int small = 4096;
	unsigned int seen = 0;
	uint16_t before;

	(void)state;
	/* the device's end is the peer of ours: its send buffer is reached by making another pair */
	dev->ops->destroy(dev);
	close(gateway);
	{
		int pair[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
		assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
		gateway = pair[1];
		dev = virtio_net_new(loop, pair[0], mac, 1500, on_gone, &gone, NULL);
	}
	activate(ALL_FEATURES);
	for (unsigned int i = 0; i < SIZE; i++)
		put_frame(i, none, 500 + i);
	kick(TX);
	before = used_idx(&tx);
	assert_in_range(before, 1, SIZE - 1);
	kick(TX); /* ringing changes nothing */
	loop_pump(loop, 4);
	assert_int_equal(used_idx(&tx), before);
	while (seen < SIZE) {
		ssize_t n = from_guest();

		if (n < 0) {
			assert_int_equal(errno, EAGAIN);
			loop_pump(loop, 4);
			continue;
		}
		assert_int_equal(n, HEADER + 500 + seen);
		assert_int_equal(record[HEADER], (uint8_t)seen);
		seen++;
	}
	loop_pump(loop, 4);
	assert_int_equal(used_idx(&tx), SIZE);
	assert_int_equal(from_guest(), -1);
}

static void received(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 8; i++)
		offer_room(i, 1600);
	kick(RX);
	to_guest(1, 1, 54, 1448, 34, 16, 4000); /* 3 buffers */
	plain(60);
	loop_pump(loop, 4);
	assert_int_equal(used_idx(&rx), 4);
	expect_frame(0, 0, 4000, 3);
	assert_int_equal(((uint8_t *)at(&rx, DRIVER_DATA))[0], 1);
	assert_int_equal(((uint8_t *)at(&rx, DRIVER_DATA))[1], 1);
	assert_int_equal(get16(&rx, DRIVER_DATA + 4), 1448);
	expect_frame(3, 3, 60, 1);
	/* exactly full buffers */
	plain(2 * 1600 - HEADER);
	loop_pump(loop, 4);
	assert_int_equal(used_idx(&rx), 6);
	expect_frame(4, 4, 2 * 1600 - HEADER, 2);
}

/** back_pressure() - A record stays in the socket until there is room for it. */
static void back_pressure(void **state)
{
	(void)state;
	plain(100);
	loop_pump(loop, 4);
	kick(RX);
	loop_pump(loop, 4);
	assert_int_equal(used_idx(&rx), 0);
	offer_room(0, 1600);
	kick(RX);
	assert_int_equal(used_idx(&rx), 1);
	expect_frame(0, 0, 100, 1);
	/* room, but too little */
	plain(4000);
	plain(70);
	offer_room(1, 1600);
	offer_room(2, 1600);
	kick(RX);
	loop_pump(loop, 4);
	assert_int_equal(used_idx(&rx), 1);
	assert_int_equal(dev->queues[RX].next_avail, 1); /* put back */
	assert_int_equal(get16(&rx, DRIVER_USED + 4 + 8 * SIZE),
			 3); /* avail_event: it asked to be rung at the next one */
	offer_room(3, 1600);
	offer_room(4, 1600);
	kick(RX);
	assert_int_equal(used_idx(&rx), 5);
	expect_frame(1, 1, 4000, 3);
	expect_frame(4, 4, 70, 1);
}

/** never_fits() - What this driver could never take is lost; the next frame is not. */
static void never_fits(void **state)
{
	(void)state;
	activate(ALL_FEATURES & ~(uint64_t)MRG);
	offer_room(0, 1600);
	offer_room(1, 1600);
	plain(1600 - HEADER + 1);
	plain(1600 - HEADER);
	to_guest(1, 1, 54, 1448, 34, 16, 4000);
	plain(60);
	kick(RX);
	loop_pump(loop, 4);
	assert_int_equal(used_idx(&rx), 2);
	expect_frame(0, 0, 1600 - HEADER, 1);
	expect_frame(1, 1, 60, 1);
	/* mergeable, but so small that 64 of them are too little */
	activate(ALL_FEATURES);
	for (unsigned int i = 0; i < SIZE; i++)
		offer_room(i, 60);
	plain(64 * 60 - HEADER + 1);
	plain(40);
	kick(RX);
	loop_pump(loop, 4);
	assert_int_equal(used_idx(&rx), 1);
	assert_int_equal(used_len(&rx, 0), HEADER + 40);
}

/** not_negotiated() - Offloads the driver does not know, and records that are no frames, do not reach it. */
static void not_negotiated(void **state)
{
	(void)state;
	activate(ALL_FEATURES & ~0x183ULL); /* no checksums, no TSO towards the guest */
	for (unsigned int i = 0; i < 8; i++)
		offer_room(i, 1600);
	to_guest(1, 0, 0, 0, 34, 16, 100);
	to_guest(1, 1, 54, 1448, 34, 16, 100);
	plain(13);
	assert_int_equal(send(gateway, "short", 5, 0), 5);
	to_guest(2, 0, 0, 0, 0, 0, 90); /* "checksum is good" */
	kick(RX);
	loop_pump(loop, 4);
	assert_int_equal(used_idx(&rx), 1);
	expect_frame(0, 0, 90, 1);
	assert_int_equal(((uint8_t *)at(&rx, DRIVER_DATA))[0], 0);
	activate(ALL_FEATURES);
	for (unsigned int i = 0; i < 8; i++)
		offer_room(i, 1600);
	to_guest(2, 0, 0, 0, 0, 0, 90);
	to_guest(1, 1, 54, 1448, 90, 16, 100); /* checksum outside */
	to_guest(1, 4, 54, 1448, 54, 16, 100);
	kick(RX);
	loop_pump(loop, 4);
	assert_int_equal(used_idx(&rx), 2);
	assert_int_equal(((uint8_t *)at(&rx, DRIVER_DATA))[0], 2);
	expect_frame(1, 1, 100, 1);
}

/** split_header() - The driver may cut its buffers anywhere. */
static void split_header(void **state)
{
	(void)state;
	desc(&rx, 0, DRIVER_DATA, 11, D_WRITE | D_NEXT, 1);
	desc(&rx, 1, DRIVER_DATA + 11, 2, D_WRITE | D_NEXT, 2);
	desc(&rx, 2, DRIVER_DATA + 13, 1587, D_WRITE, 0);
	offer(&rx, 0);
	desc(&rx, 3, DRIVER_DATA + 1600, 1600, D_WRITE, 0);
	offer(&rx, 3);
	plain(2000);
	kick(RX);
	loop_pump(loop, 4);
	assert_int_equal(used_idx(&rx), 2);
	expect_frame(0, 0, 2000, 2);
}

/** largest() - 65,562 bytes both ways. */
static void largest(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 42; i++)
		offer_room(i, 1600);
	plain(VIRTIO_NET_RECORD_MAX - HEADER);
	kick(RX);
	loop_pump(loop, 4);
	assert_int_equal(used_idx(&rx), 41);
	expect_frame(0, 0, VIRTIO_NET_RECORD_MAX - HEADER, 41);
}

/** many() - Far more frames than one wake may take, through few buffers, each once and in order. */
static void many(void **state)
{
	uint16_t seen = 0;
	unsigned int sent = 0;

	(void)state;
	for (unsigned int i = 0; i < 32; i++)
		offer_room(i, 1600);
	kick(RX);
	while (seen < 1000) {
		while (sent < 1000 && sent < seen + 100u)
			plain(60 + sent++);
		loop_pump(loop, 4);
		while (seen != used_idx(&rx)) {
			unsigned int slot = seen % 32;

			expect_frame(slot, seen, 60u + seen, 1);
			seen++;
			offer(&rx, (uint16_t)slot);
		}
		kick(RX);
	}
	loop_pump(loop, 4);
	assert_int_equal(used_idx(&rx), 1000);
}

static void gateway_ends(void **state)
{
	static const uint8_t none[HEADER];

	(void)state;
	put_frame(0, none, 60);
	offer_room(0, 1600);
	fd_close(&gateway);
	kick(TX);
	kick(RX);
	loop_pump(loop, 4);
	assert_int_equal(gone, 1);
	kick(TX);
	loop_pump(loop, 4);
	activate(ALL_FEATURES);
	loop_pump(loop, 4);
	assert_int_equal(gone, 1);
	assert_int_equal(used_idx(&rx), 0);
}

/** before_the_driver() - The end is seen although no driver is there yet. */
static void before_the_driver(void **state)
{
	(void)state;
	virtio_device_reset(dev);
	plain(60);
	loop_pump(loop, 4);
	fd_close(&gateway);
	loop_pump(loop, 4);
	assert_int_equal(gone, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(offered, start, stop),
		cmocka_unit_test_setup_teardown(sent_from_many_parts, start, stop),
		cmocka_unit_test_setup_teardown(headers_are_judged, start, stop),
		cmocka_unit_test_setup_teardown(lengths, start, stop),
		cmocka_unit_test_setup_teardown(no_header_breaks_the_device, start, stop),
		cmocka_unit_test_setup_teardown(full_socket, start, stop),
		cmocka_unit_test_setup_teardown(received, start, stop),
		cmocka_unit_test_setup_teardown(back_pressure, start, stop),
		cmocka_unit_test_setup_teardown(never_fits, start, stop),
		cmocka_unit_test_setup_teardown(not_negotiated, start, stop),
		cmocka_unit_test_setup_teardown(split_header, start, stop),
		cmocka_unit_test_setup_teardown(largest, start, stop),
		cmocka_unit_test_setup_teardown(many, start, stop),
		cmocka_unit_test_setup_teardown(gateway_ends, start, stop),
		cmocka_unit_test_setup_teardown(before_the_driver, start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
