// SPDX-License-Identifier: Apache-2.0
// sources: src/image/unpack.c src/image/layer_index.c src/image/tree.c src/image/erofs.c
// sources: src/base/buf.c src/base/error.c src/base/fd.c src/base/log.c
// libs: -larchive -lcrypto -lz -lzstd
/*
 * A layer blob as an archive has it: a tar (checksums are made right first), or anything compressed. What is accepted
 * merges into a file system that passes a strict reader; what is refused leaves no file.
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
#include "image/unpack.h"

static char folder[] = "/tmp/fuzz-layer-XXXXXX";
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

/** merge() - The index that was written, to the end. */
static void merge(const char *diff_id, uint64_t blocks)
{
	struct buf index = BUF_INIT(INDEX_BYTES_MAX), out = BUF_INIT(64 << 20);
	struct error err = ERROR_INIT;
	struct tree t;
	char name[96];
	int rc;

	snprintf(name, sizeof(name), "%s.index", diff_id);
	if (file_read(layers, name, INDEX_BYTES_MAX, &index, NULL) < 0 || !tree_init(&t))
		abort();
	unlinkat(layers, name, 0);
	snprintf(name, sizeof(name), "%s.data", diff_id);
	unlinkat(layers, name, 0);
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static uint8_t copy[1 << 16];
	struct member blob = { .size = n };
	struct error err = ERROR_INIT;
	uint64_t blocks = 0, bytes = 0;
	char diff_id[DIGEST_HEX + 1];
	int fd;

	if (n > sizeof(copy))
		return 0;
	open_folder();
	memcpy(copy, data, n);
	fix_checksums(copy, n);
	digest_hex(copy, n, diff_id); /* right for what is not compressed */
	fd = fd_memfd("fuzz-layer", 0, false);
	if (fd < 0 || fd_write_full(fd, copy, n) < 0)
		abort();
	if (layer_unpack(layers, fd, &blob, NULL, diff_id, &blocks, &bytes, &err) == 0)
		merge(diff_id, blocks);
	else if (!err.code)
		abort();
	if (count_files() != 0)
		abort();
	close(fd);
	return 0;
}
