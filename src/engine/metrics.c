/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/metrics.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fd.h"
#include "engine/lifecycle.h"
#include "engine/session.h"
#include "engine/use.h"

#define ANSWER_MS 1500 /* a supervisor waits 1 s for its agent */

/** known_difference() - a - b where both are known. */
static uint64_t known_difference(uint64_t a, uint64_t b)
{
	return a == METRIC_UNKNOWN || b == METRIC_UNKNOWN || b > a ? METRIC_UNKNOWN : a - b;
}

/** from_record() - What is known without asking. */
static void from_record(int home, const struct sandbox_record *r, struct metrics *m)
{
	struct sandbox_json *j = engine_spec(r, NULL);
	char path[SANDBOX_NAME_MAX + 40];
	struct stat st;

	memset(m, 0xff, sizeof(*m)); /* every number is unknown */
	snprintf(m->name, sizeof(m->name), "%s", r->name);
	m->state = state_is_live(r->state) ? METRICS_STALLED : METRICS_EXITED;
	m->supervisor = r->supervisor;
	m->time_ns = clock_realtime_ns();
	if (j) {
		m->cpus = engine_spec_of(j)->cpus;
		m->memory_limit = engine_spec_of(j)->memory_mib << 20;
	}
	engine_spec_free(j);
	snprintf(path, sizeof(path), "sandboxes/%s/disk.ext4", r->name);
	if (fstatat(home, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
		m->upper_allocated = (uint64_t)st.st_blocks * 512;
}

/** from_status() - What its supervisor says. */
static void from_status(const struct ctl_status *s, struct metrics *m)
{
	/* Memory is asked of the agent. */
	m->state = s->guest_total_bytes == METRIC_UNKNOWN ? METRICS_STALLED : METRICS_RUNNING;
	m->time_ns = clock_realtime_ns();
	m->uptime_ns = s->uptime_ns;
	m->cpu_ns = s->cpu_ns;
	m->memory_available = s->guest_free_bytes;
	m->memory_used = known_difference(s->guest_total_bytes, s->guest_free_bytes);
	m->memory_resident = s->resident_bytes;
	m->disk_read = s->disk_read_bytes;
	m->disk_written = s->disk_written_bytes;
	m->net_received = s->net_rx_bytes;
	m->net_sent = s->net_tx_bytes;
	m->upper_free = s->upper_free_bytes;
	m->upper_used = known_difference(s->upper_total_bytes, s->upper_free_bytes);
	m->sessions = s->sessions;
	m->processes = s->processes;
	m->oom_kills = s->oom_kills;
}

/** ask() - Return: owned fd, or -1: nobody is there. */
static int ask(int home, const struct sandbox_record *r)
{
	_cleanup_fd_ int fd = use_connect(home, r, NULL);
	struct buf frame = BUF_INIT(64);
	bool ok = fd >= 0 && frame_append(&frame, FRAME_CTL_STATUS, 0, NULL, 0) &&
		  send(fd, frame.data, frame.len, MSG_NOSIGNAL) == (ssize_t)frame.len;

	buf_free(&frame);
	return ok ? TAKE_FD(fd) : -1;
}

/** answer() - One that has come. */
static void answer(int fd, struct metrics *m)
{
	struct buf body = BUF_INIT(FRAME_BODY_MAX + FRAME_HEADER_SIZE);
	struct ctl_status s;
	struct frame f;

	if (session_read_frame(fd, &body, &f, NULL) == 0 && f.type == FRAME_CTL_STATUS_REPLY &&
	    ctl_decode_status(f.body, f.body_len, &s))
		from_status(&s, m);
	buf_free(&body);
}

/** collect() - All answers that come in time. @asked: one for each of m; closed here */
static void collect(struct pollfd *asked, struct metrics *m, size_t count)
{
	int64_t end = clock_monotonic_ns() + ANSWER_MS * NSEC_PER_MSEC;
	size_t open = 0;

	for (size_t i = 0; i < count; i++)
		open += asked[i].fd >= 0;
	while (open) {
		int64_t left = (end - clock_monotonic_ns()) / NSEC_PER_MSEC;

		if (left <= 0 || poll(asked, count, (int)left) <= 0)
			break;
		for (size_t i = 0; i < count; i++) {
			if (asked[i].fd < 0 || !asked[i].revents)
				continue;
			answer(asked[i].fd, &m[i]);
			fd_close(&asked[i].fd);
			open--;
		}
	}
	for (size_t i = 0; i < count; i++)
		fd_close(&asked[i].fd);
}

/** compare_names() - For qsort(). */
static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct sandbox_record *)a)->name, ((const struct sandbox_record *)b)->name);
}

int engine_metrics(const struct engine_paths *paths, const char *name, bool all, struct metrics **out, size_t *count,
		   struct error *err)
{
	_cleanup_fd_ int home = use_home(paths, err);
	struct sandbox_record *list = NULL;
	struct pollfd *asked = NULL;
	size_t records = 0, n = 0;
	int rc = home < 0 ? home : engine_list(paths, &list, &records, err);

	*out = NULL;
	if (rc == 0) {
		*out = calloc(records + 1, sizeof(**out));
		asked = calloc(records + 1, sizeof(*asked));
		rc = *out && asked ? 0 : err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	}
	if (rc == 0 && records)
		qsort(list, records, sizeof(*list), compare_names);
	for (size_t i = 0; rc == 0 && i < records; i++) {
		bool runs = list[i].state == SANDBOX_RUNNING || list[i].state == SANDBOX_DRAINING;

		if (name ? strcmp(name, list[i].name) != 0 : !all && !runs)
			continue;
		from_record(home, &list[i], &(*out)[n]);
		asked[n++] = (struct pollfd){ .fd = runs ? ask(home, &list[i]) : -1, .events = POLLIN };
	}
	if (rc == 0)
		collect(asked, *out, n);
	if (rc == 0 && name && n == 0) {
		err_set(err, ERR_NOT_FOUND, 0, "there is no sandbox named %.128s", name);
		rc = err_hint(err, "msb ls lists those there are");
	}
	sandbox_records_free(list, records);
	free(asked);
	if (rc < 0) {
		free(*out);
		*out = NULL;
	}
	*count = n;
	return rc;
}

/** rate() - Units a second. */
static uint64_t rate(uint64_t now, uint64_t before, uint64_t elapsed_ns)
{
	uint64_t more = known_difference(now, before);

	return more == METRIC_UNKNOWN ? more : (uint64_t)((double)more * NSEC_PER_SEC / (double)elapsed_ns);
}

void metrics_rates(struct metrics *now, size_t count, const struct metrics *before, size_t before_count)
{
	for (size_t i = 0, j = 0; i < count; i++) {
		struct metrics *m = &now[i];
		uint64_t elapsed, cpu;

		while (j < before_count && strcmp(before[j].name, m->name) < 0)
			j++;
		if (j == before_count || strcmp(before[j].name, m->name) != 0 ||
		    before[j].supervisor.pid != m->supervisor.pid ||
		    before[j].supervisor.start_time != m->supervisor.start_time)
			continue;
		elapsed = known_difference(m->uptime_ns, before[j].uptime_ns);
		if (elapsed == METRIC_UNKNOWN || elapsed == 0)
			continue;
		m->read_rate = rate(m->disk_read, before[j].disk_read, elapsed);
		m->write_rate = rate(m->disk_written, before[j].disk_written, elapsed);
		/* What the processes around the machine need is not the guest's: no more than its CPUs can do. */
		cpu = rate(m->cpu_ns, before[j].cpu_ns, elapsed);
		if (cpu != METRIC_UNKNOWN)
			m->cpu_permille = MIN((cpu + 500000) / 1000000, m->cpus * 1000);
	}
}
