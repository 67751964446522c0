/* SPDX-License-Identifier: Apache-2.0 */
/**
 * What is asked of a supervisor over its control socket, besides sessions. One frame asks, one answers; the frames are
 * those of frame.h, the bodies CBOR maps as in message.h: newer peers may add keys.
 */
#ifndef MSB_PROTO_CONTROL_H
#define MSB_PROTO_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

enum control_frame {
	FRAME_CTL_STOP = 40,	     /* client -> supervisor: struct ctl_stop; answered when the stop has begun */
	FRAME_CTL_OK = 41,	     /* supervisor -> client: empty */
	FRAME_CTL_TOUCH = 42,	     /* client -> supervisor: empty: it is in use */
	FRAME_CTL_STATUS = 43,	     /* client -> supervisor: empty */
	FRAME_CTL_STATUS_REPLY = 44, /* supervisor -> client: struct ctl_status */
};

struct ctl_stop {
	uint64_t grace_ms; /* 0: at once, by force */
};

/** Counters are since the boot; what is not known is UINT64_MAX. */
struct ctl_status {
	uint64_t uptime_ns, cpu_ns;		      /* cpu: of all virtual CPUs */
	uint64_t sessions, attached;		      /* commands that run; those with somebody watching */
	uint64_t resident_bytes;		      /* of the host's memory */
	uint64_t guest_total_bytes, guest_free_bytes; /* memory as the guest sees it */
	uint64_t disk_read_bytes, disk_written_bytes;
	uint64_t upper_total_bytes, upper_free_bytes; /* of the writable disk, as the guest sees it */
	uint64_t oom_kills;
	uint64_t processes;
	uint64_t net_rx_bytes, net_tx_bytes; /* what the guest received and sent */
};

bool ctl_encode_stop(struct buf *out, const struct ctl_stop *m);
bool ctl_decode_stop(const uint8_t *p, size_t n, struct ctl_stop *m);
bool ctl_encode_status(struct buf *out, const struct ctl_status *m);
bool ctl_decode_status(const uint8_t *p, size_t n, struct ctl_status *m);

#endif
