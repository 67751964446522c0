/* SPDX-License-Identifier: Apache-2.0 */
/** SipHash-2-4: a keyed hash, for tables whose keys the guest chooses and for numbers it must not guess. */
#ifndef MSB_NET_HASH_H
#define MSB_NET_HASH_H

#include <stddef.h>
#include <stdint.h>

/** hash_keyed() - SipHash-2-4 of len bytes, as its authors' reference computes it. */
uint64_t hash_keyed(const uint8_t key[16], const void *data, size_t len);

#endif
