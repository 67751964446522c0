/* SPDX-License-Identifier: Apache-2.0 */
#include "net/link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/macros.h"
#include "base/writer.h"
#include "net/rate.h"

#define BATCH 8			/* records of one recvmmsg() */
#define FRAMES_PER_WAKE 64	/* others want their turn, too */
#define SOCKET_BUFFER (4 << 20) /* the host's maximum cuts it down */

enum virtio_net { NEEDS_CSUM = 1, GSO_TCPV4 = 1, GSO_TCPV6 = 4 };

struct link {
	struct loop *loop;
	int fd, source;
	bool socket; /* not a TAP */
	bool full;   /* link_send() takes nothing until ready() */
	bool held;   /* since the rate says so; otherwise the descriptor is full */
	bool paused; /* the rate says that the guest has to wait */
	bool limited[RATE_DIRECTIONS];
	int timer[RATE_DIRECTIONS];
	struct bucket bucket[RATE_DIRECTIONS][RATE_KINDS];
	const struct link_ops *ops;
	void *arg;
	/* Records that wait: each 4 bytes of length and its bytes. */
	size_t queued, sent;
	uint8_t queue[LINK_QUEUE_MAX];
	uint8_t in[BATCH][LINK_RECORD_MAX + 2];
};

/** put_header() - Source: virtio 1.2, 5.1.6.2. */
static void put_header(uint8_t *h, const struct link_offload *o)
{
	memset(h, 0, LINK_HEADER);
	h[10] = 1; /* num_buffers */
	if (!o || !o->csum_start)
		return;
	h[0] = NEEDS_CSUM;
	put_le(h + 6, o->csum_start, 2);
	put_le(h + 8, o->csum_offset, 2);
	if (o->gso_size) {
		h[1] = o->v6 ? GSO_TCPV6 : GSO_TCPV4;
		put_le(h + 2, o->header_len, 2);
		put_le(h + 4, o->gso_size, 2);
	}
}

/** watch() - What is of interest now. */
static void watch(struct link *l)
{
	loop_modify(l->loop, l->source, (l->paused ? 0u : EPOLLIN) | (l->full && !l->held ? EPOLLOUT : 0u));
}

/** must_wait() - Is a bucket empty? Then the timer of the direction says when it no longer is. */
static bool must_wait(struct link *l, enum rate_direction d)
{
	int64_t now, wait;

	if (!l->limited[d])
		return false;
	now = clock_monotonic_ns();
	wait = MAX(bucket_wait(&l->bucket[d][RATE_BYTES], now), bucket_wait(&l->bucket[d][RATE_PACKETS], now));
	if (wait)
		loop_timer_set(l->loop, l->timer[d], wait);
	return wait != 0;
}

/** charge() - For a record that went through: its bytes without the header, and each of its segments as a packet. */
static void charge(struct link *l, enum rate_direction d, const uint8_t *record, size_t n)
{
	size_t headers = record[2] | (size_t)record[3] << 8, each = record[4] | (size_t)record[5] << 8;
	size_t packets = 1;

	if (!l->limited[d])
		return;
	n -= LINK_HEADER;
	if (record[1] && each && n > headers)
		packets = (n - headers + each - 1) / each;
	bucket_take(&l->bucket[d][RATE_BYTES], n);
	bucket_take(&l->bucket[d][RATE_PACKETS], packets);
}

/** transmit() - Return: false when it has to wait. Any failure but a full descriptor is a frame lost on the wire. */
static bool transmit(struct link *l, const struct iovec *iov, int count)
{
	size_t total = 0;
	ssize_t n;

	l->held = must_wait(l, RATE_INGRESS);
	if (l->held)
		return false;
	do
		n = writev(l->fd, iov, count);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == ENOBUFS))
		return false;
	for (int i = 0; i < count; i++)
		total += iov[i].iov_len;
	charge(l, RATE_INGRESS, iov[0].iov_base, total);
	return true;
}

/** wait_writable() - Nothing goes out until the descriptor is writable and the rate allows it. */
static void wait_writable(struct link *l)
{
	if (l->full)
		return;
	l->full = true;
	watch(l);
}

bool link_send(struct link *l, struct iovec *iov, int count, const struct link_offload *offload)
{
	if (l->full)
		return false;
	put_header(iov[0].iov_base, offload);
	if (transmit(l, iov, count))
		return true;
	wait_writable(l);
	return false;
}

bool link_post(struct link *l, struct iovec *iov, int count)
{
	size_t total = 0;
	uint8_t *at;

	put_header(iov[0].iov_base, NULL);
	if (!l->full && transmit(l, iov, count))
		return true;
	wait_writable(l);
	for (int i = 0; i < count; i++)
		total += iov[i].iov_len;
	if (total > sizeof(l->queue) - 4 || l->queued > sizeof(l->queue) - 4 - total)
		return false;
	at = l->queue + l->queued;
	put_le(at, total, 4);
	at += 4;
	for (int i = 0; i < count; i++) {
		memcpy(at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	l->queued += 4 + total;
	return true;
}

/** flush() - What waits. Return: false when the descriptor is full again. */
static bool flush(struct link *l)
{
	while (l->sent < l->queued) {
		const uint8_t *at = l->queue + l->sent;
		size_t n = at[0] | (size_t)at[1] << 8 | (size_t)at[2] << 16;
		struct iovec iov = { l->queue + l->sent + 4, n };

		if (!transmit(l, &iov, 1))
			return false;
		l->sent += 4 + n;
	}
	l->queued = l->sent = 0;
	return true;
}

/** take() - One record of the guest. */
static void take(struct link *l, const uint8_t *record, size_t n)
{
	if (n <= LINK_HEADER || n > LINK_RECORD_MAX)
		return;
	charge(l, RATE_EGRESS, record, n);
	l->ops->frame(l->arg, record + LINK_HEADER, n - LINK_HEADER, record[0] & NEEDS_CSUM);
}

/** receive_socket() - @last: the other end has closed it. Return: false at end of file. */
static bool receive_socket(struct link *l, bool last)
{
	/* One by one where the rate may say stop at any. */
	const int batch = l->limited[RATE_EGRESS] ? 1 : BATCH;
	struct mmsghdr msgs[BATCH];
	struct iovec iov[BATCH];

	for (int turn = 0; turn < FRAMES_PER_WAKE / batch; turn++) {
		int n;

		l->paused = !last && must_wait(l, RATE_EGRESS);
		if (l->paused)
			return true;
		memset(msgs, 0, sizeof(msgs));
		for (int i = 0; i < batch; i++) {
			iov[i] = (struct iovec){ l->in[i], sizeof(l->in[i]) };
			msgs[i].msg_hdr.msg_iov = &iov[i];
			msgs[i].msg_hdr.msg_iovlen = 1;
		}
		n = recvmmsg(l->fd, msgs, (unsigned int)batch, MSG_DONTWAIT, NULL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		for (int i = 0; i < n; i++) {
			if (msgs[i].msg_len == 0)
				return false;
			take(l, l->in[i], msgs[i].msg_len);
		}
		if (n < batch)
			return true;
	}
	return true;
}

/** receive_tap() - One read is one frame; into the same buffer, which stays in the cache. */
static bool receive_tap(struct link *l)
{
	for (int i = 0; i < FRAMES_PER_WAKE; i++) {
		ssize_t n;

		l->paused = must_wait(l, RATE_EGRESS);
		if (l->paused)
			return true;
		n = read(l->fd, l->in[0], sizeof(l->in[0]));
		if (n <= 0)
			return n < 0 && (errno == EAGAIN || errno == EINTR);
		take(l, l->in[0], (size_t)n);
	}
	return true;
}

/** go_on() - Towards the guest: what waits, then whoever has more. */
static void go_on(struct link *l)
{
	if (flush(l)) {
		l->full = false;
		l->ops->ready(l->arg);
	}
	watch(l);
}

/** on_ingress_time() - The rate allows more towards the guest. */
static void on_ingress_time(void *arg, uint32_t events)
{
	struct link *l = arg;

	(void)events;
	if (!l->held)
		return;
	l->ops->begin(l->arg);
	go_on(l);
	l->ops->end(l->arg);
}

/** on_egress_time() - The rate allows more from the guest. */
static void on_egress_time(void *arg, uint32_t events)
{
	struct link *l = arg;

	(void)events;
	l->paused = false;
	watch(l);
}

static void on_event(void *arg, uint32_t events)
{
	struct link *l = arg;
	bool alive = true;

	l->ops->begin(l->arg);
	if (events & EPOLLOUT)
		go_on(l);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		alive = l->socket ? receive_socket(l, events & EPOLLHUP) : receive_tap(l);
		if (l->paused)
			watch(l);
	}
	l->ops->end(l->arg);
	if (!alive)
		l->ops->gone(l->arg);
}

/** set_rates() - Buckets, and a timer for each direction that has one. */
static int set_rates(struct link *l, const struct rates *rates, struct error *err)
{
	static const loop_fn on_time[] = { [RATE_EGRESS] = on_egress_time, [RATE_INGRESS] = on_ingress_time };

	for (int d = 0; d < RATE_DIRECTIONS; d++) {
		for (int k = 0; k < RATE_KINDS; k++) {
			bucket_init(&l->bucket[d][k], &rates->of[d][k], clock_monotonic_ns());
			l->limited[d] |= rates->of[d][k].amount != 0;
		}
		l->timer[d] = l->limited[d] ? loop_timer(l->loop, on_time[d], l, err) : -1;
		if (l->limited[d] && l->timer[d] < 0)
			return l->timer[d];
	}
	return 0;
}

struct link *link_new(struct loop *loop, int fd, const struct rates *rates, const struct link_ops *ops, void *arg,
		      struct error *err)
{
	struct link *l = calloc(1, sizeof(*l));
	int size = SOCKET_BUFFER;

	if (!l) {
		fd_close(&fd);
		err_set(err, ERR_NO_MEMORY, 0, "link to the guest: out of memory");
		return NULL;
	}
	l->loop = loop;
	l->fd = fd;
	l->ops = ops;
	l->arg = arg;
	l->socket = setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) == 0;
	fd_set_nonblock(fd, true);
	l->timer[RATE_EGRESS] = l->timer[RATE_INGRESS] = -1;
	l->source = loop_add(loop, fd, EPOLLIN, on_event, l, err);
	if (l->source < 0 || set_rates(l, rates, err) < 0) {
		link_free(l);
		return NULL;
	}
	return l;
}

void link_free(struct link *l)
{
	if (!l)
		return;
	loop_remove(l->loop, &l->timer[RATE_EGRESS]);
	loop_remove(l->loop, &l->timer[RATE_INGRESS]);
	loop_remove(l->loop, &l->source);
	fd_close(&l->fd);
	free(l);
}
