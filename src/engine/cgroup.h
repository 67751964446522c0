/* SPDX-License-Identifier: Apache-2.0 */
/** What the control groups that a process is in leave it of the host's memory. */
#ifndef MSB_ENGINE_CGROUP_H
#define MSB_ENGINE_CGROUP_H

#include <stdint.h>

/**
 * cgroup_memory_limit() - The smallest limit between the process's own group and the root, in versions 2 and 1.
 * @cgroup_file: /proc/self/cgroup   @mountinfo_file: /proc/self/mountinfo
 * Return: bytes; UINT64_MAX when there is no limit, or none can be found.
 * Source: cgroups(7), proc(5) (mountinfo), Linux Documentation/admin-guide/cgroup-v2.rst.
 */
uint64_t cgroup_memory_limit(const char *cgroup_file, const char *mountinfo_file);

#endif
