/* SPDX-License-Identifier: Apache-2.0 */
#include "base/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/macros.h"

#define EVENTS_PER_WAIT 32

struct source {
	int fd;		/* -1: free slot */
	bool is_timer;	/* fd is ours */
	uint32_t generation;
	loop_fn fn;	/* NULL: free */
	void *arg;
	int next_free; /* of a free slot */
};

struct loop {
	int epoll_fd;
	bool stopping;
	int status;
	pthread_mutex_t lock;	/* a leaf: guards what follows; never held while a handler runs */
	pthread_cond_t idle;	/* a handler ended */
	bool busy;		/* a handler runs, on `runner` */
	pthread_t runner;
	uint64_t turn;		/* handlers that ended */
	int max;
	int used; /* slots below this were used at least once */
	int free; /* first of the free slots below that, or -1 */
	struct source sources[];
};

struct loop *loop_new(struct error *err)
{
	return loop_new_sized(LOOP_SOURCES_MAX, err);
}

struct loop *loop_new_sized(int sources_max, struct error *err)
{
	struct loop *loop = calloc(1, sizeof(*loop) + (size_t)sources_max * sizeof(loop->sources[0]));

	if (!loop) {
		err_set(err, ERR_NO_MEMORY, 0, "event loop: out of memory");
		return NULL;
	}
	loop->max = sources_max;
	loop->free = -1;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		err_set(err, ERR_SYSTEM, errno, "epoll_create1");
		free(loop);
		return NULL;
	}
	pthread_mutex_init(&loop->lock, NULL);
	pthread_cond_init(&loop->idle, NULL);
	return loop;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	for (int i = 0; i < loop->used; i++) {
		int id = i;

		if (loop->sources[i].fn)
			loop_remove(loop, &id);
	}
	close(loop->epoll_fd);
	pthread_cond_destroy(&loop->idle);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

/** datum() - What epoll carries for a slot: generation in the upper half. */
static uint64_t datum(const struct loop *loop, int slot)
{
	return (uint64_t)loop->sources[slot].generation << 32 | (uint32_t)slot;
}

/** add_source() - loop_add() with the lock held. */
static int add_source(struct loop *loop, int fd, uint32_t events, bool is_timer, loop_fn fn, void *arg,
		      struct error *err)
{
	struct epoll_event ev;
	struct source *s;
	int slot;

	slot = loop->free >= 0 ? loop->free : loop->used;
	if (slot == loop->max)
		return err_set(err, ERR_LIMIT, 0, "event loop: more than %d sources", loop->max);
	s = &loop->sources[slot];
	s->fd = fd;
	s->is_timer = is_timer;
	s->fn = fn;
	s->arg = arg;
	ev.events = events;
	ev.data.u64 = datum(loop, slot);
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		s->fn = NULL;
		return err_set(err, ERR_SYSTEM, errno, "event loop: watch descriptor %d", fd);
	}
	if (slot == loop->used)
		loop->used++;
	else
		loop->free = s->next_free;
	return slot;
}

int loop_add(struct loop *loop, int fd, uint32_t events, loop_fn fn, void *arg, struct error *err)
{
	int slot;

	pthread_mutex_lock(&loop->lock);
	slot = add_source(loop, fd, events, false, fn, arg, err);
	pthread_mutex_unlock(&loop->lock);
	return slot;
}

void loop_modify(struct loop *loop, int source, uint32_t events)
{
	struct epoll_event ev = { .events = events };

	pthread_mutex_lock(&loop->lock);
	ASSERT(source >= 0 && source < loop->used && loop->sources[source].fn);
	ev.data.u64 = datum(loop, source);
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, loop->sources[source].fd, &ev);
	pthread_mutex_unlock(&loop->lock);
}

void loop_remove(struct loop *loop, int *source)
{
	struct source *s;

	if (*source < 0)
		return;
	pthread_mutex_lock(&loop->lock);
	ASSERT(*source < loop->used);
	s = &loop->sources[*source];
	ASSERT(s->fn);
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
	if (s->is_timer)
		close(s->fd);
	s->fd = -1;
	s->fn = NULL;
	s->generation++;
	s->next_free = loop->free;
	loop->free = *source;
	*source = -1;
	pthread_mutex_unlock(&loop->lock);
}

int loop_timer(struct loop *loop, loop_fn fn, void *arg, struct error *err)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	int slot;

	if (fd < 0)
		return err_set(err, ERR_SYSTEM, errno, "timerfd_create");
	pthread_mutex_lock(&loop->lock);
	slot = add_source(loop, fd, EPOLLIN, true, fn, arg, err);
	pthread_mutex_unlock(&loop->lock);
	if (slot < 0)
		close(fd);
	return slot;
}

void loop_timer_set(struct loop *loop, int timer, int64_t delay_ns)
{
	struct itimerspec when = { 0 };

	if (delay_ns >= 0) {
		/* Zero would disarm. */
		delay_ns = MAX(delay_ns, 1);
		when.it_value.tv_sec = delay_ns / NSEC_PER_SEC;
		when.it_value.tv_nsec = delay_ns % NSEC_PER_SEC;
	}
	pthread_mutex_lock(&loop->lock);
	ASSERT(timer >= 0 && timer < loop->used && loop->sources[timer].is_timer);
	timerfd_settime(loop->sources[timer].fd, 0, &when, NULL);
	pthread_mutex_unlock(&loop->lock);
}

/** claim() - Look an event's source up and note that its handler runs. Return: false when the event went stale. */
static bool claim(struct loop *loop, uint64_t data, loop_fn *fn, void **arg)
{
	const struct source *s = &loop->sources[(uint32_t)data];

	if (!s->fn || s->generation != (uint32_t)(data >> 32))
		return false;
	if (s->is_timer) {
		uint64_t expirations;

		/* A timer that was set again since the event was fetched has nothing to read. */
		if (read(s->fd, &expirations, sizeof(expirations)) < 0)
			return false;
	}
	*fn = s->fn;
	*arg = s->arg;
	loop->busy = true;
	loop->runner = pthread_self();
	return true;
}

/** dispatch() - Run the handler of one fetched event unless it went stale. */
static void dispatch(struct loop *loop, const struct epoll_event *ev)
{
	loop_fn fn;
	void *arg;
	bool claimed;

	pthread_mutex_lock(&loop->lock);
	claimed = claim(loop, ev->data.u64, &fn, &arg);
	pthread_mutex_unlock(&loop->lock);
	if (!claimed)
		return;
	fn(arg, ev->events);
	pthread_mutex_lock(&loop->lock);
	loop->busy = false;
	loop->turn++;
	pthread_cond_broadcast(&loop->idle);
	pthread_mutex_unlock(&loop->lock);
}

void loop_quiesce(struct loop *loop)
{
	uint64_t turn;

	pthread_mutex_lock(&loop->lock);
	turn = loop->turn;
	while (loop->busy && loop->turn == turn && !pthread_equal(loop->runner, pthread_self()))
		pthread_cond_wait(&loop->idle, &loop->lock);
	pthread_mutex_unlock(&loop->lock);
}

int loop_run(struct loop *loop, struct error *err)
{
	loop->stopping = false;
	while (!loop->stopping) {
		struct epoll_event events[EVENTS_PER_WAIT];
		int n = epoll_wait(loop->epoll_fd, events, EVENTS_PER_WAIT, -1);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return err_set(err, ERR_SYSTEM, errno, "epoll_wait");
		}
		for (int i = 0; i < n && !loop->stopping; i++)
			dispatch(loop, &events[i]);
	}
	return loop->status;
}

void loop_stop(struct loop *loop, int status)
{
	loop->stopping = true;
	loop->status = status;
}
