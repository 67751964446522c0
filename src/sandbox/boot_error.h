/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Why the last boot of a sandbox failed, kept for `msb logs` until one succeeds: boot-error.json in its directory,
 * {"t": RFC 3339, "stage": word, "errno": number, "message": text}. Source: contract 5.5.
 */
#ifndef MSB_SANDBOX_BOOT_ERROR_H
#define MSB_SANDBOX_BOOT_ERROR_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define BOOT_ERROR_FILE "boot-error.json"
#define BOOT_ERROR_BYTES_MAX 8192 /* of the file */

struct boot_error {
	int64_t time_ns; /* CLOCK_REALTIME */
	char stage[16];	 /* mount, build_vm, config, network, image or other */
	int sys_errno;	 /* 0: none */
	char message[512];
};

/** boot_error_write() - Replaces an older one. The message may be the guest's. */
int boot_error_write(int dir_fd, const struct boot_error *e, struct error *err);
/** boot_error_parse() - The text of a file. Return: false when it is none. */
bool boot_error_parse(const void *text, size_t n, struct boot_error *out);

#endif
