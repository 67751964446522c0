/* SPDX-License-Identifier: Apache-2.0 */
// sources: src/net/config.c src/net/ip.c src/proto/cbor.c src/base/buf.c src/base/log.c src/base/error.c src/base/num.c
/* The gateway's configuration. What decodes is encoded again to the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "net/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct buf b = BUF_INIT(GATEWAY_CONFIG_MAX);
	struct gateway_config c;

	if (gateway_config_decode(data, n, &c, NULL) == 0 &&
	    (!gateway_config_encode(&b, &c) || b.len != n || memcmp(b.data, data, n) != 0))
		abort();
	gateway_config_free(&c);
	buf_free(&b);
	return 0;
}
