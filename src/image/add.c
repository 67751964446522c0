/* SPDX-License-Identifier: Apache-2.0 */
#include "image/add.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "image/erofs.h"

#define META_BYTES_MAX (2ULL << 30)

int adder_open(struct adder *a, const char *home, struct error *err)
{
	a->home = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	a->cache = a->layers = a->lock = -1;
	if (a->home < 0)
		return err_set(err, err_from_errno(errno), errno, "open %s", home);
	a->store = image_store_open(a->home, err);
	if (!a->store)
		return -(int)err->code;
	a->cache = openat(a->home, "cache", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	a->layers = openat(a->home, "cache/layers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	a->lock = openat(a->cache, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (a->layers < 0 || a->lock < 0 || flock(a->lock, LOCK_SH) < 0)
		return err_set(err, err_from_errno(errno), errno, "open the image cache in %s", home);
	return 0;
}

void adder_close(struct adder *a, bool collect)
{
	fd_close(&a->lock);
	if (a->store && collect)
		image_store_collect(a->store, COLLECT_GARBAGE, NULL, NULL);
	image_store_close(TAKE_PTR(a->store));
	fd_close(&a->layers);
	fd_close(&a->cache);
	fd_close(&a->home);
}

bool layer_known(const struct adder *a, const char *diff_id, uint64_t *blocks)
{
	/* .data is renamed last. A .frame is missing in stores of early versions: such a layer is made again. */
	static const char *const parts[] = { "index", "frame", "data" };
	struct stat st = { 0 };
	char name[DIGEST_HEX + 8];

	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		snprintf(name, sizeof(name), "%s.%s", diff_id, parts[i]);
		if (fstatat(a->layers, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return false;
	}
	*blocks = (uint64_t)st.st_size / INDEX_BLOCK;
	return st.st_size % INDEX_BLOCK == 0;
}

bool image_known(const struct adder *a, const char *digest)
{
	struct image *img = NULL;
	char path[96];
	bool whole;

	if (image_store_record(a->store, digest, &img, NULL) < 0)
		return false;
	snprintf(path, sizeof(path), "manifests/%s.erofs", digest);
	whole = faccessat(a->cache, path, R_OK, 0) == 0;
	for (uint32_t i = 0; whole && i < img->layer_count; i++) {
		uint64_t blocks;

		whole = layer_known(a, img->layers[i], &blocks);
	}
	image_free(img);
	return whole;
}

int layer_lock(const struct adder *a, const char *diff_id, struct error *err)
{
	char name[DIGEST_HEX + 8];

	snprintf(name, sizeof(name), ".%s.part", diff_id);
	for (;;) {
		_cleanup_fd_ int fd = openat(a->layers, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		struct stat mine, there;

		if (fd < 0 || fstat(fd, &mine) < 0)
			return err_set(err, err_from_errno(errno), errno, "create a file in the image cache");
		while (flock(fd, LOCK_EX) < 0)
			if (errno != EINTR)
				return err_set(err, ERR_SYSTEM, errno, "lock a layer");
		/* Who held it may have removed the file: then this is nobody's lock any more. */
		if (fstatat(a->layers, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && there.st_ino == mine.st_ino &&
		    there.st_dev == mine.st_dev)
			return TAKE_FD(fd);
	}
}

int layer_part(const struct adder *a, const char *diff_id)
{
	char name[DIGEST_HEX + 8];

	snprintf(name, sizeof(name), ".%s.part", diff_id);
	return openat(a->layers, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
}

void layer_forget_part(const struct adder *a, const char *diff_id)
{
	char name[DIGEST_HEX + 8];
	_cleanup_fd_ int fd = -1;

	snprintf(name, sizeof(name), ".%s.part", diff_id);
	fd = openat(a->layers, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
		unlinkat(a->layers, name, 0);
}

void layer_unlock(const struct adder *a, const char *diff_id, int *fd, bool keep)
{
	char name[DIGEST_HEX + 8];

	snprintf(name, sizeof(name), ".%s.part", diff_id);
	if (!keep)
		unlinkat(a->layers, name, 0);
	fd_close(fd);
}

/** make_uuid() - The same for the same image, writer and machine. */
static void make_uuid(const char *digest, uint8_t uuid[16])
{
	char seed[128], hex[DIGEST_HEX + 1];

	snprintf(seed, sizeof(seed), "msb-erofs-%d:%s", EROFS_WRITER_VERSION, digest);
	digest_hex(seed, strlen(seed), hex);
	for (int i = 0; i < 16; i++) {
		static const char digits[] = "0123456789abcdef";

		uuid[i] = (uint8_t)((strchr(digits, hex[2 * i]) - digits) << 4 |
				    (strchr(digits, hex[2 * i + 1]) - digits));
	}
}

/** build_meta() - Merge the layers and write the EROFS metadata. */
static int build_meta(const struct adder *a, struct record *r, const char *digest, struct error *err)
{
	struct buf *index = calloc((size_t)r->img.layer_count + 1, sizeof(*index)), meta = BUF_INIT(META_BYTES_MAX);
	uint8_t uuid[16];
	char name[96];
	struct tree t;
	int rc = index && tree_init(&t) ? 0 : err_set(err, ERR_NO_MEMORY, 0, "out of memory");

	for (uint32_t i = 0; rc == 0 && i < r->img.layer_count; i++) {
		snprintf(name, sizeof(name), "%s.index", r->img.layers[i]);
		index[i].max = INDEX_BYTES_MAX;
		rc = file_read(a->layers, name, INDEX_BYTES_MAX, &index[i], err);
		if (rc == 0)
			rc = tree_add_layer(&t, i, index[i].data, index[i].len, err);
	}
	make_uuid(digest, uuid);
	if (rc == 0)
		rc = erofs_write(&t, r->layer_blocks, r->img.layer_count, uuid, &meta, err);
	r->meta_bytes = meta.len;
	snprintf(name, sizeof(name), "manifests/%s.erofs", digest);
	if (rc == 0)
		rc = file_write_atomic(a->cache, name, meta.data, meta.len, 0600, err);
	if (index)
		tree_free(&t);
	for (uint32_t i = 0; index && i < r->img.layer_count; i++)
		buf_free(&index[i]);
	free(index);
	buf_free(&meta);
	return rc;
}

/** put_text() - manifests/DIGEST.KIND */
static int put_text(const struct adder *a, const char *digest, const char *kind, const struct buf *b, struct error *err)
{
	char name[96];

	snprintf(name, sizeof(name), "manifests/%s.%s", digest, kind);
	return file_write_atomic(a->cache, name, b->data, b->len, 0600, err);
}

int image_add(const struct adder *a, struct record *r, const char *digest, const struct buf *config,
	      const struct buf *manifest, struct error *err)
{
	struct buf out = BUF_INIT(RECORD_BYTES_MAX);
	int rc = 0;

	r->img.size_bytes = 0;
	for (uint32_t i = 0; i < r->img.layer_count; i++) {
		if (!layer_known(a, r->img.layers[i], &r->layer_blocks[i]))
			return err_set(err, ERR_NOT_FOUND, 0, "layer %.12s vanished from the image cache",
				       r->img.layers[i]);
		r->img.size_bytes += r->layer_blocks[i] * INDEX_BLOCK;
	}
	rc = build_meta(a, r, digest, err);
	if (rc == 0)
		rc = put_text(a, digest, "config", config, err);
	if (rc == 0 && manifest)
		rc = put_text(a, digest, "manifest", manifest, err);
	if (rc == 0) {
		snprintf(r->img.digest, sizeof(r->img.digest), "sha256:%s", digest);
		if (!record_encode(&out, r))
			rc = err_set(err, ERR_LIMIT, 0, "the image's configuration is too large");
		else
			rc = put_text(a, digest, "image", &out, err);
	}
	buf_free(&out);
	return rc;
}

int image_name(const struct adder *a, const char *reference, const char *digest, const char *top, struct error *err)
{
	char name[REFERENCE_MAX], file[REF_FILE_MAX + 1], path[REF_FILE_MAX + 8], body[2 * (DIGEST_HEX + 2)];

	if (reference_normalise(reference, name, err) < 0 || ref_file(name, file, err) < 0)
		return -(int)err->code;
	snprintf(path, sizeof(path), "refs/%s", file);
	snprintf(body, sizeof(body), "%s\n%s%s", digest, top ? top : "", top ? "\n" : "");
	return file_write_atomic(a->cache, path, body, strlen(body), 0600, err);
}
