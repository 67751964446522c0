/* SPDX-License-Identifier: Apache-2.0 */
// sources: src/disk/qcow2.c src/disk/inflate.c src/disk/file_io.c src/disk/disk.c
// sources: src/base/error.c src/base/log.c src/base/fd.c src/base/buf.c
/*
 * The input is a file that claims to be a qcow2 image. What opens is read at both ends and at places that the last
 * bytes of the input choose; reading the same again must give the same. The file shrinks before the last reads.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "disk/disk.h"

#define READ_BYTES 8192

/** read_at() - As much as fits at a place within the disk, twice. */
static void read_at(struct disk *d, uint64_t at)
{
	static uint8_t first[READ_BYTES], second[READ_BYTES];
	uint64_t n;
	int rc;

	at = at % d->size_bytes & ~511ULL;
	n = MIN(d->size_bytes - at, (uint64_t)READ_BYTES);
	rc = d->ops->readv(d, &(struct iovec){ first, n }, 1, at);
	if (d->ops->readv(d, &(struct iovec){ second, n }, 1, at) != rc || (rc == 0 && memcmp(first, second, n) != 0))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct error err = ERROR_INIT;
	int fd = fd_memfd("qcow2", 0, false), mine = dup(fd);
	struct disk *d;
	uint64_t at = 0;

	if (fd_pwrite_full(fd, data, n, 0) < 0)
		abort();
	d = disk_open_qcow2(fd, &err);
	if ((d == NULL) != (err.code != ERR_NONE))
		abort();
	if (d) {
		read_at(d, 0);
		read_at(d, d->size_bytes - 1);
		for (size_t i = 0; i < MIN(n, (size_t)16); i++) {
			at = at * 257 + data[n - 1 - i];
			read_at(d, at * 512);
		}
		if (ftruncate(mine, (off_t)(n / 2)) < 0)
			abort();
		read_at(d, 0);
		read_at(d, at * 512);
		disk_close(d);
	}
	close(mine);
	return 0;
}
