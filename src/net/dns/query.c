/* SPDX-License-Identifier: Apache-2.0 */
/* Questions: the guest's are read, ours are written. Source: RFC 1035, 4.1; RFC 6891, 6 and 7. */
#include "base/macros.h"
#include "net/dns/answer.h"
#include "net/dns/dns.h"

#define UDP_SIZE_MIN 512 /* without EDNS: RFC 1035, 4.2.1 */
#define OPT_DO 0x8000U
#define OPT_VERSION(ttl) ((ttl) >> 16 & 0xffU)

/** read_opt() - Look for OPT among the additional records. Return: false when these are malformed or there are two. */
static bool read_opt(struct dns_in *in, unsigned int count, struct dns_asked *asked, unsigned int *version)
{
	for (; count > 0; count--) {
		struct dns_record record;

		dns_read_record(in, &record);
		if (in->r.failed)
			return false;
		if (record.type != DNS_OPT)
			continue;
		if (asked->edns || record.owner.length != 1)
			return false;
		asked->edns = true;
		asked->udp_size = MAX(record.klass, UDP_SIZE_MIN);
		asked->dnssec_ok = record.ttl & OPT_DO;
		*version = OPT_VERSION(record.ttl);
	}
	return in->r.left == 0;
}

int dns_parse_query(const uint8_t *message, size_t length, struct dns_asked *asked)
{
	struct dns_in in = dns_in_at(message, length, 0);
	unsigned int version = 0;
	struct dns_header h;
	uint16_t type;

	memset(asked, 0, sizeof(*asked));
	dns_read_header(&in, &h);
	if (in.r.failed || h.flags & DNS_FLAG_QR)
		return -1;
	asked->id = h.id;
	asked->flags = h.flags;
	asked->udp_size = UDP_SIZE_MIN;
	if (h.flags & DNS_FLAG_OPCODE)
		return DNS_NOTIMP;
	if (length > DNS_QUESTION_MAX || h.counts[0] != 1 || h.counts[1] || h.counts[2])
		return DNS_FORMERR;
	dns_read_question(&in, &asked->question);
	if (in.r.failed)
		return DNS_FORMERR;
	asked->has_question = true;
	type = asked->question.type;
	if (!read_opt(&in, h.counts[3], asked, &version) || type == 0 || type == DNS_OPT)
		return DNS_FORMERR;
	if (version > 0)
		return DNS_BADVERS;
	if (asked->question.klass != DNS_CLASS_IN || (type >= DNS_TKEY && type <= DNS_MAILA))
		return DNS_NOTIMP;
	return DNS_NOERROR;
}

size_t dns_write_query(uint8_t *to, size_t size, const struct dns_request *request)
{
	struct dns_header h = { .id = request->id, .flags = request->flags, .counts = { 1, 0, 0, request->edns } };
	struct dns_out out = dns_out_start(to, size);

	dns_put_header(&out, &h);
	dns_put_question(&out, &request->question);
	if (request->edns)
		dns_put_opt(&out, DNS_UDP_UPSTREAM, 0, request->dnssec_ok);
	return out.at;
}
