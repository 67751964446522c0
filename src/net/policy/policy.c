/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of a sandbox and what they say of a flow, a question, an answer. Theory of operation: policy.h. */
#include "net/policy/policy.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/macros.h"
#include "net/policy/rule.h"

#define DNS_PORT 53

struct policy {
	struct rule_list rules;
	bool allow[POLICY_DIRECTION_COUNT]; /* where no rule matches */
	bool strict, multi_tenant;
};

/** Whether a rule matches; MAYBE: it depends on the name that the stream has not said yet. */
enum match { MATCH_NO, MATCH_MAYBE, MATCH_YES };

/** What is looked up once for all rules. */
struct look {
	const struct policy_flow *flow;
	const struct policy_facts *facts;
	enum policy_name_state name_state;
	enum policy_group group;
	struct ip judged;
};

struct policy *policy_new(const struct policy_source *source, struct error *err)
{
	_cleanup_(policy_freep) struct policy *p = calloc(1, sizeof(*p));
	struct error unread = ERROR_INIT;

	err = err ? err : &unread;
	if (!p) {
		err_set(err, ERR_NO_MEMORY, 0, "out of memory");
		return NULL;
	}
	p->allow[POLICY_EGRESS] = source->allow_egress;
	p->allow[POLICY_INGRESS] = source->allow_ingress;
	p->strict = source->strict;
	p->multi_tenant = source->multi_tenant;
	for (size_t i = 0; i < source->block_domain_count; i++)
		if (rule_list_block(&p->rules, source->block_domains[i], false, err) < 0)
			return NULL;
	for (size_t i = 0; i < source->block_suffix_count; i++)
		if (rule_list_block(&p->rules, source->block_suffixes[i], true, err) < 0)
			return NULL;
	for (size_t i = 0; i < source->rule_count; i++)
		if (rule_list_parse(&p->rules, source->rules[i], err) < 0)
			return NULL;
	return TAKE_PTR(p);
}

void policy_free(struct policy *p)
{
	if (p)
		free(p->rules.rule);
	free(p);
}

size_t policy_rule_count(const struct policy *p)
{
	return p->rules.count;
}

const char *policy_rule_text(const struct policy *p, size_t index)
{
	return p->rules.rule[index].text;
}

const struct policy_rule *policy_rule_at(const struct policy *p, size_t index)
{
	return &p->rules.rule[index];
}

bool policy_default(const struct policy *p, enum policy_direction direction)
{
	return p->allow[direction];
}

bool policy_is_strict(const struct policy *p)
{
	return p->strict;
}

bool policy_is_multi_tenant(const struct policy *p)
{
	return p->multi_tenant;
}

bool policy_has_names(const struct policy *p)
{
	for (size_t i = 0; i < p->rules.count; i++)
		if (p->rules.rule[i].target >= RULE_DOMAIN)
			return true;
	return false;
}

/** default_text() - Of a direction, for decisions. */
static const char *default_text(enum policy_direction direction, bool allow)
{
	if (direction == POLICY_EGRESS)
		return allow ? "no rule matches; egress is allowed by default"
			     : "no rule matches; egress is denied by default";
	return allow ? "no rule matches; ingress is allowed by default"
		     : "no rule matches; ingress is denied by default";
}

/** names_it() - Is a name the rule's, or one below it where that is enough? Any case, a last dot allowed. */
static bool names_it(const struct policy_rule *r, const char *name)
{
	size_t n = strlen(name), want = strlen(r->name);

	n -= n > 0 && name[n - 1] == '.';
	if (n < want || strncasecmp(name + n - want, r->name, want) != 0)
		return false;
	return n == want || (r->target == RULE_SUFFIX && name[n - want - 1] == '.');
}

/** leads_here() - Did our DNS give the flow's address for the rule's name? */
static bool leads_here(const struct policy_rule *r, const struct look *look)
{
	const struct policy_facts *f = look->facts;
	bool below = r->target == RULE_SUFFIX;

	if (!f->has_name)
		return false;
	return f->has_name(f->ctx, &look->flow->ip, r->name, below, r->allow) ||
	       (!ip_equal(&look->judged, &look->flow->ip) &&
		f->has_name(f->ctx, &look->judged, r->name, below, r->allow));
}

/** match_name() - A rule on a name. */
static enum match match_name(const struct policy *p, const struct policy_rule *r, const struct look *look)
{
	bool said = look->name_state == POLICY_NAME_SEEN && names_it(r, look->flow->name);

	if (!r->allow && look->name_state != POLICY_NAME_NONE)
		return look->name_state == POLICY_NAME_UNSEEN ? MATCH_MAYBE : said ? MATCH_YES : MATCH_NO;
	if (!leads_here(r, look))
		return MATCH_NO;
	switch (look->name_state) {
	case POLICY_NAME_UNSEEN:
		return MATCH_MAYBE;
	case POLICY_NAME_SEEN:
		return said ? MATCH_YES : MATCH_NO;
	case POLICY_NAME_NONE:
		break;
	}
	return r->allow && p->strict ? MATCH_NO : MATCH_YES;
}

/** covers() - Does a prefix cover an address of its own family? The short ones of IPv6 begin with the mapped range. */
static bool covers(const struct ip_net *net, const struct ip *ip)
{
	return ip_in(net, ip) && (net->bits >= 96 || !ip_is_v4(ip));
}

/** match_address() - Any target but a name. */
static bool match_address(const struct policy_rule *r, const struct look *look)
{
	switch (r->target) {
	case RULE_ANY:
		return true;
	case RULE_DNS:
		return look->group == POLICY_GROUP_HOST;
	case RULE_GROUP:
		return look->group == r->group;
	case RULE_NET:
		return covers(&r->net, &look->judged) || (!r->allow && covers(&r->net, &look->flow->ip));
	case RULE_DOMAIN:
	case RULE_SUFFIX:
		break;
	}
	return false;
}

/** match_service() - Protocol and port; ICMP has no port, so that a rule on ports is not about it. */
static bool match_service(const struct policy_rule *r, enum policy_protocol protocol, uint16_t port)
{
	bool has_port = protocol == POLICY_TCP || protocol == POLICY_UDP;

	if (r->target == RULE_DNS)
		return has_port && port == DNS_PORT;
	if (!(r->protocols & 1u << protocol))
		return false;
	return !rule_has_ports(r) || (has_port && port >= r->port_low && port <= r->port_high);
}

/** match() - A rule and a flow. */
static enum match match(const struct policy *p, const struct policy_rule *r, const struct look *look)
{
	const struct policy_flow *f = look->flow;

	if (!(r->directions & 1u << f->direction) || !match_service(r, f->protocol, f->port))
		return MATCH_NO;
	if (r->target >= RULE_DOMAIN)
		return match_name(p, r, look);
	return match_address(r, look) ? MATCH_YES : MATCH_NO;
}

/** look_at() - An address: what it is judged as, and its group. */
static void look_at(struct look *look, const struct ip *ip)
{
	const struct policy_facts *f = look->facts;

	look->judged = policy_judged(ip);
	look->group = policy_group_of(ip, f->is_host(f->ctx, ip) ||
						  (!ip_equal(&look->judged, ip) && f->is_host(f->ctx, &look->judged)));
}

/** passes_dns() - Names over ports that our DNS is not asked on: over TLS, over QUIC, NetBIOS, multicast. */
static bool passes_dns(const struct policy_flow *f)
{
	if (f->direction != POLICY_EGRESS)
		return false;
	if (f->protocol == POLICY_TCP)
		return f->port == 853;
	return f->protocol == POLICY_UDP && (f->port == 137 || f->port == 853 || f->port == 5353 || f->port == 5355);
}

/** suits_tenants() - What the multi-tenant profile leaves to the rules. */
static bool suits_tenants(const struct look *look)
{
	const struct policy_flow *f = look->flow;
	bool dns = f->port == DNS_PORT && (f->protocol == POLICY_TCP || f->protocol == POLICY_UDP);

	return f->direction == POLICY_INGRESS || look->group == POLICY_GROUP_PUBLIC ||
	       (look->group == POLICY_GROUP_HOST && dns);
}

void policy_decide(const struct policy *p, const struct policy_flow *flow, const struct policy_facts *facts,
		   struct policy_decision *out)
{
	/* Only a TCP stream of the guest's own has yet to say whom it wants. */
	bool waits = flow->name_state == POLICY_NAME_UNSEEN && flow->protocol == POLICY_TCP &&
		     flow->direction == POLICY_EGRESS;
	struct look look = { .flow = flow, .facts = facts };
	bool maybe[2] = { false, false }; /* a rule that may match denies, allows */
	const struct policy_rule *first = NULL;
	bool allow = p->allow[flow->direction];
	size_t i;

	*out = (struct policy_decision){ POLICY_DENY, POLICY_RULE_NEVER, "such addresses are never relayed" };
	if (policy_never_relayed(&flow->ip))
		return;
	out->text = "such ports are never relayed: they carry names past the sandbox's DNS";
	if (passes_dns(flow))
		return;
	look.name_state = flow->name_state == POLICY_NAME_UNSEEN && !waits ? POLICY_NAME_NONE : flow->name_state;
	look_at(&look, &flow->ip);
	out->text = "this sandbox is one of several tenants: public addresses only";
	if (p->multi_tenant && !suits_tenants(&look))
		return;
	out->rule = POLICY_RULE_DEFAULT;
	out->text = default_text(flow->direction, allow);
	for (i = 0; i < p->rules.count; i++) {
		const struct policy_rule *r = &p->rules.rule[i];
		enum match m = match(p, r, &look);

		if (m == MATCH_YES) {
			allow = r->allow;
			out->rule = (int)i;
			out->text = r->text;
			break;
		}
		maybe[r->allow] |= m == MATCH_MAYBE;
		first = m == MATCH_MAYBE && !first ? r : first;
	}
	out->verdict = allow ? POLICY_ALLOW : POLICY_DENY;
	if (first && maybe[!allow]) {
		out->verdict = POLICY_NEED_NAME;
		out->rule = (int)(first - p->rules.rule);
		out->text = first->text;
	}
}

void policy_decide_question(const struct policy *p, enum policy_protocol protocol, const char *name,
			    struct policy_decision *out)
{
	bool allow = p->allow[POLICY_EGRESS];

	out->rule = POLICY_RULE_DEFAULT;
	out->text = default_text(POLICY_EGRESS, allow);
	for (size_t i = 0; i < p->rules.count; i++) {
		const struct policy_rule *r = &p->rules.rule[i];
		bool at_gateway = r->target == RULE_ANY || r->target == RULE_DNS ||
				  (r->target == RULE_GROUP && r->group == POLICY_GROUP_HOST);

		if (!(r->directions & 1u << POLICY_EGRESS))
			continue;
		if (r->target >= RULE_DOMAIN ? !names_it(r, name)
					     : !at_gateway || !match_service(r, protocol, DNS_PORT))
			continue;
		allow = r->allow;
		out->rule = (int)i;
		out->text = r->text;
		break;
	}
	out->verdict = allow ? POLICY_ALLOW : POLICY_DENY;
}

bool policy_allows_answer(const struct policy *p, const struct ip *ip, const struct policy_facts *facts)
{
	struct policy_flow flow = { .ip = *ip };
	struct look look = { .flow = &flow, .facts = facts };

	if (p->multi_tenant || policy_never_relayed(ip))
		return false;
	look_at(&look, ip);
	for (size_t i = 0; i < p->rules.count; i++) {
		const struct policy_rule *r = &p->rules.rule[i];

		if (!(r->directions & 1u << POLICY_EGRESS) || r->protocols != RULE_ALL_PROTOCOLS || rule_has_ports(r))
			continue;
		/* dns is port 53 only, and a group or any is not an address that somebody wrote. */
		if (r->target == RULE_DNS || (r->allow && r->target != RULE_NET) || !match_address(r, &look))
			continue;
		return r->allow;
	}
	return false;
}
