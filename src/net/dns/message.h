/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Messages of the DNS: reading with every length checked, writing with compression; nothing is allocated.
 *
 * A pointer of a compressed name must point in front of all that was read of the name so far, and a name may have only
 * so many: that bounds each name, and a message of n bytes has at most n records.
 */
#ifndef MSB_NET_DNS_MESSAGE_H
#define MSB_NET_DNS_MESSAGE_H

#include "base/reader.h"
#include "net/dns/name.h"

#define DNS_HEADER_SIZE 12

#define DNS_FLAG_QR 0x8000U
#define DNS_FLAG_OPCODE 0x7800U
#define DNS_FLAG_TC 0x0200U
#define DNS_FLAG_RD 0x0100U
#define DNS_FLAG_RA 0x0080U
#define DNS_FLAG_AD 0x0020U
#define DNS_FLAG_CD 0x0010U
#define DNS_FLAG_RCODE 0x000fU

enum dns_rcode {
	DNS_NOERROR = 0,
	DNS_FORMERR = 1,
	DNS_SERVFAIL = 2,
	DNS_NXDOMAIN = 3,
	DNS_NOTIMP = 4,
	DNS_REFUSED = 5,
	DNS_BADVERS = 16, /* with the upper bits in OPT */
};

enum dns_type {
	DNS_A = 1,
	DNS_NS = 2,
	DNS_CNAME = 5,
	DNS_SOA = 6,
	DNS_PTR = 12,
	DNS_MX = 15,
	DNS_TXT = 16,
	DNS_AAAA = 28,
	DNS_SRV = 33,
	DNS_DNAME = 39,
	DNS_OPT = 41,
	DNS_DS = 43,
	DNS_RRSIG = 46,
	DNS_NSEC = 47,
	DNS_NSEC3 = 50,
	DNS_SVCB = 64,
	DNS_HTTPS = 65,
	DNS_TKEY = 249, /* to 254: not for forwarders: TKEY, TSIG, zone transfers, mail boxes */
	DNS_MAILA = 254,
	DNS_ANY = 255,
};

#define DNS_CLASS_IN 1

struct dns_header {
	uint16_t id, flags;
	uint16_t counts[4]; /* questions, answers, authority, additional */
};

struct dns_question {
	struct dns_name name; /* as it was written */
	uint16_t type, klass;
};

struct dns_record {
	struct dns_name owner;
	uint16_t type, klass;
	uint32_t ttl;
	size_t at;     /* of the data in the message */
	uint16_t size; /* of the data */
};

/** Reading: a place in a message. */
struct dns_in {
	const uint8_t *message; /* borrowed */
	size_t size;
	struct reader r;
};

struct dns_in dns_in_at(const uint8_t *message, size_t size, size_t at);
/** dns_in_where() - The offset of what comes next. */
size_t dns_in_where(const struct dns_in *in);
/* As those of base/reader.h: after a failure all is empty, and in->r.failed stays. */
void dns_read_header(struct dns_in *in, struct dns_header *h);
void dns_read_name(struct dns_in *in, struct dns_name *name);
void dns_read_question(struct dns_in *in, struct dns_question *q);
void dns_read_record(struct dns_in *in, struct dns_record *record);

#define DNS_PLACES_MAX 64
#define DNS_EFFORT_MAX 131072 /* to compress one message; a hostile one must not cost more */
#define DNS_EFFORT_NAME 32

/** Writing. */
struct dns_out {
	uint8_t *to; /* borrowed; below 64 KiB */
	size_t size, at;
	bool full; /* something did not fit */
	/* Where names stand that others may point to; later ones are written in full when this is used up. */
	uint16_t places[DNS_PLACES_MAX];
	unsigned int place_count;
	unsigned int effort; /* comparisons of first labels; a whole name counts as DNS_EFFORT_NAME of these */
};

struct dns_out dns_out_start(uint8_t *to, size_t size);
void dns_put_bytes(struct dns_out *out, const void *from, size_t n);
void dns_put_u8(struct dns_out *out, uint8_t value);
void dns_put_u16(struct dns_out *out, uint16_t value);
void dns_put_u32(struct dns_out *out, uint32_t value);
/** dns_put_name() - @compress: point to an equal end that was written before; false where RFC 3597, 4 forbids it. */
void dns_put_name(struct dns_out *out, const struct dns_name *name, bool compress);
void dns_put_header(struct dns_out *out, const struct dns_header *h);
void dns_put_question(struct dns_out *out, const struct dns_question *q);
/** dns_put_record_start() - All in front of the data. Return: what dns_put_record_end() needs. */
size_t dns_put_record_start(struct dns_out *out, const struct dns_name *owner, uint16_t type, uint16_t klass,
			    uint32_t ttl);
void dns_put_record_end(struct dns_out *out, size_t start);
/**
 * dns_copy_record() - Write a record of another message; names in its data are read and written anew.
 * Return: false when its data is not what its type says.
 */
bool dns_copy_record(struct dns_out *out, const struct dns_in *in, const struct dns_record *record, uint32_t ttl);
/**
 * dns_put_opt() - The OPT record (RFC 6891, 6.1.2).
 * @udp_size: what the writer takes by UDP
 * @rcode:    of which the upper 8 bits go in here
 */
void dns_put_opt(struct dns_out *out, uint16_t udp_size, unsigned int rcode, bool dnssec_ok);

#endif
