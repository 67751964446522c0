/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Frames between gateway and guest over one descriptor: a SOCK_SEQPACKET pair, or a TAP. A record is a virtio_net_hdr
 * of 12 bytes (virtio 1.2, 5.1.6) and an Ethernet frame; one record is at most LINK_RECORD_MAX bytes.
 *
 * Towards the guest a full socket says "no more" (link_send(): false) and link_ops.ready() says when it goes on. What
 * nobody would send again (answers of UDP, ICMP, ARP) waits in a queue of LINK_QUEUE_MAX bytes; what does not fit is
 * lost, as on any wire.
 *
 * Rates delay and lose nothing: while a bucket is empty the guest's frames stay in the descriptor, and link_send() says
 * "no more" as for a full one.
 */
#ifndef MSB_NET_LINK_H
#define MSB_NET_LINK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/error.h"

#define LINK_HEADER 12
#define LINK_RECORD_MAX 65562 /* 12 + 14 + 65,536 */
#define LINK_QUEUE_MAX 524288
#define LINK_IOV_MAX 8

struct loop;
struct rates;

/** The fields of virtio_net_hdr that matter. */
struct link_offload {
	uint16_t gso_size; /* 0: one segment */
	bool v6;
	uint16_t header_len;  /* Ethernet to TCP, all headers */
	uint16_t csum_start;  /* from the Ethernet header; 0: the frame is whole as it is */
	uint16_t csum_offset; /* of the field, from csum_start */
};

struct link_ops {
	/** A frame from the guest; partial: its checksum is the pseudo-header's. Valid during the call. */
	void (*frame)(void *arg, const uint8_t *frame, size_t len, bool partial);
	/** Around the frames of one wake. */
	void (*begin)(void *arg);
	void (*end)(void *arg);
	/** link_send() takes frames again. Within begin and end. */
	void (*ready)(void *arg);
	/** The other end is gone. */
	void (*gone)(void *arg);
};

struct link;

/** link_new() - @fd: non-blocking, taken. @rates: copied. Return: owned, or NULL. */
struct link *link_new(struct loop *loop, int fd, const struct rates *rates, const struct link_ops *ops, void *arg,
		      struct error *err);
void link_free(struct link *link);

/**
 * link_send() - A frame to the guest. @iov: iov[0] begins with LINK_HEADER bytes, which are filled in here
 * Return: false: nothing was taken, wait for ready().
 */
bool link_send(struct link *link, struct iovec *iov, int count, const struct link_offload *offload);
/** link_post() - The same for what will not be sent again: queued while the link is full. Return: false: lost. */
bool link_post(struct link *link, struct iovec *iov, int count);

#endif
