/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/modify.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "engine/sandbox_json.h"
#include "engine/use.h"
#include "sandbox/sandbox.h"

#define LOCK_MS 15000

/** A list of KEY=VALUE on its way to another one; words are borrowed. */
struct list {
	const char *item[MSG_STRINGS_MAX];
	size_t count;
};

/** What is planned so far. */
struct plan {
	struct modify_change *changes;
	size_t count;
	bool running;
};

/** note() - One change. @live: does it need no new start? */
static void note(struct plan *p, bool live, const char *what, const char *value)
{
	struct modify_change *c = &p->changes[p->count];

	if (p->count == MODIFY_CHANGES_MAX)
		return;
	snprintf(c->what, sizeof(c->what), "%s %.180s", what, value);
	c->when = live || !p->running ? MODIFY_LIVE : MODIFY_NEXT_START;
	p->count++;
}

/** find_key() - The entry of a key (up to '=' or the end of the text). Return: its place, or count. */
static size_t find_key(const struct list *l, const char *text)
{
	size_t n = strcspn(text, "="), i;

	for (i = 0; i < l->count; i++)
		if (strncmp(l->item[i], text, n) == 0 && l->item[i][n] == '=')
			break;
	return i;
}

/** merge() - Entries that come and go. @what: "env", "label"; @live_removes: can one go without a new start? */
static int merge(struct plan *p, struct list *l, const char *const *had, size_t had_count, const char *const *add,
		 size_t add_count, const char *const *remove, size_t remove_count, const char *what, bool live_removes,
		 struct error *err)
{
	char gone[32];

	snprintf(gone, sizeof(gone), "remove %s", what);
	memcpy(l->item, had, had_count * sizeof(*had));
	l->count = had_count;
	for (size_t i = 0; i < remove_count; i++) {
		size_t at = find_key(l, remove[i]);

		if (at == l->count)
			return err_set(err, ERR_NOT_FOUND, 0, "--%s-rm: the sandbox has no \"%.100s\"", what,
				       remove[i]);
		note(p, live_removes, gone, remove[i]);
		memmove(&l->item[at], &l->item[at + 1], (--l->count - at) * sizeof(*l->item));
	}
	for (size_t i = 0; i < add_count; i++) {
		size_t at = find_key(l, add[i]);

		if (at == MSG_STRINGS_MAX)
			return err_set(err, ERR_LIMIT, 0, "--%s: more than %d", what, MSG_STRINGS_MAX);
		l->count += at == l->count;
		l->item[at] = add[i];
		note(p, true, what, add[i]);
	}
	return 0;
}

/** apply() - The new configuration takes the place of the old one. */
static int apply(int home, const char *name, const struct run_spec *spec, int64_t created_ns, struct error *err)
{
	char *text = sandbox_json_encode(spec, created_ns, err), path[SANDBOX_NAME_MAX + 64];
	struct state *db = text ? state_open(home, STATE_WRITE, err) : NULL;
	int rc = db ? 0 : -(int)err->code;

	snprintf(path, sizeof(path), "sandboxes/%s/" SANDBOX_FILE, name);
	if (rc == 0)
		rc = file_write_atomic(home, path, text, strlen(text), 0600, err);
	if (rc == 0)
		rc = state_config(db, name, text, err);
	state_close(db);
	free(text);
	return rc;
}

/** change() - Plan, and apply. The name is held. */
static int change(int home, const struct sandbox_record *r, struct sandbox_json *j, const struct modify_spec *m,
		  enum modify_policy policy, struct plan *p, struct error *err)
{
	_cleanup_(freep) struct list *env = calloc(1, sizeof(*env)), *labels = calloc(1, sizeof(*labels));
	struct run_spec spec = j->spec;
	char number[32];
	int rc = env && labels ? 0 : err_set(err, ERR_NO_MEMORY, 0, "out of memory");

	if (rc == 0)
		rc = merge(p, env, spec.env, spec.env_count, m->env, m->env_count, m->env_removes, m->env_remove_count,
			   "env", false, err);
	if (rc == 0)
		rc = merge(p, labels, spec.labels, spec.label_count, m->labels, m->label_count, m->label_removes,
			   m->label_remove_count, "label", true, err);
	if (rc < 0)
		return rc;
	spec.env = env->item;
	spec.env_count = env->count;
	spec.labels = labels->item;
	spec.label_count = labels->count;
	if (m->workdir) {
		spec.workdir = m->workdir;
		note(p, true, "workdir", m->workdir);
	}
	if (m->memory_mib) {
		spec.memory_mib = m->memory_mib;
		snprintf(number, sizeof(number), "%llu MiB", (unsigned long long)m->memory_mib);
		note(p, false, "memory", number);
	}
	if (m->cpus) {
		spec.cpus = (unsigned int)m->cpus;
		snprintf(number, sizeof(number), "%u", spec.cpus);
		note(p, false, "cpus", number);
	}
	for (size_t i = 0; i < p->count && policy == MODIFY_ALL_OR_NOTHING; i++)
		if (p->changes[i].when == MODIFY_NEXT_START) {
			err_set(err, ERR_EXISTS, 0, "sandbox %s runs, and \"%.100s\" takes effect at a start only",
				r->name, p->changes[i].what);
			return err_hint(err, "nothing was changed: add --next-start or --restart");
		}
	return policy == MODIFY_DRY_RUN || p->count == 0 ? 0 : apply(home, r->name, &spec, j->created_ns, err);
}

int engine_modify(const struct engine_paths *paths, const char *name, const struct modify_spec *spec,
		  enum modify_policy policy, struct modify_change *changes, size_t *count, struct error *err)
{
	_cleanup_fd_ int home = use_home(paths, err);
	_cleanup_fd_ int lock = home < 0 ? -1 : name_lock(home, name, LOCK_MS, err);
	struct sandbox_record r = { .image = NULL };
	struct plan p = { .changes = changes };
	struct sandbox_json *j = NULL;
	struct started made;
	int rc = lock < 0 ? -(int)err->code : engine_find(paths, name, &r, err);

	*count = 0;
	if (rc == 0 && !(j = engine_spec(&r, err)))
		rc = -(int)err->code;
	p.running = state_is_live(r.state);
	if (rc == 0)
		rc = change(home, &r, j, spec, policy, &p, err);
	*count = p.count;
	engine_spec_free(j);
	sandbox_record_clear(&r);
	fd_close(&lock);
	if (rc < 0 || policy != MODIFY_RESTART || !p.running)
		return rc;
	if (engine_stop(paths, name, STOP_GRACE_MS, err) < 0 ||
	    engine_start(paths, name, START_STAYS, -1, &made, err) < 0)
		return -(int)err->code;
	fd_close(&made.starter_fd);
	return 0;
}
