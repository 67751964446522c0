/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. Stream sockets between the guest (CID 3) and descriptors of the host, in a fixed table.
 *
 *  host to guest: an fd is read only while the guest has offered rx buffers and credit, straight into them;
 *  guest to host: data goes straight to the fd; what the fd does not take now waits in a ring of BUF_ALLOC bytes,
 *  which is all the credit the guest has. A guest that sends more than its credit gets RST.
 *
 * States of a connection: CONNECTING (REQUEST owed or sent, only RESPONSE and RST are legal), OPEN, and guest_gone: the
 * guest closed or reset it, what it had sent before still drains to the fd (Linux resets 8 s after a close that was
 * not answered, however slow the reader is; so a close is answered at once). The other way round, a host peer that
 * wrote and hung up is read to the end first (hung_up: not watched any more, the guest is told SHUTDOWN(RCV)).
 * Packets owed to the guest are bits of the connection (OWE_*); those owed to nobody's connection (RST) sit in a small
 * ring, whose overflow is dropped: the guest's own time-outs cover that. What an attacker controls: all of every
 * packet. Wrong addresses are dropped, wrong lengths break the device (all connections end), wrong ports get RST; each
 * doorbell does bounded work.
 * Source: virtio 1.2, 5.10.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/reader.h"
#include "base/writer.h"
#include "proto/frame.h"
#include "virtio/device.h"

#define Q_RX 0
#define Q_TX 1
#define HEADER_SIZE 44
#define VSOCK_QUEUE_SIZE 128 /* the driver fills the receive queue with buffers of 8 KiB each at boot */
#define CONNECTIONS_MAX 256
#define BUF_ALLOC (128u * 1024) /* credit of the guest per connection; power of two */
#define ORPHAN_RSTS_MAX 32
#define HOST_PORT_FIRST 1024
#define RX_PACKETS_PER_WAKE (4 * QUEUE_SIZE_MAX)
#define SCRATCH_SIZE (16u * 1024)
#define DRAIN_READS_MAX 64	/* times SCRATCH_SIZE: more than a socket buffer holds by default */
#define TYPE_STREAM 1
#define SHUTDOWN_RCV 1u
#define SHUTDOWN_SEND 2u

enum op { OP_REQUEST = 1, OP_RESPONSE, OP_RST, OP_SHUTDOWN, OP_RW, OP_CREDIT_UPDATE, OP_CREDIT_REQUEST };

enum owed {
	OWE_REQUEST = 1 << 0,
	OWE_RESPONSE = 1 << 1,
	OWE_SHUTDOWN = 1 << 2, /* our side reached its end of file, or hung up */
	OWE_CREDIT = 1 << 3,
	OWE_RST = 1 << 4, /* last packet: the entry is free afterwards */
};

struct packet {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
};

struct conn {
	struct vsock *owner;
	bool used, open;
	bool unanswered;      /* the host asked for it and has no answer yet: failed() is due if it ends */
	bool guest_gone;      /* no packets but an owed RST; ring drains */
	bool hung_up;	      /* host peer closed; fd is read to its end without events */
	unsigned int owed;
	uint32_t id; /* of the caller, for failed() */
	uint32_t guest_port, host_port;
	int fd, source;
	uint32_t watched;     /* epoll events asked for now */
	bool host_eof;	      /* the fd has nothing more for the guest */
	bool guest_done;      /* the guest sends nothing more */
	bool guest_deaf;      /* the guest receives nothing more */
	bool stalled;	      /* readable, but no rx buffer was there */
	uint32_t peer_alloc, peer_fwd; /* the guest's credit for us */
	uint32_t sent;	      /* bytes given to the guest */
	uint32_t taken;	      /* bytes of the guest that left through the fd (fwd_cnt) */
	uint32_t told;	      /* fwd_cnt in the last packet to the guest */
	uint8_t *ring;	      /* BUF_ALLOC bytes, made when first needed */
	uint32_t ring_head, ring_len;
};

struct vsock {
	struct virtio_device dev;
	int control_fd;
	void (*failed)(void *arg, uint32_t id);
	void *arg;
	uint32_t next_host_port;
	struct conn conns[CONNECTIONS_MAX];
	struct packet orphans[ORPHAN_RSTS_MAX];
	unsigned int orphan_count;
	struct iovec iov[QUEUE_IOV_MAX];
	uint8_t scratch[SCRATCH_SIZE]; /* what nobody wants any more */
};

static void conn_event(void *arg, uint32_t events);
static void fill_rx(struct vsock *v);

/** parse() - Private copy of a header. Return: false when the chain is too short. */
static bool parse(const struct queue_chain *chain, struct packet *p)
{
	uint8_t bytes[HEADER_SIZE] = { 0 };
	struct reader r = reader_init(bytes, sizeof(bytes));

	if (chain_read(chain, 0, bytes, sizeof(bytes)) != sizeof(bytes))
		return false;
	p->src_cid = reader_u64(&r);
	p->dst_cid = reader_u64(&r);
	p->src_port = reader_u32(&r);
	p->dst_port = reader_u32(&r);
	p->len = reader_u32(&r);
	p->type = reader_u16(&r);
	p->op = reader_u16(&r);
	p->flags = reader_u32(&r);
	p->buf_alloc = reader_u32(&r);
	p->fwd_cnt = reader_u32(&r);
	return true;
}

/** encode() - Header bytes of a packet to the guest. */
static void encode(uint8_t to[HEADER_SIZE], const struct packet *p)
{
	put_le(to, VSOCK_CID_HOST, 8);
	put_le(to + 8, VSOCK_CID_GUEST, 8);
	put_le(to + 16, p->src_port, 4);
	put_le(to + 20, p->dst_port, 4);
	put_le(to + 24, p->len, 4);
	put_le(to + 28, TYPE_STREAM, 2);
	put_le(to + 30, p->op, 2);
	put_le(to + 32, p->flags, 4);
	put_le(to + 36, p->buf_alloc, 4);
	put_le(to + 40, p->fwd_cnt, 4);
}

/** credit() - Bytes the guest will take now. */
static uint32_t credit(const struct conn *c)
{
	uint32_t in_flight = c->sent - c->peer_fwd;

	return in_flight >= c->peer_alloc ? 0 : c->peer_alloc - in_flight;
}

/** watch() - Ask the loop for exactly the events that can lead to progress. */
static void watch(struct conn *c)
{
	uint32_t want = 0;

	if (c->fd < 0 || c->source < 0)
		return;
	if (c->open && !c->host_eof && !c->stalled && !c->guest_deaf && credit(c))
		want |= EPOLLIN;
	if (c->ring_len)
		want |= EPOLLOUT;
	if (want != c->watched) {
		c->watched = want;
		loop_modify(c->owner->dev.loop, c->source, want);
	}
}

/** release() - The connection is over for the host's side; the entry stays while a RST is owed. */
static void release(struct conn *c)
{
	struct vsock *v = c->owner;
	bool refused = c->unanswered;

	loop_remove(v->dev.loop, &c->source);
	fd_close(&c->fd);
	free(c->ring);
	c->ring = NULL;
	c->ring_len = 0;
	c->open = false;
	c->unanswered = false;
	c->used = c->owed & OWE_RST;
	if (refused && v->failed)
		v->failed(v->arg, c->id);
}

/** abort_conn() - Reset towards the guest and end. */
static void abort_conn(struct conn *c)
{
	if (!c->guest_gone)
		c->owed = OWE_RST;
	c->guest_gone = true;
	release(c);
}

/** end_gently() - Close an fd so that its peer reads what was sent to it and then end of file. */
static void end_gently(struct conn *c)
{
	struct vsock *v = c->owner;

	/* Closing a unix socket with unread data makes the peer's next read fail: take it out of the way. */
	shutdown(c->fd, SHUT_RDWR);
	for (int i = 0; i < DRAIN_READS_MAX && recv(c->fd, v->scratch, sizeof(v->scratch), MSG_DONTWAIT) > 0; i++)
		;
	release(c);
}

/** drop_all() - Every connection ends, without a word to the guest. */
static void drop_all(struct vsock *v)
{
	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		v->conns[i].owed = 0;
		if (v->conns[i].used)
			release(&v->conns[i]);
	}
	v->orphan_count = 0;
}

/** find() - The connection between two ports. */
static struct conn *find(struct vsock *v, uint32_t guest_port, uint32_t host_port)
{
	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		struct conn *c = &v->conns[i];

		if (c->used && !c->guest_gone && c->guest_port == guest_port && c->host_port == host_port)
			return c;
	}
	return NULL;
}

/** add() - A fresh entry; fd is taken on success only. */
static struct conn *add(struct vsock *v, int fd, uint32_t guest_port, uint32_t host_port, struct error *err)
{
	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		struct conn *c = &v->conns[i];

		if (c->used)
			continue;
		*c = (struct conn){ .owner = v, .guest_port = guest_port, .host_port = host_port, .fd = -1,
				     .source = -1 };
		c->source = loop_add(v->dev.loop, fd, 0, conn_event, c, err);
		if (c->source < 0)
			return NULL;
		fd_set_nonblock(fd, true);
		c->fd = fd;
		c->used = true;
		return c;
	}
	err_set(err, ERR_LIMIT, 0, "more than %d connections with the guest", CONNECTIONS_MAX);
	return NULL;
}

/** flush_ring() - Guest data that waits goes to the fd. Return: false when the connection ended. */
static bool flush_ring(struct conn *c)
{
	while (c->ring_len) {
		uint32_t n = MIN(c->ring_len, BUF_ALLOC - c->ring_head);
		ssize_t r = send(c->fd, c->ring + c->ring_head, n, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (r < 0 && (errno == EAGAIN || errno == EINTR))
			return true;
		if (r < 0) {
			abort_conn(c);
			return false;
		}
		c->ring_head = (c->ring_head + (uint32_t)r) & (BUF_ALLOC - 1);
		c->ring_len -= (uint32_t)r;
		c->taken += (uint32_t)r;
	}
	return true;
}

/** settle() - After any progress: half-closes that became due, credit news, events. */
static void settle(struct conn *c)
{
	if (!c->used || c->fd < 0)
		return;
	if (c->guest_done && c->ring_len == 0)
		shutdown(c->fd, SHUT_WR);
	/* Both directions are over: RST answers the guest's close (5.10.6.5). */
	if (!c->guest_gone && c->guest_done &&
	    (c->guest_deaf || (c->ring_len == 0 && c->host_eof && !(c->owed & OWE_SHUTDOWN)))) {
		c->guest_gone = true;
		c->open = false;
		c->owed = OWE_RST;
	}
	if (c->guest_gone && c->ring_len == 0) {
		end_gently(c);
		return;
	}
	if (c->open && c->taken - c->told >= BUF_ALLOC / 2)
		c->owed |= OWE_CREDIT;
	watch(c);
}

/** hang_up() - The host's peer is gone and we do not read now (a hang-up is reported whatever we watch). */
static void hang_up(struct conn *c)
{
	if (c->guest_gone || c->host_eof || c->guest_deaf) {
		abort_conn(c);
		return;
	}
	c->hung_up = true;
	loop_remove(c->owner->dev.loop, &c->source);
	if (c->open)
		c->owed |= OWE_SHUTDOWN;
}

/** conn_event() - The host's side became readable or writable. */
static void conn_event(void *arg, uint32_t events)
{
	struct conn *c = arg;
	struct vsock *v = c->owner;

	pthread_mutex_lock(&v->dev.lock);
	if (c->used && c->fd >= 0) {
		if (!(events & EPOLLOUT) || flush_ring(c))
			settle(c);
		if (c->used && c->source >= 0 && (events & (EPOLLHUP | EPOLLERR)) && !(c->watched & EPOLLIN))
			hang_up(c);
		fill_rx(v);
	}
	pthread_mutex_unlock(&v->dev.lock);
}

/** to_host() - RW: bytes of the guest, by its credit at most. */
static void to_host(struct vsock *v, struct conn *c, const struct packet *p)
{
	size_t skip = HEADER_SIZE, left = p->len;

	if (!c->open || c->guest_done || p->len > BUF_ALLOC - c->ring_len) {
		abort_conn(c);
		return;
	}
	if (c->ring_len == 0 && left) {
		struct msghdr msg = { .msg_iov = v->iov };
		size_t at = skip, want = left;
		ssize_t r;

		for (unsigned int i = 0; i < v->dev.chain.read_count && want; i++) {
			const struct iovec *from = &v->dev.chain.iov[i];
			size_t n;

			if (at >= from->iov_len) {
				at -= from->iov_len;
				continue;
			}
			n = MIN(from->iov_len - at, want);
			v->iov[msg.msg_iovlen++] =
				(struct iovec){ .iov_base = (uint8_t *)from->iov_base + at, .iov_len = n };
			want -= n;
			at = 0;
		}
		r = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (r < 0 && errno != EAGAIN && errno != EINTR) {
			abort_conn(c);
			return;
		}
		r = MAX(r, 0);
		c->taken += (uint32_t)r;
		skip += (size_t)r;
		left -= (size_t)r;
	}
	if (left && !c->ring) {
		c->ring = malloc(BUF_ALLOC);
		if (!c->ring) {
			abort_conn(c);
			return;
		}
	}
	while (left) {
		uint32_t tail = (c->ring_head + c->ring_len) & (BUF_ALLOC - 1);
		size_t n = MIN(left, (size_t)(BUF_ALLOC - tail));

		chain_read(&v->dev.chain, skip, c->ring + tail, n);
		c->ring_len += (uint32_t)n;
		skip += n;
		left -= n;
	}
	settle(c);
}

/** orphan_rst() - Owe a RST to a packet that belongs to no connection. */
static void orphan_rst(struct vsock *v, const struct packet *p)
{
	if (p->op == OP_RST || v->orphan_count == ORPHAN_RSTS_MAX)
		return;
	v->orphans[v->orphan_count++] =
		(struct packet){ .src_port = p->dst_port, .dst_port = p->src_port, .op = OP_RST };
}

/** guest_request() - The guest connects: only the agent may, once. */
static void guest_request(struct vsock *v, const struct packet *p)
{
	struct conn *c;

	if (v->control_fd < 0 || p->dst_port != VSOCK_PORT_CONTROL || p->src_port != VSOCK_PORT_AGENT_SOURCE) {
		orphan_rst(v, p);
		return;
	}
	c = add(v, v->control_fd, p->src_port, p->dst_port, NULL);
	if (!c) {
		orphan_rst(v, p);
		return;
	}
	v->control_fd = -1;
	c->open = true;
	c->peer_alloc = p->buf_alloc;
	c->peer_fwd = p->fwd_cnt;
	c->owed = OWE_RESPONSE;
	watch(c);
}

/** guest_reset() - RST of the guest: the connection is gone, what it sent before is not. */
static void guest_reset(struct conn *c)
{
	c->owed = 0;
	c->guest_gone = true;
	if (c->open) {
		c->open = false;
		c->guest_done = true;
		settle(c);
	} else {
		release(c);
	}
}

/** from_guest() - One packet of the tx queue. Return: 0, or -1 when it breaks the queue's rules. */
static int64_t from_guest(struct virtio_device *dev)
{
	struct vsock *v = (struct vsock *)dev;
	struct packet p;
	struct conn *c;

	if (!parse(&v->dev.chain, &p) || p.len > v->dev.chain.read_bytes - HEADER_SIZE)
		return -1;
	if (p.src_cid != VSOCK_CID_GUEST || p.dst_cid != VSOCK_CID_HOST)
		return 0;
	c = find(v, p.src_port, p.dst_port);
	if (p.type != TYPE_STREAM || (!c && p.op != OP_REQUEST)) {
		orphan_rst(v, &p);
		return 0;
	}
	if (!c) {
		guest_request(v, &p);
		return 0;
	}
	c->peer_alloc = p.buf_alloc;
	c->peer_fwd = p.fwd_cnt;
	switch (p.op) {
	case OP_RESPONSE:
		if (c->open || (c->owed & OWE_REQUEST)) {
			abort_conn(c);
			break;
		}
		c->open = true;
		c->unanswered = false;
		if (c->hung_up)
			c->owed |= OWE_SHUTDOWN;
		watch(c);
		break;
	case OP_RST:
		guest_reset(c);
		break;
	case OP_RW:
		to_host(v, c, &p);
		break;
	case OP_SHUTDOWN:
		c->guest_done |= (p.flags & SHUTDOWN_SEND) != 0;
		c->guest_deaf |= (p.flags & SHUTDOWN_RCV) != 0;
		if (c->open)
			settle(c);
		else
			abort_conn(c);
		break;
	case OP_CREDIT_UPDATE:
		watch(c);
		break;
	case OP_CREDIT_REQUEST:
		if (c->open)
			c->owed |= OWE_CREDIT;
		break;
	default:
		abort_conn(c);
		break;
	}
	return 0;
}

/** send_packet() - Header (and data already behind it) into the chain just popped. */
static void send_packet(struct vsock *v, const struct packet *p, uint32_t data_bytes)
{
	uint8_t header[HEADER_SIZE];

	encode(header, p);
	chain_write(&v->dev.chain, 0, header, sizeof(header));
	queue_push(&v->dev.queues[Q_RX], &v->dev.chain, HEADER_SIZE + data_bytes);
}

/** conn_packet() - A packet of a connection, credit fields filled. */
static struct packet conn_packet(struct conn *c, enum op op)
{
	c->told = c->taken;
	c->owed &= ~(unsigned int)OWE_CREDIT; /* every packet carries the news */
	return (struct packet){ .src_port = c->host_port, .dst_port = c->guest_port, .op = (uint16_t)op,
				.buf_alloc = BUF_ALLOC, .fwd_cnt = c->taken };
}

/** owed_packet() - The next packet owed, most urgent first. */
static struct packet owed_packet(struct conn *c)
{
	struct packet p;

	if (c->owed & OWE_RST) {
		p = conn_packet(c, OP_RST);
		c->owed = 0;
		c->used = c->fd >= 0; /* the ring may still drain */
	} else if (c->owed & OWE_REQUEST) {
		p = conn_packet(c, OP_REQUEST);
		c->owed &= ~(unsigned int)OWE_REQUEST;
	} else if (c->owed & OWE_RESPONSE) {
		p = conn_packet(c, OP_RESPONSE);
		c->owed &= ~(unsigned int)OWE_RESPONSE;
	} else if (c->owed & OWE_SHUTDOWN) {
		p = conn_packet(c, OP_SHUTDOWN);
		p.flags = (c->host_eof ? SHUTDOWN_SEND : 0) | (c->hung_up ? SHUTDOWN_RCV : 0);
		c->owed &= ~(unsigned int)OWE_SHUTDOWN;
	} else {
		p = conn_packet(c, OP_CREDIT_UPDATE);
	}
	return p;
}

/** read_fd() - Host data straight into the popped chain. Return: bytes, 0 when there is nothing to send. */
static uint32_t read_fd(struct vsock *v, struct conn *c)
{
	uint32_t room = MIN(v->dev.chain.write_bytes - HEADER_SIZE, credit(c));
	const struct iovec *from = v->dev.chain.iov + v->dev.chain.read_count;
	struct msghdr msg = { .msg_iov = v->iov };
	size_t skip = HEADER_SIZE;
	ssize_t r;

	for (unsigned int i = 0; i < v->dev.chain.write_count && room; i++) {
		size_t n;

		if (skip >= from[i].iov_len) {
			skip -= from[i].iov_len;
			continue;
		}
		n = MIN(from[i].iov_len - skip, (size_t)room);
		v->iov[msg.msg_iovlen++] =
			(struct iovec){ .iov_base = (uint8_t *)from[i].iov_base + skip, .iov_len = n };
		room -= (uint32_t)n;
		skip = 0;
	}
	r = recvmsg(c->fd, &msg, MSG_DONTWAIT);
	if (r > 0)
		return (uint32_t)r;
	if (r < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	c->host_eof = true;
	if (r < 0 || c->hung_up)
		abort_conn(c);
	else
		c->owed |= OWE_SHUTDOWN;
	return 0;
}

/** serve() - Put one packet of this connection into the popped chain. Return: false when it has none. */
static bool serve(struct vsock *v, struct conn *c)
{
	uint32_t n;

	if (!c->used)
		return false;
	if (!c->owed && c->open && !c->host_eof && !c->guest_deaf && c->fd >= 0 && credit(c)) {
		c->stalled = false;
		n = read_fd(v, c);
		if (n) {
			struct packet p = conn_packet(c, OP_RW);

			p.len = n;
			c->sent += n;
			send_packet(v, &p, n);
			return true;
		}
	}
	if (c->owed) {
		struct packet p = owed_packet(c);

		send_packet(v, &p, 0);
		settle(c);
		return true;
	}
	watch(c);
	return false;
}

/** set_stalled() - Without rx buffers sockets are not worth watching until the guest offers some. */
static void set_stalled(struct vsock *v, bool stalled)
{
	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		if (v->conns[i].used) {
			v->conns[i].stalled = stalled;
			watch(&v->conns[i]);
		}
	}
}

/** fill_rx() - Hand out packets, connections in turn, while there are both packets and buffers. */
static void fill_rx(struct vsock *v)
{
	struct queue *q = &v->dev.queues[Q_RX];
	size_t at = 0, idle = 0;

	if (!v->dev.active || v->dev.broken || !q->ready)
		return;
	/* idle counts connections in a row without a packet; the whole table idle ends the round. */
	for (unsigned int budget = RX_PACKETS_PER_WAKE; idle <= CONNECTIONS_MAX; budget--) {
		enum queue_result r;

		if (budget == 0) {
			/* Arranged or not, sockets that still have data are watched again. */
			virtio_device_again(&v->dev, Q_RX);
			set_stalled(v, false);
			break;
		}
		r = queue_pop_chain(q, &v->dev.chain);
		if (r == QUEUE_EMPTY && queue_enable_kicks(q, true))
			continue;
		if (r == QUEUE_EMPTY) {
			set_stalled(v, true);
			break;
		}
		if (r == QUEUE_BROKEN || v->dev.chain.write_bytes <= HEADER_SIZE) {
			virtio_device_break(&v->dev);
			drop_all(v); /* so that no peer waits for ever */
			return;
		}
		if (v->orphan_count) {
			send_packet(v, &v->orphans[--v->orphan_count], 0);
			continue;
		}
		while (idle <= CONNECTIONS_MAX) {
			bool sent = serve(v, &v->conns[at]);

			at = (at + 1) % CONNECTIONS_MAX;
			if (sent)
				break;
			idle++;
		}
		if (idle > CONNECTIONS_MAX)
			queue_unpop(q);
		else
			idle = 0;
	}
	virtio_device_interrupt(&v->dev, Q_RX);
}

/** vsock_kick() - tx: packets of the guest; rx: new buffers. */
static void vsock_kick(struct virtio_device *dev, unsigned int index)
{
	struct vsock *v = (struct vsock *)dev;

	if (dev->broken)
		return;
	if (index == Q_RX)
		set_stalled(v, false);
	if (index == Q_TX)
		virtio_device_serve(dev, Q_TX, from_guest);
	if (dev->broken)
		drop_all(v);
	else
		fill_rx(v);
}

static void vsock_reset(struct virtio_device *dev)
{
	drop_all((struct vsock *)dev);
}

static void vsock_destroy(struct virtio_device *dev)
{
	struct vsock *v = (struct vsock *)dev;

	v->failed = NULL; /* nobody is left to hear it */
	vsock_reset(dev);
	fd_close(&v->control_fd);
	virtio_device_fini(dev);
	free(v);
}

static const struct virtio_ops vsock_ops = {
	.kick = vsock_kick,
	.reset = vsock_reset,
	.destroy = vsock_destroy,
};

struct virtio_device *virtio_vsock_new(struct loop *loop, int control_fd, void (*failed)(void *arg, uint32_t id),
				       void *arg, struct error *err)
{
	struct vsock *v = calloc(1, sizeof(*v));

	if (!v) {
		fd_close(&control_fd);
		err_set(err, ERR_NO_MEMORY, 0, "vsock: out of memory");
		return NULL;
	}
	virtio_device_init(&v->dev, &vsock_ops, VIRTIO_ID_VSOCK, "vsock", 3, VSOCK_QUEUE_SIZE, loop);
	put_le(v->dev.config, VSOCK_CID_GUEST, 8);
	v->dev.config_len = 8;
	v->control_fd = control_fd;
	v->failed = failed;
	v->arg = arg;
	v->next_host_port = HOST_PORT_FIRST;
	return &v->dev;
}

/** free_port() - A host port that no connection has, not even one that only owes a RST. */
static uint32_t free_port(struct vsock *v)
{
	for (;;) {
		uint32_t port = v->next_host_port;
		size_t i = 0;

		v->next_host_port = port >= UINT32_MAX - 1 ? HOST_PORT_FIRST : port + 1;
		while (i < CONNECTIONS_MAX && !(v->conns[i].used && v->conns[i].host_port == port))
			i++;
		if (i == CONNECTIONS_MAX)
			return port;
	}
}

int virtio_vsock_connect(struct virtio_device *dev, int fd, uint32_t guest_port, uint32_t id, struct error *err)
{
	struct vsock *v = (struct vsock *)dev;
	struct error local = ERROR_INIT;
	struct conn *c;

	err = err ? err : &local;
	pthread_mutex_lock(&dev->lock);
	if (dev->broken) {
		err_set(err, ERR_CLOSED, 0, "the guest's vsock driver broke the rules");
		c = NULL;
	} else {
		c = add(v, fd, guest_port, free_port(v), err);
	}
	if (c) {
		c->id = id;
		c->unanswered = true;
		c->owed = OWE_REQUEST;
		fill_rx(v);
	}
	pthread_mutex_unlock(&dev->lock);
	if (!c)
		close(fd);
	return c ? 0 : -(int)err->code;
}
