/* SPDX-License-Identifier: Apache-2.0 */
/* The balloon, driven by raw descriptors: what is given back reads as zeroes, and nothing else has changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <sys/mman.h>

#include "base/macros.h"
#include "virtio_driver.h"

enum { INFLATE, DEFLATE, REPORTING };

#define PAGE 4096u
#define GPA 0x40000000ULL /* of the big memory behind the driver's own */
#define PAGES 16u
#define MARK 0xa5

static struct driver drv;
static struct virtio_device *dev;
static struct loop *loop;
static uint8_t *all, *ram; /* ram: PAGES of it, with a page of ours on each side */

/** ring() - Set one of the queues up in the driver's memory. */
static void ring(unsigned int queue)
{
	driver_init(&drv, 32);
	drv.mem.count = 2;
	drv.mem.regions[1] = (struct memory_region){ .gpa = GPA, .size = PAGES * PAGE, .host = ram };
	assert_true(queue_setup(&dev->queues[queue], &drv.mem, 32, DRIVER_DESC, DRIVER_AVAIL, DRIVER_USED,
				DRIVER_FEATURES));
	dev->mem = &drv.mem;
	dev->active = true;
}

static int start(void **state)
{
	(void)state;
	loop = loop_new(NULL);
	dev = virtio_balloon_new(loop, NULL);
	all = mmap(NULL, (PAGES + 2) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(dev && all != MAP_FAILED);
	memset(all, MARK, (PAGES + 2) * PAGE);
	ram = all + PAGE;
	return 0;
}

static int stop(void **state)
{
	(void)state;
	dev->ops->destroy(dev);
	loop_free(loop);
	munmap(all, (PAGES + 2) * PAGE);
	return 0;
}

/** kick() - As the transport does. */
static void kick(unsigned int queue)
{
	pthread_mutex_lock(&dev->lock);
	dev->ops->kick(dev, queue);
	pthread_mutex_unlock(&dev->lock);
}

/** expect_gone() - Exactly the pages of this mask read as zeroes; the pages beside guest memory are as they were. */
static void expect_gone(uint32_t mask)
{
	for (unsigned int i = 0; i < (PAGES + 2) * PAGE; i++) {
		unsigned int page = i / PAGE;
		bool gone = page > 0 && page <= PAGES && (mask >> (page - 1) & 1);

		if (all[i] != (gone ? 0 : MARK))
			fail_msg("byte %#x of page %d is %#x", i % PAGE, (int)page - 1, all[i]);
	}
}

/** offered() - Reporting and deflate-on-OOM, and no part of the device that is not there. */
static void offered(void **state)
{
	(void)state;
	assert_int_equal(dev->features & 0xffffff, 1 << 2 | 1 << 5);
	assert_int_equal(dev->queue_count, 3);
	assert_int_equal(dev->config_len, 8);
	for (unsigned int i = 0; i < dev->config_len; i++)
		assert_int_equal(dev->config[i], 0); /* a balloon of no size */
}

static void reported_ranges_are_given_back(void **state)
{
	(void)state;
	ring(REPORTING);
	desc(&drv, 0, GPA + 2 * PAGE, 3 * PAGE, D_WRITE | D_NEXT, 1);
	desc(&drv, 1, GPA + (PAGES - 1) * PAGE, PAGE, D_WRITE, 0);
	offer(&drv, 0);
	kick(REPORTING);
	assert_int_equal(used_idx(&drv), 1);
	assert_int_equal(used_len(&drv, 0), 0);
	expect_gone(0x1c | 1u << (PAGES - 1));
	ram[2 * PAGE] = MARK; /* and can be used again */
	assert_int_equal(ram[2 * PAGE], MARK);
}

static void only_whole_pages_go(void **state)
{
	(void)state;
	ring(REPORTING);
	desc(&drv, 0, GPA + 1, PAGE, D_WRITE | D_NEXT, 1);		  /* touches two, has none */
	desc(&drv, 1, GPA + 5 * PAGE - 1, 2 * PAGE, D_WRITE | D_NEXT, 2); /* has one */
	desc(&drv, 2, GPA + 9 * PAGE + 1, 100, D_WRITE, 0);
	offer(&drv, 0);
	kick(REPORTING);
	assert_int_equal(used_idx(&drv), 1);
	expect_gone(1u << 5);
}

/** What the device only reads is not reported. */
static void readable_parts_stay(void **state)
{
	(void)state;
	ring(REPORTING);
	desc(&drv, 0, GPA, PAGE, D_NEXT, 1);
	desc(&drv, 1, GPA + PAGE, PAGE, D_WRITE, 0);
	offer(&drv, 0);
	kick(REPORTING);
	expect_gone(1u << 1);
}

static void beyond_memory_breaks_the_device(void **state)
{
	static const struct {
		uint64_t gpa;
		uint32_t len;
	} bad[] = {
		{ GPA + PAGES * PAGE, PAGE },	{ GPA - PAGE, PAGE },	   { GPA + (PAGES - 1) * PAGE, 2 * PAGE },
		{ GPA - PAGE, 2 * PAGE },	{ UINT64_MAX - 4095, PAGE }, { GPA, UINT32_MAX },
		{ GPA + PAGE, 0 },		{ 0, PAGE },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		virtio_device_reset(dev);
		ring(REPORTING);
		desc(&drv, 0, GPA, PAGE, D_WRITE | D_NEXT, 1);
		desc(&drv, 1, bad[i].gpa, bad[i].len, D_WRITE, 0);
		offer(&drv, 0);
		kick(REPORTING);
		assert_true(dev->broken);
		assert_int_equal(used_idx(&drv), 0);
		expect_gone(0); /* the good part neither: the chain is checked first */
	}
}

/** limits() - 128 MiB in one chain are taken, a page more is too much; on other queues 8 MiB stay the limit. */
static void limits(void **state)
{
	const size_t size = MIB(128) + PAGE;
	uint8_t *big = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	const struct {
		unsigned int queue;
		uint32_t len;
		uint16_t flags;
		bool good;
	} rows[] = {
		{ REPORTING, MIB(128), D_WRITE, true }, { REPORTING, MIB(128) + PAGE, D_WRITE, false },
		{ INFLATE, MIB(8), 0, true },		{ INFLATE, MIB(8) + PAGE, 0, false },
	};

	(void)state;
	assert_true(big != MAP_FAILED);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		virtio_device_reset(dev);
		ring(rows[i].queue);
		drv.mem.regions[1] = (struct memory_region){ .gpa = GPA, .size = size, .host = big };
		desc(&drv, 0, GPA, rows[i].len, rows[i].flags, 0);
		offer(&drv, 0);
		kick(rows[i].queue);
		assert_int_equal(used_idx(&drv), rows[i].good);
		assert_int_equal(dev->broken, !rows[i].good);
	}
	munmap(big, size);
}

/** inflate() - Offer a list of page numbers. */
static void inflate(const uint32_t *pfns, uint32_t bytes)
{
	memcpy(at(&drv, DRIVER_DATA), pfns, bytes);
	desc(&drv, 0, DRIVER_DATA, bytes, 0, 0);
	offer(&drv, 0);
	kick(INFLATE);
}

static void inflated_pages_are_given_back(void **state)
{
	const uint32_t base = GPA / PAGE;
	const uint32_t pfns[] = { base + 3, base + 9, base + 3, base + PAGES, base - 1, 0, UINT32_MAX, base + 12 };

	(void)state;
	ring(INFLATE);
	inflate(pfns, sizeof(pfns) - 2); /* the last is cut off; the wrong ones are passed over */
	assert_int_equal(used_idx(&drv), 1);
	assert_false(dev->broken);
	expect_gone(1u << 3 | 1u << 9);
	ring(DEFLATE);
	desc(&drv, 0, DRIVER_DATA, 4, 0, 0);
	offer(&drv, 0);
	kick(DEFLATE);
	assert_int_equal(used_idx(&drv), 1);
}

static void long_inflate_list_ends_early(void **state)
{
	static uint32_t pfns[257];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(pfns); i++)
		pfns[i] = GPA / PAGE + (i < 255 ? 0 : (uint32_t)i - 254); /* 0 ... 0, 1, 2 */
	ring(INFLATE);
	inflate(pfns, sizeof(pfns));
	assert_int_equal(used_idx(&drv), 1);
	expect_gone(1u << 0 | 1u << 1);
}

/** own_rings() - A guest that reports its rings: they read as zeroes, which the device must survive. */
static void own_rings(void **state)
{
	(void)state;
	ring(REPORTING);
	desc(&drv, 0, DRIVER_GPA, DRIVER_MEM, D_WRITE, 0);
	offer(&drv, 0);
	kick(REPORTING);
	assert_int_equal(get16(&drv, DRIVER_AVAIL + 2), 0);
	assert_true(dev->broken); /* the available index went back */
	expect_gone(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(offered, start, stop),
		cmocka_unit_test_setup_teardown(reported_ranges_are_given_back, start, stop),
		cmocka_unit_test_setup_teardown(only_whole_pages_go, start, stop),
		cmocka_unit_test_setup_teardown(readable_parts_stay, start, stop),
		cmocka_unit_test_setup_teardown(beyond_memory_breaks_the_device, start, stop),
		cmocka_unit_test_setup_teardown(limits, start, stop),
		cmocka_unit_test_setup_teardown(inflated_pages_are_given_back, start, stop),
		cmocka_unit_test_setup_teardown(long_inflate_list_ends_early, start, stop),
		cmocka_unit_test_setup_teardown(own_rings, start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
