/* SPDX-License-Identifier: Apache-2.0 */
/** What the processes of a sandbox use of the host. Source: proc(5). */
#ifndef MSB_SANDBOX_USAGE_H
#define MSB_SANDBOX_USAGE_H

#include <stdint.h>
#include <sys/types.h>

struct usage {
	uint64_t cpu_ns, resident_bytes;
};

/** usage_of() - Of a process and its children (the monitor; QEMU below it). What cannot be read counts as 0. */
struct usage usage_of(pid_t pid);

#endif
