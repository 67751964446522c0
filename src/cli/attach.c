/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pump between this process's streams and a session. One poll loop: standard input is read only while its
 * window (STDIN_WINDOW) is open, so that a signal never waits behind it; output is written as it arrives. It ends with
 * the command, when output cannot be written any more (the reader went away), on a second signal, or when the sandbox
 * is gone.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "cli/cli.h"
#include "cli/interactive.h"
#include "proto/frame.h"

#define IN_MAX (FRAME_BODY_MAX + FRAME_HEADER_SIZE + 65536)
#define OUT_MAX (4 * FRAME_STREAM_MAX)
#define CHUNK 65536
#define STDIN_CHUNK (FRAME_STREAM_MAX / 2)

struct pump {
	struct run_session *s;
	struct buf in, out;
	bool stdin_open, ended;
	size_t unacked; /* stdin bytes sent that the command has not taken, at most STDIN_WINDOW */
	bool tty;
	int signal_fd;
	int signals; /* seen so far */
	int status;
	int64_t deadline_ns;
	uint64_t timeout_s;
	size_t detach_seen; /* of the detach keys, typed last */
};

#define DETACH_KEYS_MAX 8
static uint8_t detach_keys[DETACH_KEYS_MAX];
static size_t detach_count;

/** queue() - A structured frame towards the guest. */
static void queue_body(struct pump *p, enum frame_type type, struct buf *body)
{
	frame_append(&p->out, (uint16_t)type, 1, body->data, body->len);
	buf_free(body);
}

/** send_signal() - Forward to the command. */
static void send_signal(struct pump *p, int number)
{
	struct buf body = BUF_INIT(64);

	msg_encode_signal(&body, &(struct msg_signal){ .number = (uint64_t)number });
	queue_body(p, FRAME_SIGNAL, &body);
}

/** send_size() - The window changed. */
static void send_size(struct pump *p)
{
	struct buf body = BUF_INIT(64);
	struct winsize w;

	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &w) < 0)
		return;
	msg_encode_resize(&body, &(struct msg_resize){ .rows = w.ws_row, .cols = w.ws_col });
	queue_body(p, FRAME_RESIZE, &body);
}

/** flush_out() - Frames to the guest. */
static void flush_out(struct pump *p)
{
	ssize_t n = send(p->s->fd, p->out.data, p->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n > 0)
		buf_consume(&p->out, (size_t)n);
	/* A broken connection is seen by the reading side, which still gets what the command said last. */
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		buf_consume(&p->out, p->out.len);
}

/** leave() - End the command, too, which in a sandbox that stays would run on. */
static void leave(struct pump *p, int signal_number)
{
	send_signal(p, signal_number);
	flush_out(p);
}

/** end() - Stop with this status; the caller has said why, or the command has ended. */
static void end(struct pump *p, int status)
{
	p->ended = true;
	p->s->exited = true;
	p->status = status;
}

/** end_lost() - The sandbox is gone: engine_run_finish() knows why. */
static void end_lost(struct pump *p)
{
	p->ended = true;
	p->status = EXIT_MSB_FAILED;
}

/** complain() - An error line, on a terminal that shows it properly. */
static void __attribute__((format(printf, 1, 2))) complain(const char *fmt, ...)
{
	struct error err = ERROR_INIT;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err.text, sizeof(err.text), fmt, ap);
	va_end(ap);
	terminal_restore();
	print_error(&err);
}

/** time_left_ms() - Until --timeout, for poll(); -1: for ever. Ends the pump when it is over. */
static int time_left_ms(struct pump *p)
{
	int64_t left;

	if (!p->deadline_ns)
		return -1;
	left = (p->deadline_ns - clock_monotonic_ns() + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC;
	if (left <= 0 && !p->ended) {
		complain("the command ran longer than %llu s (--timeout)", (unsigned long long)p->timeout_s);
		leave(p, SIGKILL);
		end(p, 1);
	}
	return (int)MAX(0, MIN(left, 1000000));
}

/** on_signal() - The first goes to the command, the second ends the sandbox. */
static void on_signal(struct pump *p)
{
	struct signalfd_siginfo info;

	if (read(p->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGWINCH) {
		send_size(p);
		return;
	}
	/* Without its terminal an interactive command has nobody to talk to, and no second signal will come. */
	if (++p->signals > 1 || (p->tty && info.ssi_signo == SIGHUP)) {
		if (info.ssi_signo != SIGHUP)
			complain("second signal: the %s was ended",
				 p->s->supervisor_pid > 0 ? "sandbox" : "command");
		leave(p, p->signals > 1 ? SIGKILL : SIGHUP);
		end(p, 128 + (int)info.ssi_signo);
		return;
	}
	send_signal(p, (int)info.ssi_signo);
}

/** wait_writable() - Until fd takes output; signals and the time limit still count. Return: false when it is over. */
static bool wait_writable(struct pump *p, int fd)
{
	while (!p->ended) {
		struct pollfd fds[2] = {
			{ .fd = fd, .events = POLLOUT },
			{ .fd = p->signal_fd, .events = POLLIN },
		};
		int left = time_left_ms(p);

		if (p->ended || poll(fds, 2, left) < 0)
			continue; /* EINTR */
		if (fds[1].revents) {
			on_signal(p);
			if (p->out.len)
				flush_out(p);
		}
		if (fds[0].revents)
			return !p->ended;
	}
	return false;
}

/**
 * write_output() - To our stdout or stderr. A reader that is slow stops only this: what is writable by poll() takes
 * PIPE_BUF bytes without blocking (pipe(7)).
 */
static void write_output(struct pump *p, int fd, const struct frame *f)
{
	size_t done = 0;

	while (done < f->body_len && wait_writable(p, fd)) {
		ssize_t n = write(fd, f->body + done, MIN(f->body_len - done, PIPE_BUF));

		if (n >= 0) {
			done += (size_t)n;
			continue;
		}
		if (errno == EINTR || errno == EAGAIN)
			continue;
		if (fd == STDERR_FILENO)
			return; /* nowhere to complain */
		if (errno == EPIPE) {
			leave(p, SIGPIPE);
			end(p, 128 + SIGPIPE);
			return;
		}
		complain("write to standard output: %s", strerror(errno));
		end(p, EXIT_MSB_FAILED);
	}
}

/** end_malformed() - The guest does not keep to the protocol. */
static void end_malformed(struct pump *p)
{
	complain("the sandbox sent a malformed frame and was ended");
	end(p, EXIT_MSB_FAILED);
}

/** on_sandbox_end() - Its supervisor says why the sandbox ends under a running command. */
static void on_sandbox_end(struct pump *p, const struct frame *f)
{
	struct msg_failed m;

	if (!msg_decode_failed(f->body, f->body_len, &m)) {
		end_malformed(p);
		return;
	}
	complain("%.400s", m.text ? m.text : "the sandbox ended");
	end(p, m.sys_errno == ETIME ? 1 : EXIT_MSB_FAILED);
}

/** on_frame() - From the guest. */
static void on_frame(struct pump *p, const struct frame *f)
{
	struct msg_taken taken;
	struct msg_exited m;

	switch (f->type) {
	case FRAME_STDOUT:
		write_output(p, STDOUT_FILENO, f);
		break;
	case FRAME_STDERR:
		write_output(p, STDERR_FILENO, f);
		break;
	case FRAME_STDIN_TAKEN:
		if (msg_decode_taken(f->body, f->body_len, &taken) && taken.bytes <= p->unacked)
			p->unacked -= taken.bytes;
		else
			end_malformed(p);
		break;
	case FRAME_SANDBOX_FAILED:
		on_sandbox_end(p, f);
		break;
	case FRAME_EXITED:
		if (!msg_decode_exited(f->body, f->body_len, &m)) {
			end_malformed(p);
			break;
		}
		p->s->out_of_memory = m.oom;
		p->s->disk_full = m.disk_full;
		end(p, m.signaled ? 128 + (int)(m.code & 0x7f) : (int)(m.code & 0xff));
		break;
	default:
		break;
	}
}

/** on_session() - Bytes from the guest. */
static void on_session(struct pump *p)
{
	uint8_t *to = buf_extend(&p->in, CHUNK);
	ssize_t n = to ? recv(p->s->fd, to, CHUNK, MSG_DONTWAIT) : 0;
	size_t used_all = 0;

	if (!to) {
		complain("out of memory");
		end(p, EXIT_MSB_FAILED);
		return;
	}
	p->in.len -= CHUNK - (size_t)MAX(n, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	while (!p->ended) {
		struct frame f;
		size_t used;
		enum frame_result r = frame_parse(p->in.data + used_all, p->in.len - used_all, &f, &used);

		if (r == FRAME_MORE)
			break;
		if (r == FRAME_BAD) {
			end_malformed(p);
			break;
		}
		on_frame(p, &f);
		used_all += used;
	}
	buf_consume(&p->in, used_all);
	if (n <= 0 && !p->ended)
		end_lost(p);
}

int set_detach_keys(const char *text, struct error *err)
{
	static const char named[] = "][\\^_@";

	detach_count = 0;
	if (text && !*text) /* none */
		return 0;
	for (const char *p = text ? text : "ctrl-]"; *p;) {
		bool control = strncmp(p, "ctrl-", 5) == 0 && p[5] && p[5] != ',';
		char key = control ? p[5] : p[0];

		if (detach_count == DETACH_KEYS_MAX ||
		    (control && !(key >= 'a' && key <= 'z') && !strchr(named, key)) ||
		    (p[control ? 6 : 1] && p[control ? 6 : 1] != ',')) {
			err_set(err, ERR_USAGE, 0, "--detach-keys: \"%.40s\" is not understood", text);
			return err_hint(err, "characters and ctrl-X, with commas: ctrl-p,ctrl-q");
		}
		detach_keys[detach_count++] = control ? (key == '@' ? 0 : (uint8_t)(key & 0x1f)) : (uint8_t)key;
		p += control ? 6 : 1;
		p += *p == ',';
	}
	return 0;
}

/** find_detach() - Keys that leave the session are taken out of what was typed; those that may begin them wait. The
 * rest is in chunk. Return: its length. */
static ssize_t find_detach(struct pump *p, uint8_t *chunk, size_t n, size_t room)
{
	uint8_t typed[STDIN_CHUNK];
	size_t used = 0;

	if (!detach_count)
		return (ssize_t)n;
	memcpy(typed, chunk, n);
	for (size_t i = 0; i < n && !p->ended; i++) {
		if (typed[i] == detach_keys[p->detach_seen]) {
			if (++p->detach_seen < detach_count)
				continue;
			terminal_restore();
			fprintf(stderr, "\r\ndetached\r\n");
			end(p, 0);
			break;
		}
		for (size_t j = 0; j < p->detach_seen && used < room; j++)
			chunk[used++] = detach_keys[j];
		p->detach_seen = typed[i] == detach_keys[0];
		if (!p->detach_seen && used < room)
			chunk[used++] = typed[i];
	}
	return (ssize_t)used;
}

/** on_stdin() - Our standard input has something, or ended. */
static void on_stdin(struct pump *p)
{
	uint8_t chunk[STDIN_CHUNK];
	/* Keys that were held back need room, too. */
	ssize_t n = read(STDIN_FILENO, chunk, sizeof(chunk) - DETACH_KEYS_MAX);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n > 0) {
		n = p->tty && isatty(STDIN_FILENO) ? find_detach(p, chunk, (size_t)n, sizeof(chunk)) : n;
		p->unacked += (size_t)n;
		if (n > 0)
			frame_append(&p->out, FRAME_STDIN, 1, chunk, (size_t)n);
		return;
	}
	p->stdin_open = false;
	frame_append(&p->out, FRAME_STDIN_EOF, 1, NULL, 0);
}

int attach(struct run_session *s, bool tty, bool stdin_open, int signal_fd, uint64_t timeout_s)
{
	struct pump p = {
		.s = s,
		.tty = tty,
		.stdin_open = stdin_open,
		.signal_fd = signal_fd,
		.timeout_s = timeout_s,
		.in = BUF_INIT(IN_MAX),
		.out = BUF_INIT(OUT_MAX),
	};

	if (timeout_s)
		p.deadline_ns = clock_monotonic_ns() + (int64_t)timeout_s * NSEC_PER_SEC;
	if (tty && isatty(STDIN_FILENO))
		terminal_make_raw();
	while (!p.ended) {
		bool room = p.out.len < FRAME_STREAM_MAX && p.unacked + STDIN_CHUNK <= STDIN_WINDOW;
		struct pollfd fds[3] = {
			{ .fd = s->fd, .events = (short)(POLLIN | (p.out.len ? POLLOUT : 0)) },
			{ .fd = signal_fd, .events = POLLIN },
			{ .fd = p.stdin_open && room ? STDIN_FILENO : -1, .events = POLLIN },
		};
		int left = time_left_ms(&p);

		if (p.ended || poll(fds, 3, left) < 0)
			continue; /* EINTR */
		if (fds[1].revents)
			on_signal(&p);
		if (fds[2].revents)
			on_stdin(&p);
		if (p.out.len)
			flush_out(&p);
		if (fds[0].revents & (POLLIN | POLLHUP | POLLERR))
			on_session(&p);
	}
	terminal_restore();
	buf_free(&p.in);
	buf_free(&p.out);
	return p.status;
}
