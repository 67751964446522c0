/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/macros.h"
#include "image/reference.h"

#define TAG_MAX 128
#define LENGTH_MAX 400

/** bad() - One form for every complaint. */
static int bad(const char *typed, const char *why, struct error *err)
{
	err_set(err, ERR_INVALID, 0, "image \"%.200s\": %s", typed, why);
	return err_hint(err, "expected [registry/]name[:tag], for example python:3.12");
}

/** is_registry() - docker's rule: the first part is a host when it has a dot or a colon or is localhost. */
static bool is_registry(const char *s, size_t n)
{
	return memchr(s, '.', n) || memchr(s, ':', n) || (n == 9 && memcmp(s, "localhost", 9) == 0);
}

/** check_repository() - Lower case letters, digits and separators between them. */
static bool check_repository(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool separator = strchr("._-/", s[i]) != NULL;

		if (!separator && !islower((unsigned char)s[i]) && !isdigit((unsigned char)s[i]))
			return false;
		if (separator && (i == 0 || i + 1 == n || s[i + 1] == '/' || (s[i] == '/' && strchr("._-/", s[i + 1]))))
			return false;
	}
	return n > 0;
}

/** bad_repository() - With the name that it would be in lower case, if that is one. @s, @n: it, within what was typed
 */
static int bad_repository(const char *typed, const char *s, size_t n, struct error *err)
{
	char lower[LENGTH_MAX + 1];
	int rc = bad(typed, "the name must be lower-case letters, digits, and . _ - / between them", err);

	for (size_t i = 0; i < n; i++)
		lower[i] = (char)tolower((unsigned char)s[i]);
	if (check_repository(lower, n))
		err_hint(err, "did you mean %.*s%.*s%.60s?", (int)MIN(s - typed, 40), typed, (int)MIN(n, 60), lower,
			 s + n);
	return rc;
}

/** check_tag() - Word characters, not beginning with '.' or '-'. */
static bool check_tag(const char *s, size_t n)
{
	if (n == 0 || n > TAG_MAX || s[0] == '.' || s[0] == '-')
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)s[i]) && !strchr("._-", s[i]))
			return false;
	return true;
}

int reference_parse(const char *typed, struct reference *out, struct error *err)
{
	const char *rest = typed, *slash = strchr(typed, '/'), *at = strchr(typed, '@'), *end, *colon;
	const char *library = "";

	*out = (struct reference){ .registry = REFERENCE_HUB };
	if (!typed[0] || strlen(typed) > LENGTH_MAX)
		return bad(typed, typed[0] ? "longer than 400 characters" : "is empty", err);
	if (slash && (!at || slash < at) && is_registry(typed, (size_t)(slash - typed))) {
		if (slash - typed >= (long)sizeof(out->registry))
			return bad(typed, "registry name too long", err);
		snprintf(out->registry, sizeof(out->registry), "%.*s", (int)(slash - typed), typed);
		if (!isalnum((unsigned char)typed[0]) && typed[0] != '[')
			return bad(typed, "the registry name must begin with a letter or digit", err);
		for (const char *p = out->registry; *p; p++)
			if (!isalnum((unsigned char)*p) && !strchr(".-:[]", *p))
				return bad(typed, "bad character in the registry name", err);
		rest = slash + 1;
	}
	if (strcmp(out->registry, "index.docker.io") == 0)
		snprintf(out->registry, sizeof(out->registry), "%s", REFERENCE_HUB);
	end = at ? at : rest + strlen(rest);
	colon = memchr(rest, ':', (size_t)(end - rest));
	if (colon && !check_tag(colon + 1, (size_t)(end - colon - 1)))
		return bad(typed, "bad tag", err);
	if (!check_repository(rest, (size_t)((colon ? colon : end) - rest)))
		return bad_repository(typed, rest, (size_t)((colon ? colon : end) - rest), err);
	if (at &&
	    (strncmp(at, "@sha256:", 8) != 0 || strspn(at + 8, "0123456789abcdef") != DIGEST_HEX || at[8 + DIGEST_HEX]))
		return bad(typed, "the digest must be sha256: and 64 hex digits", err);
	if (strcmp(out->registry, REFERENCE_HUB) == 0 && !memchr(rest, '/', (size_t)(end - rest)))
		library = "library/";
	snprintf(out->repository, sizeof(out->repository), "%s%.*s", library, (int)((colon ? colon : end) - rest),
		 rest);
	if (colon)
		snprintf(out->tag, sizeof(out->tag), "%.*s", (int)(end - colon - 1), colon + 1);
	else if (!at)
		snprintf(out->tag, sizeof(out->tag), "latest");
	if (at)
		snprintf(out->digest, sizeof(out->digest), "%s", at + 1);
	return 0;
}

int reference_normalise(const char *typed, char out[REFERENCE_MAX], struct error *err)
{
	struct reference r;
	int n;

	if (reference_parse(typed, &r, err) < 0)
		return -(int)err->code;
	n = snprintf(out, REFERENCE_MAX, "%s/%s%s%s%s%s", r.registry, r.repository, r.tag[0] ? ":" : "", r.tag,
		     r.digest[0] ? "@" : "", r.digest);
	/* What is listed can be typed again. */
	return n < 0 || n > LENGTH_MAX ? bad(typed, "longer than 400 characters when completed", err) : 0;
}

const char *reference_pinned(const struct reference *r)
{
	return r->digest[0] ? r->digest : r->tag;
}
