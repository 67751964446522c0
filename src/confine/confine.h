/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Confinement of what works on behalf of a guest. A ladder: every rung is tried by doing it; what the host refuses is
 * left out and reported (struct confine_report), except no_new_privs and, where asked for, seccomp, which are required.
 *
 * Two customers: a program about to be executed (QEMU): confine_fork(), then in the child confine_program(),
 * confine_die_with() and confine_filter_program(); and our own processes, which have opened all they need:
 * confine_deny_dangerous(), confine_landlock_none().
 */
#ifndef MSB_CONFINE_CONFINE_H
#define MSB_CONFINE_CONFINE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

#define CONFINE_UID 65534 /* nobody: owns nothing */

enum confine_rung {
	CONFINE_NO_NEW_PRIVS = 1u << 0,
	CONFINE_NAMESPACES = 1u << 1, /* own mount, PID, network, IPC and UTS namespaces */
	CONFINE_USER_NS = 1u << 2,    /* and a user namespace that maps one uid */
	CONFINE_EMPTY_ROOT = 1u << 3, /* nothing but /usr, read-only, and /proc to see */
	CONFINE_OWN_PROC = 1u << 4,   /* that /proc shows no process of the host */
	CONFINE_IDENTITY = 1u << 5,   /* changed from root to a uid that owns nothing */
	CONFINE_LANDLOCK = 1u << 6,
	CONFINE_SECCOMP = 1u << 7,
};

/** What was got. Plain data: it travels through pipes. */
struct confine_report {
	unsigned int rungs; /* enum confine_rung */
	int landlock_abi;   /* 0: the kernel has no Landlock */
	char note[160];	    /* why the first missing rung is missing; may be empty */
};

/**
 * confine_fork() - fork() into new mount, PID, network, IPC and UTS namespaces (where root may not, and as an ordinary
 * user: also a user namespace that maps one uid), or a plain fork() where the host refuses them.
 * @in_user_ns: set on both sides: a user namespace was made
 * Return: as fork(). With namespaces the child is PID 1 of its own: whatever it starts dies with it.
 */
pid_t confine_fork(bool *in_user_ns);

/**
 * confine_program() - In the child of confine_fork(), just before execve(): an empty root with /usr (read-only) and
 * /proc, unprivileged identity, Landlock, no_new_privs, no core dumps.
 * @readable: descriptors of files that the program may open for reading by /proc/self/fd/N (Landlock)
 * Return: 0 with what was got in *report, or a negative code: always when root would have every file in reach.
 */
int confine_program(bool in_user_ns, const int *readable, size_t count, struct confine_report *report,
		    struct error *err);

/**
 * confine_die_with() - Die with the parent thread; call after the last change of identity.
 * @lifeline: read end of a pipe that the parent holds. Return: 0, or ERR_CLOSED when the parent is gone already.
 */
int confine_die_with(int lifeline, struct error *err);

/** confine_drop_privileges() - As root: to CONFINE_UID, no groups, no capabilities. Always: no_new_privs, no core. */
int confine_drop_privileges(struct error *err);
/**
 * confine_drop_capabilities() - The same for root that may not become another (a user namespace with one user, some
 * containers): it stays root without any capability. Files of root's are in reach then: for programs that open none.
 */
int confine_drop_capabilities(struct error *err);

enum confine_deny {
	CONFINE_DENY_OPEN = 1u << 0,	/* also no open, creat, rename, unlink, chmod... by path */
	CONFINE_DENY_FORK = 1u << 1,	/* also no new processes (threads stay allowed) */
	CONFINE_ALLOW_CLIENT = 1u << 2, /* but: TCP and UDP sockets can be made and connected (not bound) */
	CONFINE_ALLOW_ACCEPT = 1u << 3, /* but: connections to inherited sockets can be accepted */
};

/**
 * confine_deny_dangerous() - seccomp on all threads: no sockets made or connected, no exec, no namespaces, mounts,
 * ptrace, bpf, keys, modules, io_uring (it opens sockets behind seccomp), other processes' memory... They fail with
 * EPERM. sendmsg/recvmsg on inherited descriptors stay allowed. Sets no_new_privs.
 * @extra: enum confine_deny
 */
int confine_deny_dangerous(unsigned int extra, struct error *err);

/**
 * confine_filter_program() - The same for a program about to be executed, which may also open files (Landlock and the
 * empty root see to those): no sockets, processes or namespaces, and it keeps its parent-death signal. execve() stays
 * possible, as this process needs it; the program's own filter may take it away.
 * @broker: NULL; or takes an owned descriptor, for the parent to answer connect() with confine_answer_connect(): then
 * unix stream sockets can be made, too. Nothing can be connected to but what the parent gives.
 */
int confine_filter_program(int *broker, struct error *err);

/**
 * confine_answer_connect() - In the parent: wait until the program connects a socket, wherever to, and put this one in
 * its place. Later ones fail.
 * @broker: taken  @sock: borrowed, connected  @gone: readable when the program has ended
 */
int confine_answer_connect(int broker, int sock, int gone, struct error *err);

/**
 * confine_landlock_none() - This thread and what it starts reach no file by path, no TCP port, no abstract socket.
 * Call while single-threaded. Sets no_new_privs. Return: the ABI version in force, 0 where the kernel has no Landlock.
 */
int confine_landlock_none(struct error *err);

/** confine_landlock_program() - As above, but library folders, /proc and @readable can be read (the first also run). */
int confine_landlock_program(const int *readable, size_t count, struct error *err);

/**
 * confine_landlock_client() - As confine_landlock_none(), but what the C library reads to resolve host names can be
 * read, and TCP ports be connected to.
 */
int confine_landlock_client(struct error *err);
/** confine_landlock_connect() - As confine_landlock_none(), but TCP ports can be connected to. */
int confine_landlock_connect(struct error *err);
/** confine_have_landlock() - Does this kernel have it? */
bool confine_have_landlock(void);

/** confine_probe() - What this host grants, found by doing it in a child. Never fails: an empty report says nothing. */
void confine_probe(struct confine_report *out);

#endif
