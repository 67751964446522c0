/* SPDX-License-Identifier: Apache-2.0 */
/** The network's part of sandbox.json: config.network. A file without it was written before there was one: default. */
#ifndef MSB_ENGINE_NET_JSON_H
#define MSB_ENGINE_NET_JSON_H

#include <jansson.h>

#include "net/spec.h"

/** net_json_encode() - Return: a new reference, or NULL: no memory, or a text that is not UTF-8. */
json_t *net_json_encode(const struct net_spec *n);
/** net_json_decode() - NULL: the default. Return: false when it is damaged. Free @out in any case. */
bool net_json_decode(const json_t *from, struct net_spec *out);

#endif
