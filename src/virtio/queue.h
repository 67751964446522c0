/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Split virtqueue, device side. Set up once from private copies of what the driver wrote; later writes of the
 * driver to the configuration have no effect. Every field in guest memory is read once.
 * Source: virtio 1.2, 2.7.
 */
#ifndef MSB_VIRTIO_QUEUE_H
#define MSB_VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "virtio/memory.h"

#define QUEUE_SIZE_MAX 1024		 /* what QEMU offers on virtio-mmio, whatever the device says */
#define QUEUE_IOV_MAX 256		 /* descriptors in one chain, indirect ones included */
#define QUEUE_CHAIN_BYTES_MAX (8u << 20) /* unless the device says otherwise */

enum queue_result { QUEUE_OK, QUEUE_EMPTY, QUEUE_BROKEN };

struct queue {
	const struct guest_memory *mem; /* borrowed while ready */
	bool ready, broken;
	uint16_t size;			/* power of two, 1..QUEUE_SIZE_MAX */
	uint16_t next_avail, next_used; /* free-running */
	uint32_t chain_bytes_max;	/* each way; a device may change it before it pops */
	bool event_idx;			/* VIRTIO_F_EVENT_IDX negotiated */
	bool indirect;			/* VIRTIO_F_INDIRECT_DESC negotiated */
	uint16_t signalled_used;	/* used index at the last queue_should_notify() */
	bool signalled_valid;
	uint8_t *desc, *avail, *used; /* checked to lie within one region each */
};

/** One chain: readable parts first, then writable ones; borrows guest memory until queue_push(). */
struct queue_chain {
	uint16_t head;
	uint16_t read_count, write_count;
	uint32_t read_bytes, write_bytes;
	struct iovec iov[QUEUE_IOV_MAX]; /* read_count readable ones, then write_count writable ones */
};

/** queue_setup() - Validate and take over. Return: false when size, alignment or addresses break the rules. */
bool queue_setup(struct queue *q, const struct guest_memory *mem, uint16_t size, uint64_t desc, uint64_t avail,
		 uint64_t used, uint64_t driver_features);
void queue_reset(struct queue *q);
enum queue_result queue_pop_chain(struct queue *q, struct queue_chain *chain);
/** queue_push() - Give the chain back with `written` bytes written to its writable parts. */
void queue_push(struct queue *q, const struct queue_chain *chain, uint32_t written);
/** queue_unpop() - Put the chain just popped back (no room at the back end now). */
void queue_unpop(struct queue *q);
/** queue_should_notify() - Does the driver want an interrupt for what was pushed since the last one? With fences. */
bool queue_should_notify(struct queue *q);
/** queue_enable_kicks() - Ask for doorbells (or not). Return: true when chains are waiting already (look again). */
bool queue_enable_kicks(struct queue *q, bool on);

/** iov_slice() - The parts without the first `skip` bytes, `take` bytes at most. @to: room for count. Return: its
 * count. */
int iov_slice(const struct iovec *from, unsigned int count, size_t skip, size_t take, struct iovec *to);
/** iov_write() - Copy up to n bytes into the parts from offset. Return: bytes copied. */
size_t iov_write(const struct iovec *iov, unsigned int count, size_t offset, const void *from, size_t n);
/** chain_read() - Copy up to n bytes out of the readable parts from offset. Return: bytes copied. */
size_t chain_read(const struct queue_chain *chain, size_t offset, void *to, size_t n);
/** chain_write() - Copy up to n bytes into the writable parts from offset. Return: bytes copied. */
size_t chain_write(const struct queue_chain *chain, size_t offset, const void *from, size_t n);

#endif
