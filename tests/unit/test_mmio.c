/* SPDX-License-Identifier: Apache-2.0 */
/* Registers of virtio-mmio with the loop on a thread of its own, as in the KVM monitor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "virtio/transport.h"
#include "virtio_driver.h"

#define R_DEVICE_FEATURES 0x10
#define R_DEVICE_FEATURES_SEL 0x14
#define R_DRIVER_FEATURES 0x20
#define R_DRIVER_FEATURES_SEL 0x24
#define R_QUEUE_SEL 0x30
#define R_QUEUE_NUM_MAX 0x34
#define R_QUEUE_NUM 0x38
#define R_QUEUE_READY 0x44
#define R_NOTIFY 0x50
#define R_INTERRUPT_STATUS 0x60
#define R_STATUS 0x70
#define R_DESC 0x80
#define R_DRIVER 0x90
#define R_DEVICE 0xa0

static struct driver drv;
static struct loop *loop;
static struct virtio_device *dev;
static struct virtio_mmio *m;
static int irq_fd, stop_fd, out_fd;
static pthread_t thread;

static void on_stop(void *arg, uint32_t events)
{
	(void)arg;
	(void)events;
	loop_stop(loop, 0);
}

static void *run(void *arg)
{
	(void)arg;
	loop_run(loop, NULL);
	return NULL;
}

/** wr() - A 32-bit register write. */
static void wr(uint64_t offset, uint32_t value)
{
	virtio_mmio_write(m, offset, &value, 4);
}

/** rd() - What the guest reads: the page itself, and the same by an access that exits. */
static uint32_t rd(uint64_t offset)
{
	uint32_t page = __atomic_load_n((uint32_t *)(void *)((uint8_t *)virtio_mmio_page(m) + offset), __ATOMIC_ACQUIRE);
	uint32_t value;

	virtio_mmio_read(m, offset, &value, 4);
	assert_int_equal(page, value);
	return value;
}

/** wait_irq() - An interrupt within ten seconds. */
static bool wait_irq(void)
{
	struct pollfd p = { .fd = irq_fd, .events = POLLIN };
	uint64_t n;

	return poll(&p, 1, 10000) == 1 && read(irq_fd, &n, sizeof(n)) == sizeof(n);
}

static int start(void **state)
{
	(void)state;
	driver_init(&drv, 16);
	loop = loop_new(NULL);
	irq_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	out_fd = fd_memfd("console", 0, false);
	assert_true(loop_add(loop, stop_fd, EPOLLIN, on_stop, NULL, NULL) >= 0);
	assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
	dev = virtio_console_new(loop, out_fd, 10, NULL);
	m = virtio_mmio_new(dev, &drv.mem, irq_fd, NULL);
	assert_non_null(m);
	return 0;
}

static int stop(void **state)
{
	uint64_t one = 1;

	(void)state;
	virtio_mmio_free(m); /* while the loop runs, as the monitor does */
	assert_int_equal(write(stop_fd, &one, sizeof(one)), sizeof(one));
	pthread_join(thread, NULL);
	dev->ops->destroy(dev);
	loop_free(loop);
	close(irq_fd);
	close(stop_fd);
	close(out_fd);
	return 0;
}

/** negotiate() - Up to FEATURES_OK. */
static void negotiate(uint64_t features)
{
	wr(R_STATUS, 0);
	wr(R_STATUS, 1);
	wr(R_STATUS, 3);
	wr(R_DRIVER_FEATURES_SEL, 0);
	wr(R_DRIVER_FEATURES, (uint32_t)features);
	wr(R_DRIVER_FEATURES_SEL, 1);
	wr(R_DRIVER_FEATURES, (uint32_t)(features >> 32));
	wr(R_STATUS, 11);
}

/** settings() - Queue 1 (transmit) with these addresses. */
static void settings(uint32_t size, uint64_t desc_gpa)
{
	wr(R_QUEUE_SEL, 1);
	wr(R_QUEUE_NUM, size);
	wr(R_DESC, (uint32_t)desc_gpa);
	wr(R_DESC + 4, (uint32_t)(desc_gpa >> 32));
	wr(R_DRIVER, DRIVER_AVAIL);
	wr(R_DRIVER + 4, 0);
	wr(R_DEVICE, DRIVER_USED);
	wr(R_DEVICE + 4, 0);
	wr(R_QUEUE_READY, 1);
}

/** bring_up() - A working transmit queue. */
static void bring_up(void)
{
	negotiate(DRIVER_FEATURES);
	assert_int_equal(rd(R_STATUS), 11);
	settings(16, DRIVER_DESC);
	wr(R_STATUS, 15);
	assert_int_equal(rd(R_STATUS), 15);
}

static void identity(void **state)
{
	(void)state;
	assert_int_equal(rd(0), 0x74726976);
	assert_int_equal(rd(4), 2);
	assert_int_equal(rd(8), VIRTIO_ID_CONSOLE);
	assert_int_equal(rd(R_INTERRUPT_STATUS), 1);
	assert_int_equal(rd(0xb0), UINT32_MAX);
	assert_int_equal((uintptr_t)virtio_mmio_page(m) % 4096, 0);
	assert_true(virtio_mmio_kick_fd(m, 0) >= 0 && virtio_mmio_kick_fd(m, 1) >= 0 && virtio_mmio_ack_fd(m) >= 0);
	assert_int_equal(virtio_mmio_kick_fd(m, 2), -1);
}

static void selectors(void **state)
{
	(void)state;
	wr(R_DEVICE_FEATURES_SEL, 1);
	assert_int_equal(rd(R_DEVICE_FEATURES), dev->features >> 32);
	wr(R_DEVICE_FEATURES_SEL, 0);
	assert_int_equal(rd(R_DEVICE_FEATURES), (uint32_t)dev->features);
	wr(R_DEVICE_FEATURES_SEL, 2);
	assert_int_equal(rd(R_DEVICE_FEATURES), 0);
	wr(R_QUEUE_SEL, 1);
	assert_int_equal(rd(R_QUEUE_NUM_MAX), dev->queue_max);
	assert_int_equal(rd(R_QUEUE_READY), 0);
	wr(R_QUEUE_READY, 1);
	assert_int_equal(rd(R_QUEUE_READY), 1);
	wr(R_QUEUE_SEL, 0);
	assert_int_equal(rd(R_QUEUE_READY), 0);
	wr(R_QUEUE_SEL, UINT32_MAX);
	assert_int_equal(rd(R_QUEUE_NUM_MAX), 0);
	wr(R_QUEUE_READY, 1);
	wr(R_QUEUE_NUM, 4);
	assert_int_equal(rd(R_QUEUE_READY), 0);
}

static void features_refused(void **state)
{
	(void)state;
	negotiate(DRIVER_FEATURES | 1ULL << 40); /* never offered */
	assert_int_equal(rd(R_STATUS), 3);
	wr(R_STATUS, 15);
	assert_int_equal(rd(R_STATUS), 3); /* no DRIVER_OK without FEATURES_OK */
	assert_false(dev->active);
	negotiate(1ULL << VIRTIO_F_INDIRECT_DESC_BIT); /* without VERSION_1 */
	assert_int_equal(rd(R_STATUS), 3);
	negotiate(DRIVER_FEATURES);
	assert_int_equal(rd(R_STATUS), 11);
	wr(R_DRIVER_FEATURES_SEL, 0);
	wr(R_DRIVER_FEATURES, 0); /* too late */
	assert_int_equal(dev->driver_features, DRIVER_FEATURES);
}

/** print() - The guest prints text and rings by write or by eventfd; wait for the answer. */
static void print(const char *text, bool by_eventfd)
{
	uint64_t one = 1;
	uint16_t before = used_idx(&drv);

	memcpy(at(&drv, DRIVER_DATA), text, strlen(text));
	desc(&drv, 0, DRIVER_DATA, (uint32_t)strlen(text), 0, 0);
	put16(&drv, DRIVER_AVAIL + 4 + 2 * 16, used_idx(&drv)); /* used_event */
	offer(&drv, 0);
	if (by_eventfd)
		assert_int_equal(write(virtio_mmio_kick_fd(m, 1), &one, sizeof(one)), sizeof(one));
	else
		wr(R_NOTIFY, 1);
	while (used_idx(&drv) == before) /* the first look of a queue interrupts without need */
		assert_true(wait_irq());
}

static void data_flows(void **state)
{
	char got[32] = { 0 };

	(void)state;
	bring_up();
	print("hello", false);
	print(" world", true); /* ten bytes in all: the last one is over the limit */
	assert_int_equal(used_idx(&drv), 2);
	assert_int_equal(pread(out_fd, got, sizeof(got), 0), 10);
	assert_string_equal(got, "hello worl");
}

/* CVE-2026-5747: nothing the driver writes after DRIVER_OK changes the queue. */
static void frozen_after_activation(void **state)
{
	struct queue before;

	(void)state;
	bring_up();
	pthread_mutex_lock(&dev->lock);
	before = dev->queues[1];
	pthread_mutex_unlock(&dev->lock);
	settings(1024, 0);
	wr(R_STATUS, 15);
	pthread_mutex_lock(&dev->lock);
	assert_int_equal(dev->queues[1].size, before.size);
	assert_ptr_equal(dev->queues[1].desc, before.desc);
	assert_ptr_equal(dev->queues[1].avail, before.avail);
	assert_ptr_equal(dev->queues[1].used, before.used);
	pthread_mutex_unlock(&dev->lock);
	wr(R_QUEUE_READY, 0);
	assert_int_equal(rd(R_QUEUE_READY), 0);
	wr(R_QUEUE_READY, 1); /* not again without a reset */
	assert_int_equal(rd(R_QUEUE_READY), 0);
	assert_false(dev->queues[1].ready);
}

static void bad_settings(void **state)
{
	static const struct {
		uint32_t size;
		uint64_t desc;
	} bad[] = { { 0, DRIVER_DESC }, { 3, DRIVER_DESC }, { 65536 + 16, DRIVER_DESC }, { 2048, DRIVER_DESC },
		    { 16, 0 }, { 16, DRIVER_DESC + 1 }, { 16, UINT64_MAX - 15 }, { 16, 1ULL << 32 | DRIVER_DESC } };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		negotiate(DRIVER_FEATURES);
		settings(bad[i].size, bad[i].desc);
		wr(R_STATUS, 15);
		assert_int_equal(rd(R_STATUS), 15 | 64);
		assert_int_equal(rd(R_INTERRUPT_STATUS), 3);
		assert_false(dev->active);
		assert_true(wait_irq());
	}
	bring_up();
	assert_int_equal(rd(R_INTERRUPT_STATUS), 1);
	print("x", false);
}

/* A broken driver sees DEVICE_NEEDS_RESET and a configuration interrupt; a reset heals. */
static void broken_until_reset(void **state)
{
	(void)state;
	bring_up();
	offer(&drv, 99);
	wr(R_NOTIFY, 1);
	while (rd(R_STATUS) != (15 | 64))
		assert_true(wait_irq());
	wr(R_STATUS, 15);
	assert_int_equal(rd(R_STATUS), 15 | 64);
	wr(R_STATUS, 0);
	assert_int_equal(rd(R_STATUS), 0);
	assert_false(dev->active || dev->broken || dev->queues[1].ready);
	driver_init(&drv, 16);
	bring_up();
	print("y", true);
}

static void doorbells_while_inactive(void **state)
{
	(void)state;
	wr(R_NOTIFY, 1);
	wr(R_NOTIFY, UINT32_MAX);
	negotiate(DRIVER_FEATURES);
	settings(16, DRIVER_DESC);
	desc(&drv, 0, DRIVER_DATA, 1, 0, 0);
	offer(&drv, 0);
	wr(R_NOTIFY, 1);
	loop_quiesce(loop);
	assert_int_equal(used_idx(&drv), 0);
	wr(R_STATUS, 15); /* what was offered early is looked at now */
	while (used_idx(&drv) == 0)
		assert_true(wait_irq());
	assert_int_equal(used_idx(&drv), 1);
}

static void odd_accesses(void **state)
{
	uint8_t bytes[16];
	uint32_t status = 1;

	(void)state;
	virtio_mmio_write(m, R_STATUS, &status, 1);
	virtio_mmio_write(m, R_STATUS, &status, 2);
	virtio_mmio_write(m, R_STATUS + 2, &status, 4);
	virtio_mmio_write(m, R_STATUS, bytes, 8);
	virtio_mmio_write(m, 0x100, &status, 4);
	virtio_mmio_write(m, 4096, &status, 4);
	virtio_mmio_write(m, UINT64_MAX - 3, &status, 4);
	assert_int_equal(rd(R_STATUS), 0);
	memset(bytes, 0xee, sizeof(bytes));
	virtio_mmio_read(m, 0, bytes, 2);
	assert_int_equal(bytes[0] | bytes[1], 0);
	virtio_mmio_read(m, 4095, bytes, 1);
	virtio_mmio_read(m, 4096, bytes, 4);
	virtio_mmio_read(m, UINT64_MAX - 7, bytes, 8);
	virtio_mmio_read(m, 0x102, bytes, 1);
}

/** hammer() - Resets and doorbells from a second vCPU. */
static void *hammer(void *arg)
{
	(void)arg;
	for (int i = 0; i < 2000; i++) {
		wr(R_NOTIFY, (uint32_t)i & 1);
		wr(R_STATUS, i % 7 ? 15 : 0);
		wr(R_QUEUE_SEL, (uint32_t)i & 1);
	}
	return NULL;
}

static void vcpus_race(void **state)
{
	pthread_t other;

	(void)state;
	assert_int_equal(pthread_create(&other, NULL, hammer, NULL), 0);
	for (int i = 0; i < 500; i++) {
		negotiate(DRIVER_FEATURES);
		settings(16, DRIVER_DESC);
		wr(R_STATUS, 15);
		offer(&drv, (uint16_t)(i % 20));
		wr(R_NOTIFY, 1);
	}
	pthread_join(other, NULL);
	driver_init(&drv, 16);
	bring_up();
	print("z", true);
}

#define T(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(identity), T(selectors), T(features_refused), T(data_flows), T(frozen_after_activation),
		T(bad_settings), T(broken_until_reset), T(doorbells_while_inactive), T(odd_accesses), T(vcpus_race),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
