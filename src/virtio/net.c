/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. One receive and one transmit queue; the other side of the wire is a SOCK_SEQPACKET socket to the
 * gateway, one record per frame: the header of 12 bytes (virtio 1.2, 5.1.6), then the frame. Records go straight
 * between the socket and guest memory; only the header is copied, judged, and passed on as the copy.
 *
 * Transmit: NET_BATCH chains at a time. A full socket puts the rest back and waits for room; the guest's queue fills.
 * Receive: nothing is taken from the socket unless the guest has room for it, so that a guest that stands still makes
 * the gateway stand still. How long a record is is only asked for when the guest has less room than the longest needs.
 * What no driver of this kind could ever take (longer than NET_CHAINS buffers, or an offload that was not negotiated)
 * is dropped, so that it does not stop what comes behind it. No more than NET_BUDGET frames of a queue in one wake.
 *
 * What the guest controls: the rings, and header and frame of what it sends. Offloads that were not negotiated, unknown
 * ones, or checksums outside of the frame: the frame is dropped. The gateway trusts nothing of it but the bounds.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/reader.h"
#include "base/writer.h"
#include "virtio/device.h"

#define NET_F_CSUM 0
#define NET_F_GUEST_CSUM 1
#define NET_F_MTU 3
#define NET_F_MAC 5
#define NET_F_GUEST_TSO4 7
#define NET_F_GUEST_TSO6 8
#define NET_F_HOST_TSO4 11
#define NET_F_HOST_TSO6 12
#define NET_F_MRG_RXBUF 15

#define HDR_F_NEEDS_CSUM 1
#define HDR_F_DATA_VALID 2
#define GSO_NONE 0
#define GSO_TCPV4 1
#define GSO_TCPV6 4

#define NET_RX 0
#define NET_TX 1
#define NET_QUEUES 2
#define NET_QUEUE_SIZE 256 /* Linux fills the receive queue at once with 1.5 KiB each; a frame of 64 KiB takes 43 */
#define NET_HEADER 12
#define NET_ETHERNET 14
#define NET_RECORD_MAX VIRTIO_NET_RECORD_MAX
#define NET_CHAINS 64 /* buffers of one received frame */
#define NET_PARTS 512 /* descriptors of all of them */
#define NET_BATCH 16  /* frames of one sendmmsg() */
#define NET_BUDGET 256

/** The header, as numbers of this machine. */
struct header {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset;
};

/** One buffer of the guest's that waits for a frame. */
struct room {
	uint16_t head, parts;
	uint32_t bytes;
};

/** One frame on its way out. */
struct outgoing {
	uint16_t head;
	bool drop;
	uint8_t header[NET_HEADER];
	struct iovec iov[QUEUE_IOV_MAX + 1];
};

struct net {
	struct virtio_device dev;
	int fd;	    /* owned, non-blocking */
	int source; /* -1: the gateway is gone */
	uint32_t watched;
	bool starved; /* the guest has no room for what is next; else it waits for the socket */
	bool blocked; /* the socket is full */
	void (*gone)(void *arg);
	void *arg;
	/* Room popped in this wake and not used yet; put back at its end. */
	unsigned int room_count, part_count;
	uint32_t room_bytes;
	struct room room[NET_CHAINS];
	struct iovec parts[NET_PARTS];
	struct iovec iov[NET_PARTS + 1];
	struct outgoing out[NET_BATCH];
};

/** negotiated() - Does the driver know this feature? */
static bool negotiated(const struct net *net, unsigned int feature)
{
	return net->dev.driver_features >> feature & 1;
}

/** parse_header() - From the wire. */
static struct header parse_header(const uint8_t *p)
{
	struct reader r = reader_init(p, NET_HEADER);
	struct header h;

	h.flags = reader_u8(&r);
	h.gso_type = reader_u8(&r);
	h.hdr_len = reader_u16(&r);
	h.gso_size = reader_u16(&r);
	h.csum_start = reader_u16(&r);
	h.csum_offset = reader_u16(&r);
	return h;
}

/** put_header() - To the wire. */
static void put_header(uint8_t *p, const struct header *h, unsigned int buffers)
{
	p[0] = h->flags;
	p[1] = h->gso_type;
	put_le(p + 2, h->hdr_len, 2);
	put_le(p + 4, h->gso_size, 2);
	put_le(p + 6, h->csum_start, 2);
	put_le(p + 8, h->csum_offset, 2);
	put_le(p + 10, buffers, 2);
}

/** What decides about a frame's header on its way to the driver, or from it. */
struct direction {
	unsigned int csum, tso4, tso6; /* features */
	uint8_t flags;		       /* that mean something */
};

static const struct direction from_driver = { NET_F_CSUM, NET_F_HOST_TSO4, NET_F_HOST_TSO6, HDR_F_NEEDS_CSUM };
static const struct direction to_driver = { NET_F_GUEST_CSUM, NET_F_GUEST_TSO4, NET_F_GUEST_TSO6,
					    HDR_F_NEEDS_CSUM | HDR_F_DATA_VALID };

/** judge_header() - Keep what means something. Return: false: the frame is not to be passed on. */
static bool judge_header(const struct net *net, struct header *h, size_t frame, const struct direction *d)
{
	bool partial = h->flags & HDR_F_NEEDS_CSUM;

	if (frame < NET_ETHERNET || frame > NET_RECORD_MAX - NET_HEADER)
		return false;
	if (partial && (!negotiated(net, d->csum) || h->csum_start < NET_ETHERNET ||
			(size_t)h->csum_start + h->csum_offset + 2 > frame))
		return false;
	if (!partial)
		h->csum_start = h->csum_offset = 0;
	h->flags = negotiated(net, d->csum) ? h->flags & d->flags : 0;
	if (h->gso_type == GSO_NONE) {
		h->gso_size = h->hdr_len = 0;
		return true;
	}
	if (!partial || !h->gso_size || h->hdr_len > frame)
		return false;
	return (h->gso_type == GSO_TCPV4 && negotiated(net, d->tso4)) ||
	       (h->gso_type == GSO_TCPV6 && negotiated(net, d->tso6));
}

/** watch() - Wait for what is needed next; the end is always seen. */
static void watch(struct net *net)
{
	const struct queue *rx = &net->dev.queues[NET_RX];
	uint32_t events = 0;

	if (net->dev.active && !net->dev.broken && rx->ready && !net->starved)
		events |= EPOLLIN;
	if (net->blocked)
		events |= EPOLLOUT;
	if (net->source >= 0 && events != net->watched) {
		net->watched = events;
		loop_modify(net->dev.loop, net->source, events);
	}
}

/** lost() - The gateway ended: so does the network, and whoever made the device decides what that means. */
static void lost(struct net *net)
{
	if (net->source < 0)
		return;
	loop_remove(net->dev.loop, &net->source);
	net->gone(net->arg);
}

/** prepare() - The chain just popped as a record. Return: false: it breaks the rules. */
static bool prepare(struct net *net, struct outgoing *out)
{
	const struct queue_chain *c = &net->dev.chain;
	struct header h;

	if (c->read_bytes < NET_HEADER)
		return false;
	chain_read(c, 0, out->header, NET_HEADER);
	h = parse_header(out->header);
	out->head = c->head;
	out->drop = !judge_header(net, &h, c->read_bytes - NET_HEADER, &from_driver);
	put_header(out->header, &h, 1);
	return true;
}

/** give_back() - A chain by its head. */
static void give_back(struct net *net, unsigned int queue, uint16_t head, uint32_t written)
{
	net->dev.chain.head = head;
	queue_push(&net->dev.queues[queue], &net->dev.chain, written);
}

/** send_batch() - Return: how many of these frames are done with; fewer: the socket is full, or its end is gone. */
static unsigned int send_batch(struct net *net, struct mmsghdr *msgs, unsigned int count)
{
	unsigned int done = 0;

	while (done < count) {
		int n = sendmmsg(net->fd, msgs + done, count - done, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0)
			done += (unsigned int)n;
		else if (errno == EAGAIN || errno == EPIPE || errno == ECONNRESET || errno == ECONNREFUSED)
			break; /* the end of the gateway is an event of its own */
		else if (errno != EINTR)
			done++; /* no memory for this one: lost, as frames may be */
	}
	return done;
}

/** transmit_some() - Up to NET_BATCH frames. Return: how many chains were taken; 0: none, no room, or broken. */
static unsigned int transmit_some(struct net *net)
{
	struct queue *q = &net->dev.queues[NET_TX];
	struct mmsghdr msgs[NET_BATCH];
	unsigned int popped = 0, count = 0, sent, done = 0;
	bool broken = false;

	while (popped < NET_BATCH) {
		struct outgoing *out = &net->out[popped];
		const struct queue_chain *c = &net->dev.chain;
		enum queue_result r = queue_pop_chain(q, &net->dev.chain);
		int parts;

		if (r == QUEUE_EMPTY)
			break;
		broken = r == QUEUE_BROKEN || !prepare(net, out);
		if (broken)
			break;
		popped++;
		if (out->drop)
			continue;
		out->iov[0] = (struct iovec){ .iov_base = out->header, .iov_len = NET_HEADER };
		parts = 1 + iov_slice(c->iov, c->read_count, NET_HEADER, SIZE_MAX, out->iov + 1);
		msgs[count++] = (struct mmsghdr){ .msg_hdr = { .msg_iov = out->iov, .msg_iovlen = (size_t)parts } };
	}
	sent = send_batch(net, msgs, count);
	net->blocked = sent < count;
	/* In the guest's order: all up to the first that was not sent. */
	for (unsigned int i = 0; done < popped && (net->out[done].drop || i++ < sent); done++)
		give_back(net, NET_TX, net->out[done].head, 0);
	for (unsigned int i = done; i < popped; i++)
		queue_unpop(q);
	if (broken)
		virtio_device_break(&net->dev);
	return done;
}

/** transmit() - What the guest sends, as far as the socket takes it. */
static void transmit(struct net *net)
{
	struct queue *q = &net->dev.queues[NET_TX];
	unsigned int total = 0, n;

	if (net->source < 0)
		return;
	do {
		queue_enable_kicks(q, false);
		while ((n = transmit_some(net)) > 0 && !net->blocked && !net->dev.broken) {
			total += n;
			if (total < NET_BUDGET)
				continue;
			virtio_device_interrupt(&net->dev, NET_TX);
			if (virtio_device_again(&net->dev, NET_TX))
				return;
			total = 0;
		}
		virtio_device_interrupt(&net->dev, NET_TX);
	} while (!net->blocked && !net->dev.broken && queue_enable_kicks(q, true));
}

/** gather() - Pop until there is room for any frame, or no more room. Return: false: the driver broke the rules. */
static bool gather(struct net *net)
{
	struct queue *q = &net->dev.queues[NET_RX];
	const struct queue_chain *c = &net->dev.chain;
	unsigned int most = negotiated(net, NET_F_MRG_RXBUF) ? NET_CHAINS : 1;

	while (net->room_count < most && net->room_bytes < NET_RECORD_MAX) {
		enum queue_result r = queue_pop_chain(q, &net->dev.chain);

		if (r == QUEUE_EMPTY)
			return true;
		if (r == QUEUE_BROKEN || c->write_bytes < NET_HEADER)
			return false;
		if (net->part_count + c->write_count > NET_PARTS) {
			queue_unpop(q);
			return true;
		}
		memcpy(net->parts + net->part_count, c->iov + c->read_count, c->write_count * sizeof(*c->iov));
		net->part_count += c->write_count;
		net->room[net->room_count++] =
			(struct room){ .head = c->head, .parts = c->write_count, .bytes = c->write_bytes };
		net->room_bytes += c->write_bytes;
	}
	return true;
}

/** is_all_room() - Can a driver not offer more than what gather() has found? */
static bool is_all_room(const struct net *net)
{
	return net->room_count == NET_CHAINS || net->room_count == net->dev.queues[NET_RX].size ||
	       (net->room_count == 1 && !negotiated(net, NET_F_MRG_RXBUF)) ||
	       net->part_count > NET_PARTS - QUEUE_IOV_MAX;
}

/** return_room() - Put back what was not used. */
static void return_room(struct net *net)
{
	for (unsigned int i = 0; i < net->room_count; i++)
		queue_unpop(&net->dev.queues[NET_RX]);
	net->room_count = net->part_count = 0;
	net->room_bytes = 0;
}

/** use_room() - n bytes were received into the first buffers: they are the driver's now. */
static void use_room(struct net *net, const struct header *h, uint32_t n)
{
	unsigned int rooms = 0, parts = 0;
	uint32_t bytes = 0;
	uint8_t header[NET_HEADER];

	while (bytes < n) {
		bytes += net->room[rooms].bytes;
		parts += net->room[rooms++].parts;
	}
	put_header(header, h, rooms);
	iov_write(net->parts, parts, 0, header, sizeof(header));
	for (unsigned int i = 0; i < rooms; i++) {
		uint32_t in = MIN(n, net->room[i].bytes);

		give_back(net, NET_RX, net->room[i].head, in);
		n -= in;
	}
	net->room_count -= rooms;
	net->part_count -= parts;
	net->room_bytes -= bytes;
	memmove(net->room, net->room + rooms, net->room_count * sizeof(*net->room));
	memmove(net->parts, net->parts + parts, net->part_count * sizeof(*net->parts));
}

enum received { RECEIVED, NOTHING, NO_ROOM, BROKEN }; /* RECEIVED: go on */

/** receive_one() - The next frame, if it is there and there is room for it. */
static enum received receive_one(struct net *net)
{
	uint8_t bytes[NET_HEADER];
	struct msghdr msg = { .msg_iov = net->iov };
	struct header h;
	ssize_t n;

	if (!gather(net))
		return BROKEN;
	if (net->room_count == 0)
		return NO_ROOM;
	if (net->room_bytes < NET_RECORD_MAX) {
		n = recv(net->fd, NULL, 0, MSG_DONTWAIT | MSG_PEEK | MSG_TRUNC);
		if (n < 0)
			return NOTHING;
		if ((size_t)n > net->room_bytes && !is_all_room(net))
			return NO_ROOM;
	}
	net->iov[0] = (struct iovec){ .iov_base = bytes, .iov_len = sizeof(bytes) };
	msg.msg_iovlen = 1 + (size_t)iov_slice(net->parts, net->part_count, NET_HEADER, SIZE_MAX, net->iov + 1);
	n = recvmsg(net->fd, &msg, MSG_DONTWAIT);
	/* 0 is the end of the connection, or a record of no bytes: the former is an event of its own. */
	if (n <= 0)
		return NOTHING;
	if (n < NET_HEADER || (msg.msg_flags & MSG_TRUNC))
		return RECEIVED;
	h = parse_header(bytes);
	if (judge_header(net, &h, (size_t)n - NET_HEADER, &to_driver))
		use_room(net, &h, (uint32_t)n);
	return RECEIVED;
}

/** receive() - What the gateway has sent, as far as there is room. What is over the budget, the socket reports again.
 */
static void receive(struct net *net)
{
	struct queue *q = &net->dev.queues[NET_RX];
	enum received r = NOTHING;

	if (net->source < 0)
		return;
	queue_enable_kicks(q, false);
	net->starved = false;
	for (unsigned int i = 0; i < NET_BUDGET; i++) {
		r = receive_one(net);
		/* More room may have come since it was looked for. */
		if (r == NO_ROOM && queue_enable_kicks(q, true))
			r = RECEIVED;
		if (r != RECEIVED)
			break;
	}
	net->starved = r == NO_ROOM;
	return_room(net);
	if (r == BROKEN)
		virtio_device_break(&net->dev);
	virtio_device_interrupt(&net->dev, NET_RX);
}

/** net_kick() - The guest offers room, or frames. */
static void net_kick(struct virtio_device *dev, unsigned int index)
{
	struct net *net = (struct net *)dev;

	if (index == NET_RX)
		receive(net);
	else if (!net->blocked)
		transmit(net);
	watch(net);
}

/** on_socket() - Loop thread: frames, room, or the end of the gateway. */
static void on_socket(void *arg, uint32_t events)
{
	struct net *net = arg;
	struct virtio_device *dev = &net->dev;

	pthread_mutex_lock(&dev->lock);
	if (events & (EPOLLHUP | EPOLLERR)) {
		lost(net);
		pthread_mutex_unlock(&dev->lock);
		return;
	}
	if ((events & EPOLLIN) && dev->queues[NET_RX].ready && !dev->broken && !net->starved)
		receive(net);
	if ((events & EPOLLOUT) && net->blocked) {
		net->blocked = false;
		if (dev->queues[NET_TX].ready && !dev->broken)
			transmit(net);
	}
	watch(net);
	pthread_mutex_unlock(&dev->lock);
}

static void net_reset(struct virtio_device *dev)
{
	struct net *net = (struct net *)dev;

	net->starved = net->blocked = false;
	watch(net);
}

static void net_destroy(struct virtio_device *dev)
{
	struct net *net = (struct net *)dev;

	loop_remove(dev->loop, &net->source);
	fd_close(&net->fd);
	virtio_device_fini(dev);
	free(net);
}

static const struct virtio_ops net_ops = {
	.kick = net_kick,
	.reset = net_reset,
	.destroy = net_destroy,
};

struct virtio_device *virtio_net_new(struct loop *loop, int fd, const uint8_t mac[6], uint16_t mtu,
				     void (*gone)(void *arg), void *arg, struct error *err)
{
	struct net *net = calloc(1, sizeof(*net));
	struct virtio_device *dev;

	if (!net) {
		fd_close(&fd);
		err_set(err, ERR_NO_MEMORY, 0, "network device: out of memory");
		return NULL;
	}
	dev = &net->dev;
	virtio_device_init(dev, &net_ops, VIRTIO_ID_NET, "net", NET_QUEUES, NET_QUEUE_SIZE, loop);
	dev->features |= 1ULL << NET_F_CSUM | 1ULL << NET_F_GUEST_CSUM | 1ULL << NET_F_MTU | 1ULL << NET_F_MAC |
			 1ULL << NET_F_GUEST_TSO4 | 1ULL << NET_F_GUEST_TSO6 | 1ULL << NET_F_HOST_TSO4 |
			 1ULL << NET_F_HOST_TSO6 | 1ULL << NET_F_MRG_RXBUF;
	memcpy(dev->config, mac, 6);
	put_le(dev->config + 10, mtu, 2); /* after status and max_virtqueue_pairs, which are not offered */
	dev->config_len = 12;
	net->gone = gone;
	net->arg = arg;
	net->fd = fd;
	fd_set_nonblock(fd, true);
	net->source = loop_add(loop, fd, 0, on_socket, net, err);
	if (net->source < 0) {
		net_destroy(dev);
		return NULL;
	}
	return dev;
}
