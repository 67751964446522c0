// SPDX-License-Identifier: Apache-2.0
// sources: src/registry/parse.c src/registry/json.c src/base/nearest.c src/base/num.c
// libs: -ljansson
/* Fuzz what a registry says: the head of an answer line by line, and each JSON answer. The first byte chooses. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "registry/json.h"
#include "registry/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** check_text() - Terminated, and with nothing in it that could split a header or steer a terminal. */
static void check_text(const char *s, size_t room)
{
	if (!memchr(s, '\0', room))
		abort();
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			abort();
}

/** fuzz_head() - Lines, and what is made of their values. */
static void fuzz_head(const char *p, size_t n)
{
	static struct answer a;
	uint64_t first, last, total;
	char host[256];

	a = (struct answer){ .length = NOT_SAID };
	while (n) {
		const char *end = memchr(p, '\n', n);
		size_t len = end ? (size_t)(end - p) + 1 : n;

		if (!answer_header(&a, p, len))
			break;
		p += len;
		n -= len;
	}
	check_text(a.type, sizeof(a.type));
	check_text(a.digest, sizeof(a.digest));
	check_text(a.location, sizeof(a.location));
	check_text(a.challenge.realm, sizeof(a.challenge.realm));
	check_text(a.challenge.service, sizeof(a.challenge.service));
	check_text(a.challenge.scope, sizeof(a.challenge.scope));
	if (content_range_parse(a.range, &first, &last, &total) &&
	    (first > last || (total != NOT_SAID && last >= total)))
		abort();
	retry_after_parse(a.retry_after, 0, &total);
	if (host_canonical(a.challenge.realm, host))
		check_text(host, sizeof(host));
	host_is_loopback(a.location);
}

/** fuzz_base64() - What decodes encodes back to the same bytes. */
static void fuzz_base64(const char *p, size_t n)
{
	uint8_t *out = malloc(n + 1), *again = malloc(n + 4);
	char *text = malloc(4 * (n + 2) / 3 + 4);
	long len = out && again && text ? base64_decode(p, n, out) : -1;

	if (len >= 0) {
		base64_encode(out, (size_t)len, text);
		if (base64_decode(text, strlen(text), again) != len || memcmp(out, again, (size_t)len) != 0)
			abort();
	}
	free(out);
	free(again);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char token[TOKEN_MAX];
	struct registry_error e;
	uint64_t seconds;
	char near[256];

	if (size == 0)
		return 0;
	switch (data[0] % 4) {
	case 0:
		fuzz_head((const char *)data + 1, size - 1);
		break;
	case 1:
		registry_error_parse(data + 1, size - 1, &e);
		if (token_parse(data + 1, size - 1, token, &seconds))
			check_text(token, sizeof(token));
		break;
	case 2:
		list_nearest(data + 1, size - 1, "tags", "3.12", near);
		list_some(data + 1, size - 1, "tags", near);
		break;
	default:
		fuzz_base64((const char *)data + 1, size - 1);
		break;
	}
	return 0;
}
