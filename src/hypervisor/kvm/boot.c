/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. The kernel is the ELF file that its build leaves (vmlinux): nothing to decompress, no
 * firmware. Its segments are read to their physical addresses, and the first processor starts at the ELF entry in
 * 64-bit mode with RSI at the boot parameters. Source: ELF-64 object file format; Linux
 * Documentation/arch/x86/boot.rst ("64-bit Boot Protocol") and zero-page.rst. The file is the user's own, but every
 * number of it is checked all the same: a wrong file must be a clear error.
 */
#include "hypervisor/kvm/boot.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "hypervisor/kvm/cpu.h"
#include "hypervisor/kvm/layout.h"

#define SEGMENTS_MAX 32
#define BOOT_FLAG 0xaa55
#define HEADER_MAGIC 0x53726448 /* "HdrS" */
#define PROTOCOL_VERSION 0x020f
#define LOADER_UNDEFINED 0xff
#define E820_RAM 1
#define E820_RESERVED 2
#define PAGE 4096ULL

_Static_assert(sizeof(struct boot_params) == 4096, "the zero page is one page");

/** check_header() - Is this an ELF kernel for x86-64? */
static int check_header(const Elf64_Ehdr *h, uint64_t file_size, struct error *err)
{
	if (memcmp(h->e_ident, ELFMAG, SELFMAG) != 0)
		return err_set(err, ERR_INVALID, 0, "not an ELF file (an uncompressed vmlinux is needed)");
	if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB || h->e_machine != EM_X86_64 ||
	    h->e_type != ET_EXEC)
		return err_set(err, ERR_INVALID, 0, "not an x86-64 kernel");
	if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum == 0 || h->e_phnum > SEGMENTS_MAX)
		return err_set(err, ERR_INVALID, 0, "%u program headers of %u bytes", h->e_phnum, h->e_phentsize);
	if (h->e_phoff > file_size || file_size - h->e_phoff < (uint64_t)h->e_phnum * sizeof(Elf64_Phdr))
		return err_set(err, ERR_INVALID, 0, "program headers lie outside the file");
	return 0;
}

/** check_segment() - Bounds of one PT_LOAD segment in file and memory. */
static int check_segment(const Elf64_Phdr *p, unsigned int index, uint64_t file_size, struct error *err)
{
	if (p->p_filesz > p->p_memsz || p->p_offset > file_size || file_size - p->p_offset < p->p_filesz)
		return err_set(err, ERR_INVALID, 0, "segment %u lies outside the file", index);
	if (p->p_paddr < LAYOUT_HIGH_START || p->p_paddr >= LAYOUT_MAP_END ||
	    p->p_memsz > LAYOUT_MAP_END - p->p_paddr)
		return err_set(err, ERR_INVALID, 0, "segment %u lies outside 1 MiB to 1 GiB", index);
	return 0;
}

/** overlaps() - Does a segment share memory with an earlier one? */
static bool overlaps(const Elf64_Phdr *p, unsigned int index)
{
	for (unsigned int i = 0; i < index; i++)
		if (p[i].p_type == PT_LOAD && p[i].p_memsz && p[i].p_paddr < p[index].p_paddr + p[index].p_memsz &&
		    p[index].p_paddr < p[i].p_paddr + p[i].p_memsz)
			return true;
	return false;
}

/** read_exactly() - Fill guest memory from the file. */
static int read_exactly(int fd, void *to, uint64_t n, uint64_t offset, const char *what, struct error *err)
{
	ssize_t got = fd_pread_full(fd, to, n, (off_t)offset);

	if (got < 0)
		return err_set(err, ERR_SYSTEM, errno, "read the %s", what);
	if ((uint64_t)got != n)
		return err_set(err, ERR_INVALID, 0, "the %s became shorter while it was read", what);
	return 0;
}

/**
 * map_segment() - Put the whole pages of a segment that the kernel does not write (code and constants) into guest
 * memory by a private mapping: no copy, and every sandbox shares the host's page cache until it changes a page.
 * Return: bytes mapped; 0 where that is not possible, and the caller reads everything.
 */
static uint64_t map_segment(int fd, const Elf64_Phdr *p, uint8_t *to)
{
	uint64_t whole = ALIGN_DOWN(p->p_filesz, PAGE);

	if ((p->p_flags & PF_W) || p->p_offset % PAGE || (uintptr_t)to % PAGE || !whole)
		return 0;
	/* Populated for reading, else each page would be copied at once. */
	if (mmap(to, whole, PROT_READ, MAP_PRIVATE | MAP_FIXED | MAP_POPULATE, fd, (off_t)p->p_offset) == MAP_FAILED ||
	    mprotect(to, whole, PROT_READ | PROT_WRITE) < 0)
		return 0;
	madvise(to, whole, MADV_DONTDUMP);
	return whole;
}

/** load_segment() - Check one segment and bring it into memory. */
static int load_segment(const struct guest_memory *mem, int fd, const Elf64_Phdr *p, unsigned int index,
			uint64_t file_size, struct error *err)
{
	uint64_t mapped;
	uint8_t *to;

	if (check_segment(&p[index], index, file_size, err) < 0)
		return -(int)err->code;
	if (overlaps(p, index))
		return err_set(err, ERR_INVALID, 0, "segment %u overlaps another", index);
	to = memory_ptr(mem, p[index].p_paddr, p[index].p_memsz);
	if (!to)
		return err_set(err, ERR_LIMIT, 0, "the kernel does not fit into the machine's memory");
	mapped = map_segment(fd, &p[index], to);
	return read_exactly(fd, to + mapped, p[index].p_filesz - mapped, p[index].p_offset + mapped, "kernel", err);
}

int boot_load_kernel(const struct guest_memory *mem, int fd, struct boot_kernel *out, struct error *err)
{
	Elf64_Phdr segments[SEGMENTS_MAX];
	Elf64_Ehdr header;
	struct stat st;
	bool entry_found = false;

	if (fstat(fd, &st) < 0)
		return err_set(err, ERR_SYSTEM, errno, "stat the kernel");
	if (st.st_size < (off_t)sizeof(header))
		return err_set(err, ERR_INVALID, 0, "too short for a kernel");
	if (read_exactly(fd, &header, sizeof(header), 0, "kernel", err) < 0 ||
	    check_header(&header, (uint64_t)st.st_size, err) < 0 ||
	    read_exactly(fd, segments, header.e_phnum * sizeof(segments[0]), header.e_phoff, "kernel", err) < 0)
		return -(int)err->code;
	*out = (struct boot_kernel){ .entry = header.e_entry };
	for (unsigned int i = 0; i < header.e_phnum; i++) {
		const Elf64_Phdr *p = &segments[i];

		if (p->p_type != PT_LOAD || !p->p_memsz)
			continue;
		if (load_segment(mem, fd, segments, i, (uint64_t)st.st_size, err) < 0)
			return -(int)err->code;
		if (p->p_paddr + p->p_memsz > out->end)
			out->end = p->p_paddr + p->p_memsz;
		if ((p->p_flags & PF_X) && header.e_entry >= p->p_paddr && header.e_entry - p->p_paddr < p->p_filesz)
			entry_found = true;
	}
	if (!entry_found)
		return err_set(err, ERR_INVALID, 0, "its entry lies outside its code");
	return 0;
}

/** load_initrd() - Put the initramfs at the end of low memory. */
static int load_initrd(const struct guest_memory *mem, const struct boot_kernel *kernel, int fd, uint64_t *gpa,
		       uint64_t *size, struct error *err)
{
	uint64_t end = mem->regions[0].gpa + mem->regions[0].size;
	struct stat st;
	uint8_t *to;

	*gpa = *size = 0;
	if (fd < 0)
		return 0;
	if (fstat(fd, &st) < 0)
		return err_set(err, ERR_SYSTEM, errno, "stat the initramfs");
	if (st.st_size == 0)
		return 0;
	if ((uint64_t)st.st_size > end || ALIGN_DOWN(end - (uint64_t)st.st_size, PAGE) < ALIGN_UP(kernel->end, PAGE))
		return err_set(err, ERR_LIMIT, 0, "the initramfs does not fit into the machine's memory");
	*size = (uint64_t)st.st_size;
	*gpa = ALIGN_DOWN(end - *size, PAGE);
	to = memory_ptr(mem, *gpa, *size);
	if (!to)
		return err_set(err, ERR_LIMIT, 0, "the initramfs does not fit into the machine's memory");
	return read_exactly(fd, to, *size, 0, "initramfs", err);
}

/** add_e820() - One line of the memory map. */
static void add_e820(struct boot_params *bp, uint64_t from, uint64_t to, uint32_t type)
{
	if (to > from && bp->e820_entries < E820_MAX_ENTRIES_ZEROPAGE)
		bp->e820_table[bp->e820_entries++] =
			(struct boot_e820_entry){ .addr = from, .size = to - from, .type = type };
}

/** fill_params() - The zero page. */
static void fill_params(struct boot_params *bp, const struct guest_memory *mem, uint64_t initrd, uint64_t initrd_size,
			size_t cmdline_len)
{
	memset(bp, 0, sizeof(*bp));
	bp->hdr.boot_flag = BOOT_FLAG;
	bp->hdr.header = HEADER_MAGIC;
	bp->hdr.version = PROTOCOL_VERSION;
	bp->hdr.type_of_loader = LOADER_UNDEFINED;
	bp->hdr.loadflags = LOADED_HIGH;
	bp->hdr.cmd_line_ptr = LAYOUT_CMDLINE;
	bp->hdr.cmdline_size = (uint32_t)cmdline_len;
	bp->hdr.ramdisk_image = (uint32_t)initrd;
	bp->hdr.ramdisk_size = (uint32_t)initrd_size;
	bp->ext_ramdisk_image = (uint32_t)(initrd >> 32);
	bp->ext_ramdisk_size = (uint32_t)(initrd_size >> 32);
	bp->acpi_rsdp_addr = LAYOUT_ACPI;
	add_e820(bp, 0, LAYOUT_LOW_END, E820_RAM);
	add_e820(bp, LAYOUT_LOW_END, LAYOUT_HIGH_START, E820_RESERVED);
	add_e820(bp, LAYOUT_HIGH_START, mem->regions[0].size, E820_RAM);
	for (size_t i = 1; i < mem->count; i++)
		add_e820(bp, mem->regions[i].gpa, mem->regions[i].gpa + mem->regions[i].size, E820_RAM);
}

int boot_prepare(const struct guest_memory *mem, const struct boot_kernel *kernel, int initrd_fd, const char *cmdline,
		 const void *acpi, size_t acpi_len, struct error *err)
{
	size_t cmdline_len = strlen(cmdline);
	uint64_t initrd;
	uint64_t initrd_size;
	uint8_t *low = memory_ptr(mem, 0, LAYOUT_HIGH_START);

	if (!low || mem->regions[0].gpa != 0)
		return err_set(err, ERR_LIMIT, 0, "the machine has less than 1 MiB of memory");
	if (cmdline_len >= LAYOUT_CMDLINE_MAX)
		return err_set(err, ERR_LIMIT, 0, "kernel command line of %zu bytes", cmdline_len);
	if (acpi_len > LAYOUT_ACPI_MAX)
		return err_set(err, ERR_INTERNAL, 0, "ACPI tables of %zu bytes", acpi_len);
	if (load_initrd(mem, kernel, initrd_fd, &initrd, &initrd_size, err) < 0)
		return -(int)err->code;
	memcpy(low + LAYOUT_CMDLINE, cmdline, cmdline_len + 1);
	memcpy(low + LAYOUT_ACPI, acpi, acpi_len);
	cpu_write_gdt((uint64_t *)(void *)(low + LAYOUT_GDT));
	cpu_identity_map((uint64_t *)(void *)(low + LAYOUT_PAGE_TABLES), LAYOUT_PAGE_TABLES);
	fill_params((struct boot_params *)(void *)(low + LAYOUT_BOOT_PARAMS), mem, initrd, initrd_size, cmdline_len);
	return 0;
}
