/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. QEMU's software CPU is no isolation boundary by upstream's own words, so QEMU is treated as
 * code the guest already owns: it starts in namespaces of its own with an empty root (only /usr, read-only, and its own
 * /proc), as an unprivileged user without capabilities, with a system call filter of ours and QEMU's own, and with
 * nothing open but what is passed here. Every device is served by this process over vhost-user; QEMU only executes
 * instructions.
 *
 * Guest memory is a memfd made here and passed, so that the limit on the size of files that QEMU may write can be
 * small: a guest that floods its console fills MONITOR_CONSOLE_MAX of the log and no more. QEMU's stderr is a sealed
 * memfd of fixed size. QMP (a socket pair) is used for one thing: the reason of the shutdown, read after QEMU ended.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "confine/confine.h"
#include "hypervisor/hypervisor.h"

#define ARGS_MAX 128
#define TEXT_MAX 16384
#define KEEP_MAX 64
#define STDERR_TAIL 360
#define STDERR_BYTES_MAX KIB(64)
#define QMP_BYTES_MAX KIB(64)

struct qemu {
	pid_t pid;
	int pidfd;
	int stderr_fd; /* memfd, sealed to STDERR_BYTES_MAX */
	int qmp;       /* our end */
	int lifeline;  /* write end: its closing tells a child that has not yet set its parent-death signal */
};

/** What the child inherits, besides the devices. */
struct inherited {
	int kernel;
	int initrd;
	int console;
	int ram;
	int qmp;
	int stderr_fd;
	int lifeline;
	int report; /* closed by execve(): what confinement was got, or why QEMU could not be started */
};

/** net_of() - QEMU's end of the network card, which it does not inherit. Return: NULL: there is none. */
static const struct qemu_device *net_of(const struct qemu_device *devices, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (devices[i].id == VIRTIO_ID_NET)
			return &devices[i];
	return NULL;
}

/** Sent by the child before (report) or instead of (failed) becoming QEMU. */
struct child_report {
	bool failed;
	struct confine_report confine;
	struct error err;
};

/** qemu_free() - Close what is open. The process is reaped already. */
static void qemu_free(struct qemu *q)
{
	fd_close(&q->pidfd);
	fd_close(&q->stderr_fd);
	fd_close(&q->qmp);
	fd_close(&q->lifeline);
	free(q);
}

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

/**
 * net_args() - The network card. QEMU takes only a unix socket that it connected itself for this one: it connects, the
 * path does not matter, and is given its end (confine_answer_connect()). No control queue: nothing changes at run time.
 */
static void net_args(struct args *a, const struct monitor_config *cfg, size_t i)
{
	const uint8_t *m = cfg->mac;

	arg(a, "-chardev");
	arg(a, "socket,id=c%zu,path=/net", i);
	arg(a, "-netdev");
	arg(a, "vhost-user,id=n%zu,chardev=c%zu", i, i);
	arg(a, "-device");
	arg(a,
	    "virtio-net-device,netdev=n%zu,mac=%02x:%02x:%02x:%02x:%02x:%02x,host_mtu=%u,ctrl_vq=off,ctrl_rx=off,"
	    "ctrl_vlan=off,ctrl_rx_extra=off,ctrl_mac_addr=off,ctrl_guest_offloads=off,guest_announce=off",
	    i, m[0], m[1], m[2], m[3], m[4], m[5], cfg->mtu);
}

/** device_args() - One device on the inherited end of its socket pair. */
static void device_args(struct args *a, const struct monitor_config *cfg, const struct qemu_device *d, size_t i)
{
	if (d->id == VIRTIO_ID_NET) {
		net_args(a, cfg, i);
		return;
	}
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
	case VIRTIO_ID_BALLOON:
		a->failed = true;
		break;
	}
}

/** build_args() - The whole command line. */
static void build_args(struct args *a, const struct monitor_config *cfg, const struct inherited *in,
		       const struct qemu_device *devices, size_t count)
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
	arg(a, "memory-backend-file,id=ram,size=%lluM,mem-path=/proc/self/fd/%d,share=on", mib, in->ram);
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
	arg(a, "/proc/self/fd/%d", in->kernel);
	arg(a, "-initrd");
	arg(a, "/proc/self/fd/%d", in->initrd);
	arg(a, "-append");
	arg(a, "%s", line);
	arg(a, "-add-fd");
	arg(a, "fd=%d,set=1", in->console);
	arg(a, "-chardev");
	arg(a, "file,id=con,path=/dev/fdset/1,append=on");
	arg(a, "-device");
	arg(a, "virtio-serial-device,max_ports=1");
	arg(a, "-device");
	arg(a, "virtconsole,chardev=con");
	/* QEMU's own: what the guest reports as free becomes a hole in the memfd, so it is gone for the devices too. */
	arg(a, "-device");
	arg(a, "virtio-balloon-device,free-page-reporting=on,deflate-on-oom=on");
	if (cfg->early_console) {
		arg(a, "-chardev");
		arg(a, "file,id=early,path=/dev/fdset/1,append=on");
		arg(a, "-serial");
		arg(a, "chardev:early");
	}
	arg(a, "-chardev");
	arg(a, "socket,id=qmp,fd=%d", in->qmp);
	arg(a, "-mon");
	arg(a, "chardev=qmp,mode=control");
	for (size_t i = 0; i < count; i++)
		device_args(a, cfg, &devices[i], i);
}

/** limit_resources() - What QEMU writes ends here; a write beyond fails instead of raising SIGXFSZ. */
static void limit_resources(void)
{
	struct rlimit file = { MONITOR_CONSOLE_MAX, MONITOR_CONSOLE_MAX };

	sigaction(SIGXFSZ, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
	setrlimit(RLIMIT_FSIZE, &file);
}

/** become_qemu() - In the child: close, confine, exec. Returns only on failure. */
static int become_qemu(const struct monitor_config *cfg, const struct inherited *in, const struct qemu_device *devices,
		       size_t count, const struct args *a, bool in_user_ns, struct child_report *report)
{
	static char *const env[] = { (char *)"LC_ALL=C", NULL };
	int keep[KEEP_MAX], n = 0, null = open("/dev/null", O_RDWR | O_CLOEXEC), broker = -1;
	bool net = net_of(devices, count);
	const int readable[] = { in->kernel, in->initrd };
	sigset_t none;

	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    dup2(in->stderr_fd, STDERR_FILENO) < 0)
		return err_set(&report->err, ERR_SYSTEM, errno, "QEMU's standard streams");
	keep[n++] = in->kernel;
	keep[n++] = in->initrd;
	keep[n++] = in->console;
	keep[n++] = in->ram;
	keep[n++] = in->qmp;
	for (size_t i = 0; i < count; i++)
		if (devices[i].id != VIRTIO_ID_NET)
			keep[n++] = devices[i].sock;
	for (int i = 0; i < n; i++)
		if (fd_set_cloexec(keep[i], false) < 0)
			return err_set(&report->err, ERR_SYSTEM, errno, "QEMU's descriptors");
	keep[n++] = STDIN_FILENO;
	keep[n++] = STDOUT_FILENO;
	keep[n++] = STDERR_FILENO;
	keep[n++] = in->lifeline;
	keep[n++] = in->report;
	fd_close_except(keep, (size_t)n);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_NAME, "msb-qemu");
	if (confine_program(in_user_ns, readable, ARRAY_LEN(readable), &report->confine, &report->err) < 0 ||
	    confine_die_with(in->lifeline, &report->err) < 0 ||
	    confine_filter_program(net ? &broker : NULL, &report->err) < 0)
		return -(int)report->err.code;
	limit_resources();
	if (fd_send_msg(in->report, report, sizeof(*report), &broker, net ? 1 : 0) < 0)
		return err_set(&report->err, ERR_CLOSED, errno, "report to the monitor");
	execve(cfg->qemu_path, a->item, env);
	err_set(&report->err, ERR_UNSUPPORTED, errno, "start %s", cfg->qemu_path);
	if (report->confine.rungs & CONFINE_EMPTY_ROOT)
		err_hint(&report->err, "QEMU and its libraries must be installed below /usr");
	return -(int)report->err.code;
}

/** child() - In the new process. */
static _Noreturn void child(const struct monitor_config *cfg, const struct inherited *in,
			    const struct qemu_device *devices, size_t count, const struct args *a, bool in_user_ns)
{
	struct child_report report = { .failed = false };

	become_qemu(cfg, in, devices, count, a, in_user_ns, &report);
	report.failed = true;
	fd_send_msg(in->report, &report, sizeof(report), NULL, 0);
	_exit(127);
}

/** hear() - What the child says until it executes QEMU. @broker: takes what it passes, if it does. */
static int hear(int fd, int *broker, struct error *err)
{
	struct child_report report;
	int fds[FD_PASS_MAX];
	bool heard = false;
	size_t count;

	/* The child runs our own code up to execve(): trusted, and short. */
	while (fd_recv_msg(fd, &report, sizeof(report), fds, &count) == (ssize_t)sizeof(report)) {
		heard = true;
		if (count)
			*broker = fds[0];
		if (report.failed) {
			err_set(err, report.err.code, 0, "%s", report.err.text);
			return report.err.hint[0] ? err_hint(err, "%s", report.err.hint) : -(int)err->code;
		}
		if (report.confine.note[0])
			log_warn(LOG_CONFINE, "QEMU is confined less than it could be: %s", report.confine.note);
		if (!(report.confine.rungs & (CONFINE_EMPTY_ROOT | CONFINE_LANDLOCK)))
			log_warn(LOG_CONFINE, "QEMU can read the files of its user: no namespace, no Landlock here");
	}
	return heard ? 0 : err_set(err, ERR_INTERNAL, 0, "QEMU's process ended before it started");
}

/** may_share() - Can QEMU open this file again by /proc/self/fd/N, as it must, and only for reading? */
static bool may_share(const struct stat *st)
{
	bool root = geteuid() == 0; /* QEMU is another then */

	if (root && !(st->st_mode & S_IROTH))
		return false;
	/* Without Landlock its user's rights are QEMU's: one sandbox could change the kernel of all. */
	return confine_have_landlock() || (root ? !(st->st_mode & S_IWOTH) : st->st_uid != geteuid());
}

/** for_qemu() - The file itself, or a copy. Return: owned fd, or -1 with errno. */
static int for_qemu(int fd, const char *name)
{
	_cleanup_fd_ int copy = -1;
	struct stat st;
	off_t at = 0;

	if (fstat(fd, &st) < 0)
		return -1;
	if (!S_ISREG(st.st_mode) || may_share(&st))
		return fcntl(fd, F_DUPFD_CLOEXEC, 3);
	copy = fd_memfd(name, 0, false);
	if (copy < 0)
		return -1;
	while (at < st.st_size)
		if (sendfile(copy, fd, &at, (size_t)(st.st_size - at)) <= 0)
			return -1;
	return TAKE_FD(copy);
}

/** close_inherited() - The parent's copies. */
static void close_inherited(struct inherited *in)
{
	fd_close(&in->kernel);
	fd_close(&in->initrd);
	fd_close(&in->console);
	fd_close(&in->ram);
	fd_close(&in->qmp);
	fd_close(&in->lifeline);
	fd_close(&in->report);
}

/** prepare() - Everything that the child inherits, and our ends of it. report_fd: owned by the caller. */
static int prepare(struct qemu *q, struct inherited *in, const struct monitor_config *cfg, int *report_fd,
		   struct error *err)
{
	static const char hello[] = "{\"execute\":\"qmp_capabilities\"}\n";
	int pair[2];

	q->stderr_fd = fd_memfd("qemu-stderr", STDERR_BYTES_MAX, true);
	if (q->stderr_fd < 0 || fcntl(q->stderr_fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		return err_set(err, ERR_SYSTEM, errno, "qemu: stderr");
	in->stderr_fd = q->stderr_fd;
	in->console = fcntl(cfg->console_fd, F_DUPFD_CLOEXEC, 3);
	in->kernel = for_qemu(cfg->kernel_fd, "kernel");
	in->initrd = for_qemu(cfg->initrd_fd, "initrd");
	in->ram = fd_memfd("guest-ram", cfg->memory_bytes, true);
	if (in->console < 0 || in->kernel < 0 || in->initrd < 0 || in->ram < 0)
		return err_set(err, ERR_SYSTEM, errno, "qemu: files of the guest");
	/* QEMU must not be able to cut off what the devices here have mapped. */
	if (fcntl(in->ram, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		return err_set(err, ERR_SYSTEM, errno, "qemu: memory of the guest");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, ERR_SYSTEM, errno, "qemu: control");
	q->qmp = pair[0];
	in->qmp = pair[1];
	if (send(q->qmp, hello, sizeof(hello) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(hello) - 1)
		return err_set(err, ERR_SYSTEM, errno, "qemu: control");
	if (pipe2(pair, O_CLOEXEC) < 0)
		return err_set(err, ERR_SYSTEM, errno, "qemu: lifeline");
	in->lifeline = pair[0];
	q->lifeline = pair[1];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, ERR_SYSTEM, errno, "qemu: report");
	*report_fd = pair[0];
	in->report = pair[1];
	return 0;
}

/** last_words() - The end of what QEMU wrote to its stderr, on one line. */
static void last_words(int fd, char *out, size_t size)
{
	off_t end = lseek(fd, 0, SEEK_CUR); /* shared with QEMU's */
	ssize_t n = fd_pread_full(fd, out, size - 1, MAX(end - (off_t)size + 1, 0));

	n = MAX(MIN(n, (ssize_t)end), 0);
	while (n > 0 && (unsigned char)out[n - 1] <= ' ')
		n--;
	out[n] = '\0';
	for (ssize_t i = 0; i < n; i++)
		if ((unsigned char)out[i] < 0x20 || (unsigned char)out[i] > 0x7e)
			out[i] = ' ';
}

/** start() - Fork, confine, execute. */
static int start(struct qemu *q, const struct monitor_config *cfg, const struct qemu_device *devices, size_t count,
		 struct error *err)
{
	_cleanup_(freep) struct args *a = calloc(1, sizeof(*a));
	struct inherited in = { -1, -1, -1, -1, -1, -1, -1, -1 };
	_cleanup_fd_ int report = -1;
	_cleanup_fd_ int broker = -1;
	const struct qemu_device *net = net_of(devices, count);
	bool in_user_ns;
	int rc;

	if (!a)
		return err_set(err, ERR_NO_MEMORY, 0, "qemu: out of memory");
	rc = prepare(q, &in, cfg, &report, err);
	if (rc == 0) {
		build_args(a, cfg, &in, devices, count);
		if (a->failed || count > KEEP_MAX - 16)
			rc = err_set(err, ERR_INTERNAL, 0, "qemu: the command line does not fit");
	}
	if (rc == 0) {
		q->pid = confine_fork(&in_user_ns);
		if (q->pid == 0) {
			close(q->lifeline);
			child(cfg, &in, devices, count, a, in_user_ns);
		}
		if (q->pid < 0)
			rc = err_set(err, ERR_SYSTEM, errno, "fork QEMU");
	}
	close_inherited(&in);
	if (rc < 0)
		return rc;
	q->pidfd = (int)syscall(SYS_pidfd_open, q->pid, 0);
	if (q->pidfd < 0)
		return err_set(err, ERR_SYSTEM, errno, "watch QEMU");
	rc = hear(report, &broker, err);
	if (rc == 0 && net)
		rc = confine_answer_connect(TAKE_FD(broker), net->sock, q->pidfd, err);
	/* Its own words say more than that it did not connect. */
	if (rc < 0 && err->code == ERR_CLOSED) {
		char words[STDERR_TAIL];

		last_words(q->stderr_fd, words, sizeof(words));
		err_clear(err);
		rc = err_set(err, ERR_SYSTEM, 0, "QEMU ended while it started: %s", words);
	}
	return rc;
}

struct qemu *qemu_start(const struct monitor_config *cfg, const struct qemu_device *devices, size_t count,
			struct error *err)
{
	struct qemu *q = calloc(1, sizeof(*q));
	int rc;

	if (!q) {
		rc = err_set(err, ERR_NO_MEMORY, 0, "qemu: out of memory");
	} else {
		q->pid = q->pidfd = q->stderr_fd = q->qmp = q->lifeline = -1;
		rc = start(q, cfg, devices, count, err);
	}
	for (size_t i = 0; i < count; i++)
		close(devices[i].sock);
	if (rc == 0 || !q)
		return q;
	if (q->pid > 0) {
		kill(q->pid, SIGKILL);
		while (waitpid(q->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	qemu_free(q);
	return NULL;
}

int qemu_pidfd(const struct qemu *q)
{
	return q->pidfd;
}

/** said_reset() - Did QMP report that the guest reset itself? QEMU is gone: what it sent is all there. */
static bool said_reset(int qmp)
{
	static const char event[] = "\"SHUTDOWN\"", reason[] = "\"guest-reset\"";
	_cleanup_(freep) char *text = malloc(QMP_BYTES_MAX);
	const char *at;
	size_t n = 0;
	ssize_t got;

	while (text && n < QMP_BYTES_MAX && (got = recv(qmp, text + n, QMP_BYTES_MAX - n, MSG_DONTWAIT)) > 0)
		n += (size_t)got;
	if (!text || n == 0)
		return false;
	at = memmem(text, n, event, sizeof(event) - 1);
	return at && memmem(at, n - (size_t)(at - text), reason, sizeof(reason) - 1);
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
	last_words(q->stderr_fd, words, sizeof(words));
	end->how = VM_END_STOPPED;
	if (ended && WIFSIGNALED(status))
		rc = err_set(err, ERR_SYSTEM, 0, "QEMU was ended by signal %d%s%s", WTERMSIG(status),
			     words[0] ? ": " : "", words);
	else if (ended && WEXITSTATUS(status) != 0)
		rc = err_set(err, ERR_SYSTEM, 0, "QEMU ended with status %d: %s", WEXITSTATUS(status), words);
	else if (ended)
		end->how = said_reset(q->qmp) ? VM_END_RESET : VM_END_OFF;
	qemu_free(q);
	return rc;
}
