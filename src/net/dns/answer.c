/* SPDX-License-Identifier: Apache-2.0 */
/* Answers: what of them belongs to the question. Source: RFC 1034, 3.6.2; RFC 2181; RFC 2308; RFC 5452. */
#include "net/dns/answer.h"

#include "base/macros.h"
#include "net/dns/dns.h"

#define SVCB_IPV4HINT 4 /* RFC 9460, 14.3.2 */
#define SVCB_IPV6HINT 6

/** One rebuild. */
struct rebuild {
	struct dns_in in;    /* at the first record */
	struct dns_header h; /* as it came */
	const struct dns_request *asked;
	struct dns_out out;
	uint16_t answers, authority; /* that were written */
	uint32_t ttl_s;		     /* the smallest of them */
	struct dns_name at;	     /* the chain's end so far */
	unsigned int hops;
	bool nothing;	      /* NXDOMAIN: what the answer has at the chain's end is left out */
	bool found;	      /* a record of the type, at the chain's end */
	struct dns_name last; /* the answer that was written last: signatures follow it */
	uint16_t last_type;
};

/** usable_ttl() - RFC 2181, 8: with the highest bit set it is 0. */
static uint32_t usable_ttl(uint32_t ttl)
{
	return ttl >> 31 ? 0 : MIN(ttl, DNS_TTL_MAX_S);
}

/** check_form() - Can all records be read? Looks for the upper bits of the rcode in OPT, too. */
static bool check_form(const struct rebuild *b, unsigned int *rcode)
{
	unsigned int count = (unsigned int)b->h.counts[1] + b->h.counts[2] + b->h.counts[3];
	struct dns_in in = b->in;

	if (count > DNS_RECORDS_MAX)
		return false;
	for (; count > 0; count--) {
		struct dns_record record;

		dns_read_record(&in, &record);
		if (in.r.failed)
			return false;
		if (record.type == DNS_OPT)
			*rcode |= record.ttl >> 24 << 4;
	}
	return true;
}

/** write() - Copy a record. Return: false when it is malformed. */
static bool write(struct rebuild *b, const struct dns_record *record, uint32_t ttl, uint16_t *count)
{
	b->ttl_s = MIN(b->ttl_s, ttl);
	(*count)++;
	return dns_copy_record(&b->out, &b->in, record, ttl);
}

/** signs() - Is it the signature of what was written last? */
static bool signs(const struct rebuild *b, const struct dns_record *r)
{
	const uint8_t *data = b->in.message + r->at;

	return r->type == DNS_RRSIG && b->asked->dnssec_ok && b->answers > 0 && r->size >= 2 &&
	       (data[0] << 8 | data[1]) == b->last_type && dns_name_equal(&r->owner, &b->last);
}

/** step() - Follow a CNAME to its target. Return: false when that cannot be read, or when the chain is too long. */
static bool step(struct rebuild *b, const struct dns_record *cname)
{
	struct dns_in data = dns_in_at(b->in.message, cname->at + cname->size, cname->at);

	dns_read_name(&data, &b->at);
	return !data.r.failed && ++b->hops <= DNS_HOPS_MAX;
}

/** write_answer() - One record, if it belongs. Return: false when it does but is malformed. */
static bool write_answer(struct rebuild *b, const struct dns_record *r)
{
	uint16_t type = b->asked->question.type;
	bool all = type == DNS_CNAME || type == DNS_ANY; /* that a name has, without following CNAMEs */
	bool here = dns_name_equal(&r->owner, &b->at), alias = here && r->type == DNS_CNAME && !all && !b->found;
	bool wanted = here && (r->type == type || type == DNS_ANY) && !(type == DNS_CNAME && b->found) && !b->nothing;

	if (signs(b, r))
		return write(b, r, usable_ttl(r->ttl), &b->answers);
	/* DNAME stands at a name above, in front of the CNAME that was made of it (RFC 6672, 3.1). */
	if (!alias && !wanted && !(r->type == DNS_DNAME && !here && dns_name_within(&b->at, &r->owner)))
		return true;
	if (!write(b, r, usable_ttl(r->ttl), &b->answers) || (alias && !step(b, r)))
		return false;
	b->found |= wanted;
	b->last = r->owner;
	b->last_type = r->type;
	return true;
}

/**
 * write_answers() - What belongs to the question, read once and forwards as the resolver of a C library does: the
 * records of a chain stand in its order. Return: false when one is malformed.
 */
static bool write_answers(struct rebuild *b)
{
	struct dns_in in = b->in;

	for (unsigned int i = 0; i < b->h.counts[1]; i++) {
		struct dns_record r;

		dns_read_record(&in, &r);
		if (r.klass == DNS_CLASS_IN && r.type != DNS_OPT && !write_answer(b, &r))
			return false;
	}
	return true;
}

/** soa_ttl() - RFC 2308, 5: for how long it says that something is not there. */
static uint32_t soa_ttl(const struct rebuild *b, const struct dns_record *soa)
{
	struct dns_in last;
	uint32_t minimum;

	if (soa->size < 4)
		return 0;
	last = dns_in_at(b->in.message, b->in.size, soa->at + soa->size - 4);
	minimum = usable_ttl(reader_u32_be(&last.r));
	return MIN(MIN(usable_ttl(soa->ttl), minimum), DNS_NEGATIVE_TTL_MAX_S);
}

/**
 * write_authority() - The SOA of a negative answer and what proves it. Records that a cache could take for more than
 * that (NS) are left out.
 * When there was a record of the type, only proofs are copied (of wildcards: RFC 4035, 3.1.3.3).
 * Return: false when one is malformed. *has_soa: there was one
 */
static bool write_authority(struct rebuild *b, bool *has_soa)
{
	struct dns_in in = b->in;

	for (unsigned int i = 0; i < (unsigned int)b->h.counts[1] + b->h.counts[2]; i++) {
		struct dns_record r;
		bool proof, soa;

		dns_read_record(&in, &r);
		if (i < b->h.counts[1] || r.klass != DNS_CLASS_IN)
			continue;
		soa = !b->found && !*has_soa && r.type == DNS_SOA && dns_name_within(&b->at, &r.owner);
		proof = b->asked->dnssec_ok && (r.type == DNS_NSEC || r.type == DNS_NSEC3 || r.type == DNS_RRSIG);
		if (!soa && !proof)
			continue;
		if (!write(b, &r, soa ? soa_ttl(b, &r) : usable_ttl(r.ttl), &b->authority))
			return false;
		*has_soa |= soa;
	}
	return true;
}

/** write_all() - Both sections. Return: false when something is malformed. */
static bool write_all(struct rebuild *b)
{
	bool has_soa = false;

	if (!write_answers(b) || !write_authority(b, &has_soa))
		return false;
	/* RFC 2308, 5: without SOA a negative answer must not be kept. */
	if (!b->found && !has_soa)
		b->ttl_s = 0;
	return !b->out.full;
}

enum dns_result dns_rebuild(const uint8_t *message, size_t length, const struct dns_request *asked, uint8_t *to,
			    size_t size, struct dns_answer *out)
{
	struct rebuild b = { .asked = asked, .out = dns_out_start(to, size), .ttl_s = DNS_TTL_MAX_S };
	const struct dns_question *q = &asked->question;
	struct dns_question got;
	struct dns_header h;
	unsigned int rcode;

	b.at = q->name;
	b.in = dns_in_at(message, length, 0);
	dns_read_header(&b.in, &b.h);
	rcode = b.h.flags & DNS_FLAG_RCODE;
	if (b.in.r.failed || b.h.id != asked->id || !(b.h.flags & DNS_FLAG_QR) || b.h.flags & DNS_FLAG_OPCODE)
		return DNS_RESULT_NOT_OURS;
	/* RFC 6891, 7: those that do not know OPT may return nothing but a header. Nothing of it is used. */
	if (asked->edns && b.h.counts[0] == 0 && rcode == DNS_FORMERR)
		return DNS_RESULT_NO_EDNS;
	if (b.h.counts[0] != 1)
		return DNS_RESULT_NOT_OURS;
	dns_read_question(&b.in, &got);
	if (b.in.r.failed || !dns_name_equal(&got.name, &q->name) || got.type != q->type || got.klass != q->klass)
		return DNS_RESULT_NOT_OURS;
	if (b.h.flags & DNS_FLAG_TC)
		return DNS_RESULT_TRUNCATED;
	if (!check_form(&b, &rcode))
		return DNS_RESULT_NOT_OURS;
	if (asked->edns && (rcode == DNS_FORMERR || rcode == DNS_NOTIMP || rcode == DNS_BADVERS))
		return DNS_RESULT_NO_EDNS;
	if (rcode > DNS_FLAG_RCODE)
		rcode = DNS_SERVFAIL;

	h = (struct dns_header){ .flags = (uint16_t)(DNS_FLAG_QR | (b.h.flags & DNS_FLAG_AD) | rcode),
				 .counts = { 1 } };
	dns_put_header(&b.out, &h);
	dns_put_question(&b.out, q);
	if (rcode == DNS_NOERROR || rcode == DNS_NXDOMAIN) {
		b.nothing = rcode == DNS_NXDOMAIN;
		if (!write_all(&b))
			return DNS_RESULT_NOT_OURS;
	} else {
		b.ttl_s = 0;
	}
	h.counts[1] = b.answers;
	h.counts[2] = b.authority;
	out->length = b.out.at;
	out->ttl_s = b.ttl_s;
	b.out = dns_out_start(to, size);
	dns_put_header(&b.out, &h);
	return DNS_RESULT_ANSWER;
}

/** skip_to_records() - Behind the question of a message of ours. */
static struct dns_in skip_to_records(const uint8_t *message, size_t length, struct dns_header *h)
{
	struct dns_in in = dns_in_at(message, length, 0);
	struct dns_question q;

	dns_read_header(&in, h);
	if (h->counts[0])
		dns_read_question(&in, &q);
	return in;
}

void dns_age(uint8_t *message, size_t length, uint32_t seconds)
{
	struct dns_header h;
	struct dns_in in = skip_to_records(message, length, &h);

	for (unsigned int i = 0; i < (unsigned int)h.counts[1] + h.counts[2]; i++) {
		struct dns_record r;
		struct dns_out out;

		dns_read_record(&in, &r);
		if (in.r.failed)
			return;
		/* In front of the data lie the TTL and two bytes of length. */
		out = dns_out_start(message + r.at - 6, 4);
		dns_put_u32(&out, r.ttl - MIN(r.ttl, seconds));
	}
}

static bool give_address(const uint8_t *at, size_t size, uint32_t ttl, bool hint, dns_address_fn fn, void *arg)
{
	struct ip ip;

	if (size == 4)
		ip = ip_v4(at);
	else
		memcpy(ip.b, at, sizeof(ip.b));
	return fn(arg, &ip, ttl, hint);
}

/** each_hint() - The addresses in the data of an SVCB or HTTPS record (RFC 9460, 2.2 and 7.3). */
static bool each_hint(const struct dns_in *in, const struct dns_record *r, uint32_t ttl, dns_address_fn fn, void *arg)
{
	struct dns_in data = dns_in_at(in->message, r->at + r->size, r->at);
	struct dns_name target;

	reader_u16_be(&data.r);
	dns_read_name(&data, &target);
	while (!data.r.failed && data.r.left) {
		uint16_t key = reader_u16_be(&data.r), size = reader_u16_be(&data.r);
		struct reader value = reader_init(reader_bytes(&data.r, size), size);
		unsigned int step = key == SVCB_IPV4HINT ? 4 : key == SVCB_IPV6HINT ? 16 : 0;

		if (data.r.failed || (step && size % step))
			return false;
		for (; step && value.left; reader_bytes(&value, step))
			if (!give_address(value.p, step, ttl, true, fn, arg))
				return false;
	}
	return !data.r.failed;
}

bool dns_each_address(const uint8_t *message, size_t length, dns_address_fn fn, void *arg)
{
	struct dns_header h;
	const struct dns_in first = skip_to_records(message, length, &h);
	uint32_t ttl = UINT32_MAX;
	struct dns_in in = first;
	struct dns_record r;

	for (unsigned int i = 0; i < h.counts[1]; i++) {
		dns_read_record(&in, &r);
		ttl = MIN(ttl, r.ttl);
	}
	in = first;
	for (unsigned int i = 0; i < h.counts[1]; i++) {
		bool go_on = true;

		dns_read_record(&in, &r);
		if (in.r.failed)
			return false;
		if ((r.type == DNS_A && r.size == 4) || (r.type == DNS_AAAA && r.size == 16))
			go_on = give_address(message + r.at, r.size, ttl, false, fn, arg);
		else if (r.type == DNS_SVCB || r.type == DNS_HTTPS)
			go_on = each_hint(&in, &r, ttl, fn, arg);
		if (!go_on)
			return false;
	}
	return true;
}
