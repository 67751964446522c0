/* SPDX-License-Identifier: Apache-2.0 */
#include "image/load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/fd.h"
#include "image/bundle.h"

#define ARCHIVE_BYTES_MAX (64ULL << 30) /* of standard input, or unpacked */
#define PADDING_MAX (1u << 20)		/* behind the end of an archive */

struct load {
	struct adder *a;
	const struct tags *tags;
	struct bundle bundle;
	size_t loaded;
	size_t descriptors; /* followed so far */
	bool any_name;
};

/** An image's parts as they stand in the archive. */
struct parts {
	struct buf config, manifest; /* raw */
	bool has_manifest;
	size_t layer_count;
	const char *blobs[IMAGE_LAYERS_MAX];   /* member names, lowest layer first */
	const char *digests[IMAGE_LAYERS_MAX]; /* hex of each blob, or NULL */
};

/** member_source: a blob_source over a member. */
struct member_source {
	int fd;
	uint64_t offset, left;
};

static ssize_t read_member(void *arg, void *to, size_t max, struct error *err)
{
	struct member_source *m = arg;
	size_t n = MIN(max, m->left);

	if (n && fd_pread_full(m->fd, to, n, (off_t)m->offset) != (ssize_t)n)
		return err_set(err, ERR_SYSTEM, errno, "read the layer");
	m->offset += n;
	m->left -= n;
	return (ssize_t)n;
}

/** get_json() - A small member, raw and parsed. */
static json_t *get_json(struct load *l, const char *name, struct buf *raw, struct error *err)
{
	raw->max = BUNDLE_JSON_MAX;
	return bundle_read(&l->bundle, name, raw, err) < 0 ? NULL : image_json(raw->data, raw->len, name, err);
}

/** give_name() - And say so. */
static int give_name(struct load *l, const char *ref, const char *digest, struct error *err)
{
	char name[REFERENCE_MAX];

	if (image_name(l->a, ref, digest, NULL, err) < 0 || reference_normalise(ref, name, err) < 0)
		return -(int)err->code;
	if (!l->a->quiet)
		printf("Loaded %s\n", name);
	fflush(stdout);
	l->any_name = true;
	return 0;
}

/** unpack_member() - One layer, unless it is there. */
static int unpack_member(struct load *l, const struct parts *p, const struct record *r, uint32_t i, struct error *err)
{
	const char *diff_id = r->img.layers[i];
	const struct member *m;
	char note[300] = "";
	uint64_t blocks;
	int rc = 0, lock;

	if (layer_known(l->a, diff_id, &blocks))
		return 0;
	lock = layer_lock(l->a, diff_id, err);
	if (lock < 0)
		return lock;
	m = bundle_find(&l->bundle, p->blobs[i]);
	if (!layer_known(l->a, diff_id, &blocks)) {
		struct member_source from = { l->bundle.fd, m ? m->offset : 0, m ? m->size : 0 };
		struct blob_source source = { read_member, &from };

		if (m && !l->a->quiet)
			fprintf(stderr, "layer %u of %u: %.12s, %llu KiB\n", i + 1, r->img.layer_count, diff_id,
				(unsigned long long)m->size / 1024);
		rc = m ? layer_unpack(l->a->layers, &source, p->digests[i], diff_id, &blocks, note, err)
		       : err_set(err, ERR_INVALID, 0, "the archive has no %s (truncated?)", p->blobs[i]);
	}
	if (note[0])
		fprintf(stderr, "warn: %s\n", note);
	layer_unlock(l->a, diff_id, &lock, false);
	return rc;
}

/** add_parts() - Unpack the missing layers, then the image. @digest: hex */
static int add_parts(struct load *l, const struct parts *p, const json_t *config, const char *digest, struct error *err)
{
	struct record *r = calloc(1, sizeof(*r));
	int rc = r ? config_parse(config, r, err) : err_set(err, ERR_NO_MEMORY, 0, "out of memory");

	if (rc == 0 && p->layer_count != r->img.layer_count)
		rc = err_set(err, ERR_INVALID, 0, "manifest names %zu layers, config %u", p->layer_count,
			     r->img.layer_count);
	for (uint32_t i = 0; rc == 0 && i < r->img.layer_count; i++)
		rc = unpack_member(l, p, r, i, err);
	if (rc == 0 && !image_known(l->a, digest))
		rc = image_add(l->a, r, digest, &p->config, p->has_manifest ? &p->manifest : NULL, err);
	for (size_t i = 0; rc == 0 && l->loaded == 0 && i < l->tags->count; i++)
		rc = give_name(l, l->tags->item[i], digest, err);
	if (rc == 0)
		l->loaded++;
	if (r)
		image_clear(&r->img);
	free(r);
	return rc;
}

/** load_docker_image() - One item of manifest.json. */
static int load_docker_image(struct load *l, const json_t *item, struct error *err)
{
	const json_t *layers = json_object_get(item, "Layers"), *tags = json_object_get(item, "RepoTags");
	const char *name = json_string_value(json_object_get(item, "Config"));
	struct parts p = { .layer_count = json_array_size(layers) };
	char digest[DIGEST_HEX + 1];
	json_t *config;
	int rc;

	if (!name || p.layer_count > IMAGE_LAYERS_MAX)
		return err_set(err, ERR_INVALID, 0, "manifest.json: no Config, or more than %d layers",
			       IMAGE_LAYERS_MAX);
	for (size_t k = 0; k < p.layer_count; k++)
		p.blobs[k] = json_string_value(json_array_get(layers, k)) ?: "";
	config = get_json(l, name, &p.config, err);
	rc = config ? 0 : -(int)err->code;
	digest_hex(p.config.data, p.config.len, digest);
	/* The name of the config is its digest: the one check this format offers for it. */
	if (rc == 0 && strspn(name, "0123456789abcdef") == DIGEST_HEX && strncmp(name, digest, DIGEST_HEX) != 0)
		rc = err_set(err, ERR_INVALID, 0,
			     "the image config is sha256:%.12s..., expected sha256:%.12s...: the archive is damaged",
			     digest, name);
	if (rc == 0)
		rc = add_parts(l, &p, config, digest, err);
	for (size_t k = 0; rc == 0 && k < json_array_size(tags); k++) {
		const char *tag = json_string_value(json_array_get(tags, k));

		if (tag && strcmp(tag, "<none>:<none>") != 0)
			rc = give_name(l, tag, digest, err);
	}
	json_decref(config);
	buf_free(&p.config);
	return rc;
}

/** load_docker() - manifest.json of docker save. */
static int load_docker(struct load *l, struct error *err)
{
	struct buf raw = BUF_INIT(BUNDLE_JSON_MAX);
	json_t *list = get_json(l, "manifest.json", &raw, err), *item;
	size_t i;
	int rc = list ? 0 : -(int)err->code;

	json_array_foreach(list, i, item)
	{
		rc = load_docker_image(l, item, err);
		if (rc < 0)
			break;
	}
	json_decref(list);
	buf_free(&raw);
	return rc;
}

/** verified_json() - A JSON blob whose digest is in its name. @raw: the caller frees it */
static json_t *verified_json(struct load *l, const char *hex, struct buf *raw, struct error *err)
{
	char path[96], digest[DIGEST_HEX + 1];
	json_t *j;

	snprintf(path, sizeof(path), "blobs/sha256/%s", hex);
	j = get_json(l, path, raw, err);
	digest_hex(raw->data, raw->len, digest);
	if (j && strcmp(digest, hex) != 0) {
		err_set(err, ERR_INVALID, 0, "%.30s... is sha256:%.12s...: the archive is damaged", path, digest);
		json_decref(j);
		j = NULL;
	}
	return j;
}

/** load_manifest() - An OCI image manifest, raw and parsed. */
static int load_manifest(struct load *l, const json_t *manifest, const struct buf *raw, const char *hex,
			 const char *ref, struct error *err)
{
	const json_t *layers = json_object_get(manifest, "layers");
	struct parts p = { .manifest = *raw, .has_manifest = true, .layer_count = json_array_size(layers) };
	char(*names)[96] = calloc(p.layer_count + 1, sizeof(*names));
	struct descriptor d;
	json_t *config = NULL;
	int rc = names && p.layer_count <= IMAGE_LAYERS_MAX
			 ? 0
			 : err_set(err, ERR_LIMIT, 0, "more than %d layers", IMAGE_LAYERS_MAX);

	for (size_t i = 0; rc == 0 && i < p.layer_count; i++) {
		rc = descriptor_parse(json_array_get(layers, i), &d, err);
		snprintf(names[i], sizeof(names[i]), "blobs/sha256/%s", d.digest);
		p.blobs[i] = names[i];
		p.digests[i] = names[i] + 13;
	}
	if (rc == 0)
		rc = descriptor_parse(json_object_get(manifest, "config"), &d, err);
	if (rc == 0) {
		config = verified_json(l, d.digest, &p.config, err);
		rc = config ? add_parts(l, &p, config, hex, err) : -(int)err->code;
	}
	if (rc == 0 && ref)
		rc = give_name(l, ref, hex, err);
	json_decref(config);
	buf_free(&p.config);
	free(names);
	return rc;
}

static int load_index(struct load *l, const json_t *index, const char *outer_ref, int depth, struct error *err);

/** load_entry() - One descriptor of an index. */
static int load_entry(struct load *l, const json_t *item, const char *outer_ref, int depth, struct error *err)
{
	const json_t *notes = json_object_get(item, "annotations");
	const char *ref = json_string_value(json_object_get(notes, "org.opencontainers.image.ref.name")) ?: outer_ref;
	struct buf raw = { 0 };
	struct descriptor d;
	json_t *j;
	int rc;

	if (descriptor_parse(item, &d, err) < 0)
		return -(int)err->code;
	j = verified_json(l, d.digest, &raw, err);
	rc = j ? 0 : -(int)err->code;
	if (rc == 0 && json_object_get(j, "manifests"))
		rc = load_index(l, j, ref, depth + 1, err);
	else if (rc == 0)
		rc = load_manifest(l, j, &raw, d.digest, ref, err);
	json_decref(j);
	buf_free(&raw);
	return rc;
}

/** load_index() - An OCI index: manifests for this platform, nested ones included. */
static int load_index(struct load *l, const json_t *index, const char *outer_ref, int depth, struct error *err)
{
	const json_t *list = json_object_get(index, "manifests");
	json_t *item;
	size_t i;

	if (depth > INDEX_DEPTH_MAX)
		return err_set(err, ERR_LIMIT, 0, "indexes nested more than %d deep", INDEX_DEPTH_MAX);
	json_array_foreach(list, i, item)
	{
		if (++l->descriptors > DESCRIPTORS_MAX)
			return err_set(err, ERR_LIMIT, 0, "the indexes name more than %d manifests", DESCRIPTORS_MAX);
		/* The only one there is tells best itself what it is for. */
		if (!index_fits(item) && json_array_size(list) > 1)
			continue;
		if (load_entry(l, item, outer_ref, depth, err) < 0)
			return -(int)err->code;
	}
	return 0;
}

/** is_zero() - Nothing but zero bytes. */
static bool is_zero(const uint8_t *p, size_t n)
{
	return n && p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

/**
 * spool() - Standard input or a gzip file, as a plain unlinked temporary file. It ends where the tar ends, whatever
 * follows; long runs of zeroes become holes.
 */
static int spool(int fd, int cache, struct error *err)
{
	_cleanup_fd_ int out = openat(cache, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	gzFile gz = out < 0 ? NULL : gzdopen(dup(fd), "rb"); /* passes on what is not compressed */
	static uint8_t chunk[1 << 18];
	struct bundle_watch watch = { 0 };
	uint64_t total = 0;
	int n, rc = 0;

	if (!gz)
		return err_set(err, err_from_errno(errno), errno, "create a temporary file in MSB_HOME");
	while (rc == 0 && !watch.ended && (n = gzread(gz, chunk, sizeof(chunk))) > 0) {
		rc = bundle_feed(&watch, chunk, (size_t)n, ARCHIVE_BYTES_MAX, err);
		if (rc == 0 && is_zero(chunk, (size_t)n))
			lseek(out, n, SEEK_CUR);
		else if (rc == 0 && fd_write_full(out, chunk, (size_t)n) < 0)
			rc = err_set(err, err_from_errno(errno), errno, "store the archive");
		total += (uint64_t)n;
	}
	/* The writer of a pipe may still be at the padding: let it finish. */
	for (uint64_t rest = 0; rc == 0 && watch.ended && rest < PADDING_MAX; rest += (uint64_t)n) {
		n = gzread(gz, chunk, sizeof(chunk));
		if (n <= 0)
			break;
	}
	if (rc == 0 && !watch.ended) {
		int zerr = Z_OK, e = errno;

		gzerror(gz, &zerr);
		if (zerr == Z_ERRNO)
			rc = err_set(err, err_from_errno(e), e, "read the archive");
		else if (zerr != Z_OK)
			rc = err_set(err, ERR_INVALID, 0, "the archive's gzip data is %s",
				     zerr == Z_BUF_ERROR ? "truncated" : "damaged");
	}
	if (rc == 0 && ftruncate(out, (off_t)total) < 0)
		rc = err_set(err, err_from_errno(errno), errno, "store the archive");
	gzclose(gz);
	return rc < 0 ? rc : TAKE_FD(out);
}

int open_archive(const struct adder *a, const char *path, struct error *err)
{
	_cleanup_fd_ int fd = -1;
	static uint8_t chunk[1 << 18];
	struct stat st;
	ssize_t n;

	if (path) {
		fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
		if (fd < 0 || fstat(fd, &st) < 0)
			return err_set(err, err_from_errno(errno), errno, "open %s", path);
		if (!S_ISREG(st.st_mode)) {
			err_set(err, ERR_INVALID, 0, "%s is not a regular file", path);
			return err_hint(err, "give the archive's file, or pipe it in: msb load < FILE");
		}
		return TAKE_FD(fd);
	}
	fd = openat(a->cache, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	while (fd >= 0 && (n = fd_read_full(STDIN_FILENO, chunk, sizeof(chunk))) > 0)
		if (fd_write_full(fd, chunk, (size_t)n) < 0)
			return err_set(err, err_from_errno(errno), errno, "store the archive");
	if (fd < 0)
		return err_set(err, err_from_errno(errno), errno, "create a temporary file");
	return TAKE_FD(fd);
}

/** open_bundle() - The file; standard input, and what is compressed, as a plain temporary one: members are read by
 * their place. */
static int open_bundle(const struct adder *a, const char *path, struct error *err)
{
	_cleanup_fd_ int fd = path ? open_archive(a, path, err) : STDIN_FILENO;
	uint8_t magic[2] = { 0 };

	if (!path)
		return spool(TAKE_FD(fd), a->cache, err);
	if (fd >= 0 && fd_pread_full(fd, magic, 2, 0) == 2 && magic[0] == 0x1f && magic[1] == 0x8b)
		return spool(fd, a->cache, err);
	return TAKE_FD(fd);
}

int load_archive(struct adder *a, const char *path, const struct tags *tags, struct error *err)
{
	struct load l = { .a = a, .tags = tags };
	_cleanup_fd_ int fd = open_bundle(a, path, err);
	struct buf raw = { 0 };
	int rc;

	if (fd < 0)
		return path && err->code != ERR_NOT_FOUND && err->code != ERR_PERMISSION
			       ? err_wrap(err, "load %s", path)
			       : fd;
	rc = bundle_scan(fd, &l.bundle, err);
	if (rc == 0 && bundle_find(&l.bundle, "manifest.json")) {
		rc = load_docker(&l, err);
	} else if (rc == 0 && bundle_find(&l.bundle, "index.json")) {
		json_t *index = get_json(&l, "index.json", &raw, err);

		rc = index ? load_index(&l, index, NULL, 0, err) : -(int)err->code;
		json_decref(index);
	} else if (rc == 0) {
		err_set(err, ERR_INVALID, 0,
			"neither manifest.json (docker save) nor index.json (OCI) is in the archive");
		rc = err_hint(err, "the tar of a root file system is read by: msb image import FILE -t NAME:TAG");
	}
	if (rc == 0 && !l.loaded)
		rc = err_set(err, ERR_UNSUPPORTED, 0, "the archive has no image for linux/amd64");
	if (rc == 0 && !l.any_name) {
		err_set(err, ERR_INVALID, 0, "the image has no name in the archive");
		rc = err_hint(err, "give it one: msb load -t NAME:TAG");
	}
	bundle_free(&l.bundle);
	buf_free(&raw);
	return rc < 0 && path ? err_wrap(err, "load %s", path) : rc;
}
