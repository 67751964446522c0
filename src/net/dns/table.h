/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The name table: which names the guest was told an address has, until the TTL is over (at least 1 s). At most
 * DNS_NAMES_MAX records and DNS_NAMES_BYTES_MAX bytes; the one told longest ago goes.
 */
#ifndef MSB_NET_DNS_TABLE_H
#define MSB_NET_DNS_TABLE_H

#include "net/dns/name.h"
#include "net/ip.h"

struct dns_table;

/** dns_table_new() - Return: owned, or NULL when memory is exhausted. */
struct dns_table *dns_table_new(void);
void dns_table_free(struct dns_table *table);
/** dns_table_add() - The guest is told of it now. @name: lower case; @configured: by a configured resolver. */
void dns_table_add(struct dns_table *table, const struct ip *ip, const struct dns_name *name, bool configured,
		   uint32_t ttl_s, int64_t now_ns);
/** dns_table_each() - Each live name of the address. @fn: false to end. Return: false when it ended. */
bool dns_table_each(const struct dns_table *table, const struct ip *ip, bool configured_only, int64_t now_ns,
		    bool (*fn)(void *arg, const struct dns_name *name), void *arg);
void dns_table_size(const struct dns_table *table, uint32_t *records, uint32_t *bytes);

#endif
