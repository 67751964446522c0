/* SPDX-License-Identifier: Apache-2.0 */
#include "image/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/macros.h"

#define REDRAW_NS (100 * NSEC_PER_MSEC)
#define RATE_NS (500 * NSEC_PER_MSEC)
#define LINES_MAX 20 /* more layers are summed in the last line */
#define BAR 24

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

/** draw_layer() - One line of the display. */
static void draw_layer(const struct layer_progress *l, int columns)
{
	int state = atomic_load(&l->state);
	uint64_t taken = atomic_load(&l->taken);
	int filled = l->size ? (int)(MIN(taken, l->size) * BAR / l->size) : BAR;
	char bar[BAR + 1], have[24], size[24], line[160];

	memset(bar, ' ', BAR);
	memset(bar, '=', (size_t)filled);
	if (filled < BAR)
		bar[filled] = '>';
	bar[BAR] = '\0';
	progress_size(MIN(taken, l->size), have);
	progress_size(l->size, size);
	if (state == LAYER_FETCHING)
		snprintf(line, sizeof(line), "  %.12s  [%s]  %s / %s", l->diff_id, bar, have, size);
	else
		snprintf(line, sizeof(line), "  %.12s  %s  %s", l->diff_id, size, names[state]);
	fprintf(stderr, "%.*s\n", columns > 1 ? columns - 1 : (int)sizeof(line), line);
}

/** draw() - The whole display again. */
static void draw(struct progress *p)
{
	struct winsize w = { .ws_col = 80 };
	uint64_t taken = 0, size = 0, fetched = 0;
	int64_t now = clock_monotonic_ns();
	uint32_t shown = MIN(p->count, LINES_MAX);
	char have[24], all[24], rate[24];

	ioctl(STDERR_FILENO, TIOCGWINSZ, &w);
	if (w.ws_row > 3)
		shown = MIN(shown, (uint32_t)w.ws_row - 3);
	progress_clear(p);
	for (uint32_t i = 0; i < p->count; i++) {
		taken += MIN(atomic_load(&p->layers[i].taken), p->layers[i].size);
		fetched += atomic_load(&p->layers[i].fetched);
		size += p->layers[i].size;
		if (i < shown)
			draw_layer(&p->layers[i], w.ws_col);
	}
	if (now - p->shown_ns >= RATE_NS) {
		double fresh = (double)(fetched - p->shown_bytes) * 1e9 / (double)(now - p->shown_ns);

		p->rate = p->rate > 0 ? p->rate * 0.6 + fresh * 0.4 : fresh;
		p->shown_ns = now;
		p->shown_bytes = fetched;
	}
	progress_size(taken, have);
	progress_size(size, all);
	progress_size((uint64_t)p->rate, rate);
	fprintf(stderr, "  %u layers, %s of %s, %s/s\n", p->count, have, all, rate);
	p->lines = (int)shown + 1;
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
