/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb metrics --watch: a table drawn over the last one. Nothing scrolls, since it is never longer or wider than the
 * terminal; what was on the screen before stays above it. Keys are not shown meanwhile; Ctrl-C, q and the signals that
 * end a program all restore the terminal.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/macros.h"
#include "cli/metrics.h"

#define POINTS 10 /* of a line */
#define SCREEN_MAX (1u << 20)

/** The last points of one sandbox, in eighths of what it may use. */
struct history {
	char name[SANDBOX_NAME_MAX + 1];
	uint8_t cpu[POINTS], memory[POINTS]; /* the newest last */
	unsigned int count;
	bool seen;
};

struct watch {
	const struct metrics_query *q;
	struct metrics *rows;
	size_t row_count;
	struct history *histories;
	size_t history_count;
	size_t drawn; /* lines on the screen */
	struct termios saved;
	bool quiet_keys;
};

/** eighths() - Of the whole, 0 to 8. */
static uint8_t eighths(uint64_t part, uint64_t whole)
{
	if (part == METRIC_UNKNOWN || whole == METRIC_UNKNOWN || whole == 0)
		return 0;
	return (uint8_t)MIN((part * 8 + whole / 2) / whole, 8u);
}

/** history_of() - Of this name; a new one when there is none. NULL without memory. */
static struct history *history_of(struct watch *w, const char *name)
{
	struct history *grown;

	for (size_t i = 0; i < w->history_count; i++)
		if (strcmp(w->histories[i].name, name) == 0)
			return &w->histories[i];
	grown = realloc(w->histories, (w->history_count + 1) * sizeof(*grown));
	if (!grown)
		return NULL;
	w->histories = grown;
	grown += w->history_count++;
	*grown = (struct history){ .seen = true };
	snprintf(grown->name, sizeof(grown->name), "%s", name);
	return grown;
}

/** remember() - One more point for each row; who is gone is forgotten. */
static void remember(struct watch *w)
{
	size_t kept = 0;

	for (size_t i = 0; i < w->history_count; i++)
		w->histories[i].seen = false;
	for (size_t i = 0; i < w->row_count; i++) {
		const struct metrics *m = &w->rows[i];
		struct history *h = history_of(w, m->name);

		if (!h)
			continue;
		memmove(h->cpu, h->cpu + 1, POINTS - 1);
		memmove(h->memory, h->memory + 1, POINTS - 1);
		h->cpu[POINTS - 1] = eighths(m->cpu_permille, m->cpus == METRIC_UNKNOWN ? 0 : m->cpus * 1000);
		h->memory[POINTS - 1] = eighths(m->memory_used, m->memory_limit);
		h->count = MIN(h->count + 1, (unsigned int)POINTS);
		h->seen = true;
	}
	for (size_t i = 0; i < w->history_count; i++)
		if (w->histories[i].seen)
			w->histories[kept++] = w->histories[i];
	w->history_count = kept;
}

/** line_of() - Points as blocks of a height, and a blank. */
static void line_of(const struct history *h, const uint8_t *points, char to[4 * POINTS + 2])
{
	static const char *const blocks[] = { " ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
	size_t used = 0;

	for (unsigned int i = 0; i < POINTS; i++)
		used += (size_t)snprintf(to + used, 4 * POINTS + 2 - used, "%s",
					 h && i >= POINTS - h->count ? blocks[MAX(points[i], 1)] : " ");
	snprintf(to + used, 4 * POINTS + 2 - used, " ");
}

/** put_cut() - A line, no wider than the terminal, and nothing behind it. */
static void put_cut(struct buf *out, const char *line, size_t n, size_t width)
{
	size_t used = 0, at = 0;

	while (at < n && (used < width || ((unsigned char)line[at] & 0xc0) == 0x80))
		used += ((unsigned char)line[at++] & 0xc0) != 0x80;
	buf_append(out, line, at);
	buf_append_str(out, "\033[K\n");
}

/** draw() - Over what was drawn last. */
static void draw(struct watch *w)
{
	const struct metrics **sorted = metrics_sorted(w->q, w->rows, w->row_count);
	struct buf text = BUF_INIT(SCREEN_MAX), out = BUF_INIT(SCREEN_MAX);
	struct winsize size = { 0 };
	size_t height, width, lines = 0;
	struct table table;
	char *at;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_row || !size.ws_col)
		size = (struct winsize){ .ws_row = 24, .ws_col = 80 };
	height = MAX(size.ws_row, 3u) - 1u;
	width = size.ws_col;
	metrics_head(&table);
	for (size_t i = 0; sorted && i < w->row_count; i++) {
		struct history *h = history_of(w, sorted[i]->name);
		char cpu[4 * POINTS + 2], memory[4 * POINTS + 2];

		line_of(h, h ? h->cpu : NULL, cpu);
		line_of(h, h ? h->memory : NULL, memory);
		metrics_line(&table, sorted[i], cpu, memory);
	}
	table_render(&table, &text);
	if (w->drawn)
		buf_printf(&out, "\033[%zuA\r", w->drawn);
	at = buf_cstr(&text);
	for (; at && *at && lines < height; lines++) {
		size_t n = strcspn(at, "\n");
		char more[64];

		if (lines + 1 == height && at[n + 1]) {
			snprintf(more, sizeof(more), "... %zu more", w->row_count + 1 - lines);
			put_cut(&out, more, strlen(more), width);
		} else {
			put_cut(&out, at, n, width);
		}
		at += n + 1;
	}
	buf_append_str(&out, "\033[J");
	w->drawn = lines;
	(void)!fd_write_full(STDOUT_FILENO, out.data, out.len);
	buf_free(&text);
	buf_free(&out);
	free(sorted);
}

/** prepare() - The terminal: no cursor, no keys. */
static void prepare(struct watch *w)
{
	struct termios quiet;

	if (tcgetattr(STDIN_FILENO, &w->saved) == 0) {
		quiet = w->saved;
		quiet.c_lflag &= ~(tcflag_t)(ECHO | ICANON);
		quiet.c_cc[VSUSP] = _POSIX_VDISABLE; /* the cursor would stay away */
		quiet.c_cc[VMIN] = 1;
		w->quiet_keys = tcsetattr(STDIN_FILENO, TCSADRAIN, &quiet) == 0;
	}
	(void)!fd_write_full(STDOUT_FILENO, "\033[?25l", 6);
}

/** restore() - As it was; what was typed meanwhile is for nobody. */
static void restore(struct watch *w)
{
	(void)!fd_write_full(STDOUT_FILENO, "\033[?25h", 6);
	if (w->quiet_keys)
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &w->saved);
}

/** wait_until() - The next sample is due. Return: 0, the signal that came, or -1: q was typed. */
static int wait_until(struct watch *w, int signals, int64_t due)
{
	for (;;) {
		struct pollfd p[] = { { .fd = signals, .events = POLLIN },
				      { .fd = w->quiet_keys ? STDIN_FILENO : -1, .events = POLLIN } };
		int64_t left = (due - clock_monotonic_ns()) / NSEC_PER_MSEC;
		struct signalfd_siginfo info;
		char key;

		if (left <= 0)
			return 0;
		if (poll(p, ARRAY_LEN(p), (int)left) <= 0)
			continue;
		if (p[0].revents && read(signals, &info, sizeof(info)) == sizeof(info)) {
			if (info.ssi_signo != SIGWINCH)
				return (int)info.ssi_signo;
			w->drawn = 0; /* the terminal has moved the lines */
			(void)!fd_write_full(STDOUT_FILENO, "\033[H\033[2J", 7);
			draw(w);
		}
		if (p[1].revents && (read(STDIN_FILENO, &key, 1) != 1 || key == 'q'))
			return -1;
	}
}

int metrics_watch(const struct metrics_query *q)
{
	struct watch w = { .q = q };
	struct error err = ERROR_INIT;
	int64_t due = clock_monotonic_ns();
	int signals, why = 0, rc;

	if (!isatty(STDOUT_FILENO)) {
		err_set(&err, ERR_USAGE, 0, "metrics: --watch needs a terminal");
		err_hint(&err, "--follow prints lines of JSON");
		return usage_error(&err);
	}
	signals = block_signals();
	rc = metrics_sample(q, &w.rows, &w.row_count, &err);
	if (rc == 0)
		prepare(&w);
	while (rc == 0 && why == 0) {
		remember(&w);
		draw(&w);
		due = MAX(due + q->interval_ms * NSEC_PER_MSEC, clock_monotonic_ns());
		why = wait_until(&w, signals, due);
		if (why == 0)
			rc = metrics_sample(q, &w.rows, &w.row_count, &err);
	}
	if (rc == 0 || w.drawn)
		restore(&w);
	free(w.rows);
	free(w.histories);
	fd_close(&signals);
	if (rc < 0)
		return command_failed(&err);
	/* Ctrl-C is how it ends. */
	return why > 0 && why != SIGINT ? 128 + why : 0;
}
