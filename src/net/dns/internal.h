/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Between dns.c (what the guest asks and is told) and forward.c (what resolvers are asked).
 *
 * A query is asked upstream; any number of waiters, questions of the guest that are the same, wait for it. Both live in
 * tables of fixed size.
 */
#ifndef MSB_NET_DNS_INTERNAL_H
#define MSB_NET_DNS_INTERNAL_H

#include <sys/queue.h>

#include "base/loop.h"
#include "net/dns/answer.h"
#include "net/dns/block.h"
#include "net/dns/cache.h"
#include "net/dns/dns.h"
#include "net/dns/table.h"

#define DNS_BUFFER_SIZE (DNS_MESSAGE_MAX + 1U)

/** Who is to be told, and how. */
struct dns_client {
	struct dns_asked asked;
	enum dns_via via;
	bool configured; /* asked our resolvers */
	dns_answer_fn answer;
	void *arg;
};

struct dns_waiter {
	TAILQ_ENTRY(dns_waiter) link; /* of its query, or of the free ones */
	struct dns_query *query;      /* NULL: free */
	uint32_t generation;	      /* part of the token */
	struct dns_client client;
};

TAILQ_HEAD(dns_waiters, dns_waiter);

/** Where a query stands. */
enum dns_phase {
	DNS_PHASE_FREE,
	DNS_PHASE_UDP,
	DNS_PHASE_CONNECT, /* TCP: until the question is sent */
	DNS_PHASE_RECEIVE, /* TCP: the answer */
	DNS_PHASE_DONE,	   /* its waiters are being told; takes no new ones */
};

struct dns_query {
	LIST_ENTRY(dns_query) link; /* of the free ones */
	struct dns *dns;
	enum dns_phase phase;
	struct dns_key key;
	struct dns_waiters waiters;
	bool by_tcp;		    /* from the start, as the guest asked so */
	struct dns_request request; /* to the upstream that is asked now */
	uint8_t tried;		    /* upstreams, by bit */
	unsigned int upstream;	    /* that is asked now */
	unsigned int strays;	    /* packets on this socket that were no answer */
	unsigned int resends;
	int fd, source;
	int64_t resend_ns, deadline_ns;				  /* CLOCK_MONOTONIC; resend_ns: 0 for never */
	uint8_t out[2 + DNS_HEADER_SIZE + DNS_NAME_MAX + 4 + 11]; /* length, then the question with OPT */
	size_t out_length, out_sent;
	uint8_t prefix[2];	   /* TCP: the length of the answer */
	uint8_t *in;		   /* owned; TCP: the answer */
	size_t in_length, in_have; /* in_have counts the prefix, too */
};

struct dns {
	struct loop *loop;
	const struct dns_ops *ops;
	void *arg;
	int timer;
	int64_t timer_ns; /* when it fires; 0: not armed */
	int64_t timeout_ns;
	struct endpoint upstreams[DNS_UPSTREAMS_MAX];
	int64_t down_until_ns[DNS_UPSTREAMS_MAX]; /* did not answer: asked behind the others until then */
	unsigned int upstream_count;
	unsigned int tcp_count;
	bool rebind_protection, v4, v6;
	struct ip gateway4, gateway6;
	struct dns_name host_name;
	struct dns_list block_domains, block_suffixes;
	struct dns_cache *cache;
	struct dns_table *table;
	struct dns_counts counts;
	LIST_HEAD(, dns_query) free_queries;
	struct dns_waiters free_waiters;
	struct dns_query queries[DNS_QUERIES_MAX];
	struct dns_waiter waiters[DNS_WAITERS_MAX];
	uint8_t received[DNS_BUFFER_SIZE]; /* by UDP */
	uint8_t rebuilt[DNS_BUFFER_SIZE];  /* what a query ended with, while its waiters are told */
	uint8_t sent[DNS_BUFFER_SIZE];	   /* what one waiter is told */
};

/** dns_forward_new() - The timer and the tables. Return: 0 or a negative code. */
int dns_forward_new(struct dns *dns, struct error *err);
void dns_forward_free(struct dns *dns);
/**
 * dns_forward() - Ask upstream, or wait with others for the same. The waiter may be told before this returns.
 * Return: false when a limit is reached: nobody was told.
 */
bool dns_forward(struct dns *dns, const struct dns_key *key, struct dns_waiter *waiter);
/** dns_forward_cancel() - The waiter leaves; the last one ends the query. */
void dns_forward_cancel(struct dns_waiter *waiter);
/**
 * dns_tell() - The answer of a query for one waiter, which is taken off its query and is free before it is told.
 * @message: as dns_rebuild() wrote it, or NULL: no resolver answered
 */
void dns_tell(struct dns *dns, struct dns_waiter *waiter, const uint8_t *message, size_t length);

#endif
