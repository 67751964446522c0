/* SPDX-License-Identifier: Apache-2.0 */
/** --root-disk: what a sandbox made from an image writes to. */
#ifndef MSB_CLI_ROOT_DISK_H
#define MSB_CLI_ROOT_DISK_H

#include "engine/engine.h"

#define ROOT_DISK_MIB_MIN 16 /* a smaller ext4 has no room for a user */
#define ROOT_DISK_MIB_MAX (8u << 20) /* hosts on ext4 have files of at most 16 TiB */

/**
 * root_disk_parse() - SIZE | tmpfs[:SIZE] | flat[:SIZE][,fstype=ext4][,clone=KIND] | FILE[:format=KIND][,fstype=ext4].
 * @out: on success; its path is a new string where options follow it, kept for the life of the process
 */
int root_disk_parse(const char *text, struct root_disk *out, struct error *err);
/** The forms, for the help of a command. */
extern const char root_disk_details[];

#endif
