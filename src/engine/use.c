/* SPDX-License-Identifier: Apache-2.0 */
/* Persistent sandboxes in use: what is known of them, commands in them, questions to their supervisors. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "engine/lifecycle.h"
#include "engine/sandbox_json.h"
#include "engine/session.h"
#include "engine/use.h"
#include "image/store.h"
#include "sandbox/sandbox.h"

#define ANSWER_MS 5000
#define CONNECT_MS 5000	 /* a supervisor that was just forked has its socket soon */
#define STOPPED_MS 20000 /* a sandbox that was started for a session, when it has ended */
#define STARTS_MAX 3	 /* it may stop again just when it is wanted */

int use_home(const struct engine_paths *paths, struct error *err)
{
	int fd = open(paths->home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd >= 0 ? fd : err_set(err, err_from_errno(errno), errno, "open %s", paths->home);
}

int use_home_of(const struct engine_paths *paths, const char *name, struct error *err)
{
	int fd = use_home(paths, err);

	if (fd >= 0 || err->code != ERR_NOT_FOUND)
		return fd;
	err_clear(err);
	return state_no_sandbox(name, err);
}

/** look() - One record as it is. */
static int look(int home, const char *name, struct sandbox_record *out, struct error *err)
{
	struct state *db = state_open(home, STATE_READ, err);
	int rc = db ? state_get(db, name, out, err) : -(int)err->code;

	state_close(db);
	return rc;
}

int engine_find(const struct engine_paths *paths, const char *name, struct sandbox_record *out, struct error *err)
{
	_cleanup_fd_ int home = use_home_of(paths, name, err);
	int rc;

	if (home < 0)
		return home;
	/* Only when it is not as it should be, all others are looked at, too. */
	rc = look(home, name, out, err);
	if (rc == 0 && recover_is_sound(home, out))
		return 0;
	if (rc == 0)
		sandbox_record_clear(out);
	else if (err->code == ERR_NOT_FOUND)
		err_clear(err);
	else
		return rc;
	if (engine_recover(home, err) < 0 || look(home, name, out, err) < 0)
		return -(int)err->code;
	out->state = state_effective(out);
	return 0;
}

int engine_list(const struct engine_paths *paths, struct sandbox_record **out, size_t *count, struct error *err)
{
	_cleanup_fd_ int home = use_home(paths, err);
	int rc;

	*out = NULL;
	*count = 0;
	if (home < 0 && err->code == ERR_NOT_FOUND) { /* nothing was ever made here */
		err_clear(err);
		return 0;
	}
	rc = home < 0 ? home : recover_list(home, out, count, err);
	for (size_t i = 0; rc == 0 && i < *count; i++)
		(*out)[i].state = state_effective(&(*out)[i]);
	return rc;
}

struct sandbox_json *engine_spec(const struct sandbox_record *r, struct error *err)
{
	struct sandbox_json *j = calloc(1, sizeof(*j));

	if (!j) {
		err_set(err, ERR_NO_MEMORY, 0, "out of memory");
		return NULL;
	}
	if (sandbox_json_decode(r->config, j, err) == 0)
		return j;
	err_wrap(err, "sandbox %s", r->name);
	if (err && err->code == ERR_INVALID)
		err_hint(err, "msb rm %.100s removes it", r->name);
	else if (err && err->code == ERR_UNSUPPORTED)
		err_hint(err, "use that msb; or msb rm %.100s", r->name);
	free(j);
	return NULL;
}

const struct run_spec *engine_spec_of(const struct sandbox_json *j)
{
	return &j->spec;
}

void engine_spec_free(struct sandbox_json *j)
{
	if (!j)
		return;
	sandbox_json_free(j);
	free(j);
}

bool engine_has_label(const struct run_spec *spec, const char *label)
{
	size_t n = strlen(label);

	for (size_t i = 0; i < spec->label_count; i++)
		if (strcmp(spec->labels[i], label) == 0 ||
		    (!strchr(label, '=') && strncmp(spec->labels[i], label, n) == 0 && spec->labels[i][n] == '='))
			return true;
	return false;
}

int use_connect(int home_fd, const struct sandbox_record *r, struct error *err)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int64_t end = clock_monotonic_ns() + CONNECT_MS * NSEC_PER_MSEC;
	struct ucred peer = { .pid = 0 };
	socklen_t len = sizeof(peer);
	char path[SANDBOX_NAME_MAX + 16];
	_cleanup_fd_ int dir = -1;
	_cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(path, sizeof(path), "sandboxes/%s", r->name);
	dir = openat(home_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || dir < 0)
		return err_set(err, err_from_errno(errno), errno, "connect to sandbox %s", r->name);
	snprintf(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d/control.sock", dir);
	while (connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
		bool starting = errno == ENOENT || errno == ECONNREFUSED || errno == EINTR || errno == EAGAIN;

		if (!starting || !identity_alive(&r->supervisor) || clock_monotonic_ns() >= end) {
			err_set(err, ERR_CLOSED, errno, "sandbox %s does not answer", r->name);
			return err_hint(err, "msb stop -f %.60s ends it by force", r->name);
		}
		poll(NULL, 0, 2);
	}
	/* Names are reused: it may be gone, and another one in its place that was made of something else. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.pid != r->supervisor.pid) {
		err_set(err, ERR_CLOSED, 0, "sandbox %s was replaced by another one just now", r->name);
		return err_hint(err, "try again");
	}
	return TAKE_FD(fd);
}

int use_ask(int fd, uint16_t type, const struct buf *body, uint16_t want, int limit_ms, struct buf *answer,
	    struct frame *f, struct error *err)
{
	struct buf out = BUF_INIT(4096);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int rc = frame_append(&out, type, 0, body ? body->data : NULL, body ? body->len : 0) &&
				 send(fd, out.data, out.len, MSG_NOSIGNAL) == (ssize_t)out.len
			 ? 0
			 : err_set(err, ERR_CLOSED, 0, "the sandbox does not answer");

	buf_free(&out);
	if (rc == 0 && poll(&p, 1, limit_ms) != 1)
		rc = err_set(err, ERR_TIMEOUT, 0, "it does not answer within %d s", limit_ms / 1000);
	if (rc == 0)
		rc = session_read_frame(fd, answer, f, err);
	if (rc == 0 && (f->type == FRAME_EXEC_FAILED || f->type == FRAME_SANDBOX_FAILED))
		rc = session_guest_error(f->body, f->body_len, err);
	else if (rc == 0 && f->type != want)
		rc = err_set(err, ERR_PROTOCOL, 0, "the sandbox sent an unexpected frame");
	return rc;
}

/** not_running() - The usual answer of what needs a running sandbox. */
static int not_running(const struct sandbox_record *r, struct error *err)
{
	err_set(err, ERR_CLOSED, 0, "sandbox %s is %s", r->name, state_word(r->state, false));
	if (state_is_live(r->state))
		return err_hint(err, "try again in a moment");
	return err_hint(err, "msb start %.100s", r->name);
}

/** question() - One question to a running sandbox. */
static int question(const struct engine_paths *paths, const char *name, uint16_t type, uint16_t want,
		    struct buf *answer, struct frame *f, struct error *err)
{
	_cleanup_fd_ int home = use_home_of(paths, name, err);
	_cleanup_fd_ int fd = -1;
	struct sandbox_record r = { .image = NULL };
	int rc = home < 0 ? home : engine_find(paths, name, &r, err);

	if (rc == 0 && !state_is_live(r.state))
		rc = not_running(&r, err);
	if (rc == 0)
		rc = fd = use_connect(home, &r, err);
	if (rc >= 0)
		rc = use_ask(fd, type, NULL, want, ANSWER_MS, answer, f, err);
	if (rc < 0 && err->code == ERR_CLOSED && r.image) { /* it may have ended just now, or not be ready yet */
		sandbox_record_clear(&r);
		err_clear(err);
		rc = engine_find(paths, name, &r, err);
		if (rc == 0 && r.state == SANDBOX_RUNNING)
			rc = err_set(err, ERR_CLOSED, 0, "it does not answer");
		else if (rc == 0)
			rc = not_running(&r, err);
	}
	if (rc < 0 && !err->hint[0]) {
		err_wrap(err, "sandbox %s", name);
		err_hint(err, "msb stop -f %.60s ends it by force", name);
	}
	sandbox_record_clear(&r);
	return MIN(rc, 0);
}

int engine_ping(const struct engine_paths *paths, const char *name, int64_t *ns, struct error *err)
{
	struct buf answer = BUF_INIT(4096);
	int64_t start = clock_monotonic_ns();
	struct frame f;
	int rc = question(paths, name, FRAME_PING, FRAME_PONG, &answer, &f, err);

	*ns = clock_monotonic_ns() - start;
	buf_free(&answer);
	return rc;
}

int engine_touch(const struct engine_paths *paths, const char *name, struct error *err)
{
	struct buf answer = BUF_INIT(4096);
	struct frame f;
	int rc = question(paths, name, FRAME_CTL_TOUCH, FRAME_CTL_OK, &answer, &f, err);

	buf_free(&answer);
	return rc;
}

int engine_status(const struct engine_paths *paths, const char *name, struct ctl_status *out, struct error *err)
{
	struct buf answer = BUF_INIT(4096);
	struct frame f;
	int rc = question(paths, name, FRAME_CTL_STATUS, FRAME_CTL_STATUS_REPLY, &answer, &f, err);

	if (rc == 0 && !ctl_decode_status(f.body, f.body_len, out))
		rc = err_set(err, ERR_PROTOCOL, 0, "%s: the sandbox sent a broken message", name);
	buf_free(&answer);
	return rc;
}

bool engine_same_image(const char *a, const char *b)
{
	char one[REFERENCE_MAX], two[REFERENCE_MAX];

	if (engine_image_is_path(a) || engine_image_is_path(b))
		return strcmp(a, b) == 0;
	return reference_normalise(a, one, NULL) == 0 && reference_normalise(b, two, NULL) == 0 &&
	       strcmp(one, two) == 0;
}

/** add_word() - To argv. */
static int add_word(struct msg_exec *e, const char *word, struct error *err)
{
	if (e->argv.count == MSG_STRINGS_MAX)
		return err_set(err, ERR_LIMIT, 0, "the command has more than %d words", MSG_STRINGS_MAX);
	e->argv.item[e->argv.count++] = word;
	return 0;
}

/** own_command() - What the image and the configuration say, and the words that take CMD's place. contract 1.4 */
static int own_command(const struct run_spec *s, const struct image *img, const struct exec_spec *spec,
		       struct msg_exec *e, struct error *err)
{
	char *const *words = spec->command_count ? spec->command : s->command;
	size_t count = spec->command_count ? spec->command_count : s->command_count;
	int rc = 0;

	if (s->entrypoint && s->entrypoint[0])
		rc = add_word(e, s->entrypoint, err);
	for (uint32_t i = 0; !s->entrypoint && img && rc == 0 && i < img->entrypoint.count; i++)
		rc = add_word(e, img->entrypoint.item[i], err);
	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = add_word(e, words[i], err);
	for (uint32_t i = 0; !count && img && rc == 0 && i < img->cmd.count; i++)
		rc = add_word(e, img->cmd.item[i], err);
	return rc;
}

/** make_exec() - The request. @text: keeps what it points to */
static int make_exec(const struct run_spec *s, const struct image *img, const struct exec_spec *spec,
		     struct msg_exec *e, struct buf *text, struct run_session *out, struct error *err)
{
	const char *shell = spec->shell_program ? spec->shell_program : s->shell ? s->shell : "/bin/sh";
	static char term[140];
	int rc = 0;

	memset(e, 0, sizeof(*e));
	if (spec->shell) {
		rc = add_word(e, shell, err);
		for (size_t i = 0; i < spec->command_count; i++)
			buf_printf(text, "%s%s", i ? " " : "", spec->command[i]);
		if (rc == 0 && spec->command_count) {
			if (!buf_cstr(text))
				return err_set(err, ERR_LIMIT, 0, "the script is too long");
			rc = add_word(e, "-c", err) < 0 ? -1 : add_word(e, buf_cstr(text), err);
		}
	} else if (spec->own_command) {
		rc = own_command(s, img, spec, e, err);
		if (rc == 0 && e->argv.count == 0 && spec->interactive)
			rc = add_word(e, shell, err);
	} else {
		for (size_t i = 0; rc == 0 && i < spec->command_count; i++)
			rc = add_word(e, spec->command[i], err);
	}
	out->nothing_to_run = e->argv.count == 0;
	if (rc == 0 && e->argv.count && !e->argv.item[0][0])
		rc = err_set(err, ERR_USAGE, 0, "the program name is empty");
	/* The guest has the sandbox's since its boot, but for what was modified meanwhile. */
	if (s->env_count + spec->env_count >= MSG_STRINGS_MAX)
		return err_set(err, ERR_LIMIT, 0, "more than %d environment variables", MSG_STRINGS_MAX);
	for (size_t i = 0; i < s->env_count; i++)
		e->env.item[e->env.count++] = s->env[i];
	for (size_t i = 0; i < spec->env_count; i++)
		e->env.item[e->env.count++] = spec->env[i];
	if (spec->tty && e->env.count < MSG_STRINGS_MAX) {
		snprintf(term, sizeof(term), "TERM=%s", spec->term ? spec->term : "xterm");
		e->env.item[e->env.count++] = term;
	}
	e->cwd = spec->workdir ? spec->workdir : s->workdir;
	e->user = spec->user;
	e->tty = spec->tty;
	e->stdin_open = spec->stdin_open;
	e->rows = spec->rows;
	e->cols = spec->cols;
	for (size_t i = 0; i < spec->rlimit_count && i < MSG_RLIMITS_MAX; i++)
		e->rlimits[e->rlimit_count++] = spec->rlimits[i];
	return rc;
}

/** image_for() - What the image says, where the command is its own. */
static int image_for(int home, const struct run_spec *s, struct image **img, struct error *err)
{
	struct image_store *store;
	int rc;

	if (!s->digest)
		return 0;
	store = image_store_open(home, err);
	if (!store)
		return -(int)err->code;
	rc = image_store_pinned(store, s->digest, img, err);
	image_store_close(store);
	return rc;
}

/** connect_running() - To a sandbox that runs; it is started when it does not. @r: its record, if it was read already
 */
static int connect_running(const struct engine_paths *paths, int home, const char *name, struct started *made,
			   int cancel_fd, struct sandbox_record *r, struct run_session *out, struct error *err)
{
	for (int tries = 0;; tries++) {
		int fd;

		if (!r->config && engine_find(paths, name, r, err) < 0)
			return -(int)err->code;
		if (state_is_live(r->state) && r->state != SANDBOX_DRAINING) {
			fd = use_connect(home, r, err);
			if (fd >= 0 || tries == STARTS_MAX)
				return fd;
			err_clear(err);
		} else if (tries == STARTS_MAX) {
			return not_running(r, err);
		} else if (r->state == SANDBOX_DRAINING) {
			use_wait_gone(&r->supervisor, STOPPED_MS);
		} else {
			int rc = engine_start(paths, name, START_ON_USE, cancel_fd, made, err);

			if (rc < 0 && err->code != ERR_EXISTS)
				return rc;
			if (rc < 0)
				err_clear(err); /* somebody was quicker */
			out->started_for_it = rc == 0;
			out->note_fallback = made->note_fallback;
			snprintf(out->fallback_reason, sizeof(out->fallback_reason), "%s", made->fallback_reason);
		}
		sandbox_record_clear(r);
	}
}

int use_open(const struct engine_paths *paths, const char *name, int cancel_fd, struct run_session *out,
	     struct error *err)
{
	struct started made = { .starter_fd = -1 };
	struct sandbox_record r = { .image = NULL };
	_cleanup_fd_ int home = use_home(paths, err);
	int rc = home;

	*out = (struct run_session){ .fd = -1, .control_fd = -1, .starter_fd = -1 };
	snprintf(out->name, sizeof(out->name), "%s", name);
	if (rc >= 0)
		rc = out->fd = connect_running(paths, home, name, &made, cancel_fd, &r, out, err);
	out->supervisor = r.supervisor;
	out->starter_fd = made.starter_fd;
	sandbox_record_clear(&r);
	return MIN(rc, 0);
}

/** What is asked of the agent, and all that it points to. */
struct request {
	char *config; /* of the sandbox that it was made for */
	struct sandbox_json *j;
	struct image *img;
	struct msg_exec *exec;
	struct buf text;
};

/** request_free() - Safe on a zeroed or failed one. */
static void request_free(struct request *q)
{
	free(q->config);
	free(q->exec);
	if (q->img)
		image_free(q->img);
	engine_spec_free(q->j);
	buf_free(&q->text);
	*q = (struct request){ .config = NULL };
}

/** request_make() - For this sandbox. */
static int request_make(struct request *q, int home, const struct sandbox_record *r, const struct exec_spec *spec,
			struct run_session *out, struct error *err)
{
	int rc = 0;

	request_free(q);
	q->text = (struct buf)BUF_INIT(FRAME_BODY_MAX);
	q->config = strdup(r->config);
	q->exec = calloc(1, sizeof(*q->exec));
	if (!q->config || !q->exec)
		return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	q->j = engine_spec(r, err);
	if (!q->j)
		return -(int)err->code;
	out->memory_mib = q->j->spec.memory_mib;
	if (spec->own_command)
		rc = image_for(home, &q->j->spec, &q->img, err);
	return rc < 0 ? rc : make_exec(&q->j->spec, q->img, spec, q->exec, &q->text, out, err);
}

int engine_exec(const struct engine_paths *paths, const char *name, const struct exec_spec *spec, struct started *made,
		int cancel_fd, struct run_session *out, struct error *err)
{
	struct started here = { .starter_fd = -1 };
	struct request q = { .config = NULL };
	struct sandbox_record r = { .image = NULL };
	_cleanup_fd_ int home = -1;
	int rc;

	*out = (struct run_session){ .fd = -1, .control_fd = -1, .starter_fd = -1, .started_for_it = made != NULL };
	snprintf(out->name, sizeof(out->name), "%s", name);
	snprintf(out->stage, sizeof(out->stage), "exec");
	home = use_home_of(paths, name, err);
	if (home < 0)
		return home;
	rc = engine_find(paths, name, &r, err);
	if (rc == 0)
		rc = request_make(&q, home, &r, spec, out, err);
	if (rc == 0 && !out->nothing_to_run) {
		rc = out->fd = connect_running(paths, home, name, made ? made : &here, cancel_fd, &r, out, err);
		out->supervisor = r.supervisor;
		/* It may have been modified, or replaced by another one, before it could be connected to. */
		if (rc >= 0 && strcmp(r.config, q.config) != 0)
			rc = request_make(&q, home, &r, spec, out, err);
		if (rc >= 0) {
			fd_set_nonblock(out->fd, true);
			rc = session_start_command(out, q.exec, cancel_fd, err);
		}
	}
	/* From here on the session keeps the sandbox; or nothing does. */
	fd_close(made ? &made->starter_fd : &here.starter_fd);
	if (rc < 0) {
		struct error ignored = ERROR_INIT;

		engine_exec_finish(paths, out, &ignored);
	}
	request_free(&q);
	sandbox_record_clear(&r);
	return MIN(rc, 0);
}

void use_wait_gone(const struct identity *who, int limit_ms)
{
	_cleanup_fd_ int pid = who->pid > 0 ? (int)syscall(SYS_pidfd_open, who->pid, 0) : -1;
	struct pollfd p = { .fd = pid, .events = POLLIN };

	if (pid >= 0 && identity_alive(who))
		while (poll(&p, 1, limit_ms) < 0 && errno == EINTR)
			;
}

/** in_use() - Does somebody else use it? Whoever is left keeps it running. */
static bool in_use(const struct engine_paths *paths, const char *name)
{
	struct error err = ERROR_INIT;
	struct ctl_status m;

	return engine_status(paths, name, &m, &err) == 0 && m.attached > 0;
}

int engine_exec_finish(const struct engine_paths *paths, struct run_session *s, struct error *err)
{
	struct sandbox_record r;
	int rc = 0;

	fd_close(&s->fd);
	fd_close(&s->starter_fd);
	if (s->started_for_it && !in_use(paths, s->name))
		use_wait_gone(&s->supervisor, STOPPED_MS);
	if (s->exited || s->nothing_to_run)
		return 0;
	/* The session saw no end: the supervisor has recorded why, or died. */
	use_wait_gone(&s->supervisor, 1000);
	if (engine_find(paths, s->name, &r, err) < 0)
		return -(int)err->code;
	if (!state_is_live(r.state))
		rc = err_set(err, ERR_CLOSED, 0, "sandbox %s %s%s%s", s->name,
			     r.state == SANDBOX_CRASHED ? "crashed" : "was stopped", r.reason[0] ? ": " : "", r.reason);
	sandbox_record_clear(&r);
	return rc;
}
