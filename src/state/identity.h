/* SPDX-License-Identifier: Apache-2.0 */
/** Which process is meant: a number alone may have been given to another one since, or belong to another boot. */
#ifndef MSB_STATE_IDENTITY_H
#define MSB_STATE_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define BOOT_ID_SIZE 37 /* text of a UUID and its NUL */

struct identity {
	char boot_id[BOOT_ID_SIZE]; /* "": nobody */
	pid_t pid;
	uint64_t start_time; /* clock ticks after the boot */
};

/** identity_of() - Of a living process of ours. Return: false when it is gone, or /proc is not readable. */
bool identity_of(pid_t pid, struct identity *out);
/** identity_alive() - Does exactly this process live? A zombie does not. Source: proc(5), /proc/PID/stat 3 and 22. */
bool identity_alive(const struct identity *who);

#endif
