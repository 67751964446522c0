/* SPDX-License-Identifier: Apache-2.0 */
/** The engine's end of sockets to a supervisor and to a session: whole frames, failures as errors. */
#ifndef MSB_ENGINE_SESSION_H
#define MSB_ENGINE_SESSION_H

#include "engine/engine.h"
#include "proto/frame.h"

/** session_guest_error() - A failure text made by the guest: cut here, its control characters are err_set()'s business.
 */
int session_guest_error(const uint8_t *body, size_t n, struct error *err);
/** session_read_frame() - One frame from a readable socket, not a byte more. Blocks only within a frame. */
int session_read_frame(int fd, struct buf *body, struct frame *f, struct error *err);
/** session_wait() - Until fd has one of events; meanwhile the supervisor may fail and the user may cancel. For the
 * supervisor's own socket: until it says that the sandbox is ready. */
int session_wait(struct run_session *s, int fd, short events, int cancel_fd, struct error *err);
/** session_start_command() - Send the request and wait for the guest's answer. */
int session_start_command(struct run_session *s, const struct msg_exec *exec, int cancel_fd, struct error *err);

#endif
