/* SPDX-License-Identifier: Apache-2.0 */
/** Children of this process, those that it adopted as a subreaper included. */
#ifndef MSB_BASE_CHILD_H
#define MSB_BASE_CHILD_H

#include <stdbool.h>
#include <stdint.h>

/** children_reap() - Wait until no child is left, at most limit_ms. Return: false when some are. */
bool children_reap(int64_t limit_ms);

/**
 * children_kill() - SIGKILL every child, and whatever becomes one when its parent dies, until none is left; at most
 * limit_ms, since a process in the kernel's hands may take long. Return: false when some are left.
 */
bool children_kill(int64_t limit_ms);

#endif
