/* SPDX-License-Identifier: Apache-2.0 */
/**
 * A virtio device, apart from how it is plugged in. Devices are written against queues and guest memory; the
 * transport (mmio.c in our KVM monitor, vhost_user.c towards QEMU) negotiates, activates and delivers doorbells.
 *
 * Threads: each device belongs to one event loop (device->loop). Doorbells and back-end events arrive on it. The
 * mmio transport sets up and resets from a vCPU thread; so every entry into a device, from either side, holds
 * device->lock (transports and device source handlers take it; ops are called with it held).
 */
#ifndef MSB_VIRTIO_DEVICE_H
#define MSB_VIRTIO_DEVICE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/loop.h"
#include "disk/disk.h"
#include "virtio/memory.h"
#include "virtio/queue.h"

#define VIRTIO_QUEUES_MAX 4
#define VIRTIO_CONFIG_MAX 64 /* bytes of device-specific configuration we serve */

enum virtio_id {
	VIRTIO_ID_NET = 1,
	VIRTIO_ID_BLK = 2,
	VIRTIO_ID_CONSOLE = 3,
	VIRTIO_ID_RNG = 4,
	VIRTIO_ID_BALLOON = 5,
	VIRTIO_ID_VSOCK = 19,
};

#define VIRTIO_F_INDIRECT_DESC_BIT 28
#define VIRTIO_F_EVENT_IDX_BIT 29
#define VIRTIO_F_VERSION_1_BIT 32

struct virtio_device;

struct virtio_ops {
	/* Driver rang queue `index`, or the transport wants it looked at. */
	void (*kick)(struct virtio_device *dev, unsigned int index);
	/* Back to the initial state; drop connections and requests in flight. NULL: there are none. */
	void (*reset)(struct virtio_device *dev);
	/* Free everything, device included. No other entry is running. */
	void (*destroy)(struct virtio_device *dev);
};

struct virtio_device {
	const struct virtio_ops *ops;
	const char *name;	  /* for logs: "blk0" */
	enum virtio_id id;
	uint64_t features;	  /* offered, transport bits included */
	unsigned int queue_count;
	uint16_t queue_max;	  /* largest size offered for each queue */
	uint8_t config[VIRTIO_CONFIG_MAX]; /* read-only to the driver */
	uint32_t config_len;
	struct loop *loop;	  /* kept; the thread that runs this device */

	pthread_mutex_t lock;
	/* Set by the transport. */
	bool active;
	uint64_t driver_features;
	const struct guest_memory *mem;
	struct queue queues[VIRTIO_QUEUES_MAX];
	void (*interrupt)(void *transport, unsigned int queue); /* signal used buffers */
	void (*needs_reset)(void *transport); /* tell the driver that the device is broken; may be NULL */
	void *transport;
	bool broken; /* the driver broke the rules: no more processing until reset */
	unsigned int complaints; /* log lines about the driver, over the device's life */
	struct queue_chain chain; /* the one being served */
	/* Queues whose budget for one wake ran out: looked at again from again_timer (-1 until first needed). */
	uint32_t again;
	int again_timer;
};

/**
 * virtio_device_init() - Fill the common part: transport feature bits, lock, sizes.
 * @queue_max: largest size offered for a queue, a power of two up to QUEUE_SIZE_MAX. Linux takes all of it and pays in
 *             guest memory and boot time, so offer what the device makes use of. QEMU's transport offers QUEUE_SIZE_MAX
 *             whatever is said here.
 */
void virtio_device_init(struct virtio_device *dev, const struct virtio_ops *ops, enum virtio_id id, const char *name,
			unsigned int queue_count, uint16_t queue_max, struct loop *loop);
/** virtio_device_reset() - Forget what the driver asked for: ops->reset, queues, features, state. Lock held. */
void virtio_device_reset(struct virtio_device *dev);
/** virtio_device_interrupt() - Tell the driver about pushed chains if it wants to know. Lock held. */
void virtio_device_interrupt(struct virtio_device *dev, unsigned int queue);

/** virtio_device_break() - The driver broke the rules: stop until it resets the device, and tell it so. Lock held. */
void virtio_device_break(struct virtio_device *dev);

/**
 * virtio_device_serve() - From ops->kick: hand each chain of a queue to serve() as dev->chain and push it, until the
 * queue is empty or the budget of one wake is used up (then kick is called again). Interrupts are raised per round.
 * @serve: returns the bytes written to the chain, or -1 when it breaks the rules: the device is broken then
 */
void virtio_device_serve(struct virtio_device *dev, unsigned int queue, int64_t (*serve)(struct virtio_device *dev));

/**
 * virtio_device_again() - From ops->kick: the budget of this wake is used up, call kick(queue) again after other
 * sources of the loop had their turn. Return: false when that cannot be arranged (carry on instead). Lock held.
 */
bool virtio_device_again(struct virtio_device *dev, unsigned int queue);
/** virtio_device_fini() - Undo virtio_device_init(), for ops->destroy. */
void virtio_device_fini(struct virtio_device *dev);

/* The devices. Return: owned device (free by ops->destroy), or NULL. */

/** virtio_blk_new() - @disk: taken. Requests run synchronously on the loop's thread: give it a loop of its own. */
struct virtio_device *virtio_blk_new(struct loop *loop, const char *name, struct disk *disk, struct error *err);
/** virtio_blk_count() - Add what the guest has read and written so far. Any thread. */
void virtio_blk_count(const struct virtio_device *dev, uint64_t *read_bytes, uint64_t *written_bytes);
/** virtio_rng_new() - Entropy from getrandom(). */
struct virtio_device *virtio_rng_new(struct loop *loop, struct error *err);
/** virtio_balloon_new() - Gives back to the host what the guest reports as free. Guest memory must be anonymous. */
struct virtio_device *virtio_balloon_new(struct loop *loop, struct error *err);
/** virtio_console_new() - Output only: what the guest writes is appended to fd (borrowed), up to max_bytes. */
struct virtio_device *virtio_console_new(struct loop *loop, int fd, uint64_t max_bytes, struct error *err);

/**
 * virtio_vsock_new() - Stream sockets between the guest (CID 3) and descriptors of the host.
 * @control_fd:  taken: joined to the guest's first connection to (CID 2, port VSOCK_PORT_CONTROL) when its source
 *               port is VSOCK_PORT_AGENT_SOURCE; any other connection from the guest gets RST
 * @failed:      called when a connect was refused, or ended before an answer; the fd was closed. Lock held: must not
 * call the device. On the loop's thread, or on the one that resets the device
 */
struct virtio_device *virtio_vsock_new(struct loop *loop, int control_fd, void (*failed)(void *arg, uint32_t id),
				       void *arg, struct error *err);
/**
 * virtio_vsock_connect() - Connect fd (non-blocking SOCK_STREAM socket; taken, also on failure) to a guest port.
 * Loop thread only, lock not held. Half-close travels both ways; full credit flow control; bounded buffers.
 * Return: 0, ERR_LIMIT with too many connections, ERR_CLOSED when the driver broke the rules.
 * A refusal is reported by failed(id).
 */
int virtio_vsock_connect(struct virtio_device *dev, int fd, uint32_t guest_port, uint32_t id, struct error *err);

#define VIRTIO_NET_RECORD_MAX 65562 /* header, Ethernet, the longest IPv4 packet (65,535) and one byte to spare */

/**
 * virtio_net_new() - A network card. @fd: taken: SOCK_SEQPACKET, one record per frame: header of 12 bytes, frame
 * @gone: called once, when the other end of fd is closed. On the loop's thread, lock held: must not call the device
 */
struct virtio_device *virtio_net_new(struct loop *loop, int fd, const uint8_t mac[6], uint16_t mtu,
				     void (*gone)(void *arg), void *arg, struct error *err);

#endif
