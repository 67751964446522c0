/* SPDX-License-Identifier: Apache-2.0 */
/* The block device against a memfd, driven by raw descriptors; memory is compared with the file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "virtio_driver.h"

#define HEADER DRIVER_DATA
#define STATUS (DRIVER_DATA + 0x100)
#define DATA (DRIVER_DATA + 0x1000)
#define SECTORS 64

enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };

static struct driver drv;
static struct virtio_device *dev;
static struct loop *loop;
static int file; /* our second descriptor of the disk */
static unsigned int interrupts;

/** count_interrupt() - Stands in for the transport. */
static void count_interrupt(void *transport, unsigned int queue)
{
	(void)transport;
	(void)queue;
	interrupts++;
}

/** start() - A device over 64 sectors, sector i filled with i + 1. */
static void start(bool read_only)
{
	uint8_t sector[512];

	file = fd_memfd("blk", SECTORS * 512, false);
	for (unsigned int i = 0; i < SECTORS; i++) {
		memset(sector, (int)i + 1, sizeof(sector));
		assert_int_equal(pwrite(file, sector, 512, i * 512), 512);
	}
	loop = loop_new(NULL);
	dev = virtio_blk_new(loop, "blk0", disk_open_raw(dup(file), read_only, NULL), NULL);
	assert_non_null(dev);
	driver_init(&drv, 16);
	assert_true(queue_setup(&dev->queues[0], &drv.mem, 16, DRIVER_DESC, DRIVER_AVAIL, DRIVER_USED, DRIVER_FEATURES));
	dev->interrupt = count_interrupt;
	dev->active = true;
	interrupts = 0;
}

static int writable(void **state)
{
	(void)state;
	start(false);
	return 0;
}

static int read_only(void **state)
{
	(void)state;
	start(true);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	dev->ops->destroy(dev);
	loop_free(loop);
	close(file);
	return 0;
}

/** request() - Header, data in two unequal descriptors, status. Return: status byte. */
static uint8_t request(uint32_t type, uint64_t sector, uint32_t bytes, bool device_writes)
{
	uint16_t w = device_writes ? D_WRITE : 0;
	uint32_t first = bytes > 100 ? 100 : bytes;
	uint16_t before = used_idx(&drv);

	put32(&drv, HEADER, type);
	put32(&drv, HEADER + 4, 0);
	put64(&drv, HEADER + 8, sector);
	memset(at(&drv, STATUS), 0xee, 1);
	desc(&drv, 0, HEADER, 16, D_NEXT, bytes ? 1 : 3);
	desc(&drv, 1, DATA, first, D_NEXT | w, bytes > first ? 2 : 3);
	desc(&drv, 2, DATA + first, bytes - first, D_NEXT | w, 3);
	desc(&drv, 3, STATUS, 1, D_WRITE, 0);
	offer(&drv, 0);
	dev->ops->kick(dev, 0);
	assert_false(dev->broken);
	assert_int_equal(used_idx(&drv), (uint16_t)(before + 1));
	return *(uint8_t *)at(&drv, STATUS);
}

/** file_byte() - One byte of the disk's file. */
static int file_byte(unsigned int offset)
{
	uint8_t b;

	assert_int_equal(pread(file, &b, 1, offset), 1);
	return b;
}

static void reads(void **state)
{
	const uint8_t *data = at(&drv, DATA);

	(void)state;
	assert_int_equal(request(IN, 5, 1024, true), S_OK);
	assert_int_equal(data[0], 6);
	assert_int_equal(data[511], 6);
	assert_int_equal(data[512], 7);
	assert_int_equal(used_len(&drv, 0), 1025);
	assert_int_equal(interrupts, 1);
	assert_int_equal(request(IN, SECTORS - 1, 512, true), S_OK);
	assert_int_equal(data[0], SECTORS);
}

static void writes(void **state)
{
	(void)state;
	memset(at(&drv, DATA), 0x77, 1024);
	assert_int_equal(request(OUT, 10, 1024, false), S_OK);
	assert_int_equal(file_byte(10 * 512 - 1), 10);
	assert_int_equal(file_byte(10 * 512), 0x77);
	assert_int_equal(file_byte(12 * 512 - 1), 0x77);
	assert_int_equal(file_byte(12 * 512), 13);
	assert_int_equal(request(FLUSH, 0, 0, false), S_OK);
}

static void ranges(void **state)
{
	(void)state;
	assert_int_equal(request(IN, SECTORS, 512, true), S_IOERR);
	assert_int_equal(request(IN, SECTORS - 1, 1024, true), S_IOERR);
	assert_int_equal(request(IN, UINT64_MAX, 512, true), S_IOERR);
	assert_int_equal(request(IN, UINT64_MAX / 512 + 1, 512, true), S_IOERR);
	assert_int_equal(request(IN, 0, 511, true), S_IOERR);
	assert_int_equal(request(OUT, SECTORS, 512, false), S_IOERR);
	assert_int_equal(request(OUT, UINT64_MAX - 1, 1024, false), S_IOERR);
	assert_int_equal(request(99, 0, 512, true), S_UNSUPP);
	assert_int_equal(lseek(file, 0, SEEK_END), SECTORS * 512);
}

static void counts_what_was_done(void **state)
{
	uint64_t r = 1, w = 2;

	(void)state;
	assert_int_equal(request(IN, 5, 1024, true), S_OK);
	assert_int_equal(request(IN, 0, 512, true), S_OK);
	assert_int_equal(request(OUT, 0, 512, false), S_OK);
	assert_int_equal(request(IN, SECTORS, 512, true), S_IOERR);
	assert_int_equal(request(OUT, SECTORS, 512, false), S_IOERR);
	assert_int_equal(request(FLUSH, 0, 0, false), S_OK);
	virtio_blk_count(dev, &r, &w);
	assert_int_equal(r, 1 + 1536);
	assert_int_equal(w, 2 + 512);
}

static void identity(void **state)
{
	(void)state;
	assert_int_equal(request(GET_ID, 0, 20, true), S_OK);
	assert_string_equal(at(&drv, DATA), "msb-blk0");
	assert_int_equal(request(GET_ID, 0, 4, true), S_OK); /* shorter room: cut */
}

/** range_request() - DISCARD or WRITE_ZEROES of one range. */
static uint8_t range_request(uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
	put64(&drv, DATA, sector);
	put32(&drv, DATA + 8, sectors);
	put32(&drv, DATA + 12, flags);
	return request(type, 0, 16, false);
}

static void zeroes(void **state)
{
	(void)state;
	assert_int_equal(range_request(WRITE_ZEROES, 3, 2, 0), S_OK);
	assert_int_equal(file_byte(3 * 512 - 1), 3);
	assert_int_equal(file_byte(3 * 512), 0);
	assert_int_equal(file_byte(5 * 512 - 1), 0);
	assert_int_equal(file_byte(5 * 512), 6);
	assert_int_equal(range_request(WRITE_ZEROES, 20, 1, 1), S_OK);
	assert_int_equal(file_byte(20 * 512), 0);
	assert_int_equal(range_request(DISCARD, 8, 8, 0), S_OK);
	assert_int_equal(range_request(DISCARD, 8, 8, 1), S_UNSUPP);
	assert_int_equal(range_request(WRITE_ZEROES, 8, 8, 2), S_UNSUPP);
	assert_int_equal(range_request(WRITE_ZEROES, SECTORS - 1, 2, 0), S_IOERR);
	assert_int_equal(range_request(WRITE_ZEROES, UINT64_MAX, 1, 0), S_IOERR);
	assert_int_equal(range_request(DISCARD, 1, UINT32_MAX, 0), S_IOERR);
	assert_int_equal(request(DISCARD, 0, 17, false), S_IOERR);
	assert_int_equal(request(DISCARD, 0, 0, false), S_IOERR);
}

/* Enforced here, whatever the driver believes was negotiated. */
static void read_only_disk(void **state)
{
	(void)state;
	assert_true(dev->features >> 5 & 1);
	assert_false(dev->features >> 13 & 1);
	assert_int_equal(request(IN, 5, 512, true), S_OK);
	memset(at(&drv, DATA), 0x77, 512);
	assert_int_equal(request(OUT, 10, 512, false), S_IOERR);
	assert_int_equal(range_request(WRITE_ZEROES, 10, 1, 0), S_UNSUPP);
	assert_int_equal(range_request(DISCARD, 10, 1, 0), S_UNSUPP);
	assert_int_equal(request(FLUSH, 0, 0, false), S_OK);
	assert_int_equal(file_byte(10 * 512), 11);
}

static void header_cut_in_pieces(void **state)
{
	(void)state;
	put32(&drv, HEADER, IN);
	put64(&drv, HEADER + 8, 2);
	desc(&drv, 0, HEADER, 3, D_NEXT, 1);
	desc(&drv, 1, HEADER + 3, 13, D_NEXT, 2);
	desc(&drv, 2, DATA, 513, D_WRITE, 0); /* data and status in one descriptor */
	offer(&drv, 0);
	dev->ops->kick(dev, 0);
	assert_int_equal(*(uint8_t *)at(&drv, DATA + 511), 3);
	assert_int_equal(*(uint8_t *)at(&drv, DATA + 512), S_OK);
}

static void no_status(void **state)
{
	(void)state;
	desc(&drv, 0, HEADER, 16, 0, 0);
	offer(&drv, 0);
	dev->ops->kick(dev, 0);
	assert_true(dev->broken);
	assert_int_equal(used_idx(&drv), 0);
}

static void short_header(void **state)
{
	(void)state;
	desc(&drv, 0, HEADER, 15, D_NEXT, 1);
	desc(&drv, 1, STATUS, 1, D_WRITE, 0);
	offer(&drv, 0);
	dev->ops->kick(dev, 0);
	assert_true(dev->broken);
}

static void batch(void **state)
{
	(void)state;
	put32(&drv, HEADER, IN);
	for (uint16_t i = 0; i < 15; i += 3) {
		desc(&drv, i, HEADER, 16, D_NEXT, (uint16_t)(i + 1));
		desc(&drv, i + 1u, DATA + 512u * i, 512, D_NEXT | D_WRITE, (uint16_t)(i + 2));
		desc(&drv, i + 2u, STATUS + i, 1, D_WRITE, 0);
		offer(&drv, i);
	}
	dev->ops->kick(dev, 0);
	assert_int_equal(used_idx(&drv), 5);
	assert_int_equal(interrupts, 1);
}

#define W(name) cmocka_unit_test_setup_teardown(name, writable, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		W(reads), W(writes), W(ranges), W(counts_what_was_done), W(identity), W(zeroes), W(header_cut_in_pieces), W(no_status),
		W(short_header), W(batch),
		cmocka_unit_test_setup_teardown(read_only_disk, read_only, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
