/* SPDX-License-Identifier: Apache-2.0 */
#include "image/bundle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/num.h"

#define BLOCK 512
#define PAX_MAX 65536

/** number() - An octal (or GNU base-256) field. */
static bool number(const uint8_t *p, size_t n, uint64_t *out)
{
	char text[32] = "";
	size_t len = 0;

	if (p[0] & 0x80) {
		uint64_t v = p[0] & 0x3f;

		for (size_t i = 1; i < n; i++) {
			if (v >> 54)
				return false;
			v = v << 8 | p[i];
		}
		*out = v;
		return true;
	}
	while (n && *p == ' ') {
		p++;
		n--;
	}
	while (len < n && len < sizeof(text) - 1 && p[len] && p[len] != ' ') {
		text[len] = (char)p[len];
		len++;
	}
	*out = 0;
	return len == 0 || num_parse_octal(text, UINT64_MAX >> 1, out);
}

/** checksum_ok() - Sum of the header's bytes with its own field as blanks. */
static bool checksum_ok(const uint8_t h[BLOCK])
{
	uint64_t want, sum = 0;

	for (int i = 0; i < BLOCK; i++)
		sum += i >= 148 && i < 156 ? ' ' : h[i];
	return number(h + 148, 8, &want) && want == sum;
}

/** no_tar() - The error. */
static int no_tar(uint64_t at, struct error *err)
{
	if (at == 0)
		return err_set(err, ERR_INVALID, 0, "not a tar archive, plain or gzip");
	return err_set(err, ERR_INVALID, 0, "the archive is damaged at byte %llu", (unsigned long long)at);
}

int bundle_feed(struct bundle_watch *w, const uint8_t *p, size_t n, uint64_t max, struct error *err)
{
	while (n && !w->ended) {
		size_t take = w->skip ? MIN(n, w->skip) : MIN(n, BLOCK - w->have);
		uint64_t size;

		if (w->skip) {
			w->skip -= take;
		} else {
			memcpy(w->header + w->have, p, take);
			w->have += take;
		}
		p += take;
		n -= take;
		w->at += take;
		if (w->have < BLOCK)
			continue;
		w->have = 0;
		w->ended = w->header[0] == 0;
		if (w->ended)
			break;
		if (!checksum_ok(w->header) || !number(w->header + 124, 12, &size))
			return no_tar(w->at - BLOCK, err);
		if (size > max - MIN(max, w->at))
			return err_set(err, ERR_LIMIT, 0, "the archive unpacks to more than %llu GiB",
				       (unsigned long long)(max >> 30));
		w->skip = ALIGN_UP(size, BLOCK);
	}
	return 0;
}

/** pax_path() - path= of a pax record block. */
static void pax_path(char *p, size_t n, char *name, size_t size)
{
	size_t at = 0;

	while (at < n) {
		size_t len = 0, digits = at;

		while (digits < n && p[digits] >= '0' && p[digits] <= '9' && len < PAX_MAX)
			len = len * 10 + (size_t)(p[digits++] - '0');
		if (len == 0 || len > n - at || digits >= n || p[digits] != ' ')
			return;
		if (len > digits - at + 7 && memcmp(p + digits + 1, "path=", 5) == 0)
			snprintf(name, size, "%.*s", (int)(at + len - 1 - (digits + 6)), p + digits + 6);
		at += len;
	}
}

/** add() - Remember one member. */
static int add(struct bundle *a, const char *name, const char *link, uint64_t offset, uint64_t size,
	       struct error *err)
{
	struct member *m;

	if (a->count == BUNDLE_MEMBERS_MAX)
		return err_set(err, ERR_LIMIT, 0, "archive has more than %d members", BUNDLE_MEMBERS_MAX);
	if (a->count % 64 == 0) {
		m = realloc(a->members, (a->count + 64) * sizeof(*m));
		if (!m)
			return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
		a->members = m;
	}
	m = &a->members[a->count++];
	while (strncmp(name, "./", 2) == 0)
		name += 2;
	snprintf(m->name, sizeof(m->name), "%s", name);
	snprintf(m->link, sizeof(m->link), "%s", link);
	m->offset = offset;
	m->size = size;
	return 0;
}

int bundle_scan(int fd, struct bundle *out, struct error *err)
{
	char long_name[512] = "";
	uint64_t at = 0;
	struct stat st;

	*out = (struct bundle){ .fd = fd };
	if (fstat(fd, &st) < 0)
		return err_set(err, ERR_SYSTEM, errno, "archive");
	while (at + BLOCK <= (uint64_t)st.st_size) {
		uint8_t h[BLOCK];
		char name[512], link[128];
		uint64_t size;

		if (fd_pread_full(fd, h, BLOCK, (off_t)at) != BLOCK)
			return err_set(err, ERR_SYSTEM, errno, "read the archive");
		if (h[0] == 0)
			break;
		if (!checksum_ok(h) || !number(h + 124, 12, &size))
			return no_tar(at, err);
		at += BLOCK;
		if (size > (uint64_t)st.st_size - at)
			return err_set(err, ERR_INVALID, 0,
				       "the archive is truncated (a member of %llu bytes does not fit)",
				       (unsigned long long)size);
		if (h[156] == 'x' || h[156] == 'L') {
			char text[PAX_MAX];
			ssize_t n = size < sizeof(text) ? fd_pread_full(fd, text, size, (off_t)at) : -1;

			if (n < 0)
				return err_set(err, ERR_INVALID, 0, "archive: bad extended header");
			if (h[156] == 'x')
				pax_path(text, (size_t)n, long_name, sizeof(long_name));
			else
				snprintf(long_name, sizeof(long_name), "%.*s", (int)MIN(n, 511), text);
		} else {
			if (long_name[0])
				snprintf(name, sizeof(name), "%s", long_name);
			else if (memcmp(h + 257, "ustar", 6) == 0 && h[345])
				snprintf(name, sizeof(name), "%.155s/%.100s", h + 345, h);
			else
				snprintf(name, sizeof(name), "%.100s", h);
			snprintf(link, sizeof(link), "%.100s", h[156] == '1' || h[156] == '2' ? (char *)h + 157 : "");
			if (h[156] != 'g' && h[156] != '5' && add(out, name, link, at, size, err) < 0)
				return -(int)err->code;
			long_name[0] = '\0';
		}
		at += ALIGN_UP(size, BLOCK);
	}
	return out->count ? 0 : no_tar(0, err);
}

void bundle_free(struct bundle *a)
{
	free(a->members);
	a->members = NULL;
	a->count = 0;
}

const struct member *bundle_find(const struct bundle *a, const char *name)
{
	char want[512];

	snprintf(want, sizeof(want), "%s", name);
	for (int hops = 0; hops < 4; hops++) {
		const struct member *m = NULL;

		for (size_t i = 0; i < a->count; i++)
			if (strcmp(a->members[i].name, want) == 0)
				m = &a->members[i];
		if (!m || !m->link[0])
			return m;
		/* "../<id>/layer.tar" as docker writes it, or a name from the top. */
		snprintf(want, sizeof(want), "%s", strncmp(m->link, "../", 3) == 0 ? m->link + 3 : m->link);
	}
	return NULL;
}

int bundle_read(const struct bundle *a, const char *name, struct buf *out, struct error *err)
{
	const struct member *m = bundle_find(a, name);
	uint8_t *to;

	if (!m)
		return err_set(err, ERR_INVALID, 0, "the archive has no %s", name);
	if (m->size > BUNDLE_JSON_MAX)
		return err_set(err, ERR_LIMIT, 0, "%s is larger than 16 MiB", name);
	if (m->size == 0)
		return 0;
	to = buf_extend(out, m->size);
	if (!to)
		return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	if (fd_pread_full(a->fd, to, m->size, (off_t)m->offset) != (ssize_t)m->size)
		return err_set(err, ERR_INVALID, errno, "read %s", name);
	return 0;
}
