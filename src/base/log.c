/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/macros.h"

/* Set once at process start, before threads; read-only afterwards. */
static enum log_level log_max = LOG_WARN;
static int log_fd = STDERR_FILENO;
static char log_sandbox[64];

static const char *const level_names[] = { "error", "warn", "info", "debug", "trace" };
_Static_assert(ARRAY_LEN(level_names) == LOG_LEVEL_COUNT, "a name for each level");

static const char *const module_names[] = { "base",  "cli",   "engine", "sandbox", "monitor", "virtio",
					    "hypervisor", "image", "confine", "agent", "net" };
_Static_assert(ARRAY_LEN(module_names) == LOG_MODULE_COUNT, "a name for each module");

void log_setup(enum log_level level, int fd, const char *sandbox)
{
	log_max = level;
	log_fd = fd;
	snprintf(log_sandbox, sizeof(log_sandbox), "%s", sandbox ? sandbox : "");
}

enum log_level log_level(void)
{
	return log_max;
}

int log_level_parse(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(level_names); i++)
		if (strcmp(name, level_names[i]) == 0)
			return (int)i;
	return -1;
}

int log_enabled(enum log_level level)
{
	return level <= log_max;
}

void log_write(enum log_level level, enum log_module module, const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	int n, m;

	n = snprintf(line, sizeof(line), "%s: [%s%s%s] ", level_names[level], module_names[module],
		     log_sandbox[0] ? " " : "", log_sandbox);
	va_start(ap, fmt);
	m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	if (m < 0)
		return;
	n = MIN(n + m, (int)sizeof(line) - 2);
	line[n++] = '\n';
	/* One write per line keeps lines of several processes whole; a full disk must not stop the sandbox. */
	if (write(log_fd, line, (size_t)n) < 0)
		return;
}

void assert_failed(const char *cond, const char *file, int line)
{
	log_write(LOG_ERROR, LOG_BASE, "internal error: %s:%d: %s", file, line, cond);
	abort();
}
