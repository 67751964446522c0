/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Logging: one line per event on standard error (or the fd given), with module tag and sandbox name. Library
 * code returns errors and logs state changes only; nothing is logged per packet or per descriptor.
 */
#ifndef MSB_BASE_LOG_H
#define MSB_BASE_LOG_H

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE, LOG_LEVEL_COUNT };

enum log_module {
	LOG_BASE,
	LOG_CLI,
	LOG_ENGINE,
	LOG_SANDBOX,
	LOG_MONITOR,
	LOG_VIRTIO,
	LOG_HYPERVISOR,
	LOG_IMAGE,
	LOG_CONFINE,
	LOG_AGENT,
	LOG_NET,
	LOG_MODULE_COUNT
};

/** log_setup() - Choose level, destination fd (borrowed) and the sandbox name shown (copied, may be NULL). */
void log_setup(enum log_level level, int fd, const char *sandbox);
/** log_level() - What log_setup() chose, for another destination. */
enum log_level log_level(void);
/** log_level_parse() - "error".."trace". Return: the level, or -1. */
int log_level_parse(const char *name);
/** log_enabled() - Would a line of this level be written? */
int log_enabled(enum log_level level);
void log_write(enum log_level level, enum log_module module, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define log_at(level, module, ...)                                                                                     \
	do {                                                                                                           \
		if (log_enabled(level))                                                                                \
			log_write(level, module, __VA_ARGS__);                                                         \
	} while (0)
#define log_error(module, ...) log_at(LOG_ERROR, module, __VA_ARGS__)
#define log_warn(module, ...) log_at(LOG_WARN, module, __VA_ARGS__)
#define log_info(module, ...) log_at(LOG_INFO, module, __VA_ARGS__)
#define log_debug(module, ...) log_at(LOG_DEBUG, module, __VA_ARGS__)

#endif
