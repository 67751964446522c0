/* SPDX-License-Identifier: Apache-2.0 */
#include "net/checksum.h"

#include <arpa/inet.h>
#include <string.h>

uint64_t checksum_add(uint64_t sum, const void *data, size_t n)
{
	const uint8_t *p = data;
	uint64_t four;
	uint32_t word;

	/* 32-bit words into 64 bits: 2^32 of them until it could overflow; four chains keep the adders busy. */
	for (; n >= 32; p += 32, n -= 32) {
		uint32_t w[8];

		memcpy(w, p, sizeof(w));
		four = (uint64_t)w[0] + w[1] + w[2] + w[3];
		sum += four + ((uint64_t)w[4] + w[5] + w[6] + w[7]);
	}
	for (; n >= 4; p += 4, n -= 4) {
		memcpy(&word, p, 4);
		sum += word;
	}
	if (n) {
		word = 0;
		memcpy(&word, p, n);
		sum += word;
	}
	return sum;
}

uint64_t checksum_pseudo(const struct ip *src, const struct ip *dst, uint8_t proto, size_t len, int v6)
{
	uint32_t tail[2] = { htonl((uint32_t)len), htonl(proto) };
	uint64_t sum = checksum_add(0, tail, sizeof(tail));

	if (v6) {
		sum = checksum_add(sum, src->b, 16);
		return checksum_add(sum, dst->b, 16);
	}
	sum = checksum_add(sum, src->b + 12, 4);
	return checksum_add(sum, dst->b + 12, 4);
}

uint16_t checksum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}
