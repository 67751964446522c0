/* SPDX-License-Identifier: Apache-2.0 */
/** The guest kernel's file: found, and whole, before a machine is made for it. */
#ifndef MSB_ENGINE_KERNEL_FILE_H
#define MSB_ENGINE_KERNEL_FILE_H

#include "engine/engine.h"

/** kernel_file_open() - Return: owned fd of a file that passed kernel_file_check(), or a negative code with a hint. */
int kernel_file_open(const struct engine_paths *paths, struct error *err);
/** kernel_file_check() - Is it a program for x86-64 with all its segments in the file? @name: for the text */
int kernel_file_check(int fd, const char *name, struct error *err);

#endif
