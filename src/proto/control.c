/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/control.h"

#include <stddef.h>
#include <string.h>

#include "base/macros.h"
#include "proto/cbor.h"

/* All fields are numbers: key N is the N-th of them. */
static const size_t stop_fields[] = { offsetof(struct ctl_stop, grace_ms) };
static const size_t status_fields[] = {
	offsetof(struct ctl_status, uptime_ns),		 offsetof(struct ctl_status, cpu_ns),
	offsetof(struct ctl_status, sessions),		 offsetof(struct ctl_status, attached),
	offsetof(struct ctl_status, resident_bytes),	 offsetof(struct ctl_status, guest_total_bytes),
	offsetof(struct ctl_status, guest_free_bytes),	 offsetof(struct ctl_status, disk_read_bytes),
	offsetof(struct ctl_status, disk_written_bytes), offsetof(struct ctl_status, upper_total_bytes),
	offsetof(struct ctl_status, upper_free_bytes),	 offsetof(struct ctl_status, oom_kills),
	offsetof(struct ctl_status, processes),		 offsetof(struct ctl_status, net_rx_bytes),
	offsetof(struct ctl_status, net_tx_bytes),
};

/** encode() - { 1: first, 2: second... } */
static bool encode(struct buf *out, const size_t *fields, size_t count, const void *m)
{
	bool ok = cbor_put_head(out, CBOR_MAP, count);

	for (size_t i = 0; ok && i < count; i++)
		ok = cbor_put_head(out, CBOR_UINT, i + 1) &&
		     cbor_put_head(out, CBOR_UINT, *(const uint64_t *)(const void *)((const char *)m + fields[i]));
	return ok;
}

/** decode() - Unknown keys are skipped, as in message.c; what is absent is UINT64_MAX. */
static bool decode(const uint8_t *p, size_t n, const size_t *fields, size_t count, void *m)
{
	struct reader r = reader_init(p, n);
	uint64_t pairs = cbor_head(&r, CBOR_MAP), seen = 0;

	for (size_t i = 0; i < count; i++)
		*(uint64_t *)(void *)((char *)m + fields[i]) = UINT64_MAX;
	for (uint64_t i = 0; i < pairs && !r.failed; i++) {
		uint64_t key = cbor_head(&r, CBOR_UINT);

		if (key == 0 || key > count) {
			cbor_skip(&r);
			continue;
		}
		if (seen & 1ull << key)
			return false;
		seen |= 1ull << key;
		*(uint64_t *)(void *)((char *)m + fields[key - 1]) = cbor_head(&r, CBOR_UINT);
	}
	return !r.failed && r.left == 0;
}

bool ctl_encode_stop(struct buf *out, const struct ctl_stop *m)
{
	return encode(out, stop_fields, ARRAY_LEN(stop_fields), m);
}

bool ctl_decode_stop(const uint8_t *p, size_t n, struct ctl_stop *m)
{
	return decode(p, n, stop_fields, ARRAY_LEN(stop_fields), m);
}

bool ctl_encode_status(struct buf *out, const struct ctl_status *m)
{
	return encode(out, status_fields, ARRAY_LEN(status_fields), m);
}

bool ctl_decode_status(const uint8_t *p, size_t n, struct ctl_status *m)
{
	return decode(p, n, status_fields, ARRAY_LEN(status_fields), m);
}
