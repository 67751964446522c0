/* SPDX-License-Identifier: Apache-2.0 */
/* Source: OCI image-spec, image-layout.md; Docker image specification v1.2, "Combined Image JSON + Filesystem Changeset
 * Format". */
#include "image/save.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "image/frame_file.h"
#include "image/layer_index.h"
#include "image/tar.h"

#define WRITTEN_MAX 8192 /* different blobs in one archive */
#define OUT_BYTES (256u << 10)

struct saver {
	struct adder *a;
	bool oci;
	int fd;
	uint8_t *out; /* OUT_BYTES */
	size_t out_len;
	char (*written)[DIGEST_HEX + 1]; /* blobs that are in the archive */
	size_t written_count;
	json_t *list; /* manifest.json, or the manifests of index.json */
	EVP_MD_CTX *sha; /* of the layer being written */
	uint64_t layer_bytes;
};

/** flush() - Buffered output. */
static int flush(struct saver *s, struct error *err)
{
	if (fd_write_full(s->fd, s->out, s->out_len) < 0) {
		int no = errno;

		err_set(err, err_from_errno(no), no, "write the archive");
		return err_hint(err, no == EPIPE ? "whoever read the archive went away" :
						   "free some space there, or choose another place with -o");
	}
	s->out_len = 0;
	return 0;
}

/** put() - Bytes of the archive. */
static int put(struct saver *s, const void *p, size_t n, struct error *err)
{
	const uint8_t *from = p;

	while (n) {
		size_t part = MIN(n, OUT_BYTES - s->out_len);

		memcpy(s->out + s->out_len, from, part);
		s->out_len += part;
		from += part;
		n -= part;
		if (s->out_len == OUT_BYTES && flush(s, err) < 0)
			return -(int)err->code;
	}
	return 0;
}

/** put_header() - Of a member, root's, of no time: a plain file, or a folder when its name ends with a slash. */
static int put_header(struct saver *s, const char *name, uint64_t size, struct error *err)
{
	bool folder = name[strlen(name) - 1] == '/';
	uint8_t h[TAR_BLOCK] = { 0 };
	unsigned int sum = 0;

	snprintf((char *)h, 100, "%s", name);
	snprintf((char *)h + 100, 8, "%07o", folder ? 0755 : 0644);
	snprintf((char *)h + 108, 8, "%07o", 0);
	snprintf((char *)h + 116, 8, "%07o", 0);
	if (size >> 33) { /* more than 11 octal digits hold */
		h[124] = 0x80;
		for (int i = 0; i < 8; i++)
			h[135 - i] = (uint8_t)(size >> (8 * i));
	} else {
		snprintf((char *)h + 124, 12, "%011llo", (unsigned long long)size);
	}
	snprintf((char *)h + 136, 12, "%011o", 0);
	memset(h + 148, ' ', 8);
	h[156] = folder ? '5' : '0';
	memcpy(h + 257, "ustar\00000", 8);
	for (size_t i = 0; i < sizeof(h); i++)
		sum += h[i];
	snprintf((char *)h + 148, 8, "%06o", sum);
	return put(s, h, sizeof(h), err);
}

/** put_padding() - To the next block. */
static int put_padding(struct saver *s, uint64_t size, struct error *err)
{
	static const uint8_t zeros[TAR_BLOCK];

	return put(s, zeros, -size % TAR_BLOCK, err);
}

/** put_member() - A small one, whole. */
static int put_member(struct saver *s, const char *name, const void *p, size_t n, struct error *err)
{
	if (put_header(s, name, n, err) < 0 || put(s, p, n, err) < 0)
		return -(int)err->code;
	return put_padding(s, n, err);
}

/** is_new() - The first time this blob is asked about. */
static bool is_new(struct saver *s, const char *hex)
{
	for (size_t i = 0; i < s->written_count; i++)
		if (strcmp(s->written[i], hex) == 0)
			return false;
	if (s->written_count < WRITTEN_MAX)
		snprintf(s->written[s->written_count++], DIGEST_HEX + 1, "%s", hex);
	return true;
}

/** put_tar() - frame_replay(): the layer's own tar. */
static int put_tar(void *arg, const uint8_t *p, size_t n, struct error *err)
{
	struct saver *s = arg;

	EVP_DigestUpdate(s->sha, p, n);
	s->layer_bytes += n;
	return put(s, p, n, err);
}

/** open_layer() - A file of a layer. */
static int open_layer(const struct saver *s, const char *diff_id, const char *kind, struct error *err)
{
	char name[DIGEST_HEX + 8];
	int fd;

	snprintf(name, sizeof(name), "%s.%s", diff_id, kind);
	fd = openat(s->a->layers, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	err_set(err, err_from_errno(errno), errno, "layer %.12s: open its %s", diff_id, kind);
	return err_hint(err, "pull or load the image again"); /* an early version stored it, without a .frame */
}

/** layer_size() - Of its tar. */
static int layer_size(const struct saver *s, const char *diff_id, uint64_t *size, struct error *err)
{
	_cleanup_fd_ int frame = open_layer(s, diff_id, "frame", err);

	return frame < 0 ? frame : frame_tar_size(frame, size, err);
}

/** put_layer() - A layer's tar as a member; it must come out as it went in. */
static int put_layer(struct saver *s, const char *diff_id, const char *name, struct error *err)
{
	_cleanup_fd_ int frame = open_layer(s, diff_id, "frame", err);
	_cleanup_fd_ int data = frame < 0 ? -1 : open_layer(s, diff_id, "data", err);
	struct buf index = BUF_INIT(INDEX_BYTES_MAX);
	uint8_t sum[EVP_MAX_MD_SIZE];
	char file[DIGEST_HEX + 8], hex[DIGEST_HEX + 1];
	uint64_t size = 0;
	int rc = data < 0 ? -(int)err->code : 0;

	snprintf(file, sizeof(file), "%s.index", diff_id);
	if (rc == 0)
		rc = file_read(s->a->layers, file, INDEX_BYTES_MAX, &index, err);
	if (rc == 0)
		rc = frame_tar_size(frame, &size, err);
	if (rc == 0)
		rc = put_header(s, name, size, err);
	EVP_DigestInit_ex(s->sha, EVP_sha256(), NULL);
	s->layer_bytes = 0;
	if (rc == 0)
		rc = frame_replay(frame, data, index.data, index.len, put_tar, s, err);
	buf_free(&index);
	if (rc < 0 && err->code != ERR_INVALID)
		return rc;
	EVP_DigestFinal_ex(s->sha, sum, NULL);
	digest_text(sum, hex);
	if (rc < 0 || s->layer_bytes != size || strcmp(hex, diff_id) != 0) {
		err_clear(err);
		err_set(err, ERR_INVALID, 0, "layer %.12s is damaged in the image cache", diff_id);
		return err_hint(err, "msb pull -f, or msb rmi and msb load, make it again");
	}
	return put_padding(s, size, err);
}

/** read_text() - A JSON text of the store. */
static int read_text(const struct saver *s, const char *digest, const char *kind, struct buf *out, struct error *err)
{
	char path[96];

	snprintf(path, sizeof(path), "manifests/%.64s.%s", digest, kind);
	if (file_read(s->a->cache, path, IMAGE_JSON_MAX, out, err) < 0) {
		err_hint(err, "pull or load the image again");
		return -(int)err->code;
	}
	return 0;
}

/** save_docker() - One image into manifest.json. */
static int save_docker(struct saver *s, const struct image *img, const char *tag, const struct buf *config,
		       struct error *err)
{
	json_t *layers = json_array(), *tags = json_array();
	char hex[DIGEST_HEX + 1], name[100];
	int rc = 0;

	digest_hex(config->data, config->len, hex);
	snprintf(name, sizeof(name), "%s.json", hex);
	if (is_new(s, hex))
		rc = put_member(s, name, config->data, config->len, err);
	for (uint32_t i = 0; rc == 0 && i < img->layer_count; i++) {
		char path[100];

		snprintf(path, sizeof(path), "%s/layer.tar", img->layers[i]);
		json_array_append_new(layers, json_string(path));
		if (is_new(s, img->layers[i]))
			rc = put_layer(s, img->layers[i], path, err);
	}
	json_array_append_new(tags, json_string(tag));
	json_array_append_new(s->list,
			      json_pack("{s:s, s:o, s:o}", "Config", name, "RepoTags", tags, "Layers", layers));
	return rc;
}

/** descriptor() - Of a blob. */
static json_t *descriptor(const char *type, const char *hex, uint64_t size)
{
	char digest[8 + DIGEST_HEX];

	snprintf(digest, sizeof(digest), "sha256:%.64s", hex);
	return json_pack("{s:s, s:s, s:I}", "mediaType", type, "digest", digest, "size", (json_int_t)size);
}

/** put_blob() - blobs/sha256/HEX of a text, once. @hex: set */
static int put_blob(struct saver *s, const void *p, size_t n, char hex[DIGEST_HEX + 1], struct error *err)
{
	char name[100];

	digest_hex(p, n, hex);
	snprintf(name, sizeof(name), "blobs/sha256/%s", hex);
	return is_new(s, hex) ? put_member(s, name, p, n, err) : 0;
}

/** save_oci() - One image into index.json; its layers are uncompressed, so the manifest is a new one. */
static int save_oci(struct saver *s, const struct image *img, const char *tag, const struct buf *config,
		    struct error *err)
{
	json_t *layers = json_array(), *manifest, *entry;
	char hex[DIGEST_HEX + 1];
	char *text = NULL;
	int rc = put_blob(s, config->data, config->len, hex, err);

	manifest = json_pack(
		"{s:i, s:s, s:o, s:o}", "schemaVersion", 2, "mediaType", "application/vnd.oci.image.manifest.v1+json",
		"config", descriptor("application/vnd.oci.image.config.v1+json", hex, config->len), "layers", layers);
	for (uint32_t i = 0; rc == 0 && i < img->layer_count; i++) {
		uint64_t size;
		char name[100];

		snprintf(name, sizeof(name), "blobs/sha256/%s", img->layers[i]);
		rc = layer_size(s, img->layers[i], &size, err);
		if (rc == 0)
			json_array_append_new(
				layers, descriptor("application/vnd.oci.image.layer.v1.tar", img->layers[i], size));
		if (rc == 0 && is_new(s, img->layers[i]))
			rc = put_layer(s, img->layers[i], name, err);
	}
	if (rc == 0) {
		text = json_dumps(manifest, JSON_COMPACT);
		rc = text ? put_blob(s, text, strlen(text), hex, err) : err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	}
	if (rc == 0) {
		entry = descriptor("application/vnd.oci.image.manifest.v1+json", hex, strlen(text));
		json_object_set_new(entry, "annotations", json_pack("{s:s}", "org.opencontainers.image.ref.name", tag));
		json_object_set_new(entry, "platform",
				    json_pack("{s:s, s:s}", "architecture", img->architecture, "os", img->os));
		json_array_append_new(s->list, entry);
	}
	free(text);
	json_decref(manifest);
	return rc;
}

/** save_end() - The member that names the images, and the end of the archive. */
static int save_end(struct saver *s, struct error *err)
{
	static const uint8_t zeros[2 * TAR_BLOCK];
	json_t *top = s->oci ? json_pack("{s:i, s:s, s:O}", "schemaVersion", 2, "mediaType",
					 "application/vnd.oci.image.index.v1+json", "manifests", s->list)
			     : json_incref(s->list);
	char *text = json_dumps(top, JSON_COMPACT);
	int rc = text ? 0 : err_set(err, ERR_NO_MEMORY, 0, "out of memory");

	if (rc == 0)
		rc = put_member(s, s->oci ? "index.json" : "manifest.json", text, strlen(text), err);
	if (rc == 0)
		rc = put(s, zeros, sizeof(zeros), err);
	free(text);
	json_decref(top);
	return rc < 0 ? rc : flush(s, err);
}

/** save_all() - Every image, then the end. */
static int save_all(struct saver *s, const char *const *references, size_t count, struct error *err)
{
	static const char layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";

	/* Folders by name: who unpacks it as an ordinary user could not give those it had to make up to root. */
	if (s->oci && (put_header(s, "blobs/", 0, err) < 0 || put_header(s, "blobs/sha256/", 0, err) < 0 ||
		       put_member(s, "oci-layout", layout, sizeof(layout) - 1, err) < 0))
		return -(int)err->code;
	for (size_t i = 0; i < count; i++) {
		struct buf config = BUF_INIT(IMAGE_JSON_MAX);
		struct image *img = NULL;
		int rc = image_store_find(s->a->store, references[i], &img, err);

		if (rc == 0)
			rc = read_text(s, img->digest + 7, "config", &config, err);
		if (rc == 0)
			rc = (s->oci ? save_oci : save_docker)(s, img, img->reference, &config, err);
		if (rc < 0)
			err_wrap(err, "save %s", references[i]);
		image_free(img);
		buf_free(&config);
		if (rc < 0)
			return rc;
	}
	return save_end(s, err);
}

/** A file that appears when it is whole. */
struct target {
	const char *path;
	struct buf tmp; /* the name it has before */
	bool named;	/* has it that name already? */
	bool direct;	/* a device or a pipe: written as it is */
};

/** target_open() - Without a name where the file system has that: then nothing is left of it, whatever happens. */
static int target_open(struct target *t, const char *path, struct error *err)
{
	const char *slash = strrchr(path, '/');
	struct buf dir = BUF_INIT(8192);
	struct stat st;
	int fd = -1;

	*t = (struct target){ .path = path, .tmp = BUF_INIT(8192) };
	t->direct = stat(path, &st) == 0 && !S_ISREG(st.st_mode);
	if (t->direct && S_ISDIR(st.st_mode)) {
		err_set(err, ERR_INVALID, EISDIR, "create %s", path);
		return err_hint(err, "-o wants the name of a file");
	}
	if (t->direct) {
		fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	} else if (buf_printf(&t->tmp, "%s.tmp%d", path, (int)getpid()) && buf_cstr(&t->tmp) &&
		   buf_printf(&dir, "%.*s.", slash ? (int)(slash - path + 1) : 0, path) && buf_cstr(&dir)) {
		fd = open((char *)dir.data, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
		if (fd < 0) {
			fd = open((char *)t->tmp.data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
			t->named = fd >= 0;
		}
	} else {
		errno = ENAMETOOLONG;
	}
	buf_free(&dir);
	return fd < 0 ? err_set(err, err_from_errno(errno), errno, "create %s", path) : fd;
}

/** target_name() - It is whole: durable, then under its name. */
static int target_name(struct target *t, int fd, struct error *err)
{
	char self[32];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (t->direct)
		return 0;
	if (fsync(fd) < 0 ||
	    (!t->named && linkat(AT_FDCWD, self, AT_FDCWD, (char *)t->tmp.data, AT_SYMLINK_FOLLOW) < 0))
		return err_set(err, err_from_errno(errno), errno, "write %s", t->path);
	t->named = true;
	if (rename((char *)t->tmp.data, t->path) < 0)
		return err_set(err, err_from_errno(errno), errno, "write %s", t->path);
	t->named = false;
	return 0;
}

/** target_close() - What is not whole goes. */
static void target_close(struct target *t, int *fd)
{
	if (t->named)
		unlink((char *)t->tmp.data);
	fd_close(fd);
	buf_free(&t->tmp);
}

/** save_to() - To a file, or to standard output. */
static int save_to(struct saver *s, const char *const *references, size_t count, const char *path, struct error *err)
{
	struct target t;
	int rc;

	s->fd = STDOUT_FILENO;
	if (!path)
		return save_all(s, references, count, err);
	s->fd = target_open(&t, path, err);
	rc = s->fd < 0 ? s->fd : save_all(s, references, count, err);
	if (rc == 0)
		rc = target_name(&t, s->fd, err);
	target_close(&t, &s->fd);
	return rc;
}

int save_images(struct adder *a, const char *const *references, size_t count, bool oci, const char *path,
		struct error *err)
{
	struct saver s = { .a = a, .oci = oci, .list = json_array(), .sha = EVP_MD_CTX_new() };
	int rc;

	s.out = malloc(OUT_BYTES);
	s.written = calloc(WRITTEN_MAX, sizeof(*s.written));
	rc = s.out && s.written && s.list && s.sha ? save_to(&s, references, count, path, err)
						   : err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	free(s.out);
	free(s.written);
	EVP_MD_CTX_free(s.sha);
	json_decref(s.list);
	return rc;
}
