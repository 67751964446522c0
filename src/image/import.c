/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/fd.h"
#include "image/load.h"

/** A blob_source over a whole file. */
struct file_source {
	int fd;
	uint64_t at;
};

static ssize_t read_file(void *arg, void *to, size_t max, struct error *err)
{
	struct file_source *f = arg;
	ssize_t n = fd_pread_full(f->fd, to, max, (off_t)f->at);

	if (n < 0)
		return err_set(err, ERR_SYSTEM, 0, "read the archive");
	f->at += (uint64_t)n;
	return n;
}

/** put_layer() - The tar into the store, unless it is there. */
static int put_layer(struct adder *a, int fd, const char *diff_id, struct error *err)
{
	struct file_source from = { .fd = fd };
	struct blob_source source = { read_file, &from };
	char note[300] = "";
	uint64_t blocks;
	int rc = 0, lock = layer_lock(a, diff_id, err);

	if (lock < 0)
		return lock;
	if (!layer_known(a, diff_id, &blocks))
		rc = layer_unpack(a->layers, &source, NULL, diff_id, &blocks, note, err);
	layer_unlock(a, diff_id, &lock, false);
	if (note[0])
		fprintf(stderr, "warn: %s\n", note);
	return rc;
}

/** put_json() - Dumped into a buffer. */
static int put_json(json_t *j, struct buf *out, struct error *err)
{
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	int rc = text && buf_append_str(out, text) ? 0 : err_set(err, ERR_NO_MEMORY, 0, "out of memory");

	free(text);
	json_decref(j);
	return rc;
}

/** make_image() - Config and manifest for the one layer, then the image. */
static int make_image(struct adder *a, const char *diff_id, uint64_t size, char digest[DIGEST_HEX + 1],
		      struct error *err)
{
	struct buf config = BUF_INIT(65536), manifest = BUF_INIT(65536);
	char when[40], diff[80], hex[DIGEST_HEX + 1], config_digest[80];
	struct record *r = calloc(1, sizeof(*r));
	time_t now = time(NULL);
	json_t *j = NULL;
	int rc;

	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
	snprintf(diff, sizeof(diff), "sha256:%s", diff_id);
	rc = put_json(json_pack("{s:s, s:s, s:s, s:{}, s:{s:s, s:[s]}}", "architecture", "amd64", "os", "linux",
				"created", when, "config", "rootfs", "type", "layers", "diff_ids", diff),
		      &config, err);
	digest_hex(config.data, config.len, hex);
	snprintf(config_digest, sizeof(config_digest), "sha256:%s", hex);
	if (rc == 0)
		rc = put_json(json_pack("{s:i, s:s, s:{s:s, s:s, s:I}, s:[{s:s, s:s, s:I}]}", "schemaVersion", 2,
					"mediaType", "application/vnd.oci.image.manifest.v1+json", "config",
					"mediaType", "application/vnd.oci.image.config.v1+json", "digest",
					config_digest, "size", (json_int_t)config.len, "layers", "mediaType",
					"application/vnd.oci.image.layer.v1.tar", "digest", diff, "size",
					(json_int_t)size),
			      &manifest, err);
	digest_hex(manifest.data, manifest.len, digest);
	if (rc == 0) {
		j = image_json(config.data, config.len, "config", err);
		rc = j && r ? config_parse(j, r, err) : -(int)ERR_NO_MEMORY;
	}
	if (rc == 0)
		rc = image_add(a, r, digest, &config, &manifest, err);
	if (r)
		image_clear(&r->img);
	free(r);
	json_decref(j);
	buf_free(&config);
	buf_free(&manifest);
	return rc;
}

int import_tar(struct adder *a, const char *path, const struct tags *tags, struct error *err)
{
	_cleanup_fd_ int fd = open_archive(a, path, err);
	struct file_source from = { .fd = fd };
	struct blob_source source = { read_file, &from };
	char diff_id[DIGEST_HEX + 1], digest[DIGEST_HEX + 1], name[REFERENCE_MAX];
	uint64_t size;
	int rc = fd < 0 ? fd : layer_diff_id(&source, diff_id, &size, err);

	if (rc == 0)
		rc = put_layer(a, fd, diff_id, err);
	if (rc == 0)
		rc = make_image(a, diff_id, size, digest, err);
	for (size_t i = 0; rc == 0 && i < tags->count; i++) {
		rc = image_name(a, tags->item[i], digest, NULL, err);
		if (rc == 0 && !a->quiet && reference_normalise(tags->item[i], name, err) == 0)
			printf("Imported %s\n", name);
	}
	return rc < 0 ? err_wrap(err, "import %s", path ? path : "standard input") : rc;
}
