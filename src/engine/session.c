/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/session.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"

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
		return sys_errno == ENOSPC ? "use a larger SIZE: --root-disk flat:SIZE"
					   : "e2fsck -fn DISK checks it; use a disk above one image only";
	case MSG_FAIL_NO_MEMORY:
		return "give the machine more memory with -m";
	default:
		return "msb doctor says what this host lacks";
	}
}

int session_guest_error(const uint8_t *body, size_t n, struct error *err)
{
	struct msg_failed m;

	if (!msg_decode_failed(body, n, &m))
		return err_set(err, ERR_PROTOCOL, 0, "the sandbox sent a broken message");
	err_set(err, failure_code(m.kind), (int)(m.sys_errno & 0xfff), "%.400s", m.text ? m.text : "");
	return err_hint(err, "%s", guest_hint(m.kind, m.sys_errno));
}

int session_read_frame(int fd, struct buf *body, struct frame *f, struct error *err)
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
		if (n <= 0) {
			err_set(err, ERR_CLOSED, 0, "the sandbox ended unexpectedly");
			return err_hint(err, "its supervisor was killed: out of memory? dmesg says");
		}
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

int session_wait(struct run_session *s, int fd, short events, int cancel_fd, struct error *err)
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
		rc = session_read_frame(s->control_fd, &body, &f, err);
		if (rc == 0 && f.type == FRAME_SANDBOX_FAILED)
			rc = session_guest_error(f.body, f.body_len, err);
		if (rc == 0 && f.type == FRAME_SANDBOX_READY && fd == s->control_fd) {
			buf_free(&body);
			return 0;
		}
		buf_free(&body);
		if (rc < 0)
			return rc;
	}
}

int session_start_command(struct run_session *s, const struct msg_exec *exec, int cancel_fd, struct error *err)
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
			rc = session_wait(s, s->fd, POLLOUT, cancel_fd, err);
		else
			rc = session_wait(s, s->control_fd, POLLIN, cancel_fd, err);
	}
	if (rc == 0)
		rc = session_wait(s, s->fd, POLLIN, cancel_fd, err);
	if (rc == 0)
		rc = session_read_frame(s->fd, &body, &f, err);
	if (rc == 0 && (f.type == FRAME_EXEC_FAILED || f.type == FRAME_SANDBOX_FAILED))
		rc = session_guest_error(f.body, f.body_len, err);
	else if (rc == 0 && f.type != FRAME_STARTED)
		rc = err_set(err, ERR_PROTOCOL, 0, "the sandbox sent an unexpected frame");
	buf_free(&body);
	buf_free(&frame);
	return rc;
}
