/* SPDX-License-Identifier: Apache-2.0 */
/** Rules as read, for the files of this folder. Grammar: contract 4.3. */
#ifndef MSB_NET_POLICY_RULE_H
#define MSB_NET_POLICY_RULE_H

#include "net/policy/policy.h"

#define RULE_TEXT_MAX 360				      /* of a rule in its shortest spelling */
#define RULE_LIST_TEXT_MAX (POLICY_RULES_MAX * RULE_TEXT_MAX) /* bytes of one text */
#define RULE_ALL_PROTOCOLS ((1u << POLICY_PROTOCOL_COUNT) - 1)
#define RULE_ALL_DIRECTIONS ((1u << POLICY_DIRECTION_COUNT) - 1)

enum rule_target { RULE_ANY, RULE_DNS, RULE_GROUP, RULE_NET, RULE_DOMAIN, RULE_SUFFIX };

struct policy_rule {
	bool allow;
	unsigned int directions, protocols; /* bits: 1 << enum */
	enum rule_target target;
	enum policy_group group;      /* RULE_GROUP */
	struct ip_net net;	      /* RULE_NET */
	char name[POLICY_NAME_MAX];   /* RULE_DOMAIN, RULE_SUFFIX: lower case, no dot at either end */
	uint16_t port_low, port_high; /* 0 to 65535: any */
	char text[RULE_TEXT_MAX];     /* as people are to see it */
};

struct rule_list {
	struct policy_rule *rule; /* owned */
	size_t count;
};

/** rule_list_parse() - Append what a text says: one rule or several with commas. ERR_USAGE; the list may have grown. */
int rule_list_parse(struct rule_list *list, const char *text, struct error *err);
/** rule_list_block() - Append the denial of a name (--dns-block-domain), or of all below it too (--dns-block-suffix).
 */
int rule_list_block(struct rule_list *list, const char *name, bool below, struct error *err);
/** policy_rule_at() - For words. @index: below policy_rule_count() */
const struct policy_rule *policy_rule_at(const struct policy *p, size_t index);
/** rule_name() - A name as DNS and TLS carry it: lower case, no last dot. Return: false when it is none. */
bool rule_name(const char *text, char out[POLICY_NAME_MAX]);
/** rule_has_ports() - Does it look at the port? */
static inline bool rule_has_ports(const struct policy_rule *r)
{
	return r->port_low != 0 || r->port_high != UINT16_MAX;
}

/** policy_never_relayed() - See policy.h. */
bool policy_never_relayed(const struct ip *ip);
extern const struct ip_net policy_nat64, policy_6to4;

#endif
