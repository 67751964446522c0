/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "virtio/memory.h"

static uint8_t low[4096], high[8192];

static const struct guest_memory mem = {
	.count = 2,
	.regions = { { .gpa = 0, .size = sizeof(low), .host = low },
		     { .gpa = 0x100000000ULL, .size = sizeof(high), .host = high } },
};

static void inside(void **state)
{
	(void)state;
	assert_ptr_equal(memory_ptr(&mem, 0, 1), low);
	assert_ptr_equal(memory_ptr(&mem, 0, sizeof(low)), low);
	assert_ptr_equal(memory_ptr(&mem, sizeof(low) - 1, 1), low + sizeof(low) - 1);
	assert_ptr_equal(memory_ptr(&mem, 0x100000010ULL, sizeof(high) - 16), high + 16);
}

static void outside(void **state)
{
	(void)state;
	assert_null(memory_ptr(&mem, 0, 0));
	assert_null(memory_ptr(&mem, 0, sizeof(low) + 1));
	assert_null(memory_ptr(&mem, sizeof(low), 1));
	assert_null(memory_ptr(&mem, sizeof(low) - 1, 2));
	assert_null(memory_ptr(&mem, 0xffffffffULL, 2));
	assert_null(memory_ptr(&mem, 0x100000000ULL, sizeof(high) + 1));
	assert_null(memory_ptr(&mem, UINT64_MAX, 1));
	assert_null(memory_ptr(&mem, 1, UINT64_MAX));
	assert_null(memory_ptr(&mem, 0x100000001ULL, UINT64_MAX));
}

/* Regions that touch are still two mappings: nothing may span them. */
static void touching(void **state)
{
	const struct guest_memory two = {
		.count = 2,
		.regions = { { .gpa = 0, .size = 4096, .host = high }, { .gpa = 4096, .size = 4096, .host = low } },
	};

	(void)state;
	assert_null(memory_ptr(&two, 4095, 2));
	assert_ptr_equal(memory_ptr(&two, 4096, 2), low);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inside),
		cmocka_unit_test(outside),
		cmocka_unit_test(touching),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
