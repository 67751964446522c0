/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After processes died. The file sandbox.json says that a sandbox exists; the rest follows from it:
 *   sandbox.json, no row         killed while it was made, or the database is gone: the row is made again
 *   row, no sandbox.json         killed while it was removed, or removed by hand: the row goes (sandbox_sweep() takes
 * the rest) row of a dead supervisor     crashed, or stopped when it was stopping
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "engine/lifecycle.h"
#include "engine/sandbox_json.h"
#include "sandbox/sandbox.h"

/** has_file() - sandboxes/NAME/sandbox.json. */
static bool has_file(int sandboxes, const char *name)
{
	char path[NAME_MAX + 32];

	snprintf(path, sizeof(path), "%s/" SANDBOX_FILE, name);
	return faccessat(sandboxes, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/** add_row() - From the file. A damaged one is left alone: nobody can start it, `rm` removes it. */
static int add_row(struct state *db, int sandboxes, const char *name, struct error *err)
{
	struct sandbox_record r = { .state = SANDBOX_STOPPED, .reason = "its record was lost and made again" };
	struct buf text = BUF_INIT(SANDBOX_JSON_MAX + 1);
	struct sandbox_json *j = calloc(1, sizeof(*j));
	char path[NAME_MAX + 32];
	int rc = j ? 0 : err_set(err, ERR_NO_MEMORY, 0, "out of memory");

	snprintf(path, sizeof(path), "%s/" SANDBOX_FILE, name);
	snprintf(r.name, sizeof(r.name), "%s", name);
	if (rc == 0 && file_read(sandboxes, path, SANDBOX_JSON_MAX, &text, NULL) == 0 && buf_cstr(&text) &&
	    sandbox_json_decode(buf_cstr(&text), j, NULL) == 0 && strcmp(j->spec.name, name) == 0) {
		r.image = (char *)(uintptr_t)j->spec.image;
		r.config = buf_cstr(&text);
		r.created_ns = j->created_ns;
		r.updated_ns = clock_realtime_ns();
		rc = state_put(db, &r, err);
		sandbox_json_free(j);
	}
	buf_free(&text);
	free(j);
	return rc;
}

/** is_listed() - A row of this name? */
static bool is_listed(const struct sandbox_record *list, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(list[i].name, name) == 0)
			return true;
	return false;
}

/** mend_row() - One that there is. */
static int mend_row(struct state *db, int sandboxes, const struct sandbox_record *r, struct error *err)
{
	enum sandbox_state now = state_effective(r);

	if (!state_is_live(now) && !has_file(sandboxes, r->name))
		return state_delete(db, r->name, err);
	if (now == r->state)
		return 0;
	return state_move(db, r->name, now, now == SANDBOX_CRASHED ? "its processes ended unexpectedly" : r->reason,
			  &r->supervisor, err);
}

/** wrong() - Is there anything to mend? Reading is all that most commands need to do. */
static bool wrong(int sandboxes, const struct sandbox_record *list, size_t count, DIR *dir)
{
	struct dirent *e;

	for (size_t i = 0; i < count; i++)
		if (state_effective(&list[i]) != list[i].state ||
		    (!state_is_live(list[i].state) && !has_file(sandboxes, list[i].name)))
			return true;
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.' && !is_listed(list, count, e->d_name) && has_file(sandboxes, e->d_name))
			return true;
	return false;
}

/** mend() - With the database open for writing; the list is read again, since others may have been quicker. */
static int mend(struct state *db, int sandboxes, DIR *dir, struct error *err)
{
	struct sandbox_record *list = NULL;
	struct dirent *e;
	size_t count;
	int rc = state_list(db, &list, &count, err);

	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = mend_row(db, sandboxes, &list[i], err);
	rewinddir(dir);
	while (rc == 0 && (e = readdir(dir)))
		if (e->d_name[0] != '.' && sandbox_name_valid(e->d_name) && !is_listed(list, count, e->d_name) &&
		    has_file(sandboxes, e->d_name))
			rc = add_row(db, sandboxes, e->d_name, err);
	sandbox_records_free(list, count);
	return rc;
}

int engine_recover(int home_fd, struct error *err)
{
	int sandboxes = openat(home_fd, "sandboxes", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = sandboxes < 0 ? NULL : fdopendir(sandboxes);
	struct sandbox_record *list = NULL;
	struct state *db;
	size_t count = 0;
	int rc = 0;

	if (!dir)
		return 0;
	db = state_open(home_fd, STATE_READ, err);
	if (!db || state_list(db, &list, &count, err) < 0) {
		state_close(db);
		closedir(dir);
		return -(int)err->code;
	}
	state_close(db);
	if (wrong(sandboxes, list, count, dir)) {
		db = state_open(home_fd, STATE_WRITE, err);
		rc = db ? mend(db, sandboxes, dir, err) : -(int)err->code;
		state_close(db);
		if (rc < 0 && err->code == ERR_PERMISSION) {
			err_clear(err); /* what is shown is checked anyway */
			rc = 0;
		}
	}
	sandbox_records_free(list, count);
	closedir(dir);
	return rc;
}

int engine_rebuild(const struct engine_paths *paths, struct error *err)
{
	_cleanup_fd_ int home = open(paths->home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct state *db;

	if (home < 0)
		return err_set(err, err_from_errno(errno), errno, "open %s", paths->home);
	unlinkat(home, "db/msb.db-journal", 0); /* of the damaged one */
	if (renameat(home, "db/msb.db", home, "db/msb.db.damaged") < 0 && errno != ENOENT)
		return err_set(err, err_from_errno(errno), errno, "set db/msb.db in MSB_HOME aside");
	db = state_open(home, STATE_WRITE, err);
	if (!db)
		return -(int)err->code;
	state_close(db);
	return engine_recover(home, err);
}
