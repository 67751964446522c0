/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PID 1 of every sandbox. Order: the few mounts it needs itself; the session listener; the control connection to the
 * host (from a privileged port, before any other process exists); HELLO, BOOT, root, READY; then the event loop.
 * It has no configuration but the BOOT message. When the control connection ends, so does the machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/buf.h"
#include "base/clock.h"
#include "proto/frame.h"

struct defaults defaults;

#define TERM_GRACE_NS (500 * NSEC_PER_MSEC)
#define KILL_GRACE_NS (500 * NSEC_PER_MSEC)

static struct loop *loop;
static bool booted; /* the first BOOT was taken: sessions may come */
static int control = -1;
static struct buf control_in = BUF_INIT(FRAME_BODY_MAX + 2 * FRAME_HEADER_SIZE + 4096);

bool fail(struct failure *f, enum msg_failure kind, int sys_errno, const char *fmt, ...)
{
	va_list ap;

	f->kind = kind;
	f->sys_errno = sys_errno;
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
	return false;
}

/** reap() - Collect ended processes until none is left or the time is over. */
static void reap(int64_t timeout_ns)
{
	int64_t end = clock_monotonic_ns() + timeout_ns, left;
	sigset_t chld;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	for (;;) {
		pid_t pid;

		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
			;
		left = end - clock_monotonic_ns();
		if (pid < 0 || left <= 0)
			return; /* every process is our descendant */
		sigtimedwait(&chld, NULL,
			     &(struct timespec){ .tv_sec = left / NSEC_PER_SEC, .tv_nsec = left % NSEC_PER_SEC });
	}
}

/** end_processes() - A short time to leave in order, then by force; disks whole and read-only after it. */
static void end_processes(void)
{
	if (waitpid(-1, NULL, WNOHANG) >= 0) {
		kill(-1, SIGTERM);
		kill(-1, SIGCONT);
		reap(TERM_GRACE_NS);
		kill(-1, SIGKILL);
		reap(KILL_GRACE_NS);
	}
	sync();
	root_freeze();
}

/** power_off() - Everything to disk, then off. */
static _Noreturn void power_off(void)
{
	end_processes();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

/** send_frame() - To the host, whole; the socket is blocking for writes of this size. */
static void send_frame(enum frame_type type, const struct buf *body)
{
	struct buf frame = BUF_INIT(FRAME_BODY_MAX);
	size_t done = 0;

	if (!frame_append(&frame, (uint16_t)type, 0, body ? body->data : NULL, body ? body->len : 0))
		return;
	while (done < frame.len) {
		ssize_t n = send(control, frame.data + done, frame.len - done, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			power_off();
		done += n > 0 ? (size_t)n : 0;
	}
	buf_free(&frame);
}

/** set_clock() - Wall time from the host; small differences are left alone. */
static void set_clock(uint64_t realtime_ns)
{
	struct timespec ts = { .tv_sec = (time_t)(realtime_ns / NSEC_PER_SEC),
			       .tv_nsec = (long)(realtime_ns % NSEC_PER_SEC) };
	int64_t off = clock_realtime_ns() - (int64_t)realtime_ns;

	if (off > 100 * NSEC_PER_MSEC || off < -100 * NSEC_PER_MSEC)
		clock_settime(CLOCK_REALTIME, &ts);
}

/** keep_defaults() - Copy what sessions need; check the default directory and user now. */
static bool keep_defaults(const struct msg_boot *boot, struct user *user, struct failure *f)
{
	struct stat st;

	for (uint32_t i = 0; i < boot->env.count; i++) {
		defaults.env.item[i] = strdup(boot->env.item[i]);
		if (!defaults.env.item[i])
			return fail(f, MSG_FAIL_NO_MEMORY, 0, "out of memory");
		defaults.env.count++;
	}
	snprintf(defaults.user, sizeof(defaults.user), "%s", boot->user ? boot->user : "");
	snprintf(defaults.workdir, sizeof(defaults.workdir), "%s", boot->workdir ? boot->workdir : "/");
	if (!user_resolve(defaults.user, user, f))
		return false;
	if (stat(defaults.workdir, &st) < 0)
		return fail(f, MSG_FAIL_BAD_CWD, errno, "working directory %s", defaults.workdir);
	return S_ISDIR(st.st_mode) || fail(f, MSG_FAIL_BAD_CWD, ENOTDIR, "working directory %s", defaults.workdir);
}

/** on_boot() - The configuration: build everything, answer. */
static void on_boot(const struct frame *frame)
{
	static struct msg_boot boot;
	struct failure f = { .kind = MSG_FAIL_OTHER };
	struct buf body = BUF_INIT(1024);
	struct user user;
	bool ok = msg_decode_boot(frame->body, frame->body_len, &boot) && boot.hostname;

	if (!ok)
		fail(&f, MSG_FAIL_OTHER, 0, "bad boot configuration");
	else
		set_clock(boot.realtime_ns);
	if (ok && root_build(&boot, &f) && keep_defaults(&boot, &user, &f)) {
		struct msg_ready ready = { .uid = user.uid,
					   .gid = user.gid,
					   .boot_ns = (uint64_t)clock_ns(CLOCK_BOOTTIME) };

		msg_encode_ready(&body, &ready);
		send_frame(FRAME_READY, &body);
	} else {
		struct msg_failed m = { .kind = (uint64_t)f.kind, .sys_errno = (uint64_t)f.sys_errno, .text = f.text };

		msg_encode_failed(&body, &m);
		send_frame(FRAME_BOOT_FAILED, &body);
	}
	buf_free(&body);
}

/** on_frame() - One control message. @clock: takes the time of a CLOCK. */
static void on_frame(const struct frame *f, struct msg_clock *clock)
{
	switch (f->type) {
	case FRAME_BOOT:
		if (!booted)
			on_boot(f);
		booted = true;
		break;
	case FRAME_CLOCK:
		msg_decode_clock(f->body, f->body_len, clock);
		break;
	case FRAME_PING:
		send_frame(FRAME_PONG, NULL);
		break;
	case FRAME_SHUTDOWN:
		end_processes();
		send_frame(FRAME_GOODBYE, NULL);
		power_off();
	default:
		break;
	}
}

/** read_control() - All that is there now. Return: false when the host is gone or sends too much. */
static bool read_control(void)
{
	for (;;) {
		uint8_t chunk[4096];
		ssize_t n = recv(control, chunk, sizeof(chunk), MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return true;
		if (n <= 0 || !buf_append(&control_in, chunk, (size_t)n))
			return false;
	}
}

/** on_control() - Bytes from the supervisor. */
static void on_control(void *arg, uint32_t events)
{
	/* After the machine stood still many wait, all but the last of them wrong. */
	struct msg_clock clock = { .realtime_ns = 0 };

	(void)arg;
	(void)events;
	if (!read_control())
		power_off();
	for (;;) {
		struct frame f;
		size_t used;
		enum frame_result r = frame_parse(control_in.data, control_in.len, &f, &used);

		if (r == FRAME_BAD)
			power_off();
		if (r == FRAME_MORE)
			break;
		on_frame(&f, &clock);
		buf_consume(&control_in, used);
	}
	if (clock.realtime_ns)
		set_clock(clock.realtime_ns);
}

/** on_session() - The host connects for a command; nobody else may. */
static void on_session(void *arg, uint32_t events)
{
	struct sockaddr_vm from = { 0 };
	socklen_t len = sizeof(from);
	int sock = accept4(*(int *)arg, (struct sockaddr *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (sock < 0)
		return;
	if (!booted || from.svm_cid != VMADDR_CID_HOST) {
		close(sock);
		return;
	}
	session_accept(loop, sock);
}

/** on_child() - SIGCHLD: reap all, orphans included. */
static void on_child(void *arg, uint32_t events)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	(void)events;
	while (read(*(int *)arg, &info, sizeof(info)) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		session_reap(pid, status);
}

/** connect_host() - Listener first, so that the host can connect as soon as it has heard of us. */
static int connect_host(int *listener)
{
	struct sockaddr_vm at = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = VSOCK_PORT_SESSION };
	struct sockaddr_vm from = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY,
				    .svm_port = VSOCK_PORT_AGENT_SOURCE };
	struct sockaddr_vm host = { .svm_family = AF_VSOCK,
				    .svm_cid = VMADDR_CID_HOST,
				    .svm_port = VSOCK_PORT_CONTROL };

	*listener = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	control = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*listener < 0 || control < 0 || bind(*listener, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    listen(*listener, 64) < 0 || bind(control, (struct sockaddr *)&from, sizeof(from)) < 0)
		return -1;
	return connect(control, (struct sockaddr *)&host, sizeof(host));
}

int main(void)
{
	static int listener, signals;
	struct msg_hello hello = { .version = PROTO_VERSION, .kernel_ns = (uint64_t)clock_ns(CLOCK_BOOTTIME) };
	struct buf body = BUF_INIT(64);
	sigset_t chld;
	int fd;

	mkdir("/dev", 0755);
	mkdir("/proc", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=755");
	mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	do /* 0, 1 and 2 are never a socket, console or not */
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd <= 2);
	close(fd);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	signals = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
	loop = loop_new(NULL);
	if (!loop || signals < 0 || connect_host(&listener) < 0) {
		dprintf(2, "agent: cannot reach the host: %s\n", strerror(errno));
		power_off();
	}
	if (loop_add(loop, control, EPOLLIN, on_control, NULL, NULL) < 0 ||
	    loop_add(loop, listener, EPOLLIN, on_session, &listener, NULL) < 0 ||
	    loop_add(loop, signals, EPOLLIN, on_child, &signals, NULL) < 0)
		power_off();
	msg_encode_hello(&body, &hello);
	send_frame(FRAME_HELLO, &body);
	loop_run(loop, NULL);
	power_off();
}
