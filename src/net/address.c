/* SPDX-License-Identifier: Apache-2.0 */
#include "net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

socklen_t address_put(struct sockaddr_storage *to, int family, const struct endpoint *e)
{
	struct sockaddr_in *in4 = (struct sockaddr_in *)to;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;

	memset(to, 0, sizeof(*to));
	if (family == AF_INET) {
		if (!ip_is_v4(&e->ip))
			return 0;
		in4->sin_family = AF_INET;
		in4->sin_port = htons(e->port);
		memcpy(&in4->sin_addr, e->ip.b + 12, 4);
		return sizeof(*in4);
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(e->port);
	memcpy(&in6->sin6_addr, e->ip.b, 16);
	return sizeof(*in6);
}

bool address_get(const struct sockaddr_storage *from, struct endpoint *e)
{
	const struct sockaddr_in *in4 = (const struct sockaddr_in *)from;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)from;

	if (from->ss_family == AF_INET) {
		e->ip = ip_v4((const uint8_t *)&in4->sin_addr);
		e->port = ntohs(in4->sin_port);
		return true;
	}
	memcpy(e->ip.b, &in6->sin6_addr, 16);
	e->port = ntohs(in6->sin6_port);
	return from->ss_family == AF_INET6;
}
