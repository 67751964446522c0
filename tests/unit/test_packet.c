/* SPDX-License-Identifier: Apache-2.0 */
/* Headers of IP, the checksum, and datagrams in pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "net/checksum.h"
#include "net/fragment.h"
#include "net/packet.h"

static struct ip address(const char *s)
{
	struct ip ip;

	assert_true(ip_parse(s, &ip));
	return ip;
}

/** sum_ip4() - Put the header's checksum right again. */
static void sum_ip4(uint8_t *p)
{
	uint16_t sum;

	memset(p + 10, 0, 2);
	sum = checksum_end(checksum_add(0, p, (size_t)(p[0] & 15) * 4));
	memcpy(p + 10, &sum, 2);
}

/* RFC 1071, 3: the example; and long inputs against the definition, at each length and alignment. */
static void checksum(void **state)
{
	static const uint8_t example[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };
	uint8_t data[300];
	uint16_t sum;

	(void)state;
	sum = checksum_fold(checksum_add(0, example, sizeof(example)));
	assert_memory_equal(&sum, "\xdd\xf2", 2);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 37 + (i >> 3) * 11 + 200);
	for (size_t n = 0; n < 200; n++)
		for (size_t at = 0; at < 4; at++) {
			uint32_t slow = 0;

			for (size_t i = 0; i < n; i++)
				slow += i % 2 ? data[at + i] : (uint32_t)data[at + i] << 8;
			while (slow >> 16)
				slow = (slow & 0xffff) + (slow >> 16);
			sum = checksum_fold(checksum_add(0, data + at, n));
			assert_int_equal(get16((uint8_t *)&sum), slow);
		}
}

static void written_is_read(void **state)
{
	struct packet_head heads[] = {
		{ .src = address("1.2.3.4"), .dst = address("5.6.7.8"), .proto = PROTO_UDP },
		{ .src = address("1.2.3.4"),
		  .dst = address("5.6.7.8"),
		  .proto = PROTO_UDP,
		  .fragment = true,
		  .more = true,
		  .offset = 1480,
		  .id = 77 },
		{ .v6 = true, .src = address("2001:db8::1"), .dst = address("::ffff:9.9.9.9"), .proto = PROTO_TCP },
		{ .v6 = true,
		  .src = address("2001:db8::1"),
		  .dst = address("fe80::1"),
		  .proto = PROTO_UDP,
		  .fragment = true,
		  .offset = 65528,
		  .id = 0xdeadbeef,
		  .hops = 255 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
		struct packet_head *h = &heads[i];
		size_t head = packet_head_len(h);
		uint8_t data[128] = { 0 };
		struct packet p;

		packet_write(data, h, 16);
		assert_true(packet_read(data, head + 16 + 5, h->v6, &p)); /* with padding behind it */
		assert_true(ip_equal(&p.src, &h->src) && ip_equal(&p.dst, &h->dst));
		assert_int_equal(p.proto, h->proto);
		assert_int_equal(p.hops, h->hops ? h->hops : PACKET_TTL);
		assert_int_equal(p.len, 16);
		assert_ptr_equal(p.data, data + head);
		assert_int_equal(p.fragment, h->fragment);
		assert_int_equal(p.offset, h->offset);
		assert_int_equal(p.more, h->more);
		if (h->fragment)
			assert_int_equal(p.id, h->id);
		for (size_t n = 0; n < head + 16; n++)
			assert_false(packet_read(data, n, h->v6, &p));
		assert_false(packet_read(data, sizeof(data), !h->v6, &p));
	}
}

static void options(void **state)
{
	static const struct {
		uint8_t option[8];
		bool good;
	} cases[] = {
		{ { 1, 1, 1, 1, 1, 1, 1, 1 }, true }, /* nothing, eight times */
		{ { 0, 9, 9, 9, 9, 9, 9, 9 }, true }, /* the end; what follows is padding */
		{ { 148, 4, 0, 0, 0 }, true },	      /* router alert */
		{ { 7, 8, 4 }, true },		      /* record route */
		{ { 131, 8, 4, 1, 2, 3, 4 }, false }, /* loose source route */
		{ { 137, 8, 4, 1, 2, 3, 4 }, false }, /* strict source route */
		{ { 7, 9, 4 }, false },		      /* longer than the header */
		{ { 7, 1 }, false },
		{ { 7, 0 }, false },
		{ { 1, 1, 1, 1, 1, 1, 1, 7 }, false }, /* no room for its length */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct packet_head h = { .src = address("1.2.3.4"), .dst = address("5.6.7.8"), .proto = PROTO_UDP };
		uint8_t data[64] = { 0 };
		struct packet p;

		packet_write(data, &h, 16);
		data[0] = 0x47;
		memcpy(data + IP4_HEADER, cases[i].option, 8);
		sum_ip4(data);
		assert_int_equal(packet_read(data, sizeof(data), false, &p), cases[i].good);
		if (cases[i].good)
			assert_int_equal(p.len, 8);
		data[IP4_HEADER] ^= 1; /* without its checksum */
		assert_false(packet_read(data, sizeof(data), false, &p));
	}
}

static void extensions(void **state)
{
	struct packet_head h = { .v6 = true, .src = address("2001:db8::1"), .dst = address("2001:db8::2") };
	uint8_t data[256] = { 0 };
	struct packet p;

	(void)state;
	/* Hop by hop, destination, routing that is done, atomic fragment, then UDP. */
	packet_write(data, &h, 8 + 16 + 8 + 8 + 8);
	data[6] = 0;
	memcpy(data + 40, (uint8_t[]){ 60, 0 }, 2);
	memcpy(data + 48, (uint8_t[]){ 43, 1 }, 2);
	memcpy(data + 64, (uint8_t[]){ 44, 0, 0, 0 }, 4);
	memcpy(data + 72, (uint8_t[]){ 17, 0, 0, 0 }, 4);
	assert_true(packet_read(data, sizeof(data), true, &p));
	assert_int_equal(p.proto, PROTO_UDP);
	assert_int_equal(p.len, 8);
	assert_false(p.fragment);
	data[67] = 1; /* one segment left: it is not for us */
	assert_false(packet_read(data, sizeof(data), true, &p));
	data[67] = 0;
	data[49] = 200; /* longer than the packet */
	assert_false(packet_read(data, sizeof(data), true, &p));
	/* Too many of them. */
	memset(data + 40, 0, 100);
	data[6] = 60;
	for (int i = 0; i < 9; i++)
		data[40 + 8 * i] = 60;
	set16(data + 4, 100);
	assert_false(packet_read(data, sizeof(data), true, &p));
}

static struct fragments *table;
static uint8_t whole[PACKET_MAX];

/** piece() - Bytes from..to of `whole`, as a fragment. Return: is it complete now? */
static bool piece(uint32_t id, uint32_t from, uint32_t to, bool more, int64_t now, struct packet *p)
{
	*p = (struct packet){ .proto = PROTO_UDP,
			      .src = address("1.2.3.4"),
			      .dst = address("5.6.7.8"),
			      .fragment = true,
			      .more = more,
			      .id = id,
			      .offset = (uint16_t)from,
			      .data = whole + from,
			      .len = to - from };
	return fragments_add(table, p, now);
}

static int set_up(void **state)
{
	(void)state;
	table = calloc(1, sizeof(*table));
	for (size_t i = 0; i < sizeof(whole); i++)
		whole[i] = (uint8_t)(i * 31 + i / 256);
	return table ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	free(table);
	return 0;
}

static void in_any_order(void **state)
{
	struct packet p;

	(void)state;
	assert_false(piece(1, 2960, 4001, false, 1, &p));
	assert_false(piece(1, 0, 1480, true, 1, &p));
	assert_false(piece(1, 0, 1480, true, 1, &p));	 /* once more */
	assert_false(piece(2, 1480, 2960, true, 1, &p)); /* of another */
	assert_true(piece(1, 1480, 2960, true, 1, &p));
	assert_int_equal(p.len, 4001);
	assert_false(p.fragment);
	assert_memory_equal(p.data, whole, 4001);
	/* The largest there is. */
	for (uint32_t at = 0; at + 1480 < PACKET_MAX - 20; at += 1480)
		assert_false(piece(3, at, at + 1480, true, 1, &p));
	assert_true(piece(3, 65120, PACKET_MAX - 20, false, 1, &p));
	assert_memory_equal(p.data, whole, p.len);
}

static void contradictions(void **state)
{
	struct packet p;

	(void)state;
	/* Overlap, also with other bytes in the same place: the datagram is spoilt, whatever comes. */
	assert_false(piece(1, 0, 1480, true, 1, &p));
	assert_false(piece(1, 1472, 2952, true, 1, &p));
	assert_false(piece(1, 1480, 2000, false, 1, &p));
	assert_false(piece(2, 0, 16, true, 1, &p));
	whole[3] ^= 1;
	assert_false(piece(2, 0, 16, true, 1, &p));
	assert_false(piece(2, 16, 32, false, 1, &p));
	/* Two ends; something behind the end; a middle that is no multiple of 8; nothing; too long. */
	assert_false(piece(3, 16, 32, false, 1, &p));
	assert_false(piece(3, 16, 40, false, 1, &p));
	assert_false(piece(3, 0, 16, true, 1, &p));
	assert_false(piece(4, 16, 32, true, 1, &p));
	assert_false(piece(4, 0, 16, false, 1, &p));
	assert_false(piece(5, 0, 12, true, 1, &p));
	assert_false(piece(6, 0, 0, true, 1, &p));
	assert_false(piece(7, 65528, 65535, false, 1, &p));
	for (int i = 0; i < 7; i++)
		assert_true(table->slot[i].spoiled);
}

static void limits(void **state)
{
	struct packet p;

	(void)state;
	/* More than there are places: the oldest is forgotten, the newest is not. */
	for (uint32_t id = 0; id <= FRAGMENT_SLOTS; id++)
		assert_false(piece(id, 0, 16, true, id + 1, &p));
	assert_true(piece(FRAGMENT_SLOTS, 16, 20, false, 100, &p));
	assert_true(piece(1, 16, 20, false, 100, &p));
	assert_false(piece(0, 16, 20, false, 100, &p));
	/* 30 seconds, and not more. */
	assert_true(fragments_expire(table, FRAGMENT_LIFE_NS));
	assert_true(piece(FRAGMENT_SLOTS - 1, 16, 20, false, FRAGMENT_LIFE_NS, &p));
	assert_false(fragments_expire(table, 2 * FRAGMENT_LIFE_NS));
	assert_false(piece(FRAGMENT_SLOTS - 2, 16, 20, false, 2 * FRAGMENT_LIFE_NS, &p));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(checksum),
		cmocka_unit_test(written_is_read),
		cmocka_unit_test(options),
		cmocka_unit_test(extensions),
		cmocka_unit_test_setup_teardown(in_any_order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(contradictions, set_up, tear_down),
		cmocka_unit_test_setup_teardown(limits, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
