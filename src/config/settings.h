/* SPDX-License-Identifier: Apache-2.0 */
/** What config.json says of sandboxes: defaults of this machine, between the command line and the image. */
#ifndef MSB_CONFIG_SETTINGS_H
#define MSB_CONFIG_SETTINGS_H

#include <stdint.h>

#include "base/error.h"

/** Zero and NULL: not said. Never freed: once a process. */
struct settings {
	uint64_t cpus, memory_mib, upper_size_mib;
	const char *shell, *workdir, *root_disk, *hypervisor, *log_level, *kernel;
	char path[4096];  /* of the file, for messages */
	const void *file; /* owns the strings */
};

/** settings_load() - See config_file_load(). */
int settings_load(const char *home, struct settings *out, struct error *err);

#endif
