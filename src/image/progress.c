/* SPDX-License-Identifier: Apache-2.0 */
#include "image/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/macros.h"

#define REDRAW_NS (100 * NSEC_PER_MSEC)
#define RATE_NS (500 * NSEC_PER_MSEC)
#define LINES_MAX 20	     /* more layers are summed in the last line */
#define BAR 24		     /* columns, where there is room */
#define BAR_MIN 6	     /* a shorter one says nothing */
#define BESIDE_BAR (28 + 14) /* identity and size before it, its ends and what is there behind it */

static const char *const names[LAYER_STATES] = {
	[LAYER_WAITING] = "waiting", [LAYER_LOCKED] = "another pull has it",
	[LAYER_FETCHING] = "",	     [LAYER_FINISHING] = "storing",
	[LAYER_DONE] = "done",	     [LAYER_THERE] = "already here",
	[LAYER_FAILED] = "failed",
};

void progress_size(uint64_t bytes, char out[24])
{
	if (bytes < 1024)
		snprintf(out, 24, "%llu B", (unsigned long long)bytes);
	else if (bytes < MIB(1))
		snprintf(out, 24, "%.1f KiB", (double)bytes / 1024);
	else if (bytes < GIB(1))
		snprintf(out, 24, "%.1f MiB", (double)bytes / (double)MIB(1));
	else
		snprintf(out, 24, "%.2f GiB", (double)bytes / (double)GIB(1));
}

void progress_start(struct progress *p, struct layer_progress *layers, uint32_t count, bool quiet)
{
	*p = (struct progress){ .quiet = quiet, .layers = layers, .count = count, .start_ns = clock_monotonic_ns() };
	p->terminal = isatty(STDERR_FILENO);
	p->shown_ns = p->start_ns;
	p->told = calloc((size_t)count + 1, sizeof(int));
}

void progress_clear(struct progress *p)
{
	/* Up, then erase to the end of the screen. */
	if (p->lines)
		fprintf(stderr, "\033[%dA\r\033[J", p->lines);
	p->lines = 0;
}

void progress_end(struct progress *p)
{
	progress_clear(p);
	free(p->told);
	p->told = NULL;
}

/** is_active() - Does a worker have it now? */
static bool is_active(const struct layer_progress *l)
{
	int state = atomic_load(&l->state);

	return state == LAYER_LOCKED || state == LAYER_FETCHING || state == LAYER_FINISHING;
}

/** draw_line() - One line of the display, cut where the terminal would break it; the rest of the old line goes. */
static void draw_line(struct buf *out, const char *line, int columns)
{
	buf_printf(out, "%.*s\033[K\n", columns - 1, line);
}

/** draw_layer() - Its line: the bar is as long as the terminal leaves room for. */
static void draw_layer(struct buf *out, const struct layer_progress *l, int columns)
{
	int state = atomic_load(&l->state), width = MIN(BAR, columns - 1 - (int)BESIDE_BAR), filled;
	uint64_t taken = MIN(atomic_load(&l->taken), l->size);
	char bar[BAR + 4] = "", have[24], size[24], line[160];

	if (width >= BAR_MIN) {
		filled = l->size ? (int)(taken * (uint64_t)width / l->size) : width;
		bar[0] = '[';
		memset(bar + 1, ' ', (size_t)width);
		memset(bar + 1, '=', (size_t)filled);
		if (filled < width)
			bar[1 + filled] = '>';
		memcpy(bar + 1 + width, "]", 2);
	}
	progress_size(taken, have);
	progress_size(l->size, size);
	if (state == LAYER_FETCHING)
		snprintf(line, sizeof(line), "  %.12s  %10s  %s  %s", l->diff_id, size, bar, have);
	else
		snprintf(line, sizeof(line), "  %.12s  %10s  %s", l->diff_id, size, names[state]);
	draw_line(out, line, columns);
}

/** measure() - Bytes a second, smoothed. */
static void measure(struct progress *p, uint64_t fetched)
{
	int64_t now = clock_monotonic_ns();
	double fresh;

	if (now - p->shown_ns < RATE_NS)
		return;
	fresh = (double)(fetched - p->shown_bytes) * 1e9 / (double)(now - p->shown_ns);
	p->rate = p->rate > 0 ? p->rate * 0.6 + fresh * 0.4 : fresh;
	p->shown_ns = now;
	p->shown_bytes = fetched;
}

/**
 * draw() - The whole display again, over the old one and in one write, so that nothing flickers. Where there are more
 * layers than lines, those that are worked on have one.
 */
static void draw(struct progress *p)
{
	_cleanup_(buf_free) struct buf out = BUF_INIT(KIB(16));
	struct winsize w = { .ws_col = 0 };
	uint64_t taken = 0, size = 0, fetched = 0;
	char have[24], all[24], rate[24], line[160];
	uint32_t room = LINES_MAX, done = 0;
	int lines = 0, columns;

	ioctl(STDERR_FILENO, TIOCGWINSZ, &w);
	columns = w.ws_col > 1 ? w.ws_col : 80;
	if (w.ws_row > 3)
		room = MIN(room, (uint32_t)w.ws_row - 3);
	if (p->lines)
		buf_printf(&out, "\033[%dA\r", p->lines);
	for (uint32_t i = 0; i < p->count; i++) {
		const struct layer_progress *l = &p->layers[i];
		int state = atomic_load(&l->state);

		taken += MIN(atomic_load(&l->taken), l->size);
		fetched += atomic_load(&l->fetched);
		size += l->size;
		done += state == LAYER_DONE || state == LAYER_THERE;
		if (lines < (int)room && (p->count <= room || is_active(l))) {
			draw_layer(&out, l, columns);
			lines++;
		}
	}
	measure(p, fetched);
	progress_size(taken, have);
	progress_size(size, all);
	progress_size((uint64_t)p->rate, rate);
	snprintf(line, sizeof(line), "  %u of %u layers, %s of %s, %s/s", done, p->count, have, all, rate);
	draw_line(&out, line, columns);
	buf_printf(&out, "\033[J");
	p->lines = lines + 1;
	if (!out.failed)
		fd_write_full(STDERR_FILENO, out.data, out.len);
}

/** tell() - A line for each layer that got done. */
static void tell(struct progress *p)
{
	for (uint32_t i = 0; p->told && i < p->count; i++) {
		const struct layer_progress *l = &p->layers[i];
		int state = atomic_load(&l->state);
		char size[24];

		if (state == p->told[i] || (state != LAYER_FETCHING && state != LAYER_DONE && state != LAYER_LOCKED))
			continue;
		p->told[i] = state;
		progress_size(l->size, size);
		fprintf(stderr, "layer %u of %u: %.12s, %s%s%s\n", i + 1, p->count, l->diff_id, size,
			state == LAYER_FETCHING ? "" : ", ", names[state]);
	}
}

void progress_show(struct progress *p, bool final)
{
	static int64_t last;
	int64_t now = clock_monotonic_ns();

	if (p->quiet || (!final && now - last < REDRAW_NS))
		return;
	last = now;
	if (p->terminal)
		draw(p);
	else
		tell(p);
}
