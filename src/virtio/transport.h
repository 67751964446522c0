/* SPDX-License-Identifier: Apache-2.0 */
/** The two ways to plug a device in: registers of virtio-mmio in this process, or vhost-user towards QEMU. */
#ifndef MSB_VIRTIO_TRANSPORT_H
#define MSB_VIRTIO_TRANSPORT_H

#include "virtio/device.h"

struct virtio_mmio;

#define VIRTIO_MMIO_SIZE 4096
#define VIRTIO_MMIO_QUEUE_NOTIFY 0x050
#define VIRTIO_MMIO_INTERRUPT_ACK 0x064

/**
 * virtio_mmio_new() - Registers (version 2) for a device. Source: virtio 1.2, 4.2.2.
 * @dev: kept, not owned   @mem: kept   @irq_fd: borrowed eventfd, written to raise the device's interrupt (KVM irqfd)
 *
 * The registers live in a page (virtio_mmio_page) that KVM can map read-only into the guest, so that reads need no
 * exit: InterruptStatus reads as 1 (used buffer) for ever, which a driver answers by looking at its queues.
 */
struct virtio_mmio *virtio_mmio_new(struct virtio_device *dev, const struct guest_memory *mem, int irq_fd,
				    struct error *err);
void virtio_mmio_free(struct virtio_mmio *m);
/** virtio_mmio_page() - The 4 KiB page of register values, page-aligned, for a read-only memory slot. */
void *virtio_mmio_page(struct virtio_mmio *m);
/** virtio_mmio_kick_fd() - Borrowed eventfd for queue index: register as ioeventfd on QueueNotify with datamatch. */
int virtio_mmio_kick_fd(struct virtio_mmio *m, unsigned int queue);
/** virtio_mmio_ack_fd() - Borrowed eventfd to register as ioeventfd on InterruptACK; nobody needs to read it. */
int virtio_mmio_ack_fd(struct virtio_mmio *m);
/** virtio_mmio_read/write() - An access that did exit. Any thread. Odd sizes and offsets are ignored (read: zeroes). */
void virtio_mmio_read(struct virtio_mmio *m, uint64_t offset, void *data, unsigned int len);
void virtio_mmio_write(struct virtio_mmio *m, uint64_t offset, const void *data, unsigned int len);

struct vhost_user;

/**
 * vhost_user_new() - Serve one device to QEMU on a connected unix stream socket, on the device's loop.
 * @sock: taken   @closed: called once on the device's thread when QEMU hung up or broke the protocol
 * Owns the guest memory mappings it is told of. Source: QEMU docs/interop/vhost-user.rst.
 */
struct vhost_user *vhost_user_new(struct virtio_device *dev, int sock, void (*closed)(void *arg), void *arg,
				  struct error *err);
void vhost_user_free(struct vhost_user *v);

#endif
