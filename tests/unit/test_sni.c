/* SPDX-License-Identifier: Apache-2.0 */
/* The name in a ClientHello: whole, in pieces, in several records, and what is not one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/macros.h"
#include "net/packet.h"
#include "net/sni.h"

/** A hello under construction: handshake bytes. */
struct hello {
	uint8_t data[17000];
	size_t n;
};

static void add(struct hello *h, const void *p, size_t n)
{
	memcpy(h->data + h->n, p, n);
	h->n += n;
}

/** begin() - Up to the length of the extensions, which end() fills in. */
static void begin(struct hello *h)
{
	static const uint8_t head[] = { 1, 0, 0, 0, 3, 3 }, middle[] = { 2, 7, 7, 0, 2, 0x13, 1, 1, 0, 0, 0 };

	memset(h, 0, sizeof(*h));
	add(h, head, sizeof(head));
	h->n += 32;
	add(h, middle, sizeof(middle));
}

static void add_extension(struct hello *h, uint16_t type, const void *p, size_t n)
{
	uint8_t head[4];

	set16(head, type);
	set16(head + 2, (uint16_t)n);
	add(h, head, 4);
	add(h, p, n);
}

static void add_name(struct hello *h, const char *name)
{
	uint8_t body[512];
	size_t n = strlen(name);

	set16(body, (uint16_t)(n + 3));
	body[2] = 0;
	set16(body + 3, (uint16_t)n);
	memcpy(body + 5, name, n);
	add_extension(h, 0, body, n + 5);
}

static void end(struct hello *h)
{
	set16(h->data + 47, (uint16_t)(h->n - 49));
	h->data[1] = 0;
	set16(h->data + 2, (uint16_t)(h->n - 4));
}

/** records() - Cut into records of at most `size` bytes. Return: length. */
static size_t records(const struct hello *h, size_t size, uint8_t *to)
{
	size_t n = 0;

	for (size_t at = 0; at < h->n; at += size) {
		size_t here = MIN(size, h->n - at);

		memcpy(to + n, (uint8_t[]){ 22, 3, 1 }, 3);
		set16(to + n + 3, (uint16_t)here);
		memcpy(to + n + 5, h->data + at, here);
		n += 5 + here;
	}
	return n;
}

static void names(void **state)
{
	static const size_t sizes[] = { 16384, 100, 7, 1 };
	static struct hello h;
	static uint8_t data[100000];
	char name[SNI_NAME_MAX];

	(void)state;
	begin(&h);
	add_extension(&h, 43, "\x02\x03\x04", 3);
	add_name(&h, "WWW.Example.COM.");
	add_extension(&h, 16, "\0\3\2h2", 5);
	end(&h);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		size_t n = records(&h, sizes[i], data);

		assert_int_equal(sni_find(data, n, name), SNI_NAME);
		assert_string_equal(name, "www.example.com");
		for (size_t part = 0; part < n; part++)
			assert_int_equal(sni_find(data, part, name), SNI_MORE);
		/* What comes behind it does not matter. */
		memset(data + n, 0xee, 100);
		assert_int_equal(sni_find(data, n + 100, name), SNI_NAME);
	}
}

static void none(void **state)
{
	static struct hello h;
	static uint8_t data[20000];
	char name[SNI_NAME_MAX];

	(void)state;
	assert_int_equal(sni_find((const uint8_t *)"GET / HTTP/1.1\r\n", 16, name), SNI_NONE);
	assert_int_equal(sni_find((const uint8_t *)"SSH-2.0-x\r\n", 11, name), SNI_NONE);
	assert_int_equal(sni_find((const uint8_t *)"\x16\x01", 2, name), SNI_NONE);
	assert_int_equal(sni_find((const uint8_t *)"", 0, name), SNI_MORE);
	begin(&h);
	add_extension(&h, 16, "\0\3\2h2", 5);
	end(&h);
	assert_int_equal(sni_find(data, records(&h, 16384, data), name), SNI_NONE);
	begin(&h); /* no extensions at all */
	h.n -= 2;
	set16(h.data + 2, (uint16_t)(h.n - 4));
	assert_int_equal(sni_find(data, records(&h, 16384, data), name), SNI_NONE);
}

static void broken(void **state)
{
	static const char *const bad[] = { "", ".", "a b", "a\x01", "\xc3\xa4" };
	static struct hello h;
	static uint8_t data[40000];
	char name[SNI_NAME_MAX], longest[SNI_NAME_MAX + 1];
	size_t n;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		begin(&h);
		add_name(&h, bad[i]);
		end(&h);
		assert_int_equal(sni_find(data, records(&h, 16384, data), name), SNI_BROKEN);
	}
	memset(longest, 'a', sizeof(longest));
	longest[SNI_NAME_MAX] = '\0';
	begin(&h);
	add_name(&h, longest);
	end(&h);
	assert_int_equal(sni_find(data, records(&h, 16384, data), name), SNI_BROKEN);
	begin(&h); /* two names: which one would the server take? */
	add_name(&h, "a.com");
	add_name(&h, "b.com");
	end(&h);
	assert_int_equal(sni_find(data, records(&h, 16384, data), name), SNI_BROKEN);
	begin(&h);
	add_extension(&h, 0, "\0\x0c\0\0\3abc\0\0\3def", 14);
	end(&h);
	assert_int_equal(sni_find(data, records(&h, 16384, data), name), SNI_BROKEN);
	/* Every length in it, one too long or too short. */
	begin(&h);
	add_name(&h, "a.com");
	end(&h);
	n = records(&h, 16384, data);
	for (size_t at = 5 + 38; at < n; at++)
		for (int by = -1; by <= 1; by += 2) {
			data[at] = (uint8_t)(data[at] + by);
			assert_true(sni_find(data, n, name) != SNI_NAME || strcmp(name, "a.com") == 0 ||
				    strlen(name) == 5);
			data[at] = (uint8_t)(data[at] - by);
		}
	data[5] = 2; /* a ServerHello */
	assert_int_equal(sni_find(data, n, name), SNI_BROKEN);
	data[5] = 1;
	data[6] = 1; /* 64 KiB long */
	assert_int_equal(sni_find(data, n, name), SNI_BROKEN);
	data[3] = data[4] = 0; /* an empty record */
	assert_int_equal(sni_find(data, n, name), SNI_BROKEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(none),
		cmocka_unit_test(broken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
