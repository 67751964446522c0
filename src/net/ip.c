/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses: text and prefixes. */
#include "net/ip.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "base/macros.h"
#include "base/num.h"

#define V4_BITS 96 /* of the prefix ::ffff:0:0/96 */

/** masked() - The address without the bits behind the prefix. */
static struct ip masked(const struct ip *ip, unsigned int bits)
{
	struct ip out = *ip;

	for (unsigned int i = 0; i < sizeof(out.b); i++) {
		unsigned int keep = bits > i * 8 ? MIN(bits - i * 8, 8U) : 0;

		out.b[i] &= (uint8_t)(0xff00U >> keep);
	}
	return out;
}

bool ip_in(const struct ip_net *net, const struct ip *ip)
{
	struct ip a = masked(ip, net->bits), b = masked(&net->ip, net->bits);

	return ip_equal(&a, &b);
}

bool ip_parse(const char *text, struct ip *out)
{
	uint8_t v4[4];

	if (inet_pton(AF_INET, text, v4) == 1)
		*out = ip_v4(v4);
	else if (inet_pton(AF_INET6, text, out->b) != 1)
		return false;
	return true;
}

bool ip_net_parse(const char *text, struct ip_net *out)
{
	const char *slash = strchr(text, '/');
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	char address[IP_TEXT_MAX];
	unsigned int before;
	uint64_t bits;
	struct ip base;

	if (n >= sizeof(address))
		return false;
	memcpy(address, text, n);
	address[n] = '\0';
	if (!ip_parse(address, &out->ip))
		return false;
	/* By how it was written: ::ffff:10.0.0.0/104 counts all bits. */
	before = strchr(address, ':') ? 0 : V4_BITS;
	bits = 128 - before;
	if (slash && !num_parse_u64(slash + 1, 128 - before, &bits))
		return false;
	out->bits = (uint8_t)(before + bits);
	base = masked(&out->ip, out->bits);
	return ip_equal(&base, &out->ip);
}

const char *ip_format(const struct ip *ip, char to[IP_TEXT_MAX])
{
	if (ip_is_v4(ip))
		inet_ntop(AF_INET, ip->b + 12, to, IP_TEXT_MAX);
	else
		inet_ntop(AF_INET6, ip->b, to, IP_TEXT_MAX);
	return to;
}

const char *endpoint_format(const struct endpoint *e, char to[ENDPOINT_TEXT_MAX])
{
	char ip[IP_TEXT_MAX];

	ip_format(&e->ip, ip);
	snprintf(to, ENDPOINT_TEXT_MAX, ip_is_v4(&e->ip) ? "%s:%u" : "[%s]:%u", ip, e->port);
	return to;
}
