/* SPDX-License-Identifier: Apache-2.0 */
/* ELF loader and boot parameters on crafted kernels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <asm/bootparam.h>
#include <elf.h>

#include "base/fd.h"
#include "hypervisor/kvm/boot.h"
#include "hypervisor/kvm/layout.h"

#define MEMORY MIB(32)
#define LOAD_AT MIB(16)

/** A kernel of two segments: 64 bytes of code, 32 bytes of data with 8 KiB of bss. */
struct image {
	Elf64_Ehdr header;
	Elf64_Phdr segments[3];
	uint8_t code[64];
	uint8_t data[32];
};

static uint8_t *ram;
static struct guest_memory mem;

/** good() - A valid image. */
static struct image good(void)
{
	struct image k = {
		.header = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1 },
			    .e_type = ET_EXEC,
			    .e_machine = EM_X86_64,
			    .e_entry = LOAD_AT + 16,
			    .e_phoff = offsetof(struct image, segments),
			    .e_phentsize = sizeof(Elf64_Phdr),
			    .e_phnum = 3 },
		.segments = { { .p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_offset = offsetof(struct image, code),
				.p_paddr = LOAD_AT, .p_filesz = 64, .p_memsz = 64 },
			      { .p_type = PT_LOAD, .p_flags = PF_R | PF_W, .p_offset = offsetof(struct image, data),
				.p_paddr = LOAD_AT + 4096, .p_filesz = 32, .p_memsz = 8192 },
			      { .p_type = PT_NOTE, .p_offset = UINT64_MAX, .p_filesz = UINT64_MAX } },
	};

	memset(k.code, 0x90, sizeof(k.code));
	memset(k.data, 0x55, sizeof(k.data));
	return k;
}

/** load_bytes() - Load a file of these bytes. Return: the loader's code. */
static int load_bytes(const void *bytes, size_t n, struct boot_kernel *out)
{
	struct error err = ERROR_INIT;
	int fd = fd_memfd("kernel", 0, false);
	int rc;

	assert_true(fd >= 0);
	assert_int_equal(fd_pwrite_full(fd, bytes, n, 0), 0);
	memset(ram, 0, MEMORY);
	rc = boot_load_kernel(&mem, fd, out, &err);
	assert_int_equal(rc, -(int)err.code);
	fd_close(&fd);
	return rc;
}

static int load(const struct image *k)
{
	struct boot_kernel out;

	return load_bytes(k, sizeof(*k), &out);
}

static void test_good(void **state)
{
	struct image k = good();
	struct boot_kernel out;

	(void)state;
	assert_int_equal(load_bytes(&k, sizeof(k), &out), 0);
	assert_int_equal(out.entry, LOAD_AT + 16);
	assert_int_equal(out.end, LOAD_AT + 4096 + 8192);
	assert_memory_equal(ram + LOAD_AT, k.code, sizeof(k.code));
	assert_memory_equal(ram + LOAD_AT + 4096, k.data, sizeof(k.data));
	assert_int_equal(ram[LOAD_AT + 4096 + 32], 0);
}

/** Whole pages of a segment that is not written are mapped, the rest is read; nothing of the file's tail is seen. */
static void test_mapped(void **state)
{
	static uint8_t file[5 * 4096];
	struct error err = ERROR_INIT;
	struct image k = good();
	struct boot_kernel out;
	int fd = fd_memfd("kernel", 0, false);
	uint8_t byte;

	(void)state;
	memset(file, 0xcc, sizeof(file));
	k.segments[0].p_offset = 4096;
	k.segments[0].p_filesz = 2 * 4096 + 100;
	k.segments[0].p_memsz = 3 * 4096;
	k.segments[1].p_paddr = LOAD_AT + 3 * 4096;
	memcpy(file, &k, sizeof(k));
	memset(ram, 0, MEMORY);
	assert_int_equal(fd_pwrite_full(fd, file, sizeof(file), 0), 0);
	assert_int_equal(boot_load_kernel(&mem, fd, &out, &err), 0);
	assert_memory_equal(ram + LOAD_AT, file + 4096, 2 * 4096 + 100);
	for (size_t i = 2 * 4096 + 100; i < 3 * 4096; i++)
		assert_int_equal(ram[LOAD_AT + i], 0);
	ram[LOAD_AT + 1] = 0x11; /* what the guest changes stays the guest's */
	assert_int_equal(pread(fd, &byte, 1, 4097), 1);
	assert_int_equal(byte, 0xcc);
	fd_close(&fd);
}

static void test_truncated(void **state)
{
	struct image k = good();
	struct boot_kernel out;

	(void)state;
	for (size_t n = 0; n < sizeof(k); n++)
		assert_int_equal(load_bytes(&k, n, &out), -ERR_INVALID);
}

#define BAD(change, code)                                                                                              \
	do {                                                                                                           \
		struct image k = good();                                                                               \
		change;                                                                                                \
		assert_int_equal(load(&k), -(code));                                                                   \
	} while (0)

static void test_bad(void **state)
{
	(void)state;
	BAD(k.header.e_ident[1] = 'e', ERR_INVALID);
	BAD(k.header.e_ident[EI_CLASS] = ELFCLASS32, ERR_INVALID);
	BAD(k.header.e_ident[EI_DATA] = ELFDATA2MSB, ERR_INVALID);
	BAD(k.header.e_machine = EM_AARCH64, ERR_INVALID);
	BAD(k.header.e_type = ET_DYN, ERR_INVALID);
	BAD(k.header.e_phnum = 0, ERR_INVALID);
	BAD(k.header.e_phnum = 0xffff, ERR_INVALID);
	BAD(k.header.e_phentsize = 32, ERR_INVALID);
	BAD(k.header.e_phoff = UINT64_MAX - 8, ERR_INVALID);
	BAD(k.header.e_phoff = sizeof(k) - 8, ERR_INVALID);
	BAD(k.header.e_entry = 0xffffffff81000000ULL, ERR_INVALID);
	BAD(k.header.e_entry = LOAD_AT + 64, ERR_INVALID);
	BAD(k.header.e_entry = LOAD_AT + 4096, ERR_INVALID); /* data is not code */
	BAD(k.segments[0].p_filesz = 65, ERR_INVALID);
	BAD(k.segments[1].p_offset = UINT64_MAX, ERR_INVALID);
	BAD(k.segments[1].p_offset = sizeof(k) - 31, ERR_INVALID);
	BAD((k.segments[1].p_filesz = UINT64_MAX, k.segments[1].p_memsz = UINT64_MAX), ERR_INVALID);
	BAD(k.segments[1].p_memsz = UINT64_MAX, ERR_INVALID);
	BAD(k.segments[1].p_memsz = UINT64_MAX - LOAD_AT - 4096 + 1, ERR_INVALID);
	BAD(k.segments[1].p_paddr = 0x1000, ERR_INVALID); /* our own tables */
	BAD(k.segments[1].p_paddr = UINT64_MAX - 16, ERR_INVALID);
	BAD(k.segments[1].p_paddr = LAYOUT_MAP_END - 4096, ERR_INVALID);
	BAD(k.segments[1].p_paddr = LOAD_AT + 32, ERR_INVALID); /* overlap */
	BAD(k.segments[1].p_paddr = MEMORY - 4096, ERR_LIMIT);
}

static void test_prepare(void **state)
{
	const struct boot_kernel kernel = { .entry = LOAD_AT, .end = LOAD_AT + 5000 };
	struct error err = ERROR_INIT;
	struct boot_params bp;
	char line[LAYOUT_CMDLINE_MAX + 1];
	int fd = fd_memfd("initrd", 0, false);

	(void)state;
	memset(ram, 0, MEMORY);
	assert_int_equal(fd_pwrite_full(fd, "initramfs", 9, 0), 0);
	assert_int_equal(boot_prepare(&mem, &kernel, fd, "console=hvc0", "ACPI", 4, &err), 0);
	memcpy(&bp, ram + LAYOUT_BOOT_PARAMS, sizeof(bp));
	assert_int_equal(bp.hdr.ramdisk_image, MEMORY - 4096);
	assert_int_equal(bp.hdr.ramdisk_size, 9);
	assert_memory_equal(ram + MEMORY - 4096, "initramfs", 10);
	assert_string_equal((char *)ram + bp.hdr.cmd_line_ptr, "console=hvc0");
	assert_int_equal(bp.acpi_rsdp_addr, LAYOUT_ACPI);
	assert_memory_equal(ram + LAYOUT_ACPI, "ACPI", 4);
	assert_int_equal(bp.e820_entries, 3);
	assert_int_equal(bp.e820_table[2].addr + bp.e820_table[2].size, MEMORY);

	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\0';
	assert_int_equal(boot_prepare(&mem, &kernel, -1, line, "", 0, &err), -ERR_LIMIT);
	err_clear(&err);
	line[LAYOUT_CMDLINE_MAX - 1] = '\0';
	assert_int_equal(boot_prepare(&mem, &kernel, -1, line, "", 0, &err), 0);
	assert_int_equal(ftruncate(fd, MIB(16) - 8192), 0);
	assert_int_equal(boot_prepare(&mem, &kernel, fd, "", "", 0, &err), 0);
	assert_int_equal(ftruncate(fd, MIB(16) - 8191), 0);
	assert_int_equal(boot_prepare(&mem, &kernel, fd, "", "", 0, &err), -ERR_LIMIT);
	err_clear(&err);
	assert_int_equal(ftruncate(fd, (off_t)1 << 40), 0);
	assert_int_equal(boot_prepare(&mem, &kernel, fd, "", "", 0, &err), -ERR_LIMIT);
	fd_close(&fd);
}

/** setup() - 32 MiB of guest memory. */
static int setup(void **state)
{
	(void)state;
	ram = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ram == MAP_FAILED)
		return 1;
	mem = (struct guest_memory){ .count = 1, .regions = { { .gpa = 0, .size = MEMORY, .host = ram } } };
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	munmap(ram, MEMORY);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_mapped),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_prepare),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
