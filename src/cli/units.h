/* SPDX-License-Identifier: Apache-2.0 */
/** Values of options: text to numbers, strictly. Errors are usage errors that name the option and say what would do. */
#ifndef MSB_CLI_UNITS_H
#define MSB_CLI_UNITS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "proto/message.h"

#define UNIT_MEMORY_MIB_MAX (1u << 22)
#define UNIT_CPUS_MAX 32

/** unit_size_mib() - SIZE: 512 (MiB), 512M, 1G, 1.5G. @option: its long name, for the text. */
int unit_size_mib(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *mib, struct error *err);
/** unit_duration() - DURATION in seconds: 30, 30s, 5m, 1h; never 0. */
int unit_duration(const char *option, const char *text, uint64_t *seconds, struct error *err);
/** unit_duration_ms() - The same in milliseconds, and 500ms; 0 where that is allowed. */
int unit_duration_ms(const char *option, const char *text, bool zero, uint64_t *ms, struct error *err);
/** unit_size_text() - "12.3 MiB", for people. Return: to */
const char *unit_size_text(uint64_t bytes, char to[24]);
/** unit_rlimit() - RLIMIT: NAME=SOFT[:HARD], numbers or "unlimited", soft <= hard. */
int unit_rlimit(const char *option, const char *text, struct msg_rlimit *out, struct error *err);
/**
 * unit_env() - ENV: KEY=VALUE as it is; KEY alone takes the value from our own environment. MSB_ names are refused.
 * @out: the entry: @text itself, or a new string (the caller's, as a rule kept for the life of the process)
 */
int unit_env(const char *option, const char *text, const char **out, struct error *err);
/** unit_program() - A program in the guest, by path or name: not empty, no blanks. */
int unit_program(const char *option, const char *text, struct error *err);
/** unit_guest_path() - An absolute path in the guest. */
int unit_guest_path(const char *option, const char *text, struct error *err);

#endif
