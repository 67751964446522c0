/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache/refs/REF          the manifest digest (64 hex) a reference stands for; second line: what the tag is in its
 * registry cache/manifests/D.image, .erofs, .config, .manifest   record, EROFS metadata and the JSON texts of a
 * manifest cache/layers/L.data, .index, .frame   contents and entries of a layer, and what gives its tar back; by
 * diff_id cache/layers/.L.part    a layer's lock while it is made, and the compressed bytes of a download that was
 * broken off
 *
 * sandboxes/NAME/image     the manifest digest a persistent sandbox was made from: as good as a reference
 *
 * Files appear by rename, so readers take no lock. Who adds holds cache/lock shared (image/add.h), who collects garbage
 * holds it alone.
 */
#include "image/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "image/record.h"

struct image_store *image_store_open(int home_fd, struct error *err)
{
	static const char *const folders[] = { "cache", "cache/refs", "cache/manifests", "cache/layers" };
	struct image_store *s = calloc(1, sizeof(*s));

	if (!s) {
		err_set(err, ERR_NO_MEMORY, 0, "out of memory");
		return NULL;
	}
	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		/* One that cannot be written may still be read. */
		if (mkdirat(home_fd, folders[i], 0700) < 0 && errno != EEXIST && errno != EROFS && errno != EACCES) {
			err_set(err, err_from_errno(errno), errno, "create %s in MSB_HOME", folders[i]);
			free(s);
			return NULL;
		}
	}
	s->cache = openat(home_fd, "cache", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	s->home = fcntl(home_fd, F_DUPFD_CLOEXEC, 3);
	if (s->cache < 0 || s->home < 0) {
		err_set(err, err_from_errno(errno), errno, "open cache in MSB_HOME");
		fd_close(&s->cache);
		free(s);
		return NULL;
	}
	return s;
}

void image_store_close(struct image_store *s)
{
	if (!s)
		return;
	close(s->cache);
	close(s->home);
	free(s);
}

/** load_record() - The record of a manifest. */
static int load_record(struct image_store *s, const char *digest, struct record *out, struct error *err)
{
	struct buf b = BUF_INIT(RECORD_BYTES_MAX);
	char path[128];
	int rc;

	snprintf(path, sizeof(path), "manifests/%.64s.image", digest);
	rc = file_read(s->cache, path, RECORD_BYTES_MAX, &b, err);
	if (rc == 0)
		rc = record_decode(b.data, b.len, out, err);
	buf_free(&b);
	return rc;
}

/** is_digest_line() - 64 hex digits and a line end. */
static bool is_digest_line(const char *p)
{
	return strspn(p, "0123456789abcdef") == DIGEST_HEX && p[DIGEST_HEX] == '\n';
}

/** read_ref() - Digests behind a reference file. @top: NULL when not wanted */
static int read_ref(struct image_store *s, const char *file, char digest[DIGEST_HEX + 1], char *top, struct error *err)
{
	struct buf b = BUF_INIT(256);
	char path[REF_FILE_MAX + 8], *text;
	int rc;

	snprintf(path, sizeof(path), "refs/%s", file);
	rc = file_read(s->cache, path, 200, &b, err);
	text = rc == 0 ? buf_cstr(&b) : NULL;
	if (rc == 0 && (!text || !is_digest_line(text)))
		rc = err_set(err, ERR_INVALID, 0, "%s is damaged", path);
	if (rc == 0) {
		snprintf(digest, DIGEST_HEX + 1, "%.64s", text);
		text += DIGEST_HEX + 1;
		if (top)
			snprintf(top, DIGEST_HEX + 1, "%.*s", is_digest_line(text) ? DIGEST_HEX : 0, text);
	}
	buf_free(&b);
	return rc;
}

int image_store_find(struct image_store *s, const char *reference, struct image **out, struct error *err)
{
	_cleanup_(freep) struct record *r = calloc(1, sizeof(*r));
	_cleanup_(freep) struct image *img = calloc(1, sizeof(*img));
	char name[REFERENCE_MAX], file[REF_FILE_MAX + 1], digest[DIGEST_HEX + 1];

	if (!r || !img)
		return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	if (reference_normalise(reference, name, err) < 0 || ref_file(name, file, err) < 0)
		return -(int)err->code;
	if (read_ref(s, file, digest, NULL, err) < 0) {
		if (err->code == ERR_NOT_FOUND) {
			err_set(err, ERR_NOT_FOUND, 0, "image %s is not here", name);
			err_hint(err, "msb pull fetches it, msb load -i ARCHIVE reads it from a file; msb images lists "
				      "what is here");
		}
		return -(int)err->code;
	}
	if (load_record(s, digest, r, err) < 0)
		return err_wrap(err, "image %s", name);
	*img = r->img;
	snprintf(img->reference, sizeof(img->reference), "%s", name);
	*out = TAKE_PTR(img);
	return 0;
}

int image_store_ref(struct image_store *s, const char *reference, char digest[DIGEST_HEX + 1], char top[DIGEST_HEX + 1],
		    struct error *err)
{
	char file[REF_FILE_MAX + 1];

	return ref_file(reference, file, err) < 0 ? -(int)err->code : read_ref(s, file, digest, top, err);
}

int image_store_record(struct image_store *s, const char *digest, struct image **out, struct error *err)
{
	_cleanup_(freep) struct record *r = calloc(1, sizeof(*r));
	int rc = r ? load_record(s, digest, r, err) : -(int)ERR_NO_MEMORY;

	if (rc < 0)
		return rc;
	*out = malloc(sizeof(**out));
	if (!*out) {
		image_clear(&r->img);
		return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	}
	**out = r->img;
	return 0;
}

void image_free(struct image *img)
{
	if (!img)
		return;
	image_clear(img);
	free(img);
}

/** compare_images() - By reference. */
static int compare_images(const void *a, const void *b)
{
	return strcmp((*(struct image *const *)a)->reference, (*(struct image *const *)b)->reference);
}

/** open_folder() - A directory stream of cache/NAME. */
static DIR *open_folder(struct image_store *s, const char *name)
{
	int fd = openat(s->cache, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? NULL : fdopendir(fd);
}

void image_list_free(struct image **images, size_t count)
{
	for (size_t i = 0; i < count; i++)
		image_free(images[i]);
	free(images);
}

int image_store_list(struct image_store *s, struct image ***out, size_t *count, struct error *err)
{
	_cleanup_(freep) struct record *r = calloc(1, sizeof(*r));
	struct error why = ERROR_INIT;
	struct image **list = NULL;
	DIR *dir = open_folder(s, "refs");
	struct dirent *e;

	*count = 0;
	if (!dir || !r) {
		int sys_errno = r ? errno : ENOMEM;

		if (dir)
			closedir(dir);
		return err_set(err, err_from_errno(sys_errno), sys_errno, "read cache/refs in MSB_HOME");
	}
	while ((e = readdir(dir))) {
		char name[REFERENCE_MAX], digest[DIGEST_HEX + 1];
		struct image **grown, *img;

		if (!ref_name(e->d_name, name))
			continue;
		if (read_ref(s, e->d_name, digest, NULL, &why) < 0 || load_record(s, digest, r, &why) < 0) {
			bool gone = why.code == ERR_NOT_FOUND || why.code == ERR_INVALID;

			/* One that is gone or damaged does not hide the others; one that cannot be read is needed. */
			if (gone) {
				err_clear(&why);
				continue;
			}
			image_list_free(list, *count);
			*count = 0;
			closedir(dir);
			return err_set(err, why.code, 0, "image %s: %s", name, why.text);
		}
		grown = realloc(list, (*count + 1) * sizeof(struct image *));
		img = grown ? malloc(sizeof(*img)) : NULL;
		if (grown)
			list = grown;
		if (!img) {
			/* Never a partial list: image_store_collect() would take the rest for unneeded. */
			image_clear(&r->img);
			image_list_free(list, *count);
			*count = 0;
			closedir(dir);
			return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
		}
		*img = r->img;
		snprintf(img->reference, sizeof(img->reference), "%s", name);
		list[(*count)++] = img;
	}
	closedir(dir);
	if (*count)
		qsort(list, *count, sizeof(struct image *), compare_images);
	*out = list;
	return 0;
}

int image_store_remove(struct image_store *s, const char *reference, struct error *err)
{
	char name[REFERENCE_MAX], file[REF_FILE_MAX + 1], path[REF_FILE_MAX + 8];

	if (reference_normalise(reference, name, err) < 0 || ref_file(name, file, err) < 0)
		return -(int)err->code;
	snprintf(path, sizeof(path), "refs/%s", file);
	if (unlinkat(s->cache, path, 0) < 0) {
		if (errno != ENOENT)
			return err_set(err, err_from_errno(errno), errno, "remove image %s", name);
		err_set(err, ERR_NOT_FOUND, 0, "image %s is not here", name);
		return err_hint(err, "msb images lists what is here");
	}
	return image_store_collect(s, COLLECT_GARBAGE, NULL, err);
}

int image_store_open_root(struct image_store *s, const struct image *img, struct disk_extent *extents, size_t *count,
			  struct error *err)
{
	_cleanup_(freep) struct record *r = calloc(1, sizeof(*r));
	char path[128];
	int rc;

	*count = 0;
	if (!r)
		return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	rc = load_record(s, img->digest + 7, r, err);
	for (uint32_t i = 0; rc == 0 && i <= r->img.layer_count; i++) {
		struct disk_extent *e = &extents[*count];

		e->length = i == 0 ? r->meta_bytes : r->layer_blocks[i - 1] * 4096;
		e->fd_offset = 0;
		if (e->length == 0)
			continue;
		if (i == 0)
			snprintf(path, sizeof(path), "manifests/%.64s.erofs", img->digest + 7);
		else
			snprintf(path, sizeof(path), "layers/%.64s.data", r->img.layers[i - 1]);
		e->fd = openat(s->cache, path, O_RDONLY | O_CLOEXEC);
		if (e->fd < 0)
			rc = err_set(err, err_from_errno(errno), errno, "open cache/%s", path);
		else
			(*count)++;
	}
	while (rc < 0 && *count)
		fd_close(&extents[--*count].fd);
	image_clear(&r->img);
	return rc;
}
