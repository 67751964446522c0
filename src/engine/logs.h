/* SPDX-License-Identifier: Apache-2.0 */
/** What the commands of a sandbox wrote, in whatever state it is: read from its directory, never asked of anybody. */
#ifndef MSB_ENGINE_LOGS_H
#define MSB_ENGINE_LOGS_H

#include <regex.h>

#include "engine/engine.h"
#include "sandbox/boot_error.h"
#include "sandbox/output_entry.h"

#define LOG_TAIL_ALL UINT64_MAX

struct log_query {
	int64_t since_ns, until_ns; /* CLOCK_REALTIME; from the first to before the second */
	unsigned int sources;	    /* bits 1 << enum output_source */
	const regex_t *pattern;	    /* of the text without its end and without escape sequences; NULL: any */
	uint64_t tail;		    /* only so many of what is there already */
	bool follow;		    /* go on until the sandbox stops */
};

struct log_result {
	uint64_t broken; /* lines that are no entries */
	bool lost;	 /* perhaps: the file that was read was dropped meanwhile */
};

/**
 * A sink of entries. @e: NULL: all that is there was given, what follows is waited for.
 * Return: false: enough.
 */
typedef bool (*log_sink)(void *arg, const struct output_entry *e, const uint8_t *line, size_t n);

/** engine_logs() - Entries in the order in which they were written. @out_fd: who reads it may leave while nothing is
 * written; -1: nobody can. ERR_NOT_FOUND */
int engine_logs(const struct engine_paths *paths, const char *name, const struct log_query *query, int out_fd,
		log_sink sink, void *arg, struct log_result *result, struct error *err);
/** engine_boot_error() - Why its last boot failed. Return: 1: that is in *out, 0: it did not, or negative. */
int engine_boot_error(const struct engine_paths *paths, const char *name, struct boot_error *out, struct error *err);

#endif
