/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "virtio_driver.h"

static struct driver drv;
static struct queue q;
static struct queue_chain chain;

static int fresh(void **state)
{
	(void)state;
	driver_init(&drv, 8);
	assert_true(queue_setup(&q, &drv.mem, 8, DRIVER_DESC, DRIVER_AVAIL, DRIVER_USED, DRIVER_FEATURES));
	return 0;
}

/** broken() - The chain at head 0 is refused, and the queue stays broken even when a good one follows. */
static void broken(void)
{
	offer(&drv, 0);
	assert_int_equal(queue_pop_chain(&q, &chain), QUEUE_BROKEN);
	desc(&drv, 0, DRIVER_DATA, 16, 0, 0);
	assert_int_equal(queue_pop_chain(&q, &chain), QUEUE_BROKEN);
	assert_false(queue_should_notify(&q));
	assert_false(queue_enable_kicks(&q, true));
}

static void setup_rules(void **state)
{
	const uint64_t f = DRIVER_FEATURES, end = DRIVER_GPA + DRIVER_MEM;

	(void)state;
	assert_false(queue_setup(&q, &drv.mem, 0, DRIVER_DESC, DRIVER_AVAIL, DRIVER_USED, f));
	assert_false(queue_setup(&q, &drv.mem, 3, DRIVER_DESC, DRIVER_AVAIL, DRIVER_USED, f));
	assert_false(queue_setup(&q, &drv.mem, 2 * QUEUE_SIZE_MAX, DRIVER_DESC, DRIVER_AVAIL, DRIVER_USED, f));
	assert_false(queue_setup(&q, &drv.mem, 8, DRIVER_DESC + 8, DRIVER_AVAIL, DRIVER_USED, f));
	assert_false(queue_setup(&q, &drv.mem, 8, DRIVER_DESC, DRIVER_AVAIL + 1, DRIVER_USED, f));
	assert_false(queue_setup(&q, &drv.mem, 8, DRIVER_DESC, DRIVER_AVAIL, DRIVER_USED + 2, f));
	assert_false(queue_setup(&q, &drv.mem, 8, end - 112, DRIVER_AVAIL, DRIVER_USED, f));
	assert_true(queue_setup(&q, &drv.mem, 8, end - 128, DRIVER_AVAIL, DRIVER_USED, f));
	assert_false(queue_setup(&q, &drv.mem, 8, DRIVER_DESC, end - 20, DRIVER_USED, f));
	assert_true(queue_setup(&q, &drv.mem, 8, DRIVER_DESC, end - 22, DRIVER_USED, f));
	assert_false(queue_setup(&q, &drv.mem, 8, DRIVER_DESC, DRIVER_AVAIL, end - 68, f));
	assert_false(queue_setup(&q, &drv.mem, 8, UINT64_MAX - 15, DRIVER_AVAIL, DRIVER_USED, f));
	assert_int_equal(queue_pop_chain(&q, &chain), QUEUE_BROKEN);
}

static void simple(void **state)
{
	uint8_t out[8];

	(void)state;
	assert_int_equal(queue_pop_chain(&q, &chain), QUEUE_EMPTY);
	memcpy(at(&drv, DRIVER_DATA), "abcdef", 6);
	desc(&drv, 3, DRIVER_DATA, 4, D_NEXT, 1);
	desc(&drv, 1, DRIVER_DATA + 4, 2, D_NEXT, 7);
	desc(&drv, 7, DRIVER_DATA + 64, 5, D_WRITE | D_NEXT, 0);
	desc(&drv, 0, DRIVER_DATA + 128, 5, D_WRITE, 99);
	offer(&drv, 3);
	assert_int_equal(queue_pop_chain(&q, &chain), QUEUE_OK);
	assert_int_equal(chain.head, 3);
	assert_int_equal(chain.read_count, 2);
	assert_int_equal(chain.write_count, 2);
	assert_int_equal(chain.read_bytes, 6);
	assert_int_equal(chain.write_bytes, 10);
	assert_int_equal(chain_read(&chain, 2, out, sizeof(out)), 4);
	assert_memory_equal(out, "cdef", 4);
	assert_int_equal(chain_read(&chain, 6, out, sizeof(out)), 0);
	assert_int_equal(chain_write(&chain, 3, "0123456789", 10), 7);
	assert_memory_equal(at(&drv, DRIVER_DATA + 64), "\0\0\00001\0\0", 7);
	assert_memory_equal(at(&drv, DRIVER_DATA + 128), "23456\0", 6);
	queue_push(&q, &chain, 10);
	assert_int_equal(used_idx(&drv), 1);
	assert_int_equal(get32(&drv, DRIVER_USED + 4), 3);
	assert_int_equal(used_len(&drv, 0), 10);
	assert_int_equal(queue_pop_chain(&q, &chain), QUEUE_EMPTY);
}

static void unpop(void **state)
{
	(void)state;
	desc(&drv, 2, DRIVER_DATA, 4, D_WRITE, 0);
	offer(&drv, 2);
	assert_int_equal(queue_pop_chain(&q, &chain), QUEUE_OK);
	queue_unpop(&q);
	assert_int_equal(queue_pop_chain(&q, &chain), QUEUE_OK);
	assert_int_equal(chain.head, 2);
	assert_int_equal(queue_pop_chain(&q, &chain), QUEUE_EMPTY);
}

static void loop_of_two(void **state)
{
	(void)state;
	desc(&drv, 0, DRIVER_DATA, 4, D_NEXT, 1);
	desc(&drv, 1, DRIVER_DATA, 4, D_NEXT, 0);
	broken();
}

static void loop_to_itself(void **state)
{
	(void)state;
	desc(&drv, 0, DRIVER_DATA, 4, D_NEXT, 0);
	broken();
}

static void head_out_of_range(void **state)
{
	(void)state;
	offer(&drv, 8);
	assert_int_equal(queue_pop_chain(&q, &chain), QUEUE_BROKEN);
}

static void next_out_of_range(void **state)
{
	(void)state;
	desc(&drv, 0, DRIVER_DATA, 4, D_NEXT, 8);
	desc(&drv, 8, DRIVER_DATA, 4, 0, 0); /* a good one, but behind the table */
	broken();
}

static void avail_too_far(void **state)
{
	(void)state;
	desc(&drv, 0, DRIVER_DATA, 4, 0, 0);
	put16(&drv, DRIVER_AVAIL + 2, 9);
	assert_int_equal(queue_pop_chain(&q, &chain), QUEUE_BROKEN);
}

static void writable_first(void **state)
{
	(void)state;
	desc(&drv, 0, DRIVER_DATA, 4, D_NEXT | D_WRITE, 1);
	desc(&drv, 1, DRIVER_DATA, 4, 0, 0);
	broken();
}

static void address_outside(void **state)
{
	(void)state;
	desc(&drv, 0, DRIVER_GPA + DRIVER_MEM - 3, 4, 0, 0);
	broken();
}

static void length_overflow(void **state)
{
	(void)state;
	desc(&drv, 0, DRIVER_DATA, UINT32_MAX, 0, 0);
	broken();
}

static void address_overflow(void **state)
{
	(void)state;
	desc(&drv, 0, UINT64_MAX - 1, 4, 0, 0);
	broken();
}

static void length_zero(void **state)
{
	(void)state;
	desc(&drv, 0, DRIVER_DATA, 0, 0, 0);
	broken();
}

static void indirect(void **state)
{
	(void)state;
	desc(&drv, 0, DRIVER_DATA, 3, D_NEXT, 1); /* a direct part first is allowed (2.7.5.3.1) */
	desc(&drv, 1, DRIVER_DATA + 0x1000, 32, D_INDIRECT, 0);
	desc_at(&drv, DRIVER_DATA + 0x1000, 0, DRIVER_DATA, 4, D_NEXT, 1);
	desc_at(&drv, DRIVER_DATA + 0x1000, 1, DRIVER_DATA + 8, 4, D_WRITE, 0);
	offer(&drv, 0);
	assert_int_equal(queue_pop_chain(&q, &chain), QUEUE_OK);
	assert_int_equal(chain.read_bytes, 7);
	assert_int_equal(chain.write_bytes, 4);
}

static void indirect_nested(void **state)
{
	(void)state;
	desc(&drv, 0, DRIVER_DATA, 16, D_INDIRECT, 0);
	desc_at(&drv, DRIVER_DATA, 0, DRIVER_DATA, 16, D_INDIRECT, 0);
	broken();
}

static void indirect_with_next(void **state)
{
	(void)state;
	desc(&drv, 0, DRIVER_DATA, 16, D_INDIRECT | D_NEXT, 1);
	desc_at(&drv, DRIVER_DATA, 0, DRIVER_DATA, 16, 0, 0);
	desc(&drv, 1, DRIVER_DATA, 4, 0, 0);
	broken();
}

static void indirect_odd_length(void **state)
{
	(void)state;
	desc(&drv, 0, DRIVER_DATA, 17, D_INDIRECT, 0);
	desc_at(&drv, DRIVER_DATA, 0, DRIVER_DATA, 16, 0, 0);
	broken();
}

static void indirect_loop(void **state)
{
	(void)state;
	desc(&drv, 0, DRIVER_DATA, 32, D_INDIRECT, 0);
	desc_at(&drv, DRIVER_DATA, 0, DRIVER_DATA, 4, D_NEXT, 1);
	desc_at(&drv, DRIVER_DATA, 1, DRIVER_DATA, 4, D_NEXT, 0);
	broken();
}

static void indirect_next_outside(void **state)
{
	(void)state;
	desc(&drv, 0, DRIVER_DATA, 16, D_INDIRECT, 0);
	desc_at(&drv, DRIVER_DATA, 0, DRIVER_DATA, 4, D_NEXT, 1);
	desc_at(&drv, DRIVER_DATA, 1, DRIVER_DATA, 4, 0, 0);
	broken();
}

static void indirect_too_long(void **state)
{
	(void)state;
	desc(&drv, 0, DRIVER_DATA, 16 * (QUEUE_IOV_MAX + 1), D_INDIRECT, 0);
	for (uint16_t i = 0; i <= QUEUE_IOV_MAX; i++)
		desc_at(&drv, DRIVER_DATA, i, DRIVER_DATA, 4, i < QUEUE_IOV_MAX ? D_NEXT : 0, (uint16_t)(i + 1));
	broken();
}

/* The largest table plus one direct part is one iovec too many. */
static void iov_overflow(void **state)
{
	(void)state;
	desc(&drv, 0, DRIVER_DATA, 4, D_NEXT, 1);
	desc(&drv, 1, DRIVER_DATA, 16 * QUEUE_IOV_MAX, D_INDIRECT, 0);
	for (uint16_t i = 0; i < QUEUE_IOV_MAX; i++)
		desc_at(&drv, DRIVER_DATA, i, DRIVER_DATA, 4, i < QUEUE_IOV_MAX - 1 ? D_NEXT : 0, (uint16_t)(i + 1));
	broken();
}

static void indirect_not_negotiated(void **state)
{
	(void)state;
	assert_true(queue_setup(&q, &drv.mem, 8, DRIVER_DESC, DRIVER_AVAIL, DRIVER_USED, 1ULL << VIRTIO_F_VERSION_1_BIT));
	desc(&drv, 0, DRIVER_DATA, 16, D_INDIRECT, 0);
	desc_at(&drv, DRIVER_DATA, 0, DRIVER_DATA, 4, 0, 0);
	broken();
}

/* Many descriptors may name the same memory: the sum is bounded, not only each one. */
static void total_bytes(void **state)
{
	(void)state;
	desc(&drv, 0, DRIVER_DATA, 16 * 200, D_INDIRECT, 0);
	for (uint16_t i = 0; i < 200; i++)
		desc_at(&drv, DRIVER_DATA, i, DRIVER_GPA, DRIVER_MEM, i < 199 ? D_NEXT : 0, (uint16_t)(i + 1));
	broken();
}

static void notify_by_flag(void **state)
{
	(void)state;
	assert_true(queue_setup(&q, &drv.mem, 8, DRIVER_DESC, DRIVER_AVAIL, DRIVER_USED, 1ULL << VIRTIO_F_VERSION_1_BIT));
	desc(&drv, 0, DRIVER_DATA, 4, D_WRITE, 0);
	for (int i = 0; i < 3; i++) {
		offer(&drv, 0);
		assert_int_equal(queue_pop_chain(&q, &chain), QUEUE_OK);
		queue_push(&q, &chain, 0);
		put16(&drv, DRIVER_AVAIL, i == 1); /* NO_INTERRUPT in the second round */
		assert_int_equal(queue_should_notify(&q), i != 1);
		assert_false(queue_should_notify(&q)); /* nothing new since */
	}
	queue_enable_kicks(&q, false);
	assert_int_equal(get16(&drv, DRIVER_USED), 1);
	offer(&drv, 0);
	assert_true(queue_enable_kicks(&q, true)); /* the doorbell that was not rung */
	assert_int_equal(get16(&drv, DRIVER_USED), 0);
}

/** serve() - n buffers through the queue. */
static void serve(unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		offer(&drv, 0);
		assert_int_equal(queue_pop_chain(&q, &chain), QUEUE_OK);
		queue_push(&q, &chain, 0);
	}
}

static void notify_by_event(void **state)
{
	const uint64_t used_event = DRIVER_AVAIL + 4 + 2 * 8, avail_event = DRIVER_USED + 4 + 8 * 8;

	(void)state;
	desc(&drv, 0, DRIVER_DATA, 4, D_WRITE, 0);
	serve(1);
	assert_true(queue_should_notify(&q)); /* the first look */
	put16(&drv, used_event, 3);	      /* "when entry 3 was used" */
	serve(2);
	assert_false(queue_should_notify(&q));
	serve(1);
	assert_true(queue_should_notify(&q));
	serve(5);
	assert_false(queue_should_notify(&q)); /* 3 is long past */
	/* A driver that polls, looked at now and then, for more than 2^16 buffers: no false window afterwards. */
	for (int i = 0; i < 70; i++) {
		serve(1000);
		put16(&drv, used_event, (uint16_t)(q.next_used + 30000));
		assert_false(queue_should_notify(&q));
	}
	put16(&drv, used_event, (uint16_t)(q.next_used + 1));
	serve(2);
	assert_true(queue_should_notify(&q));
	assert_false(queue_enable_kicks(&q, true));
	assert_int_equal(get16(&drv, avail_event), q.next_avail);
	offer(&drv, 0);
	assert_true(queue_enable_kicks(&q, true));
}

#define T(name) cmocka_unit_test_setup(name, fresh)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(setup_rules), T(simple), T(unpop), T(loop_of_two), T(loop_to_itself), T(head_out_of_range),
		T(next_out_of_range), T(avail_too_far), T(writable_first), T(address_outside), T(length_overflow),
		T(address_overflow), T(length_zero), T(indirect), T(indirect_nested), T(indirect_with_next),
		T(indirect_odd_length), T(indirect_loop), T(indirect_next_outside), T(indirect_too_long), T(iov_overflow),
		T(indirect_not_negotiated), T(total_bytes), T(notify_by_flag), T(notify_by_event),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
