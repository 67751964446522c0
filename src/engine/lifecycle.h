/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Persistent sandboxes: made, started, used, stopped, removed. What is done to one name is serialised by name_lock()
 * for the moments in which it changes hands, never while a guest boots, works or shuts down. Files: lifecycle.c, use.c
 * (sessions and questions), recover.c (what dead processes left).
 */
#ifndef MSB_ENGINE_LIFECYCLE_H
#define MSB_ENGINE_LIFECYCLE_H

#include "engine/engine.h"
#include "proto/control.h"
#include "state/state.h"

#define STOP_GRACE_MS 10000 /* unless the user says otherwise */

enum start_mode {
	START_STAYS,	/* until it is stopped */
	START_ON_USE,	/* until its last session ends */
	START_WORKLOAD, /* with its own command, until that ends */
};

/** What else `create` and a new `run --name` may say. */
struct create_options {
	bool replace;
	uint64_t replace_grace_ms;
	enum start_mode mode;
	bool remove_at_end; /* a detached one without a name of the user's */
};

/** A started sandbox. @starter_fd: while it is open a START_ON_USE sandbox waits for its first session. */
struct started {
	char name[SANDBOX_NAME_MAX + 1];
	int starter_fd; /* owned */
	bool on_qemu, note_fallback;
	char fallback_reason[200];
	bool nothing_to_run; /* START_WORKLOAD without a command: nothing was made */
};

/** engine_create() - Make a sandbox and boot it. On failure nothing of it is left. ERR_EXISTS when the name is taken.
 */
int engine_create(const struct run_spec *spec, const struct create_options *how, int cancel_fd, struct started *out,
		  struct error *err);
/** engine_start() - Boot one that does not run. ERR_EXISTS when it runs. */
int engine_start(const struct engine_paths *paths, const char *name, enum start_mode mode, int cancel_fd,
		 struct started *out, struct error *err);
/** engine_stop() - Until nothing of it runs; success when that is so already. @grace_ms: 0: by force */
int engine_stop(const struct engine_paths *paths, const char *name, uint64_t grace_ms, struct error *err);
/** engine_remove() - With its disk and logs. @force: stop it first; otherwise ERR_EXISTS while it runs */
int engine_remove(const struct engine_paths *paths, const char *name, bool force, struct error *err);

/** engine_find() - What is known of one, with its state checked. ERR_NOT_FOUND has a hint. Clear it after use. */
int engine_find(const struct engine_paths *paths, const char *name, struct sandbox_record *out, struct error *err);
/** engine_list() - All, newest first, states checked. Free with sandbox_records_free(). */
int engine_list(const struct engine_paths *paths, struct sandbox_record **out, size_t *count, struct error *err);
/** engine_spec() - How a sandbox was configured. Free with engine_spec_free(). */
struct sandbox_json;
struct sandbox_json *engine_spec(const struct sandbox_record *r, struct error *err);
const struct run_spec *engine_spec_of(const struct sandbox_json *j);
void engine_spec_free(struct sandbox_json *j);
/** engine_gateway() - The addresses of a sandbox's gateway, IPv4 first. */
void engine_gateway(const char *name, struct ip addresses[2]);
/** engine_same_image() - Do two IMAGEs as typed mean the same? */
bool engine_same_image(const char *a, const char *b);
/** engine_has_label() - KEY=VALUE, or KEY with any value? */
bool engine_has_label(const struct run_spec *spec, const char *label);

/** What exec, shell and an attached run ask for. */
struct exec_spec {
	const char *const *env;
	size_t env_count;
	const char *workdir, *user; /* NULL: the sandbox's */
	char *const *command;
	size_t command_count;
	bool own_command; /* ENTRYPOINT and CMD, which the command takes the place of; else a shell (when interactive)
			   */
	bool shell;	  /* the configured shell, command: its words for -c; no words: a login to it */
	const char *shell_program; /* instead of the configured one */
	bool interactive, tty, stdin_open;
	uint16_t rows, cols;
	const char *term;
	const struct msg_rlimit *rlimits;
	size_t rlimit_count;
};

/**
 * engine_exec() - A command in a sandbox, which is started for it when it does not run, and then stops with its last
 * session. Blocks until the guest confirmed or refused the start. Pump with the session, then engine_exec_finish().
 * @made: NULL, or the sandbox that this process has just started for it (taken)
 */
int engine_exec(const struct engine_paths *paths, const char *name, const struct exec_spec *spec, struct started *made,
		int cancel_fd, struct run_session *out, struct error *err);
/** engine_exec_finish() - Close; when the sandbox was started for this session, wait until it has stopped. Return: 0,
 * or why the sandbox ended when the session saw no end. */
int engine_exec_finish(const struct engine_paths *paths, struct run_session *s, struct error *err);

/** engine_ping() - Round trip to the agent. ERR_TIMEOUT when it does not answer within 5 s. */
int engine_ping(const struct engine_paths *paths, const char *name, int64_t *ns, struct error *err);
/** engine_touch() - It is in use: the idle timer starts again. */
int engine_touch(const struct engine_paths *paths, const char *name, struct error *err);
/** engine_status() - What it uses. ERR_CLOSED when it does not run. */
int engine_status(const struct engine_paths *paths, const char *name, struct ctl_status *out, struct error *err);

/** engine_recover() - Records and directories agree again, and states are true, after processes died. Writes only what
 * is wrong; a home that cannot be written is left alone. */
int engine_recover(int home_fd, struct error *err);
/** engine_check() - Is the database whole? ERR_INVALID when it is damaged. */
int engine_check(const struct engine_paths *paths, struct error *err);
/** engine_rebuild() - Set a damaged database aside (db/msb.db.damaged) and make a new one of the directories. */
int engine_rebuild(const struct engine_paths *paths, struct error *err);

#endif
