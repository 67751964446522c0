/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After processes died. The file sandbox.json says that a sandbox exists; the rest follows from it:
 *   sandbox.json, no row        killed while it was made, or the database is gone: the row is made again
 *   row, no sandbox.json        killed while it was removed, or removed by hand: the row goes, sandbox_sweep() takes
 *                               the rest
 *   row of a dead supervisor    crashed, or stopped when it was stopping; removed when nobody wanted to keep it
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "engine/lifecycle.h"
#include "engine/sandbox_json.h"
#include "engine/use.h"
#include "sandbox/sandbox.h"

/** has_file() - sandboxes/NAME/sandbox.json. */
static bool has_file(int sandboxes, const char *name)
{
	char path[NAME_MAX + 32];

	snprintf(path, sizeof(path), "%s/" SANDBOX_FILE, name);
	return faccessat(sandboxes, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/** find_supervisor() - Who listens at the control socket of a sandbox whose record is lost. */
static bool find_supervisor(int sandboxes, const char *name, struct identity *out)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	_cleanup_fd_ int dir = openat(sandboxes, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct ucred who;
	socklen_t len = sizeof(who);

	snprintf(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d/control.sock", dir);
	return dir >= 0 && fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0 &&
	       getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && identity_of(who.pid, out);
}

/** read_file() - sandbox.json, which may be damaged: then the image is not known and the text is kept for people. */
static int read_file(int sandboxes, const char *name, struct sandbox_record *r, struct buf *text, struct error *err)
{
	_cleanup_(freep) struct sandbox_json *j = calloc(1, sizeof(*j));
	char path[NAME_MAX + 32];
	struct stat st;

	if (!j)
		return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	snprintf(path, sizeof(path), "%s/" SANDBOX_FILE, name);
	if (file_read(sandboxes, path, SANDBOX_JSON_MAX, text, NULL) == 0 && buf_cstr(text) &&
	    sandbox_json_decode(buf_cstr(text), j, NULL) == 0 && strcmp(j->spec.name, name) == 0) {
		r->created_ns = j->created_ns;
		r->image = strdup(j->spec.image);
		sandbox_json_free(j);
	} else {
		r->created_ns = fstatat(sandboxes, path, &st, AT_SYMLINK_NOFOLLOW) == 0
					? st.st_mtim.tv_sec * NSEC_PER_SEC
					: clock_realtime_ns();
		r->state = SANDBOX_CRASHED;
		snprintf(r->reason, sizeof(r->reason), "its sandbox.json is damaged");
		r->image = strdup("?");
	}
	r->config = strdup(text->len && buf_cstr(text) ? buf_cstr(text) : "");
	return r->image && r->config ? 0 : err_set(err, ERR_NO_MEMORY, 0, "out of memory");
}

/** add_row() - From the file, and from its supervisor when it runs. A damaged one can at least be seen and removed. */
static int add_row(struct state *db, int sandboxes, const char *name, struct error *err)
{
	struct sandbox_record r = { .state = SANDBOX_STOPPED, .reason = "its record was lost and made again" };
	struct buf text = BUF_INIT(SANDBOX_JSON_MAX + 1);
	int rc = read_file(sandboxes, name, &r, &text, err);

	snprintf(r.name, sizeof(r.name), "%s", name);
	if (find_supervisor(sandboxes, name, &r.supervisor))
		r.state = SANDBOX_RUNNING;
	r.updated_ns = clock_realtime_ns();
	if (rc == 0)
		rc = state_put(db, &r, err);
	sandbox_record_clear(&r);
	buf_free(&text);
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

/** is_unwanted() - Over, and nobody wanted to keep it: its supervisor, or who made it, died before removing it. */
static bool is_unwanted(int sandboxes, const struct sandbox_record *r)
{
	_cleanup_(freep) struct sandbox_json *j = NULL;
	bool unwanted;

	if (state_is_live(state_effective(r)) || !strstr(r->config, "remove_at_end"))
		return false;
	j = calloc(1, sizeof(*j));
	if (!j || sandbox_json_decode(r->config, j, NULL) < 0)
		return false;
	unwanted = j->remove_at_end && sandbox_dir_is_dead(sandboxes, r->name);
	sandbox_json_free(j);
	return unwanted;
}

/** mend_row() - One that there is. */
static int mend_row(struct state *db, int sandboxes, const struct sandbox_record *r, struct error *err)
{
	enum sandbox_state now = state_effective(r);
	char path[NAME_MAX + 32];

	if (is_unwanted(sandboxes, r)) {
		snprintf(path, sizeof(path), "%s/" SANDBOX_FILE, r->name);
		unlinkat(sandboxes, path, 0);
	}
	if (!state_is_live(now) && !has_file(sandboxes, r->name))
		return state_delete(db, r->name, err);
	if (now == r->state)
		return 0;
	return state_move(db, r->name, now, now == SANDBOX_CRASHED ? "its processes ended unexpectedly" : r->reason,
			  &r->supervisor, err);
}

/**
 * wrong() - Is there anything to mend? Reading is all that most commands need to do.
 * @strays: set when there are directories of no sandbox that stays: of running ephemeral ones, or left by dead ones
 */
static bool wrong(int sandboxes, const struct sandbox_record *list, size_t count, DIR *dir, bool *strays)
{
	struct dirent *e;

	for (size_t i = 0; i < count; i++)
		if (state_effective(&list[i]) != list[i].state || is_unwanted(sandboxes, &list[i]) ||
		    (!state_is_live(list[i].state) && !has_file(sandboxes, list[i].name)))
			return true;
	while ((e = readdir(dir))) {
		if (!sandbox_name_valid(e->d_name) || is_listed(list, count, e->d_name))
			continue;
		if (has_file(sandboxes, e->d_name))
			return true;
		*strays = true;
	}
	return false;
}

/** mend() - With the database open for writing; the list is read again, since others may have been quicker. Nobody
 * comes between: who makes a sandbox records it only after its file is there. */
static int mend(struct state *db, int sandboxes, DIR *dir, struct error *err)
{
	struct sandbox_record *list = NULL;
	struct dirent *e;
	size_t count = 0;
	int rc = state_begin(db, err);

	if (rc == 0)
		rc = state_list(db, &list, &count, err);
	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = mend_row(db, sandboxes, &list[i], err);
	rewinddir(dir);
	while (rc == 0 && (e = readdir(dir)))
		if (sandbox_name_valid(e->d_name) && !is_listed(list, count, e->d_name) &&
		    has_file(sandboxes, e->d_name))
			rc = add_row(db, sandboxes, e->d_name, err);
	sandbox_records_free(list, count);
	return rc < 0 ? rc : state_commit(db, err);
}

/** read_all() - Every record. */
static int read_all(int home_fd, struct sandbox_record **list, size_t *count, struct error *err)
{
	struct state *db = state_open(home_fd, STATE_READ, err);
	int rc = db ? state_list(db, list, count, err) : -(int)err->code;

	state_close(db);
	return rc;
}

/** sweep() - What dead ephemeral sandboxes left. */
static void sweep(int sandboxes)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", sandboxes);
	sandbox_sweep(path);
}

int recover_list(int home_fd, struct sandbox_record **list, size_t *count, struct error *err)
{
	int sandboxes = openat(home_fd, "sandboxes", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = sandboxes < 0 ? NULL : fdopendir(sandboxes);
	bool strays = false;
	struct state *db;
	int rc;

	*list = NULL;
	*count = 0;
	if (!dir)
		return 0;
	rc = read_all(home_fd, list, count, err);
	if (rc == 0 && wrong(sandboxes, *list, *count, dir, &strays)) {
		strays = true;
		db = state_open(home_fd, STATE_WRITE, err);
		rc = db ? mend(db, sandboxes, dir, err) : -(int)err->code;
		state_close(db);
		if (rc < 0 && err->code == ERR_PERMISSION) {
			err_clear(err); /* what is shown is checked anyway */
			rc = 0;
		}
		sandbox_records_free(*list, *count);
		*list = NULL;
		*count = 0;
		if (rc == 0)
			rc = read_all(home_fd, list, count, err);
	}
	if (rc == 0 && strays)
		sweep(sandboxes);
	closedir(dir);
	return rc;
}

int engine_recover(int home_fd, struct error *err)
{
	struct sandbox_record *list;
	size_t count;
	int rc = recover_list(home_fd, &list, &count, err);

	sandbox_records_free(list, count);
	return rc;
}

bool recover_is_sound(int home_fd, const struct sandbox_record *r)
{
	char path[SANDBOX_NAME_MAX + 64];

	snprintf(path, sizeof(path), "sandboxes/%s/" SANDBOX_FILE, r->name);
	return state_effective(r) == r->state && !strstr(r->config, "remove_at_end") &&
	       faccessat(home_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int engine_check(const struct engine_paths *paths, struct error *err)
{
	_cleanup_fd_ int home = open(paths->home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct state *db;
	int rc;

	if (home < 0)
		return 0;
	db = state_open(home, STATE_READ, err);
	if (!db)
		return -(int)err->code;
	rc = state_check(db, err);
	state_close(db);
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
