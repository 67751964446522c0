/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. The registers of one device are a page of their own. Everything a driver may read next is
 * kept in that page at all times: each write to a selector or to Status puts the values it selects there before the
 * write is over, so KVM can map the page read-only and no read exits. Writes exit and come here from vCPU threads,
 * except for two: QueueNotify, an eventfd per queue on the device's own loop, and InterruptACK, an eventfd nobody reads
 * (InterruptStatus says "used buffer" for ever, which costs a look at the queues and never an exit).
 *
 * What an attacker controls: every written value, in any order, from several vCPUs at once. All state is private and
 * under device->lock; the page is output only. Queue addresses and sizes are taken over once, at DRIVER_OK, and
 * frozen until reset. A device whose driver broke the rules shows DEVICE_NEEDS_RESET and is left alone until then.
 * Source: virtio 1.2, 4.2.2 (registers), 3.1.1 (initialisation), 2.1 (status).
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "virtio/transport.h"

#define MMIO_MAGIC 0x74726976 /* "virt" */
#define MMIO_VERSION 2
#define MMIO_VENDOR 0x2042534d /* "MSB " */

enum mmio_register {
	REG_MAGIC = 0x000,
	REG_VERSION = 0x004,
	REG_DEVICE_ID = 0x008,
	REG_VENDOR_ID = 0x00c,
	REG_DEVICE_FEATURES = 0x010,
	REG_DEVICE_FEATURES_SEL = 0x014,
	REG_DRIVER_FEATURES = 0x020,
	REG_DRIVER_FEATURES_SEL = 0x024,
	REG_QUEUE_SEL = 0x030,
	REG_QUEUE_NUM_MAX = 0x034,
	REG_QUEUE_NUM = 0x038,
	REG_QUEUE_READY = 0x044,
	REG_QUEUE_NOTIFY = VIRTIO_MMIO_QUEUE_NOTIFY,
	REG_INTERRUPT_STATUS = 0x060,
	REG_INTERRUPT_ACK = VIRTIO_MMIO_INTERRUPT_ACK,
	REG_STATUS = 0x070,
	REG_QUEUE_DESC_LOW = 0x080,
	REG_QUEUE_DESC_HIGH = 0x084,
	REG_QUEUE_DRIVER_LOW = 0x090,
	REG_QUEUE_DRIVER_HIGH = 0x094,
	REG_QUEUE_DEVICE_LOW = 0x0a0,
	REG_QUEUE_DEVICE_HIGH = 0x0a4,
	REG_SHM_LEN_LOW = 0x0b0,
	REG_SHM_BASE_HIGH = 0x0bc,
	REG_CONFIG_GENERATION = 0x0fc,
	REG_CONFIG = 0x100,
};

#define STATUS_ACKNOWLEDGE 1
#define STATUS_DRIVER 2
#define STATUS_DRIVER_OK 4
#define STATUS_FEATURES_OK 8
#define STATUS_NEEDS_RESET 64
#define STATUS_FAILED 128
#define STATUS_BY_DRIVER                                                                                               \
	(STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_DRIVER_OK | STATUS_FEATURES_OK | STATUS_FAILED)

#define INTERRUPT_USED 1
#define INTERRUPT_CONFIG 2

/** What the driver wrote about one queue; becomes a struct queue at DRIVER_OK. */
struct queue_settings {
	uint32_t size;
	bool ready;
	uint64_t desc, driver, device;
};

/** One doorbell, a source of the device's loop. */
struct doorbell {
	struct virtio_mmio *owner;
	unsigned int index;
	int fd; /* owned eventfd */
	int source;
};

struct virtio_mmio {
	struct virtio_device *dev; /* kept; its lock guards everything below */
	const struct guest_memory *mem;
	int irq_fd; /* borrowed */
	int ack_fd; /* owned */
	uint8_t *page;
	uint32_t status, device_features_sel, driver_features_sel, queue_sel;
	uint64_t driver_features; /* as written so far; final at FEATURES_OK */
	struct queue_settings settings[VIRTIO_QUEUES_MAX];
	struct doorbell doorbells[VIRTIO_QUEUES_MAX];
};

/** put() - Show a value in the register page. */
static void put(struct virtio_mmio *m, enum mmio_register reg, uint32_t value)
{
	__atomic_store_n((uint32_t *)(void *)(m->page + reg), htole32(value), __ATOMIC_RELEASE);
}

/** selected() - Settings of the selected queue, NULL when there is no such queue. */
static struct queue_settings *selected(struct virtio_mmio *m)
{
	return m->queue_sel < m->dev->queue_count ? &m->settings[m->queue_sel] : NULL;
}

/** show_queue() - The registers that depend on QueueSel. */
static void show_queue(struct virtio_mmio *m)
{
	const struct queue_settings *s = selected(m);

	put(m, REG_QUEUE_NUM_MAX, s ? m->dev->queue_max : 0);
	put(m, REG_QUEUE_READY, s ? s->ready : 0);
}

/** show_features() - The word of the offered features that DeviceFeaturesSel selects. */
static void show_features(struct virtio_mmio *m)
{
	uint32_t word = 0;

	if (m->device_features_sel < 2)
		word = (uint32_t)(m->dev->features >> (32 * m->device_features_sel));
	put(m, REG_DEVICE_FEATURES, word);
}

/** raise_interrupt() - Transport callback of the device: used buffers. Any thread. */
static void raise_interrupt(void *transport, unsigned int queue)
{
	const struct virtio_mmio *m = transport;
	uint64_t one = 1;

	(void)queue;
	/* EAGAIN: the counter is full, so an interrupt is pending anyway. */
	if (write(m->irq_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_warn(LOG_VIRTIO, "%s: interrupt: %s", m->dev->name, strerror(errno));
}

/** needs_reset() - Transport callback: show a broken device to its driver (2.1.2). */
static void needs_reset(void *transport)
{
	struct virtio_mmio *m = transport;

	m->status |= STATUS_NEEDS_RESET;
	put(m, REG_STATUS, m->status);
	if (m->status & STATUS_DRIVER_OK) {
		put(m, REG_INTERRUPT_STATUS, INTERRUPT_USED | INTERRUPT_CONFIG);
		raise_interrupt(m, 0);
	}
}

/** ring() - Put a doorbell on the device's loop. */
static void ring(const struct virtio_mmio *m, unsigned int index)
{
	uint64_t one = 1;

	if (write(m->doorbells[index].fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_warn(LOG_VIRTIO, "%s: doorbell: %s", m->dev->name, strerror(errno));
}

/** on_doorbell() - Loop thread: the driver rang a queue. Ignored unless the device is active. */
static void on_doorbell(void *arg, uint32_t events)
{
	struct doorbell *bell = arg;
	struct virtio_device *dev = bell->owner->dev;
	uint64_t count;

	(void)events;
	if (read(bell->fd, &count, sizeof(count)) < 0)
		return;
	pthread_mutex_lock(&dev->lock);
	if (dev->active && !dev->broken && dev->queues[bell->index].ready)
		dev->ops->kick(dev, bell->index);
	pthread_mutex_unlock(&dev->lock);
}

/** reset() - Back to the initial state. Device lock held. */
static void reset(struct virtio_mmio *m)
{
	struct virtio_device *dev = m->dev;

	virtio_device_reset(dev);
	m->status = 0;
	m->driver_features = 0;
	m->device_features_sel = m->driver_features_sel = m->queue_sel = 0;
	memset(m->settings, 0, sizeof(m->settings));
	put(m, REG_STATUS, 0);
	put(m, REG_INTERRUPT_STATUS, INTERRUPT_USED);
	show_features(m);
	show_queue(m);
}

/** activate() - DRIVER_OK: take the queues over and let the device begin. Return: false when a setting is invalid. */
static bool activate(struct virtio_mmio *m)
{
	struct virtio_device *dev = m->dev;

	for (unsigned int i = 0; i < dev->queue_count; i++) {
		const struct queue_settings *s = &m->settings[i];

		queue_reset(&dev->queues[i]);
		if (!s->ready)
			continue;
		if (s->size > dev->queue_max || !queue_setup(&dev->queues[i], m->mem, (uint16_t)s->size, s->desc,
							     s->driver, s->device, dev->driver_features))
			return false;
	}
	dev->mem = m->mem;
	dev->active = true;
	/* What the driver made available before DRIVER_OK had its doorbell ignored. */
	for (unsigned int i = 0; i < dev->queue_count; i++)
		if (dev->queues[i].ready)
			ring(m, i);
	return true;
}

/** write_status() - Bits are only ever added, one step after the other; zero resets. */
static void write_status(struct virtio_mmio *m, uint32_t value)
{
	struct virtio_device *dev = m->dev;
	uint32_t added = value & STATUS_BY_DRIVER & ~m->status;

	if (value == 0) {
		reset(m);
		return;
	}
	if (added & STATUS_FEATURES_OK) {
		if ((m->driver_features & ~dev->features) || !(m->driver_features >> VIRTIO_F_VERSION_1_BIT & 1))
			added &= ~(uint32_t)STATUS_FEATURES_OK; /* refused: the driver reads it back (3.1.1) */
		else
			dev->driver_features = m->driver_features;
	}
	if (!((m->status | added) & STATUS_FEATURES_OK))
		added &= ~(uint32_t)STATUS_DRIVER_OK;
	m->status |= added;
	put(m, REG_STATUS, m->status);
	if ((added & STATUS_DRIVER_OK) && !(m->status & STATUS_NEEDS_RESET) && !activate(m))
		virtio_device_break(dev);
}

/** half() - Replace the low or high half of a 64-bit setting. */
static void half(uint64_t *at, bool high, uint32_t value)
{
	*at = high ? (*at & 0xffffffffULL) | (uint64_t)value << 32 : (*at & ~0xffffffffULL) | value;
}

/** write_queue() - A setting of the selected queue. Ignored once it is ready, and all of them once DRIVER_OK is set. */
static void write_queue(struct virtio_mmio *m, uint64_t reg, uint32_t value)
{
	struct queue_settings *s = selected(m);

	if (!s)
		return;
	if (reg == REG_QUEUE_READY) {
		if (!(m->status & STATUS_DRIVER_OK)) {
			s->ready = value & 1;
		} else if (!(value & 1)) {
			s->ready = false;
			m->dev->queues[m->queue_sel].ready = false; /* until reset */
		}
		show_queue(m);
		return;
	}
	if (s->ready || (m->status & STATUS_DRIVER_OK))
		return;
	if (reg == REG_QUEUE_NUM)
		s->size = value;
	else if (reg == REG_QUEUE_DESC_LOW || reg == REG_QUEUE_DESC_HIGH)
		half(&s->desc, reg == REG_QUEUE_DESC_HIGH, value);
	else if (reg == REG_QUEUE_DRIVER_LOW || reg == REG_QUEUE_DRIVER_HIGH)
		half(&s->driver, reg == REG_QUEUE_DRIVER_HIGH, value);
	else
		half(&s->device, reg == REG_QUEUE_DEVICE_HIGH, value);
}

/** write_register() - One 32-bit write. Device lock held. */
static void write_register(struct virtio_mmio *m, uint64_t reg, uint32_t value)
{
	switch (reg) {
	case REG_DEVICE_FEATURES_SEL:
		m->device_features_sel = value;
		show_features(m);
		break;
	case REG_DRIVER_FEATURES_SEL:
		m->driver_features_sel = value;
		break;
	case REG_DRIVER_FEATURES:
		if (!(m->status & STATUS_FEATURES_OK) && m->driver_features_sel < 2)
			half(&m->driver_features, m->driver_features_sel == 1, value);
		break;
	case REG_QUEUE_SEL:
		m->queue_sel = value;
		show_queue(m);
		break;
	case REG_QUEUE_NUM:
	case REG_QUEUE_READY:
	case REG_QUEUE_DESC_LOW:
	case REG_QUEUE_DESC_HIGH:
	case REG_QUEUE_DRIVER_LOW:
	case REG_QUEUE_DRIVER_HIGH:
	case REG_QUEUE_DEVICE_LOW:
	case REG_QUEUE_DEVICE_HIGH:
		write_queue(m, reg, value);
		break;
	case REG_QUEUE_NOTIFY:
		if (value < m->dev->queue_count)
			ring(m, value);
		break;
	case REG_STATUS:
		write_status(m, value);
		break;
	default:
		break; /* InterruptACK, read-only registers, configuration: nothing to do */
	}
}

void virtio_mmio_write(struct virtio_mmio *m, uint64_t offset, const void *data, unsigned int len)
{
	uint32_t value;

	if (len != sizeof(value) || offset % sizeof(value) || offset >= REG_CONFIG)
		return;
	memcpy(&value, data, sizeof(value));
	pthread_mutex_lock(&m->dev->lock);
	write_register(m, offset, le32toh(value));
	pthread_mutex_unlock(&m->dev->lock);
}

void virtio_mmio_read(struct virtio_mmio *m, uint64_t offset, void *data, unsigned int len)
{
	bool valid = len == 1 || len == 2 || len == 4 || len == 8;

	memset(data, 0, len);
	if (!valid || offset >= VIRTIO_MMIO_SIZE || offset % len || (offset < REG_CONFIG && len != 4))
		return;
	pthread_mutex_lock(&m->dev->lock);
	memcpy(data, m->page + offset, len);
	pthread_mutex_unlock(&m->dev->lock);
}

/** fill_page() - The registers that never change, and the initial state of the others. */
static void fill_page(struct virtio_mmio *m)
{
	put(m, REG_MAGIC, MMIO_MAGIC);
	put(m, REG_VERSION, MMIO_VERSION);
	put(m, REG_DEVICE_ID, m->dev->id);
	put(m, REG_VENDOR_ID, MMIO_VENDOR);
	put(m, REG_CONFIG_GENERATION, 0);
	put(m, REG_INTERRUPT_STATUS, INTERRUPT_USED);
	/* No shared memory region, whichever is selected: all ones (4.2.2, SHMLen). */
	memset(m->page + REG_SHM_LEN_LOW, 0xff, REG_SHM_BASE_HIGH + 4 - REG_SHM_LEN_LOW);
	memcpy(m->page + REG_CONFIG, m->dev->config, MIN(m->dev->config_len, (uint32_t)VIRTIO_CONFIG_MAX));
	show_features(m);
	show_queue(m);
}

/** open_fds() - Eventfds, sources and the page. Return: 0 or a negative code; virtio_mmio_free() undoes any part. */
static int open_fds(struct virtio_mmio *m, struct error *err)
{
	void *page;

	m->ack_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->ack_fd < 0)
		return err_set(err, ERR_SYSTEM, errno, "%s: eventfd", m->dev->name);
	page = mmap(NULL, VIRTIO_MMIO_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return err_set(err, ERR_NO_MEMORY, errno, "%s: register page", m->dev->name);
	m->page = page;
	fill_page(m);
	for (unsigned int i = 0; i < m->dev->queue_count; i++) {
		struct doorbell *bell = &m->doorbells[i];

		bell->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (bell->fd < 0)
			return err_set(err, ERR_SYSTEM, errno, "%s: eventfd", m->dev->name);
		bell->source = loop_add(m->dev->loop, bell->fd, EPOLLIN, on_doorbell, bell, err);
		if (bell->source < 0)
			return bell->source;
	}
	return 0;
}

struct virtio_mmio *virtio_mmio_new(struct virtio_device *dev, const struct guest_memory *mem, int irq_fd,
				    struct error *err)
{
	struct virtio_mmio *m = calloc(1, sizeof(*m));

	ASSERT(dev->queue_count <= VIRTIO_QUEUES_MAX && dev->config_len <= VIRTIO_CONFIG_MAX);
	if (!m) {
		err_set(err, ERR_NO_MEMORY, 0, "%s: out of memory", dev->name);
		return NULL;
	}
	m->dev = dev;
	m->mem = mem;
	m->irq_fd = irq_fd;
	for (unsigned int i = 0; i < VIRTIO_QUEUES_MAX; i++)
		m->doorbells[i] = (struct doorbell){ .owner = m, .index = i, .fd = -1, .source = -1 };
	pthread_mutex_lock(&dev->lock);
	dev->interrupt = raise_interrupt;
	dev->needs_reset = needs_reset;
	dev->transport = m;
	pthread_mutex_unlock(&dev->lock);
	if (open_fds(m, err) < 0) {
		virtio_mmio_free(m);
		return NULL;
	}
	return m;
}

void virtio_mmio_free(struct virtio_mmio *m)
{
	if (!m)
		return;
	/* The device may live on (its host side drains), but never touches guest memory again. */
	pthread_mutex_lock(&m->dev->lock);
	m->dev->active = false;
	m->dev->interrupt = NULL;
	m->dev->needs_reset = NULL;
	m->dev->transport = NULL;
	m->dev->mem = NULL;
	for (unsigned int i = 0; i < VIRTIO_QUEUES_MAX; i++)
		queue_reset(&m->dev->queues[i]);
	pthread_mutex_unlock(&m->dev->lock);
	for (unsigned int i = 0; i < VIRTIO_QUEUES_MAX; i++)
		loop_remove(m->dev->loop, &m->doorbells[i].source);
	loop_quiesce(m->dev->loop); /* doorbells point into *m */
	for (unsigned int i = 0; i < VIRTIO_QUEUES_MAX; i++)
		fd_close(&m->doorbells[i].fd);
	fd_close(&m->ack_fd);
	if (m->page)
		munmap(m->page, VIRTIO_MMIO_SIZE);
	free(m);
}

void *virtio_mmio_page(struct virtio_mmio *m)
{
	return m->page;
}

int virtio_mmio_kick_fd(struct virtio_mmio *m, unsigned int queue)
{
	return queue < m->dev->queue_count ? m->doorbells[queue].fd : -1;
}

int virtio_mmio_ack_fd(struct virtio_mmio *m)
{
	return m->ack_fd;
}
