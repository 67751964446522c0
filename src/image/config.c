/* SPDX-License-Identifier: Apache-2.0 */
#include "image/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/macros.h"

#define OURS "amd64"

json_t *image_json(const void *p, size_t n, const char *what, struct error *err)
{
	json_error_t je;
	json_t *j = json_loadb(p ? p : "", n, JSON_REJECT_DUPLICATES, &je);

	if (j && !json_is_object(j) && !json_is_array(j)) {
		json_decref(j);
		err_set(err, ERR_INVALID, 0, "%s is neither a JSON object nor an array", what);
		return NULL;
	}
	if (!j) {
		err_set(err, ERR_INVALID, 0, "%s: line %d: %s", what, je.line, je.text);
	}
	return j;
}

/** get_list() - A JSON array of strings. */
static int get_list(const json_t *j, struct image_strings *out, const char *what, struct error *err)
{
	size_t n = json_array_size(j);

	if (n > IMAGE_STRINGS_MAX)
		return err_set(err, ERR_LIMIT, 0, "image config: more than %d entries in %s", IMAGE_STRINGS_MAX, what);
	out->item = calloc(n + 1, sizeof(char *));
	for (size_t i = 0; out->item && i < n; i++) {
		const char *s = json_string_value(json_array_get(j, i));

		if (!s)
			return err_set(err, ERR_INVALID, 0, "image config: %s holds something that is no string", what);
		out->item[out->count++] = strdup(s);
	}
	return out->item ? 0 : err_set(err, ERR_NO_MEMORY, 0, "out of memory");
}

/** get_labels() - {"a": "b"} as "a=b". */
static void get_labels(json_t *j, struct image_strings *out)
{
	const char *key;
	json_t *value;

	out->item = calloc(MIN(json_object_size(j), IMAGE_STRINGS_MAX) + 1, sizeof(char *));
	json_object_foreach(j, key, value)
	{
		struct buf b = BUF_INIT(65536);

		if (!out->item || out->count == IMAGE_STRINGS_MAX || !json_is_string(value))
			continue;
		if (buf_printf(&b, "%s=%s", key, json_string_value(value)))
			out->item[out->count++] = strdup(buf_cstr(&b));
		buf_free(&b);
	}
}

static char *text(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return strdup(s ? s : "");
}

/** hex_digest() - The hex of "sha256:HEX", NULL for anything else. */
static const char *hex_digest(const char *s)
{
	if (!s || strncmp(s, "sha256:", 7) != 0 || strspn(s + 7, "0123456789abcdef") != DIGEST_HEX || s[7 + DIGEST_HEX])
		return NULL;
	return s + 7;
}

int config_parse(const json_t *j, struct record *r, struct error *err)
{
	const json_t *c = json_object_get(j, "config"),
		     *ids = json_object_get(json_object_get(j, "rootfs"), "diff_ids");
	const char *created = json_string_value(json_object_get(j, "created"));
	struct image *m = &r->img;
	struct tm tm = { 0 };

	snprintf(m->os, sizeof(m->os), "%s", json_string_value(json_object_get(j, "os")) ?: "linux");
	snprintf(m->architecture, sizeof(m->architecture), "%s",
		 json_string_value(json_object_get(j, "architecture")) ?: OURS);
	if (strcmp(m->os, "linux") != 0 || strcmp(m->architecture, OURS) != 0)
		return err_set(err, ERR_UNSUPPORTED, 0, "the image is for %s/%s, this machine runs linux/" OURS, m->os,
			       m->architecture);
	if (created && strptime(created, "%Y-%m-%dT%H:%M:%S", &tm))
		m->created_s = timegm(&tm);
	m->user = text(c, "User");
	m->workdir = text(c, "WorkingDir");
	m->stop_signal = text(c, "StopSignal");
	get_labels(json_object_get(c, "Labels"), &m->labels);
	if (get_list(json_object_get(c, "Env"), &m->env, "Env", err) < 0 ||
	    get_list(json_object_get(c, "Entrypoint"), &m->entrypoint, "Entrypoint", err) < 0 ||
	    get_list(json_object_get(c, "Cmd"), &m->cmd, "Cmd", err) < 0)
		return -(int)err->code;
	if (json_array_size(ids) > IMAGE_LAYERS_MAX)
		return err_set(err, ERR_LIMIT, 0, "the image has %zu layers (limit %d)", json_array_size(ids),
			       IMAGE_LAYERS_MAX);
	m->layer_count = (uint32_t)json_array_size(ids);
	m->layers = calloc((size_t)m->layer_count + 1, sizeof(*m->layers));
	for (uint32_t i = 0; m->layers && i < m->layer_count; i++) {
		const char *id = hex_digest(json_string_value(json_array_get(ids, i)));

		if (!id)
			return err_set(err, ERR_INVALID, 0, "image config: bad diff_id");
		snprintf(m->layers[i], sizeof(m->layers[i]), "%s", id);
	}
	return m->layers ? 0 : err_set(err, ERR_NO_MEMORY, 0, "out of memory");
}

int descriptor_parse(const json_t *j, struct descriptor *out, struct error *err)
{
	const char *hex = hex_digest(json_string_value(json_object_get(j, "digest")));
	const json_t *size = json_object_get(j, "size");

	*out = (struct descriptor){ .media_type = json_string_value(json_object_get(j, "mediaType")) ?: "" };
	if (!hex)
		return err_set(err, ERR_INVALID, 0, "a descriptor has no sha256 digest");
	if (size && (!json_is_integer(size) || json_integer_value(size) < 0))
		return err_set(err, ERR_INVALID, 0, "a descriptor has a bad size");
	snprintf(out->digest, sizeof(out->digest), "%s", hex);
	out->size = (uint64_t)json_integer_value(size);
	return 0;
}

bool index_fits(const json_t *entry)
{
	const json_t *platform = json_object_get(entry, "platform");
	const char *os = json_string_value(json_object_get(platform, "os"));
	const char *arch = json_string_value(json_object_get(platform, "architecture"));

	return (!os || strcmp(os, "linux") == 0) && (!arch || strcmp(arch, OURS) == 0);
}

const json_t *index_choose(const json_t *index, struct error *err)
{
	const json_t *list = json_object_get(index, "manifests");
	struct buf known = BUF_INIT(300);
	json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
	{
		const json_t *platform = json_object_get(item, "platform");
		const char *arch = json_string_value(json_object_get(platform, "architecture"));

		if (index_fits(item)) {
			buf_free(&known);
			return item;
		}
		if (known.len < 200)
			buf_printf(&known, "%s%.20s/%.20s", known.len ? ", " : "",
				   json_string_value(json_object_get(platform, "os")) ?: "?", arch ? arch : "?");
	}
	err_set(err, ERR_UNSUPPORTED, 0, "the image is not made for linux/" OURS ", only for: %s",
		known.len && buf_cstr(&known) ? buf_cstr(&known) : "nothing at all");
	buf_free(&known);
	return NULL;
}
