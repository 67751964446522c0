/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies between host and guest (msb cp). Each has a process, which may block on disk and host as it likes and which
 * memory shortage may kill; all it has is the connection. Names are opened one by one below open folders: links are
 * copied, never followed, but for those on the way to what is copied, and one that a single file is put onto. An entry
 * that comes must lie in a folder that came before and is still open, so only a stack of folders is kept.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/macros.h"

#define FOLDER (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define QUIET (O_NONBLOCK | O_NOCTTY | O_CLOEXEC) /* opening a FIFO or a terminal does nothing */
#define LEVELS_MAX (MSG_ENTRY_DEPTH_MAX + 2)

struct level {
	int fd;		 /* PUT: the folder */
	DIR *dir;	 /* GET: the folder */
	size_t path_len; /* of the folder's path */
	bool made;	 /* PUT: it is new, so the time is set in the end */
	struct timespec mtime;
};

struct copy {
	int sock, root;
	struct buf in; /* frames, the first `used` bytes of it done with */
	size_t used;
	char top[PATH_MAX];  /* what is copied, as the guest sees it; for messages */
	char path[PATH_MAX]; /* below it, of the folder at hand */
	struct level levels[LEVELS_MAX];
	size_t depth;
	struct user owner; /* PUT: of what is new */
	struct msg_done done;
	struct failure f;
};

/** refuse() - What failed, and with which entry. Return: false. */
static bool refuse(struct copy *c, enum msg_failure kind, int sys_errno, const char *what, const char *entry)
{
	const char *slash = *entry && strcmp(c->top, "/") != 0 ? "/" : "";

	return fail(&c->f, kind, sys_errno, "%s %.120s%s%.90s", what, c->top, slash, entry);
}

/** broken() - The host does not keep to the protocol. */
static bool broken(struct copy *c)
{
	return fail(&c->f, MSG_FAIL_BAD_ARGS, 0, "bad request");
}

/** send_all() - To the host; when it is gone there is nothing left to do. */
static void send_all(struct copy *c, const void *p, size_t n)
{
	for (size_t done = 0; done < n;) {
		ssize_t r = send(c->sock, (const char *)p + done, n - done, MSG_NOSIGNAL);

		if (r < 0 && errno != EINTR)
			_exit(1);
		done += r > 0 ? (size_t)r : 0;
	}
}

/** send_frame() - One frame. */
static void send_frame(struct copy *c, enum frame_type type, const void *body, size_t n)
{
	uint8_t header[FRAME_HEADER_SIZE];

	frame_header(header, (uint16_t)type, 1, n);
	send_all(c, header, sizeof(header));
	send_all(c, body, n);
}

/** next_frame() - Wait for one; its body is valid until the next call. When the host is gone the process ends. */
static bool next_frame(struct copy *c, struct frame *f)
{
	for (;;) {
		size_t used;
		enum frame_result r = frame_parse(c->in.data + c->used, c->in.len - c->used, f, &used);
		uint8_t *to;
		ssize_t n;

		if (r == FRAME_OK) {
			c->used += used;
			return true;
		}
		if (r == FRAME_BAD)
			return broken(c);
		buf_consume(&c->in, c->used);
		c->used = 0;
		to = buf_extend(&c->in, FRAME_STREAM_MAX);
		if (!to)
			return fail(&c->f, MSG_FAIL_NO_MEMORY, 0, "out of memory");
		do
			n = recv(c->sock, to, FRAME_STREAM_MAX, 0);
		while (n < 0 && errno == EINTR);
		if (n <= 0)
			_exit(1);
		c->in.len -= FRAME_STREAM_MAX - (size_t)n;
	}
}

/** is_regular() - Is this descriptor one of a regular file? Opened as a path, too. */
static bool is_regular(int fd)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/** time_of() - An entry's time. */
static struct timespec time_of(const struct msg_entry *e)
{
	if (e->mtime_ns == 0)
		return (struct timespec){ .tv_nsec = UTIME_NOW };
	return (struct timespec){ .tv_sec = (time_t)(e->mtime_ns / NSEC_PER_SEC),
				  .tv_nsec = (long)(e->mtime_ns % NSEC_PER_SEC) };
}

/** pop() - The folder is complete. */
static void pop(struct copy *c)
{
	struct level *l = &c->levels[--c->depth];
	const struct timespec times[2] = { l->mtime, l->mtime };

	if (l->made)
		futimens(l->fd, times);
	fd_close(&l->fd);
	if (c->depth)
		c->path[c->levels[c->depth - 1].path_len] = '\0';
}

/** own() - Owner of an entry by descriptor. Who it was stays, unless the entry is new or the host says. */
static bool own(struct copy *c, int fd, const struct msg_entry *e, bool made)
{
	if (e->has_owner)
		return fchown(fd, (uid_t)e->uid, (gid_t)e->gid) == 0;
	return !made || fchown(fd, c->owner.uid, c->owner.gid) == 0;
}

/** put_folder() - A folder, the next entries lie in it. One that is there stays as it is. */
static bool put_folder(struct copy *c, int in, const char *name, const struct msg_entry *e)
{
	struct level *l = &c->levels[c->depth];
	bool made = mkdirat(in, name, 0700) == 0;
	int fd = made || errno == EEXIST ? openat(in, name, FOLDER) : -1;

	if (fd < 0 && errno == ELOOP)
		errno = ENOTDIR;
	if (fd < 0)
		return refuse(c, errno == ENOSPC ? MSG_FAIL_DISK : MSG_FAIL_OTHER, errno, "folder", e->path);
	if (c->depth == LEVELS_MAX || (made && (!own(c, fd, e, true) || fchmod(fd, e->mode & 07777) < 0))) {
		refuse(c, MSG_FAIL_OTHER, c->depth == LEVELS_MAX ? ELOOP : errno, "folder", e->path);
		close(fd);
		return false;
	}
	snprintf(c->path, sizeof(c->path), "%s", e->path);
	*l = (struct level){ .fd = fd, .path_len = strlen(c->path), .made = made, .mtime = time_of(e) };
	c->depth++;
	return true;
}

/** put_link() - A symbolic link; it takes the place of any other than a folder. */
static bool put_link(struct copy *c, int in, const char *name, const struct msg_entry *e)
{
	const struct timespec times[2] = { time_of(e), time_of(e) };
	uid_t uid = e->has_owner ? (uid_t)e->uid : c->owner.uid;
	gid_t gid = e->has_owner ? (gid_t)e->gid : c->owner.gid;
	const char *target = e->target ? e->target : "";
	bool ok = symlinkat(target, in, name) == 0;

	if (!ok && errno == EEXIST)
		ok = unlinkat(in, name, 0) == 0 && symlinkat(target, in, name) == 0;
	ok = ok && fchownat(in, name, uid, gid, AT_SYMLINK_NOFOLLOW) == 0 &&
	     utimensat(in, name, times, AT_SYMLINK_NOFOLLOW) == 0;
	return ok || refuse(c, errno == ENOSPC ? MSG_FAIL_DISK : MSG_FAIL_OTHER, errno, "symbolic link", e->path);
}

/** open_target() - The regular file that the link at the place of the whole copy leads to. Return: fd, or -1. */
static int open_target(struct copy *c)
{
	int target = place_enter(c->root, c->top, O_PATH);
	bool regular = is_regular(target);

	fd_close(&target);
	return regular ? place_enter(c->root, c->top, O_WRONLY | O_TRUNC | QUIET) : -1;
}

/** open_there() - A file where something has its name. Return: fd, or -1 with errno, 0: a device. *made: it is new. */
static int open_there(struct copy *c, int in, const char *name, bool top, bool *made)
{
	struct stat st;
	int fd = -1;

	*made = false;
	if (fstatat(in, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -1;
	if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode)) {
		errno = S_ISDIR(st.st_mode) ? EISDIR : 0;
		return -1;
	}
	if (S_ISREG(st.st_mode))
		fd = openat(in, name, O_WRONLY | O_TRUNC | O_NOFOLLOW | QUIET);
	else if (top)
		fd = open_target(c);
	if (fd >= 0 || (S_ISREG(st.st_mode) && errno != ETXTBSY))
		return fd;
	/* A program that runs cannot be written to, and a link is not followed: a new file takes the place. */
	if (unlinkat(in, name, 0) < 0)
		return -1;
	*made = true;
	return openat(in, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

/** put_data() - A file's bytes, and the frame behind them. */
static bool put_data(struct copy *c, int fd, const struct msg_entry *e, struct frame *next)
{
	uint64_t left = e->size;

	for (;;) {
		if (!next_frame(c, next))
			return false;
		if (next->type != FRAME_DATA)
			return true;
		if (next->body_len > FRAME_STREAM_MAX || next->body_len > left)
			return broken(c);
		left -= next->body_len;
		c->done.bytes += next->body_len;
		if (fd_write_full(fd, next->body, next->body_len) < 0)
			return refuse(c, errno == ENOSPC ? MSG_FAIL_DISK : MSG_FAIL_OTHER, errno, "write", c->path);
	}
}

/** put_file() - A regular file. *next: the frame behind its data. */
static bool put_file(struct copy *c, int in, const char *name, const struct msg_entry *e, struct frame *next)
{
	const struct timespec times[2] = { time_of(e), time_of(e) };
	const struct msg_entry meta = *e; /* but the strings: those are gone when the next frame is read */
	size_t folder_len = strlen(c->path);
	bool made = true, ok;
	int fd = openat(in, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0 && errno == EEXIST)
		fd = open_there(c, in, name, !*e->path, &made);
	if (fd < 0)
		return refuse(c, errno == ENOSPC ? MSG_FAIL_DISK : MSG_FAIL_OTHER, errno,
			      errno ? "file" : "there is something else than a file at", e->path);
	snprintf(c->path, sizeof(c->path), "%s", e->path);
	ok = put_data(c, fd, &meta, next);
	if (ok && (!own(c, fd, &meta, made) || fchmod(fd, meta.mode & 07777) < 0 || futimens(fd, times) < 0))
		ok = refuse(c, MSG_FAIL_OTHER, errno, "file", c->path);
	if (close(fd) < 0 && ok)
		ok = refuse(c, MSG_FAIL_OTHER, errno, "file", c->path);
	c->path[folder_len] = '\0';
	return ok;
}

/** find_folder() - Leave folders until the one of this entry is at hand. Return: the entry's name, or NULL. */
static const char *find_folder(struct copy *c, const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;

	while (c->depth > 1 && (c->levels[c->depth - 1].path_len != len || memcmp(c->path, path, len) != 0))
		pop(c);
	return c->depth > 1 ? path + len + (slash != NULL) : NULL;
}

/** put_entry() - One entry. *next: the frame behind it. */
static bool put_entry(struct copy *c, const char *top_name, const struct frame *f, struct frame *next)
{
	bool first = c->done.entries++ == 0;
	const char *name = top_name;
	struct msg_entry e;
	int in;

	if (!msg_decode_entry(f->body, f->body_len, &e) || !e.path || !msg_entry_path_ok(e.path) ||
	    first != (*e.path == '\0'))
		return broken(c);
	if (!first)
		name = find_folder(c, e.path);
	if (!name)
		return broken(c);
	in = c->levels[c->depth - 1].fd;
	switch (e.type) {
	case MSG_ENTRY_FILE:
		return put_file(c, in, name, &e, next);
	case MSG_ENTRY_DIR:
		return put_folder(c, in, name, &e) && next_frame(c, next);
	case MSG_ENTRY_SYMLINK:
		return put_link(c, in, name, &e) && next_frame(c, next);
	default:
		return broken(c);
	}
}

/** aim() - The folder that gets the first entry becomes level 0. Return: the entry's name there, or NULL. */
static const char *aim(struct copy *c, const struct msg_put *m)
{
	size_t n = strlen(m->path);
	bool slash = n && m->path[n - 1] == '/';
	int at = m->name ? place_enter(c->root, m->path, O_PATH | O_DIRECTORY) : -1;
	char *name;

	while (n > 1 && m->path[n - 1] == '/')
		n--;
	snprintf(c->top, sizeof(c->top), "%.*s", (int)n, m->path);
	if (at < 0 && m->name && slash) {
		refuse(c, MSG_FAIL_OTHER, errno, "folder", "");
		return NULL;
	}
	if (at >= 0) {
		snprintf(c->top + n, sizeof(c->top) - n, "%s%s", c->top[n - 1] == '/' ? "" : "/", m->name);
		name = strrchr(c->top, '/') + 1;
	} else {
		char folder[PATH_MAX];

		name = strrchr(c->top, '/') + 1;
		snprintf(folder, sizeof(folder), "%.*s", (int)(name - c->top), c->top);
		at = place_enter(c->root, folder, O_PATH | O_DIRECTORY);
		if (at < 0)
			fail(&c->f, MSG_FAIL_OTHER, errno, "folder %.200s", folder);
	}
	c->levels[0] = (struct level){ .fd = at };
	c->depth = at >= 0;
	return at < 0 ? NULL : *name ? name : ".";
}

/** put() - From the host. */
static bool put(struct copy *c, const struct frame *first)
{
	char name[NAME_MAX + 1];
	const char *at;
	struct msg_put m;
	struct frame f;

	if (!msg_decode_put(first->body, first->body_len, &m) || !m.path || m.path[0] != '/' ||
	    strlen(m.path) + NAME_MAX + 2 > sizeof(c->top) ||
	    (m.name && (!*m.name || strchr(m.name, '/') || !msg_entry_path_ok(m.name))))
		return broken(c);
	c->owner = (struct user){ .uid = 0 };
	if (m.user && !user_resolve(defaults.user, &c->owner, &c->f))
		return false;
	at = aim(c, &m);
	if (!at)
		return false;
	if (snprintf(name, sizeof(name), "%s", at) >= (int)sizeof(name))
		return refuse(c, MSG_FAIL_OTHER, ENAMETOOLONG, "file", "");
	if (!next_frame(c, &f))
		return false;
	while (f.type == FRAME_ENTRY)
		if (!put_entry(c, name, &f, &f))
			return false;
	if (f.type != FRAME_END || !c->done.entries)
		return broken(c);
	while (c->depth)
		pop(c);
	return true;
}

/** send_entry() - What stat knows of an entry. @target: of a symbolic link. */
static void send_entry(struct copy *c, const struct stat *st, enum msg_entry_type type, uint64_t size,
		       const char *target)
{
	struct msg_entry e = { .path = c->path,
			       .type = (uint64_t)type,
			       .mode = st->st_mode & 07777,
			       .has_owner = true,
			       .uid = st->st_uid,
			       .gid = st->st_gid,
			       .mtime_ns = st->st_mtim.tv_sec < 0 ? 0
								  : (uint64_t)st->st_mtim.tv_sec * NSEC_PER_SEC +
									    (uint64_t)st->st_mtim.tv_nsec,
			       .size = size,
			       .target = target };
	struct buf body = BUF_INIT(4 * PATH_MAX);

	if (msg_encode_entry(&body, &e))
		send_frame(c, FRAME_ENTRY, body.data, body.len);
	buf_free(&body);
	c->done.entries++;
}

/** get_file() - A regular file; what it grows by meanwhile is left out. */
static bool get_file(struct copy *c, int fd, const struct stat *st)
{
	static uint8_t chunk[FRAME_STREAM_MAX];
	struct statfs fs;
	uint64_t left = (uint64_t)st->st_size;
	ssize_t n = 0;

	if (left == 0 && fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC)
		left = MSG_ENTRY_SIZE_UNKNOWN;
	send_entry(c, st, MSG_ENTRY_FILE, left, NULL);
	while (left && (n = fd_read_full(fd, chunk, (size_t)MIN(left, sizeof(chunk)))) > 0) {
		send_frame(c, FRAME_DATA, chunk, (size_t)n);
		left -= (uint64_t)n;
	}
	return n >= 0 || refuse(c, MSG_FAIL_OTHER, errno, "read", c->path);
}

/** get_link() - A symbolic link. */
static bool get_link(struct copy *c, int at, const struct stat *st)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(at, "", target, sizeof(target) - 1);

	if (n < 0)
		return refuse(c, MSG_FAIL_OTHER, errno, "symbolic link", c->path);
	target[n] = '\0';
	send_entry(c, st, MSG_ENTRY_SYMLINK, 0, target);
	return true;
}

/** get_folder() - A folder, whose entries are the next. */
static bool get_folder(struct copy *c, int at, const struct stat *st)
{
	struct level *l = &c->levels[c->depth];
	int fd = c->depth <= MSG_ENTRY_DEPTH_MAX ? openat(at, ".", FOLDER) : -1;
	DIR *dir;

	if (fd < 0)
		return refuse(c, MSG_FAIL_OTHER, c->depth <= MSG_ENTRY_DEPTH_MAX ? errno : ELOOP, "folder", c->path);
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return fail(&c->f, MSG_FAIL_NO_MEMORY, 0, "out of memory");
	}
	send_entry(c, st, MSG_ENTRY_DIR, 0, NULL);
	*l = (struct level){ .dir = dir, .path_len = strlen(c->path) };
	c->depth++;
	return true;
}

/** open_entry() - An entry of a folder; of none (-1): the whole copy. Links are not followed. Return: fd, or -1. */
static int open_entry(struct copy *c, int in, const char *name, int flags)
{
	if (in < 0)
		return place_enter(c->root, c->top, (uint64_t)(flags | O_NOFOLLOW));
	return openat(in, name, flags | O_NOFOLLOW | O_CLOEXEC);
}

/** get_entry() - One entry, of any kind. @in: its folder, -1: none */
static bool get_entry(struct copy *c, int in, const char *name)
{
	_cleanup_fd_ int at = open_entry(c, in, name, O_PATH), fd = -1;
	struct stat st;

	if (at < 0 || fstat(at, &st) < 0)
		return refuse(c, MSG_FAIL_OTHER, errno, "open", c->path);
	if (S_ISDIR(st.st_mode))
		return get_folder(c, at, &st);
	if (S_ISLNK(st.st_mode))
		return get_link(c, at, &st);
	if (!S_ISREG(st.st_mode))
		return refuse(c, MSG_FAIL_OTHER, 0,
			      S_ISFIFO(st.st_mode)   ? "cannot copy the pipe"
			      : S_ISSOCK(st.st_mode) ? "cannot copy the socket"
						     : "cannot copy the device",
			      c->path);
	fd = open_entry(c, in, name, O_RDONLY | QUIET);
	if (fd < 0 || fstat(fd, &st) < 0 || !is_regular(fd))
		return refuse(c, MSG_FAIL_OTHER, errno, "open", c->path);
	return get_file(c, fd, &st);
}

/** get_next() - The next name of the folder at hand, or out of it. */
static bool get_next(struct copy *c)
{
	struct level *l = &c->levels[c->depth - 1];
	struct dirent *e;

	c->path[l->path_len] = '\0';
	errno = 0;
	e = readdir(l->dir);
	if (!e) {
		int saved = errno;

		closedir(l->dir);
		c->depth--;
		return saved == 0 || refuse(c, MSG_FAIL_OTHER, saved, "folder", c->path);
	}
	if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
		return true;
	if (l->path_len + strlen(e->d_name) + 2 > sizeof(c->path))
		return refuse(c, MSG_FAIL_OTHER, ENAMETOOLONG, "folder", c->path);
	snprintf(c->path + l->path_len, sizeof(c->path) - l->path_len, "%s%s", l->path_len ? "/" : "", e->d_name);
	return get_entry(c, dirfd(l->dir), e->d_name);
}

/** get() - To the host. */
static bool get(struct copy *c, const struct frame *first)
{
	struct msg_get m;
	bool ok;

	if (!msg_decode_get(first->body, first->body_len, &m) || !m.path || m.path[0] != '/' ||
	    strlen(m.path) >= sizeof(c->top))
		return broken(c);
	snprintf(c->top, sizeof(c->top), "%s", m.path);
	ok = get_entry(c, -1, "");
	while (ok && c->depth)
		ok = get_next(c);
	return ok;
}

/** answer() - The last frame; then wait until the host, which may still be sending, has read it and closes. */
static _Noreturn void answer(struct copy *c, enum frame_type type, const struct buf *body)
{
	static uint8_t rest[FRAME_STREAM_MAX];

	send_frame(c, type, body->data, body->len);
	shutdown(c->sock, SHUT_WR);
	while (recv(c->sock, rest, sizeof(rest), 0) > 0)
		;
	_exit(0);
}

void files_serve(int sock, const struct frame *frame, const void *rest, size_t n)
{
	static struct copy c;
	struct buf body = BUF_INIT(4096);
	int keep[] = { 0, 1, 2, sock };
	sigset_t none;
	bool ok;

	handoff_reset_child();
	setsid();
	prctl(PR_SET_NAME, "msb-copy");
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	fd_close_except(keep, ARRAY_LEN(keep));
	fd_set_nonblock(sock, false);
	umask(0);
	c.sock = sock;
	c.in = (struct buf)BUF_INIT(FRAME_BODY_MAX + FRAME_HEADER_SIZE + 2 * FRAME_STREAM_MAX);
	c.root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	ok = buf_append(&c.in, rest, n) || fail(&c.f, MSG_FAIL_NO_MEMORY, 0, "out of memory");
	ok = ok && (frame->type == FRAME_PUT ? put(&c, frame) : get(&c, frame));
	if (!ok) {
		struct msg_failed m = { .kind = (uint64_t)c.f.kind,
					.sys_errno = (uint64_t)c.f.sys_errno,
					.text = c.f.text };

		msg_encode_failed(&body, &m);
		answer(&c, FRAME_EXEC_FAILED, &body);
	}
	if (frame->type == FRAME_GET)
		answer(&c, FRAME_END, &body);
	msg_encode_done(&body, &c.done);
	answer(&c, FRAME_DONE, &body);
}
