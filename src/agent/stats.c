/* SPDX-License-Identifier: Apache-2.0 */
/* Figures of the guest, from /proc as it is below the current root; what cannot be read counts as 0. What is free on a
 * disk is what can be written: ext4 keeps a few blocks for itself. */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/clock.h"

#define FILE_MAX_BYTES 8192 /* what is looked for stands within */
#define DISK_FULL_BYTES (1u << 20) /* less than that is left: somebody was told that there is no room */
#define USER_HZ 100	     /* of Linux on every machine we run on */

/** read_text() - The beginning of a small file; a string. */
static void read_text(const char *path, char out[FILE_MAX_BYTES])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n, len = 0;

	if (fd >= 0) {
		while ((n = read(fd, out + len, (size_t)(FILE_MAX_BYTES - 1 - len))) > 0)
			len += n;
		close(fd);
	}
	out[len] = '\0';
}

/** number_after() - The number behind a word that begins a line. */
static uint64_t number_after(const char *text, const char *word)
{
	size_t n = strlen(word);

	for (; text; text = strchr(text, '\n')) {
		text += *text == '\n';
		if (strncmp(text, word, n) == 0)
			return strtoull(text + n, NULL, 10);
	}
	return 0;
}

uint64_t stats_oom_kills(void)
{
	static char text[FILE_MAX_BYTES];

	read_text("/proc/vmstat", text);
	return number_after(text, "oom_kill ");
}

/** cpu_ns() - Time that all CPUs worked: user, nice, system, irq and softirq of the first line of /proc/stat. */
static uint64_t cpu_ns(void)
{
	enum { USER, NICE, SYSTEM, IDLE, IOWAIT, IRQ, SOFTIRQ, COUNT };
	static char text[FILE_MAX_BYTES];
	uint64_t ticks = 0;
	char *at = text + 4;

	read_text("/proc/stat", text);
	if (strncmp(text, "cpu ", 4) != 0)
		return 0;
	for (int i = 0; i < COUNT; i++) {
		uint64_t n = strtoull(at, &at, 10);

		ticks += i == IDLE || i == IOWAIT ? 0 : n;
	}
	return ticks * (NSEC_PER_SEC / USER_HZ);
}

/** count_processes() - Those with a program: neither kernel threads nor what has ended; not the agent itself. */
static uint64_t count_processes(void)
{
	DIR *dir = opendir("/proc");
	struct dirent *e;
	uint64_t count = 0;

	while (dir && (e = readdir(dir))) {
		char path[300], one;

		if (!isdigit((unsigned char)e->d_name[0]) || strtol(e->d_name, NULL, 10) == getpid())
			continue;
		snprintf(path, sizeof(path), "/proc/%s/exe", e->d_name);
		count += readlink(path, &one, 1) > 0;
	}
	if (dir)
		closedir(dir);
	return count;
}

bool stats_disk_full(void)
{
	struct statvfs fs;

	return root_on_disk() && statvfs("/", &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < DISK_FULL_BYTES;
}

void stats_read(struct msg_stats *out)
{
	static char text[FILE_MAX_BYTES];
	struct statvfs fs;

	*out = (struct msg_stats){ .oom_kills = stats_oom_kills(), .cpu_ns = cpu_ns(), .processes = count_processes() };
	read_text("/proc/meminfo", text);
	out->memory_total = number_after(text, "MemTotal:") * 1024;
	out->memory_available = number_after(text, "MemAvailable:") * 1024;
	if (root_on_disk() && statvfs("/", &fs) == 0) {
		out->upper_total = (uint64_t)fs.f_blocks * fs.f_frsize;
		out->upper_free = (uint64_t)fs.f_bavail * fs.f_frsize;
	}
}
