/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. The log is a chain of files: output.log.3 is the oldest, output.log the one that is written.
 * Rotation renames each to the next number, the highest first, when all of it is written. So what follows an open file
 * is always at the number below its own; looked up, opened, and looked up again, it cannot have been another one
 * meanwhile. A file that is no longer output.log does not grow: it is read once more to its end, then the next one.
 *
 * What an attacker controls: the text of entries, by way of the guest. The files could be anything: a line is bounded,
 * what is no entry is counted and passed over.
 */
#include "engine/logs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/ansi.h"
#include "base/clock.h"
#include "base/fd.h"
#include "engine/lifecycle.h"
#include "engine/use.h"
#include "sandbox/output_log.h"

#define CHUNK (64u << 10)
#define HELD_MAX (OUTPUT_LOG_MAX * (OUTPUT_LOGS_KEPT + 2)) /* of --tail: the whole log, while it is rotated */
#define NEXT_TRIES 100
#define WITHOUT_INOTIFY_MS 200 /* a host that has no more watches to give */

struct chain {
	const struct log_query *q;
	struct log_result *result;
	log_sink sink;
	void *arg;
	int dir, fd; /* logs/, and the file that is read; -1: none yet */
	dev_t dev;
	ino_t ino;
	struct buf in;	 /* read, and not used yet */
	bool skipping;	 /* the rest of a line that is too long */
	struct buf text; /* of the entry */
	struct buf held; /* the last lines, while --tail waits for the end of what is there */
	size_t held_from;
	uint64_t held_count;
	bool holding, enough;
};

/** file_name() - Of the index-th file. */
static const char *file_name(int index, char to[32])
{
	snprintf(to, 32, index ? "output.log.%d" : "output.log", index);
	return to;
}

/** matches() - The pattern. */
static bool matches(const struct chain *c, const struct output_entry *e)
{
	static char text[OUTPUT_LINE_MAX];
	struct ansi ansi = { 0 };
	size_t n = ansi_strip(&ansi, e->data, MIN(e->size, sizeof(text)), text);
	regmatch_t span = { .rm_so = 0 };

	while (n && (text[n - 1] == '\n' || text[n - 1] == '\r'))
		n--;
	span.rm_eo = (regoff_t)n;
	return regexec(c->q->pattern, text, 1, &span, REG_STARTEND) == 0;
}

/** wanted() - Is it what was asked for? */
static bool wanted(const struct chain *c, const struct output_entry *e)
{
	return (c->q->sources & 1u << e->source) && e->time_ns >= c->q->since_ns && e->time_ns < c->q->until_ns &&
	       (!c->q->pattern || matches(c, e));
}

/** hold() - Of what is there already only the last lines count. */
static int hold(struct chain *c, const uint8_t *line, size_t n, struct error *err)
{
	if (c->q->tail == 0)
		return 0;
	if (c->held_count == c->q->tail) {
		const uint8_t *end = memchr(c->held.data + c->held_from, '\n', c->held.len - c->held_from);

		c->held_from = (size_t)(end - c->held.data) + 1;
		c->held_count--;
	}
	if (c->held_from > c->held.len / 2 && c->held_from > CHUNK) {
		buf_consume(&c->held, c->held_from);
		c->held_from = 0;
	}
	c->held_count++;
	buf_append(&c->held, line, n);
	buf_append_str(&c->held, "\n");
	return c->held.failed ? err_set(err, ERR_NO_MEMORY, 0, "out of memory") : 0;
}

/** on_line() - One line, without its end. */
static int on_line(struct chain *c, const uint8_t *line, size_t n, struct error *err)
{
	struct output_entry e;

	if (n == 0)
		return 0; /* behind half an entry, see output_log.c */
	if (!output_entry_parse(line, n, &c->text, &e)) {
		c->result->broken++;
		return 0;
	}
	if (!wanted(c, &e))
		return 0;
	if (c->holding)
		return hold(c, line, n, err);
	c->enough = !c->sink(c->arg, &e, line, n);
	return 0;
}

/** release() - What --tail held back. */
static void release(struct chain *c)
{
	struct output_entry e;

	c->holding = false;
	while (c->held_from < c->held.len && !c->enough) {
		const uint8_t *line = c->held.data + c->held_from;
		size_t n = (size_t)((const uint8_t *)memchr(line, '\n', c->held.len - c->held_from) - line);

		if (output_entry_parse(line, n, &c->text, &e))
			c->enough = !c->sink(c->arg, &e, line, n);
		c->held_from += n + 1;
	}
	buf_free(&c->held);
}

/** read_some() - Of the open file, line by line. Return: 1: there was something, 0: its end. */
static int read_some(struct chain *c, struct error *err)
{
	uint8_t *to = buf_extend(&c->in, CHUNK);
	ssize_t n = to ? read(c->fd, to, CHUNK) : 0;
	size_t used = 0;
	int rc = 0;

	if (!to)
		return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	c->in.len -= CHUNK - (size_t)MAX(n, 0);
	if (n < 0)
		return errno == EINTR ? 1 : err_set(err, err_from_errno(errno), errno, "read the log");
	while (rc == 0 && !c->enough) {
		const uint8_t *at = c->in.data + used, *end = memchr(at, '\n', c->in.len - used);

		if (!end)
			break;
		if (!c->skipping)
			rc = on_line(c, at, (size_t)(end - at), err);
		c->skipping = false;
		used += (size_t)(end - at) + 1;
	}
	buf_consume(&c->in, used);
	if (c->in.len > OUTPUT_LINE_MAX) {
		c->result->broken += !c->skipping;
		c->skipping = true;
		c->in.len = 0;
	}
	return rc < 0 ? rc : n > 0;
}

/** index_of() - Which number the open file has now; -1: none any more. */
static int index_of(const struct chain *c)
{
	struct stat st;
	char name[32];

	for (int i = 0; i <= OUTPUT_LOGS_KEPT; i++)
		if (fstatat(c->dir, file_name(i, name), &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == c->dev &&
		    st.st_ino == c->ino)
			return i;
	return -1;
}

/** use() - Read this one from now on. */
static bool use(struct chain *c, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		fd_close(&fd);
		return false;
	}
	fd_close(&c->fd);
	c->fd = fd;
	c->dev = st.st_dev;
	c->ino = st.st_ino;
	c->result->broken += c->in.len > 0;
	c->in.len = 0;
	c->skipping = false;
	return true;
}

/** open_next() - The file that follows the open one, or the oldest. Return: false: there is none yet. */
static bool open_next(struct chain *c)
{
	for (int tries = 0; tries < NEXT_TRIES; tries++) {
		int at = c->fd < 0 ? -1 : index_of(c), fd = -1;
		char name[32];

		if (at == 0)
			return false;
		for (int i = at < 0 ? OUTPUT_LOGS_KEPT : at - 1; i >= 0 && fd < 0; i--)
			fd = openat(c->dir, file_name(i, name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (c->fd >= 0 && index_of(c) != at) {
			fd_close(&fd);
			continue; /* rotated meanwhile */
		}
		c->result->lost |= fd >= 0 && c->fd >= 0 && at < 0;
		return fd >= 0 && use(c, fd);
	}
	return false;
}

/** read_all() - To the end of the chain as it is now. */
static int read_all(struct chain *c, struct error *err)
{
	bool complete = false;
	int rc = 0;

	if (c->fd < 0 && !open_next(c))
		return 0;
	while (!c->enough) {
		rc = read_some(c, err);
		if (rc < 0)
			return rc;
		if (rc > 0)
			continue;
		/* It may have grown between its end and its rotation. */
		if (!complete && index_of(c) == 0)
			return 0;
		if (complete && !open_next(c))
			return 0;
		complete = !complete;
	}
	return 0;
}

/** wait_more() - Until something is written, or nothing will be. Return: false: it is over. */
static bool wait_more(const struct chain *c, int changes, int supervisor, int out_fd)
{
	struct pollfd p[] = { { .fd = changes, .events = POLLIN },
			      { .fd = supervisor, .events = POLLIN },
			      { .fd = out_fd, .events = 0 } };
	int64_t left_ms = (c->q->until_ns - clock_realtime_ns()) / NSEC_PER_MSEC + 1;
	int limit = changes < 0 ? WITHOUT_INOTIFY_MS : -1;
	char events[4096];

	if (c->q->until_ns != INT64_MAX)
		limit = (int)MAX(0, MIN(left_ms, limit < 0 ? INT32_MAX : limit));
	poll(p, ARRAY_LEN(p), limit);
	if (p[0].revents)
		(void)!read(changes, events, sizeof(events));
	return !p[1].revents && !p[2].revents && clock_realtime_ns() < c->q->until_ns;
}

/** follow() - What is there, and what comes. */
static int follow(struct chain *c, int supervisor, int out_fd, struct error *err)
{
	_cleanup_fd_ int changes = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	bool more = supervisor >= 0 && c->q->follow;
	char path[32];
	int rc;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", c->dir);
	if (changes >= 0 && inotify_add_watch(changes, path, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0)
		fd_close(&changes);
	for (;;) {
		rc = read_all(c, err);
		if (rc == 0 && c->holding)
			release(c);
		if (rc < 0 || c->enough || !more)
			return rc;
		if (!c->sink(c->arg, NULL, NULL, 0))
			return 0;
		more = wait_more(c, changes, supervisor, out_fd);
	}
}

/** open_dir() - sandboxes/NAME. The name comes from a record, which has none with a slash. */
static int open_dir(int home, const char *name)
{
	char path[SANDBOX_NAME_MAX + 16];

	snprintf(path, sizeof(path), "sandboxes/%s", name);
	return openat(home, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

int engine_logs(const struct engine_paths *paths, const char *name, const struct log_query *query, int out_fd,
		log_sink sink, void *arg, struct log_result *result, struct error *err)
{
	struct chain c = { .q = query,
			   .result = result,
			   .sink = sink,
			   .arg = arg,
			   .dir = -1,
			   .fd = -1,
			   .in = BUF_INIT(OUTPUT_LINE_MAX + CHUNK),
			   .text = BUF_INIT(OUTPUT_LINE_MAX),
			   .held = BUF_INIT(HELD_MAX),
			   .holding = query->tail != LOG_TAIL_ALL };
	struct sandbox_record r = { .image = NULL };
	_cleanup_fd_ int home = use_home(paths, err);
	_cleanup_fd_ int supervisor = -1;
	_cleanup_fd_ int dir = -1;
	int rc = home < 0 ? home : engine_find(paths, name, &r, err);

	*result = (struct log_result){ 0 };
	if (rc == 0) {
		if (query->follow && state_is_live(r.state))
			supervisor = (int)syscall(SYS_pidfd_open, r.supervisor.pid, 0);
		/* The number may have passed to another process just before it was opened. */
		if (supervisor >= 0 && !identity_alive(&r.supervisor))
			fd_close(&supervisor);
		dir = open_dir(home, r.name);
		c.dir = dir < 0 ? -1 : openat(dir, "logs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (c.dir >= 0)
			rc = follow(&c, supervisor, out_fd, err);
		else if (errno != ENOENT)
			rc = err_set(err, err_from_errno(errno), errno, "open the logs of sandbox %s", name);
	}
	sandbox_record_clear(&r);
	fd_close(&c.fd);
	fd_close(&c.dir);
	buf_free(&c.in);
	buf_free(&c.text);
	buf_free(&c.held);
	return rc;
}

int engine_boot_error(const struct engine_paths *paths, const char *name, struct boot_error *out, struct error *err)
{
	struct buf text = BUF_INIT(BOOT_ERROR_BYTES_MAX);
	struct sandbox_record r = { .image = NULL };
	_cleanup_fd_ int home = use_home(paths, err);
	_cleanup_fd_ int dir = -1;
	int rc = home < 0 ? home : engine_find(paths, name, &r, err);

	if (rc == 0) {
		dir = open_dir(home, r.name);
		/* A file that is none of ours tells nothing. */
		rc = dir >= 0 && file_read(dir, BOOT_ERROR_FILE, BOOT_ERROR_BYTES_MAX, &text, NULL) == 0 &&
		     boot_error_parse(text.data, text.len, out);
	}
	sandbox_record_clear(&r);
	buf_free(&text);
	return rc;
}
