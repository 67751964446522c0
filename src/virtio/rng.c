/* SPDX-License-Identifier: Apache-2.0 */
/* Entropy device: fills every buffer the guest offers from getrandom(). Source: virtio 1.2, 5.4. */
#include <stdlib.h>
#include <sys/random.h>

#include "base/macros.h"
#include "virtio/device.h"

#define RNG_QUEUE_SIZE 8
#define RNG_CHAINS_PER_KICK 16
#define RNG_ROUNDS_PER_WAKE 4
#define RNG_BYTES_PER_CHAIN 256 /* the guest asks again; what getrandom() gives without short counts */

struct rng {
	struct virtio_device dev;
	struct queue_chain chain;
};

/** rng_kick() - Serve a bounded number of buffers per doorbell. */
static void rng_kick(struct virtio_device *dev, unsigned int index)
{
	struct rng *rng = (struct rng *)dev;
	struct queue *q = &dev->queues[index];
	unsigned int rounds = 0;

	do {
		if (rounds++ == RNG_ROUNDS_PER_WAKE && virtio_device_again(dev, index))
			return;
		for (int i = 0; i < RNG_CHAINS_PER_KICK; i++) {
			uint8_t bytes[RNG_BYTES_PER_CHAIN];
			enum queue_result r = queue_pop_chain(q, &rng->chain);
			ssize_t n;

			if (r == QUEUE_EMPTY)
				break;
			if (r == QUEUE_BROKEN) {
				dev->broken = true;
				return;
			}
			n = getrandom(bytes, MIN(sizeof(bytes), rng->chain.write_bytes), 0);
			n = n < 0 ? 0 : n;
			queue_push(q, &rng->chain, (uint32_t)chain_write(&rng->chain, 0, bytes, (size_t)n));
		}
		virtio_device_interrupt(dev, index);
	} while (queue_enable_kicks(q, true));
}

static void rng_nothing(struct virtio_device *dev)
{
	(void)dev;
}

static void rng_destroy(struct virtio_device *dev)
{
	virtio_device_fini(dev);
	free(dev);
}

static const struct virtio_ops rng_ops = {
	.activate = rng_nothing,
	.kick = rng_kick,
	.reset = rng_nothing,
	.destroy = rng_destroy,
};

struct virtio_device *virtio_rng_new(struct loop *loop, struct error *err)
{
	struct rng *rng = calloc(1, sizeof(*rng));

	if (!rng) {
		err_set(err, ERR_NO_MEMORY, 0, "rng device: out of memory");
		return NULL;
	}
	virtio_device_init(&rng->dev, &rng_ops, VIRTIO_ID_RNG, "rng", 1, RNG_QUEUE_SIZE, loop);
	return &rng->dev;
}
