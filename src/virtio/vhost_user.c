/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. QEMU is the front end: it owns the virtio transport and sends us, over a unix stream socket,
 * features, the guest's memory as file descriptors, and for each ring its addresses (in QEMU's own address space) and
 * two eventfds. A ring runs from SET_VRING_KICK to GET_VRING_BASE. QEMU executes guest code, so every message counts
 * as hostile: sizes, descriptor counts, offsets and addresses are checked, and anything odd closes the connection,
 * which ends the machine. The socket never blocks us: a message is collected in pieces, a reply that does not fit is an
 * error. Memory must be sealed against shrinking, or QEMU could make us fault. No reconnection, no in-flight log.
 * Source: QEMU docs/interop/vhost-user.rst.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/reader.h"
#include "virtio/transport.h"

#define HEADER_SIZE 12
#define PAYLOAD_MAX 512 /* the largest message we understand (memory table of 8 regions, configuration) is smaller */
#define FLAG_VERSION 1U
#define FLAG_REPLY 4U
#define FLAG_NEED_REPLY 8U

#define F_PROTOCOL_FEATURES (1ULL << 30)
#define PROTOCOL_F_REPLY_ACK (1ULL << 3)
#define PROTOCOL_F_CONFIG (1ULL << 9)

enum request {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	RESET_OWNER = 4,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	GET_VRING_BASE = 11,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	SET_VRING_ERR = 14,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	GET_QUEUE_NUM = 17,
	SET_VRING_ENABLE = 18,
	GET_CONFIG = 24,
	SET_CONFIG = 25,
};

struct vring {
	struct vhost_user *owner;
	unsigned int index;
	int kick_fd, call_fd;
	int source;
	uint16_t size, base;
	uint64_t desc, avail, used; /* guest physical */
	bool has_addr;
};

/** One message, collected in pieces: `have` bytes of header and payload. */
struct message {
	uint32_t request, flags, size;
	size_t have;
	uint8_t header[HEADER_SIZE];
	uint8_t payload[PAYLOAD_MAX];
	int fds[FD_PASS_MAX];
	size_t fd_count;
};

struct vhost_user {
	struct virtio_device *dev;
	int sock;
	int source;
	bool closed;
	void (*on_closed)(void *arg);
	void *arg;
	uint64_t driver_features, protocol_features;
	struct guest_memory mem;
	uint64_t user_addr[MEMORY_REGIONS_MAX]; /* where QEMU has each region */
	void *map[MEMORY_REGIONS_MAX];
	size_t map_size[MEMORY_REGIONS_MAX];
	struct vring rings[VIRTIO_QUEUES_MAX];
	struct message in;
};

/** drop_memory() - Forget the guest memory table. */
static void drop_memory(struct vhost_user *v)
{
	for (size_t i = 0; i < v->mem.count; i++)
		munmap(v->map[i], v->map_size[i]);
	v->mem.count = 0;
}

/** drop_message() - Ready for the next one. */
static void drop_message(struct message *m)
{
	for (size_t i = 0; i < m->fd_count; i++)
		fd_close(&m->fds[i]);
	m->fd_count = 0;
	m->have = 0;
}

/** stop_ring() - No more doorbells of this ring. Device lock held. */
static void stop_ring(struct vring *ring)
{
	struct virtio_device *dev = ring->owner->dev;
	struct queue *q = &dev->queues[ring->index];

	loop_remove(dev->loop, &ring->source);
	fd_close(&ring->kick_fd);
	if (q->ready)
		ring->base = q->next_avail;
	queue_reset(q);
}

/** any_ready() - Does a ring of the device run? */
static bool any_ready(const struct virtio_device *dev)
{
	for (unsigned int i = 0; i < dev->queue_count; i++)
		if (dev->queues[i].ready)
			return true;
	return false;
}

/** shut() - Close the connection; the device is reset. Device lock held. */
static void shut(struct vhost_user *v)
{
	if (v->closed)
		return;
	v->closed = true;
	for (unsigned int i = 0; i < v->dev->queue_count; i++)
		stop_ring(&v->rings[i]);
	virtio_device_reset(v->dev);
	loop_remove(v->dev->loop, &v->source);
	fd_close(&v->sock);
	drop_message(&v->in);
}

/** interrupt() - Transport callback: the ring's call eventfd. A write can only fail because it is full: no loss. */
static void interrupt(void *transport, unsigned int queue)
{
	const struct vhost_user *v = transport;
	uint64_t one = 1;

	if (v->rings[queue].call_fd >= 0)
		(void)!write(v->rings[queue].call_fd, &one, sizeof(one));
}

/** on_kick() - The driver rang. */
static void on_kick(void *arg, uint32_t events)
{
	struct vring *ring = arg;
	struct vhost_user *v = ring->owner;
	struct virtio_device *dev = v->dev;
	bool bad = false;
	uint64_t count;
	ssize_t n;

	(void)events;
	pthread_mutex_lock(&dev->lock);
	if (ring->kick_fd >= 0) {
		n = read(ring->kick_fd, &count, sizeof(count));
		if (n == sizeof(count) && dev->queues[ring->index].ready && !dev->broken)
			dev->ops->kick(dev, ring->index);
		/* A broken eventfd would be reported for ever. */
		bad = n != sizeof(count) && !(n < 0 && (errno == EAGAIN || errno == EINTR));
		if (bad)
			shut(v);
	}
	pthread_mutex_unlock(&dev->lock);
	if (bad && v->on_closed)
		v->on_closed(v->arg);
}

/** to_gpa() - QEMU's address of guest memory as a guest physical one. Return: false when in no region. */
static bool to_gpa(const struct vhost_user *v, uint64_t user, uint64_t *gpa)
{
	for (size_t i = 0; i < v->mem.count; i++) {
		uint64_t offset = user - v->user_addr[i];

		if (user >= v->user_addr[i] && offset < v->mem.regions[i].size) {
			*gpa = v->mem.regions[i].gpa + offset;
			return true;
		}
	}
	return false;
}

/** set_mem_table() - Map what QEMU passes; replaces the table. */
static bool set_mem_table(struct vhost_user *v, const struct message *m)
{
	struct reader r = reader_init(m->payload, m->size);
	uint32_t count = reader_u32(&r);

	reader_u32(&r);
	if (count == 0 || count > MEMORY_REGIONS_MAX || count != m->fd_count || m->size != 8 + 32 * count ||
	    any_ready(v->dev))
		return false;
	drop_memory(v);
	for (uint32_t i = 0; i < count; i++) {
		uint64_t gpa = reader_u64(&r), size = reader_u64(&r), user = reader_u64(&r), offset = reader_u64(&r);
		uint64_t end, total;
		int seals = fcntl(m->fds[i], F_GET_SEALS);
		struct stat st;
		void *map;

		if (r.failed || size == 0 || __builtin_add_overflow(gpa, size, &end) ||
		    __builtin_add_overflow(user, size, &end) || __builtin_add_overflow(offset, size, &total) ||
		    (gpa | size | offset) % 4096 || seals < 0 || !(seals & F_SEAL_SHRINK) ||
		    fstat(m->fds[i], &st) < 0 || total > (uint64_t)st.st_size)
			return false;
		map = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_SHARED, m->fds[i], 0);
		if (map == MAP_FAILED)
			return false;
		v->map[i] = map;
		v->map_size[i] = total;
		v->user_addr[i] = user;
		v->mem.regions[i] = (struct memory_region){ .gpa = gpa, .size = size, .host = (uint8_t *)map + offset };
		v->mem.count = i + 1;
	}
	return true;
}

/** start_ring() - All is known: set the queue up and look at it once. Device lock held. */
static bool start_ring(struct vhost_user *v, struct vring *ring)
{
	struct virtio_device *dev = v->dev;
	struct queue *q = &dev->queues[ring->index];

	if (!ring->has_addr || ring->kick_fd < 0 ||
	    !queue_setup(q, &v->mem, ring->size, ring->desc, ring->avail, ring->used, v->driver_features))
		return false;
	q->next_avail = ring->base;
	/* Where the used ring stands is in guest memory; both indices are equal while no request is in flight. */
	q->next_used = ring->base;
	ring->source = loop_add(dev->loop, ring->kick_fd, EPOLLIN, on_kick, ring, NULL);
	if (ring->source < 0)
		return false;
	dev->driver_features = v->driver_features;
	dev->mem = &v->mem;
	if (!dev->active) {
		dev->active = true;
		dev->broken = false;
	}
	dev->ops->kick(dev, ring->index);
	return true;
}

/** reply() - Header and payload back to QEMU. */
static bool reply(struct vhost_user *v, const struct message *m, const void *payload, uint32_t size)
{
	uint8_t out[HEADER_SIZE + PAYLOAD_MAX];
	uint32_t head[3] = { m->request, FLAG_VERSION | FLAG_REPLY, size };

	memcpy(out, head, sizeof(head));
	memcpy(out + sizeof(head), payload, size);
	return fd_send_msg(v->sock, out, sizeof(head) + size, NULL, 0) == 0;
}

/** reply_u64() - The usual answer. */
static bool reply_u64(struct vhost_user *v, const struct message *m, uint64_t value)
{
	return reply(v, m, &value, sizeof(value));
}

/** get_config() - offset, size, flags; answered with the same and the bytes. */
static bool get_config(struct vhost_user *v, struct message *m)
{
	struct reader r = reader_init(m->payload, m->size);
	uint32_t offset = reader_u32(&r), size = reader_u32(&r);

	if (m->size < 12 || size > PAYLOAD_MAX - 12 || m->size != 12 + size)
		return false;
	memset(m->payload + 12, 0, size);
	if (offset < v->dev->config_len)
		memcpy(m->payload + 12, v->dev->config + offset, MIN(size, v->dev->config_len - offset));
	return reply(v, m, m->payload, m->size);
}

/** ring_of() - The ring that a payload's first number names. */
static struct vring *ring_of(struct vhost_user *v, const struct message *m, uint32_t mask)
{
	struct reader r = reader_init(m->payload, m->size);
	uint32_t index = reader_u32(&r) & mask;

	return !r.failed && index < v->dev->queue_count ? &v->rings[index] : NULL;
}

/** set_addr() - SET_VRING_ADDR: QEMU's addresses of the three parts. */
static bool set_addr(struct vhost_user *v, const struct message *m)
{
	struct reader r = reader_init(m->payload, m->size);
	struct vring *ring = ring_of(v, m, ~0U);
	uint64_t desc, used, avail;

	reader_u64(&r); /* index and flags */
	desc = reader_u64(&r);
	used = reader_u64(&r);
	avail = reader_u64(&r);
	if (!ring || r.failed || m->size != 40 || v->dev->queues[ring->index].ready)
		return false;
	ring->has_addr = to_gpa(v, desc, &ring->desc) && to_gpa(v, used, &ring->used) && to_gpa(v, avail, &ring->avail);
	return ring->has_addr;
}

/**
 * is_eventfd() - An anonymous inode (its type is none of the seven) that takes a zero of 8 bytes. What QEMU passes is
 * written to with our rights and limits: a file could be made to grow without end, a pipe or socket raises signals.
 */
static bool is_eventfd(int fd)
{
	uint64_t zero = 0;
	struct stat st;

	return fstat(fd, &st) == 0 && !(st.st_mode & S_IFMT) && fd_set_nonblock(fd, true) == 0 &&
	       write(fd, &zero, sizeof(zero)) == sizeof(zero);
}

/** set_fd() - KICK, CALL or ERR: one eventfd, or none when bit 8 is set. */
static bool set_fd(struct vhost_user *v, struct message *m)
{
	struct vring *ring = ring_of(v, m, 0xff);
	bool none = m->size >= 2 && (m->payload[1] & 1);
	int fd = -1;

	if (!ring || m->size != 8 || m->fd_count != (none ? 0 : 1) || (!none && !is_eventfd(m->fds[0])))
		return false;
	if (!none)
		fd = TAKE_FD(m->fds[0]);
	if (m->request == SET_VRING_CALL) {
		fd_close(&ring->call_fd);
		ring->call_fd = fd;
		/* What was signalled on the old one may not have been seen: a spurious interrupt does no harm. */
		if (v->dev->queues[ring->index].ready)
			interrupt(v, ring->index);
		return true;
	}
	if (m->request == SET_VRING_ERR) {
		fd_close(&fd);
		return true;
	}
	if (fd < 0) /* polling mode is not offered */
		return false;
	stop_ring(ring);
	ring->kick_fd = fd;
	return start_ring(v, ring);
}

/** set_number() - SET_VRING_NUM and SET_VRING_BASE. */
static bool set_number(struct vhost_user *v, const struct message *m)
{
	struct reader r = reader_init(m->payload, m->size);
	struct vring *ring = ring_of(v, m, ~0U);
	uint32_t value;

	reader_u32(&r);
	value = reader_u32(&r);
	if (!ring || r.failed || m->size != 8 || value > UINT16_MAX || v->dev->queues[ring->index].ready)
		return false;
	if (m->request == SET_VRING_NUM)
		ring->size = (uint16_t)value;
	else
		ring->base = (uint16_t)value;
	return true;
}

/** get_base() - Stop the ring and say where it stands. */
static bool get_base(struct vhost_user *v, const struct message *m)
{
	struct vring *ring = ring_of(v, m, ~0U);
	uint32_t answer[2];

	if (!ring || m->size != 8)
		return false;
	stop_ring(ring);
	if (v->dev->active && !any_ready(v->dev))
		virtio_device_reset(v->dev);
	answer[0] = ring->index;
	answer[1] = ring->base;
	return reply(v, m, answer, sizeof(answer));
}

/** payload_u64() - The 64-bit number that some requests carry. */
static bool payload_u64(const struct message *m, uint64_t *value)
{
	if (m->size != sizeof(*value))
		return false;
	memcpy(value, m->payload, sizeof(*value));
	return true;
}

/** handle() - One message. Device lock held. Return: false to close. *answered: a reply was sent already. */
static bool handle(struct vhost_user *v, struct message *m, bool *answered)
{
	uint64_t features = v->dev->features | F_PROTOCOL_FEATURES;
	/* QEMU warns about a configuration that it does not ask for: a network card's is its own. */
	bool config = v->dev->config_len && v->dev->id != VIRTIO_ID_NET;
	uint64_t protocol = PROTOCOL_F_REPLY_ACK | (config ? PROTOCOL_F_CONFIG : 0);

	*answered = false;
	if (m->fd_count && m->request != SET_MEM_TABLE && m->request != SET_VRING_KICK &&
	    m->request != SET_VRING_CALL && m->request != SET_VRING_ERR)
		return false;
	switch (m->request) {
	case GET_FEATURES:
		*answered = true;
		return reply_u64(v, m, features);
	case SET_FEATURES:
		return payload_u64(m, &v->driver_features) && !(v->driver_features & ~features);
	case GET_PROTOCOL_FEATURES:
		*answered = true;
		return reply_u64(v, m, protocol);
	case SET_PROTOCOL_FEATURES:
		return payload_u64(m, &v->protocol_features) && !(v->protocol_features & ~protocol);
	case SET_OWNER:
	case RESET_OWNER:
	case SET_CONFIG: /* our configuration is read-only */
	case SET_VRING_ENABLE: /* a ring runs from its kick on */
		return true;
	case SET_MEM_TABLE:
		return set_mem_table(v, m);
	case SET_VRING_NUM:
	case SET_VRING_BASE:
		return set_number(v, m);
	case SET_VRING_ADDR:
		return set_addr(v, m);
	case GET_VRING_BASE:
		*answered = true;
		return get_base(v, m);
	case SET_VRING_KICK:
	case SET_VRING_CALL:
	case SET_VRING_ERR:
		return set_fd(v, m);
	case GET_QUEUE_NUM:
		*answered = true;
		return reply_u64(v, m, v->dev->queue_count);
	case GET_CONFIG:
		*answered = true;
		return get_config(v, m);
	default:
		log_warn(LOG_VIRTIO, "%s: unknown vhost-user request %u", v->dev->name, m->request);
		return false;
	}
}

/** receive() - More of the current message. Return: 1 when it is whole, 0 when bytes are missing, -1 to close. */
static int receive(struct vhost_user *v)
{
	struct message *m = &v->in;
	ssize_t n;

	if (m->have < HEADER_SIZE) {
		struct reader r = reader_init(m->header, HEADER_SIZE);
		size_t before = m->fd_count, more = 0;

		if (before) /* descriptors come with the first byte, once */
			n = recv(v->sock, m->header + m->have, HEADER_SIZE - m->have, 0);
		else
			n = fd_recv_msg(v->sock, m->header + m->have, HEADER_SIZE - m->have, m->fds, &more);
		m->fd_count = before + more;
		if (n <= 0)
			return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
		m->have += (size_t)n;
		if (m->have < HEADER_SIZE)
			return 0;
		m->request = reader_u32(&r);
		m->flags = reader_u32(&r);
		m->size = reader_u32(&r);
		if ((m->flags & 3) != FLAG_VERSION || (m->flags & FLAG_REPLY) || m->size > PAYLOAD_MAX)
			return -1;
	}
	if (m->have < HEADER_SIZE + m->size) {
		n = recv(v->sock, m->payload + (m->have - HEADER_SIZE), HEADER_SIZE + m->size - m->have, 0);
		if (n <= 0)
			return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
		m->have += (size_t)n;
	}
	return m->have == HEADER_SIZE + m->size;
}

/** on_message() - The socket is readable. */
static void on_message(void *arg, uint32_t events)
{
	struct vhost_user *v = arg;
	struct message *m = &v->in;
	bool answered = false, ok;
	int got;

	(void)events;
	pthread_mutex_lock(&v->dev->lock);
	if (v->closed) {
		pthread_mutex_unlock(&v->dev->lock);
		return;
	}
	got = receive(v);
	ok = got == 0 || (got > 0 && handle(v, m, &answered));
	if (got > 0 && !answered && (v->protocol_features & PROTOCOL_F_REPLY_ACK) && (m->flags & FLAG_NEED_REPLY))
		ok = reply_u64(v, m, ok ? 0 : 1) && ok;
	if (got > 0 && !ok)
		log_warn(LOG_VIRTIO, "%s: vhost-user request %u refused", v->dev->name, m->request);
	if (got > 0)
		drop_message(m);
	if (!ok)
		shut(v);
	pthread_mutex_unlock(&v->dev->lock);
	if (!ok && v->on_closed)
		v->on_closed(v->arg);
}

struct vhost_user *vhost_user_new(struct virtio_device *dev, int sock, void (*closed)(void *arg), void *arg,
				  struct error *err)
{
	struct vhost_user *v = calloc(1, sizeof(*v));

	if (!v) {
		close(sock);
		err_set(err, ERR_NO_MEMORY, 0, "vhost-user: out of memory");
		return NULL;
	}
	v->dev = dev;
	v->sock = sock;
	v->on_closed = closed;
	v->arg = arg;
	for (unsigned int i = 0; i < VIRTIO_QUEUES_MAX; i++)
		v->rings[i] = (struct vring){ .owner = v, .index = i, .kick_fd = -1, .call_fd = -1, .source = -1 };
	fd_set_nonblock(sock, true);
	dev->transport = v;
	dev->interrupt = interrupt;
	v->source = loop_add(dev->loop, sock, EPOLLIN, on_message, v, err);
	if (v->source < 0) {
		dev->transport = NULL;
		dev->interrupt = NULL;
		fd_close(&v->sock);
		free(v);
		return NULL;
	}
	return v;
}

void vhost_user_free(struct vhost_user *v)
{
	if (!v)
		return;
	pthread_mutex_lock(&v->dev->lock);
	shut(v);
	v->dev->interrupt = NULL;
	v->dev->transport = NULL;
	v->dev->mem = NULL;
	pthread_mutex_unlock(&v->dev->lock);
	loop_quiesce(v->dev->loop); /* a handler of a source just removed may be running */
	for (unsigned int i = 0; i < VIRTIO_QUEUES_MAX; i++)
		fd_close(&v->rings[i].call_fd);
	drop_memory(v);
	free(v);
}
