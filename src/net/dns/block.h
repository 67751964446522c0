/* SPDX-License-Identifier: Apache-2.0 */
/** What is refused: names on the block lists, addresses on the rebind list. */
#ifndef MSB_NET_DNS_BLOCK_H
#define MSB_NET_DNS_BLOCK_H

#include "base/error.h"
#include "net/dns/name.h"
#include "net/ip.h"

/** A set of names, sorted. Zero is the empty one. */
struct dns_list {
	const uint8_t **names; /* each points to a struct dns_name in bytes, cut to its length */
	size_t count;
	uint8_t *bytes;
};

/** dns_list_read() - From text; @what names the list in errors. Return: 0 or a negative code (*list is empty then). */
int dns_list_read(struct dns_list *list, const char *const *texts, size_t count, const char *what, struct error *err);
void dns_list_clear(struct dns_list *list);
/** dns_list_has() - The name itself (in lower case), or also one that it lies below. */
bool dns_list_has(const struct dns_list *list, const struct dns_name *name, bool below);

/**
 * dns_rebind_address() - Is it one that public names must not lead to? Also when it carries such an IPv4 address inside
 * (NAT64, 6to4).
 */
bool dns_rebind_address(const struct ip *ip);

#endif
