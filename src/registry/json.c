/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/json.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/nearest.h"

/* The distribution specification: a token without expires_in is good for 60 s, and none is issued for less. */
#define TOKEN_SECONDS 60
#define TOKEN_SECONDS_MAX (24 * 3600)

/** text() - A string member, or "". */
static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

bool registry_error_parse(const void *p, size_t n, struct registry_error *out)
{
	json_t *j = json_loadb(p, n, 0, NULL);
	const json_t *first = json_array_get(json_object_get(j, "errors"), 0);
	bool found = json_is_object(first);

	*out = (struct registry_error){ .code = "" };
	if (found) {
		snprintf(out->code, sizeof(out->code), "%s", text(first, "code"));
		snprintf(out->message, sizeof(out->message), "%s", text(first, "message"));
	}
	json_decref(j);
	return found;
}

bool token_parse(const void *p, size_t n, char *token, uint64_t *seconds)
{
	json_t *j = json_loadb(p, n, 0, NULL);
	const char *t = text(j, "token");
	json_int_t life = json_integer_value(json_object_get(j, "expires_in"));
	size_t len;
	bool good;

	if (!*t)
		t = text(j, "access_token");
	len = strlen(t);
	good = len > 0 && len < TOKEN_MAX;
	/* It goes into a header: nothing but visible ASCII. */
	for (size_t i = 0; good && i < len; i++)
		good = t[i] > 0x20 && t[i] < 0x7f;
	if (good) {
		memcpy(token, t, len + 1);
		*seconds = life < TOKEN_SECONDS	      ? TOKEN_SECONDS
			   : life > TOKEN_SECONDS_MAX ? TOKEN_SECONDS_MAX
						      : (uint64_t)life;
	}
	json_decref(j);
	return good;
}

bool list_nearest(const void *p, size_t n, const char *key, const char *wanted, char out[256])
{
	json_t *j = json_loadb(p, n, 0, NULL);
	const json_t *list = json_object_get(j, key);
	/* A third of a short word may differ: 3.12 and 3.13 are near, 1 and 9 are not. */
	size_t best = strlen(wanted) < 3 ? 1 : strlen(wanted) < 6 ? 2 : 3;
	const json_t *item;
	bool found = false;
	size_t i;

	json_array_foreach(list, i, item)
	{
		const char *s = json_string_value(item);
		size_t d = s && strlen(s) < 256 ? word_distance(wanted, s) : NEAREST_FAR;

		if (d > 0 && d <= best) {
			best = d - 1;
			snprintf(out, 256, "%s", s);
			found = true;
		}
	}
	json_decref(j);
	return found;
}

size_t list_some(const void *p, size_t n, const char *key, char out[256])
{
	json_t *j = json_loadb(p, n, 0, NULL);
	const json_t *list = json_object_get(j, key);
	size_t count = json_array_size(list), at = 0, i;

	out[0] = '\0';
	for (i = 0; i < count && at < LIST_SHOWN; i++) {
		const char *s = json_string_value(json_array_get(list, i));

		if (!s || at + strlen(s) > LIST_SHOWN)
			break;
		at += (size_t)snprintf(out + at, 256 - at, "%s%s", i ? ", " : "", s);
	}
	if (i && i < count)
		snprintf(out + at, 256 - at, " and %zu more", count - i);
	json_decref(j);
	return i ? count : 0;
}
