/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. One connection runs one command. The first frame is EXEC; then stdin, resize and signal frames
 * flow in, stdout and stderr frames out. Stdin has a window of its own (STDIN_WINDOW), so the connection is always
 * read and a signal never waits behind stdin that the command does not take; nothing is read from the command's pipes
 * while frames to the host wait. When the command ended, what its pipes hold is still sent; a background child that
 * keeps them open is waited for LINGER_MS only; then EXITED is the last frame. When the host closes the connection the
 * command's process group is killed. A connection that copies files (first frame PUT or GET) becomes a process.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/macros.h"
#include "proto/frame.h"

#define LINGER_MS 100
#define SESSIONS_MAX 128 /* each has up to 6 sources in the loop */
#define IDLE_MAX 32	 /* connections on which nothing runs yet, or which are told that there is no room */
#define IN_BUFFER_MAX (FRAME_BODY_MAX + FRAME_HEADER_SIZE)
#define OUT_BUFFER_MAX (4 * FRAME_STREAM_MAX)
#define READ_CHUNK (32 * 1024)

struct session {
	struct session *next;
	struct loop *loop;
	int sock, sock_source; /* -1: a process copies files over it */
	struct buf in;	/* from the host, not used yet */
	struct buf out; /* frames the host did not take yet */
	pid_t pid;	/* 0: not started or reaped */
	bool started, ended, tty;
	struct buf stdin_data; /* not taken by the command yet, at most STDIN_WINDOW */
	uint64_t taken;	       /* bytes of stdin the host has not been told of */
	bool stdin_last;       /* the host said that no more comes */
	bool stdin_eof;	       /* the command got its end of file, or reads no more */
	bool line_open;	       /* pty: the last byte was not the end of a line */
	int status;
	uint64_t oom_kills;    /* the guest's, before the command */
	bool oom;
	int stdin_fd, stdin_source;
	int out_fd[OUT_PIPES], out_source[OUT_PIPES]; /* stdout (or the pty), stderr */
	int linger;
	int owed[OUT_PIPES]; /* bytes in the pipes when the command ended: sent however long it takes */
};

static struct session *sessions;
static unsigned int session_count;

static void pump(struct session *s);

/** close_fd() - Unwatch and close. */
static void close_fd(struct session *s, int *fd, int *source)
{
	loop_remove(s->loop, source);
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/** session_end() - Free everything; a command that still runs is killed with its group. */
static void session_end(struct session *s)
{
	struct session **at = &sessions;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	session_count--;
	if (s->pid > 0) {
		kill(-s->pid, SIGHUP);
		kill(-s->pid, SIGKILL);
	}
	if (s->stdin_fd == s->out_fd[0])
		s->stdin_fd = -1; /* a pty is one descriptor */
	close_fd(s, &s->stdin_fd, &s->stdin_source);
	for (int i = 0; i < OUT_PIPES; i++)
		close_fd(s, &s->out_fd[i], &s->out_source[i]);
	close_fd(s, &s->sock, &s->sock_source);
	loop_remove(s->loop, &s->linger);
	buf_free(&s->in);
	buf_free(&s->stdin_data);
	buf_free(&s->out);
	free(s);
	stop_progress();
}

/** send_body() - Queue one structured frame. */
static void send_body(struct session *s, enum frame_type type, const struct buf *body)
{
	frame_append(&s->out, (uint16_t)type, 1, body->data, body->len);
}

/** send_failure() - Queue EXEC_FAILED; the connection ends after it. */
static void send_failure(struct session *s, const struct failure *f)
{
	struct buf body = BUF_INIT(1024);
	struct msg_failed m = { .kind = (uint64_t)f->kind, .sys_errno = (uint64_t)f->sys_errno, .text = f->text };

	if (msg_encode_failed(&body, &m))
		send_body(s, FRAME_EXEC_FAILED, &body);
	buf_free(&body);
	s->ended = true;
}

static void on_output(void *arg, uint32_t events);
static void on_stdin_room(void *arg, uint32_t events);

/** admit() - May another command or copy start? */
static bool admit(struct failure *f)
{
	unsigned int running = 0;

	for (const struct session *s = sessions; s; s = s->next)
		running += s->started && !s->ended;
	if (stop_active())
		return fail(f, MSG_FAIL_STOPPING, 0, "the sandbox is shutting down");
	if (running > SESSIONS_MAX)
		return fail(f, MSG_FAIL_OTHER, EUSERS, "more than %d commands at once", SESSIONS_MAX);
	return true;
}

/** start() - EXEC arrived. */
static void start(struct session *s, const struct frame *frame)
{
	static struct msg_exec exec;
	struct failure f = { .kind = MSG_FAIL_OTHER };
	struct buf body = BUF_INIT(64);
	struct launched l;
	bool ok;

	s->started = true;
	s->oom_kills = stats_oom_kills();
	ok = admit(&f) && (msg_decode_exec(frame->body, frame->body_len, &exec) ||
			   fail(&f, MSG_FAIL_BAD_ARGS, 0, "bad request"));
	if (!ok || !launch_command(&exec, &l, &f)) {
		send_failure(s, &f);
		return;
	}
	s->tty = exec.tty;
	s->pid = l.pid;
	s->stdin_fd = l.stdin_fd;
	memcpy(s->out_fd, l.out_fd, sizeof(s->out_fd));
	if (msg_encode_started(&body, &(struct msg_started){ .pid = (uint64_t)s->pid }))
		send_body(s, FRAME_STARTED, &body);
	buf_free(&body);
	if (s->stdin_fd >= 0 && !s->tty)
		s->stdin_source = loop_add(s->loop, s->stdin_fd, 0, on_stdin_room, s, NULL);
}

/** drop_stdin() - Nobody reads any more: like a closed pipe, what comes counts as taken. */
static void drop_stdin(struct session *s)
{
	s->taken += s->stdin_data.len;
	buf_consume(&s->stdin_data, s->stdin_data.len);
	if (s->stdin_fd >= 0 && !s->tty)
		close_fd(s, &s->stdin_fd, &s->stdin_source);
	s->stdin_eof = true;
}

/** write_stdin() - Return: bytes taken; 0 when there is no room; on an error stdin is dropped. */
static size_t write_stdin(struct session *s, const void *p, size_t n)
{
	ssize_t r = write(s->stdin_fd, p, n);

	if (r < 0 && errno != EAGAIN && errno != EINTR)
		drop_stdin(s);
	return r < 0 ? 0 : (size_t)r;
}

/** feed() - Stdin to the command as far as it takes it, then its end. */
static void feed(struct session *s)
{
	if (s->ended || s->stdin_fd < 0 || s->stdin_eof)
		drop_stdin(s);
	while (s->stdin_data.len) {
		size_t n = write_stdin(s, s->stdin_data.data, s->stdin_data.len);

		if (n == 0)
			return;
		s->line_open = s->stdin_data.data[n - 1] != '\n';
		s->taken += n;
		buf_consume(&s->stdin_data, n);
	}
	if (!s->stdin_last || s->stdin_eof)
		return;
	/* A terminal's end of file is a key, and after an unfinished line it only ends that line: press it twice. */
	if (s->tty && write_stdin(s, "\x04\x04", s->line_open ? 2 : 1) == 0 && !s->stdin_eof)
		return;
	drop_stdin(s);
}

/** tell_taken() - Open the host's window again, in steps worth a frame, or when nothing waits. */
static void tell_taken(struct session *s)
{
	struct msg_taken m = { .bytes = s->taken };
	struct buf body = BUF_INIT(64);

	if (!s->taken || (s->taken < STDIN_WINDOW / 4 && s->stdin_data.len) || s->ended ||
	    s->out.len + FRAME_HEADER_SIZE + 64 > OUT_BUFFER_MAX)
		return;
	s->taken = 0;
	if (msg_encode_taken(&body, &m))
		send_body(s, FRAME_STDIN_TAKEN, &body);
	buf_free(&body);
}

/** start_copy() - PUT or GET arrived: a process takes the connection, and what else came on it. */
static void start_copy(struct session *s, const struct frame *frame, size_t used)
{
	struct failure f = { .kind = MSG_FAIL_OTHER };
	pid_t pid = -1;

	s->started = true;
	if (admit(&f)) {
		pid = fork();
		if (pid == 0)
			files_serve(s->sock, frame, s->in.data + used, s->in.len - used);
		if (pid < 0)
			fail(&f, MSG_FAIL_NO_MEMORY, errno, "fork");
	}
	if (pid < 0) {
		send_failure(s, &f);
		return;
	}
	s->pid = pid;
	close_fd(s, &s->sock, &s->sock_source);
}

/** input() - One frame from the host but the first. Return: false when it breaks the protocol. */
static bool input(struct session *s, const struct frame *f)
{
	struct msg_resize size;
	struct msg_signal sig;

	switch (f->type) {
	case FRAME_STDIN:
		if (s->stdin_data.len + f->body_len > STDIN_WINDOW)
			return false;
		buf_append(&s->stdin_data, f->body, f->body_len);
		break;
	case FRAME_STDIN_EOF:
		s->stdin_last = true;
		break;
	case FRAME_RESIZE:
		if (s->tty && s->out_fd[0] >= 0 && msg_decode_resize(f->body, f->body_len, &size)) {
			struct winsize w = { .ws_row = (unsigned short)size.rows, .ws_col = (unsigned short)size.cols };

			ioctl(s->out_fd[0], TIOCSWINSZ, &w);
		}
		break;
	case FRAME_SIGNAL:
		if (s->pid > 0 && msg_decode_signal(f->body, f->body_len, &sig) && sig.number > 0 && sig.number < NSIG)
			kill(-s->pid, (int)sig.number);
		break;
	case FRAME_EXEC:
	case FRAME_PUT:
	case FRAME_GET:
		return false;
	default:
		break;
	}
	return !s->stdin_data.failed;
}

/** first() - The frame that says what the connection is for. Return: false when it does not. */
static bool first(struct session *s, const struct frame *f, size_t used)
{
	switch (f->type) {
	case FRAME_EXEC:
		start(s, f);
		return true;
	case FRAME_PUT:
	case FRAME_GET:
		start_copy(s, f, used);
		return true;
	default:
		return false;
	}
}

/** consume() - Use what the host sent. Return: false when it broke the protocol. */
static bool consume(struct session *s)
{
	while (s->in.len) {
		struct frame f;
		size_t used;
		enum frame_result r = frame_parse(s->in.data, s->in.len, &f, &used);

		if (r == FRAME_MORE) /* a command under way gets no frame larger than a stream's */
			return !s->started || s->in.len < FRAME_HEADER_SIZE + FRAME_STREAM_MAX;
		if (r == FRAME_BAD)
			return false;
		if (s->started ? !input(s, &f) : !first(s, &f, used))
			return false;
		buf_consume(&s->in, s->sock < 0 ? s->in.len : used);
	}
	return true;
}

/** read_output() - One pipe into frames, while there is room for them. */
static void read_output(struct session *s, int i)
{
	while (s->out_fd[i] >= 0 && s->out.len + FRAME_HEADER_SIZE + READ_CHUNK <= OUT_BUFFER_MAX) {
		uint8_t chunk[READ_CHUNK];
		ssize_t n = read(s->out_fd[i], chunk, sizeof(chunk));

		if (n > 0) {
			s->owed[i] -= (int)n;
			frame_append(&s->out, i == 0 ? FRAME_STDOUT : FRAME_STDERR, 1, chunk, (size_t)n);
			continue;
		}
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		/* End of file, or EIO of a pty whose last user is gone. */
		if (s->stdin_fd == s->out_fd[i])
			s->stdin_fd = -1;
		close_fd(s, &s->out_fd[i], &s->out_source[i]);
	}
}

/** report_exit() - EXITED, after all output. */
static void report_exit(struct session *s)
{
	struct msg_exited m = { .signaled = WIFSIGNALED(s->status),
				.code = (uint64_t)(WIFSIGNALED(s->status) ? WTERMSIG(s->status)
									  : WEXITSTATUS(s->status)),
				.oom = s->oom,
				.disk_full = s->status && stats_disk_full() };
	struct buf body = BUF_INIT(64);

	if (msg_encode_exited(&body, &m))
		send_body(s, FRAME_EXITED, &body);
	buf_free(&body);
	s->ended = true;
}

/** flush_out() - Frames to the host. Return: false when it is gone. */
static bool flush_out(struct session *s)
{
	while (s->out.len) {
		ssize_t n = send(s->sock, s->out.data, s->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return true;
		if (n <= 0)
			return false;
		buf_consume(&s->out, (size_t)n);
	}
	return true;
}

/**
 * watch() - Ask for the events that something can be done about. A pipe that cannot be read from now is not watched at
 * all: its hang-up would be reported over and over. Return: false when out of resources.
 */
static bool watch(struct session *s)
{
	bool room = s->out.len + FRAME_HEADER_SIZE + READ_CHUNK <= OUT_BUFFER_MAX;
	bool waits = s->stdin_data.len || (s->stdin_last && !s->stdin_eof);

	for (int i = 0; i < OUT_PIPES; i++) {
		if (s->out_fd[i] < 0 || !room) {
			loop_remove(s->loop, &s->out_source[i]);
			continue;
		}
		if (s->out_source[i] < 0)
			s->out_source[i] = loop_add(s->loop, s->out_fd[i], 0, on_output, s, NULL);
		if (s->out_source[i] < 0)
			return false;
		loop_modify(s->loop, s->out_source[i], EPOLLIN | (s->tty && waits ? EPOLLOUT : 0U));
	}
	if (s->stdin_source >= 0)
		loop_modify(s->loop, s->stdin_source, waits ? EPOLLOUT : 0);
	loop_modify(s->loop, s->sock_source, EPOLLIN | (s->out.len ? EPOLLOUT : 0U));
	return true;
}

/** pump() - Move everything that can move, then ask for the right events. */
static void pump(struct session *s)
{
	if (!consume(s)) {
		session_end(s);
		return;
	}
	if (s->sock < 0)
		return;
	if (s->started) {
		feed(s);
		tell_taken(s);
	}
	for (int i = 0; i < OUT_PIPES; i++)
		read_output(s, i);
	if (s->started && !s->ended && s->pid == 0 && s->out_fd[0] < 0 && s->out_fd[1] < 0)
		report_exit(s);
	if (!flush_out(s) || s->out.failed) {
		session_end(s);
		return;
	}
	if (s->ended && s->out.len == 0) {
		shutdown(s->sock, SHUT_WR); /* the host closes when it has read it all */
		stop_progress();
	}
	if (!watch(s))
		session_end(s);
}

static void on_output(void *arg, uint32_t events)
{
	(void)events;
	pump(arg);
}

/** on_stdin_room() - The command reads stdin, or closed it. */
static void on_stdin_room(void *arg, uint32_t events)
{
	struct session *s = arg;

	if (events & EPOLLERR)
		drop_stdin(s);
	pump(s);
}

/** on_sock() - Bytes from the host. */
static void on_sock(void *arg, uint32_t events)
{
	struct session *s = arg;

	if (events & EPOLLIN) {
		uint8_t *to = buf_extend(&s->in, READ_CHUNK);
		ssize_t n = to ? recv(s->sock, to, READ_CHUNK, MSG_DONTWAIT) : -1;

		if (!to) {
			session_end(s);
			return;
		}
		s->in.len -= READ_CHUNK - (size_t)MAX(n, 0);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
			session_end(s);
			return;
		}
	} else if (events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)) {
		session_end(s);
		return;
	}
	pump(s);
}

/** on_linger() - A background child keeps the pipes: do not wait for it. */
static void on_linger(void *arg, uint32_t events)
{
	struct session *s = arg;

	(void)events;
	for (int i = 0; i < OUT_PIPES; i++) {
		read_output(s, i);
		/* What the command itself wrote is not lost, however slowly the host takes it. */
		if (s->out_fd[i] >= 0 && s->owed[i] > 0) {
			loop_timer_set(s->loop, s->linger, LINGER_MS * NSEC_PER_MSEC);
			pump(s);
			return;
		}
	}
	for (int i = 0; i < OUT_PIPES; i++) {
		if (s->stdin_fd == s->out_fd[i])
			s->stdin_fd = -1;
		close_fd(s, &s->out_fd[i], &s->out_source[i]);
	}
	pump(s);
}

/** ran_out() - Was it, or one of its processes, killed because there was no memory left? */
static bool ran_out(const struct session *s)
{
	bool killed = WIFSIGNALED(s->status) ? WTERMSIG(s->status) == SIGKILL : WEXITSTATUS(s->status) == 128 + SIGKILL;

	return killed && stats_oom_kills() > s->oom_kills;
}

bool sessions_talk(void)
{
	for (const struct session *s = sessions; s; s = s->next)
		if (s->started && s->sock >= 0 && (!s->ended || s->out.len))
			return true;
	return false;
}

void sessions_signal(int number)
{
	for (const struct session *s = sessions; s; s = s->next)
		if (s->pid > 0)
			kill(-s->pid, number);
}

void sessions_hang_up(void)
{
	for (const struct session *s = sessions; s; s = s->next)
		if (s->tty && s->pid > 0)
			kill(s->pid, SIGHUP);
}

void session_reap(pid_t pid, int status)
{
	for (struct session *s = sessions; s; s = s->next) {
		if (s->pid != pid)
			continue;
		s->pid = 0;
		s->status = status;
		if (s->sock < 0) {
			session_end(s);
			return;
		}
		s->oom = ran_out(s);
		for (int i = 0; i < OUT_PIPES; i++)
			if (s->out_fd[i] >= 0 && ioctl(s->out_fd[i], FIONREAD, &s->owed[i]) < 0)
				s->owed[i] = 0;
		s->linger = loop_timer(s->loop, on_linger, s, NULL);
		if (s->linger >= 0)
			loop_timer_set(s->loop, s->linger, LINGER_MS * NSEC_PER_MSEC);
		pump(s);
		return;
	}
}

void session_accept(struct loop *loop, int sock)
{
	struct session *s = session_count < SESSIONS_MAX + IDLE_MAX ? calloc(1, sizeof(*s)) : NULL;

	if (!s) {
		dprintf(2, "agent: no room for a session\n");
		close(sock);
		return;
	}
	s->loop = loop;
	s->sock = sock;
	s->stdin_fd = s->out_fd[0] = s->out_fd[1] = -1;
	s->stdin_source = s->out_source[0] = s->out_source[1] = s->linger = -1;
	s->in = (struct buf)BUF_INIT(IN_BUFFER_MAX + READ_CHUNK);
	s->stdin_data = (struct buf)BUF_INIT(STDIN_WINDOW);
	s->out = (struct buf)BUF_INIT(OUT_BUFFER_MAX + 4096);
	s->next = sessions;
	sessions = s;
	session_count++;
	s->sock_source = loop_add(loop, sock, EPOLLIN, on_sock, s, NULL);
	if (s->sock_source < 0)
		session_end(s);
}
