/* SPDX-License-Identifier: Apache-2.0 */
// sources: src/engine/host_network.c src/net/ip.c src/base/buf.c src/base/error.c src/base/fd.c src/base/log.c src/base/num.c
/* Tables of the host, and resolv.conf: any bytes. The first byte chooses; what comes out is within its limits. */
#include <stdlib.h>

#include "engine/host_network.h"

#define SERVERS 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct endpoint e[SERVERS];
	const char *text = (const char *)data + 1;
	size_t count;

	if (n == 0)
		return 0;
	switch (data[0] % 3) {
	case 0:
		count = resolv_servers(text, n - 1, e, SERVERS);
		if (count < 1 || count > SERVERS)
			abort();
		for (size_t i = 0; i < count; i++)
			if (e[i].port != 53)
				abort();
		break;
	case 1:
		routes_any(text, n - 1);
		break;
	case 2:
		socket_inode(text, n - 1, 8080, data[0] & 4);
		break;
	}
	return 0;
}
