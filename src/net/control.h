/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The control socket of msb-gateway: SOCK_SEQPACKET on descriptor GATEWAY_CONTROL_FD, one struct gateway_message a
 * record, both ends of the same build. The supervisor sends GATEWAY_CONFIG, then any GATEWAY_GIVE, then GATEWAY_GO;
 * the gateway confines itself and answers GATEWAY_READY, or GATEWAY_FAILED and ends. Afterwards GATEWAY_COUNT is
 * answered by GATEWAY_COUNTED, and GATEWAY_ACTIVITY comes unasked. End of file ends the gateway.
 */
#ifndef MSB_NET_CONTROL_H
#define MSB_NET_CONTROL_H

#include <stdint.h>

#define GATEWAY_CONTROL_FD 3
#define GATEWAY_TEXT_MAX 480

enum gateway_kind {
	GATEWAY_CONFIG = 1, /* supervisor: one descriptor, a memfd with the map of net/config.h */
	GATEWAY_GIVE,	    /* supervisor: one descriptor; what says which, index which of its kind */
	GATEWAY_GO,	    /* supervisor: all is given */
	GATEWAY_COUNT,	    /* supervisor: asks for the counters */
	GATEWAY_READY,	    /* gateway: serves from now on; text: what was refused on the way, may be empty */
	GATEWAY_FAILED,	    /* gateway: text says why; it ends */
	GATEWAY_COUNTED,    /* gateway: counters */
	GATEWAY_ACTIVITY,   /* gateway: traffic on a published port; at most one a second */
	GATEWAY_KIND_END
};

/** What a GATEWAY_GIVE hands over. All non-blocking sockets or files, close-on-exec. */
enum gateway_what {
	GATEWAY_FRAMES = 1, /* SOCK_SEQPACKET pair to the monitor, or a TAP with IFF_NO_PI | IFF_VNET_HDR: required */
	GATEWAY_ICMP4,	    /* ping socket or raw ICMP socket, IPv4; without: the guest's pings get no answer */
	GATEWAY_ICMP6,	    /* the same for ICMPv6 */
	GATEWAY_NETLINK, /* NETLINK_ROUTE, bound to RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR: addresses of this host */
	GATEWAY_PCAP,	 /* file for a pcapng capture */
	GATEWAY_LISTEN,	 /* socket of published port `index` of the configuration: TCP listens, UDP is bound */
	GATEWAY_WHAT_END
};

struct gateway_counters {
	uint64_t rx_bytes, tx_bytes; /* as the guest sees it: received, sent; frames without the virtio header */
	uint64_t rx_frames, tx_frames;
	uint64_t dropped;     /* frames of the guest that made no sense, or that nothing could take */
	uint64_t denied;      /* flows and questions that the policy refused */
	uint64_t connections; /* TCP connections that are open now */
	uint64_t connections_total;
	uint64_t udp_sessions; /* open now */
};

struct gateway_message {
	uint32_t kind;	/* enum gateway_kind */
	uint32_t what;	/* GATEWAY_GIVE: enum gateway_what */
	uint32_t index; /* GATEWAY_GIVE of GATEWAY_LISTEN: place in gateway_config.ports */
	uint32_t pad;
	union {
		char text[GATEWAY_TEXT_MAX]; /* READY, FAILED: ends with NUL */
		struct gateway_counters counters;
	};
};

#endif
