/* SPDX-License-Identifier: Apache-2.0 */
/* What the guest asks and what it is told. */
#include "net/dns/dns.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/macros.h"
#include "net/dns/internal.h"

#define OPT_SIZE 11U
#define UDP_SIZE_PLAIN 512U /* without EDNS */

static int setup(struct dns *dns, const struct dns_config *config, struct error *err)
{
	int rc;

	if (config->upstream_count > DNS_UPSTREAMS_MAX)
		return err_set(err, ERR_LIMIT, 0, "DNS: more than %d nameservers", DNS_UPSTREAMS_MAX);
	for (size_t i = 0; i < config->upstream_count; i++) {
		if (config->upstreams[i].port == 0)
			return err_set(err, ERR_INVALID, 0, "DNS: nameserver %zu has no port", i + 1);
		dns->upstreams[dns->upstream_count++] = config->upstreams[i];
	}
	dns->timeout_ns = (config->timeout_ms ? config->timeout_ms : DNS_TIMEOUT_MS) * NSEC_PER_MSEC;
	dns->rebind_protection = config->rebind_protection;
	dns->v4 = config->v4;
	dns->v6 = config->v6;
	dns->gateway4 = config->gateway4;
	dns->gateway6 = config->gateway6;
	dns_name_from_text(&dns->host_name, DNS_HOST_NAME);
	rc = dns_list_read(&dns->block_domains, config->block_domains, config->block_domain_count, "blocked names",
			   err);
	if (rc < 0)
		return rc;
	rc = dns_list_read(&dns->block_suffixes, config->block_suffixes, config->block_suffix_count, "blocked suffixes",
			   err);
	if (rc < 0)
		return rc;
	dns->cache = dns_cache_new();
	dns->table = dns_table_new();
	if (!dns->cache || !dns->table)
		return err_set(err, ERR_NO_MEMORY, 0, "DNS: out of memory");
	return dns_forward_new(dns, err);
}

struct dns *dns_new(struct loop *loop, const struct dns_config *config, const struct dns_ops *ops, void *arg,
		    struct error *err)
{
	static const struct dns_ops yes;
	struct dns *dns = calloc(1, sizeof(*dns));

	if (!dns) {
		err_set(err, ERR_NO_MEMORY, 0, "DNS: out of memory");
		return NULL;
	}
	dns->loop = loop;
	dns->ops = ops ? ops : &yes;
	dns->arg = arg;
	dns->timer = -1;
	if (setup(dns, config, err) < 0) {
		dns_free(dns);
		return NULL;
	}
	return dns;
}

void dns_free(struct dns *dns)
{
	if (!dns)
		return;
	dns_forward_free(dns);
	dns_cache_free(dns->cache);
	dns_table_free(dns->table);
	dns_list_clear(&dns->block_domains);
	dns_list_clear(&dns->block_suffixes);
	free(dns);
}

/** answer_flags() - Of the header, but TC. */
static uint16_t answer_flags(const struct dns_asked *asked, unsigned int rcode, bool authentic)
{
	unsigned int flags = DNS_FLAG_QR | DNS_FLAG_RA | (rcode & DNS_FLAG_RCODE);

	flags |= asked->flags & (DNS_FLAG_OPCODE | DNS_FLAG_RD | DNS_FLAG_CD);
	/* RFC 6840, 5.8: only for those that know of it. */
	if (authentic && (asked->dnssec_ok || asked->flags & DNS_FLAG_AD))
		flags |= DNS_FLAG_AD;
	return (uint16_t)flags;
}

/** fits() - Does the client take a body of this length? */
static bool fits(const struct dns_client *client, size_t length)
{
	size_t limit = UDP_SIZE_PLAIN;

	if (client->via == DNS_TCP)
		limit = DNS_MESSAGE_MAX;
	else if (client->asked.edns)
		limit = MIN(client->asked.udp_size, DNS_UDP_ANSWER_MAX);
	return length + (client->asked.edns ? OPT_SIZE : 0) <= limit;
}

/**
 * say() - Tell a client.
 * @body:   a message as dns_rebuild() writes it, for the client's question, not in dns->sent; or NULL: @rcode alone
 * @length: of the body
 * @age_s:  of the body
 */
static void say(struct dns *dns, const struct dns_client *client, unsigned int rcode, const uint8_t *body,
		size_t length, uint32_t age_s)
{
	const struct dns_asked *asked = &client->asked;
	struct dns_out out = dns_out_start(dns->sent, DNS_MESSAGE_MAX);
	struct dns_header h = { 0 };
	bool authentic = false, cut = false;

	if (body) {
		struct dns_in in = dns_in_at(body, length, 0);

		dns_read_header(&in, &h);
		rcode = h.flags & DNS_FLAG_RCODE;
		authentic = h.flags & DNS_FLAG_AD;
		cut = !fits(client, length);
	}
	if (!body || cut)
		h = (struct dns_header){ .counts = { asked->has_question } };
	else
		memcpy(dns->sent, body, length);
	h.id = asked->id;
	h.flags = (uint16_t)(answer_flags(asked, rcode, authentic) | (cut ? DNS_FLAG_TC : 0));
	h.counts[3] = asked->edns;
	dns_put_header(&out, &h);
	/* The name as the client wrote it: others of the body point to it. */
	if (asked->has_question)
		dns_put_question(&out, &asked->question);
	if (body && !cut) {
		dns_age(dns->sent, length, age_s);
		out.at = length;
	}
	if (asked->edns)
		dns_put_opt(&out, DNS_QUESTION_MAX, rcode, asked->dnssec_ok);
	client->answer(client->arg, dns->sent, out.at);
}

/** One body that is looked through for addresses. */
struct look {
	struct dns *dns;
	const struct dns_name *name; /* lower case */
	bool configured;
	uint32_t age_s;
	int64_t now_ns;
};

static bool may_lead_to(void *arg, const struct ip *ip, uint32_t ttl_s, bool hint)
{
	const struct dns *dns = ((const struct look *)arg)->dns;

	(void)ttl_s;
	(void)hint;
	return !dns_rebind_address(ip) || (dns->ops->address_allowed && dns->ops->address_allowed(dns->arg, ip));
}

static bool pin(void *arg, const struct ip *ip, uint32_t ttl_s, bool hint)
{
	const struct look *look = arg;

	if (!hint)
		dns_table_add(look->dns->table, ip, look->name, look->configured, ttl_s - MIN(ttl_s, look->age_s),
			      look->now_ns);
	return true;
}

/** say_addresses() - say() with a body whose addresses go into the name table. */
static void say_addresses(struct dns *dns, const struct dns_client *client, const uint8_t *body, size_t length,
			  uint32_t age_s)
{
	struct dns_name name = client->asked.question.name;
	struct look look = { .dns = dns, .name = &name, .configured = client->configured, .age_s = age_s };

	dns_name_lower(&name);
	look.now_ns = clock_ns(CLOCK_BOOTTIME);
	/* Of what is cut the guest is told nothing. */
	if (fits(client, length))
		dns_each_address(body, length, pin, &look);
	say(dns, client, DNS_NOERROR, body, length, age_s);
}

/** say_resolved() - What a resolver answered, unless it leads where public names must not. */
static void say_resolved(struct dns *dns, const struct dns_client *client, const uint8_t *body, size_t length,
			 uint32_t age_s)
{
	struct look look = { .dns = dns };

	if (dns->rebind_protection && !dns_each_address(body, length, may_lead_to, &look)) {
		dns->counts.rebinds++;
		say(dns, client, DNS_NXDOMAIN, NULL, 0, 0);
		return;
	}
	say_addresses(dns, client, body, length, age_s);
}

/** free_waiter() - Its token is none any more. */
static void free_waiter(struct dns *dns, struct dns_waiter *waiter)
{
	waiter->query = NULL;
	waiter->generation++;
	dns->counts.waiters--;
	/* Behind all others, so that a generation comes again as late as can be. */
	TAILQ_INSERT_TAIL(&dns->free_waiters, waiter, link);
}

void dns_tell(struct dns *dns, struct dns_waiter *waiter, const uint8_t *message, size_t length)
{
	struct dns_client client = waiter->client;

	TAILQ_REMOVE(&waiter->query->waiters, waiter, link);
	free_waiter(dns, waiter);
	if (message)
		say_resolved(dns, &client, message, length, 0);
	else
		say(dns, &client, DNS_SERVFAIL, NULL, 0, 0);
}

/** say_host() - The gateway's own name. */
static void say_host(struct dns *dns, const struct dns_client *client)
{
	const struct dns_question *q = &client->asked.question;
	struct dns_header h = { .flags = DNS_FLAG_QR, .counts = { 1 } };
	uint8_t body[DNS_HEADER_SIZE + DNS_NAME_MAX + 4 + 64];
	struct dns_out out = dns_out_start(body, sizeof(body));
	bool v4 = q->type == DNS_A && dns->v4, v6 = q->type == DNS_AAAA && dns->v6;
	size_t start;

	h.counts[1] = v4 || v6;
	dns_put_header(&out, &h);
	dns_put_question(&out, q);
	if (v4 || v6) {
		start = dns_put_record_start(&out, &q->name, q->type, DNS_CLASS_IN, DNS_HOST_TTL_S);
		dns_put_bytes(&out, v4 ? dns->gateway4.b + 12 : dns->gateway6.b, v4 ? 4 : 16);
		dns_put_record_end(&out, start);
	}
	say_addresses(dns, client, body, out.at, 0);
}

/** is_blocked() - @name: lower case */
static bool is_blocked(const struct dns *dns, const struct dns_name *name)
{
	return dns_list_has(&dns->block_domains, name, false) || dns_list_has(&dns->block_suffixes, name, true);
}

/** is_refused() - What is answered by NXDOMAIN without asking anybody. */
static bool is_refused(const struct dns *dns, const struct dns_key *key, const struct endpoint *resolver,
		       enum dns_via via)
{
	const struct dns_ops *ops = dns->ops;
	char text[DNS_NAME_TEXT_MAX];

	if (is_blocked(dns, &key->name))
		return true;
	dns_name_to_text(&key->name, text);
	if (ops->question_allowed && !ops->question_allowed(dns->arg, text, key->type, via, resolver))
		return true;
	/* A port of zero stands for the configured ones in keys. */
	return resolver &&
	       (resolver->port == 0 || (ops->resolver_allowed && !ops->resolver_allowed(dns->arg, resolver, via)));
}

/** forward() - Ask resolvers. Return: the token, or 0 when the client was told. */
static uint64_t forward(struct dns *dns, const struct dns_key *key, const struct dns_client *client)
{
	struct dns_waiter *waiter = TAILQ_FIRST(&dns->free_waiters);
	uint64_t token;
	uint32_t generation;

	if (waiter) {
		TAILQ_REMOVE(&dns->free_waiters, waiter, link);
		dns->counts.waiters++;
		waiter->client = *client;
		generation = waiter->generation;
		token = (uint64_t)generation << 32 | (uint64_t)(waiter - dns->waiters + 1);
		if (dns_forward(dns, key, waiter))
			return waiter->generation == generation ? token : 0;
		free_waiter(dns, waiter);
	}
	dns->counts.overloads++;
	say(dns, client, DNS_SERVFAIL, NULL, 0, 0);
	return 0;
}

uint64_t dns_ask(struct dns *dns, const uint8_t *message, size_t length, const struct endpoint *resolver,
		 enum dns_via via, dns_answer_fn answer, void *arg)
{
	struct dns_client client = { .via = via, .configured = !resolver, .answer = answer, .arg = arg };
	const struct dns_question *q = &client.asked.question;
	int rcode = dns_parse_query(message, length, &client.asked);
	struct dns_key key = { 0 };
	const uint8_t *cached;
	uint32_t age_s;

	dns->counts.questions++;
	if (rcode < 0) {
		answer(arg, NULL, 0);
		return 0;
	}
	key.name = q->name;
	dns_name_lower(&key.name);
	key.type = q->type;
	key.flags = client.asked.flags & (DNS_FLAG_RD | DNS_FLAG_AD | DNS_FLAG_CD);
	key.dnssec_ok = client.asked.dnssec_ok;
	if (resolver)
		key.resolver = *resolver;
	if (rcode == DNS_NOERROR && is_refused(dns, &key, resolver, via))
		rcode = DNS_NXDOMAIN;
	if (rcode != DNS_NOERROR) {
		say(dns, &client, (unsigned int)rcode, NULL, 0, 0);
		return 0;
	}
	if (dns_name_equal(&key.name, &dns->host_name)) {
		say_host(dns, &client);
		return 0;
	}
	if ((key.type == DNS_A && !dns->v4) || (key.type == DNS_AAAA && !dns->v6)) {
		say(dns, &client, DNS_NOERROR, NULL, 0, 0);
		return 0;
	}
	cached = dns_cache_get(dns->cache, &key, clock_ns(CLOCK_BOOTTIME) / NSEC_PER_SEC, &length, &age_s);
	if (cached) {
		dns->counts.cached++;
		say_resolved(dns, &client, cached, length, age_s);
		return 0;
	}
	return forward(dns, &key, &client);
}

void dns_cancel(struct dns *dns, uint64_t token)
{
	uint32_t slot = (uint32_t)token;
	struct dns_waiter *waiter;

	if (slot == 0 || slot > DNS_WAITERS_MAX)
		return;
	waiter = &dns->waiters[slot - 1];
	if (!waiter->query || waiter->generation != (uint32_t)(token >> 32))
		return;
	dns_forward_cancel(waiter);
	free_waiter(dns, waiter);
}

/** What dns_named() looks for. */
struct wanted {
	struct dns_name name;
	enum dns_match match;
};

/** is_other() - Return: false when it is the one, which ends the search. */
static bool is_other(void *arg, const struct dns_name *name)
{
	const struct wanted *wanted = arg;

	return !(wanted->match == DNS_SUFFIX ? dns_name_within(name, &wanted->name)
					     : dns_name_equal(name, &wanted->name));
}

bool dns_named(const struct dns *dns, const struct ip *ip, const char *name, enum dns_match match, enum dns_trust trust)
{
	struct wanted wanted = { .match = match };

	return dns_name_from_text(&wanted.name, name) && !dns_table_each(dns->table, ip, trust == DNS_CONFIGURED_ONLY,
									 clock_ns(CLOCK_BOOTTIME), is_other, &wanted);
}

bool dns_blocked(const struct dns *dns, const char *name)
{
	struct dns_name wire;

	return dns_name_from_text(&wire, name) && is_blocked(dns, &wire);
}

void dns_counts(const struct dns *dns, struct dns_counts *out)
{
	*out = dns->counts;
	dns_cache_size(dns->cache, &out->cache_entries, &out->cache_bytes);
	dns_table_size(dns->table, &out->names, &out->names_bytes);
}

bool dns_split(struct dns_split *s, const uint8_t *data, size_t n, size_t *taken, const uint8_t **message,
	       size_t *length)
{
	*message = NULL;
	*length = 0;
	*taken = 0;
	while (*taken < n) {
		s->bytes[s->have++] = data[(*taken)++];
		if (s->have < 2)
			continue;
		*length = (size_t)s->bytes[0] << 8 | s->bytes[1];
		if (*length == 0 || *length > DNS_QUESTION_MAX)
			return false;
		if (s->have == 2 + *length) {
			*message = s->bytes + 2;
			s->have = 0;
			return true;
		}
	}
	return true;
}
