/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The name in the first bytes of a stream: server_name of a TLS ClientHello, which may be cut into records of any size.
 * Nothing is kept or allocated; at most SNI_MAX bytes are looked at. Source: RFC 8446, 4.1.2, 5.1; RFC 6066, 3.
 */
#ifndef MSB_NET_SNI_H
#define MSB_NET_SNI_H

#include <stddef.h>
#include <stdint.h>

#define SNI_MAX 17408	 /* a hello of 16 KiB in its records */
#define SNI_NAME_MAX 256 /* bytes with NUL */

enum sni_result {
	SNI_MORE,   /* so far it may become a ClientHello */
	SNI_NONE,   /* not TLS, or a hello without a name */
	SNI_NAME,   /* name is set: lower case, printable, no dot at the end */
	SNI_BROKEN, /* TLS that is malformed, too long, or names nothing that could be a host */
};

/** sni_find() - @data: all bytes so far. @name: SNI_NAME_MAX bytes */
enum sni_result sni_find(const uint8_t *data, size_t n, char *name);

#endif
