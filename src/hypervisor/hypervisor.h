/* SPDX-License-Identifier: Apache-2.0 */
/** The two hypervisors as the monitor and the engine see them: probe, choose, run. */
#ifndef MSB_HYPERVISOR_HYPERVISOR_H
#define MSB_HYPERVISOR_HYPERVISOR_H

#include "monitor/monitor.h"
#include "virtio/device.h"

/** Outcome of trying /dev/kvm by running a short ring-0 loop in it (design: some hosts open it but cannot run it). */
struct kvm_probe {
	bool usable;
	bool cached;	  /* verdict remembered for this boot id, user and device number */
	char reason[200]; /* why not, for people */
	char hint[160];	  /* what to do, e.g. which group to join */
};

/** kvm_probe() - @cache_dirfd: where the verdict is remembered (MSB_HOME), or -1. Never fails: says unusable. */
void kvm_probe(int cache_dirfd, struct kvm_probe *out);
/** kvm_open() - Open /dev/kvm read-write. Return: owned fd or negative code. */
int kvm_open(struct error *err);

struct vm_end { enum { VM_END_OFF, VM_END_RESET, VM_END_PANIC, VM_END_STOPPED } how; };

/**
 * kvm_run() - Make a KVM machine with the devices on virtio-mmio, boot it, block until it ends. vCPU threads are made
 * here; the devices' loops must be running (or start) on other threads. Memory is allocated here.
 * @cfg: kernel_fd, initrd_fd, kvm_fd, cpus, memory_bytes, early_console, console_fd are used
 * @running: called right before the first KVM_RUN (may be NULL)
 * @stop_fd: eventfd; becoming readable ends the machine with VM_END_STOPPED
 */
int kvm_run(const struct monitor_config *cfg, struct virtio_device **devices, size_t device_count,
	    void (*running)(void *arg), void *arg, int stop_fd, struct vm_end *end, struct error *err);

/** One device served to QEMU: `sock` is QEMU's end of a socket pair whose other end vhost_user_new() serves. */
struct qemu_device {
	enum virtio_id id; /* BLK, VSOCK, RNG, NET: vhost-user. Console and balloon are QEMU's own */
	int sock;	   /* taken */
};

struct qemu; /* a running, confined QEMU child of this process */

/**
 * qemu_start() - Start the confined QEMU (TCG, microvm) for cfg with these devices; everything it needs is inherited.
 * @cfg: qemu_path, kernel_fd, initrd_fd, cpus, memory_bytes, console_fd, early_console, mac, mtu are used (borrowed)
 * Return: owned child, or NULL.
 */
struct qemu *qemu_start(const struct monitor_config *cfg, const struct qemu_device *devices, size_t count,
			struct error *err);
/** qemu_pidfd() - Borrowed; readable when QEMU ended. */
int qemu_pidfd(const struct qemu *q);
/** qemu_finish() - Kill if still alive, reap, say how it ended; text gets QEMU's last words when it failed. Frees q. */
int qemu_finish(struct qemu *q, struct vm_end *end, struct error *err);

/** kernel_command_line() - Write the guest kernel's command line for this machine to out. */
void kernel_command_line(const struct monitor_config *cfg, char *out, size_t size);

#endif
