/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processor state. Sources: Intel SDM volume 2 (CPUID), volume 3 chapters 2, 3, 4 and 9.8.5 (64-bit mode);
 * AMD APM volume 3 appendix E (CPUID), volume 2 chapter 14; Linux Documentation/virt/kvm/x86/cpuid.rst.
 */
#include "hypervisor/kvm/cpu.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/macros.h"

#define CR0_PE 0x00000001ULL
#define CR0_MP 0x00000002ULL
#define CR0_ET 0x00000010ULL
#define CR0_NE 0x00000020ULL
#define CR0_WP 0x00010000ULL
#define CR0_PG 0x80000000ULL
#define CR4_PAE 0x20ULL
#define EFER_LME 0x100ULL
#define EFER_LMA 0x400ULL

#define PTE_PRESENT_RW 0x3ULL
#define PDE_HUGE 0x80ULL
#define TABLE_ENTRIES 512U
#define HUGE_PAGE 0x200000ULL

#define GDT_CODE64 0x00af9b000000ffffULL /* base 0, 64-bit code, present, accessed */
#define GDT_DATA 0x00cf93000000ffffULL	 /* base 0, data, writable, present, accessed */
#define SELECTOR_CODE 0x10		 /* __BOOT_CS of the boot protocol */
#define SELECTOR_DATA 0x18		 /* __BOOT_DS */

#define MSR_MISC_ENABLE 0x1a0
#define MISC_ENABLE_FAST_STRING 1ULL
#define MSR_MTRR_DEFAULT 0x2ff
#define MTRR_ON_WRITE_BACK 0x806ULL

#define LEAF1_ECX_MONITOR (1U << 3)
#define LEAF1_ECX_VMX (1U << 5)
#define LEAF1_ECX_X2APIC (1U << 21)
#define LEAF1_ECX_TSC_DEADLINE (1U << 24)
#define LEAF1_ECX_HYPERVISOR (1U << 31)
#define LEAF1_EDX_HTT (1U << 28)
#define LEAF6_EAX_ARAT (1U << 2)
#define LEAF8_1_ECX_CMP_LEGACY (1U << 1)
#define LEAF8_1_ECX_SVM (1U << 2)

int cpu_supported_cpuid(int kvm_fd, struct cpuid_table *out, struct error *err)
{
	memset(out, 0, sizeof(*out));
	/* Leave room for the topology sub-leaves that we add. */
	out->head.nent = CPUID_ENTRIES_MAX - 8;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, &out->head) < 0)
		return err_set(err, ERR_SYSTEM, errno, "KVM_GET_SUPPORTED_CPUID");
	return 0;
}

struct kvm_cpuid_entry2 *cpuid_find(struct cpuid_table *table, uint32_t leaf, uint32_t subleaf)
{
	for (uint32_t i = 0; i < table->head.nent; i++) {
		struct kvm_cpuid_entry2 *e = &table->entries[i];

		if (e->function == leaf && (e->index == subleaf || !(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX)))
			return e;
	}
	return NULL;
}

/** bits_for() - Return: how many bits hold the numbers 0..count-1. */
static unsigned int bits_for(unsigned int count)
{
	unsigned int bits = 0;

	while ((1U << bits) < count)
		bits++;
	return bits;
}

/** remove_leaf() - Drop every sub-leaf of a leaf. */
static void remove_leaf(struct cpuid_table *table, uint32_t leaf)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < table->head.nent; i++)
		if (table->entries[i].function != leaf)
			table->entries[kept++] = table->entries[i];
	table->head.nent = kept;
}

/** add_topology() - Leaf 0xB or 0x1F: one thread per core, `count` cores in one package. */
static void add_topology(struct cpuid_table *table, uint32_t leaf, unsigned int index, unsigned int count)
{
	/* {shift to the next level, processors at this level, level type: 1 SMT, 2 core, 0 end} */
	const uint32_t levels[3][3] = { { 0, 1, 1 }, { bits_for(count), count, 2 }, { 0, 0, 0 } };

	remove_leaf(table, leaf);
	for (uint32_t i = 0; i < 3 && table->head.nent < CPUID_ENTRIES_MAX; i++)
		table->entries[table->head.nent++] = (struct kvm_cpuid_entry2){
			.function = leaf,
			.index = i,
			.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
			.eax = levels[i][0],
			.ebx = levels[i][1],
			.ecx = levels[i][2] << 8 | i,
			.edx = index,
		};
}

/** cache_sharing() - Leaf 4 (Intel) or 0x8000001D (AMD): levels 1 and 2 private, level 3 shared by all. */
static uint32_t cache_sharing(uint32_t eax, unsigned int count, bool intel)
{
	unsigned int level = eax >> 5 & 7;

	if (!(eax & 0x1f))
		return eax; /* no more caches */
	eax &= intel ? ~0xffffc000U : ~0x03ffc000U;
	if (level >= 3)
		eax |= (count - 1) << 14;
	if (intel)
		eax |= ((1U << bits_for(count)) - 1) << 26;
	return eax;
}

/** fix_entry() - One entry for processor `index` of `count`. */
static void fix_entry(struct kvm_cpuid_entry2 *e, unsigned int index, unsigned int count, bool tsc_deadline)
{
	switch (e->function) {
	case 0x1:
		e->ebx = (e->ebx & 0x0000ffff) | count << 16 | index << 24;
		e->ecx &= ~(LEAF1_ECX_VMX | LEAF1_ECX_MONITOR | LEAF1_ECX_TSC_DEADLINE);
		e->ecx |= LEAF1_ECX_HYPERVISOR | LEAF1_ECX_X2APIC | (tsc_deadline ? LEAF1_ECX_TSC_DEADLINE : 0);
		e->edx = count > 1 ? e->edx | LEAF1_EDX_HTT : e->edx & ~LEAF1_EDX_HTT;
		break;
	case 0x4:
		e->eax = cache_sharing(e->eax, count, true);
		break;
	case 0x6: /* power: the APIC timer always runs, nothing else is ours to give */
		e->eax = LEAF6_EAX_ARAT;
		e->ebx = e->ecx = e->edx = 0;
		break;
	case 0xa: /* no performance counters */
		e->eax = e->ebx = e->ecx = e->edx = 0;
		break;
	case 0x80000001:
		e->ecx &= ~LEAF8_1_ECX_SVM;
		e->ecx = count > 1 ? e->ecx | LEAF8_1_ECX_CMP_LEGACY : e->ecx & ~LEAF8_1_ECX_CMP_LEGACY;
		break;
	case 0x80000008:
		e->ecx = (e->ecx & ~0xf0ffU) | (count - 1) | bits_for(count) << 12;
		break;
	case 0x8000000a: /* SVM */
		e->eax = e->ebx = e->ecx = e->edx = 0;
		break;
	case 0x8000001d:
		e->eax = cache_sharing(e->eax, count, false);
		break;
	case 0x8000001e: /* extended APIC id; core id, one thread; node 0 of 1 */
		e->eax = index;
		e->ebx = index & 0xff;
		e->ecx = 0;
		e->edx = 0;
		break;
	default:
		break;
	}
}

void cpuid_for_vcpu(struct cpuid_table *table, unsigned int index, unsigned int count, bool tsc_deadline)
{
	struct kvm_cpuid_entry2 *max = cpuid_find(table, 0, 0);

	for (uint32_t i = 0; i < table->head.nent; i++)
		fix_entry(&table->entries[i], index, count, tsc_deadline);
	if (max && max->eax < 0xb)
		max->eax = 0xb;
	add_topology(table, 0xb, index, count);
	if (max && max->eax >= 0x1f)
		add_topology(table, 0x1f, index, count);
}

void cpu_write_gdt(uint64_t gdt[4])
{
	gdt[0] = gdt[1] = 0;
	gdt[SELECTOR_CODE / 8] = GDT_CODE64;
	gdt[SELECTOR_DATA / 8] = GDT_DATA;
}

void cpu_identity_map(uint64_t *pages, uint64_t gpa)
{
	memset(pages, 0, 2 * TABLE_ENTRIES * sizeof(*pages));
	pages[0] = (gpa + 0x1000) | PTE_PRESENT_RW;
	pages[TABLE_ENTRIES] = (gpa + 0x2000) | PTE_PRESENT_RW;
	for (uint64_t i = 0; i < TABLE_ENTRIES; i++)
		pages[2 * TABLE_ENTRIES + i] = i * HUGE_PAGE | PTE_PRESENT_RW | PDE_HUGE;
}

int cpu_long_mode(int vcpu_fd, uint64_t cr3, uint64_t gdt, uint64_t idt, uint64_t extra_cr4, struct error *err)
{
	const struct kvm_segment code = { .limit = 0xffffffff, .selector = SELECTOR_CODE, .type = 11, .present = 1,
					  .s = 1, .l = 1, .g = 1 };
	const struct kvm_segment data = { .limit = 0xffffffff, .selector = SELECTOR_DATA, .type = 3, .present = 1,
					  .s = 1, .db = 1, .g = 1 };
	struct kvm_sregs s;

	if (ioctl(vcpu_fd, KVM_GET_SREGS, &s) < 0)
		return err_set(err, ERR_SYSTEM, errno, "KVM_GET_SREGS");
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	/* VMX wants a busy 64-bit TSS; it is never used. */
	s.tr = (struct kvm_segment){ .limit = 0xffff, .type = 11, .present = 1 };
	s.gdt = (struct kvm_dtable){ .base = gdt, .limit = 4 * 8 - 1 };
	s.idt = (struct kvm_dtable){ .base = idt, .limit = idt ? 0xfff : 0 };
	s.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
	s.cr3 = cr3;
	s.cr4 = CR4_PAE | extra_cr4;
	s.efer = EFER_LME | EFER_LMA;
	if (ioctl(vcpu_fd, KVM_SET_SREGS, &s) < 0)
		return err_set(err, ERR_SYSTEM, errno, "KVM_SET_SREGS");
	return 0;
}

int cpu_set_msrs(int vcpu_fd, struct error *err)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[2];
	} msrs = {
		.head.nmsrs = 2,
		.entries = { { .index = MSR_MTRR_DEFAULT, .data = MTRR_ON_WRITE_BACK },
			     { .index = MSR_MISC_ENABLE, .data = MISC_ENABLE_FAST_STRING } },
	};

	/* The answer is how many were taken; both are hints, a host that knows neither still runs the guest. */
	if (ioctl(vcpu_fd, KVM_SET_MSRS, &msrs) < 0)
		return err_set(err, ERR_SYSTEM, errno, "KVM_SET_MSRS");
	return 0;
}
