/* SPDX-License-Identifier: Apache-2.0 */
/** Direct boot of an uncompressed x86-64 Linux kernel: ELF, initramfs, boot parameters. */
#ifndef MSB_HYPERVISOR_KVM_BOOT_H
#define MSB_HYPERVISOR_KVM_BOOT_H

#include <stdint.h>

#include "base/error.h"
#include "virtio/memory.h"

struct boot_kernel {
	uint64_t entry; /* physical address of startup_64 */
	uint64_t end;	/* first byte behind the last segment, bss included */
};

/**
 * boot_load_kernel() - Bring the PT_LOAD segments of an ELF file into guest memory, which must be zero before.
 * @mem: mapped with mmap(): code and constants replace its pages by private mappings of the file, the rest is read
 * @fd:  borrowed
 * Return: 0, or ERR_INVALID (not such a kernel), ERR_LIMIT (does not fit into the memory), ERR_SYSTEM.
 */
int boot_load_kernel(const struct guest_memory *mem, int fd, struct boot_kernel *out, struct error *err);
/**
 * boot_prepare() - Initramfs at the end of low memory, command line, boot parameters, page tables and GDT.
 * @initrd_fd: borrowed, or -1   @acpi: RSDP and tables, put at LAYOUT_ACPI
 */
int boot_prepare(const struct guest_memory *mem, const struct boot_kernel *kernel, int initrd_fd, const char *cmdline,
		 const void *acpi, size_t acpi_len, struct error *err);

#endif
