/* SPDX-License-Identifier: Apache-2.0 */
/** The Internet checksum. Sums are kept unfolded; bytes in network order throughout. Source: RFC 1071, RFC 8200 8.1. */
#ifndef MSB_NET_CHECKSUM_H
#define MSB_NET_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#include "net/ip.h"

/** checksum_add() - Add n bytes to a sum; an odd n ends what is summed. */
uint64_t checksum_add(uint64_t sum, const void *data, size_t n);
/** checksum_pseudo() - The pseudo-header of TCP, UDP and ICMPv6. @v6: as in an IPv6 packet */
uint64_t checksum_pseudo(const struct ip *src, const struct ip *dst, uint8_t proto, size_t len, int v6);
/** checksum_fold() - To 16 bits, as they are stored in memory; not complemented. */
uint16_t checksum_fold(uint64_t sum);

/** checksum_end() - What goes into the field. */
static inline uint16_t checksum_end(uint64_t sum)
{
	return (uint16_t)~checksum_fold(sum);
}

#endif
