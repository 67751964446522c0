/* SPDX-License-Identifier: Apache-2.0 */
/** What a sandbox's network needs to know of the host's. */
#ifndef MSB_ENGINE_HOST_NETWORK_H
#define MSB_ENGINE_HOST_NETWORK_H

#include <stdbool.h>
#include <stddef.h>

#include "net/ip.h"

#define RESOLV_BYTES_MAX 65536 /* of resolv.conf; what lies beyond does not count */

/**
 * resolv_servers() - Name servers of a resolv.conf, at most max. Lines that are none, and addresses with a zone (a
 * server of one link), are passed over; without any it is 127.0.0.1. Source: resolv.conf(5). Return: how many.
 */
size_t resolv_servers(const char *text, size_t n, struct endpoint *out, size_t max);

/** routes_any() - Is there an IPv6 route off this machine in the text of /proc/net/ipv6_route? */
bool routes_any(const char *text, size_t n);
/** host_has_ipv6() - The same of this host. */
bool host_has_ipv6(void);

/** socket_inode() - Of the socket that has this port, in the text of /proc/net/tcp (6), udp (6). Return: 0: none. */
unsigned long socket_inode(const char *text, size_t n, uint16_t port, bool udp);
/** port_holder() - Who has a port: "nginx (process 123)". Return: false: cannot be seen. */
bool port_holder(uint16_t port, bool udp, char *out, size_t size);

#endif
