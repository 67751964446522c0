/* SPDX-License-Identifier: Apache-2.0 */
#include "net/policy/words.h"

#include <string.h>

#include "base/macros.h"
#include "net/policy/rule.h"

static const char *const groups[] = {
	[POLICY_GROUP_NONE] = "addresses of no group",
	[POLICY_GROUP_HOST] = "the host (the gateway and the host's own addresses)",
	[POLICY_GROUP_META] = "metadata services of cloud providers",
	[POLICY_GROUP_LOOPBACK] = "loopback addresses",
	[POLICY_GROUP_PRIVATE] = "private networks",
	[POLICY_GROUP_LINK_LOCAL] = "link-local addresses",
	[POLICY_GROUP_MULTICAST] = "multicast addresses",
	[POLICY_GROUP_PUBLIC] = "public addresses",
};
_Static_assert(ARRAY_LEN(groups) == POLICY_GROUP_COUNT, "words for each group");

const char *policy_group_words(enum policy_group group)
{
	return groups[group];
}

/** service_words() - Protocol and ports: "everything", "TCP", "TCP and UDP port 53". */
static void service_words(const struct policy_rule *r, struct buf *out)
{
	static const char *const names[] = { [POLICY_TCP] = "TCP",
					     [POLICY_UDP] = "UDP",
					     [POLICY_ICMPV4] = "ICMP echo (IPv4)",
					     [POLICY_ICMPV6] = "ICMP echo (IPv6)" };

	if (r->protocols == RULE_ALL_PROTOCOLS)
		buf_append_str(out, rule_has_ports(r) ? "TCP and UDP" : "everything");
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (r->protocols == 1u << i)
			buf_append_str(out, names[i]);
	if (!rule_has_ports(r))
		return;
	if (r->port_low == r->port_high)
		buf_printf(out, " port %u", r->port_low);
	else
		buf_printf(out, " ports %u to %u", r->port_low, r->port_high);
}

/** target_words() - What it is about. */
static void target_words(const struct policy_rule *r, struct buf *out)
{
	const char *at = strchr(r->text, '@');
	size_t n;

	switch (r->target) {
	case RULE_ANY:
	case RULE_DNS: /* has words of its own */
		buf_append_str(out, "any address");
		break;
	case RULE_GROUP:
		buf_append_str(out, groups[r->group]);
		break;
	case RULE_NET:
		at += at[1] == '[' ? 2 : 1;
		n = at[-1] == '[' ? strcspn(at, "]") : strcspn(at, ":");
		buf_append(out, at, n);
		break;
	case RULE_DOMAIN:
		buf_append_str(out, r->name);
		break;
	case RULE_SUFFIX:
		buf_printf(out, "%s and all names below it", r->name);
		break;
	}
}

void policy_rule_words(const struct policy *p, size_t index, struct buf *out)
{
	const struct policy_rule *r = policy_rule_at(p, index);
	bool egress = r->directions & 1u << POLICY_EGRESS, ingress = r->directions & 1u << POLICY_INGRESS;

	buf_append_str(out, r->allow ? "allow " : "deny ");
	if (r->target == RULE_DNS) {
		buf_append_str(out, "DNS at the gateway");
		return;
	}
	service_words(r, out);
	buf_append_str(out, egress && ingress ? " to and from " : egress ? " to " : " from ");
	target_words(r, out);
}

/** direction_words() - The rules of one direction and its default. */
static void direction_words(const struct policy *p, enum policy_direction d, int indent, struct buf *out)
{
	const char *fallback = policy_default(p, d) ? "allowed" : "denied";
	bool any = false;

	for (size_t i = 0; i < policy_rule_count(p); i++)
		any |= (policy_rule_at(p, i)->directions & 1u << d) != 0;
	buf_printf(out, "%*s%-9s%s%s\n", indent, "", d == POLICY_EGRESS ? "Egress:" : "Ingress:", fallback,
		   any ? ", but for the first of these rules that matches:" : "");
	for (size_t i = 0; i < policy_rule_count(p); i++) {
		if (!(policy_rule_at(p, i)->directions & 1u << d))
			continue;
		buf_printf(out, "%*s%zu. ", indent + 2, "", i + 1);
		policy_rule_words(p, i, out);
		buf_append_str(out, "\n");
	}
}

void policy_words(const struct policy *p, int indent, struct buf *out)
{
	direction_words(p, POLICY_EGRESS, indent, out);
	direction_words(p, POLICY_INGRESS, indent, out);
	if (policy_is_multi_tenant(p))
		buf_printf(out, "%*sTenants: public addresses and DNS only, whatever the rules\n", indent, "");
	if (policy_is_strict(p))
		buf_printf(out, "%*sStrict:  a name is allowed only where the connection itself says it\n", indent, "");
}
