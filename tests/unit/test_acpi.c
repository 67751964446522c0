/* SPDX-License-Identifier: Apache-2.0 */
/* ACPI tables: lengths, checksums, pointers, every device count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "hypervisor/kvm/acpi.h"

#define GPA 0xe0000U

/** le() - Little-endian number of n bytes. */
static uint64_t le(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++)
		v |= (uint64_t)p[i] << 8 * i;
	return v;
}

/** sum() - Byte sum, 0 for a valid table. */
static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t s = 0;

	for (size_t i = 0; i < n; i++)
		s = (uint8_t)(s + p[i]);
	return s;
}

/** table_at() - A valid table of this signature at a guest address. */
static const uint8_t *table_at(const struct buf *b, uint64_t gpa, const char *signature)
{
	const uint8_t *t;
	uint64_t length;

	assert_true(gpa >= GPA && gpa - GPA + 36 <= b->len);
	assert_int_equal(gpa % 16, 0);
	t = b->data + (gpa - GPA);
	assert_memory_equal(t, signature, 4);
	length = le(t + 4, 4);
	assert_true(length >= 36 && gpa - GPA + length <= b->len);
	assert_int_equal(sum(t, length), 0);
	return t;
}

/** count_string() - How often a byte string occurs. */
static size_t count_string(const uint8_t *p, size_t n, const char *what, size_t len)
{
	size_t found = 0;

	for (size_t i = 0; i + len <= n; i++)
		found += memcmp(p + i, what, len) == 0;
	return found;
}

/** check() - Tables of one machine. */
static void check(unsigned int cpus, size_t count)
{
	_cleanup_(buf_free) struct buf b = BUF_INIT(KIB(128));
	struct acpi_device devices[64];
	const uint8_t *xsdt;
	const uint8_t *fadt;
	const uint8_t *madt;
	const uint8_t *dsdt;
	size_t at = 44;
	unsigned int seen = 0;
	unsigned int ioapics = 0;

	for (size_t i = 0; i < count; i++)
		devices[i] = (struct acpi_device){ .base = 0xd0000000U + (uint32_t)i * 4096, .gsi = 5 + (uint32_t)i };
	assert_true(acpi_build(&b, GPA, cpus, devices, count));
	assert_memory_equal(b.data, "RSD PTR ", 8);
	assert_int_equal(sum(b.data, 20), 0);
	assert_int_equal(sum(b.data, 36), 0);
	xsdt = table_at(&b, le(b.data + 24, 8), "XSDT");
	assert_int_equal(le(xsdt + 4, 4), 36 + 16);
	fadt = table_at(&b, le(xsdt + 36, 8), "FACP");
	madt = table_at(&b, le(xsdt + 44, 8), "APIC");
	assert_int_equal(le(fadt + 4, 4), 276);
	assert_int_equal(le(fadt + 40, 4), le(fadt + 140, 8));
	assert_true(le(fadt + 112, 4) & 1U << 20);
	assert_int_equal(le(fadt + 244 + 4, 8), 0x600);
	assert_int_equal(le(fadt + 256 + 4, 8), 0x601);
	dsdt = table_at(&b, le(fadt + 140, 8), "DSDT");
	assert_int_equal(count_string(dsdt, le(dsdt + 4, 4), "LNRO0005", 9), count);
	assert_int_equal(count_string(dsdt, le(dsdt + 4, 4), "_S5_", 4), 1);
	while (at < le(madt + 4, 4)) {
		const uint8_t *e = madt + at;

		if (e[0] == 0) {
			assert_int_equal(e[1], 8);
			assert_int_equal(e[3], seen++);
		} else {
			assert_int_equal(e[0], 1);
			assert_int_equal(e[1], 12);
			ioapics++;
		}
		at += e[1];
	}
	assert_int_equal(at, le(madt + 4, 4));
	assert_int_equal(seen, cpus);
	assert_int_equal(ioapics, 1);
}

static void test_machines(void **state)
{
	(void)state;
	for (unsigned int cpus = 1; cpus <= 32; cpus++)
		for (size_t count = 0; count <= 19; count++)
			check(cpus, count);
	check(1, 64); /* PkgLength of three bytes */
}

static void test_limits(void **state)
{
	const struct acpi_device one = { .base = 0xd0000000U, .gsi = 5 };

	(void)state;
	for (size_t max = 0; max < 600; max += 7) {
		_cleanup_(buf_free) struct buf b = BUF_INIT(max);

		assert_false(acpi_build(&b, GPA, 1, &one, 1));
	}
	for (unsigned int cpus = 0; cpus < 300; cpus += 256) {
		_cleanup_(buf_free) struct buf b = BUF_INIT(KIB(64));

		assert_false(acpi_build(&b, GPA, cpus, &one, 1));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_machines),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
