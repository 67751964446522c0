/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Datagrams that come in pieces. At most FRAGMENT_SLOTS at a time, each up to 65,535 bytes and FRAGMENT_LIFE_NS old; a
 * new one takes the oldest's place. Pieces that overlap spoil the datagram (RFC 5722), exact repetitions are passed
 * over.
 */
#ifndef MSB_NET_FRAGMENT_H
#define MSB_NET_FRAGMENT_H

#include "net/packet.h"

#define FRAGMENT_SLOTS 16
#define FRAGMENT_LIFE_NS 30000000000LL

struct fragment_slot {
	bool used, spoiled;
	bool v6;
	uint8_t proto;
	struct ip src, dst;
	uint32_t id;
	int64_t since;
	uint32_t total;		/* bytes; 0: the last piece has not come */
	uint32_t have;		/* bytes */
	uint32_t highest;	/* end of what came */
	uint64_t map[1024 / 8]; /* a bit for 8 bytes that are there */
	uint8_t data[PACKET_MAX + 1];
};

struct fragments {
	struct fragment_slot slot[FRAGMENT_SLOTS];
};

/**
 * fragments_add() - A piece.
 * @p: the piece; becomes the whole datagram, whose bytes lie in the table until the next call
 * Return: is it whole now?
 */
bool fragments_add(struct fragments *f, struct packet *p, int64_t now);
/** fragments_expire() - Forget what is too old. Return: is anything left? */
bool fragments_expire(struct fragments *f, int64_t now);

#endif
