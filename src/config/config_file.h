/* SPDX-License-Identifier: Apache-2.0 */
/**
 * config.json: where it is, and whether it says what it may. One table (config_file.c) knows all its keys; each program
 * checks the part that it uses, so that nothing is said twice.
 */
#ifndef MSB_CONFIG_CONFIG_FILE_H
#define MSB_CONFIG_CONFIG_FILE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define CONFIG_LIST_MAX 16 /* strings in a list */
#define CONFIG_PATH_MAX 4096
#define CONFIG_BYTES_MAX (1u << 20)

enum config_part {
	CONFIG_SETTINGS,   /* all but registries */
	CONFIG_REGISTRIES, /* what is below registries */
};

/**
 * config_file_load() - MSB_CONFIG_PATH, or config.json in @home; a missing file there is an empty one.
 * @path: out, its name for messages
 * Keys without a meaning are warned of on standard error, with the nearest known one. Return: owned, with members of
 * the right types only and none that is null, or NULL: the error names file, key, value and what is expected.
 */
json_t *config_file_load(const char *home, enum config_part part, char path[CONFIG_PATH_MAX], struct error *err);
/** config_file_parse() - The same of a text. @quiet: no warnings */
json_t *config_file_parse(const char *path, const void *text, size_t size, enum config_part part, bool quiet,
			  struct error *err);

#endif
