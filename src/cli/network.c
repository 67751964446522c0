/* SPDX-License-Identifier: Apache-2.0 */
/* The options of run and create that say what the network of a sandbox is. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/macros.h"
#include "base/num.h"
#include "cli/creation.h"
#include "net/policy/profile.h"

/** rate_option() - The option of a limit. */
static const char *rate_option(size_t direction, size_t kind)
{
	static const char *const names[RATE_DIRECTIONS][RATE_KINDS] = {
		[RATE_EGRESS] = { [RATE_BYTES] = "--net-egress-bandwidth", [RATE_PACKETS] = "--net-egress-ops" },
		[RATE_INGRESS] = { [RATE_BYTES] = "--net-ingress-bandwidth", [RATE_PACKETS] = "--net-ingress-ops" },
	};

	return names[direction][kind];
}

const char *creation_network_given(void)
{
	const struct creation *c = &creation;
	const struct {
		const char *option;
		bool given;
	} all[] = {
		{ "--no-network", c->no_network },
		{ "--port", c->ports.count },
		{ "--net", c->net },
		{ "--no-net", c->no_net },
		{ "--net-rule", c->net_rules.count },
		{ "--net-default", c->net_default },
		{ "--net-default-egress", c->net_egress },
		{ "--net-default-ingress", c->net_ingress },
		{ "--net-strict", c->net_strict },
		{ "--net-mtu", c->net_mtu },
		{ "--net-pcap", c->net_pcap },
		{ "--max-connections", c->max_connections },
		{ "--dns-nameserver", c->nameservers.count },
		{ "--dns-query-timeout-ms", c->dns_timeout_ms },
		{ "--dns-block-domain", c->block_domains.count },
		{ "--dns-block-suffix", c->block_suffixes.count },
		{ "--no-dns-rebind-protection", c->no_rebind_protection },
	};
	/* Without a network the others would mean nothing: it is named last, when it is the only one. */
	for (size_t i = 1; i < ARRAY_LEN(all); i++)
		if (all[i].given)
			return all[i].option;
	for (size_t d = 0; d < RATE_DIRECTIONS; d++)
		for (size_t k = 0; k < RATE_KINDS; k++)
			if (c->rates[d][k])
				return rate_option(d, k);
	return all[0].given ? all[0].option : NULL;
}

/** choose_policy() - Rules and defaults. */
static int choose_policy(struct net_spec *out, struct error *err)
{
	const struct creation *c = &creation;
	const struct policy_choice choice = { .groups = c->net,
					      .no_net = c->no_net,
					      .fallback = c->net_default,
					      .egress = c->net_egress,
					      .ingress = c->net_ingress,
					      .rules = c->net_rules.item,
					      .rule_count = c->net_rules.count };
	struct policy *p = policy_choose(&choice, err);

	if (!p)
		return -(int)err->code;
	for (size_t i = 0; i < policy_rule_count(p); i++)
		if (!net_words_add(&out->rules, policy_rule_text(p, i)))
			err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	out->allow_egress = policy_default(p, POLICY_EGRESS);
	out->allow_ingress = policy_default(p, POLICY_INGRESS);
	policy_free(p);
	return -(int)err->code;
}

/** read_amount() - BYTES, which may have a K, M or G, or a number of packets. */
static int read_amount(const char *option, const char *text, size_t n, size_t kind, uint64_t *out, struct error *err)
{
	static const char letters[] = "KMG";
	const char *letter = n && kind == RATE_BYTES ? strchr(letters, text[n - 1]) : NULL;
	int shift = letter ? 10 * (int)(letter - letters + 1) : 0;
	char digits[24];

	snprintf(digits, sizeof(digits), "%.*s", (int)MIN(n, sizeof(digits) - 1) - (letter != NULL), text);
	if (n < sizeof(digits) && num_parse_u64(digits, RATE_AMOUNT_MAX >> shift, out) && *out) {
		*out <<= shift;
		return 0;
	}
	return err_set(err, ERR_USAGE, 0, "%s: \"%.*s\" is no %s", option, (int)MIN(n, (size_t)60), text,
		       kind == RATE_BYTES ? "number of bytes; expected one such as 500K, 10M or 1G"
					  : "number of packets; expected one such as 1000");
}

/** choose_rates() - AMOUNT[/TIME], and a burst where there is a limit. */
static int choose_rates(struct rates *out, struct error *err)
{
	for (size_t i = 0; i < RATE_DIRECTIONS * RATE_KINDS; i++) {
		size_t d = i / RATE_KINDS, k = i % RATE_KINDS;
		const char *text = creation.rates[d][k], *burst = creation.bursts[d][k], *slash;
		struct rate *r = &out->of[d][k];
		uint64_t ms = 1000;
		const char *option = rate_option(d, k);

		if (burst && !text)
			return err_set(err, ERR_USAGE, 0, "%s-burst needs %s", option, option);
		if (!text)
			continue;
		slash = strchr(text, '/');
		if (read_amount(option, text, slash ? (size_t)(slash - text) : strlen(text), k, &r->amount, err) < 0 ||
		    (slash && unit_duration_ms(option + 2, slash + 1, false, &ms, err) < 0))
			return -(int)err->code;
		if (ms > RATE_INTERVAL_MS_MAX)
			return err_set(err, ERR_USAGE, 0, "%s: \"%.40s\" is longer than a day", option, slash + 1);
		r->interval_ms = (uint32_t)ms;
		if (burst && read_amount(option, burst, strlen(burst), k, &r->burst, err) < 0)
			return -(int)err->code;
	}
	return 0;
}

/** choose_pcap() - Where it is meant from here: the sandbox starts elsewhere. */
static int choose_pcap(const char *typed, char **out, struct error *err)
{
	_cleanup_(freep) char *here = NULL;

	if (!*typed)
		return err_set(err, ERR_USAGE, 0, "--net-pcap: the file's name is empty");
	if (typed[0] != '/') {
		here = getcwd(NULL, 0);
		if (!here)
			return err_set(err, ERR_USAGE, errno, "--net-pcap: %.100s: the working directory", typed);
	}
	if (asprintf(out, "%s%s%s", here ? here : "", here ? "/" : "", typed) < 0)
		return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	return 0;
}

/** suit_tenants() - Leave out what the multi-tenant profile forbids, and say so. Contract 4.10. */
static void suit_tenants(struct net_spec *n)
{
	const struct {
		const char *option;
		bool given;
	} dropped[] = { { "--dns-nameserver", n->nameservers.count },
			{ "--port", n->port_count },
			{ "--no-dns-rebind-protection", n->no_rebind_protection } };

	for (size_t i = 0; i < ARRAY_LEN(dropped); i++)
		if (dropped[i].given && !creation.quiet)
			fprintf(stderr, "warn: %s does not go with multi-tenant: left out\n", dropped[i].option);
	net_words_clear(&n->nameservers);
	n->port_count = 0;
	n->no_rebind_protection = false;
	n->max_connections = MIN(n->max_connections, (uint32_t)NET_CONNECTIONS);
}

int creation_network(struct net_spec *out, struct error *err)
{
	const struct creation *c = &creation;

	*out = (struct net_spec){
		.none = c->no_network,
		.strict = c->net_strict,
		.multi_tenant = c->deployment && strcmp(c->deployment, "multi-tenant") == 0,
		.no_rebind_protection = c->no_rebind_protection,
		.mtu = c->net_mtu ? (uint32_t)c->net_mtu : NET_MTU,
		.max_connections = c->max_connections ? (uint32_t)c->max_connections : NET_CONNECTIONS,
		.dns_timeout_ms = c->dns_timeout_ms ? (uint32_t)c->dns_timeout_ms : NET_DNS_TIMEOUT_MS,
	};
	if (c->no_network && strcmp(creation_network_given(), "--no-network") != 0) {
		err_set(err, ERR_USAGE, 0, "--no-network and %s exclude each other", creation_network_given());
		return err_hint(err, "--no-net keeps the network card and denies what --net-rule does not allow");
	}
	if (choose_policy(out, err) < 0 || choose_rates(&out->rates, err) < 0)
		return -(int)err->code;
	for (size_t i = 0; i < c->block_domains.count; i++)
		if (net_spec_block(out, c->block_domains.item[i], false, err) < 0)
			return -(int)err->code;
	for (size_t i = 0; i < c->block_suffixes.count; i++)
		if (net_spec_block(out, c->block_suffixes.item[i], true, err) < 0)
			return -(int)err->code;
	for (size_t i = 0; i < c->nameservers.count; i++)
		if (net_spec_ask(out, c->nameservers.item[i], err) < 0)
			return err_wrap(err, "--dns-nameserver");
	for (size_t i = 0; i < c->ports.count; i++)
		if (net_spec_publish(out, c->ports.item[i], err) < 0)
			return err_wrap(err, "--port");
	if (out->multi_tenant)
		suit_tenants(out);
	if (c->net_pcap && choose_pcap(c->net_pcap, &out->pcap, err) < 0)
		return -(int)err->code;
	return net_spec_check(out, err); /* all of it together: rules and blocked names share a limit */
}
