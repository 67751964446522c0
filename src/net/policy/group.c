/* SPDX-License-Identifier: Apache-2.0 */
/* To which group an address belongs. Source: the IANA IPv4 and IPv6 special-purpose address registries (RFC 6890). */
#include "net/policy/policy.h"
#include "net/policy/rule.h"

#include "base/macros.h"

#define V4(a, b, c, d, n)                                                                                  \
	{                                                                                                  \
		{ { [10] = 0xff, [11] = 0xff, [12] = (a), [13] = (b), [14] = (c), [15] = (d) } }, 96 + (n) \
	}
#define V6(n, ...)                       \
	{                                \
		{ { __VA_ARGS__ } }, (n) \
	}

/** A prefix and what it stands for. */
struct range {
	struct ip_net net;
	enum policy_group group;
};

/* The first that covers the address counts. What is not listed: IPv4 and 2000::/3 are public, the rest is nothing. */
static const struct range ranges[] = {
	/* Metadata services: AWS (and most others), AWS tasks, AWS by IPv6, Azure, Oracle, Alibaba. */
	{ V4(169, 254, 169, 254, 32), POLICY_GROUP_META },
	{ V4(169, 254, 170, 2, 32), POLICY_GROUP_META },
	{ V6(128, 0xfd, 0, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54), POLICY_GROUP_META },
	{ V4(168, 63, 129, 16, 32), POLICY_GROUP_META },
	{ V4(192, 0, 0, 192, 32), POLICY_GROUP_META },
	{ V4(100, 100, 100, 200, 32), POLICY_GROUP_META },

	{ V4(127, 0, 0, 0, 8), POLICY_GROUP_LOOPBACK },
	{ V6(128, [15] = 1), POLICY_GROUP_LOOPBACK },

	{ V4(10, 0, 0, 0, 8), POLICY_GROUP_PRIVATE },
	{ V4(172, 16, 0, 0, 12), POLICY_GROUP_PRIVATE },
	{ V4(192, 168, 0, 0, 16), POLICY_GROUP_PRIVATE },
	{ V4(100, 64, 0, 0, 10), POLICY_GROUP_PRIVATE },
	{ V6(7, 0xfc), POLICY_GROUP_PRIVATE },

	{ V4(169, 254, 0, 0, 16), POLICY_GROUP_LINK_LOCAL },
	{ V6(10, 0xfe, 0x80), POLICY_GROUP_LINK_LOCAL },

	{ V4(224, 0, 0, 0, 4), POLICY_GROUP_MULTICAST },
	{ V6(8, 0xff), POLICY_GROUP_MULTICAST },

	{ V4(0, 0, 0, 0, 8), POLICY_GROUP_NONE },	/* this network */
	{ V4(192, 0, 0, 9, 32), POLICY_GROUP_PUBLIC },	/* port control anycast */
	{ V4(192, 0, 0, 10, 32), POLICY_GROUP_PUBLIC }, /* TURN anycast */
	{ V4(192, 0, 0, 0, 24), POLICY_GROUP_NONE },	/* IETF protocol assignments */
	{ V4(192, 0, 2, 0, 24), POLICY_GROUP_NONE },	/* documentation */
	{ V4(192, 88, 99, 0, 24), POLICY_GROUP_NONE },	/* 6to4 relays, given up */
	{ V4(198, 18, 0, 0, 15), POLICY_GROUP_NONE },	/* benchmarking */
	{ V4(198, 51, 100, 0, 24), POLICY_GROUP_NONE },
	{ V4(203, 0, 113, 0, 24), POLICY_GROUP_NONE },
	{ V4(240, 0, 0, 0, 4), POLICY_GROUP_NONE }, /* reserved, and the limited broadcast */
	{ V4(0, 0, 0, 0, 0), POLICY_GROUP_PUBLIC },

	{ V6(128, 0x20, 0x01, 0, 0x01, [15] = 1), POLICY_GROUP_PUBLIC },  /* port control anycast */
	{ V6(128, 0x20, 0x01, 0, 0x01, [15] = 2), POLICY_GROUP_PUBLIC },  /* TURN anycast */
	{ V6(128, 0x20, 0x01, 0, 0x01, [15] = 3), POLICY_GROUP_PUBLIC },  /* DNS-SD SRP anycast */
	{ V6(32, 0x20, 0x01, 0, 0x03), POLICY_GROUP_PUBLIC },		  /* AMT */
	{ V6(48, 0x20, 0x01, 0, 0x04, 0x01, 0x12), POLICY_GROUP_PUBLIC }, /* AS112 */
	{ V6(28, 0x20, 0x01, 0, 0x20), POLICY_GROUP_PUBLIC },		  /* ORCHIDv2 */
	{ V6(28, 0x20, 0x01, 0, 0x30), POLICY_GROUP_PUBLIC },		  /* drone remote id */
	{ V6(23, 0x20, 0x01), POLICY_GROUP_NONE },			  /* IETF protocol assignments */
	{ V6(32, 0x20, 0x01, 0x0d, 0xb8), POLICY_GROUP_NONE },		  /* documentation */
	{ V6(20, 0x3f, 0xff), POLICY_GROUP_NONE },			  /* documentation */
	{ V6(3, 0x20), POLICY_GROUP_PUBLIC },
};

const struct ip_net policy_nat64 = V6(96, 0, 0x64, 0xff, 0x9b);
const struct ip_net policy_6to4 = V6(16, 0x20, 0x02);

static const char *const names[] = {
	[POLICY_GROUP_NONE] = "none",		[POLICY_GROUP_HOST] = "host",
	[POLICY_GROUP_META] = "meta",		[POLICY_GROUP_LOOPBACK] = "loopback",
	[POLICY_GROUP_PRIVATE] = "private",	[POLICY_GROUP_LINK_LOCAL] = "link-local",
	[POLICY_GROUP_MULTICAST] = "multicast", [POLICY_GROUP_PUBLIC] = "public",
};
_Static_assert(ARRAY_LEN(names) == POLICY_GROUP_COUNT, "a name for each group");

const char *policy_group_name(enum policy_group group)
{
	return names[group];
}

struct ip policy_judged(const struct ip *ip)
{
	if (ip_in(&policy_nat64, ip))
		return ip_v4(ip->b + 12); /* RFC 6052, 2.2 */
	if (ip_in(&policy_6to4, ip))
		return ip_v4(ip->b + 2); /* RFC 3056, 2 */
	return *ip;
}

bool policy_never_relayed(const struct ip *ip)
{
	static const struct ip_net never[] = { V4(0, 0, 0, 0, 32), V4(240, 0, 0, 0, 4), V6(128, 0) };
	struct ip judged = policy_judged(ip);

	for (size_t i = 0; i < ARRAY_LEN(never); i++)
		if (ip_in(&never[i], &judged))
			return true;
	return false;
}

enum policy_group policy_group_of(const struct ip *ip, bool is_host)
{
	struct ip judged = policy_judged(ip);

	for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
		if (!ip_in(&ranges[i].net, &judged))
			continue;
		/* The host's loopback addresses keep their own group. */
		return is_host && ranges[i].group != POLICY_GROUP_LOOPBACK ? POLICY_GROUP_HOST : ranges[i].group;
	}
	return is_host ? POLICY_GROUP_HOST : POLICY_GROUP_NONE;
}
