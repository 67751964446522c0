/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/output_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

struct output_log {
	int dir; /* logs/ */
	int fd;
	uint64_t size;
	bool failing;	 /* said once */
	bool torn;	 /* the last entry is not whole: it must not take the next one with it */
	struct buf line; /* entries of one write */
};

/** open_current() - logs/output.log, at its end. */
static int open_current(struct output_log *log)
{
	struct stat st;
	char last;

	log->fd = openat(log->dir, "output.log", O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (log->fd < 0 || fstat(log->fd, &st) < 0)
		return -1;
	log->size = (uint64_t)st.st_size;
	log->torn = st.st_size > 0 && fd_pread_full(log->fd, &last, 1, st.st_size - 1) == 1 && last != '\n';
	return 0;
}

struct output_log *output_log_open(int dir_fd, struct error *err)
{
	struct output_log *log = calloc(1, sizeof(*log));

	if (!log) {
		err_set(err, ERR_NO_MEMORY, 0, "out of memory");
		return NULL;
	}
	log->line = (struct buf)BUF_INIT(1 << 20);
	log->dir = log->fd = -1;
	if ((mkdirat(dir_fd, "logs", 0700) == 0 || errno == EEXIST) &&
	    (log->dir = openat(dir_fd, "logs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) >= 0 &&
	    open_current(log) == 0)
		return log;
	err_set(err, err_from_errno(errno), errno, "open logs/output.log of the sandbox");
	output_log_close(log);
	return NULL;
}

void output_log_close(struct output_log *log)
{
	if (!log)
		return;
	fd_close(&log->fd);
	fd_close(&log->dir);
	buf_free(&log->line);
	free(log);
}

/** rotate() - A reader that follows sees the old file by its descriptor to its end, then finds the new one. */
static void rotate(struct output_log *log)
{
	char from[32], to[32];

	for (int i = OUTPUT_LOGS_KEPT - 1; i >= 0; i--) {
		snprintf(from, sizeof(from), i ? "output.log.%d" : "output.log", i);
		snprintf(to, sizeof(to), "output.log.%d", i + 1);
		if (renameat(log->dir, from, log->dir, to) < 0 && errno != ENOENT)
			return;
	}
	fd_close(&log->fd);
	open_current(log);
}

/** flush() - To the file. */
static void flush(struct output_log *log)
{
	log->torn = log->line.failed || fd_write_full(log->fd, log->line.data, log->line.len) < 0;
	if (log->torn && !log->failing)
		log_warn(LOG_SANDBOX, "output.log: %s", log->line.failed ? "out of memory" : strerror(errno));
	log->failing |= log->torn;
	if (!log->torn)
		log->size += log->line.len;
	buf_free(&log->line);
	if (log->size >= OUTPUT_LOG_MAX)
		rotate(log);
}

void output_log_write(struct output_log *log, enum output_source source, uint32_t session, const void *data, size_t n)
{
	const uint8_t *p = data;

	if (!log)
		return;
	if (log->torn)
		buf_append_str(&log->line, "\n");
	while (n > 0) {
		const uint8_t *end = memchr(p, '\n', MIN(n, OUTPUT_DATA_MAX));
		size_t len = end ? (size_t)(end - p) + 1 : MIN(n, OUTPUT_DATA_MAX);

		/* A long line is cut between characters, where there are any. */
		for (size_t back = 0; !end && len < n && back < 4; back++)
			if ((p[len - back] & 0xc0) != 0x80) {
				len -= back;
				break;
			}
		output_entry_put(&log->line, &(struct output_entry){ .time_ns = clock_realtime_ns(),
								     .source = source,
								     .session = session,
								     .data = p,
								     .size = len });
		p += len;
		n -= len;
		if (log->line.len > (1u << 18))
			flush(log);
	}
	flush(log);
}
