/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/net_json.h"

#include <stdio.h>
#include <string.h>

#include "base/macros.h"

#define PORT_TEXT_MAX (ENDPOINT_TEXT_MAX + 16)

static const char *const defaults[] = { "deny", "allow" };

/** put() - A value that could be made. Return: false when it could not. */
static bool put(json_t *to, const char *key, json_t *value)
{
	return json_object_set_new(to, key, value) == 0;
}

/** put_words() - Unless there is none. */
static bool put_words(json_t *to, const char *key, const struct net_words *words)
{
	json_t *list = json_array();
	bool good = list != NULL;

	for (size_t i = 0; i < words->count; i++)
		good &= json_array_append_new(list, json_string(words->item[i])) == 0;
	if (words->count)
		return put(to, key, list) && good;
	json_decref(list);
	return good;
}

/** put_ports() - As -p takes them. */
static bool put_ports(json_t *to, const struct net_spec *n)
{
	char bind[ENDPOINT_TEXT_MAX], text[PORT_TEXT_MAX];
	json_t *list = json_array();
	bool good = list != NULL;

	for (size_t i = 0; i < n->port_count; i++) {
		const struct net_port *p = &n->ports[i];

		endpoint_format(&(struct endpoint){ p->bind, p->host_port }, bind);
		snprintf(text, sizeof(text), "%s:%u/%s", bind, p->guest_port, p->udp ? "udp" : "tcp");
		good &= json_array_append_new(list, json_string(text)) == 0;
	}
	if (n->port_count)
		return put(to, "ports", list) && good;
	json_decref(list);
	return good;
}

/* Keys below "rates". */
static const char *const rate_keys[RATE_DIRECTIONS][RATE_KINDS] = {
	[RATE_EGRESS] = { [RATE_BYTES] = "egress_bandwidth", [RATE_PACKETS] = "egress_ops" },
	[RATE_INGRESS] = { [RATE_BYTES] = "ingress_bandwidth", [RATE_PACKETS] = "ingress_ops" },
};

/** put_rates() - Those there are. */
static bool put_rates(json_t *to, const struct rates *rates)
{
	json_t *all = json_object();
	bool good = all != NULL;

	for (size_t i = 0; i < RATE_DIRECTIONS * RATE_KINDS; i++) {
		const struct rate *r = &rates->of[i / RATE_KINDS][i % RATE_KINDS];

		if (r->amount)
			good &= put(all, rate_keys[i / RATE_KINDS][i % RATE_KINDS],
				    json_pack("{s:I,s:I,s:I}", "amount", (json_int_t)r->amount, "interval_ms",
					      (json_int_t)r->interval_ms, "burst", (json_int_t)r->burst));
	}
	if (json_object_size(all))
		return put(to, "rates", all) && good;
	json_decref(all);
	return good;
}

json_t *net_json_encode(const struct net_spec *n)
{
	json_t *to = json_object();
	bool good = to != NULL;

	if (n->none) {
		good = good && put(to, "none", json_true());
	} else {
		good = good && put_words(to, "rules", &n->rules) &&
		       put(to, "egress", json_string(defaults[n->allow_egress])) &&
		       put(to, "ingress", json_string(defaults[n->allow_ingress])) &&
		       put(to, "strict", json_boolean(n->strict)) &&
		       (!n->multi_tenant || put(to, "multi_tenant", json_true())) &&
		       put_words(to, "block_domains", &n->block_domains) &&
		       put_words(to, "block_suffixes", &n->block_suffixes) &&
		       put_words(to, "nameservers", &n->nameservers) &&
		       put(to, "dns_timeout_ms", json_integer(n->dns_timeout_ms)) &&
		       put(to, "rebind_protection", json_boolean(!n->no_rebind_protection)) &&
		       put(to, "max_connections", json_integer(n->max_connections)) &&
		       put(to, "mtu", json_integer(n->mtu)) && put_ports(to, n) && put_rates(to, &n->rates) &&
		       (!n->pcap || put(to, "pcap", json_string(n->pcap)));
	}
	if (good)
		return to;
	json_decref(to);
	return NULL;
}

/** get_words() - Return: false when it is there and not a list of texts. */
static bool get_words(const json_t *from, const char *key, struct net_words *out)
{
	const json_t *list = json_object_get(from, key);

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (!text || !net_words_add(out, text))
			return false;
	}
	return !list || json_is_array(list);
}

/** get_default() - When it is there. */
static bool get_default(const json_t *from, const char *key, bool *out)
{
	const json_t *v = json_object_get(from, key);
	const char *text = json_string_value(v);

	if (text && strcmp(text, defaults[0]) != 0 && strcmp(text, defaults[1]) != 0)
		return false;
	if (text)
		*out = strcmp(text, defaults[1]) == 0;
	return !v || text;
}

/** get_flag() - When it is there. */
static bool get_flag(const json_t *from, const char *key, bool *out)
{
	const json_t *v = json_object_get(from, key);

	if (v)
		*out = json_is_true(v);
	return !v || json_is_boolean(v);
}

/** get_number() - When it is there. */
static bool get_number(const json_t *from, const char *key, uint32_t *out)
{
	const json_t *v = json_object_get(from, key);
	json_int_t n = json_integer_value(v);

	if (v && (!json_is_integer(v) || n < 0 || n > UINT32_MAX))
		return false;
	if (v)
		*out = (uint32_t)n;
	return true;
}

/** get_ports() - The reverse of put_ports(). */
static bool get_ports(const json_t *from, struct net_spec *out)
{
	const json_t *list = json_object_get(from, "ports");
	size_t count = json_array_size(list);

	if (!list)
		return true;
	if (!json_is_array(list) || count > NET_PORTS_MAX)
		return false;
	out->ports = calloc(count + 1, sizeof(*out->ports));
	if (!out->ports)
		return false;
	for (size_t i = 0; i < count; i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (!text || net_port_parse(text, &out->ports[i], NULL) < 0)
			return false;
	}
	out->port_count = count;
	return true;
}

/** get_rates() - The reverse of put_rates(). */
static bool get_rates(const json_t *from, struct rates *out)
{
	const json_t *all = json_object_get(from, "rates");

	for (size_t i = 0; i < RATE_DIRECTIONS * RATE_KINDS; i++) {
		const json_t *one = json_object_get(all, rate_keys[i / RATE_KINDS][i % RATE_KINDS]);
		const json_t *amount = json_object_get(one, "amount"), *burst = json_object_get(one, "burst");
		struct rate *r = &out->of[i / RATE_KINDS][i % RATE_KINDS];

		if (!one)
			continue;
		if (!json_is_integer(amount) || !json_is_integer(burst) || json_integer_value(amount) <= 0 ||
		    json_integer_value(burst) < 0 || !get_number(one, "interval_ms", &r->interval_ms))
			return false;
		r->amount = (uint64_t)json_integer_value(amount);
		r->burst = (uint64_t)json_integer_value(burst);
	}
	return !all || json_is_object(all);
}

/** get_pcap() - An absolute path. */
static bool get_pcap(const json_t *from, struct net_spec *out)
{
	const json_t *v = json_object_get(from, "pcap");
	const char *path = json_string_value(v);

	if (!v)
		return true;
	if (!path || path[0] != '/')
		return false;
	out->pcap = strdup(path);
	return out->pcap != NULL;
}

bool net_json_decode(const json_t *from, struct net_spec *out)
{
	bool rebind = true;

	if (!from)
		return net_spec_default(out);
	*out = (struct net_spec){ .allow_ingress = true,
				  .dns_timeout_ms = NET_DNS_TIMEOUT_MS,
				  .max_connections = NET_CONNECTIONS,
				  .mtu = NET_MTU };
	if (!json_is_object(from) || !get_flag(from, "none", &out->none) || !get_words(from, "rules", &out->rules) ||
	    !get_default(from, "egress", &out->allow_egress) || !get_default(from, "ingress", &out->allow_ingress) ||
	    !get_flag(from, "strict", &out->strict) || !get_flag(from, "multi_tenant", &out->multi_tenant) ||
	    !get_words(from, "block_domains", &out->block_domains) ||
	    !get_words(from, "block_suffixes", &out->block_suffixes) ||
	    !get_words(from, "nameservers", &out->nameservers) ||
	    !get_number(from, "dns_timeout_ms", &out->dns_timeout_ms) ||
	    !get_flag(from, "rebind_protection", &rebind) ||
	    !get_number(from, "max_connections", &out->max_connections) || !get_number(from, "mtu", &out->mtu) ||
	    !get_ports(from, out) || !get_rates(from, &out->rates) || !get_pcap(from, out))
		return false;
	out->no_rebind_protection = !rebind;
	return net_spec_check(out, NULL) == 0;
}
