/* SPDX-License-Identifier: Apache-2.0 */
/** Speaking with the supervisor of a persistent sandbox; inside of the engine. */
#ifndef MSB_ENGINE_USE_H
#define MSB_ENGINE_USE_H

#include "base/buf.h"
#include "engine/engine.h"
#include "proto/frame.h"
#include "state/state.h"

/** use_home() - Return: owned fd of MSB_HOME. */
int use_home(const struct engine_paths *paths, struct error *err);
/** use_home_of() - The same for what is done to this sandbox: without a home there is none. */
int use_home_of(const struct engine_paths *paths, const char *name, struct error *err);
/** use_connect() - To the control socket. Return: owned fd; ERR_CLOSED when nobody answers there. */
int use_connect(int home_fd, const struct sandbox_record *r, struct error *err);
/** use_ask() - One frame, and its answer of the type that is wanted (in `answer`, which f points into). */
int use_ask(int fd, uint16_t type, const struct buf *body, uint16_t want, int limit_ms, struct buf *answer,
	    struct frame *f, struct error *err);
/** use_open() - A connection for a session in a sandbox, which is started for it when it does not run; end with
 * engine_exec_finish(). */
int use_open(const struct engine_paths *paths, const char *name, int cancel_fd, struct run_session *out,
	     struct error *err);
/** recover_list() - engine_recover(), and all records then, newest first. */
int recover_list(int home_fd, struct sandbox_record **list, size_t *count, struct error *err);
/** recover_is_sound() - Is this record surely as it must be? False says nothing. */
bool recover_is_sound(int home_fd, const struct sandbox_record *r);
/** use_wait_gone() - Until this process has ended. */
void use_wait_gone(const struct identity *who, int limit_ms);

#endif
