/* SPDX-License-Identifier: Apache-2.0 */
/**
 * A tar reader that is fed: bytes go in as they arrive, entries and contents come out, and every byte that is no
 * content comes out too, so that the stream can be written down and given back to the last bit.
 *
 * Dialects: V7, ustar, pax (path, linkpath, size, uid, gid, mtime, SCHILY.xattr.*), GNU long names, base-256 numbers,
 * sparse files of GNU (old headers, pax 0.0, 0.1, 1.0). Where dialects leave a choice it reads what Go's archive/tar
 * reads, since that is what engines make layers with: links and directories have no contents whatever their size says,
 * a pax size wins over the header's, global pax headers are passed over.
 *
 * Source: POSIX.1-2017 pax; GNU tar manual, "Basic Tar Format" and "Storing Sparse Files".
 */
#ifndef MSB_IMAGE_TAR_H
#define MSB_IMAGE_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

#define TAR_BLOCK 512u
#define TAR_SPECIAL_MAX (1u << 20) /* a pax header or a long name */
#define TAR_XATTRS_MAX 256
#define TAR_FRAGMENTS_MAX 262144 /* of one sparse file */

enum tar_type { TAR_FILE, TAR_DIRECTORY, TAR_SYMLINK, TAR_HARDLINK, TAR_CHAR, TAR_BLOCKDEV, TAR_FIFO };

struct tar_xattr {
	const char *name; /* NUL-terminated */
	const uint8_t *value;
	size_t size;
};

/** One entry; everything borrows the reader until its end. */
struct tar_entry {
	enum tar_type type;
	const char *path, *link; /* as they stand in the archive */
	uint32_t mode;		 /* permission bits */
	uint64_t uid, gid;
	int64_t mtime_s;
	uint32_t mtime_ns;
	uint64_t size; /* of a file as it is read, holes included; else 0 */
	uint32_t major, minor;
	size_t xattr_count;
	struct tar_xattr xattrs[TAR_XATTRS_MAX];
};

/** Where it goes. Each returns 0, or a negative code with the error set, which ends the reading. */
struct tar_sink {
	int (*entry)(void *arg, const struct tar_entry *e, struct error *err);
	/** A piece of the current file's contents; offsets ascend, what is left out is a hole. */
	int (*data)(void *arg, uint64_t offset, const uint8_t *p, size_t n, struct error *err);
	int (*end)(void *arg, struct error *err); /* of the entry */
	/** Bytes that are no content, in their place in the stream. */
	int (*frame)(void *arg, const uint8_t *p, size_t n, struct error *err);
};

struct tar;

struct tar *tar_new(const struct tar_sink *sink, void *arg);
void tar_free(struct tar *t);
/** tar_feed() - The next bytes of the stream. Return: 0, or a negative code; then the reader is of no more use. */
int tar_feed(struct tar *t, const uint8_t *p, size_t n, struct error *err);
/** tar_finish() - The stream ends here. Return: 0, or ERR_INVALID when it ends within an entry. */
int tar_finish(struct tar *t, struct error *err);

#endif
