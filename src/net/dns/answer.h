/* SPDX-License-Identifier: Apache-2.0 */
/**
 * What the guest asks and what resolvers answer, as far as it can be said without knowing anything else: is it well
 * formed, does the answer belong to the question, which of its records do.
 */
#ifndef MSB_NET_DNS_ANSWER_H
#define MSB_NET_DNS_ANSWER_H

#include "net/dns/message.h"
#include "net/ip.h"

/* Of an answer; one that has more is ignored: reading each may take microseconds if somebody wants it to. */
#define DNS_RECORDS_MAX 1024
#define DNS_HOPS_MAX 11		    /* CNAMEs in a row */
#define DNS_NEGATIVE_TTL_MAX_S 3600 /* RFC 2308, 5 suggests one to three hours */
#define DNS_UDP_UPSTREAM 1232	    /* what we take by UDP: no fragments on any path (DNS flag day 2020) */

/** A question of the guest. */
struct dns_asked {
	uint16_t id, flags;
	bool has_question; /* was read: goes into the answer */
	struct dns_question question;
	bool edns, dnssec_ok;
	uint16_t udp_size; /* what the guest takes by UDP, at least 512 */
};

/**
 * dns_parse_query() - Read a message of the guest.
 * Return: DNS_NOERROR; another rcode that is the answer (asked->has_question says whether there is one to repeat); or
 * a negative value: no answer is due.
 */
int dns_parse_query(const uint8_t *message, size_t length, struct dns_asked *asked);

/** A question to a resolver. */
struct dns_request {
	uint16_t id;
	uint16_t flags; /* DNS_FLAG_RD, _AD, _CD */
	struct dns_question question;
	bool edns;
	bool dnssec_ok; /* only with EDNS */
};

/**
 * dns_write_query() - A question to a resolver; nothing of the guest's message is in it but the question and flags.
 * Return: its length.
 */
size_t dns_write_query(uint8_t *to, size_t size, const struct dns_request *request);

enum dns_result {
	DNS_RESULT_ANSWER,
	DNS_RESULT_TRUNCATED, /* ask by TCP */
	DNS_RESULT_NO_EDNS,   /* the resolver does not understand EDNS: ask without */
	DNS_RESULT_NOT_OURS,  /* no answer to this question, or broken: ignored, as anybody can send that */
};

struct dns_answer {
	size_t length;
	uint32_t ttl_s; /* how long it may be kept; 0: not at all */
};

/**
 * dns_rebuild() - Read a resolver's message and write a new one of what belongs to the question: its chain of CNAMEs
 * and the records of the type at its end; for an answer without such records the SOA of a zone that the name lies in;
 * what DNSSEC adds to these. Never OPT. TTLs are cut to DNS_TTL_MAX_S.
 * @asked: what it must answer
 * @to:  at least 64 KiB, not the message
 * @out: set with DNS_RESULT_ANSWER
 */
enum dns_result dns_rebuild(const uint8_t *message, size_t length, const struct dns_request *asked, uint8_t *to,
			    size_t size, struct dns_answer *out);

/** dns_age() - Count the TTLs of a message of ours down. */
void dns_age(uint8_t *message, size_t length, uint32_t seconds);

/** Called per address of an answer. @hint: of an SVCB or HTTPS record, else A or AAAA. Return: false to end. */
typedef bool (*dns_address_fn)(void *arg, const struct ip *ip, uint32_t ttl_s, bool hint);
/**
 * dns_each_address() - All addresses that the answers of a message of ours lead to.
 * The TTL is the smallest on the way there.
 * Return: false when fn ended it, or when a hint cannot be read.
 */
bool dns_each_address(const uint8_t *message, size_t length, dns_address_fn fn, void *arg);

#endif
