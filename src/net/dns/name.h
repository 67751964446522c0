/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Names of the DNS, kept as they are in a message without compression: labels with a length each, ended by the empty
 * label (RFC 1035, 3.1). Every place in such a name where a label begins is a name itself.
 */
#ifndef MSB_NET_DNS_NAME_H
#define MSB_NET_DNS_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DNS_NAME_MAX 255 /* bytes with all lengths: RFC 1035, 2.3.4 */
#define DNS_LABEL_MAX 63

struct dns_name {
	uint8_t length; /* >= 1; 0: no name */
	uint8_t b[DNS_NAME_MAX];
};

/**
 * dns_name_from_text() - Labels between dots; one dot at the end does not matter; "" and "." are the root; \DDD and \X
 * are one byte. Letters become lower case.
 * Return: false when it is no name (an empty label, one over 63 bytes, over 255 in all).
 */
bool dns_name_from_text(struct dns_name *name, const char *text);
/**
 * dns_name_to_text() - The opposite, in lower case and without a dot at the end.
 * @to: DNS_NAME_TEXT_MAX bytes
 */
void dns_name_to_text(const struct dns_name *name, char *to);
/** dns_name_lower() - Small letters for capitals; lengths are below 'A' and stay. */
void dns_name_lower(struct dns_name *name);
/** dns_name_equal() - Whatever the case (RFC 4343). */
bool dns_name_equal(const struct dns_name *a, const struct dns_name *b);
/** dns_name_within() - Is it @suffix or below it? Whatever the case. */
bool dns_name_within(const struct dns_name *name, const struct dns_name *suffix);
/** dns_bytes_equal() - Bytes of names, whatever the case. */
bool dns_bytes_equal(const uint8_t *a, const uint8_t *b, size_t n);
/** dns_name_hash() - Of a name in lower case. */
uint32_t dns_name_hash(const struct dns_name *name);

#endif
