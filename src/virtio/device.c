/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/device.h"

#include <string.h>

void virtio_device_init(struct virtio_device *dev, const struct virtio_ops *ops, enum virtio_id id, const char *name,
			unsigned int queue_count, struct loop *loop)
{
	memset(dev, 0, sizeof(*dev));
	dev->ops = ops;
	dev->id = id;
	dev->name = name;
	dev->queue_count = queue_count;
	dev->queue_max = QUEUE_SIZE_MAX;
	dev->loop = loop;
	dev->features = 1ULL << VIRTIO_F_VERSION_1_BIT | 1ULL << VIRTIO_F_EVENT_IDX_BIT |
			1ULL << VIRTIO_F_INDIRECT_DESC_BIT;
	pthread_mutex_init(&dev->lock, NULL);
}

void virtio_device_interrupt(struct virtio_device *dev, unsigned int queue)
{
	if (dev->interrupt && queue_should_notify(&dev->queues[queue]))
		dev->interrupt(dev->transport, queue);
}
