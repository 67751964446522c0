/* SPDX-License-Identifier: Apache-2.0 */
// sources: src/net/address.c src/net/checksum.c src/net/flow.c src/net/flow_dns.c src/net/fragment.c
// sources: src/net/gateway.c src/net/icmp.c src/net/input.c src/net/ip.c src/net/link.c src/net/local.c
// sources: src/net/packet.c src/net/pcap.c src/net/publish.c src/net/sni.c src/net/udp.c src/net/hash.c src/net/rate.c
// sources: src/net/tcp/*.c src/net/dns/*.c src/net/policy/*.c src/base/*.c
/*
 * Frames of a hostile guest, through the whole gateway. Input: for each frame a byte of flags, two of length, the frame
 * without its addresses of Ethernet. What the gateway answers must be right by its own rules: whole headers, good sums.
 * The policy allows nothing, so no socket of the host is ever opened.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/reader.h"
#include "net/checksum.h"
#include "net/gateway.h"

#define INPUTS 1000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct gateway_config config = {
	.guest_mac = { 2, 0, 0, 0, 0, 2 },
	.gateway_mac = { 2, 0, 0, 0, 0, 1 },
	.have4 = true,
	.have6 = true,
	.mtu = 1500,
	.max_connections = 16,
	.egress_default = "deny",
	.ingress_default = "deny",
};

static void no_activity(void *arg)
{
	(void)arg;
}

/** answer() - A frame of the gateway's. */
static void answer(const uint8_t *frame, size_t n, bool partial)
{
	struct packet p;
	uint64_t sum;

	if (n < ETH_HEADER || memcmp(frame, config.guest_mac, 6) != 0 || memcmp(frame + 6, config.gateway_mac, 6) != 0)
		abort();
	if (get16(frame + 12) == ETHER_ARP)
		return;
	if (!packet_read(frame + ETH_HEADER, n - ETH_HEADER, get16(frame + 12) == ETHER_IP6, &p))
		abort();
	if (p.fragment || p.proto == PROTO_TCP || partial)
		return;
	sum = p.proto == PROTO_ICMP ? 0 : checksum_pseudo(&p.src, &p.dst, p.proto, p.len, p.v6);
	if (checksum_fold(checksum_add(sum, p.data, p.len)) != 0xffff)
		abort();
}

/** renew() - A gateway that has seen little yet. To make one takes much longer than an input does. */
static struct gateway *renew(int *guest)
{
	static struct gateway *g;
	static struct loop *loop;
	static int end = -1, inputs;
	struct gateway_fds fds = { .icmp4 = -1, .icmp6 = -1, .netlink = -1, .pcap = -1 };
	int pair[2];

	*guest = end;
	if (g && ++inputs % INPUTS)
		return g;
	gateway_free(g);
	loop_free(loop);
	close(end);
	ip_parse("172.16.0.2", &config.guest4);
	ip_parse("172.16.0.1", &config.gateway4);
	ip_parse("fd42::2", &config.guest6);
	ip_parse("fd42::1", &config.gateway6);
	loop = loop_new_sized(64, NULL);
	if (!loop || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) < 0)
		abort();
	fds.frames = pair[0];
	*guest = end = pair[1];
	g = gateway_new(loop, &config, &fds, NULL);
	if (!g)
		abort();
	g->activity = no_activity;
	return g;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static uint8_t frame[LINK_RECORD_MAX], out[LINK_RECORD_MAX];
	struct reader r = reader_init(data, n);
	int guest;
	struct gateway *g = renew(&guest);

	while (r.left >= 3) {
		uint8_t flags = reader_u8(&r);
		size_t len = reader_u16_be(&r) % 4096;
		ssize_t got;

		len = len < r.left ? len : r.left;
		memcpy(frame, config.gateway_mac, 6);
		memcpy(frame + 6, config.guest_mac, 6);
		reader_copy(&r, frame + 12, len);
		gateway_enter(g);
		input_frame(g, frame, 12 + len, flags & 1);
		gateway_leave(g);
		while ((got = recv(guest, out, sizeof(out), 0)) > 0)
			answer(out + LINK_HEADER, (size_t)got - LINK_HEADER, out[0]);
	}
	return 0;
}
