/* SPDX-License-Identifier: Apache-2.0 */
/* Messages: reading and writing. Source: RFC 1035, 4; RFC 3597; RFC 6891, 6.1. */
#include "net/dns/message.h"

#include "base/macros.h"

#define POINTER 0xc0U
#define POINTER_REACH 0x4000U /* offsets have 14 bits */
#define POINTERS_MAX 127U     /* as many labels as a name can have: each pointer stands for at least one */
#define DNSSEC_OK 0x8000U

/**
 * What the data of a type consists of: 1, 2, 4: a number of so many bytes; N: a name that may be compressed; n: one
 * that must not be, though old writers did; s: a string with its length; *: whatever is left. Types that are not here
 * are opaque (RFC 3597, 3 and 4).
 */
static const struct {
	uint16_t type;
	const char *layout;
} LAYOUTS[] = {
	{ DNS_A, "4" },
	{ DNS_NS, "N" },
	{ 3 /* MD */, "N" },
	{ 4 /* MF */, "N" },
	{ DNS_CNAME, "N" },
	{ DNS_SOA, "NN44444" },
	{ 7 /* MB */, "N" },
	{ 8 /* MG */, "N" },
	{ 9 /* MR */, "N" },
	{ DNS_PTR, "N" },
	{ 14 /* MINFO */, "NN" },
	{ DNS_MX, "2N" },
	{ 17 /* RP */, "nn" },
	{ 18 /* AFSDB */, "2n" },
	{ 21 /* RT */, "2n" },
	{ 26 /* PX */, "2nn" },
	{ DNS_AAAA, "4444" },
	{ DNS_SRV, "222n" },
	{ 35 /* NAPTR */, "22sssn" },
	{ 36 /* KX */, "2n" },
	{ DNS_DNAME, "n" },
	{ DNS_RRSIG, "211444"
		     "2n*" },
};

struct dns_in dns_in_at(const uint8_t *message, size_t size, size_t at)
{
	struct dns_in in = { .message = message, .size = size };

	at = MIN(at, size);
	in.r = reader_init(message + at, size - at);
	return in;
}

size_t dns_in_where(const struct dns_in *in)
{
	return in->size - in->r.left;
}

void dns_read_header(struct dns_in *in, struct dns_header *h)
{
	h->id = reader_u16_be(&in->r);
	h->flags = reader_u16_be(&in->r);
	for (unsigned int i = 0; i < ARRAY_LEN(h->counts); i++)
		h->counts[i] = reader_u16_be(&in->r);
}

void dns_read_name(struct dns_in *in, struct dns_name *name)
{
	size_t before = dns_in_where(in); /* a pointer must lead to in front of this */
	unsigned int pointers = 0;
	struct reader jumped, *r = &in->r;
	size_t length = 0;

	name->length = 0;
	for (;;) {
		uint8_t n = reader_u8(r);
		const uint8_t *label;

		if ((n & POINTER) == POINTER) {
			size_t to = (size_t)(n & ~POINTER) << 8 | reader_u8(r);

			if (r->failed || to >= before || to < DNS_HEADER_SIZE || ++pointers > POINTERS_MAX)
				break;
			before = to;
			jumped = reader_init(in->message + to, in->size - to);
			r = &jumped;
			continue;
		}
		label = reader_bytes(r, n);
		if (!label || n > DNS_LABEL_MAX || length + 1 + n > DNS_NAME_MAX)
			break;
		name->b[length] = n;
		memcpy(name->b + length + 1, label, n);
		length += 1U + n;
		if (n == 0) {
			name->length = (uint8_t)length;
			return;
		}
	}
	in->r.failed = true;
}

void dns_read_question(struct dns_in *in, struct dns_question *q)
{
	dns_read_name(in, &q->name);
	q->type = reader_u16_be(&in->r);
	q->klass = reader_u16_be(&in->r);
}

void dns_read_record(struct dns_in *in, struct dns_record *record)
{
	dns_read_name(in, &record->owner);
	record->type = reader_u16_be(&in->r);
	record->klass = reader_u16_be(&in->r);
	record->ttl = reader_u32_be(&in->r);
	record->size = reader_u16_be(&in->r);
	record->at = dns_in_where(in);
	reader_bytes(&in->r, record->size);
}

struct dns_out dns_out_start(uint8_t *to, size_t size)
{
	return (struct dns_out){ .to = to, .size = size };
}

void dns_put_bytes(struct dns_out *out, const void *from, size_t n)
{
	if (out->full || n > out->size - out->at) {
		out->full = true;
		return;
	}
	memcpy(out->to + out->at, from, n);
	out->at += n;
}

void dns_put_u8(struct dns_out *out, uint8_t value)
{
	dns_put_bytes(out, &value, 1);
}

void dns_put_u16(struct dns_out *out, uint16_t value)
{
	dns_put_bytes(out, (const uint8_t[2]){ (uint8_t)(value >> 8), (uint8_t)value }, 2);
}

void dns_put_u32(struct dns_out *out, uint32_t value)
{
	dns_put_u16(out, (uint16_t)(value >> 16));
	dns_put_u16(out, (uint16_t)value);
}

/** stands_at() - Is the name that we wrote at this place equal to the one of n bytes? */
static bool stands_at(struct dns_out *out, uint16_t place, const uint8_t *name, size_t n)
{
	struct dns_in in = dns_in_at(out->to, out->at, place);
	struct dns_name there;

	/* The first label decides most of them. */
	out->effort++;
	if (in.r.left < 1U + name[0] || !dns_bytes_equal(in.r.p, name, 1U + name[0]))
		return false;
	out->effort += DNS_EFFORT_NAME;
	dns_read_name(&in, &there);
	return there.length == n && dns_bytes_equal(there.b, name, n);
}

void dns_put_name(struct dns_out *out, const struct dns_name *name, bool compress)
{
	for (size_t at = 0; at < name->length; at += 1U + name->b[at]) {
		if (name->b[at] == 0)
			break;
		for (unsigned int i = 0; compress && i < out->place_count && out->effort < DNS_EFFORT_MAX; i++)
			if (stands_at(out, out->places[i], name->b + at, name->length - at)) {
				dns_put_u16(out, (uint16_t)(POINTER << 8 | out->places[i]));
				return;
			}
		if (!out->full && out->at < POINTER_REACH && out->place_count < DNS_PLACES_MAX)
			out->places[out->place_count++] = (uint16_t)out->at;
		dns_put_bytes(out, name->b + at, 1U + name->b[at]);
	}
	dns_put_u8(out, 0);
}

void dns_put_header(struct dns_out *out, const struct dns_header *h)
{
	dns_put_u16(out, h->id);
	dns_put_u16(out, h->flags);
	for (unsigned int i = 0; i < ARRAY_LEN(h->counts); i++)
		dns_put_u16(out, h->counts[i]);
}

void dns_put_question(struct dns_out *out, const struct dns_question *q)
{
	dns_put_name(out, &q->name, true);
	dns_put_u16(out, q->type);
	dns_put_u16(out, q->klass);
}

size_t dns_put_record_start(struct dns_out *out, const struct dns_name *owner, uint16_t type, uint16_t klass,
			    uint32_t ttl)
{
	dns_put_name(out, owner, true);
	dns_put_u16(out, type);
	dns_put_u16(out, klass);
	dns_put_u32(out, ttl);
	dns_put_u16(out, 0);
	return out->at;
}

void dns_put_record_end(struct dns_out *out, size_t start)
{
	size_t size = out->at - start;

	if (out->full)
		return;
	out->to[start - 2] = (uint8_t)(size >> 8);
	out->to[start - 1] = (uint8_t)size;
}

static const char *layout_of(uint16_t type)
{
	for (unsigned int i = 0; i < ARRAY_LEN(LAYOUTS); i++)
		if (LAYOUTS[i].type == type)
			return LAYOUTS[i].layout;
	return "*";
}

bool dns_copy_record(struct dns_out *out, const struct dns_in *in, const struct dns_record *record, uint32_t ttl)
{
	/* The message ends where the data does, so that no name in it reads on; names in front of it are in reach. */
	struct dns_in data = dns_in_at(in->message, record->at + record->size, record->at);
	size_t start = dns_put_record_start(out, &record->owner, record->type, record->klass, ttl);

	for (const char *part = layout_of(record->type); *part; part++) {
		struct dns_name name;
		size_t n;

		if (*part == 'N' || *part == 'n') {
			dns_read_name(&data, &name);
			if (data.r.failed)
				return false;
			dns_put_name(out, &name, *part == 'N');
			continue;
		}
		if (*part == '*')
			n = data.r.left;
		else if (*part == 's')
			n = 1U + (data.r.left ? *data.r.p : 0U);
		else
			n = (size_t)(*part - '0');
		if (n > data.r.left)
			return false;
		dns_put_bytes(out, data.r.p, n);
		reader_bytes(&data.r, n);
	}
	dns_put_record_end(out, start);
	return data.r.left == 0;
}

void dns_put_opt(struct dns_out *out, uint16_t udp_size, unsigned int rcode, bool dnssec_ok)
{
	dns_put_u8(out, 0); /* the root */
	dns_put_u16(out, DNS_OPT);
	dns_put_u16(out, udp_size);
	dns_put_u32(out, (uint32_t)(rcode >> 4) << 24 | (dnssec_ok ? DNSSEC_OK : 0));
	dns_put_u16(out, 0);
}
