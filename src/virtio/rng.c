/* SPDX-License-Identifier: Apache-2.0 */
/* Entropy device: fills every buffer the guest offers from getrandom(). Source: virtio 1.2, 5.4. */
#include <stdlib.h>
#include <sys/random.h>

#include "base/macros.h"
#include "virtio/device.h"

#define RNG_QUEUE_SIZE 8
#define RNG_BYTES_PER_CHAIN 256 /* the guest asks again; what getrandom() gives without short counts */

/** fill() - One buffer. */
static int64_t fill(struct virtio_device *dev)
{
	uint8_t bytes[RNG_BYTES_PER_CHAIN];
	ssize_t n = getrandom(bytes, MIN(sizeof(bytes), dev->chain.write_bytes), 0);

	return (int64_t)chain_write(&dev->chain, 0, bytes, (size_t)MAX(n, 0));
}

/** rng_kick() - Serve what the guest offers. */
static void rng_kick(struct virtio_device *dev, unsigned int index)
{
	virtio_device_serve(dev, index, fill);
}

static void rng_destroy(struct virtio_device *dev)
{
	virtio_device_fini(dev);
	free(dev);
}

static const struct virtio_ops rng_ops = {
	.kick = rng_kick,
	.destroy = rng_destroy,
};

struct virtio_device *virtio_rng_new(struct loop *loop, struct error *err)
{
	struct virtio_device *dev = calloc(1, sizeof(*dev));

	if (!dev) {
		err_set(err, ERR_NO_MEMORY, 0, "rng device: out of memory");
		return NULL;
	}
	virtio_device_init(dev, &rng_ops, VIRTIO_ID_RNG, "rng", 1, RNG_QUEUE_SIZE, loop);
	return dev;
}
