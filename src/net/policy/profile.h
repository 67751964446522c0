/* SPDX-License-Identifier: Apache-2.0 */
/** What the options --net, --no-net, --net-default and --net-rule stand for. Contract 4.2. */
#ifndef MSB_NET_POLICY_PROFILE_H
#define MSB_NET_POLICY_PROFILE_H

#include "net/policy/policy.h"

/** As typed; NULL, false and 0 where an option was not given. Borrowed. */
struct policy_choice {
	const char *groups;			 /* --net */
	bool no_net;				 /* --no-net */
	const char *fallback, *egress, *ingress; /* --net-default, -egress, -ingress: "allow" or "deny" */
	const char *const *rules;		 /* --net-rule */
	size_t rule_count;
	bool strict;
};

/** policy_choose() - The policy that the options make. Return: owned, or NULL: ERR_USAGE, which names the option. */
struct policy *policy_choose(const struct policy_choice *choice, struct error *err);

#endif
