/* SPDX-License-Identifier: Apache-2.0 */
/**
 * What the commands of a sandbox wrote, for `msb logs`: JSON lines in logs/output.log,
 * {"t": RFC 3339 UTC, "s": "stdout"|"stderr"|"output"|"system", "d": text, "id": session, "e": "b64" when d is base64}.
 * A line of the command is an entry; what has no line end yet is one of its own, without one. At 10 MiB the file
 * becomes output.log.1 and so on, three are kept. Source: contract 5.5.
 */
#ifndef MSB_SANDBOX_OUTPUT_LOG_H
#define MSB_SANDBOX_OUTPUT_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "sandbox/output_entry.h"

#define OUTPUT_LOG_MAX (10u << 20)
#define OUTPUT_LOGS_KEPT 3

struct output_log;

/** output_log_open() - @dir_fd: of the sandbox, borrowed for as long. Return: owned, or NULL. */
struct output_log *output_log_open(int dir_fd, struct error *err);
void output_log_close(struct output_log *log);
/** output_log_write() - A failure (a full disk) loses the entry and is remembered: it is no reason to end a sandbox. */
void output_log_write(struct output_log *log, enum output_source source, uint32_t session, const void *data, size_t n);

#endif
