/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. The supervisor owns one sandbox: it forks the monitor, speaks with the agent over the control
 * connection (proto/), keeps the guest's clock, and takes everything down when the machine ends, its time is over, it
 * is told to, or something breaks. Being a child subreaper it is also the parent of whatever the monitor leaves behind,
 * so it returns only when no process of the sandbox exists.
 *
 * An ephemeral sandbox belongs to the command line that forked it: one session, joined to the guest as it is, and
 * the end of the client's socket is the end. A persistent one belongs to nobody: it has a control socket (control.c)
 * and sessions of many clients (clients.c), records its state in the database, and ends when asked to.
 *
 * What an attacker controls: every byte on the control connection and of the sessions and, if the monitor is taken
 * over, every monitor_message. All are length-checked here and only ever lead to the end of this one sandbox.
 */
#include "sandbox/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/timeline.h"
#include "sandbox/boot_error.h"

#define MONITOR_END_MS 1000	       /* after that by force */
#define CONTROL_BUFFER_MAX (64 * 1024) /* the agent's messages on the control connection are small */
#define REASON_MAX 512		       /* of the reason of the end, for people */
#define AFTER_GRACE_MS 2000	       /* the guest had its whole grace; this is for the way down */

/** record() - The state, for others to see. A database that cannot be written is no reason to end a sandbox. */
static void record(struct supervisor *s, enum sandbox_state state, const char *reason)
{
	struct error err = ERROR_INIT;
	struct state *db;

	if (!s->spec->persistent)
		return;
	db = state_open(s->spec->home_fd, STATE_WRITE, &err);
	s->unrecorded = !db || state_move(db, s->spec->name, state, reason, &s->self, &err) < 0;
	if (s->unrecorded)
		log_warn(LOG_SANDBOX, "%s", err.text);
	state_close(db);
}

/** keep_boot_error() - For `msb logs`, where a sandbox stays that did not boot. */
static void keep_boot_error(const struct supervisor *s, enum msg_failure kind, int sys_errno, const char *text)
{
	static const char *const stages[MSG_FAIL_COUNT] = {
		[MSG_FAIL_NOT_FOUND] = "config",  [MSG_FAIL_NOT_EXECUTABLE] = "config",
		[MSG_FAIL_BAD_CWD] = "config",	  [MSG_FAIL_BAD_USER] = "config",
		[MSG_FAIL_BAD_ARGS] = "config",	  [MSG_FAIL_RLIMIT] = "config",
		[MSG_FAIL_NO_MEMORY] = "config",  [MSG_FAIL_MOUNT] = "mount",
		[MSG_FAIL_DISK] = "mount",	  [MSG_FAIL_NETWORK] = "network",
	};
	const char *stage = stages[kind] ? stages[kind] : "other";
	struct boot_error e = { .time_ns = clock_realtime_ns(), .sys_errno = sys_errno };
	struct error err = ERROR_INIT;

	if (s->phase == BOOTING && kind != MSG_FAIL_NETWORK)
		stage = "build_vm";
	snprintf(e.stage, sizeof(e.stage), "%s", stage);
	snprintf(e.message, sizeof(e.message), "%s", text);
	if (boot_error_write(s->spec->dir_fd, &e, &err) < 0)
		log_warn(LOG_SANDBOX, "%s", err.text);
}

void supervisor_end(struct supervisor *s, enum sandbox_state state, enum msg_failure kind, int sys_errno,
		    const char *text)
{
	struct buf body = BUF_INIT(8192), frame = BUF_INIT(8192);
	char some[REASON_MAX];
	struct msg_failed m = { .kind = (uint64_t)kind, .sys_errno = (uint64_t)sys_errno, .text = some };

	snprintf(some, sizeof(some), "%s", text);
	if (s->spec->persistent && s->phase < RUNNING && state == SANDBOX_CRASHED && !s->reported)
		keep_boot_error(s, kind, sys_errno, some);
	if (s->phase != DRAINING || !s->end_reason[0]) {
		s->end_state = state;
		snprintf(s->end_reason, sizeof(s->end_reason), "%s", some);
	}
	if (msg_encode_failed(&body, &m) && frame_append(&frame, FRAME_SANDBOX_FAILED, 0, body.data, body.len)) {
		if (!s->reported && s->client_fd >= 0)
			(void)send(s->client_fd, frame.data, frame.len, MSG_NOSIGNAL | MSG_DONTWAIT);
		clients_tell(s, FRAME_SANDBOX_FAILED, &body);
	}
	s->reported = true;
	buf_free(&body);
	buf_free(&frame);
	loop_stop(s->loop, 1);
}

/** broken() - The machine or its agent does not do what it must. */
static void broken(struct supervisor *s, int sys_errno, const char *text)
{
	supervisor_end(s, SANDBOX_CRASHED, MSG_FAIL_OTHER, sys_errno, text);
}

/** flush_control() - Send what waits for the agent, as far as it is taken. That an agent is gone the monitor tells. */
static void flush_control(struct supervisor *s)
{
	ssize_t n = 1;

	while (s->out.len && n > 0) {
		n = send(s->control_fd, s->out.data, s->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n > 0)
			buf_consume(&s->out, (size_t)n);
	}
	if (s->control_source >= 0)
		loop_modify(s->loop, s->control_source, EPOLLIN | (s->out.len ? EPOLLOUT : 0U));
}

/* A guest that does not read is not waited for. */
bool supervisor_send(struct supervisor *s, enum frame_type type, const struct buf *body)
{
	if (!frame_append(&s->out, (uint16_t)type, 0, body->data, body->len))
		return false;
	flush_control(s);
	return true;
}

/** send_clock() - Timer: the guest's clock follows the host's. */
static void send_clock(void *arg, uint32_t events)
{
	struct supervisor *s = arg;
	struct buf body = BUF_INIT(64);
	struct msg_clock m = { .realtime_ns = (uint64_t)clock_realtime_ns() };

	(void)events;
	if (s->unrecorded && s->phase == RUNNING)
		record(s, SANDBOX_RUNNING, "");
	/* The time of a message that was not taken is over: not another one behind it. */
	if (s->out.len == 0 && msg_encode_clock(&body, &m))
		supervisor_send(s, FRAME_CLOCK, &body);
	buf_free(&body);
	loop_timer_set(s->loop, s->clock_timer, SANDBOX_CLOCK_INTERVAL_S * NSEC_PER_SEC);
}

/** on_hello() - The agent is there: give it its configuration. */
static void on_hello(struct supervisor *s, const struct frame *f)
{
	struct msg_hello hello;
	struct buf body = BUF_INIT(FRAME_BODY_MAX);

	if (s->phase != BOOTING || !msg_decode_hello(f->body, f->body_len, &hello)) {
		broken(s, 0, "the guest agent broke the protocol");
		return;
	}
	if (hello.version != PROTO_VERSION) {
		broken(s, 0, "the guest agent speaks another protocol version");
		return;
	}
	timeline_mark("agent hello");
	log_info(LOG_SANDBOX, "kernel took %llu us", (unsigned long long)hello.kernel_ns / 1000);
	s->spec->boot.realtime_ns = (uint64_t)clock_realtime_ns();
	if (!msg_encode_boot(&body, &s->spec->boot) || !supervisor_send(s, FRAME_BOOT, &body))
		supervisor_end(s, SANDBOX_CRASHED, MSG_FAIL_BAD_ARGS, 0,
			       "the boot configuration is too large (environment?)");
	else
		s->phase = MOUNTING;
	if (s->spec->boot.root == MSG_ROOT_FLAT)
		loop_timer_set(s->loop, s->boot_timer, SANDBOX_FILL_TIMEOUT_S * NSEC_PER_SEC);
	buf_free(&body);
}

/** say_ready() - To who started the sandbox. */
static void say_ready(struct supervisor *s)
{
	struct buf frame = BUF_INIT(64);

	if (s->client_fd >= 0 && frame_append(&frame, FRAME_SANDBOX_READY, 0, NULL, 0))
		(void)send(s->client_fd, frame.data, frame.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	buf_free(&frame);
}

void supervisor_running(struct supervisor *s)
{
	if (s->phase != PREPARING)
		return;
	s->phase = RUNNING;
	loop_remove(s->loop, &s->boot_timer);
	unlinkat(s->spec->dir_fd, BOOT_ERROR_FILE, 0);
	record(s, SANDBOX_RUNNING, "");
	output_log_write(s->log, OUTPUT_SYSTEM, 0, "sandbox started\n", 16);
	lifetimes_touch(&s->life, clock_monotonic_ns());
	supervisor_set_timers(s);
	say_ready(s);
	clients_ready(s);
}

/** join_session() - The one session of an ephemeral sandbox. */
static void join_session(struct supervisor *s)
{
	struct monitor_message msg = { .type = MONITOR_CONNECT, .id = 1, .port = VSOCK_PORT_SESSION };

	s->phase = RUNNING;
	loop_remove(s->loop, &s->boot_timer);
	if (fd_send_msg(s->monitor_fd, &msg, sizeof(msg), &s->session_fd, 1) < 0) {
		broken(s, errno, "the monitor does not answer");
		return;
	}
	fd_close(&s->session_fd);
	say_ready(s);
}

/** on_ready() - Everything is mounted. */
static void on_ready(struct supervisor *s, const struct frame *f)
{
	struct msg_ready ready;

	if (s->phase != MOUNTING || s->guest_ready || !msg_decode_ready(f->body, f->body_len, &ready)) {
		broken(s, 0, "the guest agent broke the protocol");
		return;
	}
	timeline_mark("agent ready");
	s->guest_ready = true;
	supervisor_go_on(s);
}

void supervisor_go_on(struct supervisor *s)
{
	if (!s->guest_ready || (s->spec->network.on && !s->gateway_ready))
		return;
	loop_timer_set(s->loop, s->clock_timer, SANDBOX_CLOCK_INTERVAL_S * NSEC_PER_SEC);
	if (!s->spec->persistent) {
		join_session(s);
		return;
	}
	if (s->spec->fills) {
		int fd = openat(s->spec->dir_fd, SANDBOX_FILLED, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

		if (fd < 0)
			log_warn(LOG_SANDBOX, "the disk is filled again at the next start: %s", strerror(errno));
		fd_close(&fd);
	}
	s->phase = PREPARING;
	lifetimes_start(&s->life, clock_monotonic_ns(), clock_ns(CLOCK_BOOTTIME));
	if (!clients_own_files(s) && !clients_own_command(s))
		supervisor_running(s);
}

/** on_frame() - One message of the agent. */
static void on_frame(struct supervisor *s, const struct frame *f)
{
	struct msg_failed failed;

	switch (f->type) {
	case FRAME_HELLO:
		on_hello(s, f);
		break;
	case FRAME_READY:
		on_ready(s, f);
		break;
	case FRAME_BOOT_FAILED:
		if (!msg_decode_failed(f->body, f->body_len, &failed) || failed.kind >= MSG_FAIL_COUNT)
			broken(s, 0, "the guest agent broke the protocol");
		else
			supervisor_end(s, SANDBOX_CRASHED, (enum msg_failure)failed.kind,
				       (int)(failed.sys_errno & 0xfff),
				       failed.text ? failed.text : "the guest could not be set up");
		break;
	case FRAME_PONG:
		control_pong(s);
		break;
	case FRAME_STATS_REPLY:
		control_stats(s, f);
		break;
	case FRAME_GOODBYE:
		break;
	default:
		broken(s, 0, "the guest agent sent an unknown message");
		break;
	}
}

/** on_control() - Bytes from the agent. */
static void on_control(void *arg, uint32_t events)
{
	struct supervisor *s = arg;
	uint8_t chunk[4096];
	ssize_t n;

	if (events & EPOLLOUT)
		flush_control(s);
	n = recv(s->control_fd, chunk, sizeof(chunk), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		/* The machine's end is told by the monitor; wait for its reason. */
		loop_remove(s->loop, &s->control_source);
		return;
	}
	if (!buf_append(&s->in, chunk, (size_t)n)) {
		broken(s, 0, "the guest agent sent too much");
		return;
	}
	for (;;) {
		struct frame f;
		size_t used;
		enum frame_result r = frame_parse(s->in.data, s->in.len, &f, &used);

		if (r == FRAME_MORE)
			return;
		if (r == FRAME_BAD) {
			broken(s, 0, "the guest agent broke the protocol");
			return;
		}
		on_frame(s, &f);
		buf_consume(&s->in, used);
	}
}

/** on_monitor() - News of the machine, or the end of its process. */
static void on_monitor(void *arg, uint32_t events)
{
	struct supervisor *s = arg;
	struct monitor_message msg;
	ssize_t n = recv(s->monitor_fd, &msg, sizeof(msg), MSG_DONTWAIT);
	char text[sizeof(msg.text) + 64];

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n != sizeof(msg)) {
		broken(s, 0, "the virtual machine's process ended unexpectedly");
		return;
	}
	msg.text[sizeof(msg.text) - 1] = '\0';
	switch (msg.type) {
	case MONITOR_RUNNING:
		timeline_mark_at("first instruction", msg.time_ns);
		break;
	case MONITOR_WAITS:
		gateway_start(s);
		break;
	case MONITOR_CONNECT_FAILED:
		if (s->spec->persistent)
			clients_refused(s, msg.id);
		else
			broken(s, 0, "the guest agent refused the session");
		break;
	case MONITOR_COUNTED:
		control_counted(s, &msg);
		break;
	case MONITOR_GUEST_OFF:
		if (s->phase >= RUNNING)
			supervisor_end(s, SANDBOX_STOPPED, MSG_FAIL_OTHER, 0, "the guest powered off");
		else
			broken(s, 0, "the guest powered off while booting");
		break;
	case MONITOR_GUEST_RESET:
		broken(s, 0, s->phase >= RUNNING ? "the guest rebooted" : "the guest rebooted while booting");
		break;
	case MONITOR_GUEST_PANIC:
		broken(s, 0, "the guest kernel panicked");
		break;
	case MONITOR_FAILED:
		snprintf(text, sizeof(text), "the virtual machine failed: %s", msg.text);
		broken(s, 0, text);
		break;
	default:
		broken(s, 0, "the virtual machine's process broke the protocol");
		break;
	}
}

/** on_stop_timeout() - The guest did not shut down in time. */
static void on_stop_timeout(void *arg, uint32_t events)
{
	struct supervisor *s = arg;

	(void)events;
	log_warn(LOG_SANDBOX, "the guest did not shut down in time");
	loop_stop(s->loop, 0);
}

void supervisor_stop(struct supervisor *s, uint64_t grace_ms, const char *reason)
{
	struct buf body = BUF_INIT(64);
	int64_t due = clock_monotonic_ns() + (int64_t)(grace_ms ? grace_ms + AFTER_GRACE_MS : 0) * NSEC_PER_MSEC;
	bool asked = s->phase == DRAINING;

	if (!asked) {
		snprintf(s->end_reason, sizeof(s->end_reason), "%s", reason);
		s->end_state = SANDBOX_STOPPED;
	}
	/* While it boots there is nobody in the guest who would lose anything. */
	if (s->phase < PREPARING) {
		supervisor_end(s, SANDBOX_STOPPED, MSG_FAIL_OTHER, 0, "the sandbox was stopped while it started");
		return;
	}
	if (grace_ms == 0) {
		s->reported = true;
		loop_stop(s->loop, 0);
		return;
	}
	if (asked && due >= s->stop_due_ns)
		return;
	s->phase = DRAINING;
	s->stop_due_ns = due;
	if (!asked)
		record(s, SANDBOX_DRAINING, reason);
	if (s->stop_timer < 0)
		s->stop_timer = loop_timer(s->loop, on_stop_timeout, s, NULL);
	if (s->stop_timer < 0 || !msg_encode_shutdown(&body, &(struct msg_shutdown){ .grace_ms = grace_ms }) ||
	    !supervisor_send(s, FRAME_SHUTDOWN, &body))
		loop_stop(s->loop, 0);
	else
		loop_timer_set(s->loop, s->stop_timer, s->stop_due_ns - clock_monotonic_ns());
	buf_free(&body);
	supervisor_set_timers(s);
}

/** on_client() - Who started the sandbox closed its end (it never sends anything). */
static void on_client(void *arg, uint32_t events)
{
	struct supervisor *s = arg;

	(void)events;
	loop_remove(s->loop, &s->client_source);
	if (s->spec->persistent) {
		fd_close(&s->client_fd);
		if (s->phase == RUNNING)
			clients_ready(s); /* who started it for a session may have died before that */
		return;
	}
	s->reported = true;
	/* The end of the machine, or the timer, stops the loop then. */
	if (s->spec->orderly && s->phase == RUNNING)
		supervisor_stop(s, SANDBOX_STOP_GRACE_S * 1000, "");
	else
		loop_stop(s->loop, 0);
}

/** on_signal() - Somebody asks this process to end: the second time by force. */
static void on_signal(void *arg, uint32_t events)
{
	struct supervisor *s = arg;
	struct signalfd_siginfo info;

	(void)events;
	(void)!read(s->signal_fd, &info, sizeof(info));
	if (s->spec->persistent && s->phase >= PREPARING)
		supervisor_stop(s, s->phase == DRAINING ? 0 : SANDBOX_STOP_GRACE_S * 1000, "signal to its supervisor");
	else
		supervisor_end(s, SANDBOX_STOPPED, MSG_FAIL_OTHER, 0,
			       "the sandbox was asked to end (signal to its supervisor)");
}

/** on_idle() - Nobody used it for --idle-timeout. */
static void on_idle(void *arg, uint32_t events)
{
	struct supervisor *s = arg;
	char text[100];

	(void)events;
	if (lifetimes_idle_left(&s->life, clock_monotonic_ns()) > 0) {
		supervisor_set_timers(s);
		return;
	}
	snprintf(text, sizeof(text), "it was idle for %lld s (--idle-timeout)",
		 (long long)(s->life.idle_ns / NSEC_PER_SEC));
	supervisor_stop(s, SANDBOX_STOP_GRACE_S * 1000, text);
}

/** on_squeeze() - Nobody used it for a while: what its guest only caches is the host's (agent/squeeze.c). */
static void on_squeeze(void *arg, uint32_t events)
{
	struct supervisor *s = arg;
	const struct buf nothing = BUF_INIT(0);

	(void)events;
	if (lifetimes_squeeze_left(&s->life, clock_monotonic_ns()) <= 0) {
		s->life.squeezed = true;
		supervisor_send(s, FRAME_SQUEEZE, &nothing);
	}
	supervisor_set_timers(s);
}

/** on_max() - It has lived for --max-duration: at once, whatever runs. */
static void on_max(void *arg, uint32_t events)
{
	struct supervisor *s = arg;
	uint64_t expirations;
	char text[100];

	(void)events;
	(void)!read(s->max_fd, &expirations, sizeof(expirations));
	if (lifetimes_max_left(&s->life, clock_ns(CLOCK_BOOTTIME)) > 0) {
		supervisor_set_timers(s);
		return;
	}
	snprintf(text, sizeof(text), "the sandbox's time of %lld s is over (--max-duration)",
		 (long long)(s->life.max_ns / NSEC_PER_SEC));
	supervisor_end(s, SANDBOX_STOPPED, MSG_FAIL_OTHER, ETIME, text);
}

void supervisor_set_timers(struct supervisor *s)
{
	int64_t now = clock_monotonic_ns();
	int64_t idle = lifetimes_idle_left(&s->life, now);
	int64_t squeeze = lifetimes_squeeze_left(&s->life, now);
	int64_t left = lifetimes_max_left(&s->life, clock_ns(CLOCK_BOOTTIME));
	struct itimerspec at = { 0 };

	if (s->phase < RUNNING)
		return;
	if (s->idle_timer >= 0)
		loop_timer_set(s->loop, s->idle_timer,
			       idle == LIFETIME_NEVER || s->phase == DRAINING ? -1 : MAX(idle, 1));
	if (s->squeeze_timer >= 0)
		loop_timer_set(s->loop, s->squeeze_timer,
			       squeeze == LIFETIME_NEVER || s->phase == DRAINING ? -1 : MAX(squeeze, 1));
	if (s->max_fd < 0 || left == LIFETIME_NEVER)
		return;
	left = MAX(left, 1);
	at.it_value = (struct timespec){ .tv_sec = left / NSEC_PER_SEC, .tv_nsec = left % NSEC_PER_SEC };
	timerfd_settime(s->max_fd, 0, &at, NULL);
}

/** on_boot_timeout() - The agent, or the gateway, was not ready in time. */
static void on_boot_timeout(void *arg, uint32_t events)
{
	struct supervisor *s = arg;

	(void)events;
	broken(s, ETIMEDOUT,
	       s->phase == MOUNTING && s->guest_ready ? "the network gateway was not ready in time"
						      : "the guest was not ready in time");
}

/** start_monitor() - Fork the monitor with its two socket pairs. */
static int start_monitor(struct supervisor *s, struct error *err)
{
	struct monitor_config *cfg = &s->spec->machine;
	int packets[2], control[2];
	sigset_t none;

	sigemptyset(&none);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, packets) < 0)
		return err_set(err, ERR_SYSTEM, errno, "socketpair");
	s->monitor_fd = packets[0];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control) < 0)
		return err_set(err, ERR_SYSTEM, errno, "socketpair");
	s->control_fd = control[0];
	cfg->supervisor_fd = packets[1];
	cfg->control_fd = control[1];
	s->monitor_pid = fork();
	if (s->monitor_pid < 0)
		return err_set(err, ERR_SYSTEM, errno, "fork the monitor");
	if (s->monitor_pid == 0) {
		close(packets[0]);
		close(control[0]);
		fd_close(&s->client_fd);
		fd_close(&s->session_fd);
		fd_close(&s->listen_fd);
		fd_close(&s->spec->home_fd);
		close(s->signal_fd);
		gateway_forget(&s->spec->network);
		sigprocmask(SIG_SETMASK, &none, NULL);
		_exit(monitor_main(cfg));
	}
	close(packets[1]);
	close(control[1]);
	/* The machine's files are the monitor's alone from here on. */
	for (size_t i = 0; i < cfg->disk_count; i++)
		for (size_t j = 0; j < cfg->disks[i].extent_count; j++)
			fd_close(&cfg->disks[i].extents[j].fd);
	for (size_t i = 0; i < cfg->disk_count; i++)
		if (cfg->disks[i].cow)
			fd_close(&cfg->disks[i].cow->fd);
	fd_close(&cfg->kernel_fd);
	fd_close(&cfg->initrd_fd);
	fd_close(&cfg->kvm_fd);
	fd_close(&cfg->console_fd);
	fd_close(&cfg->net_fd);
	return 0;
}

/** watch_persistent() - What only such a sandbox has. */
static int watch_persistent(struct supervisor *s, struct error *err)
{
	s->life.idle_ns = s->spec->idle_ns;
	s->life.max_ns = s->spec->max_ns;
	s->log = output_log_open(s->spec->dir_fd, err);
	if (!s->log || control_listen(s, err) < 0)
		return -(int)err->code;
	s->squeeze_timer = loop_timer(s->loop, on_squeeze, s, err);
	if (s->squeeze_timer < 0)
		return s->squeeze_timer;
	if (s->life.idle_ns) {
		s->idle_timer = loop_timer(s->loop, on_idle, s, err);
		if (s->idle_timer < 0)
			return s->idle_timer;
	}
	if (!s->life.max_ns)
		return 0;
	s->max_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (s->max_fd < 0)
		return err_set(err, ERR_SYSTEM, errno, "timerfd_create");
	return MIN(0, loop_add(s->loop, s->max_fd, EPOLLIN, on_max, s, err));
}

/** watch() - Event sources and timers. */
static int watch(struct supervisor *s, struct error *err)
{
	s->client_source = loop_add(s->loop, s->client_fd, EPOLLIN, on_client, s, err);
	s->monitor_source = s->client_source < 0 ? -1 : loop_add(s->loop, s->monitor_fd, EPOLLIN, on_monitor, s, err);
	s->control_source = s->monitor_source < 0 ? -1 : loop_add(s->loop, s->control_fd, EPOLLIN, on_control, s, err);
	if (s->control_source >= 0 && loop_add(s->loop, s->signal_fd, EPOLLIN, on_signal, s, err) < 0)
		return -(int)err->code;
	s->boot_timer = s->control_source < 0 ? -1 : loop_timer(s->loop, on_boot_timeout, s, err);
	s->clock_timer = s->boot_timer < 0 ? -1 : loop_timer(s->loop, send_clock, s, err);
	if (s->clock_timer < 0)
		return -(int)err->code;
	loop_timer_set(s->loop, s->boot_timer, SANDBOX_BOOT_TIMEOUT_S * NSEC_PER_SEC);
	return s->spec->persistent ? watch_persistent(s, err) : 0;
}

/** kill_all() - End the monitor and everything that became our child through it. */
static void kill_all(struct supervisor *s)
{
	const struct monitor_message off = { .type = MONITOR_POWER_OFF };
	struct pollfd gone = { .fd = -1, .events = POLLIN };

	/* In order first, because that is quicker: the monitor gives memory and machine back side by side. */
	if (s->monitor_pid > 0) {
		gone.fd = (int)syscall(SYS_pidfd_open, s->monitor_pid, 0);
		if (gone.fd < 0 || fd_send_msg(s->monitor_fd, &off, sizeof(off), NULL, 0) < 0 ||
		    poll(&gone, 1, MONITOR_END_MS) != 1)
			kill(s->monitor_pid, SIGKILL);
		fd_close(&gone.fd);
	}
	/* As child subreaper we inherit QEMU when the monitor dies by force. */
	while (!children_kill(MONITOR_END_MS))
		log_warn(LOG_SANDBOX, "a process of the sandbox does not end");
}

/** finish_persistent() - Nothing of it runs any more: record how it ended, or remove it. */
static void finish_persistent(struct supervisor *s)
{
	struct error err = ERROR_INIT;
	struct state *db;
	char text[256];

	snprintf(text, sizeof(text), "sandbox stopped: %s\n", s->end_reason);
	output_log_write(s->log, OUTPUT_SYSTEM, 0, text, strlen(text));
	output_log_close(TAKE_PTR(s->log));
	control_close(s);
	if (!s->spec->remove_at_end) {
		record(s, s->end_state, s->end_reason);
		return;
	}
	unlinkat(s->spec->dir_fd, SANDBOX_FILE, 0);
	db = state_open(s->spec->home_fd, STATE_WRITE, &err);
	if (!db || state_delete(db, s->spec->name, &err) < 0)
		log_warn(LOG_SANDBOX, "%s", err.text);
	state_close(db);
}

/** detach() - Nothing of who started it is kept: its own session and group, no terminal, no working directory. */
static void detach(void)
{
	prctl(PR_SET_NAME, "msb-supervisor");
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	setsid();
	(void)!chdir("/");
	umask(077);
}

int supervisor_main(struct sandbox_spec *spec, int client_fd, int session_fd)
{
	static struct supervisor s;
	struct error err = ERROR_INIT;
	_cleanup_fd_ int parent = -1;
	sigset_t ending;

	sigemptyset(&ending);
	sigaddset(&ending, SIGTERM);
	sigaddset(&ending, SIGINT);
	sigaddset(&ending, SIGHUP);
	sigprocmask(SIG_SETMASK, &ending, NULL);
	s = (struct supervisor){ .spec = spec,
				 .client_fd = client_fd,
				 .session_fd = session_fd,
				 .monitor_fd = -1,
				 .control_fd = -1,
				 .gateway_fd = -1,
				 .gateway_source = -1,
				 .listen_fd = -1,
				 .max_fd = -1,
				 .signal_fd = signalfd(-1, &ending, SFD_CLOEXEC | SFD_NONBLOCK),
				 .client_source = -1,
				 .monitor_source = -1,
				 .control_source = -1,
				 .listen_source = -1,
				 .boot_timer = -1,
				 .clock_timer = -1,
				 .idle_timer = -1,
				 .squeeze_timer = -1,
				 .stop_timer = -1,
				 .stats_timer = -1,
				 .end_state = SANDBOX_CRASHED,
				 .in = BUF_INIT(CONTROL_BUFFER_MAX),
				 .out = BUF_INIT(FRAME_HEADER_SIZE + FRAME_BODY_MAX) };
	log_setup(log_level(), spec->machine.log_fd, spec->name);
	detach();
	timeline_mark("supervisor");
	identity_of(getpid(), &s.self);
	s.loop = loop_new(&err);
	if (!s.loop)
		return 1;
	if (start_monitor(&s, &err) < 0 || watch(&s, &err) < 0 || loop_run(s.loop, &err) < 0)
		broken(&s, 0, err.text);
	timeline_mark("supervisor ends");
	kill_all(&s);
	timeline_mark("monitor gone");
	if (spec->persistent)
		finish_persistent(&s);
	clients_free(&s);
	if (spec->persistent && !spec->remove_at_end)
		return 0;
	parent = open(spec->parent_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent >= 0 && dir_remove_tree(parent, spec->name, &err) < 0)
		log_warn(LOG_SANDBOX, "%s", err.text);
	return 0;
}
