/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An ephemeral sandbox from an image to a started command. The parts are put together here and handed to a forked
 * supervisor; this process keeps two sockets: one to the supervisor (its closing ends the sandbox) and the session's.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/child.h"
#include "base/fd.h"
#include "base/timeline.h"
#include "engine/engine.h"
#include "engine/run_plan.h"
#include "engine/session.h"
#include "sandbox/sandbox.h"

#define TEARDOWN_LIMIT_MS 5000
#define REASON_WAIT_MS 2000 /* the supervisor may be a moment later than the end of the session */

int engine_run_start(const struct run_spec *spec, int cancel_fd, struct run_session *out, struct error *err)
{
	static struct run_plan plan; /* large: the messages hold fixed tables */
	struct error ignored = ERROR_INIT;
	int rc;

	memset(out, 0, sizeof(*out));
	out->fd = out->control_fd = -1;
	rc = run_plan_make(spec, &plan, out, err);
	timeline_mark("plan made");
	if (rc == 0 && !out->nothing_to_run)
		rc = run_plan_launch(&plan, out, err);
	run_plan_release(&plan);
	timeline_mark("supervisor forked");
	if (rc == 0 && out->nothing_to_run)
		return 0;
	snprintf(out->stage, sizeof(out->stage), "boot");
	if (rc == 0)
		rc = session_wait(out, out->control_fd, POLLIN, cancel_fd, err);
	if (rc == 0)
		rc = session_start_command(out, &plan.exec, cancel_fd, err);
	timeline_mark("command started");
	run_plan_free(&plan);
	if (rc < 0) {
		out->exited = true;
		engine_run_finish(out, &ignored);
	}
	return rc;
}

/** read_reason() - What the supervisor said of the end, if anything. */
static int read_reason(const struct run_session *s, struct error *err)
{
	struct pollfd p = { .fd = s->control_fd, .events = POLLIN };
	struct buf body = BUF_INIT(FRAME_BODY_MAX + FRAME_HEADER_SIZE);
	struct frame f;
	int rc = 0;

	if (poll(&p, 1, REASON_WAIT_MS) > 0) {
		rc = session_read_frame(s->control_fd, &body, &f, err);
		if (rc == 0 && f.type == FRAME_SANDBOX_FAILED)
			rc = session_guest_error(f.body, f.body_len, err);
	}
	buf_free(&body);
	return rc;
}

int engine_run_finish(struct run_session *s, struct error *err)
{
	int64_t limit_ms = TEARDOWN_LIMIT_MS + (s->orderly ? SANDBOX_STOP_GRACE_S * 1000 : 0);
	char *slash;
	int rc = 0;

	timeline_mark("command ended");

	if (s->control_fd >= 0 && !s->exited)
		rc = read_reason(s, err);
	fd_close(&s->fd);
	fd_close(&s->control_fd);
	if (s->supervisor_pid > 0 && !children_reap(limit_ms))
		children_kill(TEARDOWN_LIMIT_MS);
	s->supervisor_pid = 0;
	slash = strrchr(s->sandbox_dir, '/');
	if (slash) {
		_cleanup_fd_ int parent = -1;

		*slash = '\0';
		parent = open(s->sandbox_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (parent >= 0)
			dir_remove_tree(parent, slash + 1, NULL);
		s->sandbox_dir[0] = '\0';
	}
	timeline_mark("torn down");
	return rc;
}
