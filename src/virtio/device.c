/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/device.h"

#include <string.h>

void virtio_device_init(struct virtio_device *dev, const struct virtio_ops *ops, enum virtio_id id, const char *name,
			unsigned int queue_count, uint16_t queue_max, struct loop *loop)
{
	memset(dev, 0, sizeof(*dev));
	dev->ops = ops;
	dev->id = id;
	dev->name = name;
	dev->queue_count = queue_count;
	dev->queue_max = queue_max;
	dev->loop = loop;
	dev->again_timer = -1;
	dev->features = 1ULL << VIRTIO_F_VERSION_1_BIT | 1ULL << VIRTIO_F_EVENT_IDX_BIT |
			1ULL << VIRTIO_F_INDIRECT_DESC_BIT;
	pthread_mutex_init(&dev->lock, NULL);
}

void virtio_device_interrupt(struct virtio_device *dev, unsigned int queue)
{
	if (dev->interrupt && queue_should_notify(&dev->queues[queue]))
		dev->interrupt(dev->transport, queue);
}

/** on_again() - Loop thread: go on where a budget ended. */
static void on_again(void *arg, uint32_t events)
{
	struct virtio_device *dev = arg;
	uint32_t again;

	(void)events;
	pthread_mutex_lock(&dev->lock);
	again = dev->again;
	dev->again = 0;
	for (unsigned int i = 0; i < dev->queue_count; i++)
		if ((again >> i & 1) && dev->queues[i].ready && !dev->broken)
			dev->ops->kick(dev, i);
	pthread_mutex_unlock(&dev->lock);
}

bool virtio_device_again(struct virtio_device *dev, unsigned int queue)
{
	if (dev->again_timer < 0)
		dev->again_timer = loop_timer(dev->loop, on_again, dev, NULL);
	if (dev->again_timer < 0)
		return false;
	dev->again |= 1u << queue;
	loop_timer_set(dev->loop, dev->again_timer, 0);
	return true;
}

void virtio_device_fini(struct virtio_device *dev)
{
	loop_remove(dev->loop, &dev->again_timer);
	pthread_mutex_destroy(&dev->lock);
}
