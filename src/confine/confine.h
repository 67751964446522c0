/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Confinement of a program that is about to be executed on behalf of a guest: namespaces, an empty root, no identity,
 * no privileges. A ladder: what the host refuses is left out and reported, never required except no_new_privs.
 */
#ifndef MSB_CONFINE_CONFINE_H
#define MSB_CONFINE_CONFINE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

#define CONFINE_UID 65534 /* nobody: owns nothing */

/**
 * confine_fork() - fork() into new mount, PID, network, IPC and UTS namespaces (as an ordinary user also a user
 * namespace that maps one uid), or a plain fork() where the host refuses them.
 * @in_user_ns: set in the child: a user namespace was made
 * Return: as fork(). The child is PID 1 of its namespace: whatever it starts dies with it.
 */
pid_t confine_fork(bool *in_user_ns);

/**
 * confine_program() - In the child: an empty root with /usr (read-only) and /proc, unprivileged identity,
 * no_new_privs, no core dumps. Return: 0, or a negative code when a promised rung failed.
 */
int confine_program(bool in_user_ns, struct error *err);

/** confine_die_with() - Die with the parent: PR_SET_PDEATHSIG, then make sure that it lives (@lifeline not at its end). */
int confine_die_with(int lifeline, struct error *err);

#endif
