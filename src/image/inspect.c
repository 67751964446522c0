/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/fd.h"
#include "image/progress.h"
#include "image/save.h"

/** strings() - As a JSON array. */
static json_t *strings(const struct image_strings *l)
{
	json_t *out = json_array();

	for (uint32_t i = 0; i < l->count; i++)
		json_array_append_new(out, json_string(l->item[i]));
	return out;
}

/** labels() - "a=b" entries as an object. */
static json_t *labels(const struct image_strings *l)
{
	json_t *out = json_object();

	for (uint32_t i = 0; i < l->count; i++) {
		const char *equals = strchr(l->item[i], '=');

		if (equals)
			json_object_setn_new(out, l->item[i], (size_t)(equals - l->item[i]), json_string(equals + 1));
	}
	return out;
}

/** read_json() - A JSON text of the store; NULL when it has none (archives of docker save have no manifest). */
static json_t *read_json(const struct adder *a, const char *digest, const char *kind, char hex[DIGEST_HEX + 1])
{
	struct buf b = BUF_INIT(IMAGE_JSON_MAX);
	char path[96];
	json_t *out = NULL;

	snprintf(path, sizeof(path), "manifests/%.64s.%s", digest, kind);
	if (file_read(a->cache, path, IMAGE_JSON_MAX, &b, NULL) == 0)
		out = image_json(b.data, b.len, kind, NULL);
	digest_hex(b.data, b.len, hex);
	buf_free(&b);
	return out;
}

/** layers() - What is known of each. */
static json_t *layers(const struct image *img, const json_t *manifest)
{
	const json_t *list = json_object_get(manifest, "layers");
	json_t *out = json_array();

	for (uint32_t i = 0; i < img->layer_count; i++) {
		struct descriptor d = { 0 };
		char diff_id[80], blob[80];
		json_t *one;

		snprintf(diff_id, sizeof(diff_id), "sha256:%s", img->layers[i]);
		one = json_pack("{s:s, s:i}", "diff_id", diff_id, "position", (int)i);
		if (descriptor_parse(json_array_get(list, i), &d, NULL) == 0) {
			snprintf(blob, sizeof(blob), "sha256:%s", d.digest);
			json_object_set_new(one, "blob_digest", json_string(blob));
			json_object_set_new(one, "media_type", json_string(d.media_type));
			json_object_set_new(one, "compressed_size_bytes", json_integer((json_int_t)d.size));
		}
		json_array_append_new(out, one);
	}
	return out;
}

/** print_json() - Everything. */
static int print_json(const struct image *img, const json_t *manifest, const char *config_hex, struct error *err)
{
	char when[40] = "", digest[80];
	time_t t = img->created_s;
	json_t *config, *top;
	int rc;

	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S+00:00", gmtime(&t));
	snprintf(digest, sizeof(digest), "sha256:%s", config_hex);
	config = json_pack("{s:s, s:o, s:o, s:o, s:s, s:s, s:o, s:s}", "digest", digest, "env", strings(&img->env),
			   "cmd", strings(&img->cmd), "entrypoint", strings(&img->entrypoint), "working_dir",
			   img->workdir, "user", img->user, "labels", labels(&img->labels), "stop_signal",
			   img->stop_signal);
	top = json_pack("{s:s, s:s, s:I, s:s, s:s, s:i, s:s, s:o, s:o}", "reference", img->reference, "digest",
			img->digest, "size_bytes", (json_int_t)img->size_bytes, "architecture", img->architecture, "os",
			img->os, "layer_count", (int)img->layer_count, "created_at", when, "config", config, "layers",
			layers(img, manifest));
	rc = top && json_dumpf(top, stdout, JSON_INDENT(2)) == 0 && putchar('\n') != EOF
		     ? 0
		     : err_set(err, ERR_SYSTEM, 0, "image %s: what it says of itself is no text", img->reference);
	json_decref(top);
	return rc;
}

/** print_list() - "Key:" and the words, quoted by JSON where they need it. */
static void print_list(const char *key, const struct image_strings *l)
{
	json_t *j;
	char *text;

	if (!l->count)
		return;
	j = strings(l);
	text = json_dumps(j, JSON_COMPACT);
	printf("%-16s%s\n", key, text ? text : "-");
	free(text);
	json_decref(j);
}

/** print_line() - "Key:" and a value; control characters of the image do not reach the terminal. */
static void print_line(const char *key, const char *value)
{
	if (!value[0])
		return;
	printf("%-16s", key);
	for (; *value; value++)
		putchar((unsigned char)*value < 0x20 || *value == 0x7f ? '?' : *value);
	putchar('\n');
}

/** print_text() - The same for people. */
static void print_text(const struct image *img, const json_t *manifest)
{
	const json_t *list = json_object_get(manifest, "layers");
	char when[40] = "-", size[24];
	time_t t = img->created_s;

	if (t)
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", localtime(&t));
	progress_size(img->size_bytes, size);
	print_line("Reference:", img->reference);
	print_line("Digest:", img->digest);
	printf("%-16s%s/%s\n%-16s%s\n%-16s%s\n", "Platform:", img->os, img->architecture, "Created:", when,
	       "Size:", size);
	print_line("User:", img->user);
	print_line("Workdir:", img->workdir);
	print_list("Entrypoint:", &img->entrypoint);
	print_list("Cmd:", &img->cmd);
	if (img->env.count)
		printf("Environment:\n");
	for (uint32_t i = 0; i < img->env.count; i++)
		print_line("", img->env.item[i]);
	if (img->labels.count)
		printf("Labels:\n");
	for (uint32_t i = 0; i < img->labels.count; i++)
		print_line("", img->labels.item[i]);
	printf("Layers:\n");
	for (uint32_t i = 0; i < img->layer_count; i++) {
		struct descriptor d = { 0 };

		printf("%-16ssha256:%s", "", img->layers[i]);
		if (descriptor_parse(json_array_get(list, i), &d, NULL) == 0 && d.size) {
			progress_size(d.size, size);
			printf("  %s compressed", size);
		}
		putchar('\n');
	}
}

int inspect_image(struct adder *a, const char *reference, bool json, struct error *err)
{
	char config_hex[DIGEST_HEX + 1], ignored[DIGEST_HEX + 1];
	struct image *img = NULL;
	json_t *manifest;
	int rc = image_store_find(a->store, reference, &img, err);

	if (rc < 0)
		return rc;
	json_decref(read_json(a, img->digest + 7, "config", config_hex));
	manifest = read_json(a, img->digest + 7, "manifest", ignored);
	if (json)
		rc = print_json(img, manifest, config_hex, err);
	else
		print_text(img, manifest);
	json_decref(manifest);
	image_free(img);
	if (rc == 0 && (fflush(stdout) != 0 || ferror(stdout)))
		rc = err_set(err, ERR_SYSTEM, 0, "write to standard output");
	return rc;
}
