/* SPDX-License-Identifier: Apache-2.0 */
/** A policy for people to read. */
#ifndef MSB_NET_POLICY_WORDS_H
#define MSB_NET_POLICY_WORDS_H

#include "base/buf.h"
#include "net/policy/policy.h"

/** policy_rule_words() - "allow TCP port 443 to example.com". @index: below policy_rule_count() */
void policy_rule_words(const struct policy *p, size_t index, struct buf *out);
/** policy_words() - All of it, a line each, with @indent blanks in front. */
void policy_words(const struct policy *p, int indent, struct buf *out);
/** policy_group_words() - "public addresses". */
const char *policy_group_words(enum policy_group group);

#endif
