/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/output_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

#define ENTRY_DATA_MAX (16u << 10) /* of one entry; longer lines are several */

struct output_log {
	int dir; /* logs/ */
	int fd;
	uint64_t size;
	bool failing;	 /* said once */
	struct buf line; /* entries of one write */
};

/** open_current() - logs/output.log, at its end. */
static int open_current(struct output_log *log)
{
	struct stat st;

	log->fd = openat(log->dir, "output.log", O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (log->fd < 0 || fstat(log->fd, &st) < 0)
		return -1;
	log->size = (uint64_t)st.st_size;
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

/** utf8_length() - Bytes of the valid sequence at p; 0: none. Source: RFC 3629, section 4. */
static size_t utf8_length(const uint8_t *p, size_t n)
{
	size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;

	if (len == 0 || len > n)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
	    (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return len;
}

/** is_utf8() - All of it. */
static bool is_utf8(const uint8_t *p, size_t n)
{
	for (size_t at = 0, len; at < n; at += len) {
		len = utf8_length(p + at, n - at);
		if (!len)
			return false;
	}
	return true;
}

/** put_json() - Text inside quotes. Source: RFC 8259, section 7. */
static void put_json(struct buf *out, const uint8_t *p, size_t n)
{
	size_t plain = 0;

	for (size_t i = 0; i < n; i++) {
		if (p[i] >= 0x20 && p[i] != '"' && p[i] != '\\' && p[i] != 0x7f)
			continue;
		buf_append(out, p + plain, i - plain);
		plain = i + 1;
		if (p[i] == '\n')
			buf_append_str(out, "\\n");
		else if (p[i] == '"' || p[i] == '\\')
			buf_printf(out, "\\%c", p[i]);
		else
			buf_printf(out, "\\u%04x", p[i]);
	}
	buf_append(out, p + plain, n - plain);
}

/** put_base64() - Source: RFC 4648, section 4. */
static void put_base64(struct buf *out, const uint8_t *p, size_t n)
{
	static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < n; i += 3) {
		uint32_t v =
			(uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
		char four[4] = { set[v >> 18], set[v >> 12 & 63], i + 1 < n ? set[v >> 6 & 63] : '=',
				 i + 2 < n ? set[v & 63] : '=' };

		buf_append(out, four, 4);
	}
}

/** put_entry() - One line of the log. */
static void put_entry(struct buf *out, enum output_source source, uint32_t session, const uint8_t *p, size_t n)
{
	static const char *const names[] = { [OUTPUT_STDOUT] = "stdout",
					     [OUTPUT_STDERR] = "stderr",
					     [OUTPUT_PTY] = "output",
					     [OUTPUT_SYSTEM] = "system" };
	int64_t now = clock_realtime_ns();
	time_t seconds = (time_t)(now / NSEC_PER_SEC);
	bool text = is_utf8(p, n);
	char when[32];
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	buf_printf(out, "{\"t\":\"%s.%06u+00:00\",\"s\":\"%s\",\"d\":\"", when,
		   (unsigned int)(now % NSEC_PER_SEC / 1000), names[source]);
	if (text)
		put_json(out, p, n);
	else
		put_base64(out, p, n);
	buf_printf(out, "\",\"id\":%u%s}\n", session, text ? "" : ",\"e\":\"b64\"");
}

/** flush() - To the file. */
static void flush(struct output_log *log)
{
	if (log->line.failed || (log->fd >= 0 && fd_write_full(log->fd, log->line.data, log->line.len) < 0)) {
		if (!log->failing)
			log_warn(LOG_SANDBOX, "output.log: %s", log->line.failed ? "out of memory" : strerror(errno));
		log->failing = true;
	}
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
	while (n > 0) {
		const uint8_t *end = memchr(p, '\n', MIN(n, ENTRY_DATA_MAX));
		size_t len = end ? (size_t)(end - p) + 1 : MIN(n, ENTRY_DATA_MAX);

		/* A long line is cut between characters, where there are any. */
		for (size_t back = 0; !end && len < n && back < 4; back++)
			if ((p[len - back] & 0xc0) != 0x80) {
				len -= back;
				break;
			}
		put_entry(&log->line, source, session, p, len);
		p += len;
		n -= len;
		if (log->line.len > (1u << 18))
			flush(log);
	}
	flush(log);
}
