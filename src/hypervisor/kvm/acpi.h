/* SPDX-License-Identifier: Apache-2.0 */
/** Hardware-reduced ACPI tables of our machine: processors, I/O APIC, virtio-mmio devices, power-off, reset. */
#ifndef MSB_HYPERVISOR_KVM_ACPI_H
#define MSB_HYPERVISOR_KVM_ACPI_H

#include <stdint.h>

#include "base/buf.h"

struct acpi_device {
	uint32_t base; /* registers, one 4 KiB page */
	uint32_t gsi;  /* interrupt, edge, active high */
};

/**
 * acpi_build() - Append all tables to out, RSDP first, XSDT, FADT, MADT and DSDT behind it.
 * @out: empty   @gpa: where the first byte will be in the guest; below 4 GiB, 16-byte aligned   @cpus: 1..255
 * Return: false when out is full or out of memory.
 */
bool acpi_build(struct buf *out, uint32_t gpa, unsigned int cpus, const struct acpi_device *devices, size_t count);

#endif
