/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

#define FLUSH_AT (256u << 10)
#define FOLDERS_MAX 1000000 /* of a copy from the guest, whose modes are set in the end */

/* ---- to the guest ---- */

/** flush() - What is pending. */
static int flush(struct copy_out *out, struct error *err)
{
	int rc = 0;

	if (out->pending.failed)
		rc = err_set(err, ERR_LIMIT, 0, "a path is too long to be copied");
	else if (fd_write_full(out->fd, out->pending.data, out->pending.len) < 0)
		rc = errno == EPIPE || errno == ECONNRESET
			     ? err_set(err, ERR_CLOSED, 0, "the sandbox broke the copy off")
			     : err_set(err, err_from_errno(errno), errno, "write the files of the sandbox");
	buf_free(&out->pending);
	return rc;
}

/** put_frame() - One frame; written when there are many. */
static int put_frame(struct copy_out *out, enum frame_type type, const void *body, size_t n, struct error *err)
{
	frame_append(&out->pending, (uint16_t)type, 1, body, n);
	return out->pending.failed || out->pending.len >= FLUSH_AT ? flush(out, err) : 0;
}

/** put_begin() - The PUT. */
static int put_begin(struct copy_out *out, const struct msg_put *m, struct error *err)
{
	struct buf body = BUF_INIT(2 * PATH_MAX);
	int rc = msg_encode_put(&body, m) ? put_frame(out, FRAME_PUT, body.data, body.len, err)
					  : err_set(err, ERR_LIMIT, 0, "%.100s: path too long", m->path);

	buf_free(&body);
	return rc;
}

/** put_entry() - An ENTRY. */
static int put_entry(struct copy_out *out, const struct msg_entry *m, struct error *err)
{
	struct buf body = BUF_INIT(4 * PATH_MAX);
	int rc = msg_entry_path_ok(m->path) && msg_encode_entry(&body, m)
			 ? put_frame(out, FRAME_ENTRY, body.data, body.len, err)
			 : err_set(err, ERR_LIMIT, 0, "%.200s: path too long, or too deep", m->path);

	buf_free(&body);
	return rc;
}

/** put_end() - The END, and everything is written. */
static int put_end(struct copy_out *out, struct error *err)
{
	int rc = put_frame(out, FRAME_END, NULL, 0, err);

	return rc < 0 ? rc : flush(out, err);
}

/** put_contents() - DATA of a file; one that shrinks meanwhile is shorter, what it grows by is left out. */
static int put_contents(struct copy_out *out, int fd, uint64_t size, const char *path, struct error *err)
{
	_cleanup_(freep) uint8_t *chunk = malloc(FRAME_STREAM_MAX);
	int rc = chunk ? 0 : err_set(err, ERR_NO_MEMORY, 0, "out of memory");

	while (rc == 0 && size > 0) {
		ssize_t n = fd_read_full(fd, chunk, (size_t)MIN(size, FRAME_STREAM_MAX));

		if (n < 0)
			return err_set(err, err_from_errno(errno), errno, "read %.200s", path);
		if (n == 0)
			break;
		rc = put_frame(out, FRAME_DATA, chunk, (size_t)n, err);
		size -= (uint64_t)n;
	}
	return rc;
}

static int put_any(struct copy_out *out, int dir, const char *name, const char *path, const char *shown,
		   struct error *err);

/** compare_names() - The same order everywhere. */
static int compare_names(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/** put_folder() - What is in a folder. */
static int put_folder(struct copy_out *out, int fd, const char *path, const char *shown, struct error *err)
{
	struct dirent **names;
	int n = scandirat(fd, ".", &names, NULL, compare_names), rc = 0;

	if (n < 0)
		return err_set(err, err_from_errno(errno), errno, "read %.300s", shown);
	for (int i = 0; i < n; i++) {
		const char *name = names[i]->d_name;
		char below[PATH_MAX], full[PATH_MAX];

		if (rc == 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
			if (snprintf(below, sizeof(below), "%s%s%s", path, *path ? "/" : "", name) >=
			    (int)sizeof(below))
				rc = err_set(err, ERR_LIMIT, 0, "%.200s: path too long", shown);
			snprintf(full, sizeof(full), "%s/%s", shown, name);
			if (rc == 0)
				rc = put_any(out, fd, name, below, full, err);
		}
		free(names[i]);
	}
	free(names);
	return rc;
}

/** put_any() - One entry with all below it. @path: below what is copied. @shown: on the host. Depth:
 * msg_entry_path_ok() */
static int put_any(struct copy_out *out, int dir, const char *name, const char *path, const char *shown,
		   struct error *err)
{
	/* Only the top may be a link that leads to what is meant (SRC/). */
	_cleanup_fd_ int at = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC), fd = -1;
	struct msg_entry m = { .path = path };
	char target[COPY_LINK_MAX + 1];
	struct stat st;
	ssize_t n;
	int rc;

	if (at < 0 || fstat(at, &st) < 0)
		return err_set(err, err_from_errno(errno), errno, "%.300s", shown);
	m.mode = st.st_mode & 07777;
	m.mtime_ns = (uint64_t)MAX(0, st.st_mtim.tv_sec * NSEC_PER_SEC + st.st_mtim.tv_nsec);
	if (S_ISLNK(st.st_mode)) {
		n = readlinkat(at, "", target, sizeof(target));
		if (n < 0 || (size_t)n >= sizeof(target))
			return err_set(err, ERR_LIMIT, n < 0 ? errno : ENAMETOOLONG, "%.300s", shown);
		target[n] = '\0';
		m.type = MSG_ENTRY_SYMLINK;
		m.target = target;
		return put_entry(out, &m, err);
	}
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) {
		err_set(err, ERR_UNSUPPORTED, 0, "%.300s is a %s, which cannot be copied", shown,
			S_ISFIFO(st.st_mode)   ? "pipe"
			: S_ISSOCK(st.st_mode) ? "socket"
					       : "device");
		return err_hint(err, "copy files and folders only");
	}
	fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, err_from_errno(errno), errno, "%.300s", shown);
	m.type = S_ISDIR(st.st_mode) ? MSG_ENTRY_DIR : MSG_ENTRY_FILE;
	m.size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
	rc = put_entry(out, &m, err);
	if (rc < 0)
		return rc;
	return S_ISDIR(st.st_mode) ? put_folder(out, fd, path, shown, err) : put_contents(out, fd, m.size, shown, err);
}

int copy_put(struct copy_out *out, const char *source, const char *target, const char *name, bool user,
	     struct error *err)
{
	int rc = put_begin(out, &(struct msg_put){ .path = target, .name = name, .user = user }, err);

	if (rc == 0)
		rc = put_any(out, AT_FDCWD, source, "", source, err);
	return rc < 0 ? rc : put_end(out, err);
}

int copy_put_scripts(struct copy_out *out, const struct script_spec *scripts, size_t count, struct error *err)
{
	struct msg_entry m = { .path = "", .type = MSG_ENTRY_DIR, .mode = 0755 };
	int rc = put_begin(out, &(struct msg_put){ .path = "/.msb/scripts" }, err);

	if (rc == 0)
		rc = put_entry(out, &m, err);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		m = (struct msg_entry){
			.path = scripts[i].name, .type = MSG_ENTRY_FILE, .mode = 0755, .size = scripts[i].size
		};
		rc = put_entry(out, &m, err);
		for (size_t at = 0; rc == 0 && at < scripts[i].size; at += FRAME_STREAM_MAX)
			rc = put_frame(out, FRAME_DATA, (const char *)scripts[i].data + at,
				       MIN(scripts[i].size - at, FRAME_STREAM_MAX), err);
	}
	return rc < 0 ? rc : put_end(out, err);
}

/* ---- from the guest ---- */

/** A folder that was made, whose mode and time wait until its contents are there. */
struct folder {
	char *path;
	mode_t mode;
	int64_t mtime_ns;
};

struct copy_in {
	int parent;
	char name[NAME_MAX + 1];
	void (*left_out)(const char *path, const char *target);
	int file;      /* being written, -1 */
	uint64_t left; /* of its bytes */
	int64_t file_mtime_ns;
	char file_path[PATH_MAX];
	struct folder *folders;
	size_t folder_count, folder_room;
	bool begun;
};

struct copy_in *copy_in_new(int parent_fd, const char *name, void (*left_out)(const char *path, const char *target))
{
	struct copy_in *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->parent = parent_fd;
	c->file = -1;
	c->left_out = left_out;
	snprintf(c->name, sizeof(c->name), "%s", name);
	return c;
}

void copy_in_free(struct copy_in *c)
{
	if (!c)
		return;
	fd_close(&c->file);
	for (size_t i = 0; i < c->folder_count; i++)
		free(c->folders[i].path);
	free(c->folders);
	free(c);
}

/** open_below() - Below the folder of the copy, through no link. */
static int open_below(struct copy_in *c, const char *path, uint64_t flags, mode_t mode)
{
	/* A FIFO or a terminal that is there is opened without effect; O_PATH takes no such flags. */
	uint64_t quiet = flags & O_PATH ? 0 : O_NOCTTY | O_NONBLOCK;
	struct open_how how = { .flags = flags | quiet | O_CLOEXEC,
				.mode = mode,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };

	return (int)syscall(SYS_openat2, c->parent, path, &how, sizeof(how));
}

/** set_time() - Of an open file or folder. */
static void set_time(int fd, int64_t mtime_ns)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
				     { .tv_sec = mtime_ns / NSEC_PER_SEC, .tv_nsec = mtime_ns % NSEC_PER_SEC } };

	if (mtime_ns > 0)
		futimens(fd, times);
}

/** end_file() - It has all its bytes. */
static void end_file(struct copy_in *c)
{
	if (c->file >= 0)
		set_time(c->file, c->file_mtime_ns);
	fd_close(&c->file);
}

/** make_folder() - One that is there already is used. */
static int make_folder(struct copy_in *c, int in, const char *leaf, const char *path, const struct msg_entry *m,
		       struct error *err)
{
	struct folder *grown;

	if (mkdirat(in, leaf, 0700) < 0) {
		struct stat st;

		if (errno == EEXIST && fstatat(in, leaf, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
			return 0;
		return err_set(err, err_from_errno(errno), errno, "make %.300s", path);
	}
	if (c->folder_count == c->folder_room) {
		size_t room = c->folder_room ? 2 * c->folder_room : 64;

		grown = room <= 2 * FOLDERS_MAX ? realloc(c->folders, room * sizeof(*grown)) : NULL;
		if (!grown)
			return err_set(err, ERR_LIMIT, 0, "the copy has more than %d folders", FOLDERS_MAX);
		c->folders = grown;
		c->folder_room = room;
	}
	c->folders[c->folder_count] =
		(struct folder){ .path = strdup(path), .mode = m->mode & 0777, .mtime_ns = (int64_t)m->mtime_ns };
	return c->folders[c->folder_count++].path ? 0 : err_set(err, ERR_NO_MEMORY, 0, "out of memory");
}

/** leads_out() - Would a link at this path (below the copy's own folder) lead out of the copy? */
static bool leads_out(const char *path, const char *target)
{
	int depth = 0; /* of the folder that the link lies in */

	if (target[0] == '/')
		return true;
	for (const char *p = path; *p; p++)
		depth += *p == '/';
	while (*target) {
		size_t n = strcspn(target, "/");

		if (n == 2 && memcmp(target, "..", 2) == 0)
			depth--;
		else if (n && !(n == 1 && *target == '.'))
			depth++;
		if (depth < 0)
			return true;
		target += n + (target[n] == '/');
	}
	return false;
}

/** make_link() - One that leads out of the copy is left out: on the host it would lead into the host. */
static int make_link(struct copy_in *c, int in, const char *leaf, const char *path, const struct msg_entry *m,
		     struct error *err)
{
	if (!m->target || !*m->target || strlen(m->target) > COPY_LINK_MAX)
		return err_set(err, ERR_PROTOCOL, 0, "the sandbox sent a broken link: %.200s", path);
	if (leads_out(m->path, m->target)) {
		c->left_out(path, m->target);
		return 0;
	}
	if (unlinkat(in, leaf, 0) < 0 && errno != ENOENT)
		return err_set(err, err_from_errno(errno), errno, "replace %.300s", path);
	return symlinkat(m->target, in, leaf) == 0 ? 0
						   : err_set(err, err_from_errno(errno), errno, "make %.300s", path);
}

/** make_file() - Opened; its bytes follow. Set-user-ID bits stay behind: the file would be the host user's. */
static int make_file(struct copy_in *c, const char *path, const struct msg_entry *m, struct error *err)
{
	struct stat st;

	c->file = open_below(c, path, O_WRONLY | O_CREAT, m->mode & 0777);
	if (c->file < 0 || fstat(c->file, &st) < 0)
		return err_set(err, err_from_errno(errno), errno, "write %.300s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_INVALID, 0, "%.300s is no regular file: not written", path);
	if (ftruncate(c->file, 0) < 0 || fchmod(c->file, m->mode & 0777) < 0)
		return err_set(err, err_from_errno(errno), errno, "write %.300s", path);
	c->left = m->size;
	c->file_mtime_ns = (int64_t)m->mtime_ns;
	snprintf(c->file_path, sizeof(c->file_path), "%s", path);
	return 0;
}

/** on_entry() - The next one. */
static int on_entry(struct copy_in *c, const struct frame *f, struct error *err)
{
	char path[PATH_MAX], folder[PATH_MAX];
	_cleanup_fd_ int in = -1;
	struct msg_entry m;
	char *slash;

	end_file(c);
	if (!msg_decode_entry(f->body, f->body_len, &m) || !m.path || !msg_entry_path_ok(m.path) ||
	    m.type >= MSG_ENTRY_TYPE_COUNT || c->begun == !*m.path ||
	    snprintf(path, sizeof(path), "%s%s%s", c->name, *m.path ? "/" : "", m.path) >= (int)sizeof(path))
		return err_set(err, ERR_PROTOCOL, 0, "the sandbox sent a broken entry");
	c->begun = true;
	if (m.type == MSG_ENTRY_FILE)
		return make_file(c, path, &m, err);
	snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	if (slash)
		*slash = '\0';
	in = slash ? open_below(c, folder, O_PATH | O_DIRECTORY, 0) : fcntl(c->parent, F_DUPFD_CLOEXEC, 3);
	if (in < 0)
		return err_set(err, err_from_errno(errno), errno, "open %.300s", folder);
	slash = strrchr(path, '/');
	if (m.type == MSG_ENTRY_DIR)
		return make_folder(c, in, slash ? slash + 1 : path, path, &m, err);
	return make_link(c, in, slash ? slash + 1 : path, path, &m, err);
}

/** on_data() - Of the file at hand. */
static int on_data(struct copy_in *c, const struct frame *f, struct error *err)
{
	if (c->file < 0 || (c->left != MSG_ENTRY_SIZE_UNKNOWN && f->body_len > c->left))
		return err_set(err, ERR_PROTOCOL, 0, "the sandbox sent more data than it said");
	if (c->left != MSG_ENTRY_SIZE_UNKNOWN)
		c->left -= f->body_len;
	return fd_write_full(c->file, f->body, f->body_len) == 0
		       ? 0
		       : err_set(err, err_from_errno(errno), errno, "write %.300s", c->file_path);
}

/** finish() - Modes and times of folders, the deepest first. */
static int finish(struct copy_in *c, struct error *err)
{
	end_file(c);
	if (!c->begun)
		return err_set(err, ERR_PROTOCOL, 0, "the sandbox sent nothing");
	for (size_t i = c->folder_count; i-- > 0;) {
		_cleanup_fd_ int fd = open_below(c, c->folders[i].path, O_RDONLY | O_DIRECTORY, 0);

		if (fd < 0)
			continue; /* somebody on the host removed it meanwhile */
		fchmod(fd, c->folders[i].mode);
		set_time(fd, c->folders[i].mtime_ns);
	}
	return 1;
}

int copy_in_frame(struct copy_in *c, const struct frame *f, struct error *err)
{
	switch (f->type) {
	case FRAME_ENTRY:
		return on_entry(c, f, err);
	case FRAME_DATA:
		return on_data(c, f, err);
	case FRAME_END:
		return finish(c, err);
	default:
		return err_set(err, ERR_PROTOCOL, 0, "the sandbox sent an unexpected frame");
	}
}
