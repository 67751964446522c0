/* SPDX-License-Identifier: Apache-2.0 */
/* What sandboxes use. contract 1.9, 5.4 */
#include "cli/metrics.h"

#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/macros.h"
#include "base/rfc3339.h"
#include "cli/units.h"

#define FIRST_INTERVAL_MS 500 /* between the two samples that a rate needs */
#define INTERVAL_MIN_MS 100

static struct {
	const char *format, *interval, *sort;
	bool watch, follow, all;
} o;

static const struct option_row rows[] = {
	{ 'a', "all", NULL, "those that do not run, too", OPTION_FLAG, &o.all, 0, 0 },
	{ 'w', "watch", NULL, "a table that is kept up to date, until Ctrl-C", OPTION_FLAG, &o.watch, 0, 0 },
	{ 'f', "follow", NULL, "a line of JSON for each sandbox, again and again", OPTION_FLAG, &o.follow, 0, 0 },
	{ 0, "interval", "TIME", "of --watch and --follow: 500ms, 2s (1s)", OPTION_STRING, &o.interval, 0, 0 },
	{ 0, "sort", "name|cpu|mem", "order of the rows (name)", OPTION_STRING, &o.sort, 0, 0 },
	{ 0, "format", "json|prometheus", "JSON, or the text format of Prometheus", OPTION_STRING, &o.format, 0, 0 },
};
static const struct command help = { "metrics", "Show what sandboxes use of CPU, memory and disk.", "[OPTIONS] [NAME]",
				     NULL };

static const char *const state_words[] = { [METRICS_RUNNING] = "running",
					   [METRICS_STALLED] = "stalled",
					   [METRICS_EXITED] = "exited" };

int metrics_sample(const struct metrics_query *q, struct metrics **list, size_t *count, struct error *err)
{
	struct metrics *now;
	size_t n;
	int rc = engine_metrics(&q->paths, q->name, q->all, &now, &n, err);

	if (rc < 0)
		return rc;
	metrics_rates(now, n, *list, *count);
	free(*list);
	*list = now;
	*count = n;
	return 0;
}

/** compare() - The largest first, the unknown last. */
static int compare(uint64_t a, uint64_t b)
{
	a += 1; /* unknown becomes 0 */
	b += 1;
	return a < b ? 1 : a > b ? -1 : 0;
}

/** by_cpu(), by_memory() - For qsort(). */
static int by_cpu(const void *a, const void *b)
{
	return compare((*(const struct metrics *const *)a)->cpu_permille,
		       (*(const struct metrics *const *)b)->cpu_permille);
}

static int by_memory(const void *a, const void *b)
{
	return compare((*(const struct metrics *const *)a)->memory_used,
		       (*(const struct metrics *const *)b)->memory_used);
}

const struct metrics **metrics_sorted(const struct metrics_query *q, const struct metrics *list, size_t count)
{
	const struct metrics **out = calloc(count + 1, sizeof(*out));

	for (size_t i = 0; out && i < count; i++)
		out[i] = &list[i];
	if (out && q->sort && strcmp(q->sort, "name") != 0)
		qsort(out, count, sizeof(*out), strcmp(q->sort, "cpu") == 0 ? by_cpu : by_memory);
	return out;
}

void metrics_head(struct table *t)
{
	static const char *const heads[] = { "NAME",	      "STATE",	       "CPU",   "MEM",
					     "DISK R/W /s", "NET RX/TX /s", "UPTIME" };

	*t = (struct table){ .columns = ARRAY_LEN(heads) };
	table_row(t, heads);
}

/** uptime_text() - "3d 4h", "5h 2m", "1m 7s". */
static void uptime_text(uint64_t ns, char to[32])
{
	unsigned long long s = ns / NSEC_PER_SEC;

	if (ns == METRIC_UNKNOWN)
		snprintf(to, 32, "-");
	else if (s >= 86400)
		snprintf(to, 32, "%llud %lluh", s / 86400, s / 3600 % 24);
	else if (s >= 3600)
		snprintf(to, 32, "%lluh %llum", s / 3600, s / 60 % 60);
	else if (s >= 60)
		snprintf(to, 32, "%llum %llus", s / 60, s % 60);
	else
		snprintf(to, 32, "%llus", s);
}

/** pair() - "1.0 MiB / 2.0 MiB". */
static void pair(uint64_t a, uint64_t b, char to[64])
{
	char one[24], two[24];

	snprintf(to, 64, "%s / %s", a == METRIC_UNKNOWN ? "-" : unit_size_text(a, one),
		 b == METRIC_UNKNOWN ? "-" : unit_size_text(b, two));
}

void metrics_line(struct table *t, const struct metrics *m, const char *cpu_line, const char *memory_line)
{
	char cpu[CELL_MAX], memory[64], both[CELL_MAX], disk[64], net[64], uptime[32];

	if (m->cpu_permille == METRIC_UNKNOWN)
		snprintf(cpu, sizeof(cpu), "%s%5s", cpu_line, "-");
	else
		snprintf(cpu, sizeof(cpu), "%s%5.1f%%", cpu_line, (double)m->cpu_permille / 10);
	pair(m->memory_used == METRIC_UNKNOWN ? m->memory_resident : m->memory_used, m->memory_limit, memory);
	snprintf(both, sizeof(both), "%s%s", memory_line, memory);
	pair(m->read_rate, m->write_rate, disk);
	pair(m->net_received, m->net_sent, net);
	uptime_text(m->uptime_ns, uptime);
	table_row(t, (const char *const[]){ m->name, state_words[m->state], cpu, both, disk, net, uptime });
}

/** number() - Or null. */
static json_t *number(uint64_t v)
{
	return v == METRIC_UNKNOWN ? json_null() : json_integer((json_int_t)MIN(v, (uint64_t)INT64_MAX));
}

/** to_json() - One sandbox. */
static json_t *to_json(const struct metrics *m)
{
	uint64_t memory = m->memory_used == METRIC_UNKNOWN ? m->memory_resident : m->memory_used;
	json_t *cpu = m->cpu_permille == METRIC_UNKNOWN ? json_null() : json_real((double)m->cpu_permille / 10);
	json_t *uptime = m->uptime_ns == METRIC_UNKNOWN
				 ? json_null()
				 : json_real((double)(m->uptime_ns / NSEC_PER_MSEC) / 1000);
	char when[RFC3339_SIZE];

	return json_pack("{s:s,s:s,s:o,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}",
			 "name", m->name, "state", state_words[m->state], "cpus", number(m->cpus), "timestamp",
			 rfc3339_text(m->time_ns, when), "cpu_percent", cpu, "vcpu_time_ns", number(m->cpu_ns),
			 "memory_bytes", number(memory), "memory_available_bytes", number(m->memory_available),
			 "memory_host_resident_bytes", number(m->memory_resident), "memory_limit_bytes",
			 number(m->memory_limit), "disk_read_bytes", number(m->disk_read), "disk_write_bytes",
			 number(m->disk_written), "net_rx_bytes", number(m->net_received), "net_tx_bytes",
			 number(m->net_sent), "upper_used_bytes", number(m->upper_used), "upper_free_bytes",
			 number(m->upper_free), "upper_host_allocated_bytes", number(m->upper_allocated), "uptime_secs",
			 uptime, "sessions", number(m->sessions), "processes", number(m->processes), "oom_kills",
			 number(m->oom_kills));
}

/** print_json() - An array; the one that was asked for by name as it is. */
static void print_json(const struct metrics_query *q, const struct metrics *const *list, size_t count)
{
	json_t *all = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(all, to_json(list[i]));
	json_dumpf(q->name ? json_array_get(all, 0) : all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
	printf("\n");
	json_decref(all);
}

/** print_prometheus() - Source: Prometheus exposition formats, text format 0.0.4. Names need no escapes. */
static void print_prometheus(const struct metrics *const *list, size_t count)
{
	static const struct {
		const char *name, *type, *about;
		size_t offset;
		double divisor;
	} figures[] = {
#define FIGURE(name, type, about, field, divisor) { name, type, about, offsetof(struct metrics, field), divisor }
		FIGURE("cpus", "gauge", "Virtual CPUs.", cpus, 1),
		FIGURE("cpu_seconds_total", "counter", "Time that its processes used.", cpu_ns, 1e9),
		FIGURE("memory_used_bytes", "gauge", "Memory in use, as the guest sees it.", memory_used, 1),
		FIGURE("memory_available_bytes", "gauge", "Memory left, as the guest sees it.", memory_available, 1),
		FIGURE("memory_resident_bytes", "gauge", "Memory of the host.", memory_resident, 1),
		FIGURE("memory_limit_bytes", "gauge", "Memory of the machine.", memory_limit, 1),
		FIGURE("disk_read_bytes_total", "counter", "Read from its disks.", disk_read, 1),
		FIGURE("disk_written_bytes_total", "counter", "Written to its disks.", disk_written, 1),
		FIGURE("network_received_bytes_total", "counter", "Received from the network.", net_received, 1),
		FIGURE("network_sent_bytes_total", "counter", "Sent to the network.", net_sent, 1),
		FIGURE("upper_used_bytes", "gauge", "In use on the writable disk.", upper_used, 1),
		FIGURE("upper_free_bytes", "gauge", "Left on the writable disk.", upper_free, 1),
		FIGURE("upper_allocated_bytes", "gauge", "Of the host, for the writable disk.", upper_allocated, 1),
		FIGURE("sessions", "gauge", "Commands that run.", sessions, 1),
		FIGURE("processes", "gauge", "Processes in the guest.", processes, 1),
		FIGURE("oom_kills_total", "counter", "Processes killed because memory ran out.", oom_kills, 1),
		FIGURE("uptime_seconds", "gauge", "Time since the boot.", uptime_ns, 1e9),
#undef FIGURE
	};

	printf("# HELP msb_sandbox_up Does it run and answer?\n# TYPE msb_sandbox_up gauge\n");
	for (size_t i = 0; i < count; i++)
		printf("msb_sandbox_up{name=\"%s\"} %d\n", list[i]->name, list[i]->state == METRICS_RUNNING);
	for (size_t f = 0; f < ARRAY_LEN(figures); f++) {
		printf("# HELP msb_sandbox_%s %s\n# TYPE msb_sandbox_%s %s\n", figures[f].name, figures[f].about,
		       figures[f].name, figures[f].type);
		for (size_t i = 0; i < count; i++) {
			uint64_t v = *(const uint64_t *)(const void *)((const char *)list[i] + figures[f].offset);

			if (v != METRIC_UNKNOWN)
				printf("msb_sandbox_%s{name=\"%s\"} %.15g\n", figures[f].name, list[i]->name,
				       (double)v / figures[f].divisor);
		}
	}
}

/** once() - One answer. */
static int once(const struct metrics_query *q)
{
	bool prometheus = o.format && strcmp(o.format, "prometheus") == 0;
	const struct metrics **sorted = NULL;
	struct metrics *list = NULL;
	struct error err = ERROR_INIT;
	struct table table;
	size_t count = 0;
	int rc = metrics_sample(q, &list, &count, &err);

	/* Counters are all that Prometheus asks for. */
	if (rc == 0 && !prometheus && count) {
		poll(NULL, 0, FIRST_INTERVAL_MS);
		rc = metrics_sample(q, &list, &count, &err);
	}
	if (rc == 0)
		sorted = metrics_sorted(q, list, count);
	if (rc == 0 && !sorted)
		rc = err_set(&err, ERR_NO_MEMORY, 0, "out of memory");
	if (rc == 0 && prometheus) {
		print_prometheus(sorted, count);
	} else if (rc == 0 && o.format) {
		print_json(q, sorted, count);
	} else if (rc == 0 && count) {
		metrics_head(&table);
		for (size_t i = 0; i < count; i++)
			metrics_line(&table, sorted[i], "", "");
		table_print(&table);
	} else if (rc == 0) {
		fprintf(stderr, q->all ? "No sandboxes found.\n" : "No running sandboxes.\n");
	}
	free(sorted);
	free(list);
	return rc < 0 ? command_failed(&err) : 0;
}

/** follow() - JSON lines until somebody ends it, or nobody reads it. */
static int follow(const struct metrics_query *q)
{
	int64_t due = clock_monotonic_ns();
	struct metrics *list = NULL;
	struct error err = ERROR_INIT;
	size_t count = 0;
	int rc = metrics_sample(q, &list, &count, &err), wait_ms = MIN(q->interval_ms, FIRST_INTERVAL_MS);

	while (rc == 0) {
		struct pollfd reader = { .fd = 1, .events = 0 };
		const struct metrics **sorted;

		due = MAX(due + wait_ms * NSEC_PER_MSEC, clock_monotonic_ns());
		if (poll(&reader, 1, (int)((due - clock_monotonic_ns()) / NSEC_PER_MSEC)) > 0)
			break;
		wait_ms = q->interval_ms;
		rc = metrics_sample(q, &list, &count, &err);
		sorted = rc == 0 ? metrics_sorted(q, list, count) : NULL;
		for (size_t i = 0; sorted && i < count; i++) {
			json_t *one = to_json(sorted[i]);

			json_dumpf(one, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
			printf("\n");
			json_decref(one);
		}
		free(sorted);
		if (fflush(stdout) != 0)
			break;
	}
	free(list);
	return rc < 0 ? command_failed(&err) : 0;
}

/** check() - What excludes each other. */
static int check(const struct parsed *p, struct metrics_query *q, struct error *err)
{
	uint64_t ms = 1000;

	if (p->extra_count)
		return err_set(err, ERR_USAGE, 0, "metrics: one NAME at most");
	if (p->word_count && o.all)
		return err_set(err, ERR_USAGE, 0, "metrics: --all and NAME exclude each other");
	if (o.watch + o.follow + (o.format != NULL) > 1)
		return err_set(err, ERR_USAGE, 0, "metrics: --watch, --follow and --format exclude each other");
	if (o.interval && !o.watch && !o.follow)
		return err_set(err, ERR_USAGE, 0, "metrics: --interval is for --watch and --follow");
	if (o.interval && unit_duration_ms("interval", o.interval, false, &ms, err) < 0)
		return -(int)err->code;
	if (ms < INTERVAL_MIN_MS || ms > INT32_MAX)
		return err_set(err, ERR_USAGE, 0, "--interval: \"%.40s\" is less than %d ms, or weeks", o.interval,
			       INTERVAL_MIN_MS);
	*q = (struct metrics_query){ .name = p->word_count ? p->words[0] : NULL,
				     .all = o.all,
				     .sort = o.sort,
				     .interval_ms = (int)ms };
	return 0;
}

int command_metrics(int argc, char **argv)
{
	struct error err = ERROR_INIT;
	struct metrics_query q;
	struct parsed p;

	if (parse_options(rows, ARRAY_LEN(rows), 1, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, rows, ARRAY_LEN(rows));
		return 0;
	}
	if (check(&p, &q, &err) < 0)
		return usage_error(&err);
	if (engine_paths(&q.paths, ENGINE_READ, &err) < 0)
		return command_failed(&err);
	return o.watch ? metrics_watch(&q) : o.follow ? follow(&q) : once(&q);
}
