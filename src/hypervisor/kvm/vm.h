/* SPDX-License-Identifier: Apache-2.0 */
/** The running machine, shared by vm.c (set-up, end) and vcpu.c (processor threads). */
#ifndef MSB_HYPERVISOR_KVM_VM_H
#define MSB_HYPERVISOR_KVM_VM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

#include "hypervisor/hypervisor.h"
#include "hypervisor/kvm/bus.h"
#include "hypervisor/kvm/layout.h"
#include "virtio/memory.h"
#include "virtio/transport.h"

#define VM_DEVICES_MAX (LAYOUT_GSI_COUNT - LAYOUT_FIRST_GSI)

struct vm;

/** One virtual processor. Its thread owns it between vcpu_start() and vcpu_finish(). */
struct vcpu {
	struct vm *vm;
	unsigned int index; /* also the APIC id */
	int fd;
	struct kvm_run *run; /* shared with the kernel */
	bool started;
	pthread_t thread;
	uint64_t port_exits; /* for the debug log */
	uint64_t mmio_exits;
};

struct vm_device {
	struct virtio_mmio *mmio;
	int irq_fd;
};

/**
 * Lives until the process ends, because device threads may look into the guest's memory and raise interrupts to the
 * last moment; only the processors and KVM's objects are given back by kvm_run().
 */
struct vm {
	int kvm_fd;
	int fd;
	size_t run_size; /* of each vcpu->run */
	struct guest_memory mem;
	unsigned int cpu_count;
	struct vcpu vcpus[MONITOR_CPUS_MAX];
	size_t device_count;
	struct vm_device devices[VM_DEVICES_MAX];
	struct serial serial;

	atomic_bool ending;   /* processors leave their loops */
	pthread_mutex_t lock; /* protects the next three */
	bool ended;
	struct vm_end end;
	struct error failure;
	int end_fd; /* eventfd: ended was set */
};

/** vm_ended() - The guest came to its end; the first caller wins. Any thread. */
void vm_ended(struct vm *vm, const struct vm_end *end);
/** vm_failed() - As vm_ended(), but something broke; text is kept. */
void vm_failed(struct vm *vm, const struct error *err);

/** vcpu_create() - Make processor `index` with its CPUID, MSRs and, for the first, its registers. */
int vcpu_create(struct vm *vm, unsigned int index, uint64_t entry, struct error *err);
/** vcpu_start() - Run it on a thread of its own. */
int vcpu_start(struct vcpu *vcpu, struct error *err);
/** vcpu_kick_signal() - Install the handler of the signal that interrupts KVM_RUN. Once, before vcpu_start(). */
int vcpu_kick_signal(struct error *err);
/** vcpu_kick() - Make it leave KVM_RUN and notice vm->ending. */
void vcpu_kick(struct vcpu *vcpu);
/** vcpu_finish() - Join its thread if it was started, and give back its resources. */
void vcpu_finish(struct vcpu *vcpu);

#endif
