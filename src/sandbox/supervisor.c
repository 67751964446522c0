/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. The supervisor owns one sandbox: it forks the monitor, speaks with the agent over the control
 * connection (proto/), joins the client's session socket to the guest, keeps the guest's clock, and takes everything
 * down when the machine ends, the client goes away, or something breaks. Being a child subreaper it is also the
 * parent of whatever the monitor leaves behind, so it returns only when no process of the sandbox exists.
 *
 * States: BOOTING (monitor forked, waiting for HELLO) -> MOUNTING (BOOT sent, waiting for READY) -> RUNNING.
 * What an attacker controls: every byte on the control connection and, if the monitor is taken over, every
 * monitor_message. Both are length-checked here and only ever lead to the end of this one sandbox.
 */
#include "sandbox/sandbox.h"

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
#include <sys/syscall.h>
#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/timeline.h"
#include "proto/frame.h"

#define MONITOR_END_MS 1000 /* after that by force */
#define CONTROL_BUFFER_MAX (64 * 1024) /* the agent's messages on the control connection are small */
#define REASON_MAX 512		       /* of the reason of the end, for people */

enum state { BOOTING, MOUNTING, RUNNING };

struct supervisor {
	struct sandbox_spec *spec;
	struct loop *loop;
	enum state state;
	int client_fd;
	int session_fd;
	int monitor_fd; /* our end of the SEQPACKET pair */
	int control_fd; /* our end of the agent's control connection */
	int client_source, monitor_source, control_source;
	int boot_timer, clock_timer;
	int signal_fd;
	pid_t monitor_pid;
	struct buf in;	/* control bytes not parsed yet */
	struct buf out; /* control bytes the guest has not taken yet */
	bool reported;
};

/** report() - Tell the client why the sandbox ends (once), then stop the loop. @text: may be the guest's; cut here. */
static void report(struct supervisor *s, enum msg_failure kind, int sys_errno, const char *text)
{
	struct buf body = BUF_INIT(8192), frame = BUF_INIT(8192);
	char some[REASON_MAX];
	struct msg_failed m = { .kind = (uint64_t)kind, .sys_errno = (uint64_t)sys_errno, .text = some };

	snprintf(some, sizeof(some), "%s", text);
	if (!s->reported && msg_encode_failed(&body, &m) &&
	    frame_append(&frame, FRAME_SANDBOX_FAILED, 0, body.data, body.len))
		(void)send(s->client_fd, frame.data, frame.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	s->reported = true;
	buf_free(&body);
	buf_free(&frame);
	loop_stop(s->loop, 1);
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

/** send_control() - One frame to the agent. A guest that does not read is not waited for. Return: false: no room. */
static bool send_control(struct supervisor *s, enum frame_type type, const struct buf *body)
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
	/* The time of a message that was not taken is over: not another one behind it. */
	if (s->out.len == 0 && msg_encode_clock(&body, &m))
		send_control(s, FRAME_CLOCK, &body);
	buf_free(&body);
	loop_timer_set(s->loop, s->clock_timer, SANDBOX_CLOCK_INTERVAL_S * NSEC_PER_SEC);
}

/** on_hello() - The agent is there: give it its configuration. */
static void on_hello(struct supervisor *s, const struct frame *f)
{
	struct msg_hello hello;
	struct buf body = BUF_INIT(FRAME_BODY_MAX);

	if (s->state != BOOTING || !msg_decode_hello(f->body, f->body_len, &hello)) {
		report(s, MSG_FAIL_OTHER, 0, "the guest agent broke the protocol");
		return;
	}
	if (hello.version != PROTO_VERSION) {
		report(s, MSG_FAIL_OTHER, 0, "the guest agent speaks another protocol version");
		return;
	}
	timeline_mark("agent hello");
	log_info(LOG_SANDBOX, "kernel took %llu us", (unsigned long long)hello.kernel_ns / 1000);
	s->spec->boot.realtime_ns = (uint64_t)clock_realtime_ns();
	if (!msg_encode_boot(&body, &s->spec->boot) || !send_control(s, FRAME_BOOT, &body))
		report(s, MSG_FAIL_BAD_ARGS, 0, "the boot configuration is too large (environment?)");
	else
		s->state = MOUNTING;
	if (s->spec->boot.root == MSG_ROOT_FLAT)
		loop_timer_set(s->loop, s->boot_timer, SANDBOX_FILL_TIMEOUT_S * NSEC_PER_SEC);
	buf_free(&body);
}

/** on_ready() - Everything is mounted: join the client's session to the guest. */
static void on_ready(struct supervisor *s, const struct frame *f)
{
	struct monitor_message msg = { .type = MONITOR_CONNECT, .id = 1, .port = VSOCK_PORT_SESSION };
	struct buf frame = BUF_INIT(64);
	struct msg_ready ready;

	if (s->state != MOUNTING || !msg_decode_ready(f->body, f->body_len, &ready)) {
		report(s, MSG_FAIL_OTHER, 0, "the guest agent broke the protocol");
		return;
	}
	s->state = RUNNING;
	timeline_mark("agent ready");
	loop_remove(s->loop, &s->boot_timer);
	loop_timer_set(s->loop, s->clock_timer, SANDBOX_CLOCK_INTERVAL_S * NSEC_PER_SEC);
	if (fd_send_msg(s->monitor_fd, &msg, sizeof(msg), &s->session_fd, 1) < 0) {
		report(s, MSG_FAIL_OTHER, errno, "the monitor does not answer");
		return;
	}
	fd_close(&s->session_fd);
	if (frame_append(&frame, FRAME_SANDBOX_READY, 0, NULL, 0))
		(void)send(s->client_fd, frame.data, frame.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	buf_free(&frame);
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
			report(s, MSG_FAIL_OTHER, 0, "the guest agent broke the protocol");
		else
			report(s, (enum msg_failure)failed.kind, (int)(failed.sys_errno & 0xfff),
			       failed.text ? failed.text : "the guest could not be set up");
		break;
	case FRAME_PONG:
	case FRAME_GOODBYE:
		break;
	default:
		report(s, MSG_FAIL_OTHER, 0, "the guest agent sent an unknown message");
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
		report(s, MSG_FAIL_OTHER, 0, "the guest agent sent too much");
		return;
	}
	for (;;) {
		struct frame f;
		size_t used;
		enum frame_result r = frame_parse(s->in.data, s->in.len, &f, &used);

		if (r == FRAME_MORE)
			return;
		if (r == FRAME_BAD) {
			report(s, MSG_FAIL_OTHER, 0, "the guest agent broke the protocol");
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
		report(s, MSG_FAIL_OTHER, 0, "the virtual machine's process ended unexpectedly");
		return;
	}
	msg.text[sizeof(msg.text) - 1] = '\0';
	switch (msg.type) {
	case MONITOR_RUNNING:
		timeline_mark_at("first instruction", msg.time_ns);
		break;
	case MONITOR_CONNECT_FAILED:
		report(s, MSG_FAIL_OTHER, 0, "the guest agent refused the session");
		break;
	case MONITOR_GUEST_OFF:
		report(s, MSG_FAIL_OTHER, 0,
		       s->state == RUNNING ? "the guest powered off" : "the guest powered off while booting");
		break;
	case MONITOR_GUEST_RESET:
		report(s, MSG_FAIL_OTHER, 0,
		       s->state == RUNNING ? "the guest rebooted" : "the guest rebooted while booting");
		break;
	case MONITOR_GUEST_PANIC:
		report(s, MSG_FAIL_OTHER, 0, "the guest kernel panicked");
		break;
	case MONITOR_FAILED:
		snprintf(text, sizeof(text), "the virtual machine failed: %s", msg.text);
		report(s, MSG_FAIL_OTHER, 0, text);
		break;
	default:
		report(s, MSG_FAIL_OTHER, 0, "the virtual machine's process broke the protocol");
		break;
	}
}

/** on_stop_timeout() - The guest did not shut down in time. */
static void on_stop_timeout(void *arg, uint32_t events)
{
	(void)events;
	loop_stop(((struct supervisor *)arg)->loop, 0);
}

/** on_client() - The client closed its end (it never sends anything): the sandbox ends. */
static void on_client(void *arg, uint32_t events)
{
	struct supervisor *s = arg;
	const struct buf nothing = BUF_INIT(0);
	int timer = -1;

	(void)events;
	s->reported = true;
	loop_remove(s->loop, &s->client_source);
	/* The end of the machine, or the timer, stops the loop then. */
	if (s->spec->orderly && s->state == RUNNING && send_control(s, FRAME_SHUTDOWN, &nothing))
		timer = loop_timer(s->loop, on_stop_timeout, s, NULL);
	if (timer >= 0)
		loop_timer_set(s->loop, timer, SANDBOX_STOP_GRACE_S * NSEC_PER_SEC);
	else
		loop_stop(s->loop, 0);
}

/** on_signal() - Somebody asks this process to end. */
static void on_signal(void *arg, uint32_t events)
{
	(void)events;
	report(arg, MSG_FAIL_OTHER, 0, "the sandbox was asked to end (signal to its supervisor)");
}

/** on_boot_timeout() - The agent was not ready in time. */
static void on_boot_timeout(void *arg, uint32_t events)
{
	(void)events;
	report(arg, MSG_FAIL_OTHER, ETIMEDOUT, "the guest was not ready in time");
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
		close(s->client_fd);
		close(s->session_fd);
		close(s->signal_fd);
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
	return 0;
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
	return 0;
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
				 .signal_fd = signalfd(-1, &ending, SFD_CLOEXEC | SFD_NONBLOCK),
				 .client_source = -1,
				 .monitor_source = -1,
				 .control_source = -1,
				 .boot_timer = -1,
				 .clock_timer = -1,
				 .in = BUF_INIT(CONTROL_BUFFER_MAX),
				 .out = BUF_INIT(FRAME_HEADER_SIZE + FRAME_BODY_MAX) };
	log_setup(log_level(), spec->machine.log_fd, spec->name);
	prctl(PR_SET_NAME, "msb-supervisor");
	timeline_mark("supervisor");
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	setsid();
	s.loop = loop_new(&err);
	if (!s.loop)
		return 1;
	if (start_monitor(&s, &err) < 0 || watch(&s, &err) < 0)
		report(&s, MSG_FAIL_OTHER, 0, err.text);
	else if (loop_run(s.loop, &err) < 0)
		report(&s, MSG_FAIL_OTHER, 0, err.text);
	timeline_mark("supervisor ends");
	kill_all(&s);
	timeline_mark("monitor gone");
	parent = open(spec->parent_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent >= 0 && dir_remove_tree(parent, spec->name, &err) < 0)
		log_warn(LOG_SANDBOX, "%s", err.text);
	return 0;
}
