/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. kvm_run() makes memory, KVM's virtual machine with its interrupt controllers, the devices on
 * virtio-mmio, boots the kernel, and waits until the guest ends, something breaks, or stop_fd becomes readable.
 *
 * Memory is anonymous and private with huge pages wanted (a shared memfd never gets them on a default host), split
 * at 3 GiB. Each device has one page of registers: mapped read-only into the guest, so reads cost no exit; QueueNotify
 * and InterruptACK are ioeventfds; interrupts are irqfds, edge-triggered and routed to the I/O APIC alone. Thus the
 * data path never comes back here. What the guest writes elsewhere on the page exits to vcpu.c.
 * Source: Linux Documentation/virt/kvm/api.rst.
 *
 * A guest panic: the guest's command line has panic=-1, so the kernel resets, which is VM_END_RESET here; the monitor
 * looks into the kernel's log for the reason.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/timeline.h"
#include "hypervisor/kvm/acpi.h"
#include "hypervisor/kvm/boot.h"
#include "hypervisor/kvm/vm.h"

#define HUGE_PAGE MIB(2)
#define MEMORY_MIN MIB(32)
#define CMDLINE_MAX LAYOUT_CMDLINE_MAX

/** signal_fd() - Count one up on an eventfd; it can only fail when it is full, and then it is readable anyway. */
static void signal_fd(int fd)
{
	uint64_t one = 1;
	ssize_t n = write(fd, &one, sizeof(one));

	(void)n;
}

void vm_ended(struct vm *vm, const struct vm_end *end)
{
	pthread_mutex_lock(&vm->lock);
	if (!vm->ended) {
		vm->ended = true;
		vm->end = *end;
	}
	pthread_mutex_unlock(&vm->lock);
	atomic_store(&vm->ending, true);
	signal_fd(vm->end_fd);
}

void vm_failed(struct vm *vm, const struct error *err)
{
	pthread_mutex_lock(&vm->lock);
	if (!vm->ended) {
		vm->ended = true;
		vm->failure = *err;
	}
	pthread_mutex_unlock(&vm->lock);
	atomic_store(&vm->ending, true);
	signal_fd(vm->end_fd);
}

/** map_memory() - Reserve host memory at a 2 MiB boundary. Return: NULL with errno when there is none. */
static uint8_t *map_memory(uint64_t size)
{
	uint8_t *all = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uintptr_t start;
	size_t before;

	if (all == MAP_FAILED)
		return NULL;
	start = ALIGN_UP((uintptr_t)all, HUGE_PAGE);
	before = start - (uintptr_t)all;
	if (before)
		munmap(all, before);
	if (HUGE_PAGE - before)
		munmap(all + before + size, HUGE_PAGE - before);
	madvise(all + before, size, MADV_HUGEPAGE);
	madvise(all + before, size, MADV_DONTDUMP);
	return all + before;
}

/** add_slot() - Tell KVM of a piece of guest memory. */
static int add_slot(struct vm *vm, uint32_t slot, uint64_t gpa, uint64_t size, void *host, bool read_only,
		    struct error *err)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = read_only ? KVM_MEM_READONLY : 0,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uint64_t)(uintptr_t)host,
	};

	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return err_set(err, ERR_SYSTEM, errno, "KVM_SET_USER_MEMORY_REGION at %#llx",
			       (unsigned long long)gpa);
	return 0;
}

/** make_memory() - RAM below the hole, and above it what does not fit. */
static int make_memory(struct vm *vm, uint64_t bytes, struct error *err)
{
	uint64_t low = MIN(bytes, (uint64_t)LAYOUT_HOLE_START);
	uint8_t *host;

	if (bytes < MEMORY_MIN || bytes % HUGE_PAGE)
		return err_set(err, ERR_INVALID, 0, "memory of %llu bytes", (unsigned long long)bytes);
	host = map_memory(bytes);
	if (!host)
		return err_set(err, ERR_NO_MEMORY, errno, "%llu MiB of memory", (unsigned long long)(bytes >> 20));
	vm->mem.regions[0] = (struct memory_region){ .gpa = 0, .size = low, .host = host };
	vm->mem.count = 1;
	if (bytes > low) {
		vm->mem.regions[1] = (struct memory_region){ .gpa = LAYOUT_HOLE_END, .size = bytes - low,
							     .host = host + low };
		vm->mem.count = 2;
	}
	return 0;
}

/** add_memory() - Tell KVM of it. */
static int add_memory(struct vm *vm, struct error *err)
{
	for (uint32_t i = 0; i < vm->mem.count; i++)
		if (add_slot(vm, i, vm->mem.regions[i].gpa, vm->mem.regions[i].size, vm->mem.regions[i].host, false,
			     err) < 0)
			return -(int)err->code;
	return 0;
}

/** add_irqchip() - Interrupt controllers in the kernel; each GSI is a pin of the I/O APIC and nothing else. */
static int add_irqchip(struct vm *vm, struct error *err)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entries[LAYOUT_GSI_COUNT];
	} routing = { .head.nr = LAYOUT_GSI_COUNT };
	uint64_t identity = LAYOUT_IDENTITY_MAP;

	if (ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
		return err_set(err, ERR_SYSTEM, errno, "KVM_SET_IDENTITY_MAP_ADDR");
	if (ioctl(vm->fd, KVM_SET_TSS_ADDR, (unsigned long)LAYOUT_TSS) < 0)
		return err_set(err, ERR_SYSTEM, errno, "KVM_SET_TSS_ADDR");
	if (ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return err_set(err, ERR_SYSTEM, errno, "KVM_CREATE_IRQCHIP");
	for (uint32_t i = 0; i < LAYOUT_GSI_COUNT; i++)
		routing.entries[i] = (struct kvm_irq_routing_entry){
			.gsi = i,
			.type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip = { .irqchip = KVM_IRQCHIP_IOAPIC, .pin = i },
		};
	if (ioctl(vm->fd, KVM_SET_GSI_ROUTING, &routing) < 0)
		return err_set(err, ERR_SYSTEM, errno, "KVM_SET_GSI_ROUTING");
	return 0;
}

/** vm_create() - The empty machine. */
static int vm_create(struct vm *vm, struct error *err)
{
	int run_size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	if (run_size < (int)sizeof(struct kvm_run))
		return err_set(err, ERR_SYSTEM, run_size < 0 ? errno : EINVAL, "KVM_GET_VCPU_MMAP_SIZE");
	vm->run_size = (size_t)run_size;
	do
		vm->fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	while (vm->fd < 0 && errno == EINTR);
	if (vm->fd < 0)
		return err_set(err, ERR_SYSTEM, errno, "KVM_CREATE_VM");
	return add_irqchip(vm, err);
}

/** The thread that makes KVM's virtual machine while build() fills the memory. */
struct creation {
	struct vm *vm;
	pthread_t thread;
	int rc;
	struct error err;
};

/** creation_thread() - vm_create() waits for RCU grace periods of the host, longer than the kernel takes to load. */
static void *creation_thread(void *arg)
{
	struct creation *c = arg;

	c->rc = vm_create(c->vm, &c->err);
	return NULL;
}

/** add_ioeventfd() - A 4-byte write to a register signals fd instead of exiting. */
static int add_ioeventfd(struct vm *vm, uint64_t gpa, int fd, bool match, uint32_t value, struct error *err)
{
	struct kvm_ioeventfd e = {
		.datamatch = value,
		.addr = gpa,
		.len = 4,
		.fd = fd,
		.flags = match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0,
	};

	if (ioctl(vm->fd, KVM_IOEVENTFD, &e) < 0)
		return err_set(err, ERR_SYSTEM, errno, "KVM_IOEVENTFD");
	return 0;
}

/** add_device() - Plug one device in at the next page and interrupt. */
static int add_device(struct vm *vm, struct virtio_device *dev, struct error *err)
{
	struct vm_device *d = &vm->devices[vm->device_count];
	uint32_t index = (uint32_t)vm->device_count;
	uint64_t gpa = LAYOUT_DEVICES + (uint64_t)index * VIRTIO_MMIO_SIZE;
	struct kvm_irqfd irq = { .gsi = LAYOUT_FIRST_GSI + index };

	d->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->irq_fd < 0)
		return err_set(err, ERR_SYSTEM, errno, "eventfd");
	d->mmio = virtio_mmio_new(dev, &vm->mem, d->irq_fd, err);
	if (!d->mmio)
		return -(int)err->code;
	vm->device_count++;
	irq.fd = (uint32_t)d->irq_fd;
	if (ioctl(vm->fd, KVM_IRQFD, &irq) < 0)
		return err_set(err, ERR_SYSTEM, errno, "KVM_IRQFD");
	if (add_slot(vm, (uint32_t)vm->mem.count + index, gpa, VIRTIO_MMIO_SIZE, virtio_mmio_page(d->mmio), true,
		     err) < 0)
		return -(int)err->code;
	for (uint32_t q = 0; q < dev->queue_count; q++)
		if (add_ioeventfd(vm, gpa + VIRTIO_MMIO_QUEUE_NOTIFY, virtio_mmio_kick_fd(d->mmio, q), true, q,
				  err) < 0)
			return -(int)err->code;
	return add_ioeventfd(vm, gpa + VIRTIO_MMIO_INTERRUPT_ACK, virtio_mmio_ack_fd(d->mmio), false, 0, err);
}

/** load_guest() - Kernel, initramfs, command line, tables. */
static int load_guest(struct vm *vm, const struct monitor_config *cfg, size_t device_count, struct boot_kernel *kernel,
		      struct error *err)
{
	struct acpi_device devices[VM_DEVICES_MAX];
	_cleanup_(buf_free) struct buf acpi = BUF_INIT(LAYOUT_ACPI_MAX);
	char cmdline[CMDLINE_MAX];

	for (uint32_t i = 0; i < device_count; i++)
		devices[i] = (struct acpi_device){ .base = LAYOUT_DEVICES + i * VIRTIO_MMIO_SIZE,
						   .gsi = LAYOUT_FIRST_GSI + i };
	if (!acpi_build(&acpi, LAYOUT_ACPI, vm->cpu_count, devices, device_count))
		return err_set(err, ERR_NO_MEMORY, 0, "ACPI tables");
	kernel_command_line(cfg, cmdline, sizeof(cmdline));
	if (boot_load_kernel(&vm->mem, cfg->kernel_fd, kernel, err) < 0)
		return err_wrap(err, "guest kernel");
	return boot_prepare(&vm->mem, kernel, cfg->initrd_fd, cmdline, acpi.data, acpi.len, err);
}

/** build() - Everything up to the first instruction. */
static int build(struct vm *vm, const struct monitor_config *cfg, struct virtio_device **devices, size_t count,
		 struct error *err)
{
	struct creation creation = { .vm = vm, .err = ERROR_INIT };
	struct boot_kernel kernel;
	int rc;

	if (count > VM_DEVICES_MAX)
		return err_set(err, ERR_LIMIT, 0, "%zu devices, %d is the limit", count, VM_DEVICES_MAX);
	if (cfg->cpus < 1 || cfg->cpus > MONITOR_CPUS_MAX)
		return err_set(err, ERR_INVALID, 0, "%u processors", cfg->cpus);
	vm->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->end_fd < 0)
		return err_set(err, ERR_SYSTEM, errno, "eventfd");
	rc = pthread_create(&creation.thread, NULL, creation_thread, &creation);
	if (rc)
		return err_set(err, ERR_SYSTEM, rc, "start a thread");
	rc = make_memory(vm, cfg->memory_bytes, err);
	if (rc == 0)
		rc = load_guest(vm, cfg, count, &kernel, err);
	timeline_mark("kernel loaded");
	pthread_join(creation.thread, NULL);
	timeline_mark("virtual machine made");
	if (rc < 0)
		return rc;
	if (creation.rc < 0) {
		*err = creation.err;
		return creation.rc;
	}
	if (add_memory(vm, err) < 0)
		return -(int)err->code;
	for (size_t i = 0; i < count; i++)
		if (add_device(vm, devices[i], err) < 0)
			return err_wrap(err, "device %s", devices[i]->name);
	for (unsigned int i = 0; i < cfg->cpus; i++)
		if (vcpu_create(vm, i, kernel.entry, err) < 0)
			return -(int)err->code;
	return vcpu_kick_signal(err);
}

/** wait_for_end() - Block until the machine ended or shall be stopped. */
static void wait_for_end(struct vm *vm, int stop_fd)
{
	const struct vm_end stopped = { .how = VM_END_STOPPED };
	struct pollfd p[2] = { { .fd = vm->end_fd, .events = POLLIN }, { .fd = stop_fd, .events = POLLIN } };

	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
	if (!(p[0].revents & POLLIN))
		vm_ended(vm, &stopped);
}

/** close_thread() - Destroy KVM's virtual machine, which waits for grace periods. */
static void *close_thread(void *arg)
{
	fd_close(&((struct vm *)arg)->fd);
	return NULL;
}

/** give_back() - Memory to the host and the machine to KVM, side by side: both take long, and the user waits. */
static void give_back(struct vm *vm)
{
	pthread_t thread;
	bool apart = pthread_create(&thread, NULL, close_thread, vm) == 0;

	/* Device threads may still look into it: they find zeroes. */
	for (size_t i = 0; i < vm->mem.count; i++)
		madvise(vm->mem.regions[i].host, vm->mem.regions[i].size, MADV_DONTNEED);
	if (apart)
		pthread_join(thread, NULL);
	else
		fd_close(&vm->fd);
}

/** vm_finish() - Stop and join the processors, give KVM's objects and the memory back. */
static void vm_finish(struct vm *vm)
{
	uint64_t ports = 0;
	uint64_t mmio = 0;

	atomic_store(&vm->ending, true);
	for (unsigned int i = 0; i < vm->cpu_count; i++)
		vcpu_kick(&vm->vcpus[i]);
	for (unsigned int i = 0; i < vm->cpu_count; i++) {
		vcpu_finish(&vm->vcpus[i]);
		ports += vm->vcpus[i].port_exits;
		mmio += vm->vcpus[i].mmio_exits;
	}
	serial_flush(&vm->serial);
	log_debug(LOG_HYPERVISOR, "exits: %llu port, %llu mmio", (unsigned long long)ports, (unsigned long long)mmio);
	give_back(vm);
	fd_close(&vm->end_fd);
}

/** vm_new() - Memory of the machine's description; see struct vm for why nobody frees it after the start. */
static struct vm *vm_new(const struct monitor_config *cfg)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return NULL;
	vm->fd = vm->end_fd = -1;
	vm->kvm_fd = cfg->kvm_fd;
	vm->cpu_count = MIN(cfg->cpus, (unsigned int)MONITOR_CPUS_MAX);
	for (unsigned int i = 0; i < MONITOR_CPUS_MAX; i++)
		vm->vcpus[i] = (struct vcpu){ .vm = vm, .index = i, .fd = -1 };
	pthread_mutex_init(&vm->lock, NULL);
	serial_init(&vm->serial, cfg->early_console && cfg->console_fd >= 0, cfg->console_fd);
	return vm;
}

int kvm_run(const struct monitor_config *cfg, struct virtio_device **devices, size_t device_count,
	    void (*running)(void *arg), void *arg, int stop_fd, struct vm_end *end, struct error *err)
{
	struct vm *vm = vm_new(cfg);
	int rc;

	if (!vm)
		return err_set(err, ERR_NO_MEMORY, 0, "the machine");
	rc = build(vm, cfg, devices, device_count, err);
	if (rc == 0 && running)
		running(arg);
	for (unsigned int i = 0; rc == 0 && i < vm->cpu_count; i++)
		rc = vcpu_start(&vm->vcpus[i], err);
	if (rc == 0)
		wait_for_end(vm, stop_fd);
	vm_finish(vm);
	if (rc < 0)
		return rc;
	if (vm->failure.code != ERR_NONE) {
		*err = vm->failure;
		return -(int)err->code;
	}
	*end = vm->end;
	return 0;
}
