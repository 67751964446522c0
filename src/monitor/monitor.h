/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The monitor: the process that runs one virtual machine. It joins the virtio devices with a hypervisor (KVM in
 * this process, or a confined QEMU as its child) and talks to the supervisor over one SOCK_SEQPACKET pair.
 *
 * The supervisor forks it from its only thread and calls monitor_main() in the child; it has every descriptor it
 * needs already open and opens nothing after it confined itself. It ends when the guest powers off, when the
 * supervisor's end of the pair closes (lifeline), or when something fails. It cannot make a socket: for each
 * connection between host and guest the supervisor makes a socket pair and passes one end.
 */
#ifndef MSB_MONITOR_MONITOR_H
#define MSB_MONITOR_MONITOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"
#include "disk/disk.h"

#define MONITOR_DISKS_MAX 8
#define MONITOR_CPUS_MAX 32
#define MONITOR_CONSOLE_MAX MIB(4) /* kernel.log never grows beyond this */

enum hypervisor_kind { HYPERVISOR_KVM, HYPERVISOR_QEMU };

struct monitor_disk {
	bool read_only;
	bool ephemeral;			/* contents die with the sandbox */
	bool qcow2;			/* the one extent is a qcow2 image (never written itself) */
	size_t extent_count;		/* 1 and writable: raw file */
	struct disk_extent *extents;	/* borrowed until the fork; the child takes the fds */
	struct disk_extent *cow;	/* NULL, or the private file that takes the writes; the same */
};

struct monitor_config {
	enum hypervisor_kind kind;
	unsigned int cpus;		/* 1..MONITOR_CPUS_MAX */
	uint64_t memory_bytes;		/* multiple of 2 MiB */
	bool early_console;		/* also a write-only 16550 feeding console_fd (boot diagnosis) */
	int kernel_fd;			/* vmlinux, read-only */
	int initrd_fd;			/* memfd or file with the agent's initramfs, read-only */
	int console_fd;			/* kernel messages are appended here (kernel.log or /dev/null) */
	int log_fd;			/* runtime log, for log_setup() */
	int kvm_fd;			/* open /dev/kvm, or -1 */
	int supervisor_fd;		/* SOCK_SEQPACKET, struct monitor_message both ways */
	int control_fd;			/* SOCK_STREAM: given to the guest's first connection to VSOCK_PORT_CONTROL */
	size_t disk_count;
	struct monitor_disk disks[MONITOR_DISKS_MAX];
	int net_fd;			/* SOCK_SEQPACKET to the gateway (virtio_net_new()); -1: no network card */
	uint8_t mac[6];			/* of that card */
	uint16_t mtu;
	const char *qemu_path;		/* QEMU program, absolute; kind QEMU only */
	const char *runtime_dir;	/* 0700 directory of this sandbox */
};

enum monitor_message_type {
	/* supervisor -> monitor */
	MONITOR_CONNECT = 1,	/* one fd (SOCK_STREAM): connect it to guest port `port`; `id` is the caller's */
	MONITOR_POWER_OFF,	/* end the machine at once */
	MONITOR_COUNT,		/* how much was read and written? */
	/* monitor -> supervisor */
	MONITOR_RUNNING = 32,	/* first instruction of the guest is about to run; time_ns is set */
	MONITOR_CONNECT_FAILED, /* `id`: the guest refused or has no listener (the fd is closed, too) */
	MONITOR_GUEST_OFF,	/* orderly power-off (S5) */
	MONITOR_GUEST_RESET,	/* reboot or triple fault */
	MONITOR_GUEST_PANIC,	/* the kernel said so */
	MONITOR_FAILED,		/* text says why; the monitor ends */
	MONITOR_COUNTED,	/* disk_read_bytes and disk_written_bytes are set */
	MONITOR_WAITS,		/* for the kernel to make the machine: time for what else is to be started */
};

/** Fixed-size record; the receiver checks type and length and treats text as hostile bytes (no NUL promised). */
struct monitor_message {
	uint32_t type;
	uint32_t id;
	uint32_t port;
	uint32_t zero;
	int64_t time_ns; /* CLOCK_MONOTONIC */
	uint64_t disk_read_bytes, disk_written_bytes; /* by the guest, of all its disks, since the boot */
	char text[480];
};

/**
 * monitor_main() - Run the virtual machine to its end. Call in a freshly forked child.
 * @cfg: borrowed; the fds in it are taken
 * Return: process exit status: 0 after a power-off or reset that was reported, else 1.
 */
int monitor_main(const struct monitor_config *cfg);

#endif
