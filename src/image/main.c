/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb-image: the program that reads what strangers made (archives, manifests, layers), so that msb itself never does.
 *
 *   msb-image load [--quiet] [--tag REF]... MSB_HOME [FILE]
 *
 * Prints "Loaded REF" per reference on standard output; on failure one "error: " line and exit status 1.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "base/fd.h"
#include "confine/confine.h"
#include "image/bundle.h"
#include "image/erofs.h"
#include "image/record.h"
#include "image/unpack.h"

#define TAGS_MAX 64
#define INDEX_DEPTH_MAX 32
#define DESCRIPTORS_MAX 4096 /* indexes that name each other twice at each of 32 levels would never end */
#define ARCHIVE_BYTES_MAX (64ULL << 30) /* of standard input, or unpacked */
#define PADDING_MAX (1u << 20) /* behind the end of an archive */
#define META_BYTES_MAX (2ULL << 30)

struct load {
	bool quiet;
	const char *tags[TAGS_MAX];
	size_t tag_count;
	int cache, layers;
	struct bundle bundle;
	struct image_store *store;
	size_t loaded;
	size_t descriptors; /* followed so far */
	bool any_name;
};

/** json_get() - Parse a member of the archive. */
static json_t *json_get(struct load *l, const char *name, struct buf *raw, struct error *err)
{
	json_error_t je;
	json_t *j;

	if (bundle_read(&l->bundle, name, raw, err) < 0)
		return NULL;
	j = json_loadb((const char *)raw->data, raw->len, JSON_REJECT_DUPLICATES, &je);
	if (!j)
		err_set(err, ERR_INVALID, 0, "%s: line %d: %s", name, je.line, je.text);
	return j;
}

/** get_list() - A JSON array of strings. */
static int get_list(const json_t *j, struct image_strings *out, const char *what, struct error *err)
{
	size_t n = json_array_size(j);

	if (n > IMAGE_STRINGS_MAX)
		return err_set(err, ERR_LIMIT, 0, "image config: more than %d entries in %s", IMAGE_STRINGS_MAX, what);
	out->item = calloc(n + 1, sizeof(char *));
	for (size_t i = 0; i < n; i++) {
		const char *s = json_string_value(json_array_get(j, i));

		if (!s)
			return err_set(err, ERR_INVALID, 0, "image config: %s holds something that is no string", what);
		out->item[out->count++] = strdup(s);
	}
	return 0;
}

/** get_labels() - {"a": "b"} as "a=b". */
static void get_labels(json_t *j, struct image_strings *out)
{
	const char *key;
	json_t *value;

	out->item = calloc(MIN(json_object_size(j), IMAGE_STRINGS_MAX) + 1, sizeof(char *));
	json_object_foreach(j, key, value) {
		struct buf b = BUF_INIT(65536);

		if (out->count == IMAGE_STRINGS_MAX || !json_is_string(value))
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

/** parse_config() - What running the image needs. */
static int parse_config(const json_t *j, struct record *r, struct error *err)
{
	const json_t *c = json_object_get(j, "config"),
		     *ids = json_object_get(json_object_get(j, "rootfs"), "diff_ids");
	const char *created = json_string_value(json_object_get(j, "created"));
	struct image *m = &r->img;
	struct tm tm = { 0 };

	snprintf(m->os, sizeof(m->os), "%s", json_string_value(json_object_get(j, "os")) ?: "linux");
	snprintf(m->architecture, sizeof(m->architecture), "%s",
		 json_string_value(json_object_get(j, "architecture")) ?: "amd64");
	if (strcmp(m->os, "linux") != 0 || strcmp(m->architecture, "amd64") != 0)
		return err_set(err, ERR_UNSUPPORTED, 0, "the image is for %s/%s, this machine runs linux/amd64", m->os,
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
	m->layer_count = (uint32_t)json_array_size(ids);
	if (json_array_size(ids) > IMAGE_LAYERS_MAX)
		return err_set(err, ERR_LIMIT, 0, "the image has %zu layers (limit %d)", json_array_size(ids),
			       IMAGE_LAYERS_MAX);
	m->layers = calloc((size_t)m->layer_count + 1, sizeof(*m->layers));
	for (uint32_t i = 0; i < m->layer_count; i++) {
		const char *id = json_string_value(json_array_get(ids, i));

		if (!id || strncmp(id, "sha256:", 7) != 0 || strspn(id + 7, "0123456789abcdef") != DIGEST_HEX ||
		    id[7 + DIGEST_HEX])
			return err_set(err, ERR_INVALID, 0, "image config: bad diff_id");
		snprintf(m->layers[i], sizeof(m->layers[i]), "%s", id + 7);
	}
	return 0;
}

/** layer_known() - Is the layer in the store already? */
static bool layer_known(struct load *l, const char *diff_id, uint64_t *blocks, uint64_t *bytes)
{
	char name[96];
	struct stat st;

	snprintf(name, sizeof(name), "%s.index", diff_id);
	if (fstatat(l->layers, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	snprintf(name, sizeof(name), "%s.data", diff_id);
	if (fstatat(l->layers, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_size % 4096)
		return false;
	*blocks = (uint64_t)st.st_size / 4096;
	*bytes = (uint64_t)st.st_size;
	return true;
}

/** build_meta() - Merge the layers and write the EROFS metadata. */
static int build_meta(struct load *l, struct record *r, const char *digest, struct error *err)
{
	struct buf *index = calloc((size_t)r->img.layer_count + 1, sizeof(*index)), meta = BUF_INIT(META_BYTES_MAX);
	char name[96], seed[256], hex[DIGEST_HEX + 1];
	uint8_t uuid[16];
	struct tree t;
	int rc = index && tree_init(&t) ? 0 : err_set(err, ERR_NO_MEMORY, 0, "out of memory");

	for (uint32_t i = 0; rc == 0 && i < r->img.layer_count; i++) {
		snprintf(name, sizeof(name), "%s.index", r->img.layers[i]);
		index[i].max = INDEX_BYTES_MAX;
		rc = file_read(l->layers, name, INDEX_BYTES_MAX, &index[i], err);
		if (rc == 0)
			rc = tree_add_layer(&t, i, index[i].data, index[i].len, err);
	}
	snprintf(seed, sizeof(seed), "msb-erofs-%d:%s", EROFS_WRITER_VERSION, digest);
	digest_hex(seed, strlen(seed), hex);
	for (int i = 0; i < 16; i++) {
		static const char digits[] = "0123456789abcdef";

		uuid[i] = (uint8_t)((strchr(digits, hex[2 * i]) - digits) << 4 |
				    (strchr(digits, hex[2 * i + 1]) - digits));
	}
	if (rc == 0)
		rc = erofs_write(&t, r->layer_blocks, r->img.layer_count, uuid, &meta, err);
	r->meta_bytes = meta.len;
	snprintf(name, sizeof(name), "manifests/%s.erofs", digest);
	if (rc == 0)
		rc = file_write_atomic(l->cache, name, meta.data, meta.len, 0600, err);
	if (index)
		tree_free(&t);
	for (uint32_t i = 0; index && i < r->img.layer_count; i++)
		buf_free(&index[i]);
	free(index);
	buf_free(&meta);
	return rc;
}

/** name_image() - A reference for a stored image. */
static int name_image(struct load *l, const char *ref, const char *digest, struct error *err)
{
	char name[REFERENCE_MAX], file[REF_FILE_MAX + 1], path[REF_FILE_MAX + 8], body[DIGEST_HEX + 2];

	if (reference_normalise(ref, name, err) < 0 || ref_file(name, file, err) < 0)
		return -(int)err->code;
	snprintf(path, sizeof(path), "refs/%s", file);
	snprintf(body, sizeof(body), "%s\n", digest);
	if (file_write_atomic(l->cache, path, body, strlen(body), 0600, err) < 0)
		return -(int)err->code;
	if (!l->quiet)
		printf("Loaded %s\n", name);
	fflush(stdout);
	l->any_name = true;
	return 0;
}

/**
 * store_image() - Unpack the missing layers, write metadata and record.
 * @blobs: member names, lowest layer first; @digests: hex of each blob or NULL entries
 */
static int store_image(struct load *l, json_t *config, const char *digest, const char *const *blobs,
		       const char *const *digests, size_t blob_count, struct error *err)
{
	struct record *r = calloc(1, sizeof(*r));
	struct buf out = BUF_INIT(RECORD_BYTES_MAX);
	char name[96];
	int rc = r ? parse_config(config, r, err) : err_set(err, ERR_NO_MEMORY, 0, "out of memory");

	if (rc == 0 && blob_count != r->img.layer_count)
		rc = err_set(err, ERR_INVALID, 0, "manifest names %zu layers, config %u", blob_count,
			     r->img.layer_count);
	for (uint32_t i = 0; rc == 0 && i < r->img.layer_count; i++) {
		const struct member *m = bundle_find(&l->bundle, blobs[i]);
		uint64_t bytes = 0;

		if (!layer_known(l, r->img.layers[i], &r->layer_blocks[i], &bytes)) {
			if (!m) {
				rc = err_set(err, ERR_INVALID, 0, "the archive has no %s (truncated?)", blobs[i]);
				break;
			}
			if (!l->quiet)
				fprintf(stderr, "layer %u of %u: %.12s, %llu KiB\n", i + 1, r->img.layer_count,
					r->img.layers[i], (unsigned long long)m->size / 1024);
			rc = layer_unpack(l->layers, l->bundle.fd, m, digests[i], r->img.layers[i], &r->layer_blocks[i],
					  &bytes, err);
		}
		r->img.size_bytes += bytes;
	}
	if (rc == 0)
		rc = build_meta(l, r, digest, err);
	if (rc == 0) {
		snprintf(r->img.digest, sizeof(r->img.digest), "sha256:%s", digest);
		snprintf(name, sizeof(name), "manifests/%s.image", digest);
		if (!record_encode(&out, r))
			rc = err_set(err, ERR_LIMIT, 0, "the image's configuration is too large");
		else
			rc = file_write_atomic(l->cache, name, out.data, out.len, 0600, err);
	}
	for (size_t i = 0; rc == 0 && l->loaded == 0 && i < l->tag_count; i++)
		rc = name_image(l, l->tags[i], digest, err);
	if (rc == 0)
		l->loaded++;
	buf_free(&out);
	if (r)
		image_clear(&r->img);
	free(r);
	return rc;
}

/** load_docker() - manifest.json of docker save. */
static int load_docker(struct load *l, struct error *err)
{
	struct buf raw = BUF_INIT(BUNDLE_JSON_MAX);
	json_t *list = json_get(l, "manifest.json", &raw, err), *item;
	size_t i;
	int rc = list ? 0 : -(int)err->code;

	json_array_foreach(list, i, item) {
		const json_t *layers = json_object_get(item, "Layers"), *tags = json_object_get(item, "RepoTags");
		const char *config_name = json_string_value(json_object_get(item, "Config"));
		const char *blobs[IMAGE_LAYERS_MAX], *digests[IMAGE_LAYERS_MAX] = { NULL };
		struct buf config_raw = BUF_INIT(BUNDLE_JSON_MAX);
		size_t n = json_array_size(layers);
		char digest[DIGEST_HEX + 1];
		json_t *config;

		if (!config_name || n > IMAGE_LAYERS_MAX) {
			rc = err_set(err, ERR_INVALID, 0, "manifest.json: no Config, or more than %d layers",
				     IMAGE_LAYERS_MAX);
			break;
		}
		for (size_t k = 0; k < n; k++)
			blobs[k] = json_string_value(json_array_get(layers, k)) ?: "";
		config = json_get(l, config_name, &config_raw, err);
		rc = config ? 0 : -(int)err->code;
		digest_hex(config_raw.data, config_raw.len, digest);
		/* The name of the config is its digest: the one check this format offers for it. */
		if (rc == 0 && strspn(config_name, "0123456789abcdef") == DIGEST_HEX &&
		    strncmp(config_name, digest, DIGEST_HEX) != 0)
			rc = err_set(
				err, ERR_INVALID, 0,
				"the image config is sha256:%.12s..., expected sha256:%.12s...: the archive is damaged",
				digest, config_name);
		if (rc == 0)
			rc = store_image(l, config, digest, blobs, digests, n, err);
		for (size_t k = 0; rc == 0 && k < json_array_size(tags); k++) {
			const char *tag = json_string_value(json_array_get(tags, k));

			if (tag && strcmp(tag, "<none>:<none>") != 0)
				rc = name_image(l, tag, digest, err);
		}
		json_decref(config);
		buf_free(&config_raw);
		if (rc < 0)
			break;
	}
	json_decref(list);
	buf_free(&raw);
	return rc;
}

/** blob_path() - blobs/sha256/HEX of a descriptor. */
static int blob_path(const json_t *descriptor, char out[96], struct error *err)
{
	const char *d = json_string_value(json_object_get(descriptor, "digest"));

	if (!d || strncmp(d, "sha256:", 7) != 0 || strspn(d + 7, "0123456789abcdef") != DIGEST_HEX || d[7 + DIGEST_HEX])
		return err_set(err, ERR_INVALID, 0, "a descriptor has no sha256 digest");
	snprintf(out, 96, "blobs/sha256/%s", d + 7);
	return 0;
}

/** verified_json() - A JSON blob whose digest is in its name. */
static json_t *verified_json(struct load *l, const char *path, struct error *err)
{
	struct buf raw = BUF_INIT(BUNDLE_JSON_MAX);
	char digest[DIGEST_HEX + 1];
	json_t *j = json_get(l, path, &raw, err);

	digest_hex(raw.data, raw.len, digest);
	if (j && strcmp(digest, path + 13) != 0) {
		err_set(err, ERR_INVALID, 0, "%.30s... is sha256:%.12s...: the archive is damaged", path, digest);
		json_decref(j);
		j = NULL;
	}
	buf_free(&raw);
	return j;
}

/** load_manifest() - An OCI image manifest. */
static int load_manifest(struct load *l, const json_t *manifest, const char *path, const char *ref, struct error *err)
{
	const json_t *layers = json_object_get(manifest, "layers");
	size_t n = json_array_size(layers);
	const char *blobs[IMAGE_LAYERS_MAX], *digests[IMAGE_LAYERS_MAX];
	char (*names)[96] = calloc(n + 1, sizeof(*names)), config_path[96];
	json_t *config = NULL;
	int rc = names && n <= IMAGE_LAYERS_MAX ? 0
						: err_set(err, ERR_LIMIT, 0, "more than %d layers", IMAGE_LAYERS_MAX);

	for (size_t i = 0; rc == 0 && i < n; i++) {
		rc = blob_path(json_array_get(layers, i), names[i], err);
		blobs[i] = names[i];
		digests[i] = names[i] + 13;
	}
	if (rc == 0)
		rc = blob_path(json_object_get(manifest, "config"), config_path, err);
	if (rc == 0) {
		config = verified_json(l, config_path, err);
		rc = config ? store_image(l, config, path + 13, blobs, digests, n, err) : -(int)err->code;
	}
	if (rc == 0 && ref)
		rc = name_image(l, ref, path + 13, err);
	json_decref(config);
	free(names);
	return rc;
}

/** load_index() - An OCI index: manifests for this platform, nested ones included. */
static int load_index(struct load *l, const json_t *index, const char *outer_ref, int depth, struct error *err)
{
	const json_t *list = json_object_get(index, "manifests");
	json_t *item;
	size_t i;
	int rc = depth > INDEX_DEPTH_MAX
			 ? err_set(err, ERR_LIMIT, 0, "indexes nested more than %d deep", INDEX_DEPTH_MAX)
			 : 0;

	json_array_foreach(list, i, item) {
		const json_t *platform = json_object_get(item, "platform");
		const char *arch = json_string_value(json_object_get(platform, "architecture"));
		const char *ref = json_string_value(
			json_object_get(json_object_get(item, "annotations"), "org.opencontainers.image.ref.name"));
		char path[96];
		json_t *j;

		if (rc < 0)
			break;
		if (++l->descriptors > DESCRIPTORS_MAX)
			return err_set(err, ERR_LIMIT, 0, "the indexes name more than %d manifests", DESCRIPTORS_MAX);
		if (arch && strcmp(arch, "amd64") != 0 && json_array_size(list) > 1)
			continue;
		if (!ref)
			ref = outer_ref;
		rc = blob_path(item, path, err);
		if (rc < 0)
			break;
		j = verified_json(l, path, err);
		if (!j)
			return -(int)err->code;
		if (json_object_get(j, "manifests"))
			rc = load_index(l, j, ref, depth + 1, err);
		else
			rc = load_manifest(l, j, path, ref, err);
		json_decref(j);
	}
	return rc;
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

/** open_archive() - The file; standard input, and what is compressed, as a temporary one. */
static int open_archive(const char *path, int cache, struct error *err)
{
	_cleanup_fd_ int fd = -1;
	uint8_t magic[2] = { 0 };
	struct stat st;
	int rc;

	if (!path)
		return spool(STDIN_FILENO, cache, err);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, err_from_errno(errno), errno, "open %s", path);
	if (!S_ISREG(st.st_mode)) {
		err_set(err, ERR_INVALID, 0, "%s is not a regular file", path);
		return err_hint(err, "give the archive's file, or pipe it in: msb load < FILE");
	}
	if (fd_pread_full(fd, magic, 2, 0) == 2 && magic[0] == 0x1f && magic[1] == 0x8b) {
		rc = spool(fd, cache, err);
		return rc < 0 ? err_wrap(err, "load %s", path) : rc;
	}
	return TAKE_FD(fd);
}

/** clean_stale() - Half-written files of a killed load. The lock is held. */
static void clean_stale(int layers)
{
	DIR *dir = fdopendir(openat(layers, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *e;

	while (dir && (e = readdir(dir)))
		if (strstr(e->d_name, ".tmp"))
			unlinkat(layers, e->d_name, 0);
	if (dir)
		closedir(dir);
}

/** run_load() - The whole command. */
static int run_load(struct load *l, const char *home, const char *path, struct error *err)
{
	_cleanup_fd_ int home_fd = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_fd_ int lock = -1;
	struct buf raw = BUF_INIT(BUNDLE_JSON_MAX);
	int rc, fd;

	if (home_fd < 0)
		return err_set(err, err_from_errno(errno), errno, "open %s", home);
	l->store = image_store_open(home_fd, err);
	if (!l->store)
		return -(int)err->code;
	l->cache = openat(home_fd, "cache", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	l->layers = openat(home_fd, "cache/layers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = open_archive(path, l->cache, err);
	if (fd < 0)
		return fd;
	lock = openat(l->cache, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock < 0 || flock(lock, LOCK_EX) < 0)
		return err_set(err, ERR_SYSTEM, errno, "lock the image cache");
	clean_stale(l->layers);
	rc = bundle_scan(fd, &l->bundle, err);
	if (rc == 0 && bundle_find(&l->bundle, "manifest.json")) {
		rc = load_docker(l, err);
	} else if (rc == 0 && bundle_find(&l->bundle, "index.json")) {
		json_t *index = json_get(l, "index.json", &raw, err);

		rc = index ? load_index(l, index, NULL, 0, err) : -(int)err->code;
		json_decref(index);
	} else if (rc == 0) {
		rc = err_set(err, ERR_INVALID, 0,
			     "neither manifest.json (docker save) nor index.json (OCI) is in the archive");
	}
	if (rc == 0 && !l->loaded)
		rc = err_set(err, ERR_UNSUPPORTED, 0, "the archive has no image for linux/amd64");
	if (rc == 0 && !l->any_name) {
		err_set(err, ERR_INVALID, 0, "the image has no name in the archive");
		rc = err_hint(err, "give it one: msb load -t NAME:TAG");
	}
	/* Of an image that could not be loaded whole, nothing stays. */
	if (rc < 0)
		image_store_collect(l->store, NULL);
	return rc < 0 && path ? err_wrap(err, "load %s", path) : rc;
}

/** hint_of() - What to do about a failure: what its place knew, what its errno says, or what its class suggests. */
static const char *hint_of(const struct error *err)
{
	const char *advice = err->hint[0] ? err->hint : err_advice(err);

	if (advice)
		return advice;
	switch ((int)err->code) {
	case ERR_INVALID:
		return "make or copy the archive again, with docker save, skopeo, buildah or umoci";
	case ERR_LIMIT:
		return "images beyond this limit are not loaded: make the image smaller";
	case ERR_UNSUPPORTED:
		return "save the image for linux/amd64";
	default:
		return "msb doctor says what this host lacks";
	}
}

int main(int argc, char **argv)
{
	static struct load l;
	struct rlimit cpu = { 3600, 3600 }, core = { 0, 0 };
	struct error err = ERROR_INIT;
	int i = 2;

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	sigaction(SIGXFSZ, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL); /* a write says EFBIG then */
	setrlimit(RLIMIT_CPU, &cpu);
	setrlimit(RLIMIT_CORE, &core);
	if (confine_deny_dangerous(CONFINE_DENY_FORK, &err) < 0) {
		fprintf(stderr, "error: %s\n", err.text);
		return 1;
	}
	for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
		if (strcmp(argv[i], "--quiet") == 0)
			l.quiet = true;
		else if (strcmp(argv[i], "--tag") == 0 && i + 1 < argc && l.tag_count < TAGS_MAX)
			l.tags[l.tag_count++] = argv[++i];
		else
			break;
	}
	if (argc < 3 || strcmp(argv[1], "load") != 0 || i >= argc || argc - i > 2) {
		fprintf(stderr, "usage: msb-image load [--quiet] [--tag REF]... MSB_HOME [FILE]\n");
		return 2;
	}
	if (run_load(&l, argv[i], i + 1 < argc ? argv[i + 1] : NULL, &err) < 0) {
		fprintf(stderr, "error: %s\n  → %s\n", err.text, hint_of(&err));
		return 1;
	}
	return 0;
}
