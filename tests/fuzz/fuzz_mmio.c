/* SPDX-License-Identifier: Apache-2.0 */
// sources: src/virtio/mmio.c src/virtio/device.c src/virtio/queue.c src/virtio/memory.c
// sources: src/base/error.c src/base/fd.c src/base/log.c src/base/loop.c src/base/buf.c
/*
 * A driver that writes any register in any order. The first byte is how much of a ring the input lays over guest
 * memory, then steps of six bytes: what, which register, value. Checked after each: the page says what a read says,
 * status bits come in order, and between DRIVER_OK and reset no write moves a queue.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "virtio/transport.h"
#include "loop_pump.h"
#include "virtio_driver.h"

#define QUEUES 2
#define QUEUE_MAX 64
#define STATUS 0x70u
#define DRIVER_OK 4u
#define FEATURES_OK 8u

static struct driver drv;
static struct virtio_device *dev;
static struct virtio_mmio *m;
static struct loop *loop;
static struct queue frozen[VIRTIO_QUEUES_MAX];
static unsigned int resets;

/** freeze() - DRIVER_OK was set: the queues are from now on as they are. */
static void freeze(void)
{
	if (!(dev->driver_features >> VIRTIO_F_VERSION_1_BIT & 1) || (dev->driver_features & ~dev->features))
		abort();
	memcpy(frozen, dev->queues, sizeof(frozen));
	for (unsigned int i = 0; i < QUEUES; i++)
		if (frozen[i].ready && (frozen[i].size == 0 || frozen[i].size > QUEUE_MAX))
			abort();
}

/** serve() - Read what is there and answer. */
static int64_t serve(struct virtio_device *d)
{
	uint8_t bytes[64];

	chain_read(&d->chain, 0, bytes, sizeof(bytes));
	return (int64_t)chain_write(&d->chain, 0, "answer", 6);
}

static void on_kick(struct virtio_device *d, unsigned int index)
{
	if (!d->active || d->broken || !d->queues[index].ready)
		abort();
	virtio_device_serve(d, index, serve);
}

static void on_reset(struct virtio_device *d)
{
	(void)d;
	resets++;
}

static const struct virtio_ops ops = { .kick = on_kick, .reset = on_reset };

/** write_reg() - As a vCPU does. */
static void write_reg(uint64_t offset, uint32_t value)
{
	virtio_mmio_write(m, offset, &value, sizeof(value));
}

/** read_reg() - Both ways a guest can read. */
static uint32_t read_reg(uint64_t offset)
{
	uint32_t value, page;

	virtio_mmio_read(m, offset, &value, sizeof(value));
	memcpy(&page, (uint8_t *)virtio_mmio_page(m) + offset, sizeof(page));
	if (page != value)
		abort();
	return value;
}

/** bring_up() - What a good driver does up to DRIVER_OK, with one value that may be bad. */
static void bring_up(uint8_t which, uint32_t value)
{
	uint32_t size = which == 1 ? value : 16;

	write_reg(STATUS, 0);
	write_reg(STATUS, 1);
	write_reg(STATUS, 3);
	write_reg(0x24, 1);
	write_reg(0x20, 1);
	write_reg(0x24, 0);
	write_reg(0x20, which == 2 ? value : (uint32_t)DRIVER_FEATURES);
	write_reg(STATUS, 11);
	for (uint32_t q = 0; q < QUEUES; q++) {
		write_reg(0x30, q);
		write_reg(0x38, size);
		write_reg(0x80, which == 3 ? value : DRIVER_DESC);
		write_reg(0x84, which == 4 ? value : 0);
		write_reg(0x90, which == 5 ? value : DRIVER_AVAIL);
		write_reg(0x94, which == 6 ? value : 0);
		write_reg(0xa0, which == 7 ? value : DRIVER_USED);
		write_reg(0xa4, which == 8 ? value : 0);
		write_reg(0x44, 1);
	}
	write_reg(STATUS, 15);
}

/** check_frozen() - Addresses and sizes are what they were at DRIVER_OK; a queue may only have been given up. */
static void check_frozen(void)
{
	for (unsigned int i = 0; dev->active && i < QUEUES; i++) {
		const struct queue *q = &dev->queues[i], *f = &frozen[i];

		if (q->size != f->size || q->desc != f->desc || q->avail != f->avail || q->used != f->used ||
		    (q->ready && !f->ready) || q->mem != f->mem)
			abort();
	}
}

/** step() - One thing a guest does. */
static void step(const uint8_t s[6], int irq)
{
	static const uint16_t registers[] = { 0x00, 0x0c, 0x10, 0x14, 0x20, 0x24,  0x30, 0x34, 0x38,
					      0x44, 0x50, 0x60, 0x64, 0x70, 0x80,  0x84, 0x90, 0x94,
					      0xa0, 0xa4, 0xac, 0xb0, 0xfc, 0x100, 0xffc };
	uint32_t value = s[2] | (uint32_t)s[3] << 8 | (uint32_t)s[4] << 16 | (uint32_t)s[5] << 24;
	uint32_t reg = registers[s[1] % ARRAY_LEN(registers)], before = read_reg(STATUS), after;
	unsigned int resets_before = resets;
	bool was_active = dev->active;
	uint8_t scrap[8];
	uint64_t n;

	switch (s[0] % 8) {
	case 0:
	case 1:
		write_reg(reg, value);
		break;
	case 2: /* an address in guest memory */
		write_reg(reg, DRIVER_GPA + value % DRIVER_MEM);
		break;
	case 3:
		bring_up(s[1], value);
		break;
	case 4: /* any access whatever */
		virtio_mmio_write(m, value, scrap, s[1] % 9);
		virtio_mmio_read(m, value, scrap, s[1] % 9);
		break;
	case 5:
		put16(&drv, DRIVER_GPA + (value % (DRIVER_MEM - 1) & ~1u), (uint16_t)(s[1] | s[4] << 8));
		break;
	case 6:
		offer(&drv, (uint16_t)value);
		write_reg(0x50, s[1] % 3);
		break;
	default:
		loop_pump(loop, 1);
	}
	(void)!read(irq, &n, sizeof(n));
	after = read_reg(STATUS);
	if (resets == resets_before && (before & ~after))
		abort(); /* a bit went away without reset */
	if ((after & DRIVER_OK) && !(after & FEATURES_OK))
		abort();
	if (dev->active && !(after & DRIVER_OK))
		abort();
	read_reg(0x10);
	read_reg(0x34);
	read_reg(0x44);
	if (dev->active && (!was_active || resets != resets_before))
		freeze();
	check_frozen();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct virtio_device device;
	int irq = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	size_t ring;

	if (n < 1)
		return 0;
	log_setup(LOG_ERROR, STDERR_FILENO, NULL);
	driver_init(&drv, 16);
	ring = MIN(n - 1, (size_t)data[0] * 16);
	memcpy(drv.bytes, data + 1, ring);
	loop = loop_new(NULL);
	dev = &device;
	virtio_device_init(dev, &ops, VIRTIO_ID_RNG, "fuzz", QUEUES, QUEUE_MAX, loop);
	memcpy(dev->config, "config", 6);
	dev->config_len = 6;
	m = virtio_mmio_new(dev, &drv.mem, irq, NULL);
	if (irq < 0 || !m)
		abort();
	for (size_t i = 1 + ring; i + 6 <= n && i < 6 * 1000; i += 6)
		step(data + i, irq);
	loop_pump(loop, 1);
	virtio_mmio_free(m);
	virtio_device_fini(dev);
	loop_free(loop);
	close(irq);
	return 0;
}
