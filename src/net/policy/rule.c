/* SPDX-License-Identifier: Apache-2.0 */
/* The grammar of rules. Each refusal quotes the token, says what was expected and what may have been meant. */
#include "net/policy/rule.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "base/nearest.h"
#include "base/num.h"

#define QUOTE 120 /* bytes of a token in an error */

static const char *const protocols[] = {
	[POLICY_TCP] = "tcp", [POLICY_UDP] = "udp", [POLICY_ICMPV4] = "icmpv4", [POLICY_ICMPV6] = "icmpv6"
};
_Static_assert(ARRAY_LEN(protocols) == POLICY_PROTOCOL_COUNT, "a name for each protocol");

const char *policy_protocol_name(enum policy_protocol protocol)
{
	return protocols[protocol];
}

/** A rule while it is read: what was typed, for errors, and a copy that is cut into tokens. */
struct reading {
	const char *typed;
	char *rest;
	struct policy_rule *rule;
	struct error *err;
};

/** refuse() - @token: what is wrong; the text says what was expected. */
__attribute__((format(printf, 3, 4))) static int refuse(struct reading *in, const char *token, const char *fmt, ...)
{
	char why[320];
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, sizeof(why), fmt, args);
	va_end(args);
	if (strcmp(token, in->typed) == 0)
		return err_set(in->err, ERR_USAGE, 0, "rule \"%.*s\" %s", QUOTE, token, why);
	return err_set(in->err, ERR_USAGE, 0, "rule \"%.*s\": \"%.*s\" %s", QUOTE, in->typed, QUOTE / 2, token, why);
}

/** unknown() - A word of a fixed list was expected. */
static int unknown(struct reading *in, const char *token, const char *const *words, size_t count, const char *what)
{
	const char *near = nearest(token, words, count);

	return refuse(in, token, "is no %s%s%s%s", what, near ? "; did you mean \"" : "", near ? near : "",
		      near ? "\"?" : "");
}

/** find() - The place of a word in a list, or count. */
static size_t find(const char *word, const char *const *words, size_t count)
{
	size_t i = 0;

	while (i < count && strcmp(words[i], word) != 0)
		i++;
	return i;
}

bool rule_name(const char *text, char out[POLICY_NAME_MAX])
{
	size_t n = strlen(text), label = 0;
	bool digits = true; /* a last label of digits makes an address, never a name */

	n -= n > 1 && text[n - 1] == '.';
	if (n == 0 || n >= POLICY_NAME_MAX)
		return false;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '.' && label == 0)
			return false;
		if (c != '.' && (c > 127 || (!isalnum(c) && c != '-' && c != '_')))
			return false;
		label = c == '.' ? 0 : label + 1;
		digits = c == '.' || (digits && isdigit(c));
		if (label > 63)
			return false;
		out[i] = (char)tolower(c);
	}
	out[n] = '\0';
	return label > 0 && !digits;
}

/** read_name() - Of a target. @labels: how many it must have */
static int read_name(struct reading *in, const char *token, enum rule_target target, unsigned int labels)
{
	struct policy_rule *r = in->rule;

	for (const char *p = token; *p; p++)
		if ((unsigned char)*p > 127)
			return refuse(in, token, "is not ASCII; write such a name as DNS has it (xn--...)");
	if (!rule_name(token, r->name))
		return refuse(in, token,
			      "is not a name; expected letters, digits, '-' and '_' between dots, as in example.com");
	if (labels > 1 && !strchr(r->name, '.'))
		return refuse(in, token, "has one label only; expected at least two, as in suffix=example.com");
	r->target = target;
	return 0;
}

/** network_of() - The prefix that an address with too many bits lies in, for a suggestion. */
static bool network_of(const char *token, char to[IP_TEXT_MAX + 8])
{
	char address[IP_TEXT_MAX], text[IP_TEXT_MAX];
	const char *slash = strchr(token, '/');
	uint64_t bits, before;
	struct ip ip;

	snprintf(address, sizeof(address), "%.*s", slash ? (int)MIN(slash - token, IP_TEXT_MAX - 1) : 0, token);
	if (!slash || !ip_parse(address, &ip))
		return false;
	before = strchr(address, ':') ? 0 : 96;
	if (!num_parse_u64(slash + 1, 128 - before, &bits))
		return false;
	for (uint64_t i = before + bits; i < 128; i++)
		ip.b[i / 8] &= (uint8_t) ~(0x80u >> (i % 8));
	snprintf(to, IP_TEXT_MAX + 8, "%s/%u", ip_format(&ip, text), (unsigned int)bits);
	return true;
}

/** read_net() - An address or a prefix. */
static int read_net(struct reading *in, const char *token)
{
	struct policy_rule *r = in->rule;
	char meant[IP_TEXT_MAX + 8], text[IP_TEXT_MAX];
	struct ip judged;

	if (!ip_net_parse(token, &r->net)) {
		if (network_of(token, meant))
			return refuse(in, token, "has bits behind its prefix; did you mean %s?", meant);
		return refuse(in, token, "is no address or prefix; expected 1.2.3.4, 10.0.0.0/8 or [2001:db8::]/32");
	}
	r->target = RULE_NET;
	/* Such addresses are judged as the IPv4 inside: a permission of them would never be looked at. */
	if (r->allow && ((r->net.bits >= policy_nat64.bits && ip_in(&policy_nat64, &r->net.ip)) ||
			 (r->net.bits >= policy_6to4.bits && ip_in(&policy_6to4, &r->net.ip)))) {
		judged = policy_judged(&r->net.ip);
		return refuse(in, token, "holds IPv4 addresses, which count; allow those (here %s), or 0.0.0.0/0",
			      ip_format(&judged, text));
	}
	return 0;
}

/** read_word() - A target that is neither address nor marked as a name: any, dns, a group, a name with dots. */
static int read_word(struct reading *in, const char *token)
{
	const char *words[POLICY_GROUP_COUNT + 1] = { "any", "dns" };
	struct policy_rule *r = in->rule;
	const char *near;
	size_t at;

	for (size_t g = POLICY_GROUP_HOST; g < POLICY_GROUP_COUNT; g++)
		words[g + 1] = policy_group_name((enum policy_group)g);
	at = find(token, words, ARRAY_LEN(words));
	if (at < ARRAY_LEN(words)) {
		r->target = at == 0 ? RULE_ANY : at == 1 ? RULE_DNS : RULE_GROUP;
		r->group = at > 1 ? (enum policy_group)(at - 1) : POLICY_GROUP_NONE;
		return 0;
	}
	if (strchr(token, '.'))
		return read_name(in, token, RULE_DOMAIN, 2);
	if (!*token)
		return refuse(in, in->typed,
			      "has no target; expected any, dns, a group (public), an address or a name "
			      "(example.com) after the @");
	near = nearest(token, words, ARRAY_LEN(words));
	if (near)
		return refuse(in, token, "is no target; did you mean \"%s\"?", near);
	return refuse(in, token,
		      "is no target; expected any, dns, host, meta, loopback, private, link-local, multicast, "
		      "public, an address, a name with a dot, or domain=NAME");
}

/** is_address_like() - Digits and dots, or a prefix. */
static bool is_address_like(const char *token)
{
	return strchr(token, '/') || (isdigit((unsigned char)token[0]) && token[strspn(token, "0123456789.")] == '\0');
}

/** read_target() - Up to the colon before the protocol; in->rest is what follows, NULL when nothing does. */
static int read_target(struct reading *in)
{
	char *token = in->rest, *end, *colon = strchr(token, ':');

	if (*token == '[') {
		end = strchr(token, ']');
		if (!end)
			return refuse(in, token, "has no closing bracket");
		token++;
		*end = '\0';
		/* [2001:db8::]/32 is as good as [2001:db8::/32]. */
		if (end[1] == '/') {
			size_t n = strcspn(end + 1, ":");

			memmove(end, end + 1, n);
			in->rest = end + 1 + n;
			end[n] = '\0';
		} else {
			in->rest = end + 1;
		}
		if (*in->rest && *in->rest != ':')
			return refuse(in, in->rest, "follows a bracket; expected :PROTOCOL or nothing");
		in->rest = *in->rest ? in->rest + 1 : NULL;
		if (!strchr(token, ':'))
			return refuse(in, token, "is no IPv6 address; expected one between brackets");
		return read_net(in, token);
	}
	/* Without brackets an IPv6 address is the whole rest. */
	if (colon && strchr(colon + 1, ':') && token[strspn(token, "0123456789abcdefABCDEF:./")] == '\0') {
		in->rest = NULL;
		return read_net(in, token);
	}
	if (strstr(token, "::"))
		return refuse(in, token, "holds an IPv6 address; expected it in brackets, as in [2001:db8::1]:tcp:443");
	in->rest = colon ? colon + 1 : NULL;
	if (colon)
		*colon = '\0';
	if (strncmp(token, "domain=", 7) == 0)
		return read_name(in, token + 7, RULE_DOMAIN, 1);
	if (strncmp(token, "suffix=", 7) == 0)
		return read_name(in, token + 7, RULE_SUFFIX, 2);
	if (strncmp(token, "*.", 2) == 0)
		return read_name(in, token + 2, RULE_SUFFIX, 2);
	if (strchr(token, '='))
		return refuse(in, token, "is no target; expected domain=NAME or suffix=NAME");
	return is_address_like(token) ? read_net(in, token) : read_word(in, token);
}

/** read_port() - One number. */
static int read_port(struct reading *in, const char *token, uint16_t *out)
{
	uint64_t n;

	if (!num_parse_u64(token, UINT16_MAX, &n) || n == 0)
		return refuse(in, token, "is no port; expected 1 to 65535, a range such as 8000-8999, or any");
	*out = (uint16_t)n;
	return 0;
}

/** read_ports() - any, N, LO-HI. */
static int read_ports(struct reading *in, char *token)
{
	struct policy_rule *r = in->rule;
	char *dash = strchr(token, '-');

	if (strcmp(token, "any") == 0)
		return 0;
	if (!dash) {
		if (read_port(in, token, &r->port_low) < 0)
			return -(int)ERR_USAGE;
		r->port_high = r->port_low;
		return 0;
	}
	*dash = '\0';
	if (read_port(in, token, &r->port_low) < 0 || read_port(in, dash + 1, &r->port_high) < 0)
		return -(int)ERR_USAGE;
	if (r->port_low > r->port_high)
		return refuse(in, token, "begins a range that ends at %u; expected the lower port first", r->port_high);
	return 0;
}

/** read_protocol() - any or one of them. */
static int read_protocol(struct reading *in, const char *token)
{
	/* In the order in which they are suggested: icmp is as near to tcp. */
	static const char *const words[] = { "any", "icmpv4", "icmpv6", "tcp", "udp" };
	size_t at = find(token, words, ARRAY_LEN(words));

	if (at == 0)
		return 0;
	if (at < ARRAY_LEN(words)) {
		in->rule->protocols = 1u << find(token, protocols, ARRAY_LEN(protocols));
		return 0;
	}
	if (*token && token[strspn(token, "0123456789-")] == '\0')
		return refuse(in, token, "is a port; the protocol comes before it, as in :tcp:%s", token);
	return unknown(in, token, words, ARRAY_LEN(words), "protocol; expected any, tcp, udp, icmpv4 or icmpv6");
}

/** read_service() - [":" PROTO [":" PORTS]], and what does not go together. */
static int read_service(struct reading *in)
{
	struct policy_rule *r = in->rule;
	char *proto = in->rest ? strsep(&in->rest, ":") : NULL, *ports = in->rest ? strsep(&in->rest, ":") : NULL;
	bool icmp;

	if (in->rest)
		return refuse(in, in->rest, "is too much; a rule ends with its ports (an IPv6 address needs brackets)");
	if (r->target == RULE_DNS && proto)
		return refuse(in, proto, "is too much: \"dns\" is tcp and udp port 53 of the gateway already");
	if (r->target == RULE_DNS && r->directions != 1u << POLICY_EGRESS)
		return refuse(in, "dns", "is for egress only; leave the direction out");
	if ((proto && read_protocol(in, proto) < 0) || (ports && read_ports(in, ports) < 0))
		return -(int)ERR_USAGE;
	icmp = proto && strncmp(proto, "icmp", 4) == 0;
	if (icmp && r->directions != 1u << POLICY_EGRESS)
		return refuse(in, proto, "is for egress only; leave the direction out");
	if (icmp && ports)
		return refuse(in, ports, "is too much: %s has no ports", proto);
	return 0;
}

/** read_action() - ACTION [":" DIRECTION], up to the @. */
static int read_action(struct reading *in)
{
	static const char *const actions[] = { "allow", "deny" }, *const directions[] = { "egress", "ingress", "any" };
	struct policy_rule *r = in->rule;
	char *action = strsep(&in->rest, "@"), *direction;
	size_t at;

	if (!in->rest)
		return refuse(in, action,
			      "has no \"@\"; expected ACTION@TARGET, as in allow@public or deny@10.0.0.0/8");
	direction = action;
	action = strsep(&direction, ":");
	at = find(action, actions, ARRAY_LEN(actions));
	if (at == ARRAY_LEN(actions))
		return unknown(in, action, actions, ARRAY_LEN(actions), "action; expected allow or deny");
	r->allow = at == 0;
	r->directions = 1u << POLICY_EGRESS;
	if (!direction)
		return 0;
	at = find(direction, directions, ARRAY_LEN(directions));
	if (at == ARRAY_LEN(directions))
		return unknown(in, direction, directions, ARRAY_LEN(directions),
			       "direction; expected egress, ingress or any");
	r->directions = at == 2 ? RULE_ALL_DIRECTIONS : 1u << at;
	return 0;
}

/** put_text() - The shortest spelling, which reads as the same rule again. */
static void put_text(struct policy_rule *r)
{
	bool in = r->directions & 1u << POLICY_INGRESS, out = r->directions & 1u << POLICY_EGRESS;
	char target[POLICY_NAME_MAX + 16], ip[IP_TEXT_MAX], service[32] = "";
	const char *proto = r->protocols == RULE_ALL_PROTOCOLS ? "any" : NULL;
	bool v4 = ip_is_v4(&r->net.ip) && r->net.bits >= 96;

	for (size_t i = 0; !proto && i < ARRAY_LEN(protocols); i++)
		if (r->protocols == 1u << i)
			proto = protocols[i];
	if (rule_has_ports(r))
		snprintf(service, sizeof(service), r->port_low == r->port_high ? ":%s:%u" : ":%s:%u-%u", proto,
			 r->port_low, r->port_high);
	else if (r->protocols != RULE_ALL_PROTOCOLS)
		snprintf(service, sizeof(service), ":%s", proto);
	switch (r->target) {
	case RULE_ANY:
	case RULE_DNS:
		snprintf(target, sizeof(target), "%s", r->target == RULE_ANY ? "any" : "dns");
		break;
	case RULE_GROUP:
		snprintf(target, sizeof(target), "%s", policy_group_name(r->group));
		break;
	case RULE_NET:
		ip_format(&r->net.ip, ip);
		if (r->net.bits == 128)
			snprintf(target, sizeof(target), v4 ? "%s" : "[%s]", ip);
		else
			snprintf(target, sizeof(target), v4 ? "%s/%u" : "[%s/%u]", ip,
				 v4 ? r->net.bits - 96u : r->net.bits);
		break;
	case RULE_DOMAIN:
		snprintf(target, sizeof(target), strchr(r->name, '.') ? "%s" : "domain=%s", r->name);
		break;
	case RULE_SUFFIX:
		snprintf(target, sizeof(target), "suffix=%s", r->name);
		break;
	}
	snprintf(r->text, sizeof(r->text), "%s%s@%s%s", r->allow ? "allow" : "deny",
		 in && out ? ":any"
		 : in	   ? ":ingress"
			   : "",
		 target, service);
}

/** more() - Room for one more rule at the end of a list, set to any protocol and port. */
static struct policy_rule *more(struct rule_list *list, struct error *err)
{
	struct policy_rule *grown;

	if (list->count == POLICY_RULES_MAX) {
		err_set(err, ERR_USAGE, 0, "more than %d rules", POLICY_RULES_MAX);
		return NULL;
	}
	/* In steps of powers of two. */
	if ((list->count & (list->count - 1)) == 0) {
		grown = reallocarray(list->rule, list->count ? 2 * list->count : 1, sizeof(*grown));
		if (!grown) {
			err_set(err, ERR_NO_MEMORY, 0, "out of memory");
			return NULL;
		}
		list->rule = grown;
	}
	grown = &list->rule[list->count];
	*grown = (struct policy_rule){ .protocols = RULE_ALL_PROTOCOLS, .port_high = UINT16_MAX };
	return grown;
}

/** trim() - Without blanks at either end. */
static char *trim(char *text)
{
	size_t n;

	text += strspn(text, " \t");
	for (n = strlen(text); n && strchr(" \t", text[n - 1]); n--)
		text[n - 1] = '\0';
	return text;
}

int rule_list_parse(struct rule_list *list, const char *text, struct error *err)
{
	_cleanup_(freep) char *copy = NULL;
	char *rest, typed[QUOTE + 2];

	if (strlen(text) > RULE_LIST_TEXT_MAX)
		return err_set(err, ERR_USAGE, 0, "rules of more than %d bytes", RULE_LIST_TEXT_MAX);
	copy = strdup(text);
	if (!copy)
		return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	rest = copy;
	while (rest) {
		char *one = trim(strsep(&rest, ","));
		struct reading in = { .typed = typed, .rest = one, .rule = more(list, err), .err = err };

		if (!in.rule)
			return -(int)err->code;
		if (!*one)
			return err_set(
				err, ERR_USAGE, 0,
				"rules \"%.*s\": one of them is empty; expected ACTION@TARGET, as in allow@public",
				QUOTE, text);
		snprintf(typed, sizeof(typed), "%s", one); /* one is cut up while it is read */
		if (read_action(&in) < 0 || read_target(&in) < 0 || read_service(&in) < 0)
			return -(int)err->code;
		put_text(in.rule);
		list->count++;
	}
	return 0;
}

int rule_list_block(struct rule_list *list, const char *name, bool below, struct error *err)
{
	const char *option = below ? "dns-block-suffix" : "dns-block-domain";
	struct policy_rule *r = more(list, err);

	if (!r)
		return -(int)err->code;
	if (!rule_name(name + (below && name[0] == '.'), r->name))
		return err_set(
			err, ERR_USAGE, 0,
			"--%s: \"%.*s\" is not a name; expected letters, digits, '-' and '_' between dots, as in "
			"ads.example.com",
			option, QUOTE, name);
	r->directions = 1u << POLICY_EGRESS;
	r->target = below ? RULE_SUFFIX : RULE_DOMAIN;
	snprintf(r->text, sizeof(r->text), "--%s %s", option, r->name);
	list->count++;
	return 0;
}
