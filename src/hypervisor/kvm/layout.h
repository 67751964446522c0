/* SPDX-License-Identifier: Apache-2.0 */
/** Where things are in the guest's physical address space and among its I/O ports. */
#ifndef MSB_HYPERVISOR_KVM_LAYOUT_H
#define MSB_HYPERVISOR_KVM_LAYOUT_H

/* Low memory, prepared before the start; the kernel is done with all of it early on. */
#define LAYOUT_GDT 0x1000
#define LAYOUT_BOOT_PARAMS 0x2000
#define LAYOUT_PAGE_TABLES 0x4000 /* 3 pages */
#define LAYOUT_CMDLINE 0x10000
#define LAYOUT_CMDLINE_MAX 2048	  /* COMMAND_LINE_SIZE of x86 */
#define LAYOUT_LOW_END 0x9f000	  /* end of usable memory below 1 MiB */
#define LAYOUT_ACPI 0xe0000
#define LAYOUT_ACPI_MAX 0x20000
#define LAYOUT_HIGH_START 0x100000
#define LAYOUT_MAP_END 0x40000000 /* what the first page tables reach */

/* RAM ends at 3 GiB at most and goes on at 4 GiB. */
#define LAYOUT_HOLE_START 0xc0000000ULL
#define LAYOUT_HOLE_END 0x100000000ULL

#define LAYOUT_DEVICES 0xd0000000U /* one page per virtio-mmio device */
#define LAYOUT_IOAPIC 0xfec00000U
#define LAYOUT_LOCAL_APIC 0xfee00000U
#define LAYOUT_IDENTITY_MAP 0xfffbc000ULL /* one page, needed by VMX without unrestricted guest */
#define LAYOUT_TSS 0xfffbd000ULL	  /* three pages, same */

#define LAYOUT_FIRST_GSI 5 /* interrupt of the first device; the I/O APIC has 24 pins */
#define LAYOUT_GSI_COUNT 24

/* Ports. Sleep and reset registers are named by our FADT. */
#define PORT_SERIAL 0x3f8
#define PORT_KEYBOARD 0x64
#define PORT_SLEEP_CONTROL 0x600
#define PORT_SLEEP_STATUS 0x601
#define PORT_RESET 0x602
#define PORT_PCI_RESET 0xcf9
#define RESET_VALUE 1
#define SLEEP_ENABLE 0x20 /* sleep control: SLP_EN; bits 2..4 are SLP_TYP */
#define SLEEP_TYPE_OFF 5

#endif
