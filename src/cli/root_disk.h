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
/* The forms, for the help of a command. */
#define ROOT_DISK_DETAILS \
	"What the sandbox writes to (--root-disk), above IMAGE and gone at its end unless it is a raw FILE:\n" \
	"  SIZE                          a disk of this size (4G)\n" \
	"  tmpfs[:SIZE]                  memory of the guest (half of it)\n" \
	"  flat[:SIZE][,clone=KIND]      one disk with a copy of IMAGE on it; KIND: auto, copy, reflink\n" \
	"  ./FILE[:format=raw|qcow2]     an ext4 disk of yours; raw is written in place, qcow2 never\n" \
	"IMAGE can be a disk image too, ./FILE.raw (written in place) or ./FILE.qcow2 (never written).\n"

#endif
