/* SPDX-License-Identifier: Apache-2.0 */
#include "image/record.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "base/reader.h"

static bool put(struct buf *out, uint64_t v, unsigned int bytes)
{
	uint8_t b[8];

	for (unsigned int i = 0; i < bytes; i++)
		b[i] = (uint8_t)(v >> (8 * i));
	return buf_append(out, b, bytes);
}

static bool put_string(struct buf *out, const char *s)
{
	size_t n = s ? strlen(s) : 0;

	return put(out, n, 4) && buf_append(out, s, n);
}

static bool put_list(struct buf *out, const struct image_strings *l)
{
	bool ok = put(out, l->count, 4);

	for (uint32_t i = 0; ok && i < l->count; i++)
		ok = put_string(out, l->item[i]);
	return ok;
}

bool record_encode(struct buf *out, const struct record *r)
{
	const struct image *m = &r->img;
	bool ok = buf_append(out, RECORD_MAGIC, sizeof(RECORD_MAGIC)) && put_string(out, m->digest) &&
		  put(out, m->size_bytes, 8) && put(out, (uint64_t)m->created_s, 8) && put_string(out, m->os) &&
		  put_string(out, m->architecture) && put_string(out, m->user) && put_string(out, m->workdir) &&
		  put_string(out, m->stop_signal) && put_list(out, &m->env) && put_list(out, &m->entrypoint) &&
		  put_list(out, &m->cmd) && put_list(out, &m->labels) && put(out, r->meta_bytes, 8) &&
		  put(out, m->layer_count, 4);

	for (uint32_t i = 0; ok && i < m->layer_count; i++)
		ok = put_string(out, m->layers[i]) && put(out, r->layer_blocks[i], 8);
	return ok;
}

/** get_string() - An owned copy without NUL inside; "" when absent. */
static char *get_string(struct reader *r)
{
	uint32_t n = reader_u32(r);
	const uint8_t *p = reader_bytes(r, n);
	char *s;

	if (!p || memchr(p, 0, n)) {
		r->failed = true;
		return NULL;
	}
	s = strndup((const char *)p, n);
	r->failed |= !s;
	return s;
}

static void get_fixed(struct reader *r, char *to, size_t size)
{
	char *s = get_string(r);

	r->failed |= s && strlen(s) >= size;
	snprintf(to, size, "%s", s ? s : "");
	free(s);
}

static void get_list(struct reader *r, struct image_strings *l)
{
	uint32_t n = reader_u32(r);

	if (r->failed || n > IMAGE_STRINGS_MAX) {
		r->failed = true;
		return;
	}
	l->item = calloc((size_t)n + 1, sizeof(*l->item));
	r->failed |= !l->item;
	for (uint32_t i = 0; i < n && !r->failed; i++) {
		l->item[i] = get_string(r);
		l->count = i + 1;
	}
}

static bool is_hex_digest(const char *s)
{
	return strspn(s, "0123456789abcdef") == DIGEST_HEX && !s[DIGEST_HEX];
}

int record_decode(const void *p, size_t n, struct record *out, struct error *err)
{
	struct reader r = reader_init(p, n);
	const uint8_t *magic = reader_bytes(&r, sizeof(RECORD_MAGIC));
	struct image *m = &out->img;

	memset(out, 0, sizeof(*out));
	r.failed |= !magic || memcmp(magic, RECORD_MAGIC, sizeof(RECORD_MAGIC)) != 0;
	get_fixed(&r, m->digest, sizeof(m->digest));
	m->size_bytes = reader_u64(&r);
	m->created_s = (int64_t)reader_u64(&r);
	get_fixed(&r, m->os, sizeof(m->os));
	get_fixed(&r, m->architecture, sizeof(m->architecture));
	m->user = get_string(&r);
	m->workdir = get_string(&r);
	m->stop_signal = get_string(&r);
	get_list(&r, &m->env);
	get_list(&r, &m->entrypoint);
	get_list(&r, &m->cmd);
	get_list(&r, &m->labels);
	out->meta_bytes = reader_u64(&r);
	m->layer_count = reader_u32(&r);
	r.failed |= m->layer_count > IMAGE_LAYERS_MAX || out->meta_bytes == 0 || out->meta_bytes % 4096;
	m->layers = r.failed ? NULL : calloc((size_t)m->layer_count + 1, sizeof(*m->layers));
	r.failed |= !m->layers;
	for (uint32_t i = 0; i < m->layer_count && !r.failed; i++) {
		get_fixed(&r, m->layers[i], sizeof(m->layers[i]));
		out->layer_blocks[i] = reader_u64(&r);
		r.failed |= !is_hex_digest(m->layers[i]) || out->layer_blocks[i] > UINT32_MAX;
	}
	if (r.failed || r.left) {
		image_clear(m);
		err_set(err, ERR_INVALID, 0, "the image's record is damaged");
		return err_hint(err, "remove it with msb rmi and load it again");
	}
	return 0;
}

static void clear_list(struct image_strings *l)
{
	for (uint32_t i = 0; i < l->count; i++)
		free(l->item[i]);
	free(l->item);
	*l = (struct image_strings){ 0 };
}

void image_clear(struct image *img)
{
	clear_list(&img->env);
	clear_list(&img->entrypoint);
	clear_list(&img->cmd);
	clear_list(&img->labels);
	free(img->layers);
	free(img->user);
	free(img->workdir);
	free(img->stop_signal);
	*img = (struct image){ 0 };
}

int ref_file(const char *reference, char out[REF_FILE_MAX + 1], struct error *err)
{
	size_t n = 0;

	for (const char *p = reference; *p; p++) {
		bool plain = isalnum((unsigned char)*p) || strchr("._-", *p);

		if (n + 3 > REF_FILE_MAX)
			return err_set(err, ERR_LIMIT, 0, "image %s: the reference is too long", reference);
		n += (size_t)snprintf(out + n, REF_FILE_MAX + 1 - n, plain ? "%c" : "%%%02x", (unsigned char)*p);
	}
	return 0;
}

bool ref_name(const char *file, char out[REFERENCE_MAX])
{
	size_t n = 0;

	for (const char *p = file; *p && n + 1 < REFERENCE_MAX; p++) {
		static const char hex[] = "0123456789abcdef";

		if (*p == '%') {
			const char *hi = p[1] ? strchr(hex, p[1]) : NULL, *lo = p[1] && p[2] ? strchr(hex, p[2]) : NULL;

			if (!hi || !lo)
				return false;
			out[n] = (char)((hi - hex) << 4 | (lo - hex));
			if (!isgraph((unsigned char)out[n++]))
				return false; /* it ends on terminals */
			p += 2;
		} else if (isalnum((unsigned char)*p) || strchr("._-", *p)) {
			out[n++] = *p;
		} else {
			return false;
		}
	}
	out[n] = '\0';
	return file[0] != '.' && !strstr(file, ".tmp");
}
