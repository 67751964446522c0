/* SPDX-License-Identifier: Apache-2.0 */
/* Persistent sandboxes: making, starting, stopping, removing. */
#include "engine/lifecycle.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/timeline.h"
#include "engine/run_plan.h"
#include "engine/sandbox_json.h"
#include "engine/session.h"
#include "engine/use.h"

#define NAME_LOCK_MS 15000 /* another command holds a name for a moment only, or while it makes a disk */
#define DYING_MS 5000	   /* the processes of a sandbox whose supervisor is gone */
#define DEATH_MS 5000	   /* after SIGKILL */

/** One sandbox while it changes hands. */
struct hold {
	struct engine_paths paths;
	char parent[1100];		/* MSB_HOME/sandboxes */
	int home, name_lock, dir, lock; /* owned */
};

/** release() - Whatever is held. */
static void release(struct hold *h)
{
	fd_close(&h->name_lock);
	fd_close(&h->lock);
	fd_close(&h->dir);
	fd_close(&h->home);
}

/** take() - The name. */
static int take(struct hold *h, const struct engine_paths *paths, const char *name, struct error *err)
{
	*h = (struct hold){ .paths = *paths, .home = -1, .name_lock = -1, .dir = -1, .lock = -1 };
	snprintf(h->parent, sizeof(h->parent), "%s/sandboxes", paths->home);
	h->home = use_home_of(paths, name, err);
	if (h->home < 0)
		return h->home;
	h->name_lock = name_lock(h->home, name, NAME_LOCK_MS, err);
	return MIN(h->name_lock, 0);
}

/** record() - A change of the database. @r: NULL: delete the row of this name */
static int record(int home, const char *name, const struct sandbox_record *r, struct error *err)
{
	struct state *db = state_open(home, STATE_WRITE, err);
	int rc = !db ? -(int)err->code : r ? state_put(db, r, err) : state_delete(db, name, err);

	state_close(db);
	return rc;
}

/** discard() - Nothing of it stays: first what says that it exists. The lock of the directory is held. */
static int discard(struct hold *h, const char *name, struct error *err)
{
	_cleanup_fd_ int parent = open(h->parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc;

	if (parent < 0 || faccessat(parent, ".", W_OK, AT_EACCESS) < 0) /* rather nothing than half of it */
		return err_set(err, err_from_errno(errno), errno, "remove sandbox %s from %s", name, h->parent);
	if (h->dir >= 0 && unlinkat(h->dir, SANDBOX_FILE, 0) < 0 && errno != ENOENT)
		return err_set(err, err_from_errno(errno), errno, "remove sandbox %s", name);
	rc = record(h->home, name, NULL, err);
	if (dir_remove_tree(parent, name, rc < 0 ? NULL : err) < 0 && rc == 0)
		rc = -(int)err->code;
	return rc;
}

/** fork_supervisor() - The plan comes alive; its state is recorded as starting. */
static int fork_supervisor(struct hold *h, struct run_plan *plan, struct run_session *s, struct error *err)
{
	struct identity who;
	struct state *db;
	int rc = run_plan_launch(plan, s, err);

	if (rc < 0)
		return rc;
	/* One that is gone already has recorded that; for another command it would not be there otherwise. */
	if (!identity_of(s->supervisor_pid, &who))
		return 0;
	db = state_open(h->home, STATE_WRITE, err);
	rc = db ? state_move(db, plan->name, SANDBOX_STARTING, "", &who, err) : -(int)err->code;
	state_close(db);
	if (rc < 0)
		kill(s->supervisor_pid, SIGKILL);
	return rc;
}

/** wait_ready() - Until the guest is ready, or was not to be. */
static int wait_ready(struct run_session *s, int cancel_fd, struct started *out, struct error *err)
{
	int rc = session_wait(s, s->control_fd, POLLIN, cancel_fd, err);

	out->on_qemu = s->on_qemu;
	out->note_fallback = s->note_fallback;
	snprintf(out->fallback_reason, sizeof(out->fallback_reason), "%s", s->fallback_reason);
	out->starter_fd = TAKE_FD(s->control_fd);
	if (rc < 0)
		fd_close(&out->starter_fd);
	return rc;
}

/** exists() - Is the name taken: a record, or a directory that somebody holds? */
static int exists(struct hold *h, const char *name, struct sandbox_record *r, bool *found, struct error *err)
{
	struct state *db;
	int rc;

	*found = false;
	if (engine_recover(h->home, err) < 0)
		return -(int)err->code;
	db = state_open(h->home, STATE_WRITE, err);
	if (!db)
		return -(int)err->code;
	rc = state_get(db, name, r, err);
	state_close(db);
	*found = rc == 0;
	if (rc < 0 && err->code == ERR_NOT_FOUND) {
		err_clear(err);
		rc = 0;
	}
	if (*found)
		r->state = state_effective(r);
	return rc;
}

/** pin() - The image that it is made from: noted where collecting garbage looks, before the image can go. */
static int pin(struct hold *h, struct run_spec *spec, char digest[80], struct error *err)
{
	struct image_store *store;
	struct image *img = NULL;
	_cleanup_fd_ int held = -1;
	char line[90];
	int rc;

	if (engine_image_is_path(spec->image))
		return 0;
	store = image_store_open(h->home, err);
	if (!store)
		return -(int)err->code;
	rc = held = image_store_hold(store, err);
	if (rc >= 0) /* it was fetched before; its name may lead to another one by now, and to none */
		rc = image_store_find(store, spec->image, &img, err);
	if (rc >= 0) {
		snprintf(digest, 80, "%.79s", img->digest);
		spec->digest = digest;
		snprintf(line, sizeof(line), "%s\n", digest);
		rc = file_write_atomic(h->dir, "image", line, strlen(line), 0600, err);
		image_free(img);
	}
	image_store_close(store);
	return MIN(rc, 0);
}

/** fetch_image() - Before the name is taken: a pull may be long. */
static int fetch_image(const struct engine_paths *paths, const struct run_spec *spec, struct error *err)
{
	_cleanup_fd_ int home = use_home(paths, err);
	struct image_store *store;
	struct image *img = NULL;
	bool qcow2;
	int rc;

	if (home < 0)
		return home;
	if (engine_image_is_path(spec->image))
		return root_source_check(spec->image, &qcow2, err);
	store = image_store_open(home, err);
	if (!store)
		return -(int)err->code;
	rc = run_plan_find_image(store, paths, spec, &img, err);
	if (rc == 0)
		image_free(img);
	image_store_close(store);
	return rc;
}

/** store_it() - What makes it a sandbox: its configuration, then its record. */
static int store_it(struct hold *h, const struct run_spec *spec, struct error *err)
{
	struct sandbox_record r = { .state = SANDBOX_CREATED, .created_ns = clock_realtime_ns() };
	char *text = sandbox_json_encode(spec, r.created_ns, err);
	int rc;

	if (!text)
		return -(int)err->code;
	snprintf(r.name, sizeof(r.name), "%s", spec->name);
	r.updated_ns = r.created_ns;
	r.image = (char *)(uintptr_t)spec->image;
	r.config = text;
	rc = file_write_atomic(h->dir, SANDBOX_FILE, text, strlen(text), 0600, err);
	if (rc == 0)
		rc = record(h->home, spec->name, &r, err);
	free(text);
	return rc;
}

/** replace() - Make room for another of the same name; the name is held. */
static int replace(struct hold *h, const struct create_options *how, const struct sandbox_record *old,
		   struct error *err)
{
	if (state_is_live(old->state) && engine_stop(&h->paths, old->name, how->replace_grace_ms, err) < 0)
		return -(int)err->code;
	if (sandbox_dir_open(h->parent, old->name, DYING_MS, &h->dir, &h->lock, err) < 0) {
		if (err->code != ERR_NOT_FOUND)
			return -(int)err->code;
		err_clear(err);
	}
	if (discard(h, old->name, err) < 0)
		return -(int)err->code;
	fd_close(&h->lock);
	fd_close(&h->dir);
	return 0;
}

/** make() - The sandbox with its supervisor; the name is held. */
static int make(struct hold *h, struct run_spec *spec, const struct create_options *how, struct run_session *s,
		bool *nothing_to_run, struct error *err)
{
	struct run_place place = { .first = true,
				   .on_use = how->mode == START_ON_USE,
				   .workload = how->mode == START_WORKLOAD,
				   .needs_command = how->mode != START_STAYS,
				   .remove_at_end = how->remove_at_end };
	static struct run_plan plan; /* large */
	struct error ignored = ERROR_INIT;
	char digest[80];
	int rc = sandbox_dir_create(h->parent, spec->name, &h->dir, &h->lock, err);

	if (rc < 0 && err->code == ERR_EXISTS)
		return err_hint(err, "--replace removes what is there");
	if (rc < 0)
		return rc;
	place.dir_fd = h->dir;
	place.lock_fd = h->lock;
	rc = pin(h, spec, digest, err);
	if (rc == 0)
		rc = files_prepare(h->dir, spec, err);
	spec->place = &place;
	*s = (struct run_session){ .fd = -1, .control_fd = -1 };
	if (rc == 0)
		rc = run_plan_make(spec, &plan, s, err);
	timeline_mark("plan made");
	*nothing_to_run = rc == 0 && s->nothing_to_run;
	if (rc == 0 && !*nothing_to_run)
		rc = store_it(h, spec, err);
	if (rc == 0 && !*nothing_to_run)
		rc = fork_supervisor(h, &plan, s, err);
	run_plan_release(&plan);
	run_plan_free(&plan);
	if (rc < 0 || *nothing_to_run)
		discard(h, spec->name, &ignored);
	spec->place = NULL;
	return rc;
}

int engine_create(const struct run_spec *asked, const struct create_options *how, int cancel_fd, struct started *out,
		  struct error *err)
{
	struct run_spec spec = *asked;
	struct sandbox_record old = { .image = NULL };
	struct engine_paths paths;
	struct run_session s;
	struct hold h;
	bool found;
	uint32_t r;
	int rc;

	*out = (struct started){ .starter_fd = -1 };
	if (!spec.name && getrandom(&r, sizeof(r), 0) != sizeof(r))
		return err_set(err, ERR_SYSTEM, errno, "getrandom");
	if (spec.name)
		snprintf(out->name, sizeof(out->name), "%s", spec.name);
	else
		snprintf(out->name, sizeof(out->name), "msb-%08x", r);
	spec.name = out->name;
	if (engine_paths(&paths, ENGINE_WRITE, err) < 0 || fetch_image(&paths, &spec, err) < 0)
		return -(int)err->code;
	if (take(&h, &paths, spec.name, err) < 0) {
		release(&h);
		return -(int)err->code;
	}
	rc = exists(&h, spec.name, &old, &found, err);
	if (rc == 0 && found && how->replace) {
		rc = replace(&h, how, &old, err);
	} else if (rc == 0 && found) {
		err_set(err, ERR_EXISTS, 0, "sandbox %s already exists (%s)", spec.name, state_word(old.state, false));
		rc = err_hint(err, "--replace makes it anew; msb start %.60s starts it, msb rm %.60s removes it",
			      spec.name, spec.name);
	}
	sandbox_record_clear(&old);
	if (rc == 0)
		rc = make(&h, &spec, how, &s, &out->nothing_to_run, err);
	release(&h);
	if (rc < 0 || out->nothing_to_run)
		return rc;
	timeline_mark("supervisor forked");
	if (wait_ready(&s, cancel_fd, out, err) < 0) {
		struct error ignored = ERROR_INIT;

		engine_remove(&paths, spec.name, true, &ignored);
		return -(int)err->code;
	}
	return 0;
}

int engine_start(const struct engine_paths *paths, const char *name, enum start_mode mode, int cancel_fd,
		 struct started *out, struct error *err)
{
	struct run_place place = { .on_use = mode == START_ON_USE, .workload = mode == START_WORKLOAD };
	struct sandbox_record r = { .image = NULL };
	static struct run_plan plan;
	struct sandbox_json *j = NULL;
	struct run_session s = { .fd = -1, .control_fd = -1 };
	struct hold h;
	bool found = false;
	int rc;

	*out = (struct started){ .starter_fd = -1 };
	snprintf(out->name, sizeof(out->name), "%s", name);
	rc = take(&h, paths, name, err);
	if (rc == 0)
		rc = exists(&h, name, &r, &found, err);
	if (rc == 0 && !found)
		rc = state_no_sandbox(name, err);
	if (rc == 0 && state_is_live(r.state)) {
		err_set(err, ERR_EXISTS, 0, "sandbox %s is already %s", name, state_word(r.state, false));
		rc = err_hint(err, "msb exec %.60s -- COMMAND runs something in it; msb restart %.60s", name, name);
	}
	if (rc == 0 && !(j = engine_spec(&r, err)))
		rc = -(int)err->code;
	if (rc == 0)
		rc = sandbox_dir_open(h.parent, name, DYING_MS, &h.dir, &h.lock, err);
	place.dir_fd = h.dir;
	place.lock_fd = h.lock;
	if (rc == 0) {
		j->spec.place = &place;
		rc = run_plan_make(&j->spec, &plan, &s, err);
		if (rc == 0)
			rc = fork_supervisor(&h, &plan, &s, err);
		run_plan_release(&plan);
		run_plan_free(&plan);
	}
	release(&h);
	engine_spec_free(j);
	sandbox_record_clear(&r);
	if (rc == 0 && wait_ready(&s, cancel_fd, out, err) < 0) {
		rc = -(int)err->code;
		if (err->code == ERR_CANCELLED) {
			struct error ignored = ERROR_INIT;

			engine_stop(paths, name, 0, &ignored);
		}
	}
	fd_close(&s.control_fd);
	return rc;
}

/** force() - SIGKILL to a supervisor: its monitor and QEMU end with it. */
static int force(const struct sandbox_record *r, int pid_fd, struct error *err)
{
	struct pollfd gone = { .fd = pid_fd, .events = POLLIN };

	syscall(SYS_pidfd_send_signal, pid_fd, SIGKILL, NULL, 0);
	if (poll(&gone, 1, DEATH_MS) == 1)
		return 0;
	return err_set(err, ERR_TIMEOUT, 0, "sandbox %s: its supervisor (process %d) does not die", r->name,
		       (int)r->supervisor.pid);
}

/** ask_to_stop() - In order; who does not listen is told by a signal. */
static void ask_to_stop(int home, const struct sandbox_record *r, uint64_t grace_ms, int pid_fd, int *connection)
{
	struct buf body = BUF_INIT(64), frame = BUF_INIT(128);

	*connection = use_connect(home, r, NULL);
	if (*connection < 0 || !ctl_encode_stop(&body, &(struct ctl_stop){ .grace_ms = grace_ms }) ||
	    !frame_append(&frame, FRAME_CTL_STOP, 0, body.data, body.len) ||
	    send(*connection, frame.data, frame.len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)frame.len)
		syscall(SYS_pidfd_send_signal, pid_fd, SIGTERM, NULL, 0);
	buf_free(&body);
	buf_free(&frame);
}

/** note_stopped() - What a supervisor that was killed could not record itself. */
static int note_stopped(int home, const struct sandbox_record *r, struct error *err)
{
	struct state *db = state_open(home, STATE_WRITE, err);
	int rc = db ? state_move(db, r->name, SANDBOX_STOPPED, "it was stopped by force", &r->supervisor, err)
		    : -(int)err->code;

	state_close(db);
	return rc;
}

int engine_stop(const struct engine_paths *paths, const char *name, uint64_t grace_ms, struct error *err)
{
	struct sandbox_record r = { .image = NULL };
	struct pollfd gone = { .fd = -1, .events = POLLIN };
	_cleanup_fd_ int home = use_home_of(paths, name, err);
	_cleanup_fd_ int connection = -1;
	_cleanup_fd_ int dir = -1;
	_cleanup_fd_ int lock = -1;
	char parent[1100];
	int rc = 0;

	if (home < 0 || engine_find(paths, name, &r, err) < 0)
		return -(int)err->code;
	if (state_is_live(r.state))
		gone.fd = (int)syscall(SYS_pidfd_open, r.supervisor.pid, 0);
	/* The number may have passed to another process just before it was opened. */
	if (gone.fd >= 0 && identity_alive(&r.supervisor)) {
		ask_to_stop(home, &r, grace_ms, gone.fd, &connection);
		/* After the grace the supervisor ends the machine itself within 2 s. */
		if (poll(&gone, 1, grace_ms ? (int)MIN(grace_ms + 3500, INT32_MAX) : 1500) != 1) {
			rc = force(&r, gone.fd, err);
			if (rc == 0)
				rc = note_stopped(home, &r, err);
		}
		/* Stopped means that nothing of it is left. */
		snprintf(parent, sizeof(parent), "%s/sandboxes", paths->home);
		if (rc == 0 && sandbox_dir_open(parent, name, DYING_MS, &dir, &lock, err) < 0) {
			rc = err->code == ERR_EXISTS ? 0 : -(int)err->code; /* started again, or removed meanwhile */
			if (rc == 0 || err->code == ERR_NOT_FOUND) {
				err_clear(err);
				rc = 0;
			}
		}
	}
	fd_close(&gone.fd);
	sandbox_record_clear(&r);
	return rc;
}

int engine_remove(const struct engine_paths *paths, const char *name, bool by_force, struct error *err)
{
	struct sandbox_record r = { .image = NULL };
	bool found = false;
	struct hold h;
	int rc = take(&h, paths, name, err);

	if (rc == 0)
		rc = exists(&h, name, &r, &found, err);
	if (rc == 0 && !found)
		rc = state_no_sandbox(name, err);
	if (rc == 0 && state_is_live(r.state) && !by_force) {
		err_set(err, ERR_EXISTS, 0, "sandbox %s is still %s", name, state_word(r.state, false));
		rc = err_hint(err, "msb stop %.60s, or msb rm --force %.60s", name, name);
	}
	if (rc == 0 && state_is_live(r.state))
		rc = engine_stop(paths, name, 0, err);
	if (rc == 0 && sandbox_dir_open(h.parent, name, DYING_MS, &h.dir, &h.lock, err) < 0) {
		rc = -(int)err->code;
		if (err->code == ERR_NOT_FOUND) {
			err_clear(err);
			rc = 0;
		}
	}
	if (rc == 0)
		rc = discard(&h, name, err);
	release(&h);
	sandbox_record_clear(&r);
	return rc;
}
