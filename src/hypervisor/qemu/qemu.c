/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. QEMU's software CPU is no isolation boundary by upstream's own words, so QEMU is treated as
 * code the guest already owns: it starts in namespaces of its own with an empty root (only /usr, read-only, and its own
 * /proc), as an unprivileged user without capabilities, with QEMU's system call filter, and with nothing open but what
 * is passed here. Every device is served by this process over vhost-user; QEMU only executes instructions.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "confine/confine.h"
#include "hypervisor/hypervisor.h"

#define ARGS_MAX 96
#define TEXT_MAX 16384
#define STDERR_TAIL 400

struct qemu {
	pid_t pid;
	int pidfd;
	int stderr_fd; /* memfd */
};

/** Arguments, their text in one buffer. */
struct args {
	char *item[ARGS_MAX];
	size_t count;
	char text[TEXT_MAX];
	size_t used;
	bool failed;
};

/** arg() - Append one formatted argument. */
static void __attribute__((format(printf, 2, 3))) arg(struct args *a, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(a->text + a->used, sizeof(a->text) - a->used, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(a->text) - a->used || a->count + 1 >= ARGS_MAX) {
		a->failed = true;
		return;
	}
	a->item[a->count++] = a->text + a->used;
	a->item[a->count] = NULL;
	a->used += (size_t)n + 1;
}

/** device_args() - One device on the inherited end of its socket pair. */
static void device_args(struct args *a, const struct qemu_device *d, size_t i)
{
	arg(a, "-chardev");
	arg(a, "socket,id=c%zu,fd=%d", i, d->sock);
	arg(a, "-device");
	switch (d->id) {
	case VIRTIO_ID_BLK:
		arg(a, "vhost-user-blk,chardev=c%zu,num-queues=1", i);
		break;
	case VIRTIO_ID_VSOCK:
		arg(a, "vhost-user-vsock-device,chardev=c%zu", i);
		break;
	case VIRTIO_ID_RNG:
		arg(a, "vhost-user-rng,chardev=c%zu", i);
		break;
	case VIRTIO_ID_NET:
	case VIRTIO_ID_CONSOLE:
		a->failed = true;
		break;
	}
}

/** build_args() - The whole command line. */
static void build_args(struct args *a, const struct monitor_config *cfg, const struct qemu_device *devices, size_t count)
{
	unsigned long long mib = cfg->memory_bytes >> 20;
	char line[512];

	kernel_command_line(cfg, line, sizeof(line));
	arg(a, "%s", cfg->qemu_path);
	arg(a, "-M");
	arg(a, "microvm,acpi=on,pit=on,pic=on,rtc=on,x-option-roms=off,isa-serial=%s,memory-backend=ram",
	    cfg->early_console ? "on" : "off");
	arg(a, "-accel");
	arg(a, "tcg,thread=multi");
	arg(a, "-cpu");
	arg(a, "max");
	arg(a, "-smp");
	arg(a, "%u", cfg->cpus);
	arg(a, "-m");
	arg(a, "%llu", mib);
	arg(a, "-object");
	arg(a, "memory-backend-memfd,id=ram,size=%lluM,share=on", mib);
	arg(a, "-global");
	arg(a, "virtio-mmio.force-legacy=false");
	arg(a, "-nodefaults");
	arg(a, "-no-user-config");
	arg(a, "-no-reboot");
	arg(a, "-display");
	arg(a, "none");
	arg(a, "-sandbox");
	arg(a, "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
	arg(a, "-kernel");
	arg(a, "/proc/self/fd/%d", cfg->kernel_fd);
	arg(a, "-initrd");
	arg(a, "/proc/self/fd/%d", cfg->initrd_fd);
	arg(a, "-append");
	arg(a, "%s", line);
	arg(a, "-add-fd");
	arg(a, "fd=%d,set=1", cfg->console_fd);
	arg(a, "-chardev");
	arg(a, "file,id=con,path=/dev/fdset/1,append=on");
	if (cfg->early_console) {
		arg(a, "-serial");
		arg(a, "chardev:con");
	} else {
		arg(a, "-device");
		arg(a, "virtio-serial-device,max_ports=1");
		arg(a, "-device");
		arg(a, "virtconsole,chardev=con");
	}
	for (size_t i = 0; i < count; i++)
		device_args(a, &devices[i], i);
}

/** child() - In the new process: close, confine, exec. */
static _Noreturn void child(const struct monitor_config *cfg, const struct qemu_device *devices, size_t count,
			    const struct args *a, int stderr_fd, int outside, bool in_user_ns)
{
	static char *const env[] = { (char *)"LC_ALL=C", NULL };
	int keep[64], n = 0, null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct error err = ERROR_INIT;
	sigset_t none;

	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(stderr_fd, STDERR_FILENO);
	keep[n++] = STDIN_FILENO;
	keep[n++] = STDOUT_FILENO;
	keep[n++] = STDERR_FILENO;
	keep[n++] = outside;
	keep[n++] = cfg->kernel_fd;
	keep[n++] = cfg->initrd_fd;
	keep[n++] = cfg->console_fd;
	for (size_t i = 0; i < count; i++)
		keep[n++] = devices[i].sock;
	for (int i = 4; i < n; i++)
		fd_set_cloexec(keep[i], false);
	fd_close_except(keep, (size_t)n);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_NAME, "msb-qemu");
	if (confine_program(in_user_ns, &err) < 0 || confine_die_with(outside, &err) < 0) {
		dprintf(STDERR_FILENO, "%s\n", err.text);
		_exit(126);
	}
	execve(cfg->qemu_path, a->item, env);
	dprintf(STDERR_FILENO, "%s: %s\n", cfg->qemu_path, strerror(errno));
	_exit(127);
}

struct qemu *qemu_start(const struct monitor_config *cfg, const struct qemu_device *devices, size_t count,
			struct error *err)
{
	struct args *a = calloc(1, sizeof(*a));
	struct qemu *q = calloc(1, sizeof(*q));
	int lifeline[2] = { -1, -1 };
	bool in_user_ns = false;

	if (!a || !q || pipe2(lifeline, O_CLOEXEC) < 0) {
		err_set(err, ERR_NO_MEMORY, 0, "qemu: out of memory");
		free(a);
		free(q);
		return NULL;
	}
	build_args(a, cfg, devices, count);
	q->stderr_fd = fd_memfd("qemu-stderr", 0, false);
	if (a->failed || q->stderr_fd < 0) {
		err_set(err, ERR_INTERNAL, 0, "qemu: the command line does not fit");
		free(a);
		free(q);
		return NULL;
	}
	q->pid = confine_fork(&in_user_ns);
	if (q->pid == 0) {
		close(lifeline[1]);
		child(cfg, devices, count, a, q->stderr_fd, lifeline[0], in_user_ns);
	}
	free(a);
	close(lifeline[0]);
	/* lifeline[1] stays open for the life of this process: the child notices its end before exec. */
	for (size_t i = 0; i < count; i++)
		close(devices[i].sock);
	q->pidfd = q->pid < 0 ? -1 : (int)syscall(SYS_pidfd_open, q->pid, 0);
	if (q->pidfd < 0) {
		err_set(err, ERR_SYSTEM, errno, "start QEMU");
		fd_close(&q->stderr_fd);
		free(q);
		return NULL;
	}
	return q;
}

int qemu_pidfd(const struct qemu *q)
{
	return q->pidfd;
}

/** last_words() - The end of QEMU's stderr, on one line. */
static void last_words(int fd, char *out, size_t size)
{
	off_t end = lseek(fd, 0, SEEK_END);
	ssize_t n = fd_pread_full(fd, out, size - 1, end > (off_t)size - 1 ? end - (off_t)size + 1 : 0);

	n = MAX(n, 0);
	while (n > 0 && (out[n - 1] == '\n' || out[n - 1] == ' '))
		n--;
	out[n] = '\0';
	for (ssize_t i = 0; i < n; i++)
		if ((unsigned char)out[i] < 0x20)
			out[i] = ' ';
}

int qemu_finish(struct qemu *q, struct vm_end *end, struct error *err)
{
	struct pollfd p = { .fd = q->pidfd, .events = POLLIN };
	bool ended = poll(&p, 1, 0) > 0;
	char words[STDERR_TAIL];
	int status = 0, rc = 0;

	if (!ended)
		kill(q->pid, SIGKILL);
	while (waitpid(q->pid, &status, 0) < 0 && errno == EINTR)
		;
	end->how = ended ? VM_END_OFF : VM_END_STOPPED;
	if (ended && !(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
		last_words(q->stderr_fd, words, sizeof(words));
		if (WIFSIGNALED(status))
			rc = err_set(err, ERR_SYSTEM, 0, "QEMU was ended by signal %d%s%s", WTERMSIG(status),
				     words[0] ? ": " : "", words);
		else
			rc = err_set(err, ERR_SYSTEM, 0, "QEMU ended with status %d: %s", WEXITSTATUS(status), words);
	}
	fd_close(&q->stderr_fd);
	fd_close(&q->pidfd);
	free(q);
	return rc;
}
