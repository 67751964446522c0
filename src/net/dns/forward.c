/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking resolvers.
 *
 * Theory of operation. A query goes to one upstream after the other. Each gets the time-out as a whole: by UDP, the
 * same packet again after each quarter of it; by TCP when the guest asked so, when the answer was cut (TC), or when so
 * many packets came that are no answers that somebody may be guessing. An upstream is left for the next one only when
 * it did not answer or could not be reached; one that did not answer is asked behind the others for a while, so that a
 * dead first one does not cost every question its time-out. SERVFAIL and REFUSED are answers.
 *
 * What an attacker controls: packets to our sockets. These are connected, so only the asked address and port gets in
 * (RFC 5452, 9.2); the kernel picks a random port for each; the id is random; the question must be repeated. As equal
 * questions wait for one query, there are never two sockets on which the same answer could be guessed (5452, 5).
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/macros.h"
#include "net/dns/internal.h"

#define STRAYS_MAX 16 /* on one socket; then TCP */
#define RESENDS_MAX 3 /* at each quarter of the time-out */
#define DATAGRAMS_PER_WAKE 8
#define SOCKET_BUFFER 16384 /* the kernel's own memory for what comes, which doubles it; we ask for a packet or two */
#define DOWN_NS (15 * NSEC_PER_SEC)

static void on_event(void *arg, uint32_t events);
static void on_timer(void *arg, uint32_t events);

int dns_forward_new(struct dns *dns, struct error *err)
{
	LIST_INIT(&dns->free_queries);
	TAILQ_INIT(&dns->free_waiters);
	for (unsigned int i = 0; i < DNS_QUERIES_MAX; i++) {
		dns->queries[i] = (struct dns_query){ .dns = dns, .fd = -1, .source = -1 };
		LIST_INSERT_HEAD(&dns->free_queries, &dns->queries[i], link);
	}
	for (unsigned int i = 0; i < DNS_WAITERS_MAX; i++)
		TAILQ_INSERT_TAIL(&dns->free_waiters, &dns->waiters[i], link);
	dns->timer = loop_timer(dns->loop, on_timer, dns, err);
	return MIN(dns->timer, 0);
}

/** to_sockaddr() - Return: its length. */
static socklen_t to_sockaddr(const struct endpoint *e, struct sockaddr_storage *to)
{
	memset(to, 0, sizeof(*to));
	if (ip_is_v4(&e->ip)) {
		struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(e->port) };

		memcpy(&in.sin_addr, e->ip.b + 12, 4);
		memcpy(to, &in, sizeof(in));
		return sizeof(in);
	}
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(e->port) };

	memcpy(&in6.sin6_addr, e->ip.b, 16);
	memcpy(to, &in6, sizeof(in6));
	return sizeof(in6);
}

/** hang_up() - Close the query's socket and forget what came by it. */
static void hang_up(struct dns_query *q)
{
	if (q->phase == DNS_PHASE_CONNECT || q->phase == DNS_PHASE_RECEIVE)
		q->dns->tcp_count--;
	loop_remove(q->dns->loop, &q->source);
	fd_close(&q->fd);
	free(q->in);
	q->in = NULL;
	q->in_have = 0;
}

static void put_back(struct dns_query *q)
{
	q->phase = DNS_PHASE_FREE;
	q->dns->counts.queries--;
	LIST_INSERT_HEAD(&q->dns->free_queries, q, link);
}

/** end() - Tell all waiters; the query is free afterwards. @message: NULL when no resolver answered */
static void end(struct dns_query *q, const uint8_t *message, size_t length)
{
	hang_up(q);
	q->phase = DNS_PHASE_DONE;
	while (!TAILQ_EMPTY(&q->waiters))
		dns_tell(q->dns, TAILQ_FIRST(&q->waiters), message, length);
	put_back(q);
}

/** arm() - Let the timer fire at this time unless it does so earlier. */
static void arm(struct dns *dns, int64_t when_ns)
{
	if (dns->timer_ns != 0 && dns->timer_ns <= when_ns)
		return;
	dns->timer_ns = when_ns;
	loop_timer_set(dns->loop, dns->timer, MAX(when_ns - clock_monotonic_ns(), 0));
}

/** target() - Whom the query asks now. */
static const struct endpoint *target(const struct dns_query *q)
{
	return q->key.resolver.port ? &q->key.resolver : &q->dns->upstreams[q->upstream];
}

/** choose() - The next upstream: the first one that is not known to be silent, else the first one. Return: false: none.
 */
static bool choose(struct dns_query *q)
{
	unsigned int count = q->key.resolver.port ? 1 : q->dns->upstream_count, best = count;
	int64_t now = clock_monotonic_ns();

	for (unsigned int i = 0; i < count; i++) {
		if (q->tried & 1U << i)
			continue;
		if (q->key.resolver.port || q->dns->down_until_ns[i] <= now) {
			best = i;
			break;
		}
		if (best == count)
			best = i;
	}
	if (best == count)
		return false;
	q->upstream = best;
	q->tried |= (uint8_t)(1U << best);
	q->request.edns = true;
	return true;
}

/** write_question() - With a new id. Return: false without randomness, which is no state to ask in. */
static bool write_question(struct dns_query *q)
{
	size_t n;

	if (getrandom(&q->request.id, sizeof(q->request.id), 0) != sizeof(q->request.id))
		return false;
	n = dns_write_query(q->out + 2, sizeof(q->out) - 2, &q->request);
	dns_prefix(q->out, n);
	q->out_length = 2 + n;
	return true;
}

/**
 * ask() - Ask the chosen upstream on a new socket. The deadline is the caller's.
 * Return: false when it cannot be reached.
 */
static bool ask(struct dns_query *q, bool tcp)
{
	struct sockaddr_storage to;
	socklen_t to_size = to_sockaddr(target(q), &to);
	struct dns *dns = q->dns;

	hang_up(q);
	q->phase = DNS_PHASE_UDP;
	q->strays = 0;
	q->resends = 0;
	q->resend_ns = 0;
	q->out_sent = 0;
	if (tcp && dns->tcp_count == DNS_TCP_MAX) {
		dns->counts.overloads++;
		return false;
	}
	if (!write_question(q))
		return false;
	q->fd = socket(to.ss_family, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (q->fd < 0)
		return false;
	/* As small as it may be: a resolver that the guest chose may send what it likes. */
	setsockopt(q->fd, SOL_SOCKET, SO_RCVBUF, &(int){ SOCKET_BUFFER }, sizeof(int));
	if (connect(q->fd, (struct sockaddr *)&to, to_size) < 0 && errno != EINPROGRESS)
		return false;
	q->source = loop_add(dns->loop, q->fd, tcp ? EPOLLOUT : EPOLLIN, on_event, q, NULL);
	if (q->source < 0)
		return false;
	dns->counts.asked++;
	if (tcp) {
		q->phase = DNS_PHASE_CONNECT;
		dns->tcp_count++;
		return true;
	}
	q->resend_ns = clock_monotonic_ns() + dns->timeout_ns / (RESENDS_MAX + 1);
	arm(dns, q->resend_ns);
	return send(q->fd, q->out + 2, q->out_length - 2, 0) >= 0;
}

/** ask_next() - Go on to upstreams that were not tried; without any left the waiters are told. */
static void ask_next(struct dns_query *q)
{
	while (choose(q)) {
		q->deadline_ns = clock_monotonic_ns() + q->dns->timeout_ns;
		if (ask(q, q->by_tcp)) {
			arm(q->dns, q->deadline_ns);
			return;
		}
		q->dns->counts.failovers++;
	}
	end(q, NULL, 0);
}

/**
 * fail() - This upstream did not answer.
 * @down: by UDP, so that others had better be asked first for a while. (Some are not reached by TCP, for no time.)
 */
static void fail(struct dns_query *q, bool down)
{
	q->dns->counts.failovers++;
	if (down && !q->key.resolver.port)
		q->dns->down_until_ns[q->upstream] = clock_monotonic_ns() + DOWN_NS;
	ask_next(q);
}

static void ask_again(struct dns_query *q, bool tcp)
{
	if (!ask(q, tcp))
		fail(q, false);
}

/**
 * consider() - A message that came on the query's socket.
 * Return: true when the query goes on waiting for another one on the same socket.
 */
static bool consider(struct dns_query *q, const uint8_t *message, size_t length)
{
	struct dns *dns = q->dns;
	struct dns_answer answer;
	bool tcp = q->phase != DNS_PHASE_UDP;

	switch (dns_rebuild(message, length, &q->request, dns->rebuilt, DNS_MESSAGE_MAX, &answer)) {
	case DNS_RESULT_ANSWER:
		if (!q->key.resolver.port)
			dns->down_until_ns[q->upstream] = 0;
		dns_cache_put(dns->cache, &q->key, dns->rebuilt, answer.length, answer.ttl_s,
			      clock_ns(CLOCK_BOOTTIME) / NSEC_PER_SEC);
		end(q, dns->rebuilt, answer.length);
		return false;
	case DNS_RESULT_NO_EDNS:
		q->request.edns = false;
		ask_again(q, tcp);
		return false;
	case DNS_RESULT_TRUNCATED:
		if (!tcp) {
			ask_again(q, true);
			return false;
		}
		break;
	case DNS_RESULT_NOT_OURS:
		break;
	}
	dns->counts.refused_answers++;
	if (!tcp && ++q->strays < STRAYS_MAX)
		return true;
	if (tcp)
		fail(q, false);
	else
		ask_again(q, true);
	return false;
}

static void receive_udp(struct dns_query *q)
{
	for (unsigned int i = 0; i < DATAGRAMS_PER_WAKE; i++) {
		ssize_t n = recv(q->fd, q->dns->received, sizeof(q->dns->received), 0);

		if (n < 0) {
			if (errno != EAGAIN && errno != EINTR)
				fail(q, true);
			return;
		}
		if (!consider(q, q->dns->received, (size_t)n))
			return;
	}
}

/** send_tcp() - The question, behind its length. */
static void send_tcp(struct dns_query *q)
{
	ssize_t n = send(q->fd, q->out + q->out_sent, q->out_length - q->out_sent, MSG_NOSIGNAL);

	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			fail(q, false);
		return;
	}
	q->out_sent += (size_t)n;
	if (q->out_sent == q->out_length) {
		q->phase = DNS_PHASE_RECEIVE;
		loop_modify(q->dns->loop, q->source, EPOLLIN);
	}
}

/** receive_tcp() - Some of the answer: its length first, then a buffer as long. */
static void receive_tcp(struct dns_query *q)
{
	bool in_prefix = q->in_have < sizeof(q->prefix);
	uint8_t *to = in_prefix ? q->prefix + q->in_have : q->in + (q->in_have - sizeof(q->prefix));
	size_t want = (in_prefix ? 0 : q->in_length) + sizeof(q->prefix) - q->in_have;
	ssize_t n = recv(q->fd, to, want, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		fail(q, false);
		return;
	}
	q->in_have += (size_t)n;
	if ((size_t)n < want)
		return;
	if (!in_prefix) {
		consider(q, q->in, q->in_length);
		return;
	}
	q->in_length = (size_t)q->prefix[0] << 8 | q->prefix[1];
	q->in = malloc(MAX(q->in_length, 1U));
	if (!q->in || q->in_length == 0)
		fail(q, false);
}

static void on_event(void *arg, uint32_t events)
{
	struct dns_query *q = arg;

	(void)events;
	/* Errors of the socket are found by its next call. */
	if (q->phase == DNS_PHASE_UDP)
		receive_udp(q);
	else if (q->phase == DNS_PHASE_CONNECT)
		send_tcp(q);
	else if (q->phase == DNS_PHASE_RECEIVE)
		receive_tcp(q);
}

/** on_due() - What the time says to a query. */
static void on_due(struct dns_query *q, int64_t now)
{
	if (q->deadline_ns <= now) {
		fail(q, q->phase == DNS_PHASE_UDP);
		return;
	}
	if (q->phase != DNS_PHASE_UDP || q->resend_ns == 0 || q->resend_ns > now)
		return;
	q->resends++;
	q->resend_ns = q->resends < RESENDS_MAX ? now + q->dns->timeout_ns / (RESENDS_MAX + 1) : 0;
	if (send(q->fd, q->out + 2, q->out_length - 2, 0) < 0 && errno != EAGAIN)
		fail(q, true);
}

static void on_timer(void *arg, uint32_t events)
{
	struct dns *dns = arg;
	int64_t now = clock_monotonic_ns();

	(void)events;
	dns->timer_ns = 0;
	for (unsigned int i = 0; i < DNS_QUERIES_MAX; i++) {
		struct dns_query *q = &dns->queries[i];

		if (q->phase == DNS_PHASE_FREE || q->phase == DNS_PHASE_DONE)
			continue;
		on_due(q, now);
	}
	/* Again over all: telling waiters may have begun and ended any of them. */
	for (unsigned int i = 0; i < DNS_QUERIES_MAX; i++) {
		const struct dns_query *q = &dns->queries[i];

		if (q->phase == DNS_PHASE_FREE)
			continue;
		arm(dns,
		    q->resend_ns && q->phase == DNS_PHASE_UDP ? MIN(q->resend_ns, q->deadline_ns) : q->deadline_ns);
	}
}

/** find() - A query that is asked already. */
static struct dns_query *find(struct dns *dns, const struct dns_key *key)
{
	for (unsigned int i = 0; dns->counts.queries && i < DNS_QUERIES_MAX; i++) {
		struct dns_query *q = &dns->queries[i];

		if (q->phase != DNS_PHASE_FREE && q->phase != DNS_PHASE_DONE && dns_key_equal(&q->key, key))
			return q;
	}
	return NULL;
}

bool dns_forward(struct dns *dns, const struct dns_key *key, struct dns_waiter *waiter)
{
	struct dns_query *q = find(dns, key);

	if (q) {
		waiter->query = q;
		TAILQ_INSERT_TAIL(&q->waiters, waiter, link);
		return true;
	}
	q = LIST_FIRST(&dns->free_queries);
	if (!q)
		return false;
	LIST_REMOVE(q, link);
	dns->counts.queries++;
	*q = (struct dns_query){ .dns = dns, .phase = DNS_PHASE_UDP, .key = *key, .fd = -1, .source = -1 };
	q->request.question = (struct dns_question){ .name = key->name, .type = key->type, .klass = DNS_CLASS_IN };
	q->request.flags = key->flags;
	q->request.dnssec_ok = key->dnssec_ok;
	q->by_tcp = waiter->client.via == DNS_TCP;
	TAILQ_INIT(&q->waiters);
	waiter->query = q;
	TAILQ_INSERT_TAIL(&q->waiters, waiter, link);
	ask_next(q);
	return true;
}

void dns_forward_cancel(struct dns_waiter *waiter)
{
	struct dns_query *q = waiter->query;

	TAILQ_REMOVE(&q->waiters, waiter, link);
	if (TAILQ_EMPTY(&q->waiters) && q->phase != DNS_PHASE_DONE) {
		hang_up(q);
		put_back(q);
	}
}

void dns_forward_free(struct dns *dns)
{
	for (unsigned int i = 0; i < DNS_QUERIES_MAX; i++)
		if (dns->queries[i].phase != DNS_PHASE_FREE)
			hang_up(&dns->queries[i]);
	loop_remove(dns->loop, &dns->timer);
}
