/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The DNS of a sandbox: answers what the guest asks on port 53, wherever it sent it.
 *
 * A question passes, in this order: form (one question, else FORMERR), block lists, policy (ops), the gateway's own
 * name, inactive family, cache, upstream. Answers are never passed on as they came: they are read whole and written
 * anew with only what belongs to the question and its chain of CNAMEs. What the guest is told goes into the name table,
 * which domain rules and secrets ask.
 *
 * Hostile: the guest (questions), every upstream and whoever can send packets to the host (answers). A socket per
 * question, connected, with a random port and a random id; asked once however many wait for the same.
 *
 * Context: all functions on the loop's thread; none blocks. Memory is bounded by the limits below, about 3 MiB beside
 * the block lists, and up to 64 KiB more for each of DNS_TCP_MAX answers that are being received by TCP.
 *
 * Source: RFC 1034, 1035, 2181, 2308, 5452, 6891, 7766.
 */
#ifndef MSB_NET_DNS_DNS_H
#define MSB_NET_DNS_DNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "net/ip.h"

struct loop;

#define DNS_PORT 53
#define DNS_HOST_NAME "host.microsandbox.internal" /* the gateway, which stands for the host */
#define DNS_HOST_TTL_S 60
#define DNS_TIMEOUT_MS 5000 /* per upstream, unless configured */

#define DNS_MESSAGE_MAX 65535	/* an answer; RFC 1035, 4.2.2 */
#define DNS_QUESTION_MAX 1024	/* a message of the guest: header, one name of 255 bytes, options. Longer: FORMERR */
#define DNS_NAME_TEXT_MAX 1024	/* with NUL: 255 bytes, each written as \DDD at worst */
#define DNS_UDP_ANSWER_MAX 1452 /* whatever the guest offers: IPv6 and UDP in an MTU of 1,500, so no fragments */

#define DNS_UPSTREAMS_MAX 8
#define DNS_BLOCK_MAX 65536	   /* names in each block list */
#define DNS_QUERIES_MAX 256	   /* asked upstream at a time, a socket each; more: SERVFAIL */
#define DNS_TCP_MAX 64		   /* of these by TCP; more: SERVFAIL */
#define DNS_WAITERS_MAX 1024	   /* questions of the guest that wait for these; more: SERVFAIL */
#define DNS_CACHE_ENTRIES_MAX 2048 /* the least recently used goes */
#define DNS_CACHE_BYTES_MAX (1U << 20)
#define DNS_CACHE_ENTRY_MAX 16384 /* a longer answer is not kept */
#define DNS_TTL_MAX_S 86400	  /* longer ones are cut to this, for the guest too */
#define DNS_NAMES_MAX 4096	  /* of the name table; the one told longest ago goes */
#define DNS_NAMES_BYTES_MAX (1U << 20)

struct dns;

/** How the guest asked. */
enum dns_via {
	DNS_UDP, /* the answer fits what the guest can take, else it has TC and no records */
	DNS_TCP,
};

struct dns_config {
	const struct endpoint *upstreams; /* tried in order; without any, nothing but the gateway's own name resolves */
	size_t upstream_count;		  /* <= DNS_UPSTREAMS_MAX */
	uint32_t timeout_ms;		  /* per upstream; 0: DNS_TIMEOUT_MS */
	const char *const *block_domains; /* this name only; case and a dot at the end do not matter */
	size_t block_domain_count;
	const char *const *block_suffixes; /* the name and all below it; a dot in front does not matter */
	size_t block_suffix_count;
	bool rebind_protection;
	bool v4, v6;		      /* families that the guest can use: others have no addresses */
	struct ip gateway4, gateway6; /* of DNS_HOST_NAME */
};

/**
 * What the policy says; each may be NULL: yes. Names are text as dns_named() has it: lower case, no dot at the end (""
 * is the root), odd bytes as \DDD. @resolver is NULL when the question was sent to the gateway.
 */
struct dns_ops {
	/** Is the question allowed? No: NXDOMAIN. Asked for each question but blocked ones, DNS_HOST_NAME included. */
	bool (*question_allowed)(void *arg, const char *name, uint16_t type, enum dns_via via,
				 const struct endpoint *resolver);
	/** Is that other resolver allowed? No: NXDOMAIN. Asked after question_allowed. */
	bool (*resolver_allowed)(void *arg, const struct endpoint *resolver, enum dns_via via);
	/**
	 * May an answer have this address, which is on the rebind list: does an allow rule of addresses only, without
	 * ports, cover it? NULL: no. Asked only with rebind_protection.
	 */
	bool (*address_allowed)(void *arg, const struct ip *ip);
};

/**
 * The answer; called exactly once per question that is not cancelled, perhaps before dns_ask() returns. It may call
 * dns_ask() and dns_cancel(), not dns_free().
 * @message: to be sent to the guest as it is (TCP: behind two bytes of length); valid until the function returns or
 * calls dns_ask()
 * @length:  0 when nothing is to be answered (not a question at all): UDP: drop; TCP: close
 */
typedef void (*dns_answer_fn)(void *arg, const uint8_t *message, size_t length);

/**
 * dns_new() - Start, with empty cache and name table. Opens no socket before a question needs one.
 * @loop:   kept; takes one source now and one per question that is asked upstream (DNS_QUERIES_MAX)
 * @config: borrowed, copied
 * @ops:    kept; may be NULL
 * @arg:    for @ops
 * Return: owned, or NULL (ERR_INVALID: a name of a list; ERR_LIMIT; ERR_NO_MEMORY).
 */
struct dns *dns_new(struct loop *loop, const struct dns_config *config, const struct dns_ops *ops, void *arg,
		    struct error *err);
/** dns_free() - End: questions that wait are never answered. NULL is ignored. */
void dns_free(struct dns *dns);

/**
 * dns_ask() - A message of the guest to port 53.
 * @message:  borrowed; anything, the guest wrote it
 * @resolver: where it was sent when that is not the gateway (borrowed), else NULL
 * @via:      how it was sent; by TCP it is asked upstream by TCP, too
 * Return: a token for dns_cancel(), or 0 when @answer was called already.
 */
uint64_t dns_ask(struct dns *dns, const uint8_t *message, size_t length, const struct endpoint *resolver,
		 enum dns_via via, dns_answer_fn answer, void *arg);
/** dns_cancel() - Nobody waits for this any more: the flow is gone. 0 and tokens that were answered are ignored. */
void dns_cancel(struct dns *dns, uint64_t token);

/** Which names dns_named() looks for. */
enum dns_match {
	DNS_EXACT,
	DNS_SUFFIX, /* the name itself and all below it */
};

/** Whose answers count. */
enum dns_trust {
	DNS_ANY_RESOLVER,    /* for deny rules */
	DNS_CONFIGURED_ONLY, /* our upstreams: a resolver that the guest chose may be an accomplice that names any
				address */
};

/**
 * dns_named() - Was the guest told that @name has this address, and is the record still alive (TTL, at least 1 s)?
 * @name:  text in any case, a dot at the end does not matter
 * The name is the one that was asked, not one of its CNAMEs.
 */
bool dns_named(const struct dns *dns, const struct ip *ip, const char *name, enum dns_match match,
	       enum dns_trust trust);
/** dns_blocked() - Is the name on a block list? For connections whose name (SNI) is known. */
bool dns_blocked(const struct dns *dns, const char *name);

/** What is there and what happened, for metrics and tests. */
struct dns_counts {
	uint64_t questions;	  /* messages of the guest */
	uint64_t cached;	  /* answered from the cache */
	uint64_t asked;		  /* datagrams and connections to resolvers */
	uint64_t failovers;	  /* a resolver timed out or could not be reached */
	uint64_t refused_answers; /* packets that do not answer the question: wrong id, question, form */
	uint64_t rebinds;	  /* answers that were refused for an address */
	uint64_t overloads;	  /* SERVFAIL for a limit */
	uint32_t queries, waiters, cache_entries, cache_bytes, names, names_bytes; /* now */
};

void dns_counts(const struct dns *dns, struct dns_counts *out);

/* The guest's TCP carries each message behind two bytes of length (RFC 1035, 4.2.2; several in a row: RFC 7766). */

/** Where a stream stands. Zero is its start. */
struct dns_split {
	uint32_t have; /* bytes of prefix and message */
	uint8_t bytes[2 + DNS_QUESTION_MAX];
};

/**
 * dns_split() - Take bytes of a stream until one message is whole.
 * @data:    borrowed, n bytes
 * @taken:   how many of these were taken; call again with the rest
 * @message: the message when one is whole (valid until the next call), else NULL
 * @length:  of the message
 * Return: false when the peer must be closed: a message longer than DNS_QUESTION_MAX or empty.
 */
bool dns_split(struct dns_split *s, const uint8_t *data, size_t n, size_t *taken, const uint8_t **message,
	       size_t *length);
/** dns_prefix() - The two bytes in front of a message of this length. */
static inline void dns_prefix(uint8_t to[2], size_t length)
{
	to[0] = (uint8_t)(length >> 8);
	to[1] = (uint8_t)length;
}

#endif
