/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An ephemeral sandbox from an image to a started command. The parts are put together here and handed to a forked
 * supervisor; this process keeps two sockets: one to the supervisor (its closing ends the sandbox) and the session's.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/child.h"
#include "base/fd.h"
#include "base/timeline.h"
#include "engine/engine.h"
#include "engine/run_plan.h"
#include "proto/frame.h"
#include "sandbox/sandbox.h"

#define TEARDOWN_LIMIT_MS 5000
#define REASON_WAIT_MS 2000 /* the supervisor may be a moment later than the end of the session */

/** supervise() - The child: keep only what the sandbox needs, then be its supervisor. */
static _Noreturn void supervise(struct run_plan *plan, int client_fd, int session_fd)
{
	struct monitor_config *m = &plan->spec.machine;
	static int keep[DISK_EXTENTS_MAX + 2 * MONITOR_DISKS_MAX + 16];
	size_t n = 0;
	int null = open("/dev/null", O_RDWR);

	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(m->log_fd, STDERR_FILENO);
	keep[n++] = STDIN_FILENO;
	keep[n++] = STDOUT_FILENO;
	keep[n++] = STDERR_FILENO;
	keep[n++] = client_fd;
	keep[n++] = session_fd;
	keep[n++] = plan->lock_fd;
	keep[n++] = m->kernel_fd;
	keep[n++] = m->initrd_fd;
	keep[n++] = m->console_fd;
	keep[n++] = m->log_fd;
	keep[n++] = m->kvm_fd;
	keep[n++] = timeline_fd();
	for (size_t i = 0; i < m->disk_count; i++) {
		for (size_t j = 0; j < m->disks[i].extent_count; j++)
			keep[n++] = m->disks[i].extents[j].fd;
		keep[n++] = m->disks[i].cow ? m->disks[i].cow->fd : -1;
	}
	fd_close_except(keep, n);
	_exit(supervisor_main(&plan->spec, client_fd, session_fd));
}

/** launch() - Fork the supervisor with its two socket pairs. */
static int launch(struct run_plan *plan, struct run_session *out, struct error *err)
{
	int client[2] = { -1, -1 };
	int session[2] = { -1, -1 };
	sigset_t child;
	pid_t pid;

	/* Whoever the supervisor leaves behind when it is killed becomes our child, so that finish can wait for it. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, client) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, session) < 0) {
		int code = err_set(err, ERR_SYSTEM, errno, "socketpair");

		fd_close(&client[1]);
		return code;
	}
	pid = fork();
	if (pid == 0)
		supervise(plan, client[1], session[1]);
	fd_close(&client[1]);
	fd_close(&session[1]);
	if (pid < 0) {
		int code = err_set(err, ERR_SYSTEM, errno, "fork the supervisor");

		fd_close(&client[0]);
		fd_close(&session[0]);
		return code;
	}
	out->supervisor_pid = pid;
	out->orderly = plan->spec.orderly;
	out->control_fd = client[0];
	out->fd = session[0];

	fd_set_nonblock(out->fd, true);
	return 0;
}

/** failure_code() - The error class of a failure the guest reported. */
static enum err_code failure_code(uint64_t kind)
{
	switch (kind) {
	case MSG_FAIL_NOT_FOUND:
		return ERR_GUEST_NOT_FOUND;
	case MSG_FAIL_NOT_EXECUTABLE:
		return ERR_GUEST_NOT_EXECUTABLE;
	default:
		return ERR_GUEST_SPAWN;
	}
}

/** guest_hint() - What to do about a failure the guest reported; 126 and 127 say all there is. */
static const char *guest_hint(uint64_t kind, uint64_t sys_errno)
{
	switch (kind) {
	case MSG_FAIL_NOT_FOUND:
	case MSG_FAIL_NOT_EXECUTABLE:
		return "";
	case MSG_FAIL_BAD_CWD:
		return "choose a folder of the image with -w";
	case MSG_FAIL_BAD_USER:
		return "choose a user of the image with -u, or numbers: -u 1000:1000";
	case MSG_FAIL_RLIMIT:
		return "use a smaller value with --rlimit";
	case MSG_FAIL_BAD_ARGS:
		return "use fewer or shorter arguments and environment variables";
	case MSG_FAIL_DISK:
		return sys_errno == ENOSPC ? "use a larger SIZE: --root-disk flat:SIZE" :
					     "e2fsck -fn DISK checks it; use a disk above one image only";
	case MSG_FAIL_NO_MEMORY:
		return "give the machine more memory with -m";
	default:
		return "msb doctor says what this host lacks";
	}
}

/** set_guest_error() - A failure text made by the guest: cut here, its control characters are err_set()'s business. */
static int set_guest_error(const uint8_t *body, size_t n, struct error *err)
{
	struct msg_failed m;

	if (!msg_decode_failed(body, n, &m))
		return err_set(err, ERR_PROTOCOL, 0, "the sandbox sent a broken message");
	err_set(err, failure_code(m.kind), (int)(m.sys_errno & 0xfff), "%.400s", m.text ? m.text : "");
	return err_hint(err, "%s", guest_hint(m.kind, m.sys_errno));
}

/** read_frame() - One frame from a readable socket, not a byte more. Blocks only within a frame. */
static int read_frame(int fd, struct buf *body, struct frame *f, struct error *err)
{
	uint8_t header[FRAME_HEADER_SIZE];
	size_t have = 0, used, want = FRAME_HEADER_SIZE;

	body->len = 0;
	while (have < want) {
		uint8_t *at = have < FRAME_HEADER_SIZE ? header + have : body->data + have;
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n = recv(fd, at, want - have, MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			poll(&p, 1, -1);
			continue;
		}
		if (n <= 0)
			return err_set(err, ERR_CLOSED, 0, "the sandbox ended unexpectedly");
		have += (size_t)n;
		if (have == FRAME_HEADER_SIZE && want == FRAME_HEADER_SIZE) {
			enum frame_result r = frame_parse(header, have, f, &used);
			size_t body_len = header[0] | (size_t)header[1] << 8 | (size_t)header[2] << 16;

			if (r == FRAME_BAD || body_len > FRAME_BODY_MAX)
				return err_set(err, ERR_PROTOCOL, 0, "the sandbox sent a broken frame");
			want += body_len;
			if (!buf_append(body, header, sizeof(header)) || (body_len && !buf_extend(body, body_len)))
				return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
		}
	}
	if (frame_parse(body->data, have, f, &used) != FRAME_OK)
		return err_set(err, ERR_PROTOCOL, 0, "the sandbox sent a broken frame");
	return 0;
}

/** wait_for() - Until fd has one of events; meanwhile the supervisor may fail and the user may cancel. */
static int wait_for(struct run_session *s, int fd, short events, int cancel_fd, struct error *err)
{
	for (;;) {
		struct pollfd p[3] = { { .fd = fd, .events = events },
				       { .fd = s->control_fd, .events = POLLIN },
				       { .fd = cancel_fd, .events = POLLIN } };
		struct buf body = BUF_INIT(FRAME_BODY_MAX + FRAME_HEADER_SIZE);
		struct frame f;
		int rc;

		if (poll(p, 3, -1) < 0) {
			if (errno == EINTR)
				continue;
			return err_set(err, ERR_SYSTEM, errno, "poll");
		}
		if (p[2].revents)
			return err_set(err, ERR_CANCELLED, 0, "interrupted");
		if (fd != s->control_fd && (p[0].revents & events))
			return 0;
		if (!p[1].revents) {
			if (p[0].revents)
				return 0;
			continue;
		}
		rc = read_frame(s->control_fd, &body, &f, err);
		if (rc == 0 && f.type == FRAME_SANDBOX_FAILED)
			rc = set_guest_error(f.body, f.body_len, err);
		if (rc == 0 && f.type == FRAME_SANDBOX_READY && fd == s->control_fd) {
			buf_free(&body);
			return 0;
		}
		buf_free(&body);
		if (rc < 0)
			return rc;
	}
}

/** start_command() - Send the request and wait for the guest's answer. */
static int start_command(struct run_session *s, const struct msg_exec *exec, int cancel_fd, struct error *err)
{
	struct buf body = BUF_INIT(FRAME_BODY_MAX), frame = BUF_INIT(FRAME_BODY_MAX + FRAME_HEADER_SIZE);
	struct frame f;
	size_t done = 0;
	int rc = 0;

	if (!msg_encode_exec(&body, exec) || !frame_append(&frame, FRAME_EXEC, 1, body.data, body.len))
		rc = err_set(err, ERR_LIMIT, 0, "command and environment are larger than %d bytes", FRAME_BODY_MAX);
	while (rc == 0 && done < frame.len) {
		ssize_t n = send(s->fd, frame.data + done, frame.len - done, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n > 0)
			done += (size_t)n;
		else if (errno == EAGAIN || errno == EINTR)
			rc = wait_for(s, s->fd, POLLOUT, cancel_fd, err);
		else
			rc = wait_for(s, s->control_fd, POLLIN, cancel_fd, err);
	}
	if (rc == 0)
		rc = wait_for(s, s->fd, POLLIN, cancel_fd, err);
	if (rc == 0)
		rc = read_frame(s->fd, &body, &f, err);
	if (rc == 0 && f.type == FRAME_EXEC_FAILED)
		rc = set_guest_error(f.body, f.body_len, err);
	else if (rc == 0 && f.type != FRAME_STARTED)
		rc = err_set(err, ERR_PROTOCOL, 0, "the sandbox sent an unexpected frame");
	buf_free(&body);
	buf_free(&frame);
	return rc;
}

int engine_run_start(const struct run_spec *spec, int cancel_fd, struct run_session *out, struct error *err)
{
	static struct run_plan plan; /* large: the messages hold fixed tables */
	struct error ignored = ERROR_INIT;
	int rc;

	memset(out, 0, sizeof(*out));
	out->fd = out->control_fd = -1;
	rc = run_plan_make(spec, &plan, out, err);
	timeline_mark("plan made");
	if (rc == 0 && !out->nothing_to_run)
		rc = launch(&plan, out, err);
	run_plan_release(&plan);
	timeline_mark("supervisor forked");
	if (rc == 0 && out->nothing_to_run)
		return 0;
	snprintf(out->stage, sizeof(out->stage), "boot");
	if (rc == 0)
		rc = wait_for(out, out->control_fd, POLLIN, cancel_fd, err);
	if (rc == 0)
		rc = start_command(out, &plan.exec, cancel_fd, err);
	timeline_mark("command started");
	run_plan_free(&plan);
	if (rc < 0) {
		out->exited = true;
		engine_run_finish(out, &ignored);
	}
	return rc;
}

/** read_reason() - What the supervisor said of the end, if anything. */
static int read_reason(const struct run_session *s, struct error *err)
{
	struct pollfd p = { .fd = s->control_fd, .events = POLLIN };
	struct buf body = BUF_INIT(FRAME_BODY_MAX + FRAME_HEADER_SIZE);
	struct frame f;
	int rc = 0;

	if (poll(&p, 1, REASON_WAIT_MS) > 0) {
		rc = read_frame(s->control_fd, &body, &f, err);
		if (rc == 0 && f.type == FRAME_SANDBOX_FAILED)
			rc = set_guest_error(f.body, f.body_len, err);
	}
	buf_free(&body);
	return rc;
}

int engine_run_finish(struct run_session *s, struct error *err)
{
	int64_t limit_ms = TEARDOWN_LIMIT_MS + (s->orderly ? SANDBOX_STOP_GRACE_S * 1000 : 0);
	char *slash;
	int rc = 0;

	timeline_mark("command ended");

	if (s->control_fd >= 0 && !s->exited)
		rc = read_reason(s, err);
	fd_close(&s->fd);
	fd_close(&s->control_fd);
	if (s->supervisor_pid > 0 && !children_reap(limit_ms))
		children_kill(TEARDOWN_LIMIT_MS);
	s->supervisor_pid = 0;
	slash = strrchr(s->sandbox_dir, '/');
	if (slash) {
		_cleanup_fd_ int parent = -1;

		*slash = '\0';
		parent = open(s->sandbox_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (parent >= 0)
			dir_remove_tree(parent, slash + 1, NULL);
		s->sandbox_dir[0] = '\0';
	}
	timeline_mark("torn down");
	return rc;
}
