/* SPDX-License-Identifier: Apache-2.0 */
/* msb cp: from names to a session with the agent that copies. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "engine/copy.h"
#include "engine/lifecycle.h"
#include "engine/session.h"
#include "engine/use.h"

/** last_part() - The name at the end of a path, slashes behind it aside. Return: false for "/", "." and "..". */
static bool last_part(const char *path, char name[NAME_MAX + 1])
{
	size_t end = strlen(path), start;

	while (end > 0 && path[end - 1] == '/')
		end--;
	for (start = end; start > 0 && path[start - 1] != '/'; start--)
		;
	if (end == start || end - start > NAME_MAX)
		return false;
	snprintf(name, NAME_MAX + 1, "%.*s", (int)(end - start), path + start);
	return strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/** refused() - What the agent, or the supervisor, said. */
static int refused(const struct frame *f, struct error *err)
{
	session_guest_error(f->body, f->body_len, err);
	err->code = ERR_GUEST_SPAWN;
	return err_hint(err, "%s", ""); /* that of a failed boot does not fit */
}

/** read_answer() - The agent's last frame. */
static int read_answer(int fd, int cancel_fd, struct error *err)
{
	struct pollfd p[2] = { { .fd = fd, .events = POLLIN }, { .fd = cancel_fd, .events = POLLIN } };
	struct buf body = BUF_INIT(FRAME_BODY_MAX + FRAME_HEADER_SIZE);
	struct frame f;
	int rc;

	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
	if (p[1].revents)
		return err_set(err, ERR_CANCELLED, 0, "interrupted");
	rc = session_read_frame(fd, &body, &f, err);
	if (rc == 0 && (f.type == FRAME_EXEC_FAILED || f.type == FRAME_SANDBOX_FAILED))
		rc = refused(&f, err);
	else if (rc == 0 && f.type != FRAME_DONE)
		rc = err_set(err, ERR_PROTOCOL, 0, "the sandbox sent an unexpected frame");
	buf_free(&body);
	return rc;
}

/** copy_to_guest() - What the agent says counts more than that it stopped reading. */
static int copy_to_guest(int fd, const char *source, const char *target, int cancel_fd, struct error *err)
{
	struct copy_out out = COPY_OUT_INIT(fd);
	char name[NAME_MAX + 1];
	bool named = last_part(source, name);
	struct error said = ERROR_INIT;
	int rc;

	if (!named && target[strlen(target) - 1] == '/')
		return err_set(err, ERR_USAGE, 0, "%.200s has no name to be copied under", source);
	rc = copy_put(&out, source, target, named ? name : NULL, true, err);
	buf_free(&out.pending);
	if (rc < 0 && err->code != ERR_CLOSED)
		return rc;
	if (read_answer(fd, cancel_fd, &said) < 0) {
		*err = said;
		return -(int)err->code;
	}
	return 0;
}

/** open_place() - The host's folder that gets the copy, and the copy's name there. Return: owned fd */
static int open_place(const char *source, const char *target, char name[NAME_MAX + 1], struct error *err)
{
	char folder[PATH_MAX];
	struct stat st;
	bool is_folder = stat(target, &st) == 0 && S_ISDIR(st.st_mode);
	size_t n = strlen(target);
	char *slash;
	int fd;

	snprintf(folder, sizeof(folder), "%s", target);
	if (is_folder || (n && target[n - 1] == '/')) {
		if (!last_part(source, name))
			return err_set(err, ERR_USAGE, 0, "%.200s has no name to be copied under", source);
	} else {
		if (!last_part(target, name))
			return err_set(err, ERR_USAGE, 0, "\"%.200s\" is no name for a file", target);
		slash = strrchr(folder, '/');
		if (slash)
			slash[slash == folder] = '\0';
		else
			snprintf(folder, sizeof(folder), ".");
	}
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd >= 0 ? fd : err_set(err, err_from_errno(errno), errno, "%.300s", folder);
}

/** copy_from_guest() - Frame by frame. */
static int copy_from_guest(int fd, const char *source, const char *target, int cancel_fd,
			   void (*left_out)(const char *path, const char *to), struct error *err)
{
	struct pollfd p[2] = { { .fd = fd, .events = POLLIN }, { .fd = cancel_fd, .events = POLLIN } };
	struct buf body = BUF_INIT(FRAME_BODY_MAX + FRAME_HEADER_SIZE), ask = BUF_INIT(2 * PATH_MAX);
	char name[NAME_MAX + 1];
	_cleanup_fd_ int place = open_place(source, target, name, err);
	struct copy_in *in = place < 0 ? NULL : copy_in_new(place, name, left_out);
	struct copy_out out = COPY_OUT_INIT(fd);
	int rc = place < 0 ? place : in ? 0 : err_set(err, ERR_NO_MEMORY, 0, "out of memory");

	if (rc == 0 && (!msg_encode_get(&ask, &(struct msg_get){ .path = source }) ||
			!frame_append(&out.pending, FRAME_GET, 1, ask.data, ask.len) ||
			fd_write_full(fd, out.pending.data, out.pending.len) < 0))
		rc = err_set(err, ERR_CLOSED, 0, "the sandbox does not answer");
	while (rc == 0) {
		struct frame f;

		if (poll(p, 2, -1) < 0)
			continue;
		if (p[1].revents)
			rc = err_set(err, ERR_CANCELLED, 0, "interrupted");
		else
			rc = session_read_frame(fd, &body, &f, err);
		if (rc == 0 && (f.type == FRAME_EXEC_FAILED || f.type == FRAME_SANDBOX_FAILED))
			rc = refused(&f, err);
		else if (rc == 0)
			rc = copy_in_frame(in, &f, err);
	}
	copy_in_free(in);
	buf_free(&body);
	buf_free(&ask);
	buf_free(&out.pending);
	return MIN(rc, 0);
}

int engine_copy(const struct engine_paths *paths, const struct copy_side *from, const struct copy_side *to,
		int cancel_fd, void (*left_out)(const char *path, const char *target), struct error *err)
{
	struct run_session s;
	int rc;

	if (!from->sandbox && access(from->path, R_OK) < 0) /* before anything is started */
		return err_set(err, err_from_errno(errno), errno, "%.300s", from->path);
	rc = use_open(paths, from->sandbox ? from->sandbox : to->sandbox, cancel_fd, &s, err);
	if (rc < 0)
		return rc;
	fd_set_nonblock(s.fd, false);
	if (to->sandbox)
		rc = copy_to_guest(s.fd, from->path, to->path, cancel_fd, err);
	else
		rc = copy_from_guest(s.fd, from->path, to->path, cancel_fd, left_out, err);
	s.exited = true;
	engine_exec_finish(paths, &s, NULL);
	return rc;
}
