/* SPDX-License-Identifier: Apache-2.0 */
#include "state/state.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

#define BUSY_MS 30000

struct state {
	sqlite3 *db; /* NULL: there is none, and none was to be made */
};

/* migrations[N] leads from version N to N + 1; PRAGMA user_version counts them. */
static const char *const migrations[] = {
	"CREATE TABLE sandbox (name TEXT PRIMARY KEY, image TEXT NOT NULL, config TEXT NOT NULL, state INTEGER NOT "
	"NULL,"
	" reason TEXT NOT NULL, created_ns INTEGER NOT NULL, updated_ns INTEGER NOT NULL, boot_id TEXT NOT NULL,"
	" pid INTEGER NOT NULL, start_time INTEGER NOT NULL) WITHOUT ROWID;",
};

#define COLUMNS "name, image, config, state, reason, created_ns, updated_ns, boot_id, pid, start_time"

/** damaged() - The database cannot be used as it is. */
static int damaged(const char *why, struct error *err)
{
	err_set(err, ERR_INVALID, 0, "the database db/msb.db in MSB_HOME is damaged (%.200s)", why);
	return err_hint(err, "msb doctor --fix makes a new one from what is in MSB_HOME/sandboxes");
}

/** fail() - What SQLite said, with what to do. */
static int fail(struct state *s, const char *what, struct error *err)
{
	int code = s->db ? sqlite3_errcode(s->db) : SQLITE_NOMEM;
	int sys = s->db ? sqlite3_system_errno(s->db) : 0;

	switch (code & 0xff) {
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return damaged(sqlite3_errmsg(s->db), err);
	case SQLITE_BUSY:
		return err_set(err, ERR_TIMEOUT, 0, "%s: the database is in use for longer than %d s", what,
			       BUSY_MS / 1000);
	case SQLITE_CANTOPEN:
		if (sys != ENOENT && sys != 0)
			return err_set(err, err_from_errno(sys), sys, "%s: open the database db/msb.db in MSB_HOME",
				       what);
		/* Its journal: SQLite's second attempt, without making it, has hidden why it could not be made. */
		err_set(err, ERR_SYSTEM, 0, "%s: no file can be made in db in MSB_HOME", what);
		return err_hint(err, "is the disk full? df -h; else see who may write there: ls -ld");
	case SQLITE_FULL:
		return err_set(err, err_from_errno(ENOSPC), ENOSPC, "%s", what);
	case SQLITE_NOMEM:
		return err_set(err, ERR_NO_MEMORY, 0, "%s: out of memory", what);
	case SQLITE_READONLY:
		return err_set(err, ERR_PERMISSION, sys ? sys : EROFS, "%s: write the database db/msb.db in MSB_HOME",
			       what);
	default:
		return err_set(err, ERR_SYSTEM, sys, "%s: %s", what, s->db ? sqlite3_errmsg(s->db) : "no database");
	}
}

/** run() - Statements without results. */
static int run(struct state *s, const char *sql, const char *what, struct error *err)
{
	return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(s, what, err);
}

/** version() - How many migrations the database has seen. */
static int version(struct state *s, int *out, struct error *err)
{
	sqlite3_stmt *q = NULL;
	int rc = sqlite3_prepare_v2(s->db, "PRAGMA user_version", -1, &q, NULL) == SQLITE_OK &&
				 sqlite3_step(q) == SQLITE_ROW
			 ? 0
			 : fail(s, "read the database", err);

	if (rc == 0)
		*out = sqlite3_column_int(q, 0);
	sqlite3_finalize(q);
	if (rc == 0 && *out > (int)ARRAY_LEN(migrations)) {
		err_set(err, ERR_UNSUPPORTED, 0,
			"the database db/msb.db in MSB_HOME was made by a newer msb (schema %d, "
			"this one knows %d)",
			*out, (int)ARRAY_LEN(migrations));
		rc = err_hint(err, "use that msb, or another folder: MSB_HOME=DIR");
	}
	return rc;
}

/** migrate() - Up to date, in one transaction. */
static int migrate(struct state *s, struct error *err)
{
	char text[64];
	int at;

	if (version(s, &at, err) < 0)
		return -(int)err->code;
	if (at == (int)ARRAY_LEN(migrations))
		return 0;
	if (state_begin(s, err) < 0 || version(s, &at, err) < 0)
		return -(int)err->code;
	for (; at < (int)ARRAY_LEN(migrations); at++) {
		snprintf(text, sizeof(text), "PRAGMA user_version = %d", at + 1);
		if (run(s, migrations[at], "update the database", err) < 0 ||
		    run(s, text, "update the database", err) < 0)
			return -(int)err->code;
	}
	return state_commit(s, err);
}

/** open_file() - Through /proc, so that a long MSB_HOME is no matter and another folder cannot slip in. */
static int open_file(struct state *s, int dir, enum state_access how, struct error *err)
{
	int flags = how == STATE_WRITE ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READWRITE;
	char path[64];
	int rc;

	snprintf(path, sizeof(path), "/proc/self/fd/%d/msb.db", dir);
	rc = sqlite3_open_v2(path, &s->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
	if (rc != SQLITE_OK)
		return fail(s, "open the database db/msb.db in MSB_HOME", err);
	sqlite3_busy_timeout(s->db, BUSY_MS);
	if (sqlite3_db_readonly(s->db, "main") == 1) {
		int at;

		return how == STATE_READ
			       ? version(s, &at, err)
			       : err_set(err, ERR_PERMISSION, EACCES, "write the database db/msb.db in MSB_HOME");
	}
	return migrate(s, err);
}

struct state *state_open(int home_fd, enum state_access how, struct error *err)
{
	struct state *s = calloc(1, sizeof(*s));
	_cleanup_fd_ int dir = -1;
	int rc = 0;

	if (!s) {
		err_set(err, ERR_NO_MEMORY, 0, "out of memory");
		return NULL;
	}
	if (how == STATE_WRITE && mkdirat(home_fd, "db", 0700) < 0 && errno != EEXIST)
		rc = err_set(err, err_from_errno(errno), errno, "create db in MSB_HOME");
	if (rc == 0)
		dir = openat(home_fd, "db", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (rc == 0 && dir < 0 && (how == STATE_WRITE || errno != ENOENT))
		rc = err_set(err, err_from_errno(errno), errno, "open db in MSB_HOME");
	if (rc == 0 && dir >= 0 && (how == STATE_WRITE || faccessat(dir, "msb.db", F_OK, 0) == 0)) {
		mode_t old = umask(077);

		rc = open_file(s, dir, how, err);
		umask(old);
	}
	if (rc == 0)
		return s;
	state_close(s);
	return NULL;
}

void state_close(struct state *s)
{
	if (!s)
		return;
	sqlite3_close(s->db);
	free(s);
}

int state_begin(struct state *s, struct error *err)
{
	return run(s, "BEGIN IMMEDIATE", "update the database", err);
}

int state_commit(struct state *s, struct error *err)
{
	return run(s, "COMMIT", "update the database", err);
}

int state_no_sandbox(const char *name, struct error *err)
{
	err_set(err, ERR_NOT_FOUND, 0, "there is no sandbox named %.128s", name);
	err_hint(err, "msb ls lists those there are; msb create --name %.40s IMAGE makes it", name);
	return -(int)ERR_NOT_FOUND;
}

int state_check(struct state *s, struct error *err)
{
	sqlite3_stmt *q = NULL;
	int rc = 0;

	if (!s->db)
		return 0;
	if (sqlite3_prepare_v2(s->db, "PRAGMA quick_check(1)", -1, &q, NULL) != SQLITE_OK ||
	    sqlite3_step(q) != SQLITE_ROW)
		rc = fail(s, "read the database", err);
	else if (strcmp((const char *)sqlite3_column_text(q, 0), "ok") != 0)
		rc = damaged((const char *)sqlite3_column_text(q, 0), err);
	sqlite3_finalize(q);
	return rc;
}

/** text_of() - A column, copied. NULL without memory. */
static char *text_of(sqlite3_stmt *q, int column)
{
	const unsigned char *text = sqlite3_column_text(q, column);

	return strdup(text ? (const char *)text : "");
}

/** read_row() - COLUMNS of the current row. */
static bool read_row(sqlite3_stmt *q, struct sandbox_record *r)
{
	int state = sqlite3_column_int(q, 3);

	*r = (struct sandbox_record){
		.image = text_of(q, 1),
		.config = text_of(q, 2),
		.state = state >= 0 && state < SANDBOX_STATES ? (enum sandbox_state)state : SANDBOX_CRASHED,
		.created_ns = sqlite3_column_int64(q, 5),
		.updated_ns = sqlite3_column_int64(q, 6),
		.supervisor = { .pid = sqlite3_column_int(q, 8), .start_time = (uint64_t)sqlite3_column_int64(q, 9) }
	};
	snprintf(r->name, sizeof(r->name), "%s", (const char *)sqlite3_column_text(q, 0));
	snprintf(r->reason, sizeof(r->reason), "%s", (const char *)sqlite3_column_text(q, 4));
	snprintf(r->supervisor.boot_id, sizeof(r->supervisor.boot_id), "%s", (const char *)sqlite3_column_text(q, 7));
	return r->image && r->config;
}

int state_get(struct state *s, const char *name, struct sandbox_record *out, struct error *err)
{
	sqlite3_stmt *q = NULL;
	int rc = SQLITE_DONE;

	if (s->db) {
		if (sqlite3_prepare_v2(s->db, "SELECT " COLUMNS " FROM sandbox WHERE name = ?", -1, &q, NULL) !=
		    SQLITE_OK)
			return fail(s, "read the database", err);
		sqlite3_bind_text(q, 1, name, -1, SQLITE_STATIC);
		rc = sqlite3_step(q);
	}
	if (rc == SQLITE_ROW && !read_row(q, out)) {
		sandbox_record_clear(out);
		rc = err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	} else if (rc == SQLITE_ROW) {
		rc = 0;
	} else if (rc == SQLITE_DONE) {
		rc = state_no_sandbox(name, err);
	} else {
		rc = fail(s, "read the database", err);
	}
	sqlite3_finalize(q);
	return rc;
}

int state_list(struct state *s, struct sandbox_record **out, size_t *count, struct error *err)
{
	struct sandbox_record *list = NULL;
	sqlite3_stmt *q = NULL;
	size_t n = 0;
	int step = SQLITE_DONE, rc = 0;

	*out = NULL;
	*count = 0;
	if (!s->db)
		return 0;
	if (sqlite3_prepare_v2(s->db, "SELECT " COLUMNS " FROM sandbox ORDER BY created_ns DESC, name", -1, &q, NULL) !=
	    SQLITE_OK)
		return fail(s, "read the database", err);
	while (rc == 0 && (step = sqlite3_step(q)) == SQLITE_ROW) {
		struct sandbox_record *grown = realloc(list, (n + 1) * sizeof(*list));

		if (grown)
			list = grown;
		if (!grown || !read_row(q, &list[n++]))
			rc = err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	}
	if (rc == 0 && step != SQLITE_DONE)
		rc = fail(s, "read the database", err);
	sqlite3_finalize(q);
	if (rc < 0) {
		sandbox_records_free(list, n);
		return rc;
	}
	*out = list;
	*count = n;
	return 0;
}

/** finish() - Run a prepared statement to its end. */
static int finish(struct state *s, sqlite3_stmt *q, const char *what, struct error *err)
{
	int rc = sqlite3_step(q) == SQLITE_DONE ? 0 : fail(s, what, err);

	sqlite3_finalize(q);
	return rc;
}

/** prepare() - Return: NULL with the error set. */
static sqlite3_stmt *prepare(struct state *s, const char *sql, struct error *err)
{
	sqlite3_stmt *q = NULL;

	if (s->db && sqlite3_prepare_v2(s->db, sql, -1, &q, NULL) == SQLITE_OK)
		return q;
	fail(s, "use the database", err);
	return NULL;
}

int state_put(struct state *s, const struct sandbox_record *r, struct error *err)
{
	sqlite3_stmt *q = prepare(s, "INSERT OR REPLACE INTO sandbox (" COLUMNS ") VALUES (?,?,?,?,?,?,?,?,?,?)", err);

	if (!q)
		return -(int)err->code;
	sqlite3_bind_text(q, 1, r->name, -1, SQLITE_STATIC);
	sqlite3_bind_text(q, 2, r->image, -1, SQLITE_STATIC);
	sqlite3_bind_text(q, 3, r->config, -1, SQLITE_STATIC);
	sqlite3_bind_int(q, 4, r->state);
	sqlite3_bind_text(q, 5, r->reason, -1, SQLITE_STATIC);
	sqlite3_bind_int64(q, 6, r->created_ns);
	sqlite3_bind_int64(q, 7, r->updated_ns);
	sqlite3_bind_text(q, 8, r->supervisor.boot_id, -1, SQLITE_STATIC);
	sqlite3_bind_int(q, 9, r->supervisor.pid);
	sqlite3_bind_int64(q, 10, (int64_t)r->supervisor.start_time);
	return finish(s, q, "record the sandbox", err);
}

int state_config(struct state *s, const char *name, const char *config, struct error *err)
{
	sqlite3_stmt *q = prepare(s, "UPDATE sandbox SET config = ?2, updated_ns = ?3 WHERE name = ?1", err);

	if (!q)
		return -(int)err->code;
	sqlite3_bind_text(q, 1, name, -1, SQLITE_STATIC);
	sqlite3_bind_text(q, 2, config, -1, SQLITE_STATIC);
	sqlite3_bind_int64(q, 3, clock_realtime_ns());
	return finish(s, q, "record the sandbox", err);
}

int state_move(struct state *s, const char *name, enum sandbox_state to, const char *reason, const struct identity *who,
	       struct error *err)
{
	static const char starting[] =
		"UPDATE sandbox SET state = ?2, reason = ?3, updated_ns = ?4, boot_id = ?5, pid = ?6, start_time = ?7 "
		"WHERE name = ?1 AND NOT (boot_id = ?5 AND pid = ?6 AND start_time = ?7)";
	/* Its own row, or one whose supervisor never got there: STARTING was not recorded by who started it. */
	static const char running[] =
		"UPDATE sandbox SET state = ?2, reason = ?3, updated_ns = ?4, boot_id = ?5, pid = ?6, start_time = ?7 "
		"WHERE name = ?1";
	static const char other[] =
		"UPDATE sandbox SET state = ?2, reason = ?3, updated_ns = ?4 "
		"WHERE name = ?1 AND (?5 IS NULL OR (boot_id = ?5 AND pid = ?6 AND start_time = ?7))";
	sqlite3_stmt *q = prepare(s, to == SANDBOX_STARTING ? starting : to == SANDBOX_RUNNING ? running : other, err);

	if (!q)
		return -(int)err->code;
	sqlite3_bind_text(q, 1, name, -1, SQLITE_STATIC);
	sqlite3_bind_int(q, 2, to);
	sqlite3_bind_text(q, 3, reason, -1, SQLITE_STATIC);
	sqlite3_bind_int64(q, 4, clock_realtime_ns());
	if (who) {
		sqlite3_bind_text(q, 5, who->boot_id, -1, SQLITE_STATIC);
		sqlite3_bind_int(q, 6, who->pid);
		sqlite3_bind_int64(q, 7, (int64_t)who->start_time);
	}
	return finish(s, q, "record the sandbox's state", err);
}

int state_delete(struct state *s, const char *name, struct error *err)
{
	sqlite3_stmt *q = prepare(s, "DELETE FROM sandbox WHERE name = ?", err);

	if (!q)
		return -(int)err->code;
	sqlite3_bind_text(q, 1, name, -1, SQLITE_STATIC);
	return finish(s, q, "remove the sandbox", err);
}

bool state_is_live(enum sandbox_state state)
{
	return state == SANDBOX_STARTING || state == SANDBOX_RUNNING || state == SANDBOX_DRAINING;
}

enum sandbox_state state_effective(const struct sandbox_record *r)
{
	if (!state_is_live(r->state) || identity_alive(&r->supervisor))
		return r->state;
	return r->state == SANDBOX_DRAINING ? SANDBOX_STOPPED : SANDBOX_CRASHED;
}

const char *state_word(enum sandbox_state state, bool capital)
{
	static const char *const words[SANDBOX_STATES][2] = {
		[SANDBOX_CREATED] = { "created", "Created" }, [SANDBOX_STARTING] = { "starting", "Starting" },
		[SANDBOX_RUNNING] = { "running", "Running" }, [SANDBOX_DRAINING] = { "draining", "Draining" },
		[SANDBOX_STOPPED] = { "stopped", "Stopped" }, [SANDBOX_CRASHED] = { "crashed", "Crashed" },
	};

	return words[state][capital];
}

void sandbox_record_clear(struct sandbox_record *r)
{
	free(r->image);
	free(r->config);
	r->image = r->config = NULL;
}

void sandbox_records_free(struct sandbox_record *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		sandbox_record_clear(&list[i]);
	free(list);
}
