/* SPDX-License-Identifier: Apache-2.0 */
/** Endpoints as the socket calls want them. */
#ifndef MSB_NET_ADDRESS_H
#define MSB_NET_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

#include "net/ip.h"

/** address_put() - For a socket of that family: IPv4 is written as mapped for AF_INET6. Return: its length, 0: no such
 * form. */
socklen_t address_put(struct sockaddr_storage *to, int family, const struct endpoint *e);
/** address_get() - Return: false for another family. */
bool address_get(const struct sockaddr_storage *from, struct endpoint *e);
/** address_family() - AF_INET or AF_INET6, to reach the address with. */
static inline int address_family(const struct ip *ip)
{
	return ip_is_v4(ip) ? AF_INET : AF_INET6;
}

#endif
