/* SPDX-License-Identifier: Apache-2.0 */
/** State of one virtual processor before its first instruction: CPUID, registers, MSRs. */
#ifndef MSB_HYPERVISOR_KVM_CPU_H
#define MSB_HYPERVISOR_KVM_CPU_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define CPUID_ENTRIES_MAX 256

/** What KVM can offer a guest on this host (KVM_GET_SUPPORTED_CPUID), with room for entries of ours. */
struct cpuid_table {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entries[CPUID_ENTRIES_MAX];
};

/** cpu_supported_cpuid() - Ask KVM. Return: 0 or negative code. */
int cpu_supported_cpuid(int kvm_fd, struct cpuid_table *out, struct error *err);
/**
 * cpuid_for_vcpu() - Make the table of one processor out of what the host supports: identity, topology, no nesting.
 * @index: 0..count-1, also the APIC id   @tsc_deadline: the in-kernel APIC has that timer mode
 */
void cpuid_for_vcpu(struct cpuid_table *table, unsigned int index, unsigned int count, bool tsc_deadline);
/** cpuid_find() - Return: the entry of a leaf and sub-leaf (0 where the leaf has none), borrowed, or NULL. */
struct kvm_cpuid_entry2 *cpuid_find(struct cpuid_table *table, uint32_t leaf, uint32_t subleaf);

/** cpu_long_mode() - Put a processor into 64-bit mode, ring 0, flat segments, paging by @cr3, GDT at @gdt. */
int cpu_long_mode(int vcpu_fd, uint64_t cr3, uint64_t gdt, uint64_t idt, uint64_t extra_cr4, struct error *err);
/** cpu_write_gdt() - The GDT that cpu_long_mode() means: 4 descriptors. */
void cpu_write_gdt(uint64_t gdt[4]);
/** cpu_identity_map() - Three pages that map the first GiB onto itself with 2 MiB pages; @gpa is that of pages[0]. */
void cpu_identity_map(uint64_t *pages, uint64_t gpa);
/** cpu_set_msrs() - MSRs whose value after reset does not suit a directly booted kernel. */
int cpu_set_msrs(int vcpu_fd, struct error *err);

#endif
