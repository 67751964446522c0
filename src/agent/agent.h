/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The agent: PID 1 of every sandbox. Files: main.c (boot, control), root.c, disk_root.c, flat.c (the root file system),
 * user.c, session.c (commands).
 */
#ifndef MSB_AGENT_AGENT_H
#define MSB_AGENT_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/loop.h"
#include "proto/message.h"

#define USER_GROUPS_MAX 64

struct user {
	uid_t uid;
	gid_t gid;
	char home[256];
	gid_t groups[USER_GROUPS_MAX];
	size_t group_count;
};

/** A failure on its way to the host. */
struct failure {
	enum msg_failure kind;
	int sys_errno;
	char text[256];
};

/** fail() - Fill a failure. Return: false, so that a failing line is one statement. */
bool fail(struct failure *f, enum msg_failure kind, int sys_errno, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/** root_build() - Mount the image and its upper, /proc and friends; make it the root directory. */
bool root_build(const struct msg_boot *boot, struct failure *f);

/** disk_root_mount() - The file system of the disk /dev/vda, or of one of its partitions, at /root. */
bool disk_root_mount(struct failure *f);
/** flat_root_mount() - The ext4 disk /dev/vdb at /root, filled from the image on /dev/vda. */
bool flat_root_mount(struct failure *f);

/** flat_copy_folder() - Owner, mode, extended attributes and times of one folder to another. */
bool flat_copy_folder(const char *from, const char *to);

/** root_freeze() - Make the writable disk read-only, its journal empty; for power-off, when no process is left. */
void root_freeze(void);

/**
 * user_resolve() - USER grammar: name, uid, name:group, uid:gid and mixes; "" or NULL: root. Reads /etc/passwd and
 * /etc/group as they are below the current root (no NSS). Numeric ids need no entry.
 */
bool user_resolve(const char *spec, struct user *out, struct failure *f);

/** Defaults of the sandbox, kept for its life. */
struct defaults {
	struct msg_strings env; /* owned copies */
	char user[256];
	char workdir[4096];
};
extern struct defaults defaults;

/** session_accept() - Take a connected socket; serve one command on it. */
void session_accept(struct loop *loop, int sock);
/** session_reap() - A child ended: tell its session, if it is one. */
void session_reap(pid_t pid, int status);

#endif
