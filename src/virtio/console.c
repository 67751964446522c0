/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Console, output only, one port, no control queue: what the guest writes on port 0 is appended to a file until
 * max_bytes were written; the rest is dropped, so a guest cannot fill the host's disk. Buffers the guest offers for
 * input are kept by it for ever: nothing is ever typed. Source: virtio 1.2, 5.3.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/macros.h"
#include "virtio/device.h"

#define CONSOLE_RX 0
#define CONSOLE_TX 1
#define CONSOLE_QUEUES 2
#define CONSOLE_QUEUE_SIZE 16 /* the driver fills the receive queue, which we never use, with pages */

struct console {
	struct virtio_device dev;
	int fd;		   /* borrowed */
	uint64_t left;	   /* bytes that may still be written */
	bool failed;	   /* a write failed: said once, output dropped from then on */
	uint8_t bounce[4096]; /* guest memory is copied before it is written: one write, no change under way */
};

/** emit() - Append bytes to the file within the limit; a full or broken file drops them. */
static void emit(struct console *con, const uint8_t *p, size_t n)
{
	n = (size_t)MIN((uint64_t)n, con->left);
	while (n && !con->failed) {
		ssize_t r = write(con->fd, p, n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 && errno == EAGAIN)
			return; /* a pipe nobody empties must not stop the guest */
		if (r < 0) {
			con->failed = true;
			log_warn(LOG_VIRTIO, "%s: write: %s; output is dropped", con->dev.name, strerror(errno));
			return;
		}
		p += r;
		n -= (size_t)r;
		con->left -= (uint64_t)r;
	}
}

/** take() - One buffer of output. */
static int64_t take(struct virtio_device *dev)
{
	struct console *con = (struct console *)dev;

	for (size_t at = 0; at < dev->chain.read_bytes && con->left && !con->failed;) {
		size_t n = chain_read(&dev->chain, at, con->bounce, sizeof(con->bounce));

		emit(con, con->bounce, n);
		at += n;
	}
	return 0;
}

/** console_kick() - Take what the guest printed. */
static void console_kick(struct virtio_device *dev, unsigned int index)
{
	if (index == CONSOLE_TX)
		virtio_device_serve(dev, index, take);
}

static void console_destroy(struct virtio_device *dev)
{
	virtio_device_fini(dev);
	free(dev);
}

static const struct virtio_ops console_ops = {
	.kick = console_kick,
	.destroy = console_destroy,
};

struct virtio_device *virtio_console_new(struct loop *loop, int fd, uint64_t max_bytes, struct error *err)
{
	struct console *con = calloc(1, sizeof(*con));

	_Static_assert(CONSOLE_RX == 0 && CONSOLE_QUEUES <= VIRTIO_QUEUES_MAX, "receive queue first (5.3.2)");
	if (!con) {
		err_set(err, ERR_NO_MEMORY, 0, "console device: out of memory");
		return NULL;
	}
	virtio_device_init(&con->dev, &console_ops, VIRTIO_ID_CONSOLE, "console", CONSOLE_QUEUES, CONSOLE_QUEUE_SIZE,
			   loop);
	con->fd = fd;
	con->left = max_bytes;
	/* cols, rows, max_nr_ports, emerg_wr: all without meaning as their features are not offered. */
	con->dev.config_len = 12;
	return &con->dev;
}
