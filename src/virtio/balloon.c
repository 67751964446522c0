/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory balloon: pages the guest does not use go back to the host. Linux reports what has become free by itself (free
 * page reporting); we never ask for a balloon of a certain size, so inflate and deflate are served but hardly used.
 *
 * What an attacker controls: which of the guest's pages lose their contents, rings of devices and pages they work on
 * included. They read as zeroes from then on, which hurts the guest alone. Never touched is what is not guest memory:
 * ranges come from memory_ptr() and are narrowed to whole pages. Limits: a chain reports at most QUEUE_IOV_MAX ranges
 * and REPORT_BYTES_MAX; an inflate chain gives back its first PFNS_MAX pages (Linux sends no more), the others stay.
 * A wake serves at most a few queues full; its length delays the guest's other small devices and nothing else.
 * Source: virtio 1.2, 5.5; queues are numbered without those of features that are not offered, as Linux does it.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "base/macros.h"
#include "virtio/device.h"

#define F_DEFLATE_ON_OOM_BIT 2
#define F_REPORTING_BIT 5
#define BALLOON_QUEUE_SIZE 32	    /* Linux reports 32 ranges in a chain and refuses a smaller queue */
#define BALLOON_CONFIG_LEN 8	    /* the size we ask for, the size it has: zero */
#define REPORT_BYTES_MAX MIB(128) /* 32 ranges of 4 MiB, the largest that Linux's allocator keeps */
#define PFNS_MAX 256
#define PAGE_SHIFT 12 /* of a PFN, and of the host */
#define PAGE_BYTES ((uintptr_t)1 << PAGE_SHIFT)

enum balloon_queue { INFLATE, DEFLATE, REPORTING, QUEUE_COUNT };

/** give_back() - Whole pages of a piece of guest memory to the host. Only of anonymous memory, as KVM's is. */
static void give_back(struct virtio_device *dev, void *p, size_t len)
{
	uintptr_t from = ((uintptr_t)p + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	uintptr_t to = ((uintptr_t)p + len) & ~(PAGE_BYTES - 1);

	/* Locked pages, for one, cannot be given back: the guest never knows. */
	if (from < to && madvise((void *)from, to - from, MADV_DONTNEED) < 0 && dev->complaints++ == 0)
		log_warn(LOG_VIRTIO, "%s: the host does not take memory back: %s", dev->name, strerror(errno));
}

/** report() - A chain of free ranges. Nothing is written to them. */
static int64_t report(struct virtio_device *dev)
{
	const struct queue_chain *c = &dev->chain;

	for (unsigned int i = c->read_count; i < c->read_count + c->write_count; i++)
		give_back(dev, c->iov[i].iov_base, c->iov[i].iov_len);
	return 0;
}

/** inflate() - A list of page numbers. */
static int64_t inflate(struct virtio_device *dev)
{
	uint32_t pfns[PFNS_MAX];
	size_t count = chain_read(&dev->chain, 0, pfns, sizeof(pfns)) / sizeof(*pfns);

	for (size_t i = 0; i < count; i++) {
		void *p = memory_ptr(dev->mem, (uint64_t)le32toh(pfns[i]) << PAGE_SHIFT, PAGE_BYTES);

		if (p)
			give_back(dev, p, PAGE_BYTES);
	}
	return 0;
}

/** deflate() - The guest takes pages back: they are there when touched. */
static int64_t deflate(struct virtio_device *dev)
{
	(void)dev;
	return 0;
}

/** balloon_kick() - Serve what the guest offers. */
static void balloon_kick(struct virtio_device *dev, unsigned int index)
{
	static int64_t (*const serve[QUEUE_COUNT])(struct virtio_device *) = {
		[INFLATE] = inflate, [DEFLATE] = deflate, [REPORTING] = report
	};

	if (index == REPORTING)
		dev->queues[index].chain_bytes_max = REPORT_BYTES_MAX;
	virtio_device_serve(dev, index, serve[index]);
}

static void balloon_destroy(struct virtio_device *dev)
{
	virtio_device_fini(dev);
	free(dev);
}

static const struct virtio_ops balloon_ops = {
	.kick = balloon_kick,
	.destroy = balloon_destroy,
};

struct virtio_device *virtio_balloon_new(struct loop *loop, struct error *err)
{
	struct virtio_device *dev = calloc(1, sizeof(*dev));

	if (!dev) {
		err_set(err, ERR_NO_MEMORY, 0, "balloon: out of memory");
		return NULL;
	}
	virtio_device_init(dev, &balloon_ops, VIRTIO_ID_BALLOON, "balloon", QUEUE_COUNT, BALLOON_QUEUE_SIZE, loop);
	dev->features |= 1ULL << F_DEFLATE_ON_OOM_BIT | 1ULL << F_REPORTING_BIT;
	dev->config_len = BALLOON_CONFIG_LEN;
	return dev;
}
