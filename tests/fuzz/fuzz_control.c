/* SPDX-License-Identifier: Apache-2.0 */
// sources: src/proto/control.c src/proto/cbor.c src/base/buf.c src/base/log.c src/base/error.c
/* The bodies of a sandbox's control socket. What decodes is encoded again and means the same then. */
#include <stdlib.h>
#include <string.h>

#include "proto/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct buf b = BUF_INIT(4096);
	struct ctl_status status, status_again;
	struct ctl_stop stop, stop_again;

	if (ctl_decode_status(data, n, &status) &&
	    (!ctl_encode_status(&b, &status) || !ctl_decode_status(b.data, b.len, &status_again) ||
	     memcmp(&status, &status_again, sizeof(status)) != 0))
		abort();
	b.len = 0;
	if (ctl_decode_stop(data, n, &stop) &&
	    (!ctl_encode_stop(&b, &stop) || !ctl_decode_stop(b.data, b.len, &stop_again) ||
	     stop.grace_ms != stop_again.grace_ms))
		abort();
	buf_free(&b);
	return 0;
}
