/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Event loop: one per thread, over epoll. A source is a slot in a fixed table; the epoll datum carries slot and
 * generation, never a pointer, so an event that was already fetched when its source was removed is recognised as
 * stale and dropped. Handlers must not block and must not run the loop again.
 *
 * Threads: sources may be added, changed and removed from any thread (vCPU threads reset devices). A handler may
 * still be running, or about to, when loop_remove() returns on another thread: its arg must live on, or loop_quiesce().
 */
#ifndef MSB_BASE_LOOP_H
#define MSB_BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define LOOP_SOURCES_MAX 1024

struct loop;

/** Called with the epoll events (EPOLLIN...) of the source. For timers events is EPOLLIN. */
typedef void (*loop_fn)(void *arg, uint32_t events);

/** loop_new() - For LOOP_SOURCES_MAX sources. Return: owned loop, or NULL. */
struct loop *loop_new(struct error *err);
/** loop_new_sized() - For another number of sources. */
struct loop *loop_new_sized(int sources_max, struct error *err);
void loop_free(struct loop *loop);

/**
 * loop_add() - Watch an fd.
 * @fd:     borrowed; remove the source before closing it
 * @events: EPOLLIN, EPOLLOUT...; level-triggered
 * Return: source id >= 0, or a negative code (ERR_LIMIT when the table is full).
 */
int loop_add(struct loop *loop, int fd, uint32_t events, loop_fn fn, void *arg, struct error *err);
/** loop_modify() - Change the watched events (0: keep the source but see only errors and hang-ups). */
void loop_modify(struct loop *loop, int source, uint32_t events);
/** loop_remove() - Forget a source and set the id to -1; also inside handlers, even for the running one; ignores -1. */
void loop_remove(struct loop *loop, int *source);

/**
 * loop_quiesce() - Wait until the handler that is running now (if any) has returned; at once on the loop's own thread.
 * After loop_remove() and this, no handler uses the removed source's arg. Hold no lock that handlers take.
 */
void loop_quiesce(struct loop *loop);

/** loop_timer() - A timer source, not armed. Return: source id or negative code. loop_remove() frees it. */
int loop_timer(struct loop *loop, loop_fn fn, void *arg, struct error *err);
/** loop_timer_set() - Fire after delay_ns (once), or disarm with a negative value. */
void loop_timer_set(struct loop *loop, int timer, int64_t delay_ns);

/** loop_run() - Dispatch until loop_stop(). Return: the status given to loop_stop(), or a negative code. */
int loop_run(struct loop *loop, struct error *err);
/** loop_stop() - End loop_run() after the current handler; same thread only. */
void loop_stop(struct loop *loop, int status);

#endif
