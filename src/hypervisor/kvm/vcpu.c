/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. A processor is a thread that calls KVM_RUN until the machine ends. Doorbells, interrupts,
 * timers, HLT and start-up of further processors stay in the kernel; what comes out here is device set-up, the early
 * console, and the end. An exit that nobody expects from a guest ends the machine with a text, never this process.
 *
 * Stopping: vm->ending is set, then each thread gets immediate_exit and a signal. A signal that arrives between the
 * check of vm->ending and KVM_RUN is not lost: immediate_exit makes that KVM_RUN return at once.
 * Source: Linux Documentation/virt/kvm/api.rst.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/fd.h"
#include "base/log.h"
#include "hypervisor/kvm/cpu.h"
#include "hypervisor/kvm/vm.h"

#define KICK_SIGNAL SIGRTMIN
#define THREAD_STACK KIB(256)
#define RFLAGS_ALWAYS 2

/** set_cpuid() - What the processor says it is. */
static int set_cpuid(struct vcpu *vcpu, struct error *err)
{
	struct cpuid_table *table __attribute__((cleanup(freep))) = malloc(sizeof(*table));
	int deadline = ioctl(vcpu->vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER);

	if (!table)
		return err_set(err, ERR_NO_MEMORY, 0, "CPUID table");
	if (cpu_supported_cpuid(vcpu->vm->kvm_fd, table, err) < 0)
		return -(int)err->code;
	cpuid_for_vcpu(table, vcpu->index, vcpu->vm->cpu_count, deadline > 0);
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, &table->head) < 0)
		return err_set(err, ERR_SYSTEM, errno, "KVM_SET_CPUID2");
	return 0;
}

int vcpu_create(struct vm *vm, unsigned int index, uint64_t entry, struct error *err)
{
	struct vcpu *vcpu = &vm->vcpus[index];
	struct kvm_regs regs = { .rip = entry, .rsi = LAYOUT_BOOT_PARAMS, .rflags = RFLAGS_ALWAYS };

	*vcpu = (struct vcpu){ .vm = vm, .index = index };
	vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, index);
	if (vcpu->fd < 0)
		return err_set(err, ERR_SYSTEM, errno, "KVM_CREATE_VCPU %u", index);
	vcpu->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		vcpu->run = NULL;
		return err_set(err, ERR_SYSTEM, errno, "map vCPU %u", index);
	}
	if (set_cpuid(vcpu, err) < 0 || cpu_set_msrs(vcpu->fd, err) < 0)
		return -(int)err->code;
	if (index > 0)
		return 0; /* waits for INIT and SIPI, which the kernel's APIC handles */
	if (cpu_long_mode(vcpu->fd, LAYOUT_PAGE_TABLES, LAYOUT_GDT, 0, 0, err) < 0)
		return -(int)err->code;
	if (ioctl(vcpu->fd, KVM_SET_REGS, &regs) < 0)
		return err_set(err, ERR_SYSTEM, errno, "KVM_SET_REGS");
	return 0;
}

/** end_with() - Shorthand of vm_ended(). */
static void end_with(struct vcpu *vcpu, int how)
{
	struct vm_end end = { 0 };

	end.how = how;
	vm_ended(vcpu->vm, &end);
}

/** on_port() - KVM_EXIT_IO: `count` accesses of `size` bytes; the data lies in the shared page. */
static void on_port(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint64_t bytes = (uint64_t)run->io.size * run->io.count;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	vcpu->port_exits++;
	if (run->io.data_offset > vcpu->vm->run_size || bytes > vcpu->vm->run_size - run->io.data_offset)
		return;
	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_IN) {
			port_read(&vcpu->vm->serial, run->io.port, data, run->io.size);
			continue;
		}
		switch (port_write(&vcpu->vm->serial, run->io.port, data, run->io.size)) {
		case BUS_NOTHING:
			break;
		case BUS_POWER_OFF:
			end_with(vcpu, VM_END_OFF);
			return;
		case BUS_RESET:
			end_with(vcpu, VM_END_RESET);
			return;
		}
	}
}

/** on_mmio() - KVM_EXIT_MMIO: a device's register, or nothing there. */
static void on_mmio(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint64_t offset = run->mmio.phys_addr - LAYOUT_DEVICES;
	uint64_t index = offset / VIRTIO_MMIO_SIZE;
	unsigned int len = MIN(run->mmio.len, (uint32_t)sizeof(run->mmio.data));
	struct virtio_mmio *mmio;

	vcpu->mmio_exits++;
	if (run->mmio.phys_addr < LAYOUT_DEVICES || index >= vcpu->vm->device_count) {
		if (!run->mmio.is_write)
			memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
		return;
	}
	mmio = vcpu->vm->devices[index].mmio;
	offset %= VIRTIO_MMIO_SIZE;
	if (run->mmio.is_write)
		virtio_mmio_write(mmio, offset, run->mmio.data, len);
	else
		virtio_mmio_read(mmio, offset, run->mmio.data, len);
}

/** on_broken() - The processor cannot go on: say where it stood. */
static void on_broken(struct vcpu *vcpu, const char *what, uint64_t detail)
{
	struct error err = ERROR_INIT;
	struct kvm_regs regs = { 0 };

	ioctl(vcpu->fd, KVM_GET_REGS, &regs);
	err_set(&err, ERR_INTERNAL, 0, "processor %u stopped: %s (%#llx) at %#llx", vcpu->index, what,
		(unsigned long long)detail, (unsigned long long)regs.rip);
	vm_failed(vcpu->vm, &err);
}

/** on_system_event() - Paravirtual ways to end. */
static void on_system_event(struct vcpu *vcpu)
{
	switch (vcpu->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		end_with(vcpu, VM_END_OFF);
		break;
	case KVM_SYSTEM_EVENT_CRASH:
		end_with(vcpu, VM_END_PANIC);
		break;
	default:
		end_with(vcpu, VM_END_RESET);
		break;
	}
}

/** handle_exit() - Deal with one exit. */
static void handle_exit(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		on_port(vcpu);
		return;
	case KVM_EXIT_MMIO:
		on_mmio(vcpu);
		return;
	case KVM_EXIT_SHUTDOWN: /* triple fault */
		end_with(vcpu, VM_END_RESET);
		return;
	case KVM_EXIT_SYSTEM_EVENT:
		on_system_event(vcpu);
		return;
	case KVM_EXIT_INTERNAL_ERROR:
		on_broken(vcpu, "KVM internal error", run->internal.suberror);
		return;
	case KVM_EXIT_FAIL_ENTRY:
		on_broken(vcpu, "the hardware refuses its state", run->fail_entry.hardware_entry_failure_reason);
		return;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		return;
	default:
		on_broken(vcpu, "unexpected exit", run->exit_reason);
		return;
	}
}

/** vcpu_thread() - Run until the machine ends. */
static void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;
	char name[16];
	sigset_t only_kick;

	snprintf(name, sizeof(name), "vcpu%u", vcpu->index);
	pthread_setname_np(pthread_self(), name);
	sigemptyset(&only_kick);
	sigaddset(&only_kick, KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &only_kick, NULL);
	while (!atomic_load(&vcpu->vm->ending)) {
		if (ioctl(vcpu->fd, KVM_RUN, 0) >= 0) {
			handle_exit(vcpu);
		} else if (errno != EINTR && errno != EAGAIN) {
			on_broken(vcpu, strerror(errno), (uint64_t)errno);
			break;
		}
	}
	return NULL;
}

int vcpu_start(struct vcpu *vcpu, struct error *err)
{
	sigset_t all;
	sigset_t old;
	pthread_attr_t attr;
	int rc;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, THREAD_STACK);
	/* Signals of the process are for other threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&vcpu->thread, &attr, vcpu_thread, vcpu);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (rc)
		return err_set(err, ERR_SYSTEM, rc, "start the thread of vCPU %u", vcpu->index);
	vcpu->started = true;
	return 0;
}

/** on_kick() - Nothing to do: interrupting KVM_RUN is the purpose. */
static void on_kick(int sig)
{
	(void)sig;
}

int vcpu_kick_signal(struct error *err)
{
	struct sigaction action = { .sa_handler = on_kick };

	if (sigaction(KICK_SIGNAL, &action, NULL) < 0)
		return err_set(err, ERR_SYSTEM, errno, "install the vCPU signal");
	return 0;
}

void vcpu_kick(struct vcpu *vcpu)
{
	if (!vcpu->started)
		return;
	__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	pthread_kill(vcpu->thread, KICK_SIGNAL);
}

void vcpu_finish(struct vcpu *vcpu)
{
	if (vcpu->started)
		pthread_join(vcpu->thread, NULL);
	vcpu->started = false;
	if (vcpu->run)
		munmap(vcpu->run, vcpu->vm->run_size);
	vcpu->run = NULL;
	fd_close(&vcpu->fd);
}
