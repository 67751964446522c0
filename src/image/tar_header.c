/* SPDX-License-Identifier: Apache-2.0 */
#include "image/tar_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "base/num.h"

#define NUMBER_DIGITS_MAX 24

bool tar_field(const uint8_t *p, size_t n, uint64_t *out)
{
	char text[NUMBER_DIGITS_MAX + 1];

	*out = 0;
	if (p[0] & 0x80) {
		uint64_t v = p[0] & 0x3f;

		if (p[0] & 0x40)
			return false; /* below zero */
		for (size_t i = 1; i < n; i++) {
			if (v >> 55)
				return false;
			v = v << 8 | p[i];
		}
		*out = v;
		return true;
	}
	while (n && (*p == ' ' || *p == '\0')) {
		p++;
		n--;
	}
	while (n && (p[n - 1] == ' ' || p[n - 1] == '\0'))
		n--;
	if (n > NUMBER_DIGITS_MAX)
		return false;
	memcpy(text, p, n);
	text[n] = '\0';
	return n == 0 || num_parse_octal(text, INT64_MAX, out);
}

bool tar_field_signed(const uint8_t *p, size_t n, int64_t *out)
{
	uint64_t v;

	if ((p[0] & 0xc0) == 0xc0) {
		v = ~(uint64_t)0;
		if (p[0] != 0xff)
			return false; /* n is 12: below what 64 bits hold */
		for (size_t i = 1; i < n; i++) {
			if (v >> 55 != 0x1ff)
				return false;
			v = v << 8 | p[i];
		}
		*out = (int64_t)v;
		return true;
	}
	if (!tar_field(p, n, &v))
		return false;
	*out = (int64_t)v;
	return true;
}

bool tar_checksum_ok(const uint8_t *h)
{
	uint64_t want;
	int64_t with_sign = 0; /* as some old programs summed */
	uint32_t sum = 0;

	for (size_t i = 0; i < TAR_BLOCK; i++) {
		uint8_t c = i >= 148 && i < 156 ? ' ' : h[i];

		sum += c;
		with_sign += (int8_t)c;
	}
	return tar_field(h + 148, 8, &want) && (want == sum || (int64_t)want == with_sign);
}

bool tar_is_zero(const uint8_t *block)
{
	return block[0] == 0 && memcmp(block, block + 1, TAR_BLOCK - 1) == 0;
}

bool tar_is_gnu(const uint8_t *h)
{
	return memcmp(h + 257, "ustar  ", 8) == 0;
}

void tar_header_name(const uint8_t *h, char out[260])
{
	size_t prefix = 0, name = strnlen((const char *)h, 100);

	if (memcmp(h + 257, "ustar", 6) == 0)
		prefix = strnlen((const char *)h + 345, memcmp(h + 508, "tar", 4) == 0 ? 131 : 155);
	memcpy(out, h + 345, prefix);
	if (prefix)
		out[prefix++] = '/';
	memcpy(out + prefix, h, name);
	out[prefix + name] = '\0';
}

int tar_map_add(struct tar_map *map, uint64_t offset, uint64_t size, struct error *err)
{
	const struct tar_fragment *last = map->count ? &map->fragments[map->count - 1] : NULL;
	uint64_t end;

	if (__builtin_add_overflow(offset, size, &end) || end > INT64_MAX ||
	    (last && offset < last->offset + last->size))
		return err_set(err, ERR_INVALID, 0, "a sparse file's map is out of order");
	if (map->count == TAR_FRAGMENTS_MAX)
		return err_set(err, ERR_LIMIT, 0, "a sparse file of more than %d pieces", TAR_FRAGMENTS_MAX);
	if (map->count == map->room) {
		size_t room = map->room ? map->room * 2 : 16;
		struct tar_fragment *grown = realloc(map->fragments, room * sizeof(*grown));

		if (!grown)
			return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
		map->fragments = grown;
		map->room = room;
	}
	map->fragments[map->count++] = (struct tar_fragment){ offset, size };
	map->stored += size;
	return 0;
}

/** decimal() - The digits at *p up to one of ends; *p is behind that then. */
static bool decimal(const char **p, char end, uint64_t *out)
{
	char text[NUMBER_DIGITS_MAX + 1];
	size_t n = strspn(*p, "0123456789");

	if (n == 0 || n > NUMBER_DIGITS_MAX || ((*p)[n] != end && (*p)[n]))
		return false;
	memcpy(text, *p, n);
	text[n] = '\0';
	*p += n + ((*p)[n] == end && end);
	return num_parse_u64(text, INT64_MAX, out);
}

int tar_map_parse(struct tar_map *map, const char *text, struct error *err)
{
	uint64_t offset, size;

	while (*text) {
		if (!decimal(&text, ',', &offset) || !*text || !decimal(&text, ',', &size))
			return err_set(err, ERR_INVALID, 0, "a sparse file's map is damaged");
		if (tar_map_add(map, offset, size, err) < 0)
			return -(int)err->code;
	}
	return 0;
}

int tar_map_old(struct tar_map *map, const uint8_t *p, size_t count, struct error *err)
{
	for (size_t i = 0; i < count && p[i * 24]; i++) {
		uint64_t offset, size;

		if (!tar_field(p + i * 24, 12, &offset) || !tar_field(p + i * 24 + 12, 12, &size))
			return err_set(err, ERR_INVALID, 0, "a sparse file's map is damaged");
		if (tar_map_add(map, offset, size, err) < 0)
			return -(int)err->code;
	}
	return 0;
}

/** pax_time() - Seconds with an optional sign and fraction; digits behind the ninth are cut off, as Go does. */
static bool pax_time(const char *text, int64_t *s, uint32_t *ns)
{
	bool negative = *text == '-';
	const char *p = text + negative;
	uint64_t whole;
	uint32_t part = 0, scale = 100000000;

	if (!decimal(&p, '.', &whole))
		return false;
	for (; *p; p++) {
		if (*p < '0' || *p > '9')
			return false;
		part += (uint32_t)(*p - '0') * scale;
		scale /= 10;
	}
	*s = negative ? -(int64_t)whole : (int64_t)whole;
	*ns = part;
	if (negative && part) {
		*s -= 1;
		*ns = 1000000000u - part;
	}
	return true;
}

/** pax_number() - A decimal record. */
static bool pax_number(const char *text, uint64_t *out)
{
	return num_parse_u64(text, INT64_MAX, out);
}

/** pax_fragment() - GNU.sparse.offset, then GNU.sparse.numbytes, again and again (pax 0.0). */
static int pax_fragment(struct tar_map *map, bool is_size, const char *value, uint64_t *offset, bool *pending,
			struct error *err)
{
	uint64_t v;

	if (is_size != *pending || !pax_number(value, &v))
		return err_set(err, ERR_INVALID, 0, "a sparse file's map is damaged");
	*pending = !is_size;
	if (is_size)
		return tar_map_add(map, *offset, v, err);
	*offset = v;
	return 0;
}

/** pax_xattr() - One extended attribute; of two with one name the later stands. */
static int pax_xattr(struct tar_pax *out, const char *name, const char *value, size_t size, struct error *err)
{
	size_t i = 0;

	while (i < out->xattr_count && strcmp(out->xattrs[i].name, name) != 0)
		i++;
	if (i == TAR_XATTRS_MAX)
		return err_set(err, ERR_LIMIT, 0, "an entry with more than %d extended attributes", TAR_XATTRS_MAX);
	out->xattrs[i] = (struct tar_xattr){ name, (const uint8_t *)value, size };
	out->xattr_count = MAX(out->xattr_count, i + 1);
	return 0;
}

/** pax_record() - One key and value; both NUL-terminated, the value may hold NULs before its end. */
static int pax_record(struct tar_pax *out, const char *key, const char *value, size_t size, struct error *err)
{
	static const char xattr[] = "SCHILY.xattr.";
	const struct {
		const char *key;
		uint64_t *value;
		bool *has;
	} numbers[] = {
		{ "size", &out->size, &out->has_size },
		{ "uid", &out->uid, &out->has_uid },
		{ "gid", &out->gid, &out->has_gid },
		{ "GNU.sparse.major", &out->sparse_major, &out->sparse_1 },
		{ "GNU.sparse.minor", &out->sparse_minor, NULL },
		{ "GNU.sparse.realsize", &out->real_size, &out->has_real_size },
		{ "GNU.sparse.size", &out->real_size, &out->has_real_size },
	};
	const struct {
		const char *key;
		const char **value;
	} texts[] = {
		{ "path", &out->path },
		{ "linkpath", &out->link },
		{ "GNU.sparse.name", &out->sparse_name },
		{ "GNU.sparse.map", &out->sparse_map },
	};

	if (strncmp(key, xattr, sizeof(xattr) - 1) == 0 && key[sizeof(xattr) - 1])
		return pax_xattr(out, key + sizeof(xattr) - 1, value, size, err);
	if (!size)
		return 0; /* POSIX: the header's own value stands */
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		if (strcmp(key, numbers[i].key) != 0)
			continue;
		if (strlen(value) != size || !pax_number(value, numbers[i].value))
			return err_set(err, ERR_INVALID, 0, "a pax header has a bad %s", key);
		if (numbers[i].has)
			*numbers[i].has = true;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		if (strcmp(key, texts[i].key) != 0)
			continue;
		if (strlen(value) != size)
			return err_set(err, ERR_INVALID, 0, "a pax header has a NUL in its %s", key);
		*texts[i].value = value;
		return 0;
	}
	if (strcmp(key, "mtime") == 0) {
		out->has_mtime = true;
		if (strlen(value) != size || !pax_time(value, &out->mtime_s, &out->mtime_ns))
			return err_set(err, ERR_INVALID, 0, "a pax header has a bad mtime");
	}
	return 0;
}

int tar_pax_parse(char *body, size_t n, struct tar_pax *out, struct tar_map *map, struct error *err)
{
	uint64_t offset = 0;
	bool pending = false;
	size_t at = 0;

	memset(out, 0, sizeof(*out));
	while (at < n) {
		size_t digits = at, end;
		uint64_t len = 0;
		char *key, *equals;
		int rc;

		while (digits < n && body[digits] >= '0' && body[digits] <= '9' && digits - at < 8)
			len = len * 10 + (uint64_t)(body[digits++] - '0');
		if (digits == at || digits == n || body[digits] != ' ' || len > n - at || at + len <= digits + 2 ||
		    body[at + len - 1] != '\n')
			return err_set(err, ERR_INVALID, 0, "a pax header is damaged");
		end = at + len - 1;
		key = body + digits + 1;
		equals = memchr(key, '=', (size_t)(body + end - key));
		if (!equals || equals == key || memchr(key, '\0', (size_t)(equals - key)))
			return err_set(err, ERR_INVALID, 0, "a pax header is damaged");
		*equals = '\0';
		body[end] = '\0';
		if (strcmp(key, "GNU.sparse.offset") == 0 || strcmp(key, "GNU.sparse.numbytes") == 0) {
			out->sparse_0 = true;
			rc = pax_fragment(map, key[11] == 'n', equals + 1, &offset, &pending, err);
		} else {
			rc = pax_record(out, key, equals + 1, (size_t)(body + end - equals - 1), err);
		}
		if (rc < 0)
			return rc;
		at += len;
	}
	if (pending)
		return err_set(err, ERR_INVALID, 0, "a sparse file's map is damaged");
	if (out->sparse_1 && out->sparse_major == 0)
		out->sparse_1 = false; /* 0.x, whose map is in the header */
	if (out->sparse_1 && (out->sparse_major != 1 || out->sparse_minor != 0))
		return err_set(err, ERR_UNSUPPORTED, 0, "a sparse file of an unknown version");
	if (out->sparse_map) {
		out->sparse_0 = true;
		return map->count ? 0 : tar_map_parse(map, out->sparse_map, err);
	}
	return 0;
}
