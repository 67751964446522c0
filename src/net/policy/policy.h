/* SPDX-License-Identifier: Apache-2.0 */
/**
 * What may pass between a sandbox and the rest of the world.
 *
 * A policy is made once from texts and never changes; it allocates nothing after that and may be asked from any thread.
 * Each direction has its rules in order, the first that matches decides, else the default of the direction. Egress
 * rules match the destination, ingress rules the peer; the port is the one that the guest sees as the service's.
 *
 * Names: a rule on a name matches a connection when our DNS gave its address to this sandbox for that name and the
 * record still lives, and when the stream's own name (SNI), if it has one, is that name too. A deny rule matches by the
 * stream's name alone as well. So some verdicts are known only after the first bytes: POLICY_NEED_NAME.
 *
 * Addresses that carry an IPv4 address (mapped, NAT64 64:ff9b::/96, 6to4 2002::/16) are judged as that one; a deny rule
 * matches what was written too. Whatever the rules, never relayed are 0.0.0.0, ::, 240.0.0.0/4 (255.255.255.255 with
 * it), and from the guest what would carry names past our DNS: tcp 853 and udp 137, 853, 5353, 5355 (contract 4.4).
 */
#ifndef MSB_NET_POLICY_POLICY_H
#define MSB_NET_POLICY_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "net/ip.h"

#define POLICY_RULES_MAX 1024 /* of one policy; a flow looks at each once */
#define POLICY_NAME_MAX 254   /* bytes with NUL: a DNS name without the last dot (RFC 1035, 2.3.4) */

/** Disjoint; an address in none of the others is POLICY_GROUP_NONE, and only the target `any` matches it. */
enum policy_group {
	POLICY_GROUP_NONE,
	POLICY_GROUP_HOST, /* the gateway and every local address of the host */
	POLICY_GROUP_META, /* metadata services of cloud providers */
	POLICY_GROUP_LOOPBACK,
	POLICY_GROUP_PRIVATE,
	POLICY_GROUP_LINK_LOCAL,
	POLICY_GROUP_MULTICAST,
	POLICY_GROUP_PUBLIC, /* globally reachable unicast by the IANA special-purpose registries */
	POLICY_GROUP_COUNT
};

enum policy_direction { POLICY_EGRESS, POLICY_INGRESS, POLICY_DIRECTION_COUNT };
enum policy_protocol { POLICY_TCP, POLICY_UDP, POLICY_ICMPV4, POLICY_ICMPV6, POLICY_PROTOCOL_COUNT };
enum policy_verdict { POLICY_DENY, POLICY_ALLOW, POLICY_NEED_NAME };

/** What is known of the name that a stream itself says (SNI). */
enum policy_name_state {
	POLICY_NAME_UNSEEN, /* TCP whose first bytes are still to come; otherwise the same as NONE */
	POLICY_NAME_NONE,   /* there is none: other protocols, streams that are not TLS, or silent for too long */
	POLICY_NAME_SEEN,
};

/** What a policy is made of. Strings and arrays are borrowed for the call. */
struct policy_source {
	const char *const *rules; /* each a rule or a list of them, in order: contract 4.3 */
	size_t rule_count;
	bool allow_egress, allow_ingress; /* the defaults */
	bool strict;			  /* a rule that allows a name needs a stream that says it */
	/* The guest reaches public addresses and DNS only, whatever the rules; no private address is in answers. */
	bool multi_tenant;
	/* Denied before all rules, as questions and as connections: exact names; names with all below them. */
	const char *const *block_domains, *const *block_suffixes;
	size_t block_domain_count, block_suffix_count;
};

struct policy;

/**
 * policy_new() - Parse and keep. Return: owned, or NULL: ERR_USAGE, whose text quotes the token, says what was expected
 * and, where one is near, which word was meant.
 */
struct policy *policy_new(const struct policy_source *source, struct error *err);
/** policy_free() - NULL is allowed. */
void policy_free(struct policy *p);
static inline void policy_freep(struct policy **p)
{
	policy_free(*p);
}

/** What only the caller knows. Both are asked for the address as it is on the wire and for an IPv4 address in it. */
struct policy_facts {
	/** Is it the sandbox's gateway (either family) or an address of one of the host's interfaces, now? */
	bool (*is_host)(void *ctx, const struct ip *ip);
	/**
	 * Does a live record, given to this sandbox by our DNS, lead from that name to the address? @name: lower case,
	 * no last dot. @below: a name below it will do too. @allows: for a rule that allows: a resolver that the guest
	 * chose may be an accomplice, what it said counts for rules that deny only. NULL: no names are known.
	 */
	bool (*has_name)(void *ctx, const struct ip *ip, const char *name, bool below, bool allows);
	void *ctx;
};

/** A new connection, UDP session or echo request. */
struct policy_flow {
	enum policy_direction direction;
	enum policy_protocol protocol;
	struct ip ip;  /* egress: the destination; ingress: the peer */
	uint16_t port; /* the service's, host byte order; 0 for ICMP */
	enum policy_name_state name_state;
	const char *name; /* POLICY_NAME_SEEN: any case, a last dot allowed; borrowed */
};

#define POLICY_RULE_DEFAULT (-1) /* no rule matched */
#define POLICY_RULE_NEVER (-2)	 /* what is never relayed */

struct policy_decision {
	enum policy_verdict verdict;
	int rule; /* which one decided (from 0), or POLICY_RULE_*; NEED_NAME: the first that depends on the name */
	const char *text; /* of that rule, or of the default in words; lives as long as the policy */
};

/**
 * policy_decide() - The verdict on a flow. POLICY_NEED_NAME comes only for POLICY_NAME_UNSEEN over TCP, when the answer
 * depends on the stream's name: accept the handshake towards the guest, read, ask again with SEEN or NONE. Live flows
 * keep the verdict they got.
 */
void policy_decide(const struct policy *p, const struct policy_flow *flow, const struct policy_facts *facts,
		   struct policy_decision *out);

/**
 * policy_decide_question() - May the guest ask our DNS for that name? Rules on names match it whatever their protocol
 * and port; `any`, `host` and `dns` match by protocol (POLICY_UDP or POLICY_TCP) and port 53; addresses and other
 * groups never do. Never NEED_NAME. A name with bytes outside printable ASCII, or empty (the root), is matched as any
 * other.
 */
void policy_decide_question(const struct policy *p, enum policy_protocol protocol, const char *name,
			    struct policy_decision *out);

/**
 * policy_allows_answer() - May an address that rebind protection would refuse be in an answer? Yes when the first
 * egress rule without protocol and port that covers it (rules on names left aside) allows it and has an address or a
 * prefix as its target, not a group.
 */
bool policy_allows_answer(const struct policy *p, const struct ip *ip, const struct policy_facts *facts);

/** policy_group_of() - The group of an address. @is_host: what policy_facts.is_host says of it or of the IPv4 inside.
 */
enum policy_group policy_group_of(const struct ip *ip, bool is_host);
/** policy_group_name() - "public", as in rules; "none". */
const char *policy_group_name(enum policy_group group);
/** policy_protocol_name() - "tcp", as in rules. */
const char *policy_protocol_name(enum policy_protocol protocol);
/** policy_judged() - The IPv4 address inside an IPv6 address (see above), or the address itself. */
struct ip policy_judged(const struct ip *ip);

/** policy_rule_count() - Block lists included: they come first. */
size_t policy_rule_count(const struct policy *p);
/** policy_rule_text() - One rule in its shortest spelling. @index: below policy_rule_count() */
const char *policy_rule_text(const struct policy *p, size_t index);
/** policy_default() - Is a direction allowed where no rule matches? */
bool policy_default(const struct policy *p, enum policy_direction direction);
/** policy_is_strict(), policy_is_multi_tenant() - As policy_source says. */
bool policy_is_strict(const struct policy *p);
bool policy_is_multi_tenant(const struct policy *p);
/** policy_has_names() - Is there any rule on a name? Otherwise no verdict depends on DNS or on SNI. */
bool policy_has_names(const struct policy *p);

#endif
