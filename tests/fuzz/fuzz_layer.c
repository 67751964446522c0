// SPDX-License-Identifier: Apache-2.0
// sources: src/image/unpack.c src/image/layer_writer.c src/image/frame_file.c src/image/tar.c src/image/tar_header.c
// sources: src/image/layer_index.c src/image/tree.c src/image/erofs.c
// sources: src/base/buf.c src/base/error.c src/base/fd.c src/base/log.c src/base/num.c
// libs: -lcrypto -lz -lzstd
/*
 * A layer blob as an archive has it: a tar (checksums are made right first), or anything compressed, in pieces. What is
 * accepted merges into a file system that passes a strict reader, and gives back its tar to the last byte; what is
 * refused leaves no file.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "erofs_check.h"
#include "image/erofs.h"
#include "image/frame_file.h"
#include "image/unpack.h"

#define INPUT_MAX (1u << 16)

static char folder[] = "/dev/shm/fuzz-layer-XXXXXX"; /* no disk: layers are synced */
static int layers = -1;

static void remove_folder(void)
{
	rmdir(folder);
}

/** open_folder() - Once per process. */
static void open_folder(void)
{
	if (layers >= 0)
		return;
	if (!mkdtemp(folder))
		abort();
	atexit(remove_folder);
	layers = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (layers < 0)
		abort();
}

/** fix_checksums() - Of every block, so that the input gets behind them. */
static void fix_checksums(uint8_t *p, size_t n)
{
	for (size_t at = 0; at + 512 <= n; at += 512) {
		unsigned int sum = 0;
		char text[8];

		if (!p[at] || memcmp(p + at + 257, "ustar", 5) != 0)
			continue;
		memset(p + at + 148, ' ', 8);
		for (int i = 0; i < 512; i++)
			sum += p[at + (size_t)i];
		snprintf(text, sizeof(text), "%06o", sum & 0777777);
		memcpy(p + at + 148, text, 7);
	}
}

/** count_files() - In the folder. */
static unsigned int count_files(void)
{
	DIR *dir = fdopendir(openat(layers, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	unsigned int n = 0;
	struct dirent *e;

	if (!dir)
		abort();
	while ((e = readdir(dir)))
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(dir);
	return n;
}

/** open_part() - A file of the layer, which is removed. */
static int open_part(const char *diff_id, const char *kind)
{
	char name[96];
	int fd;

	snprintf(name, sizeof(name), "%s.%s", diff_id, kind);
	fd = openat(layers, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || unlinkat(layers, name, 0) < 0)
		abort();
	return fd;
}

/** What the tar has to be, and how much of it came. */
struct expected {
	const uint8_t *p;
	size_t n, at;
};

static int compare(void *arg, const uint8_t *p, size_t n, struct error *err)
{
	struct expected *e = arg;

	(void)err;
	if (n > e->n - e->at || memcmp(e->p + e->at, p, n) != 0)
		abort();
	e->at += n;
	return 0;
}

/** check_layer() - The tar again, which is known when it came uncompressed; then the merge to the end. */
static void check_layer(const char *diff_id, uint64_t blocks, struct expected *tar)
{
	struct buf index = BUF_INIT(INDEX_BYTES_MAX), out = BUF_INIT(64 << 20);
	int frame = open_part(diff_id, "frame"), data = open_part(diff_id, "data");
	struct error err = ERROR_INIT;
	struct tree t;
	uint64_t size;
	char name[96];
	int rc;

	snprintf(name, sizeof(name), "%s.index", diff_id);
	if (file_read(layers, name, INDEX_BYTES_MAX, &index, NULL) < 0 || !tree_init(&t))
		abort();
	unlinkat(layers, name, 0);
	if (frame_tar_size(frame, &size, NULL) < 0 || size != tar->n ||
	    frame_replay(frame, data, index.data, index.len, compare, tar, NULL) < 0 || tar->at != tar->n)
		abort();
	close(frame);
	close(data);
	rc = tree_add_layer(&t, 0, index.data, index.len, &err);
	if (rc == 0)
		rc = erofs_write(&t, &blocks, 1, (const uint8_t *)"0123456789abcdef", &out, &err);
	if (rc == 0)
		erofs_check(out.data, out.len, out.len / 4096 + blocks);
	else if (strstr(err.text, "damaged"))
		abort(); /* of what we wrote ourselves, nothing is */
	tree_free(&t);
	buf_free(&index);
	buf_free(&out);
}

/** A blob_source: pieces of sizes that the blob itself chooses. */
struct pieces {
	const uint8_t *p;
	size_t n, at;
};

static ssize_t read_piece(void *arg, void *to, size_t max, struct error *err)
{
	struct pieces *s = arg;
	size_t n = s->n - s->at, piece = s->at < s->n ? 1 + (size_t)s->p[s->at] * s->p[s->n - 1] : 0;

	(void)err;
	n = n < piece ? n : piece;
	n = n < max ? n : max;
	memcpy(to, s->p + s->at, n);
	s->at += n;
	return (ssize_t)n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static uint8_t copy[INPUT_MAX];
	struct pieces pieces = { copy, n, 0 };
	struct blob_source source = { read_piece, &pieces };
	struct expected tar = { copy, n, 0 };
	char diff_id[DIGEST_HEX + 1], note[300];
	struct error err = ERROR_INIT;
	uint64_t blocks = 0;

	if (n > sizeof(copy))
		return 0;
	open_folder();
	memcpy(copy, data, n);
	fix_checksums(copy, n);
	digest_hex(copy, n, diff_id); /* right for what is not compressed; the rest is decompressed, and refused */
	if (layer_unpack(layers, &source, NULL, diff_id, &blocks, note, &err) == 0)
		check_layer(diff_id, blocks, &tar);
	else if (!err.code)
		abort();
	if (count_files() != 0)
		abort();
	return 0;
}
