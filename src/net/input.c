/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of the guest: who they are for, ARP and neighbour discovery (the gateway's addresses only; everything else of
 * the guest's configuration is static), and packets to the transports. And the way back.
 *
 * Source: RFC 826, 4861 (4.3, 4.4, 7.2.3, 7.2.4), 4862 5.4.
 */
#include <string.h>

#include "net/checksum.h"
#include "net/gateway.h"

#define ARP_LEN 28
#define NS_LEN 24 /* a neighbour solicitation without options */
#define NA_LEN 32 /* an advertisement with the link-layer address */

enum neighbour { ND_SOLICITATION = 135, ND_ADVERTISEMENT = 136 };

/** put_ethernet() - A header to the guest. */
static void put_ethernet(const struct gateway *g, uint8_t *to, uint16_t type)
{
	memcpy(to, g->config->guest_mac, 6);
	memcpy(to + 6, g->config->gateway_mac, 6);
	set16(to + 12, type);
}

/** sent() - A frame has gone to the guest. @len: from Ethernet on */
static void sent(struct gateway *g, const struct iovec *iov, int count, size_t len)
{
	g->count.rx_frames++;
	g->count.rx_bytes += len;
	if (g->pcap) {
		pcap_add(g->pcap, iov, count, LINK_HEADER, false);
		gateway_need_tick(g);
	}
}

/** post() - Headers (LINK_HEADER, Ethernet and what the caller put behind) and data. */
static void post(struct gateway *g, uint8_t *head, size_t head_len, void *data, size_t len)
{
	struct iovec iov[2] = { { head, head_len }, { data, len } };

	if (!link_post(g->link, iov, len ? 2 : 1)) {
		g->count.dropped++;
		return;
	}
	sent(g, iov, len ? 2 : 1, head_len - LINK_HEADER + len);
}

/** input_arp() - Who has the gateway's address? */
static bool input_arp(struct gateway *g, const uint8_t *p, size_t n)
{
	static const uint8_t request[8] = { 0, 1, 8, 0, 6, 4, 0, 1 };
	const uint8_t *gateway = g->config->gateway4.b + 12;
	uint8_t out[LINK_HEADER + ETH_HEADER + ARP_LEN], *a = out + LINK_HEADER + ETH_HEADER;

	if (n < ARP_LEN || memcmp(p, request, sizeof(request)) != 0 || memcmp(p + 24, gateway, 4) != 0)
		return false;
	put_ethernet(g, out + LINK_HEADER, ETHER_ARP);
	memcpy(a, request, 7);
	a[7] = 2; /* reply */
	memcpy(a + 8, g->config->gateway_mac, 6);
	memcpy(a + 14, gateway, 4);
	memcpy(a + 18, p + 8, 10); /* who asked */
	post(g, out, sizeof(out), NULL, 0);
	return true;
}

/** input_neighbour() - A neighbour solicitation for the gateway, also one of a guest that tries that address itself. */
static bool input_neighbour(struct gateway *g, const struct packet *p)
{
	static const struct ip unspecified, all_nodes = { { 0xff, 0x02, [15] = 1 } };
	bool probe = ip_equal(&p->src, &unspecified);
	struct packet_head head = { .v6 = true,
				    .src = g->config->gateway6,
				    .dst = probe ? all_nodes : p->src,
				    .proto = PROTO_ICMP6,
				    .hops = 255 };
	uint8_t answer[NA_LEN] = { ND_ADVERTISEMENT, [4] = probe ? 0xa0 : 0xe0 }; /* router, solicited, override */

	if (p->hops != 255 || p->len < NS_LEN || p->data[1] != 0 || memcmp(p->data + 8, g->config->gateway6.b, 16) != 0)
		return false;
	memcpy(answer + 8, g->config->gateway6.b, 16);
	answer[24] = 2; /* target link-layer address, 8 bytes */
	answer[25] = 1;
	memcpy(answer + 26, g->config->gateway_mac, 6);
	output_packet(g, &head, answer, sizeof(answer));
	return true;
}

/** verified() - The checksum of a transport with a pseudo-header. */
static bool verified(const struct packet *p)
{
	uint64_t sum = checksum_pseudo(&p->src, &p->dst, p->proto, p->len, p->v6);

	return checksum_fold(checksum_add(sum, p->data, p->len)) == 0xffff;
}

/** input_tcp() - A segment. */
static bool input_tcp(struct gateway *g, const struct packet *p, bool partial)
{
	struct tcp_pair pair;

	if (p->len < 20 || (!partial && !verified(p)))
		return false;
	pair.guest = (struct endpoint){ p->src, get16(p->data) };
	pair.us = (struct endpoint){ p->dst, get16(p->data + 2) };
	tcp_input(g->tcp, &pair, p->data, p->len);
	return true;
}

/** input_packet() - From the IP header on. Return: false: dropped. */
static bool input_packet(struct gateway *g, const uint8_t *data, size_t n, bool v6, bool partial)
{
	struct packet p;
	bool multicast;

	if (!packet_read(data, n, v6, &p))
		return false;
	multicast = v6 ? p.dst.b[0] == 0xff : p.dst.b[12] >> 4 == 14;
	if (v6 && p.proto == PROTO_ICMP6 && !p.fragment && p.len >= 8 && p.data[0] >= 133 && p.data[0] <= 137)
		return p.data[0] == ND_SOLICITATION && verified(&p) && input_neighbour(g, &p);
	/* The guest has one address of each family: others are not its own, and nobody could answer them. */
	if (!ip_equal(&p.src, v6 ? &g->config->guest6 : &g->config->guest4))
		return false;
	if (p.fragment) {
		gateway_need_tick(g);
		if (!fragments_add(g->fragments, &p, g->now))
			return true; /* it waits */
		if (!packet_skip_extensions(&p) || p.fragment)
			return false;
	}
	switch (p.proto) {
	case PROTO_TCP:
		return !multicast && input_tcp(g, &p, partial);
	case PROTO_UDP:
		if (p.len < 8 || get16(p.data + 4) < 8 || get16(p.data + 4) > p.len)
			return false;
		p.len = get16(p.data + 4);
		if (!partial && (v6 || get16(p.data + 6) != 0) && !verified(&p))
			return false;
		udp_input(g, &p);
		return true;
	case PROTO_ICMP:
		if (v6 || p.len < 8 || checksum_fold(checksum_add(0, p.data, p.len)) != 0xffff)
			return false;
		icmp_input(g, &p);
		return true;
	case PROTO_ICMP6:
		if (!v6 || p.len < 8 || (!partial && !verified(&p)))
			return false;
		icmp_input(g, &p);
		return true;
	default:
		return false;
	}
}

/** input_ethernet() - Return: false: dropped. */
static bool input_ethernet(struct gateway *g, const uint8_t *frame, size_t n, bool partial)
{
	if (n < ETH_HEADER)
		return false;
	/* For the gateway, or for all (the low bit of the first byte). */
	if (!(frame[0] & 1) && memcmp(frame, g->config->gateway_mac, 6) != 0)
		return false;
	switch (get16(frame + 12)) {
	case ETHER_ARP:
		return input_arp(g, frame + ETH_HEADER, n - ETH_HEADER);
	case ETHER_IP4:
		return input_packet(g, frame + ETH_HEADER, n - ETH_HEADER, false, partial);
	case ETHER_IP6:
		return input_packet(g, frame + ETH_HEADER, n - ETH_HEADER, true, partial);
	default:
		return false;
	}
}

void input_frame(struct gateway *g, const uint8_t *frame, size_t n, bool partial)
{
	if (!input_ethernet(g, frame, n, partial))
		g->count.dropped++;
}

/** put_checksum() - Of a whole transport message, where its protocol has it. */
static void put_checksum(const struct packet_head *h, uint8_t *data, size_t len)
{
	size_t at = h->proto == PROTO_UDP ? 6 : 2;
	uint64_t sum = h->proto == PROTO_ICMP ? 0 : checksum_pseudo(&h->src, &h->dst, h->proto, len, h->v6);
	uint16_t end;

	memset(data + at, 0, 2);
	end = checksum_end(checksum_add(sum, data, len));
	if (end == 0 && h->proto == PROTO_UDP)
		end = 0xffff; /* zero means none */
	memcpy(data + at, &end, 2);
}

void output_packet(struct gateway *g, const struct packet_head *head, uint8_t *data, size_t len)
{
	uint8_t out[LINK_HEADER + ETH_HEADER + IP6_HEADER + 8];
	struct packet_head h = *head;
	size_t room;

	put_checksum(&h, data, len);
	h.fragment = packet_head_len(&h) + len > g->config->mtu;
	room = g->config->mtu - packet_head_len(&h);
	if (h.fragment) {
		room -= room % 8;
		h.id = ++g->fragment_id;
	}
	put_ethernet(g, out + LINK_HEADER, h.v6 ? ETHER_IP6 : ETHER_IP4);
	for (size_t at = 0; at < len; at += room) {
		size_t n = len - at < room ? len - at : room;

		h.offset = (uint16_t)at;
		h.more = at + n < len;
		packet_write(out + LINK_HEADER + ETH_HEADER, &h, n);
		post(g, out, LINK_HEADER + ETH_HEADER + packet_head_len(&h), data + at, n);
	}
}

bool output_tcp(void *arg, const struct tcp_out *o)
{
	struct gateway *g = arg;
	uint8_t out[LINK_HEADER + ETH_HEADER + IP6_HEADER + 60];
	struct iovec iov[1 + TCP_OUT_IOV];
	bool v6 = !ip_is_v4(&o->pair->guest.ip);
	struct packet_head h = { .v6 = v6, .src = o->pair->us.ip, .dst = o->pair->guest.ip, .proto = PROTO_TCP };
	size_t ip = packet_head_len(&h), start = ETH_HEADER + ip, len = o->header_len + o->payload_len;
	struct link_offload offload = {
		.gso_size = o->gso_size,
		.v6 = v6,
		.header_len = (uint16_t)(start + o->header_len),
		.csum_start = (uint16_t)start,
		.csum_offset = 16,
	};
	uint16_t sum = checksum_fold(checksum_pseudo(&h.src, &h.dst, PROTO_TCP, len, v6));

	put_ethernet(g, out + LINK_HEADER, v6 ? ETHER_IP6 : ETHER_IP4);
	packet_write(out + LINK_HEADER + ETH_HEADER, &h, len);
	memcpy(out + LINK_HEADER + start, o->header, o->header_len);
	memcpy(out + LINK_HEADER + start + 16, &sum, 2);
	iov[0] = (struct iovec){ out, LINK_HEADER + start + o->header_len };
	for (int i = 0; i < o->payload_count; i++)
		iov[1 + i] = o->payload[i];
	if (!link_send(g->link, iov, 1 + o->payload_count, &offload))
		return false;
	sent(g, iov, 1 + o->payload_count, start + len);
	return true;
}
