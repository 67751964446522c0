/* SPDX-License-Identifier: Apache-2.0 */
/* What the store holds and needs: garbage collection and disk usage. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "image/record.h"

enum use { USED, UNUSED, HALF_WRITTEN, PART };

/** use_of() - What a file of manifests/, layers/ or refs/ is to the images there are. */
static enum use use_of(const char *folder, const char *file, struct image *const *images, size_t count)
{
	size_t n = strlen(file);

	if (strstr(file, ".tmp"))
		return HALF_WRITTEN;
	if (file[0] == '.')
		return n > 5 && strcmp(file + n - 5, ".part") == 0 ? PART : USED;
	if (strcmp(folder, "refs") == 0)
		return USED;
	for (size_t i = 0; i < count; i++) {
		if (strncmp(file, images[i]->digest + 7, DIGEST_HEX) == 0)
			return USED;
		for (uint32_t j = 0; j < images[i]->layer_count; j++)
			if (strncmp(file, images[i]->layers[j], DIGEST_HEX) == 0)
				return USED;
	}
	return UNUSED;
}

/** visit() - Every file of cache/FOLDER. */
static void visit(struct image_store *s, const char *folder, struct image *const *images, size_t count,
		  void (*fn)(void *arg, int dir, const char *folder, const char *file, enum use use,
			     const struct stat *st),
		  void *arg)
{
	int fd = openat(s->cache, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	struct stat st;

	while (dir && (e = readdir(dir)))
		if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode))
			fn(arg, dirfd(dir), folder, e->d_name, use_of(folder, e->d_name, images, count), &st);
	if (dir)
		closedir(dir);
}

/** ends_with() - The kind of a store file. */
static bool ends_with(const char *file, const char *end)
{
	size_t n = strlen(file), m = strlen(end);

	return n >= m && strcmp(file + n - m, end) == 0;
}

/** each_pin() - The digest (hex) that each persistent sandbox was made from. Return: false when fn said stop. */
static bool each_pin(struct image_store *s, bool (*fn)(void *arg, const char *name, const char *digest), void *arg)
{
	int fd = openat(s->home, "sandboxes", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	bool go_on = true;
	struct dirent *e;

	while (dir && go_on && (e = readdir(dir))) {
		struct buf b = BUF_INIT(256);
		char path[NAME_MAX + 16], *text = NULL;

		snprintf(path, sizeof(path), "%s/image", e->d_name);
		if (e->d_name[0] != '.' && file_read(dirfd(dir), path, 200, &b, NULL) == 0)
			text = buf_cstr(&b);
		if (text && strncmp(text, "sha256:", 7) == 0 && strspn(text + 7, "0123456789abcdef") == DIGEST_HEX) {
			text[7 + DIGEST_HEX] = '\0';
			go_on = fn(arg, e->d_name, text + 7);
		}
		buf_free(&b);
	}
	if (dir)
		closedir(dir);
	return go_on;
}

struct needed {
	struct image_store *s;
	struct image **list;
	size_t count;
};

/** add_pinned() - each_pin(): an image that no reference may name any more. */
static bool add_pinned(void *arg, const char *name, const char *digest)
{
	struct needed *n = arg;
	struct error err = ERROR_INIT;
	struct image **grown, *img;

	(void)name;
	if (image_store_record(n->s, digest, &img, &err) < 0)
		return err.code == ERR_NOT_FOUND ||
		       err.code == ERR_INVALID; /* a damaged store is no reason for worse */
	grown = realloc(n->list, (n->count + 1) * sizeof(struct image *));
	if (!grown) {
		image_free(img);
		return false;
	}
	n->list = grown;
	n->list[n->count++] = img;
	return true;
}

/** needed() - The images of all references, and those of sandboxes. Never a partial list. */
static int needed(struct image_store *s, struct image ***images, size_t *count, struct error *err)
{
	struct needed n = { .s = s };

	if (image_store_list(s, &n.list, &n.count, err) < 0)
		return -(int)err->code;
	if (!each_pin(s, add_pinned, &n)) {
		image_list_free(n.list, n.count);
		return err_set(err, ERR_SYSTEM, 0, "read the images of the sandboxes");
	}
	*images = n.list;
	*count = n.count;
	return 0;
}

struct users {
	const char *digest;
	char *to;
	size_t size, used;
};

/** add_user() - each_pin(): one more name. */
static bool add_user(void *arg, const char *name, const char *digest)
{
	struct users *u = arg;

	if (strcmp(digest, u->digest) != 0)
		return true;
	if (u->used + strlen(name) + 8 > u->size) {
		snprintf(u->to + u->used, u->size - u->used, "...");
		return false;
	}
	u->used += (size_t)snprintf(u->to + u->used, u->size - u->used, "%s%s", u->used ? ", " : "", name);
	return true;
}

void image_store_users(struct image_store *s, const char *digest, char *to, size_t size)
{
	struct users u = { .digest = digest + 7, .to = to, .size = size };

	to[0] = '\0';
	each_pin(s, add_user, &u);
}

int image_store_pinned(struct image_store *s, const char *digest, struct image **out, struct error *err)
{
	if (strncmp(digest, "sha256:", 7) == 0 && strlen(digest) == 7 + DIGEST_HEX &&
	    image_store_record(s, digest + 7, out, err) == 0)
		return 0;
	return err_set(err, ERR_NOT_FOUND, 0, "the image %.19s... of the sandbox is not here any more", digest);
}

int image_store_hold(struct image_store *s, struct error *err)
{
	_cleanup_fd_ int lock = openat(s->cache, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (lock < 0 || flock(lock, LOCK_SH) < 0)
		return err_set(err, err_from_errno(errno), errno, "lock the image cache");
	return TAKE_FD(lock);
}

struct collector {
	enum collect how;
	struct collected *out;
};

/** remove_unused() - visit(): the garbage of one kind. */
static void remove_unused(void *arg, int dir, const char *folder, const char *file, enum use use, const struct stat *st)
{
	struct collector *c = arg;

	(void)folder;
	if (use == USED || (use == PART && c->how != COLLECT_PARTS) || unlinkat(dir, file, 0) < 0)
		return;
	c->out->bytes += (uint64_t)st->st_blocks * 512;
	c->out->parts += use == PART;
	c->out->layers += use == UNUSED && ends_with(file, ".data");
	c->out->manifests += use == UNUSED && ends_with(file, ".image");
}

int image_store_collect(struct image_store *s, enum collect how, struct collected *out, struct error *err)
{
	_cleanup_fd_ int lock = openat(s->cache, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	static const char *const folders[] = { "manifests", "layers", "refs" };
	struct collected here = { 0 };
	struct collector c = { how, out ? out : &here };
	struct image **images = NULL;
	size_t count = 0;

	*c.out = (struct collected){ 0 };
	if (lock < 0)
		return err_set(err, err_from_errno(errno), errno, "lock the image cache");
	if (flock(lock, LOCK_EX | LOCK_NB) < 0) {
		c.out->busy = true;
		return 0;
	}
	if (needed(s, &images, &count, err) < 0)
		return -(int)err->code;
	for (size_t i = 0; i < ARRAY_LEN(folders); i++)
		visit(s, folders[i], images, count, remove_unused, &c);
	image_list_free(images, count);
	return 0;
}

/** add_usage() - visit(): sum up. */
static void add_usage(void *arg, int dir, const char *folder, const char *file, enum use use, const struct stat *st)
{
	struct store_usage *u = arg;
	uint64_t bytes = (uint64_t)st->st_blocks * 512;

	(void)dir;
	if (use == PART || use == HALF_WRITTEN)
		u->part_bytes += bytes;
	else if (use == UNUSED)
		u->unused_bytes += bytes;
	else if (strcmp(folder, "layers") == 0)
		u->layer_bytes += bytes;
	else
		u->metadata_bytes += bytes;
	u->parts += use == PART;
	if (strcmp(folder, "layers") == 0 && ends_with(file, ".data"))
		*(use == USED ? &u->layers : &u->unused_layers) += 1;
	u->manifests += strcmp(folder, "manifests") == 0 && ends_with(file, ".image");
}

int image_store_usage(struct image_store *s, struct store_usage *out, struct error *err)
{
	static const char *const folders[] = { "manifests", "layers", "refs" };
	struct image **images = NULL;
	size_t count = 0;

	*out = (struct store_usage){ 0 };
	if (needed(s, &images, &count, err) < 0)
		return -(int)err->code;
	for (size_t i = 0; i < count; i++)
		out->images += images[i]->reference[0] != '\0';
	for (size_t i = 0; i < ARRAY_LEN(folders); i++)
		visit(s, folders[i], images, count, add_usage, out);
	image_list_free(images, count);
	return 0;
}
