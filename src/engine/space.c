/* SPDX-License-Identifier: Apache-2.0 */
/* Disk space below MSB_HOME: what there is, what can go. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "engine/engine.h"
#include "image/store.h"

#define DEPTH_MAX 8 /* of a sandbox's directory */

/** open_store() - And MSB_HOME itself. @home: set, the caller's */
static struct image_store *open_store(const struct engine_paths *paths, int *home, struct error *err)
{
	*home = open(paths->home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*home < 0) {
		err_set(err, err_from_errno(errno), errno, "open %s", paths->home);
		return NULL;
	}
	return image_store_open(*home, err);
}

/** remove_references() - Of every image. */
static int remove_references(struct image_store *store, uint64_t *removed, struct error *err)
{
	struct image **images = NULL;
	size_t count = 0;
	int rc = image_store_list(store, &images, &count, err);

	for (size_t i = 0; rc == 0 && i < count; i++) {
		rc = image_store_remove(store, images[i]->reference, err);
		*removed += rc == 0;
	}
	image_list_free(images, count);
	return rc;
}

/** remove_templates() - Empty disks; the next sandbox makes its own again. */
static void remove_templates(int home, uint64_t *bytes)
{
	int fd = openat(home, "cache/templates", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	struct stat st;

	while (dir && (e = readdir(dir)))
		if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
		    unlinkat(dirfd(dir), e->d_name, 0) == 0)
			*bytes += (uint64_t)st.st_blocks * 512;
	if (dir)
		closedir(dir);
}

int engine_prune(const struct engine_paths *paths, bool all, bool templates, struct prune_result *out,
		 struct error *err)
{
	_cleanup_fd_ int home = -1;
	struct image_store *store = open_store(paths, &home, err);
	struct collected c = { 0 };
	struct store_usage before = { 0 }, after = { 0 };
	int rc = store ? image_store_usage(store, &before, err) : -(int)err->code;

	*out = (struct prune_result){ 0 };
	if (rc == 0 && all)
		rc = remove_references(store, &out->references, err);
	if (rc == 0)
		rc = image_store_collect(store, COLLECT_PARTS, &c, err);
	if (rc == 0)
		rc = image_store_usage(store, &after, err);
	image_store_close(store);
	if (rc < 0)
		return rc;
	out->busy = c.busy;
	out->parts = c.parts;
	/* Removing the last reference of an image collects too: what went is the difference. */
	out->layers = before.layers + before.unused_layers - after.layers - after.unused_layers;
	out->manifests = before.manifests - after.manifests;
	out->bytes = before.layer_bytes + before.unused_bytes + before.part_bytes + before.metadata_bytes -
		     after.layer_bytes - after.unused_bytes - after.part_bytes - after.metadata_bytes;
	if (templates)
		remove_templates(home, &out->bytes);
	return 0;
}

/** allocated() - Blocks of everything below a directory, without following links. */
static uint64_t allocated(int parent, const char *name, int depth, uint64_t *entries)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	uint64_t sum = 0;
	struct stat st;

	while (dir && (e = readdir(dir))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
		    fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		(*entries)++;
		sum += (uint64_t)st.st_blocks * 512;
		if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX) {
			uint64_t inner = 0;

			sum += allocated(dirfd(dir), e->d_name, depth + 1, &inner);
		}
	}
	if (dir)
		closedir(dir);
	return sum;
}

int engine_usage(const struct engine_paths *paths, struct usage_row rows[USAGE_ROWS_MAX], size_t *count,
		 struct error *err)
{
	_cleanup_fd_ int home = -1;
	struct image_store *store = open_store(paths, &home, err);
	uint64_t sandboxes = 0, templates = 0, sandbox_bytes, template_bytes;
	struct store_usage u = { 0 };
	int rc = store ? image_store_usage(store, &u, err) : -(int)err->code;

	image_store_close(store);
	if (rc < 0)
		return rc;
	sandbox_bytes = allocated(home, "sandboxes", 0, &sandboxes);
	template_bytes = allocated(home, "cache/templates", 0, &templates);
	*count = 0;
	rows[(*count)++] = (struct usage_row){ "images", u.images, u.layer_bytes + u.metadata_bytes, 0 };
	rows[(*count)++] = (struct usage_row){ "unused layers", u.unused_layers, u.unused_bytes, u.unused_bytes };
	rows[(*count)++] = (struct usage_row){ "partial downloads", u.parts, u.part_bytes, u.part_bytes };
	rows[(*count)++] = (struct usage_row){ "empty disks", templates, template_bytes, template_bytes };
	rows[(*count)++] = (struct usage_row){ "sandboxes", sandboxes, sandbox_bytes, 0 };
	return 0;
}
