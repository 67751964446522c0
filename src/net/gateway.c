/* SPDX-License-Identifier: Apache-2.0 */
#include "net/gateway.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/macros.h"

#define TURNS_MAX 16 /* of tcp_tick() before the loop sees to others */
/* At most, of data on its way; reserved, not used. It lets the slowest 4,096 readers leave something to others. */
/* A guest that has forgotten a connection whose server never ends says so then. */
#define KEEPALIVE_MS 300000
#define MEMORY_PER_FLOW (8 * (size_t)TCP_CHUNK)

void gateway_enter(struct gateway *g)
{
	if (g->depth++)
		return;
	g->now = clock_monotonic_ns();
	tcp_set_time(g->tcp, g->now);
}

void gateway_leave(struct gateway *g)
{
	int64_t due;

	if (--g->depth)
		return;
	g->depth++;
	due = tcp_next_timeout(g->tcp);
	for (int i = 0; i < TURNS_MAX && due >= 0 && due <= g->now; i++) {
		tcp_tick(g->tcp);
		due = tcp_next_timeout(g->tcp);
	}
	g->depth--;
	/* A timer that fires too early costs less than setting it at each turn. */
	if (due >= 0 && (g->timer_at < 0 || due < g->timer_at)) {
		g->timer_at = due;
		loop_timer_set(g->loop, g->timer, MAX(due - g->now, 0));
	}
}

static void on_timer(void *arg, uint32_t events)
{
	struct gateway *g = arg;

	(void)events;
	g->timer_at = -1;
	gateway_enter(g);
	gateway_leave(g);
}

void gateway_need_tick(struct gateway *g)
{
	if (g->ticking)
		return;
	g->ticking = true;
	loop_timer_set(g->loop, g->tick, TICK_NS);
}

static void on_tick(void *arg, uint32_t events)
{
	struct gateway *g = arg;
	bool left;

	(void)events;
	gateway_enter(g);
	g->ticking = false;
	left = fragments_expire(g->fragments, g->now);
	left |= icmp_expire(g);
	left |= udp_expire(g);
	left |= flows_expire(g);
	left |= g->pcap && pcap_flush(g->pcap);
	gateway_leave(g);
	if (left)
		gateway_need_tick(g);
}

static void on_local(void *arg, uint32_t events)
{
	struct gateway *g = arg;

	(void)events;
	local_read(&g->local);
}

bool gateway_is_own(const struct gateway *g, const struct ip *ip)
{
	return ip_equal(ip, &g->config->gateway4) || ip_equal(ip, &g->config->gateway6);
}

struct ip gateway_dial(const struct gateway *g, const struct ip *ip)
{
	static const struct ip loopback6 = { { [15] = 1 } };

	if (ip_equal(ip, &g->config->gateway4))
		return ip_v4((const uint8_t[]){ 127, 0, 0, 1 });
	return ip_equal(ip, &g->config->gateway6) ? loopback6 : *ip;
}

void gateway_guest_ends(const struct gateway *g, struct ip *us, struct ip *guest)
{
	bool six = g->config->have6 && !g->config->have4;

	*us = six ? g->config->gateway6 : g->config->gateway4;
	*guest = six ? g->config->guest6 : g->config->guest4;
}

static bool is_host(void *ctx, const struct ip *ip)
{
	const struct gateway *g = ctx;

	return gateway_is_own(g, ip) || local_has(&g->local, ip);
}

static bool has_name(void *ctx, const struct ip *ip, const char *name, bool below, bool allows)
{
	const struct gateway *g = ctx;

	return dns_named(g->dns, ip, name, below ? DNS_SUFFIX : DNS_EXACT,
			 allows ? DNS_CONFIGURED_ONLY : DNS_ANY_RESOLVER);
}

enum policy_verdict gateway_decide(struct gateway *g, const struct policy_flow *flow)
{
	struct policy_decision d;

	policy_decide(g->policy, flow, &g->facts, &d);
	g->count.denied += d.verdict == POLICY_DENY;
	return d.verdict;
}

static bool question_allowed(void *arg, const char *name, uint16_t type, enum dns_via via,
			     const struct endpoint *resolver)
{
	struct gateway *g = arg;
	struct policy_decision d;

	(void)type;
	(void)resolver;
	policy_decide_question(g->policy, via == DNS_TCP ? POLICY_TCP : POLICY_UDP, name, &d);
	g->count.denied += d.verdict != POLICY_ALLOW;
	return d.verdict == POLICY_ALLOW;
}

static bool resolver_allowed(void *arg, const struct endpoint *resolver, enum dns_via via)
{
	struct policy_flow flow = {
		.direction = POLICY_EGRESS,
		.protocol = via == DNS_TCP ? POLICY_TCP : POLICY_UDP,
		.ip = resolver->ip,
		.port = resolver->port,
		.name_state = POLICY_NAME_NONE,
	};

	return gateway_decide(arg, &flow) == POLICY_ALLOW;
}

static bool address_allowed(void *arg, const struct ip *ip)
{
	struct gateway *g = arg;

	return policy_allows_answer(g->policy, ip, &g->facts);
}

static const struct dns_ops dns_ops = {
	.question_allowed = question_allowed,
	.resolver_allowed = resolver_allowed,
	.address_allowed = address_allowed,
};

static void on_frame(void *arg, const uint8_t *frame, size_t len, bool partial)
{
	struct gateway *g = arg;

	g->count.tx_frames++;
	g->count.tx_bytes += len;
	if (g->pcap) {
		pcap_add(g->pcap, &(struct iovec){ (void *)(uintptr_t)frame, len }, 1, 0, true);
		gateway_need_tick(g);
	}
	input_frame(g, frame, len, partial);
}

static void on_begin(void *arg)
{
	gateway_enter(arg);
}

static void on_end(void *arg)
{
	gateway_leave(arg);
}

static void on_ready(void *arg)
{
	struct gateway *g = arg;

	tcp_output_ready(g->tcp);
}

static void on_gone(void *arg)
{
	struct gateway *g = arg;

	loop_stop(g->loop, 0);
}

static const struct link_ops link_ops = {
	.frame = on_frame, .begin = on_begin, .end = on_end, .ready = on_ready, .gone = on_gone
};

/** make_rules() - The policy from its texts. */
static int make_rules(struct gateway *g, struct error *err)
{
	const struct gateway_config *c = g->config;
	bool rules = c->rules && c->rules[0];
	struct policy_source source = {
		.rules = &c->rules,
		.rule_count = rules,
		.allow_egress = c->egress_default && strcmp(c->egress_default, "allow") == 0,
		.allow_ingress = c->ingress_default && strcmp(c->ingress_default, "allow") == 0,
		.strict = c->strict,
		.multi_tenant = c->multi_tenant,
		.block_domains = c->blocked,
		.block_domain_count = c->blocked_count,
		.block_suffixes = c->suffixes,
		.block_suffix_count = c->suffix_count,
	};

	g->facts = (struct policy_facts){ .is_host = is_host, .has_name = has_name, .ctx = g };
	g->policy = policy_new(&source, err);
	return g->policy ? 0 : -(int)err->code;
}

/** make_dns() - The resolver. */
static int make_dns(struct gateway *g, struct error *err)
{
	const struct gateway_config *c = g->config;
	struct dns_config config = {
		.upstreams = c->nameservers,
		.upstream_count = c->nameserver_count,
		.timeout_ms = c->dns_timeout_ms,
		.block_domains = c->blocked,
		.block_domain_count = c->blocked_count,
		.block_suffixes = c->suffixes,
		.block_suffix_count = c->suffix_count,
		.rebind_protection = c->rebind_protection,
		.v4 = c->have4,
		.v6 = c->have6,
		.gateway4 = c->gateway4,
		.gateway6 = c->gateway6,
	};

	g->dns = dns_new(g->loop, &config, &dns_ops, g, err);
	return g->dns ? 0 : -(int)err->code;
}

/** make_tcp() - The stack; beside connections that carry data there is room for as many that are ending. */
static int make_tcp(struct gateway *g, struct error *err)
{
	uint32_t flows = g->config->max_connections + PUBLISHED_FLOWS_MAX;
	struct tcp_config config = {
		.max_connections = 2 * flows,
		.memory = (size_t)flows * MEMORY_PER_FLOW,
		.keepalive_ms = KEEPALIVE_MS,
		.mtu = g->config->mtu,
		.gso = true,
	};

	if (getrandom(config.secret, sizeof(config.secret), 0) != (ssize_t)sizeof(config.secret))
		return err_set(err, ERR_SYSTEM, errno, "getrandom");
	g->now = clock_monotonic_ns();
	g->tcp = tcp_stack_new(&config, &flow_ops, g, g->now, err);
	return g->tcp ? 0 : -(int)err->code;
}

/** make_timers() - And the source of news about addresses. */
static int make_timers(struct gateway *g, struct error *err)
{
	g->timer = loop_timer(g->loop, on_timer, g, err);
	if (g->timer < 0)
		return g->timer;
	g->tick = loop_timer(g->loop, on_tick, g, err);
	if (g->tick < 0)
		return g->tick;
	if (g->local.fd < 0)
		return 0;
	g->local_source = loop_add(g->loop, g->local.fd, EPOLLIN, on_local, g, err);
	return MIN(g->local_source, 0);
}

struct gateway *gateway_new(struct loop *loop, const struct gateway_config *config, struct gateway_fds *fds,
			    struct error *err)
{
	struct gateway *g = calloc(1, sizeof(*g));
	int rc = -ERR_NO_MEMORY;

	if (g) {
		g->config = config;
		g->loop = loop;
		g->timer = g->tick = g->local_source = g->local.fd = -1;
		g->timer_at = -1;
		g->fragments = calloc(1, sizeof(*g->fragments));
	}
	if (g && g->fragments)
		rc = local_open(&g->local, TAKE_FD(fds->netlink), err);
	else
		err_set(err, ERR_NO_MEMORY, 0, "gateway: out of memory");
	if (rc == 0 && fds->pcap >= 0 && !(g->pcap = pcap_new(TAKE_FD(fds->pcap), err)))
		rc = -(int)err->code;
	rc = rc < 0 ? rc : make_timers(g, err);
	rc = rc < 0 ? rc : make_rules(g, err);
	rc = rc < 0 ? rc : make_dns(g, err);
	rc = rc < 0 ? rc : make_tcp(g, err);
	if (rc == 0 && (!(g->link = link_new(loop, TAKE_FD(fds->frames), &g->config->rates, &link_ops, g, err)) ||
			!(g->icmp = icmp_new(g, TAKE_FD(fds->icmp4), TAKE_FD(fds->icmp6), err)) ||
			!(g->udp = udp_new(g, fds, err)) || !(g->flows = flows_new(g, fds, err))))
		rc = -(int)err->code;
	if (rc < 0) {
		gateway_free(g);
		return NULL;
	}
	return g;
}

void gateway_free(struct gateway *g)
{
	if (!g)
		return;
	flows_free(g->flows);
	udp_free(g->udp);
	icmp_free(g->icmp);
	link_free(g->link);
	tcp_stack_free(g->tcp);
	dns_free(g->dns);
	policy_free(g->policy);
	loop_remove(g->loop, &g->local_source);
	loop_remove(g->loop, &g->tick);
	loop_remove(g->loop, &g->timer);
	local_close(&g->local);
	pcap_free(g->pcap);
	free(g->fragments);
	free(g);
}

void gateway_count(struct gateway *g, struct gateway_counters *out)
{
	*out = g->count;
	out->connections = tcp_counters(g->tcp)->connections - tcp_counters(g->tcp)->time_wait;
	out->udp_sessions = udp_sessions(g->udp);
}
