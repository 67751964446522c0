/* SPDX-License-Identifier: Apache-2.0 */
#include "net/sni.h"

#include <stdbool.h>
#include <string.h>

#include "base/reader.h"

#define RECORD_HEADER 5
#define RECORD_MAX 16384
#define HANDSHAKE_HEADER 4
#define HELLO_MAX 16384

enum tls { TLS_HANDSHAKE = 22, TLS_CLIENT_HELLO = 1, TLS_SERVER_NAME = 0, TLS_HOST_NAME = 0 };

/** join() - The handshake bytes of the records that are whole or begun. Return: false when it is no TLS handshake. */
static bool join(const uint8_t *data, size_t n, uint8_t *to, size_t *len)
{
	*len = 0;
	while (n) {
		size_t record, here;

		if (data[0] != TLS_HANDSHAKE || (n > 1 && data[1] != 3))
			return false;
		if (n < RECORD_HEADER)
			return true;
		record = (size_t)data[3] << 8 | data[4];
		if (!record || record > RECORD_MAX)
			return false;
		data += RECORD_HEADER;
		n -= RECORD_HEADER;
		here = n < record ? n : record;
		memcpy(to + *len, data, here);
		*len += here;
		/* What follows the hello is not of interest, and may be of another kind. */
		if (*len >= HANDSHAKE_HEADER &&
		    *len >= HANDSHAKE_HEADER + ((size_t)to[1] << 16 | (size_t)to[2] << 8 | to[3]))
			return true;
		data += here;
		n -= here;
	}
	return true;
}

/** take_name() - Return: false when it cannot be a host's name. */
static bool take_name(const uint8_t *p, size_t n, char *name)
{
	if (n && p[n - 1] == '.')
		n--;
	if (!n || n >= SNI_NAME_MAX)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (p[i] <= ' ' || p[i] >= 0x7f)
			return false;
		name[i] = (char)(p[i] >= 'A' && p[i] <= 'Z' ? p[i] + 32 : p[i]);
	}
	name[n] = '\0';
	return true;
}

/** server_name() - The extension's body. */
static enum sni_result server_name(struct reader *r, char *name)
{
	struct reader list;
	size_t n = reader_u16_be(r);
	const uint8_t *at = reader_bytes(r, n);

	if (!at || r->left)
		return SNI_BROKEN;
	list = reader_init(at, n);
	while (list.left) {
		uint8_t type = reader_u8(&list);

		n = reader_u16_be(&list);
		at = reader_bytes(&list, n);
		if (!at)
			return SNI_BROKEN;
		if (type == TLS_HOST_NAME) /* at most one of a type: another one would be somebody's trick */
			return !list.left && take_name(at, n, name) ? SNI_NAME : SNI_BROKEN;
	}
	return SNI_BROKEN;
}

/** hello() - The body of a ClientHello that is there as a whole. */
static enum sni_result hello(const uint8_t *data, size_t n, char *name)
{
	struct reader r = reader_init(data, n);
	enum sni_result found = SNI_NONE;
	bool seen = false;

	reader_bytes(&r, 2 + 32); /* version, random */
	reader_bytes(&r, reader_u8(&r));
	reader_bytes(&r, reader_u16_be(&r));
	reader_bytes(&r, reader_u8(&r));
	if (r.failed)
		return SNI_BROKEN;
	if (!r.left)
		return SNI_NONE;
	if (reader_u16_be(&r) != r.left)
		return SNI_BROKEN;
	while (r.left) {
		uint16_t type = reader_u16_be(&r);
		size_t len = reader_u16_be(&r);
		const uint8_t *at = reader_bytes(&r, len);
		struct reader body;

		if (!at || (type == TLS_SERVER_NAME && seen))
			return SNI_BROKEN;
		if (type != TLS_SERVER_NAME)
			continue;
		seen = true;
		body = reader_init(at, len);
		found = server_name(&body, name);
		if (found == SNI_BROKEN)
			return SNI_BROKEN;
	}
	return found;
}

enum sni_result sni_find(const uint8_t *data, size_t n, char *name)
{
	uint8_t joined[SNI_MAX];
	size_t len, want;

	if (n > SNI_MAX)
		n = SNI_MAX;
	if (!n)
		return SNI_MORE;
	if (!join(data, n, joined, &len))
		return data[0] == TLS_HANDSHAKE && n > 1 && data[1] == 3 ? SNI_BROKEN : SNI_NONE;
	if (len && joined[0] != TLS_CLIENT_HELLO)
		return SNI_BROKEN;
	if (len < HANDSHAKE_HEADER)
		return n < SNI_MAX ? SNI_MORE : SNI_BROKEN;
	want = (size_t)joined[1] << 16 | (size_t)joined[2] << 8 | joined[3];
	if (want > HELLO_MAX)
		return SNI_BROKEN;
	if (len < HANDSHAKE_HEADER + want)
		return n < SNI_MAX ? SNI_MORE : SNI_BROKEN;
	return hello(joined + HANDSHAKE_HEADER, want, name);
}
