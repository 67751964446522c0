/* SPDX-License-Identifier: Apache-2.0 */
/* The messages of the control socket: what is written is read again, what is broken is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "proto/cbor.h"
#include "proto/control.h"

static void round_trip(void **state)
{
	const struct ctl_status in = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, UINT64_MAX };
	struct ctl_status out;
	struct ctl_stop stop;
	struct buf b = BUF_INIT(1024);

	(void)state;
	assert_true(ctl_encode_status(&b, &in));
	assert_true(ctl_decode_status(b.data, b.len, &out));
	assert_memory_equal(&in, &out, sizeof(in));
	for (size_t n = 0; n < b.len; n++)
		assert_false(ctl_decode_status(b.data, n, &out));
	b.len = 0;
	assert_true(ctl_encode_stop(&b, &(struct ctl_stop){ .grace_ms = 123456789012 }));
	assert_true(ctl_decode_stop(b.data, b.len, &stop));
	assert_int_equal(stop.grace_ms, 123456789012);
	assert_true(buf_append(&b, "", 1));
	assert_false(ctl_decode_stop(b.data, b.len, &stop)); /* something behind it */
	buf_free(&b);
}

/* A newer peer: a key that is not known, with a value of any kind; an older one: keys that are not there. */
static void other_versions(void **state)
{
	struct buf b = BUF_INIT(1024);
	struct ctl_status out;

	(void)state;
	cbor_put_head(&b, CBOR_MAP, 3);
	cbor_put_head(&b, CBOR_UINT, 200);
	cbor_put_head(&b, CBOR_ARRAY, 2);
	cbor_put_head(&b, CBOR_UINT, 1);
	cbor_put_head(&b, CBOR_UINT, 2);
	cbor_put_head(&b, CBOR_UINT, 3);
	cbor_put_head(&b, CBOR_UINT, 77);
	cbor_put_head(&b, CBOR_UINT, 0);
	cbor_put_head(&b, CBOR_UINT, 5);
	assert_true(ctl_decode_status(b.data, b.len, &out));
	assert_int_equal(out.sessions, 77);
	assert_true(out.uptime_ns == UINT64_MAX && out.processes == UINT64_MAX);
	buf_free(&b);
}

static void broken_ones(void **state)
{
	static const uint8_t twice[] = { 0xa2, 1, 5, 1, 6 }, text[] = { 0xa1, 1, 0x61, 'a' }, list[] = { 0x80 };
	static const uint8_t endless[] = { 0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	struct ctl_stop out;

	(void)state;
	assert_false(ctl_decode_stop(twice, sizeof(twice), &out));
	assert_false(ctl_decode_stop(text, sizeof(text), &out));
	assert_false(ctl_decode_stop(list, sizeof(list), &out));
	assert_false(ctl_decode_stop(endless, sizeof(endless), &out));
	assert_false(ctl_decode_stop(NULL, 0, &out));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(other_versions),
		cmocka_unit_test(broken_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
