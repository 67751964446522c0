/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/device.h"

#include <string.h>

#include "base/log.h"

#define ROUNDS_PER_WAKE 4 /* times a whole queue; then resets and the loop's other sources have their turn */
#define COMPLAINTS_MAX 8  /* a guest that breaks and resets in a loop must not fill the log */

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

void virtio_device_reset(struct virtio_device *dev)
{
	dev->active = false;
	if (dev->ops->reset)
		dev->ops->reset(dev);
	for (unsigned int i = 0; i < VIRTIO_QUEUES_MAX; i++)
		queue_reset(&dev->queues[i]);
	dev->driver_features = 0;
	dev->broken = false;
	dev->again = 0;
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

void virtio_device_break(struct virtio_device *dev)
{
	if (dev->broken)
		return;
	dev->broken = true;
	if (dev->complaints++ < COMPLAINTS_MAX)
		log_warn(LOG_VIRTIO, "%s: the guest's driver broke the rules; device stopped until it is reset",
			 dev->name);
	if (dev->needs_reset)
		dev->needs_reset(dev->transport);
}

void virtio_device_serve(struct virtio_device *dev, unsigned int queue, int64_t (*serve)(struct virtio_device *dev))
{
	struct queue *q = &dev->queues[queue];
	unsigned int rounds = 0;

	do {
		if (rounds++ == ROUNDS_PER_WAKE && virtio_device_again(dev, queue))
			return;
		queue_enable_kicks(q, false);
		for (unsigned int i = 0; i < q->size; i++) {
			enum queue_result r = queue_pop_chain(q, &dev->chain);
			int64_t written;

			if (r == QUEUE_EMPTY)
				break;
			written = r == QUEUE_OK ? serve(dev) : -1;
			if (written < 0) {
				virtio_device_break(dev);
				return;
			}
			queue_push(q, &dev->chain, (uint32_t)written);
		}
		virtio_device_interrupt(dev, queue);
	} while (queue_enable_kicks(q, true));
}

void virtio_device_fini(struct virtio_device *dev)
{
	loop_remove(dev->loop, &dev->again_timer);
	pthread_mutex_destroy(&dev->lock);
}
