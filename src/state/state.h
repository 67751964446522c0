/* SPDX-License-Identifier: Apache-2.0 */
/**
 * What is known of the sandboxes: a SQLite database, MSB_HOME/db/msb.db. It is an index: that a sandbox exists, and how
 * it was configured, says the file sandboxes/NAME/sandbox.json, from which a lost row is made again (engine/recover.c).
 *
 * A handle is opened for one command's or event's work and closed again: nobody holds the database open for long, and
 * none is open across a fork. A rollback journal and not WAL, since that is readable on read-only file systems and
 * works on those of a network. States stored are claims: who reads them asks state_effective().
 */
#ifndef MSB_STATE_STATE_H
#define MSB_STATE_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "state/identity.h"

#define SANDBOX_NAME_MAX 128

/** contract 5.1; the numbers are stored. */
enum sandbox_state {
	SANDBOX_CREATED = 0,
	SANDBOX_STARTING,
	SANDBOX_RUNNING,
	SANDBOX_DRAINING,
	SANDBOX_STOPPED,
	SANDBOX_CRASHED,
	SANDBOX_STATES
};

struct sandbox_record {
	char name[SANDBOX_NAME_MAX + 1];
	char *image;  /* owned, as the user typed it */
	char *config; /* owned, the text of sandbox.json */
	enum sandbox_state state;
	char reason[200];		/* why it is in this state, for people; may be empty */
	int64_t created_ns, updated_ns; /* CLOCK_REALTIME */
	struct identity supervisor;
};

struct state;

/** state_no_sandbox() - Say that there is none of this name, with a hint. Return: -ERR_NOT_FOUND */
int state_no_sandbox(const char *name, struct error *err);

enum state_access { STATE_READ, STATE_WRITE };

/**
 * state_open() - @home_fd: MSB_HOME, borrowed for the call.
 * STATE_READ makes nothing: without a database there are no records. STATE_WRITE makes and migrates it.
 * Return: owned, or NULL: ERR_INVALID for a damaged database (hint: doctor --fix), ERR_UNSUPPORTED for a newer one.
 */
struct state *state_open(int home_fd, enum state_access how, struct error *err);
void state_close(struct state *s);
/** state_begin() - Until state_commit() nobody else writes, and all or nothing is kept (nothing: state_close()). */
int state_begin(struct state *s, struct error *err);
int state_commit(struct state *s, struct error *err);

/** state_check() - Read all of it. Return: 0, or ERR_INVALID as state_open() */
int state_check(struct state *s, struct error *err);
/** state_get() - Return: 0; ERR_NOT_FOUND with a hint. */
int state_get(struct state *s, const char *name, struct sandbox_record *out, struct error *err);
/** state_list() - All, newest first. *out is an owned array of *count records. */
int state_list(struct state *s, struct sandbox_record **out, size_t *count, struct error *err);
/** state_put() - Insert or replace the whole record. */
int state_put(struct state *s, const struct sandbox_record *r, struct error *err);
/** state_config() - Replace the configuration. */
int state_config(struct state *s, const char *name, const char *config, struct error *err);
/**
 * state_move() - Another state. @who: the supervisor it is about: recorded with STARTING; any other state is only taken
 * when no other supervisor was recorded meanwhile. NULL: whatever is recorded. A missing row is no error.
 */
int state_move(struct state *s, const char *name, enum sandbox_state to, const char *reason, const struct identity *who,
	       struct error *err);
/** state_delete() - A missing row is no error. */
int state_delete(struct state *s, const char *name, struct error *err);

/** state_effective() - What the record claims, but for a supervisor that is gone: CRASHED, or STOPPED when draining. */
enum sandbox_state state_effective(const struct sandbox_record *r);
/** state_is_live() - Is there a supervisor in this state? */
bool state_is_live(enum sandbox_state state);
/** state_word() - "running"; capitalised for JSON: "Running". */
const char *state_word(enum sandbox_state state, bool capital);

void sandbox_record_clear(struct sandbox_record *r);
void sandbox_records_free(struct sandbox_record *list, size_t count);

/** sandbox_name_valid() - First an alphanumeric, then [A-Za-z0-9._-], 1 to 128 bytes. */
bool sandbox_name_valid(const char *name);

/**
 * name_lock() - Serialise what is done to one sandbox, across processes. A byte of the file db/locks, chosen by the
 * name (open file description lock): nothing is left behind, and who dies releases it.
 * @limit_ms: give up after that with ERR_TIMEOUT. Return: owned fd; closing it releases the lock.
 */
int name_lock(int home_fd, const char *name, int limit_ms, struct error *err);

#endif
