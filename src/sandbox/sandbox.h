/* SPDX-License-Identifier: Apache-2.0 */
/** One sandbox: its directory, its writable disk, and the supervisor process that runs it. */
#ifndef MSB_SANDBOX_SANDBOX_H
#define MSB_SANDBOX_SANDBOX_H

#include <stdint.h>

#include "base/error.h"
#include "monitor/monitor.h"
#include "net/config.h"
#include "net/control.h"
#include "proto/message.h"

#define SANDBOX_FILE "sandbox.json" /* in its directory: this is a persistent sandbox, configured so */
#define SANDBOX_FILLED "filled" /* in its directory: a flat root disk has all of the image */
#define SANDBOX_BOOT_TIMEOUT_S 180
#define SANDBOX_FILL_TIMEOUT_S 1800 /* instead, where the agent copies the image to a flat root disk */
#define SANDBOX_STOP_GRACE_S 10	    /* an orderly end: until the guest is off */
#define SANDBOX_CLOCK_INTERVAL_S 4  /* how often the guest is told the time */

#define SANDBOX_GIVEN_MAX (GATEWAY_PORTS_MAX + 8)

/** What msb-gateway is handed: a descriptor, and which it is (net/control.h). */
struct sandbox_given {
	enum gateway_what what;
	uint32_t index;
	int fd;
};

/** The sandbox's network, opened before the fork; what else belongs to it is in machine and boot. */
struct sandbox_network {
	bool on;
	int program_fd; /* msb-gateway, to be executed */
	int config_fd;	/* memfd with a struct gateway_config */
	size_t given_count;
	struct sandbox_given given[SANDBOX_GIVEN_MAX];
};

/** Everything the supervisor needs; made before the fork, borrowed by the child. */
struct sandbox_spec {
	const char *name;
	struct monitor_config machine; /* supervisor_fd and control_fd are filled by the supervisor */
	struct sandbox_network network;
	struct msg_boot boot;	       /* realtime_ns is filled when it is sent */
	bool orderly;		       /* a disk outlives the sandbox: shut the guest down, do not just stop it */
	const char *parent_dir;	       /* MSB_HOME/sandboxes */

	/* Persistent sandboxes: a control socket, a record in the database, and a directory that stays. */
	bool persistent;
	bool on_use;			 /* ends with the last session that somebody watches */
	bool remove_at_end;		 /* detached, without a name of the user's */
	const struct msg_exec *workload; /* its own command, with which it ends; NULL: none */
	bool fills;			 /* the image is copied to the disk: SANDBOX_FILLED is made when that is done */
	int dir_fd, home_fd;		 /* sandboxes/NAME, MSB_HOME */
	int64_t idle_ns, max_ns;	 /* 0: no limit */
};

/* sandboxes/NAME/files/N: frames FRAME_PUT to FRAME_END for the guest, in this order, before anything starts: at every
 * boot, or only at the first (N.once, removed after it). */
#define SANDBOX_FILES_MAX 128

/**
 * supervisor_main() - Run a sandbox to its end; call in a freshly forked child.
 * @client_fd:  taken: frames FRAME_SANDBOX_READY or FRAME_SANDBOX_FAILED go out; its end of file ends an ephemeral
 *              sandbox, and a persistent one only when that was started for a session that did not come
 * @session_fd: taken: SOCK_STREAM, joined to the agent's session port when the guest is ready; -1: none
 *
 * When it returns, no process of the sandbox is left; the directory of an ephemeral one is gone, the state of a
 * persistent one recorded.
 * Return: process exit status.
 */
int supervisor_main(struct sandbox_spec *spec, int client_fd, int session_fd);

/**
 * sandbox_dir_create() - Make MSB_HOME/sandboxes/NAME (0700) with a locked file `lock` in it. The lock is held as
 * long as any process has *lock_fd open; a directory whose lock is free belongs to nobody.
 */
int sandbox_dir_create(const char *parent_dir, const char *name, int *dir_fd, int *lock_fd, struct error *err);
/**
 * sandbox_dir_open() - The directory of a persistent sandbox, and its lock. Return: 0; ERR_NOT_FOUND; ERR_EXISTS when
 * it is still locked after limit_ms: something of it runs.
 */
int sandbox_dir_open(const char *parent_dir, const char *name, int limit_ms, int *dir_fd, int *lock_fd,
		     struct error *err);
/** sandbox_dir_is_dead() - Does nothing hold it? */
bool sandbox_dir_is_dead(int parent, const char *name);
/** sandbox_sweep() - Remove the directories of dead ephemeral sandboxes, and of those that were half made or half
 * removed. Never blocks on live ones. */
void sandbox_sweep(const char *parent_dir);

enum upper_clone { UPPER_CLONE_AUTO, UPPER_CLONE_COPY, UPPER_CLONE_REFLINK };

/**
 * upper_open() - A fresh writable ext4 disk for one sandbox, without a name in the file system.
 * @templates_dir: where the empty template of each size is kept (made by mke2fs when missing)
 * Return: owned fd, or a negative code (ERR_UNSUPPORTED when mke2fs is not installed, or a reflink was demanded).
 */
int upper_open(const char *templates_dir, int dir_fd, uint64_t size_bytes, enum upper_clone clone, struct error *err);
/**
 * upper_open_named() - The same as a file of the sandbox's directory, which stays; made when missing.
 * @journal: an ext4 journal, since a machine that dies is no reason to lose the disk
 */
int upper_open_named(const char *templates_dir, int dir_fd, const char *name, uint64_t size_bytes,
		     enum upper_clone clone, struct error *err);
/** upper_open_private() - An empty file for one sandbox, without a name. Return: owned fd, or a negative code. */
int upper_open_private(int dir_fd, struct error *err);

#endif
