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
#include "base/macros.h"
#include "proto/frame.h"

struct defaults defaults;

#define GRACE_MAX_MS (24 * 3600 * 1000ULL)
#define BACKLOG 256 /* connections not accepted yet; the host is refused beyond it */
#define SHORT_GRACE_NS (500 * NSEC_PER_MSEC) /* when the host does not say */

static struct loop *loop;
static char *own_name;
static int signals = -1, signals_source = -1;
static bool booted; /* the first BOOT was taken: sessions may come */
static int control = -1, control_source = -1;
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

/** host_gone() - Nobody is there to serve. */
static void host_gone(void)
{
	loop_remove(loop, &control_source);
	stop_begin(loop, SHORT_GRACE_NS);
}

/** send_frame() - To the host, whole; the socket is blocking for writes of this size. Return: false: it is gone. */
static bool send_frame(enum frame_type type, const struct buf *body)
{
	struct buf frame = BUF_INIT(FRAME_BODY_MAX);
	bool ok = frame_append(&frame, (uint16_t)type, 0, body ? body->data : NULL, body ? body->len : 0);
	size_t done = 0;

	while (ok && done < frame.len) {
		ssize_t n = send(control, frame.data + done, frame.len - done, MSG_NOSIGNAL);

		ok = n >= 0 || errno == EINTR;
		done += n > 0 ? (size_t)n : 0;
	}
	buf_free(&frame);
	return ok;
}

void say_goodbye(void)
{
	send_frame(FRAME_GOODBYE, NULL);
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
	defaults.restricted = boot->restricted;
	if (!user_resolve(defaults.user, user, f))
		return false;
	if (stat(defaults.workdir, &st) < 0)
		return fail(f, MSG_FAIL_BAD_CWD, errno, "working directory %s", defaults.workdir);
	return S_ISDIR(st.st_mode) || fail(f, MSG_FAIL_BAD_CWD, ENOTDIR, "working directory %s", defaults.workdir);
}

/** on_child() - SIGCHLD: reap all, orphans included. */
static void on_child(void *arg, uint32_t events)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	(void)arg;
	(void)events;
	while (read(signals, &info, sizeof(info)) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		session_reap(pid, status);
		squeeze_reap(pid);
	}
	stop_progress();
}

/** watch_children() - In this process: a signalfd tells who watches it first, so a forked agent does it anew. */
static bool watch_children(void)
{
	loop_remove(loop, &signals_source);
	signals_source = loop_add(loop, signals, EPOLLIN, on_child, NULL, NULL);
	return signals_source >= 0;
}

/** on_boot() - The configuration: build everything, answer. Return: false: the host is gone. */
static bool on_boot(const struct frame *frame)
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
	ok = ok && root_build(&boot, &f) && keep_defaults(&boot, &user, &f);
	if (ok && boot.init)
		ok = handoff(&boot, own_name, &f) && watch_children();
	if (ok) {
		struct msg_ready ready = { .uid = user.uid,
					   .gid = user.gid,
					   .boot_ns = (uint64_t)clock_ns(CLOCK_BOOTTIME) };

		msg_encode_ready(&body, &ready);
		ok = send_frame(FRAME_READY, &body);
	} else {
		struct msg_failed m = { .kind = (uint64_t)f.kind, .sys_errno = (uint64_t)f.sys_errno, .text = f.text };

		msg_encode_failed(&body, &m);
		ok = send_frame(FRAME_BOOT_FAILED, &body);
	}
	buf_free(&body);
	return ok;
}

/** send_stats() - Return: false: the host is gone. */
static bool send_stats(void)
{
	struct buf body = BUF_INIT(256);
	struct msg_stats stats;
	bool ok;

	stats_read(&stats);
	ok = msg_encode_stats(&body, &stats) && send_frame(FRAME_STATS_REPLY, &body);
	buf_free(&body);
	return ok;
}

/** on_shutdown() - The host wants the machine to end. */
static void on_shutdown(const struct frame *f)
{
	struct msg_shutdown m;
	int64_t grace = SHORT_GRACE_NS;

	if (msg_decode_shutdown(f->body, f->body_len, &m))
		grace = (int64_t)MIN(m.grace_ms, GRACE_MAX_MS) * NSEC_PER_MSEC;
	stop_begin(loop, grace);
}

/** on_frame() - One control message. @clock: takes the time of a CLOCK. Return: false: the host is gone. */
static bool on_frame(const struct frame *f, struct msg_clock *clock)
{
	switch (f->type) {
	case FRAME_BOOT:
		if (booted)
			return true;
		booted = true;
		return on_boot(f);
	case FRAME_CLOCK:
		msg_decode_clock(f->body, f->body_len, clock);
		return true;
	case FRAME_PING:
		return send_frame(FRAME_PONG, NULL);
	case FRAME_STATS:
		return send_stats();
	case FRAME_SHUTDOWN:
		on_shutdown(f);
		return true;
	case FRAME_SQUEEZE:
		squeeze();
		return true;
	default:
		return true;
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
	bool there = read_control();

	(void)arg;
	(void)events;
	while (there) {
		struct frame f;
		size_t used;
		enum frame_result r = frame_parse(control_in.data, control_in.len, &f, &used);

		if (r == FRAME_MORE)
			break;
		there = r == FRAME_OK && on_frame(&f, &clock);
		if (there)
			buf_consume(&control_in, used);
	}
	if (clock.realtime_ns)
		set_clock(clock.realtime_ns);
	if (!there)
		host_gone();
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
	    listen(*listener, BACKLOG) < 0 || bind(control, (struct sockaddr *)&from, sizeof(from)) < 0)
		return -1;
	return connect(control, (struct sockaddr *)&host, sizeof(host));
}

int main(int argc, char **argv)
{
	static int listener;
	struct msg_hello hello = { .version = PROTO_VERSION, .kernel_ns = (uint64_t)clock_ns(CLOCK_BOOTTIME) };
	struct buf body = BUF_INIT(64);
	sigset_t chld;
	int fd;

	own_name = argc > 0 ? argv[0] : NULL;
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
		reboot(RB_POWER_OFF);
	}
	control_source = loop_add(loop, control, EPOLLIN, on_control, NULL, NULL);
	if (control_source < 0 || !watch_children() ||
	    loop_add(loop, listener, EPOLLIN, on_session, &listener, NULL) < 0)
		reboot(RB_POWER_OFF);
	msg_encode_hello(&body, &hello);
	if (!send_frame(FRAME_HELLO, &body))
		host_gone();
	loop_run(loop, NULL);
	reboot(RB_POWER_OFF);
}
