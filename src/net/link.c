/* SPDX-License-Identifier: Apache-2.0 */
#include "net/link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/loop.h"
#include "base/macros.h"
#include "base/writer.h"

#define BATCH 8			/* records of one recvmmsg() */
#define FRAMES_PER_WAKE 64	/* others want their turn, too */
#define SOCKET_BUFFER (4 << 20) /* the host's maximum cuts it down */

enum virtio_net { NEEDS_CSUM = 1, GSO_TCPV4 = 1, GSO_TCPV6 = 4 };

struct link {
	struct loop *loop;
	int fd, source;
	bool socket; /* not a TAP */
	bool full;
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

/** transmit() - Return: false when the descriptor is full. Any other failure is a frame lost on the wire. */
static bool transmit(struct link *l, const struct iovec *iov, int count)
{
	ssize_t n;

	do
		n = writev(l->fd, iov, count);
	while (n < 0 && errno == EINTR);
	return n >= 0 || (errno != EAGAIN && errno != ENOBUFS);
}

/** wait_writable() - Nothing goes out until the descriptor is writable. */
static void wait_writable(struct link *l)
{
	if (l->full)
		return;
	l->full = true;
	loop_modify(l->loop, l->source, EPOLLIN | EPOLLOUT);
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
	if (n > LINK_HEADER && n <= LINK_RECORD_MAX)
		l->ops->frame(l->arg, record + LINK_HEADER, n - LINK_HEADER, record[0] & NEEDS_CSUM);
}

/** receive_socket() - Return: false at end of file. */
static bool receive_socket(struct link *l)
{
	struct mmsghdr msgs[BATCH];
	struct iovec iov[BATCH];

	for (int turn = 0; turn < FRAMES_PER_WAKE / BATCH; turn++) {
		int n;

		memset(msgs, 0, sizeof(msgs));
		for (int i = 0; i < BATCH; i++) {
			iov[i] = (struct iovec){ l->in[i], sizeof(l->in[i]) };
			msgs[i].msg_hdr.msg_iov = &iov[i];
			msgs[i].msg_hdr.msg_iovlen = 1;
		}
		n = recvmmsg(l->fd, msgs, BATCH, MSG_DONTWAIT, NULL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		for (int i = 0; i < n; i++) {
			if (msgs[i].msg_len == 0)
				return false;
			take(l, l->in[i], msgs[i].msg_len);
		}
		if (n < BATCH)
			return true;
	}
	return true;
}

/** receive_tap() - One read is one frame; into the same buffer, which stays in the cache. */
static bool receive_tap(struct link *l)
{
	for (int i = 0; i < FRAMES_PER_WAKE; i++) {
		ssize_t n = read(l->fd, l->in[0], sizeof(l->in[0]));

		if (n <= 0)
			return n < 0 && (errno == EAGAIN || errno == EINTR);
		take(l, l->in[0], (size_t)n);
	}
	return true;
}

static void on_event(void *arg, uint32_t events)
{
	struct link *l = arg;
	bool alive = true;

	l->ops->begin(l->arg);
	if (events & EPOLLOUT && flush(l)) {
		l->full = false;
		l->ops->ready(l->arg);
		if (!l->full)
			loop_modify(l->loop, l->source, EPOLLIN);
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		alive = l->socket ? receive_socket(l) : receive_tap(l);
	l->ops->end(l->arg);
	if (!alive)
		l->ops->gone(l->arg);
}

struct link *link_new(struct loop *loop, int fd, const struct link_ops *ops, void *arg, struct error *err)
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
	l->source = loop_add(loop, fd, EPOLLIN, on_event, l, err);
	if (l->source < 0) {
		link_free(l);
		return NULL;
	}
	return l;
}

void link_free(struct link *l)
{
	if (!l)
		return;
	loop_remove(l->loop, &l->source);
	fd_close(&l->fd);
	free(l);
}
