/* SPDX-License-Identifier: Apache-2.0 */
// sources: src/virtio/vsock.c src/virtio/device.c src/virtio/queue.c src/virtio/memory.c src/base/error.c src/base/fd.c src/base/log.c src/base/loop.c src/base/buf.c
/*
 * The input is a script of 8-byte steps: packets of the guest (plausible and not), rx buffers of any length, and what
 * host programs do with their ends. The device answers with well-formed packets only, and what the guest sent on a
 * connection comes out as sent: each connection carries its bytes counted up from 0.
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

#define SIZE 8
#define ENDS 6
#define HEADER 44u
#define RX_BYTES 4096u
#define TX_DATA (DRIVER_DATA + 0x1000)
#define TX_MAX 0x10000u

static struct driver rx, tx;
static struct virtio_device *dev;
static struct loop *loop;
static uint16_t rx_seen;
static unsigned int rx_out; /* buffers the device has, as bits */
static int ends[ENDS];		    /* host programs; 0 is the control connection */
static uint32_t ports[ENDS];	    /* device's port, 0: not known yet */
static uint8_t sent[ENDS], got[ENDS]; /* the next byte of each */
static unsigned int connected;
static bool asked; /* the guest asked for the control connection */

static void on_failed(void *arg, uint32_t id)
{
	(void)arg;
	if (id >= ENDS)
		abort();
}

static void offer_rx(unsigned int id, uint32_t bytes)
{
	if (rx_out >> id & 1)
		return;
	rx_out |= 1u << id;
	desc(&rx, id, DRIVER_DATA + id * RX_BYTES, bytes, D_WRITE, 0);
	offer(&rx, (uint16_t)id);
}

/** drain_rx() - Check every packet and learn the ports of new connections. */
static void drain_rx(void)
{
	while (rx_seen != used_idx(&rx)) {
		uint32_t id = get32(&rx, DRIVER_USED + 4 + 8u * (rx_seen % SIZE));
		uint32_t len = used_len(&rx, rx_seen++);
		uint64_t h = DRIVER_DATA + id * RX_BYTES;

		if (id >= SIZE || len < HEADER || len > RX_BYTES || get32(&rx, h + 24) != len - HEADER ||
		    get32(&rx, h) != 2 || get32(&rx, h + 8) != 3 || get16(&rx, h + 28) != 1 ||
		    get16(&rx, h + 30) == 0 || get16(&rx, h + 30) > 7)
			abort();
		rx_out &= ~(1u << id);
		if (get16(&rx, h + 30) == 1 && connected < ENDS)
			ports[connected++] = get32(&rx, h + 16);
		offer_rx(id, RX_BYTES);
	}
}

static void guest(uint32_t src_port, uint32_t dst_port, uint16_t op, uint32_t flags, uint32_t alloc, uint32_t fwd,
		  uint32_t len, uint32_t lie, unsigned int end)
{
	uint64_t h = DRIVER_DATA;
	uint8_t *data = at(&tx, TX_DATA);

	put64(&tx, h, 3);
	put64(&tx, h + 8, 2);
	put32(&tx, h + 16, src_port);
	put32(&tx, h + 20, dst_port);
	put32(&tx, h + 24, len + lie);
	put16(&tx, h + 28, 1);
	put16(&tx, h + 30, op);
	put32(&tx, h + 32, flags);
	put32(&tx, h + 36, alloc);
	put32(&tx, h + 40, fwd);
	for (uint32_t i = 0; i < len; i++)
		data[i] = (uint8_t)(sent[end] + i);
	desc(&tx, 0, h, HEADER, len ? D_NEXT : 0, 1);
	desc(&tx, 1, TX_DATA, len, 0, 0);
	offer(&tx, 0);
	if (!dev->broken && dev->queues[1].ready)
		dev->ops->kick(dev, 1);
	asked = asked || (op == 1 && src_port == 1023 && dst_port == 1 && !dev->broken);
	/* What is sent before there is a connection is lost, as it should be. */
	if (op == 5 && (end ? ports[end] != 0 : asked))
		sent[end] = (uint8_t)(sent[end] + len);
}

static void set_up(void)
{
	driver_init(&rx, SIZE);
	driver_init(&tx, SIZE);
	rx_seen = 0;
	rx_out = 0;
	queue_setup(&dev->queues[0], &rx.mem, SIZE, DRIVER_DESC, DRIVER_AVAIL, DRIVER_USED, DRIVER_FEATURES);
	queue_setup(&dev->queues[1], &tx.mem, SIZE, DRIVER_DESC, DRIVER_AVAIL, DRIVER_USED, DRIVER_FEATURES);
	dev->active = true;
	dev->broken = false;
}

static void host_read(unsigned int end, size_t n)
{
	uint8_t buf[4096];
	ssize_t r = ends[end] < 0 ? -1 : recv(ends[end], buf, MIN(n, sizeof(buf)), MSG_DONTWAIT);

	for (ssize_t i = 0; i < r; i++)
		if (buf[i] != got[end]++)
			abort();
}

static void step(const uint8_t s[8])
{
	unsigned int end = s[1] % ENDS;
	uint32_t n = (uint32_t)s[2] | (uint32_t)s[3] << 8;
	uint32_t guest_port = end ? 2 : 1023, host_port = end ? ports[end] : 1;
	static uint8_t zeroes[65536];
	int pair[2];

	switch (s[0] % 10) {
	case 0: /* a likely packet */
		guest(guest_port, host_port, s[4] & 7, s[5] & 3, 65536, (uint32_t)s[6] << 8, s[4] % 8 == 5 ? n : 0, 0, end);
		break;
	case 1: /* much data */
		guest(guest_port, host_port, 5, 0, n, (uint32_t)s[6] << 8, MIN(n, TX_MAX - 1), 0, end);
		break;
	case 2: /* an unlikely packet */
		guest(s[2], s[3], s[4], s[5], s[6], s[7], 0, s[4] == 5 ? s[7] : 0, end);
		break;
	case 3:
		if (end && ends[end] < 0 && connected == end &&
		    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0) {
			ends[end] = pair[1];
			virtio_vsock_connect(dev, pair[0], 2, end, NULL);
		}
		break;
	case 4:
		if (ends[end] >= 0)
			(void)!send(ends[end], zeroes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	case 5:
		host_read(end, n);
		break;
	case 6:
		if (ends[end] >= 0)
			shutdown(ends[end], s[2] % 3);
		break;
	case 7:
		fd_close(&ends[end]);
		break;
	case 8:
		offer_rx(s[2] % SIZE, s[3] == 255 ? s[4] : RX_BYTES);
		if (!dev->broken && dev->queues[0].ready)
			dev->ops->kick(dev, 0);
		break;
	default:
		if (s[1] == 255 && s[2] == 255) {
			dev->ops->reset(dev);
			set_up();
		}
		loop_pump(loop, 1);
		break;
	}
	drain_rx();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	int pair[2];

	log_setup(LOG_ERROR, STDERR_FILENO, NULL);
	loop = loop_new(NULL);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	memset(sent, 0, sizeof(sent));
	memset(got, 0, sizeof(got));
	memset(ports, 0, sizeof(ports));
	for (unsigned int i = 0; i < ENDS; i++)
		ends[i] = -1;
	ends[0] = pair[1];
	connected = 1;
	asked = false;
	dev = virtio_vsock_new(loop, pair[0], on_failed, NULL, NULL);
	set_up();
	for (unsigned int i = 0; i < SIZE && n && i < (data[0] & 15u); i++)
		offer_rx(i, RX_BYTES);
	for (size_t i = 1; i + 8 <= n && i < 8 * 512; i += 8)
		step(data + i);
	for (unsigned int i = 0; i < ENDS; i++) {
		host_read(i, 4096);
		fd_close(&ends[i]);
	}
	loop_pump(loop, 1);
	dev->ops->destroy(dev);
	loop_free(loop);
	return 0;
}
