/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. One process, started by fork from the supervisor, runs one machine:
 *
 *  - the main thread runs the event loop of the small devices (vsock, rng, console, balloon) and listens to the
 *    supervisor;
 *  - each disk has a thread with a loop of its own, because its requests block;
 *  - with KVM a further thread sits in kvm_run(), which makes the vCPU threads; with QEMU the virtual CPU is the
 *    child process and every device is served to it over vhost-user.
 *
 * A QEMU that hangs up on a device without ending is ended. The process ends with _exit() of whoever called
 * monitor_main(): threads are not joined, memory is not freed.
 */
#include "monitor/monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/timeline.h"
#include "confine/confine.h"
#include "hypervisor/hypervisor.h"
#include "virtio/device.h"
#include "virtio/transport.h"

#define DEVICES_MAX (MONITOR_DISKS_MAX + 5)
#define CONSOLE_TAIL KIB(8) /* where the last words of a kernel are looked for */
#define HANG_UP_MS 1000 /* a QEMU that ends closes its sockets first; well below what a client waits for the reason */

/** Why the loop was stopped. */
enum stop { STOP_ASKED, STOP_ENDED, STOP_HANG_UP, STOP_NO_GATEWAY };

struct monitor {
	const struct monitor_config *cfg;
	struct loop *loop;
	int log; /* kernel.log, to read it at the end; -1: it is no file */
	struct virtio_device *vsock;
	size_t device_count;
	struct virtio_device *devices[DEVICES_MAX];
	/* KVM */
	pthread_t vm_thread;
	int stop_fd;  /* eventfd: ends kvm_run() */
	int ended_fd; /* eventfd: kvm_run() returned */
	struct vm_end end;
	int vm_rc;
	struct error vm_err;
	/* QEMU */
	struct qemu *qemu;
	int hang_up_timer; /* armed when QEMU left a device: it ends by itself, or is ended */
	struct loop *net_loop;
	int gateway_timer; /* armed when the gateway ended */
};

/** tell() - Send one message to the supervisor; a full or closed socket is not our problem. */
static void tell(const struct monitor *m, enum monitor_message_type type, uint32_t id, const char *text)
{
	struct monitor_message msg = { .type = (uint32_t)type, .id = id, .time_ns = clock_monotonic_ns() };

	if (text)
		snprintf(msg.text, sizeof(msg.text), "%s", text);
	if (fd_send_msg(m->cfg->supervisor_fd, &msg, sizeof(msg), NULL, 0) < 0)
		log_debug(LOG_MONITOR, "supervisor does not listen: %s", strerror(errno));
}

/** on_connect_failed() - vsock: the guest refused connection `id`. */
static void on_connect_failed(void *arg, uint32_t id)
{
	tell(arg, MONITOR_CONNECT_FAILED, id, NULL);
}

/** tell_counters() - What the guest's disks have done. */
static void tell_counters(const struct monitor *m)
{
	struct monitor_message msg = { .type = MONITOR_COUNTED, .time_ns = clock_monotonic_ns() };

	for (size_t i = 0; i < m->device_count; i++)
		if (m->devices[i]->id == VIRTIO_ID_BLK)
			virtio_blk_count(m->devices[i], &msg.disk_read_bytes, &msg.disk_written_bytes);
	if (fd_send_msg(m->cfg->supervisor_fd, &msg, sizeof(msg), NULL, 0) < 0)
		log_debug(LOG_MONITOR, "supervisor does not listen: %s", strerror(errno));
}

/** on_supervisor() - A command, or the end of the lifeline. */
static void on_supervisor(void *arg, uint32_t events)
{
	struct monitor *m = arg;
	struct monitor_message msg;
	int fds[FD_PASS_MAX];
	size_t fd_count;
	ssize_t n = fd_recv_msg(m->cfg->supervisor_fd, &msg, sizeof(msg), fds, &fd_count);
	struct error err = ERROR_INIT;

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EMSGSIZE))
		return;
	if (n <= 0 || (n == sizeof(msg) && msg.type == MONITOR_POWER_OFF)) {
		loop_stop(m->loop, STOP_ASKED);
		return;
	}
	if (n == sizeof(msg) && msg.type == MONITOR_CONNECT && fd_count == 1) {
		if (virtio_vsock_connect(m->vsock, TAKE_FD(fds[0]), msg.port, msg.id, &err) < 0)
			tell(m, MONITOR_CONNECT_FAILED, msg.id, err.text);
		return;
	}
	if (n == sizeof(msg) && msg.type == MONITOR_COUNT)
		tell_counters(m);
	for (size_t i = 0; i < fd_count; i++)
		fd_close(&fds[i]);
}

/** io_thread() - The loop of a disk, or of the network card. */
static void *io_thread(void *arg)
{
	loop_run(arg, NULL);
	return NULL;
}

/** start_io_thread() - Run loop on a thread that takes no signals. */
static int start_io_thread(struct loop *loop, struct error *err)
{
	pthread_t thread;
	int rc = pthread_create(&thread, NULL, io_thread, loop);

	return rc ? err_set(err, ERR_SYSTEM, rc, "start a device's thread") : 0;
}

/** open_disk() - What the device reads and writes. */
static struct disk *open_disk(const struct monitor_disk *d, struct error *err)
{
	struct disk *disk;

	if (d->qcow2)
		disk = disk_open_qcow2(d->extents[0].fd, err);
	else if (d->read_only || d->cow)
		disk = disk_open_extents(d->extents, d->extent_count, err);
	else
		disk = disk_open_raw(d->extents[0].fd, false, err);
	return disk && d->cow ? disk_open_cow(disk, d->cow->fd, err) : disk;
}

/** add_disk() - A block device with a loop of its own, whose thread is started by the caller. */
static int add_disk(struct monitor *m, size_t index, struct loop **loop, struct error *err)
{
	const struct monitor_disk *d = &m->cfg->disks[index];
	static const char *const names[MONITOR_DISKS_MAX] = { "blk0", "blk1", "blk2", "blk3",
							      "blk4", "blk5", "blk6", "blk7" };
	struct disk *disk = open_disk(d, err);
	struct virtio_device *dev;

	if (!disk)
		return -(int)err->code;
	disk->no_flush = d->ephemeral;
	*loop = loop_new(err);
	if (!*loop) {
		disk_close(disk);
		return -(int)err->code;
	}
	dev = virtio_blk_new(*loop, names[index], disk, err);
	if (!dev)
		return -(int)err->code;
	m->devices[m->device_count++] = dev;
	return 0;
}

/** on_gateway_gone() - The network card's thread. */
static void on_gateway_gone(void *arg)
{
	struct monitor *m = arg;

	loop_timer_set(m->loop, m->gateway_timer, 0);
}

/** on_gateway_timer() - A guest whose network is broken for ever had better not go on. */
static void on_gateway_timer(void *arg, uint32_t events)
{
	struct monitor *m = arg;

	(void)events;
	loop_stop(m->loop, STOP_NO_GATEWAY);
}

/** add_net() - The network card, on a loop of its own. */
static int add_net(struct monitor *m, struct error *err)
{
	const struct monitor_config *cfg = m->cfg;
	struct virtio_device *dev;

	m->gateway_timer = loop_timer(m->loop, on_gateway_timer, m, err);
	m->net_loop = m->gateway_timer < 0 ? NULL : loop_new(err);
	if (!m->net_loop)
		return -(int)err->code;
	dev = virtio_net_new(m->net_loop, cfg->net_fd, cfg->mac, cfg->mtu, on_gateway_gone, m, err);
	if (!dev)
		return -(int)err->code;
	m->devices[m->device_count++] = dev;
	return 0;
}

/** on_vm_ended() - kvm_run() returned, or QEMU's process ended. */
static void on_vm_ended(void *arg, uint32_t events)
{
	struct monitor *m = arg;

	(void)events;
	loop_stop(m->loop, STOP_ENDED);
}

/** on_hang_up() - QEMU closed a device's connection, or we did because it broke the protocol. The device's thread. */
static void on_hang_up(void *arg)
{
	struct monitor *m = arg;

	loop_timer_set(m->loop, m->hang_up_timer, HANG_UP_MS * NSEC_PER_MSEC);
}

/** on_hang_up_timer() - And it lives on: a machine without one of its devices is none. */
static void on_hang_up_timer(void *arg, uint32_t events)
{
	struct monitor *m = arg;

	(void)events;
	loop_stop(m->loop, STOP_HANG_UP);
}

/** on_running() - KVM: the first instruction is next. vCPU side thread. */
static void on_running(void *arg)
{
	tell(arg, MONITOR_RUNNING, 0, NULL);
}

/** vm_thread() - Sit in kvm_run() until the machine ends. */
static void *vm_thread(void *arg)
{
	struct monitor *m = arg;
	uint64_t one = 1;

	m->vm_rc = kvm_run(m->cfg, m->devices, m->device_count, on_running, m, m->stop_fd, &m->end, &m->vm_err);
	if (write(m->ended_fd, &one, sizeof(one)) < 0)
		abort();
	return NULL;
}

/** start_kvm() - Run the machine on a thread of its own. */
static int start_kvm(struct monitor *m, struct error *err)
{
	int rc;

	m->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	m->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->stop_fd < 0 || m->ended_fd < 0)
		return err_set(err, ERR_SYSTEM, errno, "eventfd");
	if (loop_add(m->loop, m->ended_fd, EPOLLIN, on_vm_ended, m, err) < 0)
		return -(int)err->code;
	rc = pthread_create(&m->vm_thread, NULL, vm_thread, m);
	if (rc)
		return err_set(err, ERR_SYSTEM, rc, "start the machine's thread");
	tell(m, MONITOR_WAITS, 0, NULL);
	return 0;
}

/** start_qemu() - Serve every device over vhost-user and start QEMU with their other ends. */
static int start_qemu(struct monitor *m, struct error *err)
{
	struct qemu_device served[DEVICES_MAX];

	m->hang_up_timer = loop_timer(m->loop, on_hang_up_timer, m, err);
	if (m->hang_up_timer < 0)
		return -(int)err->code;
	for (size_t i = 0; i < m->device_count; i++) {
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
			return err_set(err, ERR_SYSTEM, errno, "socketpair");
		served[i] = (struct qemu_device){ .id = m->devices[i]->id, .sock = pair[1] };
		if (!vhost_user_new(m->devices[i], pair[0], on_hang_up, m, err))
			return -(int)err->code;
	}
	m->qemu = qemu_start(m->cfg, served, m->device_count, err);
	if (!m->qemu)
		return -(int)err->code;
	if (loop_add(m->loop, qemu_pidfd(m->qemu), EPOLLIN, on_vm_ended, m, err) < 0)
		return -(int)err->code;
	tell(m, MONITOR_RUNNING, 0, NULL);
	tell(m, MONITOR_WAITS, 0, NULL);
	return 0;
}

/** build() - Devices in the order the guest numbers them, then their threads and the hypervisor. */
static int build(struct monitor *m, struct error *err)
{
	const struct monitor_config *cfg = m->cfg;
	struct loop *disk_loops[MONITOR_DISKS_MAX];
	struct virtio_device *dev;

	m->loop = loop_new(err);
	if (!m->loop)
		return -(int)err->code;
	for (size_t i = 0; i < cfg->disk_count; i++)
		if (add_disk(m, i, &disk_loops[i], err) < 0)
			return -(int)err->code;
	m->vsock = virtio_vsock_new(m->loop, cfg->control_fd, on_connect_failed, m, err);
	if (!m->vsock)
		return -(int)err->code;
	m->devices[m->device_count++] = m->vsock;
	dev = virtio_rng_new(m->loop, err);
	if (!dev)
		return -(int)err->code;
	m->devices[m->device_count++] = dev;
	if (cfg->net_fd >= 0 && add_net(m, err) < 0)
		return -(int)err->code;
	if (cfg->kind == HYPERVISOR_KVM) {
		dev = virtio_console_new(m->loop, cfg->console_fd, MONITOR_CONSOLE_MAX, err);
		if (!dev)
			return -(int)err->code;
		m->devices[m->device_count++] = dev;
		dev = virtio_balloon_new(m->loop, err);
		if (!dev)
			return -(int)err->code;
		m->devices[m->device_count++] = dev;
	}
	if (loop_add(m->loop, cfg->supervisor_fd, EPOLLIN, on_supervisor, m, err) < 0)
		return -(int)err->code;
	/* While this is the only thread, so that later ones inherit it; QEMU, started first, needs its libraries. */
	if (cfg->kind == HYPERVISOR_QEMU && start_qemu(m, err) < 0)
		return -(int)err->code;
	if (confine_landlock_none(err) < 0)
		return -(int)err->code;
	if (cfg->kind == HYPERVISOR_KVM && start_kvm(m, err) < 0)
		return -(int)err->code;
	for (size_t i = 0; i < cfg->disk_count; i++)
		if (start_io_thread(disk_loops[i], err) < 0)
			return -(int)err->code;
	if (m->net_loop && start_io_thread(m->net_loop, err) < 0)
		return -(int)err->code;
	return 0;
}

/** open_log() - The kernel's log for reading (console_fd may be write-only). Return: owned fd, or -1. */
static int open_log(int console)
{
	struct stat st;
	char path[32];

	if (fstat(console, &st) < 0 || !S_ISREG(st.st_mode))
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", console);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/** panicked() - Are the kernel's last words those of a panic? By panic=-1 it resets the machine after them. */
static bool panicked(int log)
{
	static const char words[] = "Kernel panic - not syncing";
	char text[CONSOLE_TAIL];
	struct stat st;
	ssize_t n;

	if (log < 0 || fstat(log, &st) < 0)
		return false;
	n = fd_pread_full(log, text, sizeof(text), MAX(st.st_size - (off_t)sizeof(text), 0));
	return n > 0 && memmem(text, (size_t)n, words, sizeof(words) - 1);
}

/** finish() - Stop the machine and learn how it ended. */
static int finish(struct monitor *m, enum stop why, struct error *err)
{
	uint64_t one = 1;
	int rc;

	if (m->cfg->kind == HYPERVISOR_QEMU) {
		rc = qemu_finish(TAKE_PTR(m->qemu), &m->end, err);
		if (rc == 0 && m->end.how == VM_END_STOPPED && why == STOP_HANG_UP)
			rc = err_set(err, ERR_PROTOCOL, 0, "QEMU broke off the connection to one of its devices");
	} else {
		if (why != STOP_ENDED && write(m->stop_fd, &one, sizeof(one)) < 0)
			abort();
		pthread_join(m->vm_thread, NULL);
		rc = m->vm_rc;
		if (rc < 0)
			*err = m->vm_err;
	}
	if (rc == 0 && m->end.how == VM_END_STOPPED && why == STOP_NO_GATEWAY)
		rc = err_set(err, ERR_CLOSED, 0, "its network gateway ended");
	return rc;
}

int monitor_main(const struct monitor_config *cfg)
{
	static struct monitor m;
	struct error err = ERROR_INIT;
	int rc;

	m.cfg = cfg;
	log_setup(log_level(), cfg->log_fd, NULL);
	prctl(PR_SET_NAME, "msb-monitor");
	timeline_mark("monitor");
	/* The lifeline (supervisor_fd) ends us in any case; this is quicker when the loop is busy. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGPIPE, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
	fd_set_nonblock(cfg->supervisor_fd, true);
	m.log = open_log(cfg->console_fd);
	rc = build(&m, &err);
	if (rc < 0) {
		if (m.qemu) {
			struct error ignored = ERROR_INIT;

			qemu_finish(m.qemu, &m.end, &ignored);
		}
		tell(&m, MONITOR_FAILED, 0, err.text);
		return 1;
	}
	/* Everything is open: from here on no file, socket or program, in any of the threads. */
	rc = confine_deny_dangerous(CONFINE_DENY_OPEN | CONFINE_DENY_FORK, &err);
	if (rc == 0)
		rc = loop_run(m.loop, &err);
	if (rc >= 0)
		rc = finish(&m, (enum stop)rc, &err);
	if (rc < 0) {
		tell(&m, MONITOR_FAILED, 0, err.text);
		return 1;
	}
	if (m.end.how == VM_END_RESET && panicked(m.log))
		m.end.how = VM_END_PANIC;
	switch (m.end.how) {
	case VM_END_OFF:
		tell(&m, MONITOR_GUEST_OFF, 0, NULL);
		break;
	case VM_END_RESET:
		tell(&m, MONITOR_GUEST_RESET, 0, NULL);
		break;
	case VM_END_PANIC:
		tell(&m, MONITOR_GUEST_PANIC, 0, NULL);
		break;
	case VM_END_STOPPED:
		break;
	}
	return 0;
}
