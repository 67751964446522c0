/* SPDX-License-Identifier: Apache-2.0 */
// sources: src/virtio/net.c src/virtio/device.c src/virtio/queue.c src/virtio/memory.c src/base/error.c src/base/fd.c
// src/base/log.c src/base/loop.c src/base/buf.c
/*
 * The input is a script of 8-byte steps: frames of the guest with any header, room of any size, records of the gateway.
 * Frames that reach the gateway have a header whose numbers lie within them; those that reach the guest are what the
 * gateway sent, whole, in buffers that were offered, in order.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "loop_pump.h"
#include "virtio_driver.h"

#define SIZE 16
#define HEADER 12u
#define ROOM 2048u
#define FEATURES (DRIVER_FEATURES | 0x99a3u)

enum { RX, TX };

static struct driver rx, tx;
static struct virtio_device *dev;
static struct loop *loop;
static int gateway;
static uint16_t rx_seen;
static unsigned int rx_out; /* buffers the device has, as bits */
static uint64_t features;
static uint8_t record[VIRTIO_NET_RECORD_MAX + 1];

static void on_gone(void *arg)
{
	(void)arg;
	abort(); /* the gateway lives */
}

static void kick(unsigned int queue)
{
	pthread_mutex_lock(&dev->lock);
	if (!dev->broken)
		dev->ops->kick(dev, queue);
	pthread_mutex_unlock(&dev->lock);
}

static void activate(uint64_t wanted)
{
	virtio_device_reset(dev);
	driver_init(&rx, SIZE);
	driver_init(&tx, SIZE);
	rx_seen = 0;
	rx_out = 0;
	features = wanted;
	dev->driver_features = features;
	if (!queue_setup(&dev->queues[RX], &rx.mem, SIZE, DRIVER_DESC, DRIVER_AVAIL, DRIVER_USED, features) ||
	    !queue_setup(&dev->queues[TX], &tx.mem, SIZE, DRIVER_DESC, DRIVER_AVAIL, DRIVER_USED, features))
		abort();
	dev->active = true;
}

/** check_out() - All that the gateway can read now. */
static void check_out(void)
{
	ssize_t n;

	while ((n = recv(gateway, record, sizeof(record), MSG_DONTWAIT)) > 0) {
		size_t frame = (size_t)n - HEADER;
		uint16_t words[5];

		memcpy(words, record + 2, sizeof(words));
		if ((size_t)n < HEADER + 14 || n > VIRTIO_NET_RECORD_MAX || (record[0] & ~1) || words[4] != 1)
			abort();
		if (record[0] && (words[2] < 14 || (size_t)words[2] + words[3] + 2 > frame || !(features & 1)))
			abort();
		if (record[1] && (record[1] != 1 || !(features >> 11 & 1)) && (record[1] != 4 || !(features >> 12 & 1)))
			abort();
		if (record[1] && (!record[0] || !words[1] || words[0] > frame))
			abort();
	}
}

/** check_in() - What the guest got: each frame is filled with the low byte of its length. */
static void check_in(void)
{
	while (rx_seen != used_idx(&rx)) {
		uint32_t first = get32(&rx, DRIVER_USED + 4 + 8u * (rx_seen % SIZE));
		uint16_t count;
		size_t total = 0;

		if (first >= SIZE)
			abort();
		count = get16(&rx, DRIVER_DATA + ROOM * first + 10);
		if (count == 0 || count > (uint16_t)(used_idx(&rx) - rx_seen))
			abort();
		for (uint16_t i = 0; i < count; i++)
			total += used_len(&rx, (uint16_t)(rx_seen + i));
		if (total < HEADER + 14)
			abort();
		for (uint16_t i = 0; i < count; i++, rx_seen++) {
			uint32_t id = get32(&rx, DRIVER_USED + 4 + 8u * (rx_seen % SIZE));
			uint32_t len = used_len(&rx, rx_seen);
			const uint8_t *p = at(&rx, DRIVER_DATA + ROOM * (id % SIZE));

			if (id >= SIZE || len > ROOM || !(rx_out >> id & 1))
				abort();
			rx_out &= ~(1u << id);
			for (uint32_t j = i ? 0 : HEADER; j < len; j++)
				if (p[j] != (uint8_t)total)
					abort();
		}
	}
}

/** step() - op, then seven bytes that each op reads as it likes. */
static void step(const uint8_t s[8])
{
	uint8_t *p = at(&tx, DRIVER_DATA);
	unsigned int id = s[1] % SIZE;
	size_t n = s[2] | s[3] << 8;

	switch (s[0] % 6) {
	case 0: /* a frame of the guest's, cut in two */
		memcpy(p, s + 4, 4);
		memcpy(p + 4, s + 1, 7);
		p[6] = s[7];
		p[7] = 0;
		desc(&tx, 0, DRIVER_DATA, s[1], D_NEXT, 1);
		desc(&tx, 1, DRIVER_DATA + s[1], (uint32_t)n + 1, 0, 0);
		offer(&tx, 0);
		kick(TX);
		break;
	case 1: /* room */
		if (rx_out >> id & 1)
			break;
		rx_out |= 1u << id;
		desc(&rx, id, DRIVER_DATA + ROOM * id, MIN((uint32_t)n, ROOM), D_WRITE, 0);
		offer(&rx, (uint16_t)id);
		if (s[4] & 1)
			kick(RX);
		break;
	case 2: /* of the gateway */
	case 3:
		memset(record, (uint8_t)n, n);
		memcpy(record, s + 4, MIN(n, 4u));
		memset(record + 4, 0, 8);
		record[4] = s[1];
		record[6] = s[5];
		record[8] = s[6];
		if (n)
			(void)send(gateway, record, n, MSG_DONTWAIT);
		break;
	case 4:
		loop_pump(loop, 1);
		break;
	case 5: /* anything as a descriptor */
		desc(&tx, 0, DRIVER_DATA + n, s[4] | (uint32_t)s[5] << 16, s[6] & 7, s[7]);
		offer(&tx, s[1]);
		kick(TX);
		break;
	}
	check_out();
	check_in();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const uint8_t mac[6] = { 2, 0, 0, 0, 0, 2 };
	int pair[2];

	if (n < 2 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return 0;
	log_setup(LOG_ERROR, STDERR_FILENO, NULL);
	gateway = pair[1];
	loop = loop_new(NULL);
	dev = virtio_net_new(loop, pair[0], mac, 1500, on_gone, NULL, NULL);
	activate(FEATURES & ~(uint64_t)((data[0] | data[1] << 8) & 0x99a3u));
	for (size_t i = 2; i + 8 <= n; i += 8)
		step(data + i);
	dev->ops->destroy(dev);
	loop_free(loop);
	close(gateway);
	return 0;
}
