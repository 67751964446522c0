/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The gateway of one sandbox: what its parts share. Only the files of src/net itself include this.
 *
 * Theory of operation. One thread, one loop. Frames of the guest come from link.c, packets are read by input.c and go
 * to icmp.c, udp.c or the stack of net/tcp; flow.c joins TCP connections with sockets of the host, publish.c those that
 * come from outside. Every handler of the loop is framed by gateway_enter() and gateway_leave(), which tell the time to
 * the TCP stack and let it do what is due. The guest may send anything; peers may, too. All tables have a fixed size.
 */
#ifndef MSB_NET_GATEWAY_H
#define MSB_NET_GATEWAY_H

#include <stdbool.h>
#include <stdint.h>

#include "net/config.h"
#include "net/control.h"
#include "net/dns/dns.h"
#include "net/fragment.h"
#include "net/link.h"
#include "net/local.h"
#include "net/packet.h"
#include "net/pcap.h"
#include "net/policy/policy.h"
#include "net/tcp/tcp.h"

#define GATEWAY_SOURCES_MAX 9216 /* connections, UDP sessions, DNS, ports */
#define TICK_NS 250000000LL	 /* between looks at what has grown old */
#define PUBLISHED_FLOWS_MAX 256	 /* TCP connections from outside at a time */
#define UDP_SESSIONS_MAX 256	 /* of the guest; as many peers from outside */
#define UDP_IDLE_NS 60000000000LL
#define ECHO_MAX 256
#define ECHO_LIFE_NS 5000000000LL

struct loop;
struct flows;
struct udp;
struct icmp;

/** Descriptors that the supervisor gave; -1: none. */
struct gateway_fds {
	int frames, icmp4, icmp6, netlink, pcap;
	int listen[GATEWAY_PORTS_MAX];
};

struct gateway {
	const struct gateway_config *config;
	struct loop *loop;
	struct link *link;
	struct policy *policy;
	struct policy_facts facts;
	struct dns *dns;
	struct tcp_stack *tcp;
	struct pcap *pcap; /* NULL: nobody asked for one */
	struct local local;
	int local_source;
	struct fragments *fragments;
	struct icmp *icmp;
	struct udp *udp;
	struct flows *flows;
	struct gateway_counters count;
	int64_t now; /* monotonic, of this turn */
	unsigned int depth;
	int timer;	  /* of the TCP stack */
	int64_t timer_at; /* when it fires; -1: not armed */
	int tick;
	bool ticking;
	void (*activity)(void *arg); /* traffic on a published port */
	void *activity_arg;
	uint32_t fragment_id;
	uint8_t out[PACKET_MAX + 1]; /* a datagram on its way to the guest */
};

/**
 * gateway_new() - Everything but confinement. Opens no file and starts nothing but timers.
 * @config: kept; @fds: taken, also on failure
 */
struct gateway *gateway_new(struct loop *loop, const struct gateway_config *config, struct gateway_fds *fds,
			    struct error *err);
void gateway_free(struct gateway *g);
/** gateway_count() - Counters as of now. */
void gateway_count(struct gateway *g, struct gateway_counters *out);

/** gateway_enter() - At the start of every handler; they may lie within each other. */
void gateway_enter(struct gateway *g);
/** gateway_leave() - At its end: what became due is done. */
void gateway_leave(struct gateway *g);
/** gateway_need_tick() - Something will grow old. */
void gateway_need_tick(struct gateway *g);

/** gateway_decide() - The policy on a flow; denials are counted. */
enum policy_verdict gateway_decide(struct gateway *g, const struct policy_flow *flow);
/** gateway_is_own() - Is it the gateway's address? */
bool gateway_is_own(const struct gateway *g, const struct ip *ip);
/** gateway_dial() - The address at which the host reaches what the guest calls that: its own loopback for the gateway.
 */
struct ip gateway_dial(const struct gateway *g, const struct ip *ip);
/** gateway_guest_ends() - Addresses between which published ports are reached. */
void gateway_guest_ends(const struct gateway *g, struct ip *us, struct ip *guest);

/* input.c: frames of the guest, packets to it */
/** input_frame() - A frame of the guest. @partial: the checksum of its transport is not made yet, and need not be. */
void input_frame(struct gateway *g, const uint8_t *frame, size_t n, bool partial);
/**
 * output_packet() - A datagram to the guest, in fragments where it must be.
 * @data: transport header and what follows; its checksum field (by protocol) is filled in here
 */
void output_packet(struct gateway *g, const struct packet_head *head, uint8_t *data, size_t len);
/** output_tcp() - tcp_ops.output */
bool output_tcp(void *arg, const struct tcp_out *out);

/* icmp.c */
struct icmp *icmp_new(struct gateway *g, int fd4, int fd6, struct error *err);
void icmp_free(struct icmp *icmp);
/** icmp_input() - An ICMP or ICMPv6 message of the guest. */
void icmp_input(struct gateway *g, const struct packet *p);
/** icmp_unreachable() - Nobody listens there: what the guest sent from one end to the other by UDP. */
void icmp_unreachable(struct gateway *g, const struct endpoint *guest, const struct endpoint *us);
/** icmp_too_big() - No more than mtu bytes pass on that path. */
void icmp_too_big(struct gateway *g, const struct endpoint *guest, const struct endpoint *us, uint32_t mtu);
/** icmp_expire() - Return: is anything left? */
bool icmp_expire(struct gateway *g);

/* udp.c */
struct udp *udp_new(struct gateway *g, struct gateway_fds *fds, struct error *err);
void udp_free(struct udp *udp);
void udp_input(struct gateway *g, const struct packet *p);
bool udp_expire(struct gateway *g);
uint32_t udp_sessions(const struct udp *udp);
/** udp_output() - A datagram to the guest. @data: 8 bytes for the header, then len bytes of payload */
void udp_output(struct gateway *g, const struct endpoint *us, const struct endpoint *guest, uint8_t *data, size_t len);

/* flow.c */
struct flows *flows_new(struct gateway *g, struct gateway_fds *fds, struct error *err);
void flows_free(struct flows *flows);
bool flows_expire(struct gateway *g);
extern const struct tcp_ops flow_ops; /* of the TCP stack; arg is the gateway */

#endif
