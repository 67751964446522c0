/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI tables and the few AML terms they need. Source: ACPI 6.4: 5.2.5 (RSDP), 5.2.6 (header), 5.2.8 (XSDT), 5.2.9
 * (FADT), 5.2.12 (MADT), 4.8.3.7 (sleep registers), 6.4.2 and 6.4.3 (resources), 20.2 (AML grammar).
 */
#include "hypervisor/kvm/acpi.h"

#include <string.h>

#include "base/macros.h"
#include "base/writer.h"
#include "hypervisor/kvm/layout.h"

#define HEADER_SIZE 36
#define CHECKSUM_OFFSET 9
#define TABLE_ALIGN 16
#define RSDP_SIZE 36
#define XSDT_ENTRIES 2 /* FADT, MADT; the DSDT hangs below the FADT */
#define FADT_SIZE 276
#define AML_MAX KIB(16)
#define DEVICES_MAX 256

#define FADT_WBINVD (1U << 0)
#define FADT_PWR_BUTTON (1U << 4) /* no fixed button */
#define FADT_SLP_BUTTON (1U << 5)
#define FADT_RESET_REG (1U << 10)
#define FADT_HW_REDUCED (1U << 20)
#define BOOT_ARCH_NO_VGA (1U << 2)
#define BOOT_ARCH_NO_ASPM (1U << 4)
#define BOOT_ARCH_NO_CMOS_RTC (1U << 5)
#define GAS_SYSTEM_IO 1
#define GAS_BYTE_ACCESS 1

#define AML_NAME 0x08
#define AML_BYTE 0x0a
#define AML_DWORD 0x0c
#define AML_STRING 0x0d
#define AML_SCOPE 0x10
#define AML_BUFFER 0x11
#define AML_PACKAGE 0x12
#define AML_EXT 0x5b
#define AML_EXT_DEVICE 0x82

/* --- little-endian output --- */

/** put() - Append the low n bytes of a number. */
static void put(struct buf *b, uint64_t value, size_t n)
{
	uint8_t *at = buf_extend(b, n);

	if (at)
		put_le(at, value, (unsigned int)n);
}

/** set32() - Overwrite 4 bytes at an offset that was appended before. */
static void set32(struct buf *b, size_t at, uint32_t value)
{
	if (b->failed)
		return;
	ASSERT(at + 4 <= b->len);
	put_le(b->data + at, value, 4);
}

/** set_checksum() - Choose the byte at `at` so that [from, from + n) adds up to 0. */
static void set_checksum(struct buf *b, size_t from, size_t n, size_t at)
{
	uint8_t sum = 0;

	if (b->failed)
		return;
	ASSERT(from + n <= b->len && at >= from && at < from + n);
	b->data[at] = 0;
	for (size_t i = 0; i < n; i++)
		sum = (uint8_t)(sum + b->data[from + i]);
	b->data[at] = (uint8_t)-sum;
}

/** table_begin() - Align and append a table header without length and checksum. Return: offset of the table. */
static size_t table_begin(struct buf *b, const char *signature, uint8_t revision)
{
	size_t start;

	while (b->len % TABLE_ALIGN && !b->failed)
		put(b, 0, 1);
	start = b->len;
	buf_append(b, signature, 4);
	put(b, 0, 4);
	put(b, revision, 1);
	put(b, 0, 1);
	buf_append(b, "MSB   ", 6);
	buf_append(b, "MICROVM ", 8);
	put(b, 1, 4);
	buf_append(b, "MSB ", 4);
	put(b, 1, 4);
	return start;
}

/** table_end() - Fill in length and checksum. */
static void table_end(struct buf *b, size_t start)
{
	set32(b, start + 4, (uint32_t)(b->len - start));
	set_checksum(b, start, b->len - start, start + CHECKSUM_OFFSET);
}

/** put_port() - A generic address: one byte-wide I/O port; port 0 is "none". */
static void put_port(struct buf *b, uint16_t port)
{
	put(b, port ? GAS_SYSTEM_IO : 0, 1);
	put(b, port ? 8 : 0, 1);
	put(b, 0, 1);
	put(b, port ? GAS_BYTE_ACCESS : 0, 1);
	put(b, port, 8);
}

/* --- AML --- */

/** aml_package_length() - PkgLength of n bytes that follow it; it counts itself. Source: 20.2.4. */
static void aml_package_length(struct buf *b, size_t n)
{
	if (n + 1 < 0x40) {
		put(b, n + 1, 1);
	} else if (n + 2 < 0x1000) {
		n += 2;
		put(b, 0x40 | (n & 0xf), 1);
		put(b, n >> 4, 1);
	} else {
		n += 3;
		put(b, 0x80 | (n & 0xf), 1);
		put(b, n >> 4, 2);
	}
}

/** aml_wrap() - Append an opcode, PkgLength, and the inner bytes, which are freed. */
static void aml_wrap(struct buf *b, const uint8_t *op, size_t op_len, struct buf *inner)
{
	buf_append(b, op, op_len);
	aml_package_length(b, inner->len);
	buf_append(b, inner->data, inner->len);
	b->failed |= inner->failed;
	buf_free(inner);
}

/** aml_name() - Name(segment, ...): the object follows. */
static void aml_name(struct buf *b, const char *segment)
{
	put(b, AML_NAME, 1);
	buf_append(b, segment, 4);
}

/** aml_int() - An integer object. */
static void aml_int(struct buf *b, uint32_t value)
{
	put(b, value <= 0xff ? AML_BYTE : AML_DWORD, 1);
	put(b, value, value <= 0xff ? 1 : 4);
}

/** aml_resources() - Buffer with Memory32Fixed, Extended Interrupt and end tag: what _CRS wants. */
static void aml_resources(struct buf *b, const struct acpi_device *dev)
{
	static const uint8_t op[] = { AML_BUFFER };
	struct buf inner = BUF_INIT(128);

	aml_int(&inner, 12 + 9 + 2);
	put(&inner, 0x86, 1); /* Memory32Fixed: length 9, read-write */
	put(&inner, 9, 2);
	put(&inner, 1, 1);
	put(&inner, dev->base, 4);
	put(&inner, 4096, 4);
	put(&inner, 0x89, 1); /* Extended Interrupt: length 6, consumer, edge, active high, exclusive; one number */
	put(&inner, 6, 2);
	put(&inner, 0x03, 1);
	put(&inner, 1, 1);
	put(&inner, dev->gsi, 4);
	put(&inner, 0x79, 1); /* end; checksum 0 means "not checked" */
	put(&inner, 0, 1);
	aml_wrap(b, op, sizeof(op), &inner);
}

/** aml_virtio() - Device(Vxxx) with the id of virtio-mmio. */
static void aml_virtio(struct buf *b, unsigned int index, const struct acpi_device *dev)
{
	static const uint8_t op[] = { AML_EXT, AML_EXT_DEVICE };
	static const char hex[] = "0123456789ABCDEF";
	const char name[4] = { 'V', '0', hex[index >> 4 & 15], hex[index & 15] };
	struct buf inner = BUF_INIT(512);

	buf_append(&inner, name, sizeof(name));
	aml_name(&inner, "_HID");
	put(&inner, AML_STRING, 1);
	buf_append(&inner, "LNRO0005", 9); /* with its NUL */
	aml_name(&inner, "_UID");
	aml_int(&inner, index);
	aml_name(&inner, "_CCA"); /* DMA is cache coherent */
	aml_int(&inner, 1);
	aml_name(&inner, "_CRS");
	aml_resources(&inner, dev);
	aml_wrap(b, op, sizeof(op), &inner);
}

/** put_dsdt() - Scope(\_SB) with the devices; \_S5 so that the kernel knows how to power off. */
static void put_dsdt(struct buf *b, const struct acpi_device *devices, size_t count)
{
	static const uint8_t scope[] = { AML_SCOPE };
	static const uint8_t package[] = { AML_PACKAGE };
	struct buf inner = BUF_INIT(AML_MAX);
	struct buf s5 = BUF_INIT(64);
	size_t start = table_begin(b, "DSDT", 2);

	buf_append(&inner, "\\_SB_", 5);
	for (size_t i = 0; i < count; i++)
		aml_virtio(&inner, (unsigned int)i, &devices[i]);
	aml_wrap(b, scope, sizeof(scope), &inner);
	aml_name(b, "_S5_");
	put(&s5, 4, 1);
	aml_int(&s5, SLEEP_TYPE_OFF);
	for (unsigned int i = 0; i < 3; i++)
		aml_int(&s5, 0);
	aml_wrap(b, package, sizeof(package), &s5);
	table_end(b, start);
}

/** put_fadt() - Fixed hardware: none but sleep and reset registers. */
static void put_fadt(struct buf *b, uint32_t dsdt)
{
	size_t start = table_begin(b, "FACP", 6);

	put(b, 0, 4);	 /* no FACS */
	put(b, dsdt, 4);
	while (b->len < start + 109 && !b->failed)
		put(b, 0, 1);
	put(b, BOOT_ARCH_NO_VGA | BOOT_ARCH_NO_ASPM | BOOT_ARCH_NO_CMOS_RTC, 2);
	put(b, 0, 1);
	put(b, FADT_WBINVD | FADT_PWR_BUTTON | FADT_SLP_BUTTON | FADT_RESET_REG | FADT_HW_REDUCED, 4);
	put_port(b, PORT_RESET);
	put(b, RESET_VALUE, 1);
	put(b, 0, 2);
	put(b, 4, 1); /* minor version */
	put(b, 0, 8);
	put(b, dsdt, 8);
	for (unsigned int i = 0; i < 8; i++) /* PM1a_EVT .. GPE1 */
		put_port(b, 0);
	put_port(b, PORT_SLEEP_CONTROL);
	put_port(b, PORT_SLEEP_STATUS);
	put(b, 0, 8);
	table_end(b, start);
}

/** put_madt() - A local APIC per processor, one I/O APIC. */
static void put_madt(struct buf *b, unsigned int cpus)
{
	size_t start = table_begin(b, "APIC", 5);

	put(b, LAYOUT_LOCAL_APIC, 4);
	put(b, 0, 4); /* no 8259 */
	for (unsigned int i = 0; i < cpus; i++) {
		put(b, 0, 1); /* processor local APIC, 8 bytes, uid, id, enabled */
		put(b, 8, 1);
		put(b, i, 1);
		put(b, i, 1);
		put(b, 1, 4);
	}
	put(b, 1, 1); /* I/O APIC, 12 bytes, id, reserved, address, first interrupt */
	put(b, 12, 1);
	put(b, 0, 1);
	put(b, 0, 1);
	put(b, LAYOUT_IOAPIC, 4);
	put(b, 0, 4);
	table_end(b, start);
}

bool acpi_build(struct buf *out, uint32_t gpa, unsigned int cpus, const struct acpi_device *devices, size_t count)
{
	size_t xsdt;
	size_t dsdt;
	size_t fadt;
	size_t madt;

	if (count > DEVICES_MAX || cpus < 1 || cpus > 255)
		return false;
	buf_append(out, "RSD PTR ", 8);
	put(out, 0, 1);
	buf_append(out, "MSB   ", 6);
	put(out, 2, 1);
	put(out, 0, 4); /* no RSDT */
	put(out, RSDP_SIZE, 4);
	xsdt = ALIGN_UP((size_t)RSDP_SIZE, (size_t)TABLE_ALIGN);
	put(out, gpa + xsdt, 8);
	put(out, 0, 4);

	xsdt = table_begin(out, "XSDT", 1);
	for (unsigned int i = 0; i < XSDT_ENTRIES; i++)
		put(out, 0, 8);
	table_end(out, xsdt);
	dsdt = ALIGN_UP(out->len, (size_t)TABLE_ALIGN);
	put_dsdt(out, devices, count);
	fadt = ALIGN_UP(out->len, (size_t)TABLE_ALIGN);
	put_fadt(out, gpa + (uint32_t)dsdt);
	madt = ALIGN_UP(out->len, (size_t)TABLE_ALIGN);
	put_madt(out, cpus);
	set32(out, xsdt + HEADER_SIZE, gpa + (uint32_t)fadt);
	set32(out, xsdt + HEADER_SIZE + 8, gpa + (uint32_t)madt);
	if (out->failed)
		return false;
	set_checksum(out, xsdt, HEADER_SIZE + 8 * XSDT_ENTRIES, xsdt + CHECKSUM_OFFSET);
	set_checksum(out, 0, 20, 8); /* the part of version 1, then the whole */
	set_checksum(out, 0, RSDP_SIZE, 32);
	return true;
}
