/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The agent: PID 1 of every sandbox. Files: main.c (boot, control), root.c, disk_root.c, flat.c, places.c (the root
 * file system), user.c, session.c, launch.c (commands), files.c (copies), stats.c, stop.c (the end),
 * handoff.c (--init), network.c (its interfaces).
 */
#ifndef MSB_AGENT_AGENT_H
#define MSB_AGENT_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/loop.h"
#include "proto/frame.h"
#include "proto/message.h"

#define USER_GROUPS_MAX 64
#define OUT_PIPES 2

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
bool root_build(struct msg_boot *boot, struct failure *f);

/** network_up() - lo, and eth0 where there is one: address, routes. */
bool network_up(const struct msg_boot *boot, struct failure *f);

/** place_enter() - Open a path of a root without leaving it, links included. Return: fd, or -1 with errno. */
int place_enter(int root, const char *path, uint64_t flags);
/** place_make() - mkdir -p for an absolute path inside a root. Return: the folder (O_PATH), or -1 with f set. */
int place_make(int root, const char *path, struct failure *f);
/** places_remove() - The user's removals, before anything is mounted in the root. */
bool places_remove(int root, const struct msg_boot *boot, struct failure *f);
/** places_make() - The user's tmpfs (sorted here) and folders, when all is mounted. */
bool places_make(int root, struct msg_boot *boot, struct failure *f);
/** places_has_tmp() - Does one of the user's tmpfs take the place of the implicit one? */
bool places_has_tmp(const struct msg_boot *boot);

/** disk_root_mount() - The file system of the disk /dev/vda, or of one of its partitions, at /root. */
bool disk_root_mount(struct failure *f);
/** flat_root_mount() - The ext4 disk /dev/vdb at /root, filled from the image on /dev/vda. */
bool flat_root_mount(struct failure *f);

/** flat_copy_folder() - Owner, mode, extended attributes and times of one folder to another. */
bool flat_copy_folder(const char *from, const char *to);

/** root_on_disk() - Is what is written to the root kept on a disk? */
bool root_on_disk(void);
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
	bool restricted;
};
extern struct defaults defaults;

/** What a started command left with us: its process, and non-blocking ends; -1 where there is none. */
struct launched {
	pid_t pid;
	int stdin_fd, out_fd[OUT_PIPES]; /* a pty is stdin and the first output at once */
};

/** launch_command() - Start what EXEC asks for. */
bool launch_command(const struct msg_exec *exec, struct launched *out, struct failure *f);

/** files_serve() - Serve PUT or GET on a socket, in a process of its own. @rest: bytes that came after the frame. */
_Noreturn void files_serve(int sock, const struct frame *frame, const void *rest, size_t n);

/** session_accept() - Take a connected socket; serve one command on it. */
void session_accept(struct loop *loop, int sock);
/** session_reap() - A child ended: tell its session, if it is one. */
void session_reap(pid_t pid, int status);
/** sessions_talk() - Is there one that has something to say yet? */
bool sessions_talk(void);
/** sessions_signal() - A signal to the process group of every command and copy. */
void sessions_signal(int number);
/** sessions_hang_up() - SIGHUP to what runs on terminals: shells there do not heed SIGTERM. */
void sessions_hang_up(void);

/** stats_read() - Figures of the guest. */
void stats_read(struct msg_stats *out);
uint64_t stats_oom_kills(void);
/** stats_disk_full() - Is the writable disk, if there is one, as good as full? */
bool stats_disk_full(void);

/** squeeze() - Drop the page cache, in a process of its own. */
void squeeze(void);
/** squeeze_reap() - A child ended. */
void squeeze_reap(pid_t pid);

/** handoff() - Make the image's init PID 1; the agent goes on in a new process. @name: our argv[0], changed here. */
bool handoff(const struct msg_boot *boot, char *name, struct failure *f);
bool handoff_done(void);
/** handoff_ask_off() - Ask init to power off. */
void handoff_ask_off(void);
/** handoff_reset_child() - What a child of the agent shall not inherit. */
void handoff_reset_child(void);

/** stop_begin() - End the machine: see stop.c. Again: the earlier end counts. */
void stop_begin(struct loop *loop, int64_t grace_ns);
bool stop_active(void);
/** stop_progress() - Something ended: go on, if this was what was waited for. May not return. */
void stop_progress(void);
/** say_goodbye() - The last word to the host. */
void say_goodbye(void);

#endif
