/* SPDX-License-Identifier: Apache-2.0 */
/* Block lists and the rebind list. */
#include "net/dns/block.h"

#include <stdlib.h>

#include "base/macros.h"
#include "net/dns/dns.h"

/** The rebind list, IPv4 ones counted in the 16-byte form. */
#define V4(bits_, ...)                                                      \
	{                                                                   \
		{ { [10] = 0xff, [11] = 0xff, __VA_ARGS__ } }, 96 + (bits_) \
	}
#define V6(bits_, ...)                       \
	{                                    \
		{ { __VA_ARGS__ } }, (bits_) \
	}
static const struct ip_net REFUSED[] = {
	V4(8, 0),
	V4(8, 10),
	V4(10, 100, 64),
	V4(8, 127),
	V4(16, 169, 254),
	V4(12, 172, 16),
	V4(24, 192, 0, 0),
	V4(24, 192, 0, 2),
	V4(24, 192, 88, 99),
	V4(16, 192, 168),
	V4(15, 198, 18),
	V4(24, 198, 51, 100),
	V4(24, 203, 0, 113),
	V4(4, 224),
	V4(4, 240),
	V6(128, 0),	   /* :: */
	V6(128, [15] = 1), /* ::1 */
	V6(7, 0xfc),
	V6(10, 0xfe, 0x80),
	V6(10, 0xfe, 0xc0),
	V6(8, 0xff),
	V6(64, 0x01, 0x00), /* 100::/64 */
	V6(48, 0x00, 0x64, 0xff, 0x9b, 0x00, 0x01),
	V6(32, 0x20, 0x01, 0x0d, 0xb8),
	V6(20, 0x3f, 0xff),
};
static const struct ip_net NAT64 = V6(96, 0x00, 0x64, 0xff, 0x9b);
static const struct ip_net SIX_TO_FOUR = V6(16, 0x20, 0x02);

bool dns_rebind_address(const struct ip *ip)
{
	struct ip inside = *ip;

	if (ip_in(&NAT64, ip))
		inside = ip_v4(ip->b + 12);
	else if (ip_in(&SIX_TO_FOUR, ip))
		inside = ip_v4(ip->b + 2);
	for (unsigned int i = 0; i < ARRAY_LEN(REFUSED); i++)
		if (ip_in(&REFUSED[i], &inside))
			return true;
	return false;
}

/** compare() - Any total order will do: by length, then by bytes. The first byte is the length. */
static int compare(const uint8_t *a, const uint8_t *b)
{
	return memcmp(a, b, 1U + MIN(a[0], b[0]));
}

static int compare_entries(const void *a, const void *b)
{
	return compare(*(const uint8_t *const *)a, *(const uint8_t *const *)b);
}

int dns_list_read(struct dns_list *list, const char *const *texts, size_t count, const char *what, struct error *err)
{
	size_t size = 0, at = 0;
	struct dns_name name;

	*list = (struct dns_list){ 0 };
	if (count > DNS_BLOCK_MAX)
		return err_set(err, ERR_LIMIT, 0, "%s: more than %d names", what, DNS_BLOCK_MAX);
	for (size_t i = 0; i < count; i++)
		size += strlen(texts[i]) + 3; /* at most: its own length, the first label's, the end */
	list->names = calloc(MAX(count, 1U), sizeof(*list->names));
	list->bytes = malloc(MAX(size, 1U));
	if (!list->names || !list->bytes) {
		dns_list_clear(list);
		return err_set(err, ERR_NO_MEMORY, 0, "%s: out of memory", what);
	}
	for (size_t i = 0; i < count; i++) {
		const char *text = texts[i] + (texts[i][0] == '.');

		if (!dns_name_from_text(&name, text) || name.length == 1) {
			dns_list_clear(list);
			return err_set(err, ERR_INVALID, 0, "%s: \"%s\" is not a name", what, texts[i]);
		}
		list->names[list->count++] = list->bytes + at;
		memcpy(list->bytes + at, &name, 1U + name.length);
		at += 1U + name.length;
	}
	qsort(list->names, list->count, sizeof(*list->names), compare_entries);
	return 0;
}

void dns_list_clear(struct dns_list *list)
{
	free(list->names);
	free(list->bytes);
	*list = (struct dns_list){ 0 };
}

bool dns_list_has(const struct dns_list *list, const struct dns_name *name, bool below)
{
	for (size_t at = 0; list->count && at < name->length && name->b[at]; at += 1U + name->b[at]) {
		struct dns_name end = { .length = (uint8_t)(name->length - at) };
		const uint8_t *key = (const uint8_t *)&end;

		memcpy(end.b, name->b + at, end.length);
		if (bsearch(&key, list->names, list->count, sizeof(*list->names), compare_entries))
			return true;
		if (!below)
			break;
	}
	return false;
}
