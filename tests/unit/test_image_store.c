/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "image/record.h"

static char home[64];
static int home_fd = -1;

static int setup(void **state)
{
	(void)state;
	snprintf(home, sizeof(home), "/tmp/msb-store.XXXXXX");
	if (!mkdtemp(home))
		return -1;
	home_fd = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return home_fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	close(home_fd);
	return dir_remove_tree(AT_FDCWD, home, NULL);
}

/** digest() - 64 times the same digit. */
static const char *digest(char digit)
{
	static char text[4][DIGEST_HEX + 1];
	static int turn;
	char *s = text[turn++ % 4];

	memset(s, digit, DIGEST_HEX);
	return s;
}

static void file(const char *folder, const char *name, const char *end, const void *data, size_t n)
{
	char path[400];

	snprintf(path, sizeof(path), "cache/%s/%s%s", folder, name, end);
	assert_int_equal(file_write_atomic(home_fd, path, data, n, 0600, NULL), 0);
}

static bool there(const char *folder, const char *name, const char *end)
{
	char path[400];

	snprintf(path, sizeof(path), "cache/%s/%s%s", folder, name, end);
	return faccessat(home_fd, path, F_OK, 0) == 0;
}

/** put_image() - What msb-image leaves behind for an image of two layers. */
static void put_image(const char *reference, char manifest, char low, char high)
{
	static uint8_t zero[8192];
	char env[] = "A=1", empty[] = "", *envs[] = { env }, name[REFERENCE_MAX], file_name[REF_FILE_MAX + 1];
	char layers[2][DIGEST_HEX + 1], line[DIGEST_HEX + 2];
	struct record *r = calloc(1, sizeof(*r));
	struct buf b = BUF_INIT(65536);
	struct error err = ERROR_INIT;

	assert_non_null(r);
	memcpy(layers[0], digest(low), sizeof(layers[0]));
	memcpy(layers[1], digest(high), sizeof(layers[1]));
	r->img = (struct image){ .size_bytes = 12288, .layer_count = 2, .layers = layers, .env = { 1, envs },
				 .user = empty, .workdir = empty, .stop_signal = empty, .os = "linux", .architecture = "amd64" };
	snprintf(r->img.digest, sizeof(r->img.digest), "sha256:%s", digest(manifest));
	r->meta_bytes = 4096;
	r->layer_blocks[0] = 2;
	r->layer_blocks[1] = 0;
	assert_true(record_encode(&b, r));
	file("manifests", digest(manifest), ".image", b.data, b.len);
	file("manifests", digest(manifest), ".erofs", zero, 4096);
	file("layers", digest(low), ".data", zero, 8192);
	file("layers", digest(low), ".index", zero, 8);
	file("layers", digest(low), ".frame", zero, 16);
	file("layers", digest(high), ".data", zero, 0);
	file("layers", digest(high), ".index", zero, 8);
	assert_int_equal(reference_normalise(reference, name, &err), 0);
	assert_int_equal(ref_file(name, file_name, &err), 0);
	snprintf(line, sizeof(line), "%s\n", digest(manifest));
	file("refs", file_name, "", line, DIGEST_HEX + 1);
	buf_free(&b);
	free(r);
}

/** life() - Find, list, open; removing one image leaves what the other shares. */
static void life(void **state)
{
	struct error err = ERROR_INIT;
	struct image_store *s = image_store_open(home_fd, &err);
	struct disk_extent extents[DISK_EXTENTS_MAX];
	struct image *img, **list;
	size_t n;

	(void)state;
	assert_non_null(s);
	assert_int_equal(image_store_find(s, "python", &img, &err), -ERR_NOT_FOUND);
	assert_int_not_equal(err.hint[0], 0);
	err_clear(&err);
	put_image("python:3", 'a', '1', '2');
	put_image("localhost/other", 'b', '1', '3');
	assert_int_equal(image_store_find(s, "python:3", &img, &err), 0);
	assert_string_equal(img->reference, "docker.io/library/python:3");
	assert_string_equal(img->env.item[0], "A=1");
	assert_int_equal(image_store_open_root(s, img, extents, &n, &err), 0);
	assert_int_equal(n, 2); /* metadata and the one layer that has data */
	assert_int_equal(extents[0].length, 4096);
	assert_int_equal(extents[1].length, 8192);
	for (size_t i = 0; i < n; i++)
		fd_close(&extents[i].fd);
	image_free(img);
	assert_int_equal(image_store_list(s, &list, &n, &err), 0);
	assert_int_equal(n, 2);
	assert_string_equal(list[0]->reference, "docker.io/library/python:3");
	assert_string_equal(list[1]->reference, "localhost/other:latest");
	image_free(list[0]);
	image_free(list[1]);
	free(list);

	assert_int_equal(image_store_remove(s, "python:3", &err), 0);
	assert_true(there("layers", digest('1'), ".data") && there("layers", digest('3'), ".data"));
	assert_false(there("layers", digest('2'), ".data") || there("layers", digest('2'), ".index"));
	assert_false(there("manifests", digest('a'), ".image") || there("manifests", digest('a'), ".erofs"));
	assert_int_equal(image_store_remove(s, "python:3", &err), -ERR_NOT_FOUND);
	err_clear(&err);
	assert_int_equal(image_store_find(s, "localhost/other", &img, &err), 0);
	/* A file of its gone: no half-open root. */
	assert_int_equal(image_store_remove(s, "localhost/other", &err), 0);
	assert_false(there("layers", digest('1'), ".data"));
	assert_int_equal(image_store_open_root(s, img, extents, &n, &err), -ERR_NOT_FOUND);
	assert_int_equal(n, 0);
	image_free(img);
	image_store_close(s);
}

/** damaged() - A record cut anywhere, or with more behind it, is refused whole. */
static void damaged(void **state)
{
	struct error err = ERROR_INIT;
	struct image_store *s = image_store_open(home_fd, &err);
	struct record *r = calloc(1, sizeof(*r));
	struct buf b = BUF_INIT(65536);
	char path[128];
	struct image *img, **list;
	size_t n;

	(void)state;
	assert_true(s && r);
	put_image("x", 'c', '4', '5');
	snprintf(path, sizeof(path), "cache/manifests/%s.image", digest('c'));
	assert_int_equal(file_read(home_fd, path, 65536, &b, &err), 0);
	for (size_t i = 0; i < b.len; i++) {
		struct error cut = ERROR_INIT;

		assert_int_equal(record_decode(b.data, i, r, &cut), -ERR_INVALID);
	}
	assert_int_equal(record_decode(b.data, b.len, r, &err), 0);
	image_clear(&r->img);
	file("manifests", digest('c'), ".image", b.data, b.len - 1);
	assert_int_equal(image_store_find(s, "x", &img, &err), -ERR_INVALID);
	err_clear(&err);
	assert_int_equal(image_store_list(s, &list, &n, &err), 0);
	assert_int_equal(n, 0);
	free(list);
	assert_int_equal(image_store_remove(s, "x", &err), 0);
	assert_false(there("manifests", digest('c'), ".image"));
	buf_free(&b);
	free(r);
	image_store_close(s);
}

/** short_of_descriptors() - What cannot be read for the moment is still needed: nothing is collected. */
static void short_of_descriptors(void **state)
{
	struct error err = ERROR_INIT;
	struct image_store *s = image_store_open(home_fd, &err);
	struct rlimit before, few;
	struct image **list;
	size_t n;

	(void)state;
	assert_non_null(s);
	put_image("y", 'd', '6', '7');
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	few.rlim_cur = (rlim_t)dup(home_fd) + 1; /* room for one: the folder of references */
	close((int)few.rlim_cur - 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(image_store_list(s, &list, &n, &err), -ERR_SYSTEM);
	err_clear(&err);
	assert_int_equal(image_store_collect(s, COLLECT_GARBAGE, NULL, &err), -ERR_SYSTEM);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_true(there("manifests", digest('d'), ".image"));
	assert_true(there("layers", digest('6'), ".data"));
	err_clear(&err);
	assert_int_equal(image_store_remove(s, "y", &err), 0);
	image_store_close(s);
}

/** collects() - What goes and what stays, in numbers; a broken off download only when asked; nothing while somebody adds. */
static void collects(void **state)
{
	struct error err = ERROR_INIT;
	struct image_store *s = image_store_open(home_fd, &err);
	char part[80], tmp[80], top[DIGEST_HEX + 1], found[DIGEST_HEX + 1], refs[2 * DIGEST_HEX + 3];
	struct store_usage use;
	struct collected gone;
	int lock;

	(void)state;
	assert_non_null(s);
	put_image("keep", 'a', '1', '2');
	put_image("lost", 'b', '1', '3');
	snprintf(part, sizeof(part), ".%s.part", digest('4'));
	snprintf(tmp, sizeof(tmp), ".%s.data.tmp", digest('4'));
	file("layers", part, "", "x", 1);
	file("layers", tmp, "", "x", 1);
	assert_int_equal(unlinkat(home_fd, "cache/refs/docker.io%2flibrary%2flost%3alatest", 0), 0);

	assert_int_equal(image_store_usage(s, &use, &err), 0);
	assert_int_equal(use.images, 1);
	assert_int_equal(use.manifests, 2);
	assert_int_equal(use.layers, 2);
	assert_int_equal(use.unused_layers, 1);
	assert_int_equal(use.parts, 1);
	lock = openat(home_fd, "cache/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(lock >= 0 && flock(lock, LOCK_SH) == 0);
	assert_int_equal(image_store_collect(s, COLLECT_PARTS, &gone, &err), 0);
	assert_true(gone.busy && there("layers", digest('3'), ".data"));
	close(lock);
	assert_int_equal(image_store_collect(s, COLLECT_GARBAGE, &gone, &err), 0);
	assert_false(gone.busy);
	assert_int_equal(gone.layers, 1);
	assert_int_equal(gone.manifests, 1);
	assert_int_equal(gone.parts, 0);
	assert_true(gone.bytes >= 4096);
	assert_true(there("layers", part, "") && there("layers", digest('1'), ".frame"));
	assert_false(there("layers", tmp, "") || there("layers", digest('3'), ".data") || there("manifests", digest('b'), ".image"));
	assert_int_equal(image_store_collect(s, COLLECT_PARTS, &gone, &err), 0);
	assert_int_equal(gone.parts, 1);
	assert_false(there("layers", part, ""));

	/* What the tag is in its registry stands behind the image's digest, when somebody knows. */
	assert_int_equal(image_store_ref(s, "docker.io/library/keep:latest", found, top, &err), 0);
	assert_string_equal(found, digest('a'));
	assert_string_equal(top, "");
	snprintf(refs, sizeof(refs), "%s\n%s\n", digest('a'), digest('e'));
	file("refs", "docker.io%2flibrary%2fkeep%3alatest", "", refs, strlen(refs));
	assert_int_equal(image_store_ref(s, "docker.io/library/keep:latest", found, top, &err), 0);
	assert_string_equal(top, digest('e'));
	assert_int_equal(image_store_remove(s, "keep", &err), 0);
	image_store_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(life),
		cmocka_unit_test(damaged),
		cmocka_unit_test(short_of_descriptors),
		cmocka_unit_test(collects),
	};

	return cmocka_run_group_tests_name("image_store", tests, setup, teardown);
}
