/* SPDX-License-Identifier: Apache-2.0 */
#include "net/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "proto/cbor.h"

/* Keys of the map, which are written in this order, all of them. */
enum key {
	KEY_GUEST_MAC = 1,
	KEY_GATEWAY_MAC,
	KEY_GUEST4,
	KEY_GATEWAY4,
	KEY_GUEST6,
	KEY_GATEWAY6,
	KEY_HAVE4,
	KEY_HAVE6,
	KEY_MTU,
	KEY_MAX_CONNECTIONS,
	KEY_RULES,
	KEY_EGRESS,
	KEY_INGRESS,
	KEY_STRICT,
	KEY_MULTI_TENANT,
	KEY_NAMESERVERS,
	KEY_REBIND,
	KEY_DNS_TIMEOUT,
	KEY_BLOCKED,
	KEY_SUFFIXES,
	KEY_RATES,
	KEY_PORTS,
	KEY_END
};

/* encode */

static bool put_bytes(struct buf *out, const void *data, size_t n)
{
	return cbor_put_head(out, CBOR_BYTES, n) && buf_append(out, data, n);
}

static bool put_key(struct buf *out, enum key key)
{
	return cbor_put_head(out, CBOR_UINT, (uint64_t)key);
}

static bool put_names(struct buf *out, const char *const *names, size_t count)
{
	bool ok = count <= GATEWAY_NAMES_MAX && cbor_put_head(out, CBOR_ARRAY, count);

	for (size_t i = 0; ok && i < count; i++)
		ok = cbor_put_string(out, names[i]);
	return ok;
}

/** put_endpoints() - Pairs, one after the other. */
static bool put_endpoints(struct buf *out, const struct gateway_config *c)
{
	bool ok = c->nameserver_count <= GATEWAY_NAMESERVERS_MAX &&
		  cbor_put_head(out, CBOR_ARRAY, 2 * c->nameserver_count);

	for (size_t i = 0; ok && i < c->nameserver_count; i++)
		ok = put_bytes(out, c->nameservers[i].ip.b, 16) &&
		     cbor_put_head(out, CBOR_UINT, c->nameservers[i].port);
	return ok;
}

static bool put_ports(struct buf *out, const struct gateway_config *c)
{
	bool ok = c->port_count <= GATEWAY_PORTS_MAX && cbor_put_head(out, CBOR_ARRAY, 2 * c->port_count);

	for (size_t i = 0; ok && i < c->port_count; i++)
		ok = cbor_put_bool(out, c->ports[i].udp) && cbor_put_head(out, CBOR_UINT, c->ports[i].guest_port);
	return ok;
}

/** put_rates() - Three numbers each. */
static bool put_rates(struct buf *out, const struct rates *rates)
{
	bool ok = cbor_put_head(out, CBOR_ARRAY, 3 * RATE_DIRECTIONS * RATE_KINDS);

	for (int i = 0; ok && i < RATE_DIRECTIONS * RATE_KINDS; i++) {
		const struct rate *r = &rates->of[i / RATE_KINDS][i % RATE_KINDS];

		ok = cbor_put_head(out, CBOR_UINT, r->amount) && cbor_put_head(out, CBOR_UINT, r->burst) &&
		     cbor_put_head(out, CBOR_UINT, r->interval_ms);
	}
	return ok;
}

static const char *text(const char *s)
{
	return s ? s : "";
}

bool gateway_config_encode(struct buf *out, const struct gateway_config *c)
{
	size_t before = out->len;

	return cbor_put_head(out, CBOR_MAP, KEY_END - 1) && put_key(out, KEY_GUEST_MAC) &&
	       put_bytes(out, c->guest_mac, 6) && put_key(out, KEY_GATEWAY_MAC) && put_bytes(out, c->gateway_mac, 6) &&
	       put_key(out, KEY_GUEST4) && put_bytes(out, c->guest4.b, 16) && put_key(out, KEY_GATEWAY4) &&
	       put_bytes(out, c->gateway4.b, 16) && put_key(out, KEY_GUEST6) && put_bytes(out, c->guest6.b, 16) &&
	       put_key(out, KEY_GATEWAY6) && put_bytes(out, c->gateway6.b, 16) && put_key(out, KEY_HAVE4) &&
	       cbor_put_bool(out, c->have4) && put_key(out, KEY_HAVE6) && cbor_put_bool(out, c->have6) &&
	       put_key(out, KEY_MTU) && cbor_put_head(out, CBOR_UINT, c->mtu) && put_key(out, KEY_MAX_CONNECTIONS) &&
	       cbor_put_head(out, CBOR_UINT, c->max_connections) && put_key(out, KEY_RULES) &&
	       cbor_put_string(out, text(c->rules)) && put_key(out, KEY_EGRESS) &&
	       cbor_put_string(out, text(c->egress_default)) && put_key(out, KEY_INGRESS) &&
	       cbor_put_string(out, text(c->ingress_default)) && put_key(out, KEY_STRICT) &&
	       cbor_put_bool(out, c->strict) && put_key(out, KEY_MULTI_TENANT) && cbor_put_bool(out, c->multi_tenant) &&
	       put_key(out, KEY_NAMESERVERS) && put_endpoints(out, c) && put_key(out, KEY_REBIND) &&
	       cbor_put_bool(out, c->rebind_protection) && put_key(out, KEY_DNS_TIMEOUT) &&
	       cbor_put_head(out, CBOR_UINT, c->dns_timeout_ms) && put_key(out, KEY_BLOCKED) &&
	       put_names(out, c->blocked, c->blocked_count) && put_key(out, KEY_SUFFIXES) &&
	       put_names(out, c->suffixes, c->suffix_count) && put_key(out, KEY_RATES) && put_rates(out, &c->rates) &&
	       put_key(out, KEY_PORTS) && put_ports(out, c) && out->len - before <= GATEWAY_CONFIG_MAX;
}

/* decode */

static void get_bytes(struct reader *r, void *to, size_t n)
{
	r->failed |= cbor_head(r, CBOR_BYTES) != n;
	reader_copy(r, to, n);
}

static uint64_t get_number(struct reader *r, uint64_t min, uint64_t max)
{
	uint64_t n = cbor_head(r, CBOR_UINT);

	r->failed |= n < min || n > max;
	return n;
}

/** get_count() - Of an array of pairs or single values. */
static size_t get_count(struct reader *r, size_t each, size_t max)
{
	uint64_t n = cbor_head(r, CBOR_ARRAY);

	r->failed |= n % each || n / each > max;
	return r->failed ? 0 : (size_t)(n / each);
}

static void get_names(struct reader *r, const char ***names, size_t *count)
{
	size_t n = get_count(r, 1, GATEWAY_NAMES_MAX);

	if (!n)
		return;
	*names = calloc(n, sizeof(**names));
	r->failed |= !*names;
	for (size_t i = 0; i < n && !r->failed; i++) {
		(*names)[i] = cbor_string(r);
		*count = i + 1;
	}
}

/** get_rates() - The reverse of put_rates(); an interval of 0 only where there is no limit. */
static void get_rates(struct reader *r, struct rates *rates)
{
	const size_t all = RATE_DIRECTIONS * RATE_KINDS;

	r->failed |= get_count(r, 3, all) != all;
	for (size_t i = 0; i < all && !r->failed; i++) {
		struct rate *one = &rates->of[i / RATE_KINDS][i % RATE_KINDS];

		one->amount = get_number(r, 0, RATE_AMOUNT_MAX);
		one->burst = get_number(r, 0, RATE_AMOUNT_MAX);
		one->interval_ms = (uint32_t)get_number(r, one->amount != 0, RATE_INTERVAL_MS_MAX);
	}
}

static void get_value(struct reader *r, enum key key, struct gateway_config *c)
{
	switch (key) {
	case KEY_GUEST_MAC:
		get_bytes(r, c->guest_mac, 6);
		break;
	case KEY_GATEWAY_MAC:
		get_bytes(r, c->gateway_mac, 6);
		break;
	case KEY_GUEST4:
		get_bytes(r, c->guest4.b, 16);
		break;
	case KEY_GATEWAY4:
		get_bytes(r, c->gateway4.b, 16);
		break;
	case KEY_GUEST6:
		get_bytes(r, c->guest6.b, 16);
		break;
	case KEY_GATEWAY6:
		get_bytes(r, c->gateway6.b, 16);
		break;
	case KEY_HAVE4:
		c->have4 = cbor_bool(r);
		break;
	case KEY_HAVE6:
		c->have6 = cbor_bool(r);
		break;
	case KEY_MTU:
		c->mtu = (uint32_t)get_number(r, GATEWAY_MTU_MIN, GATEWAY_MTU_MAX);
		break;
	case KEY_MAX_CONNECTIONS:
		c->max_connections = (uint32_t)get_number(r, 1, GATEWAY_CONNECTIONS_MAX);
		break;
	case KEY_RULES:
		c->rules = cbor_string(r);
		break;
	case KEY_EGRESS:
		c->egress_default = cbor_string(r);
		break;
	case KEY_INGRESS:
		c->ingress_default = cbor_string(r);
		break;
	case KEY_STRICT:
		c->strict = cbor_bool(r);
		break;
	case KEY_MULTI_TENANT:
		c->multi_tenant = cbor_bool(r);
		break;
	case KEY_NAMESERVERS:
		c->nameserver_count = get_count(r, 2, GATEWAY_NAMESERVERS_MAX);
		for (size_t i = 0; i < c->nameserver_count; i++) {
			get_bytes(r, c->nameservers[i].ip.b, 16);
			c->nameservers[i].port = (uint16_t)get_number(r, 1, UINT16_MAX);
		}
		break;
	case KEY_REBIND:
		c->rebind_protection = cbor_bool(r);
		break;
	case KEY_DNS_TIMEOUT:
		c->dns_timeout_ms = (uint32_t)get_number(r, 0, 3600000);
		break;
	case KEY_BLOCKED:
		get_names(r, &c->blocked, &c->blocked_count);
		break;
	case KEY_SUFFIXES:
		get_names(r, &c->suffixes, &c->suffix_count);
		break;
	case KEY_RATES:
		get_rates(r, &c->rates);
		break;
	case KEY_PORTS:
		c->port_count = get_count(r, 2, GATEWAY_PORTS_MAX);
		for (size_t i = 0; i < c->port_count; i++) {
			c->ports[i].udp = cbor_bool(r);
			c->ports[i].guest_port = (uint16_t)get_number(r, 1, UINT16_MAX);
		}
		break;
	case KEY_END:
		r->failed = true;
		break;
	}
}

int gateway_config_decode(const uint8_t *p, size_t n, struct gateway_config *c, struct error *err)
{
	struct reader r = reader_init(p, n);

	*c = (struct gateway_config){ 0 };
	r.failed |= n > GATEWAY_CONFIG_MAX || cbor_head(&r, CBOR_MAP) != KEY_END - 1;
	for (int key = 1; key < KEY_END && !r.failed; key++) {
		r.failed |= cbor_head(&r, CBOR_UINT) != (uint64_t)key;
		get_value(&r, (enum key)key, c);
	}
	if (r.failed || r.left)
		return err_set(err, ERR_PROTOCOL, 0, "the network's configuration does not make sense");
	return 0;
}

void gateway_config_free(struct gateway_config *c)
{
	free((void *)c->blocked);
	free((void *)c->suffixes);
	*c = (struct gateway_config){ 0 };
}
