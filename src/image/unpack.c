/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The blob's bytes go through: SHA-256 (blob), decompression by libarchive's filters are not used for that; zlib and
 * zstd are driven here so that the second SHA-256 (diff_id) sees every byte of the tar, padding included; then
 * libarchive's tar reader. Nothing is ever created on the host's file system but the two files.
 */
#include "image/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/fd.h"
#include "image/layer_index.h"

#define CHUNK (256 * 1024)
#define LAYER_BYTES_MAX (10ULL << 30)
#define FILE_BYTES_MAX (5ULL << 30)
#define TRAILING_BYTES_MAX (1u << 20) /* of zeroes, which fill a tar up to its record size */

enum compression { PLAIN, GZIP, ZSTD };

struct stream {
	int fd;
	uint64_t offset, left; /* of the blob */
	enum compression kind;
	z_stream z;
	ZSTD_DStream *zstd;
	EVP_MD_CTX *blob_sha, *diff_sha;
	uint8_t in[CHUNK], out[CHUNK];
	size_t in_at, in_len;
	uint64_t total;
	bool end, drained;
	struct error *err;
};

struct layer {
	struct stream *s;
	int data;
	uint64_t blocks, bytes;
	struct buf index;
	uint32_t entries;
	struct error *err;
};

static void to_hex(const uint8_t *p, char out[DIGEST_HEX + 1])
{
	for (int i = 0; i < DIGEST_HEX / 2; i++)
		snprintf(out + 2 * i, 3, "%02x", p[i]);
}

void digest_hex(const void *p, size_t n, char out[DIGEST_HEX + 1])
{
	uint8_t sum[EVP_MAX_MD_SIZE];

	EVP_Digest(p, n, sum, NULL, EVP_sha256(), NULL);
	to_hex(sum, out);
}

/** refill() - More of the blob. Return: false at its end or on error. */
static bool refill(struct stream *s)
{
	size_t n = MIN(s->left, CHUNK);

	if (n == 0)
		return false;
	if (fd_pread_full(s->fd, s->in, n, (off_t)s->offset) != (ssize_t)n) {
		err_set(s->err, ERR_SYSTEM, errno, "read the layer");
		return false;
	}
	EVP_DigestUpdate(s->blob_sha, s->in, n);
	s->offset += n;
	s->left -= n;
	s->in_at = 0;
	s->in_len = n;
	return true;
}

/** decompress() - Some output bytes. Return: count, 0 at the end, -1 on error. */
static ssize_t decompress(struct stream *s)
{
	for (;;) {
		ssize_t made;

		if (s->in_at == s->in_len && !refill(s)) {
			if (s->err->code)
				return -1;
			/* zstd may have taken all input and still hold output back: ask once more with none. */
			if (s->kind == ZSTD && !s->end && !s->drained) {
				s->drained = true;
			} else if (s->kind != PLAIN && !s->end) {
				err_set(s->err, ERR_INVALID, 0, "the layer's compressed data is truncated");
				return -1;
			} else {
				return 0;
			}
		}
		if (s->kind == PLAIN) {
			made = (ssize_t)(s->in_len - s->in_at);
			memcpy(s->out, s->in + s->in_at, (size_t)made);
			s->in_at = s->in_len;
		} else if (s->kind == GZIP) {
			int rc;

			if (s->end) {
				inflateReset(&s->z); /* concatenated members */
				s->end = false;
			}
			s->z.next_in = s->in + s->in_at;
			s->z.avail_in = (unsigned int)(s->in_len - s->in_at);
			s->z.next_out = s->out;
			s->z.avail_out = CHUNK;
			rc = inflate(&s->z, Z_NO_FLUSH);
			if (rc != Z_OK && rc != Z_STREAM_END) {
				err_set(s->err, ERR_INVALID, 0, "the layer's gzip data is damaged");
				return -1;
			}
			s->end = rc == Z_STREAM_END;
			s->in_at = s->in_len - s->z.avail_in;
			made = CHUNK - (ssize_t)s->z.avail_out;
		} else {
			ZSTD_inBuffer in = { s->in, s->in_len, s->in_at };
			ZSTD_outBuffer out = { s->out, CHUNK, 0 };
			size_t rc = ZSTD_decompressStream(s->zstd, &out, &in);

			if (ZSTD_isError(rc)) {
				err_set(s->err, ERR_INVALID, 0, "the layer's zstd data is damaged");
				return -1;
			}
			s->end = rc == 0;
			s->in_at = in.pos;
			made = (ssize_t)out.pos;
			s->drained = s->drained && !made;
		}
		if (made) {
			s->total += (uint64_t)made;
			if (s->total > LAYER_BYTES_MAX) {
				err_set(s->err, ERR_LIMIT, 0, "the layer unpacks to more than 10 GiB");
				return -1;
			}
			EVP_DigestUpdate(s->diff_sha, s->out, (size_t)made);
			return made;
		}
	}
}

static la_ssize_t on_read(struct archive *a, void *arg, const void **data)
{
	struct stream *s = arg;
	ssize_t n = decompress(s);

	*data = s->out;
	if (n < 0)
		archive_set_error(a, EIO, "%s", s->err->text);
	return n;
}

/** xattr_entry() - Append one attribute in EROFS form. Names outside the known prefixes are left out. */
static bool xattr_entry(struct buf *out, const char *name, const void *value, size_t n)
{
	static const struct { const char *prefix; uint8_t index; } known[] = {
		{ "user.", 1 }, { "system.posix_acl_access", 2 }, { "system.posix_acl_default", 3 },
		{ "trusted.", 4 }, { "security.", 6 },
	};
	uint8_t head[4], zero[4] = { 0 };

	/* The guest's overlayfs would obey these. */
	if (strncmp(name, "trusted.overlay.", 16) == 0)
		return true;
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		size_t p = strlen(known[i].prefix), len;

		if (strncmp(name, known[i].prefix, p) != 0)
			continue;
		len = strlen(name + p);
		if (len > 255 || n > 65535)
			return false;
		head[0] = (uint8_t)len;
		head[1] = known[i].index;
		head[2] = (uint8_t)n;
		head[3] = (uint8_t)(n >> 8);
		return buf_append(out, head, 4) && buf_append(out, name + p, len) && buf_append(out, value, n) &&
		       buf_append(out, zero, -(4 + len + n) % 4);
	}
	return true;
}

/** clean_path() - Strip "./" and "/", squeeze doubles; refuse "..". Return: false with the error set. */
static bool clean_path(const char *raw, char *out, struct index_bytes *b, struct error *err)
{
	const char *whole = raw;
	size_t n = 0;

	while (*raw) {
		size_t len = strcspn(raw, "/");

		if (len == 2 && raw[0] == '.' && raw[1] == '.') {
			err_set(err, ERR_INVALID, 0, "the layer has a path with \"..\": %.300s", whole);
			return false;
		}
		if (len && !(len == 1 && raw[0] == '.')) {
			if (n + len + 2 > LAYER_PATH_MAX) {
				err_set(err, ERR_LIMIT, 0, "the layer has a path longer than %u bytes: %.60s...",
					LAYER_PATH_MAX, whole);
				return false;
			}
			if (n)
				out[n++] = '/';
			memcpy(out + n, raw, len);
			n += len;
		}
		raw += len + (raw[len] == '/');
	}
	b->p = (uint8_t *)out;
	b->n = (uint32_t)n;
	if (!index_check_path(b)) {
		err_set(err, ERR_LIMIT, 0, "the layer has a path with a name over 255 bytes or %u levels: %.60s...",
			LAYER_DEPTH_MAX, whole);
		return false;
	}
	return true;
}

/** store_data() - A file's bytes: whole blocks to .data, a short last part to *tail. */
static bool store_data(struct layer *l, struct archive *a, struct archive_entry *ae, struct index_entry *e,
		       uint8_t tail[INDEX_BLOCK])
{
	static const uint8_t zeroes[INDEX_BLOCK];
	uint64_t done = 0;
	size_t have = 0;

	e->data_offset = l->blocks * INDEX_BLOCK;
	while (done < e->size) {
		size_t want = MIN(INDEX_BLOCK - have, e->size - done);
		la_ssize_t n = archive_read_data(a, tail + have, want);

		if (n == 0 && archive_entry_sparse_count(ae)) { /* a sparse file that ends with a hole */
			memset(tail + have, 0, want);
			n = (la_ssize_t)want;
		}
		if (n <= 0) {
			if (!l->err->code)
				err_set(l->err, ERR_INVALID, 0, "the layer's tar is damaged: %s",
					archive_error_string(a) ? archive_error_string(a) : "file too short");
			return false;
		}
		have += (size_t)n;
		done += (uint64_t)n;
		if (have == INDEX_BLOCK || (done == e->size && have > INDEX_TAIL_MAX)) {
			memset(tail + have, 0, INDEX_BLOCK - have);
			/* Zeroes stay a hole: a file of nothing else costs no disk. */
			if (memcmp(tail, zeroes, INDEX_BLOCK) != 0 &&
			    fd_pwrite_full(l->data, tail, INDEX_BLOCK, (off_t)(l->blocks * INDEX_BLOCK)) < 0) {
				err_set(l->err, err_from_errno(errno), errno, "write the layer");
				return false;
			}
			l->blocks++;
			have = 0;
		}
	}
	e->tail = (struct index_bytes){ tail, (uint32_t)have };
	l->bytes += e->size;
	return true;
}

/** new_encode_dev() - How the kernel keeps a device number on disk. */
static uint32_t encode_dev(uint32_t major, uint32_t minor)
{
	return (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12;
}

/** one_entry() - A tar entry into the index. */
static bool one_entry(struct layer *l, struct archive *a, struct archive_entry *ae)
{
	static char path[LAYER_PATH_MAX + 1], link[LAYER_PATH_MAX + 1];
	static uint8_t tail[INDEX_BLOCK];
	struct buf xattrs = BUF_INIT(INDEX_XATTRS_MAX);
	const char *raw = archive_entry_pathname(ae), *hard = archive_entry_hardlink(ae), *base, *name;
	struct index_entry e = { .kind = INDEX_NODE };
	const void *value;
	size_t n;
	bool ok;

	if (!raw) {
		err_set(l->err, ERR_INVALID, 0, "the layer has an entry without a name");
		return false;
	}
	if (!clean_path(raw, path, &e.path, l->err))
		return false;
	path[e.path.n] = '\0';
	if (++l->entries > LAYER_ENTRIES_MAX) {
		err_set(l->err, ERR_LIMIT, 0, "the layer has more than %u entries", LAYER_ENTRIES_MAX);
		return false;
	}
	base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	if (strcmp(base, ".wh..wh..opq") == 0) {
		e.kind = INDEX_OPAQUE;
		e.path.n = (uint32_t)(base > path ? base - path - 1 : 0);
		return index_append(&l->index, &e);
	}
	if (strncmp(base, ".wh.", 4) == 0 && base[4]) {
		e.kind = INDEX_WHITEOUT;
		memmove(path + (base - path), base + 4, strlen(base + 4) + 1);
		e.path.n -= 4;
		if (!index_check_path(&e.path)) {
			err_set(l->err, ERR_INVALID, 0, "the layer has a whiteout of \".\" or \"..\"");
			return false;
		}
		return index_append(&l->index, &e);
	}
	if (hard) {
		e.kind = INDEX_HARDLINK;
		return clean_path(hard, link, &e.link, l->err) && index_append(&l->index, &e);
	}
	if (archive_entry_uid(ae) < 0 || archive_entry_uid(ae) > UINT32_MAX || archive_entry_gid(ae) < 0 ||
	    archive_entry_gid(ae) > UINT32_MAX) {
		err_set(l->err, ERR_INVALID, 0, "%s: owner or group out of range", path);
		return false;
	}
	e.mode = (uint32_t)archive_entry_mode(ae) & (S_IFMT | 07777);
	e.uid = (uint32_t)archive_entry_uid(ae);
	e.gid = (uint32_t)archive_entry_gid(ae);
	e.mtime_s = archive_entry_mtime(ae);
	e.mtime_ns = (uint32_t)archive_entry_mtime_nsec(ae);
	if (S_ISCHR(e.mode) || S_ISBLK(e.mode)) {
		e.rdev = encode_dev((uint32_t)archive_entry_rdevmajor(ae), (uint32_t)archive_entry_rdevminor(ae));
		if (S_ISCHR(e.mode) && e.rdev == 0) {
			struct error note = ERROR_INIT; /* which makes the name fit for a terminal */

			err_set(&note, ERR_INVALID, 0, "%s: character device 0:0 left out (it would be a whiteout)",
				path);
			fprintf(stderr, "warn: %s\n", note.text);
			return true;
		}
	}
	if (S_ISLNK(e.mode)) {
		const char *target = archive_entry_symlink(ae);

		if (!target || strlen(target) >= LAYER_PATH_MAX || !*target) {
			err_set(l->err, ERR_LIMIT, 0, "%s: bad symbolic link", path);
			return false;
		}
		e.link = (struct index_bytes){ (const uint8_t *)target, (uint32_t)strlen(target) };
	}
	archive_entry_xattr_reset(ae);
	while (archive_entry_xattr_next(ae, &name, &value, &n) == ARCHIVE_OK) {
		if (!xattr_entry(&xattrs, name, value, n)) {
			err_set(l->err, ERR_LIMIT, 0, "%s: extended attributes too large", path);
			buf_free(&xattrs);
			return false;
		}
	}
	e.xattrs = (struct index_bytes){ xattrs.data, (uint32_t)xattrs.len };
	if (S_ISREG(e.mode))
		e.size = (uint64_t)archive_entry_size(ae);
	if (e.size > FILE_BYTES_MAX) {
		err_set(l->err, ERR_LIMIT, 0, "%s: a file of more than 5 GiB", path);
		buf_free(&xattrs);
		return false;
	}
	if (e.size > LAYER_BYTES_MAX - l->bytes) {
		/* The stream's limit does not see this: holes of sparse files take no bytes of it. */
		err_set(l->err, ERR_LIMIT, 0, "the layer's files hold more than 10 GiB");
		buf_free(&xattrs);
		return false;
	}
	ok = !S_ISREG(e.mode) || store_data(l, a, ae, &e, tail);
	if (ok && !index_check(&e)) {
		err_set(l->err, ERR_INVALID, 0, "%s: no file, directory, link, device or fifo", path);
		ok = false;
	}
	ok = ok && index_append(&l->index, &e);
	buf_free(&xattrs);
	return ok;
}

/** read_tar() - All entries, then the rest of the stream for the digests. */
static int read_tar(struct layer *l)
{
	struct archive *a = archive_read_new();
	struct archive_entry *ae;
	int rc = a ? ARCHIVE_OK : ARCHIVE_FATAL;
	uint64_t end;

	if (a) {
		archive_read_support_format_tar(a);
		archive_read_support_format_empty(a);
		rc = archive_read_open(a, l->s, NULL, on_read, NULL);
	}
	while (rc == ARCHIVE_OK || rc == ARCHIVE_WARN) {
		rc = archive_read_next_header(a, &ae);
		if ((rc == ARCHIVE_OK || rc == ARCHIVE_WARN) && !one_entry(l, a, ae)) {
			if (!l->err->code)
				err_set(l->err, ERR_LIMIT, 0, "the layer's index is too large");
			rc = ARCHIVE_FATAL;
		}
	}
	if (rc != ARCHIVE_EOF && !l->err->code)
		err_set(l->err, ERR_INVALID, 0, "the layer's tar is damaged: %s",
			a && archive_error_string(a) ? archive_error_string(a) : "unknown");
	if (a)
		archive_read_free(a);
	end = l->s->total;
	while (!l->err->code && decompress(l->s) > 0)
		if (l->s->total - end > TRAILING_BYTES_MAX)
			err_set(l->err, ERR_LIMIT, 0, "the layer goes on for more than %u KiB after its end",
				TRAILING_BYTES_MAX >> 10);
	return l->err->code ? -(int)l->err->code : 0;
}

/** check_digest() - Finish a SHA-256 and compare. */
static int check_digest(EVP_MD_CTX *ctx, const char *want, const char *what, struct error *err)
{
	uint8_t sum[EVP_MAX_MD_SIZE];
	char hex[DIGEST_HEX + 1];

	EVP_DigestFinal_ex(ctx, sum, NULL);
	to_hex(sum, hex);
	if (want && strcmp(want, hex) != 0)
		return err_set(err, ERR_INVALID, 0,
			       "%s is sha256:%.12s..., expected sha256:%.12s...: the archive is damaged", what, hex,
			       want);
	return 0;
}

/** commit() - fsync both files and give them their names. */
static int commit(struct layer *l, int dir, const char *data_tmp, const char *diff_id)
{
	char name[96];

	snprintf(name, sizeof(name), "%s.index", diff_id);
	if (ftruncate(l->data, (off_t)(l->blocks * INDEX_BLOCK)) < 0 || fsync(l->data) < 0)
		return err_set(l->err, err_from_errno(errno), errno, "write the layer");
	if (file_write_atomic(dir, name, l->index.data, l->index.len, 0600, l->err) < 0)
		return -(int)l->err->code;
	snprintf(name, sizeof(name), "%s.data", diff_id);
	if (renameat(dir, data_tmp, dir, name) < 0 || fsync(dir) < 0)
		return err_set(l->err, err_from_errno(errno), errno, "write the layer");
	return 0;
}

int layer_unpack(int layers_fd, int fd, const struct member *blob, const char *blob_digest, const char *diff_id,
		 uint64_t *blocks, uint64_t *bytes, struct error *err)
{
	struct stream *s = calloc(1, sizeof(*s));
	struct layer l = { .s = s, .index = BUF_INIT(INDEX_BYTES_MAX), .err = err };
	char tmp[64];
	int rc;

	if (!s)
		return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	s->fd = fd;
	s->offset = blob->offset;
	s->left = blob->size;
	s->err = err;
	s->blob_sha = EVP_MD_CTX_new();
	s->diff_sha = EVP_MD_CTX_new();
	EVP_DigestInit_ex(s->blob_sha, EVP_sha256(), NULL);
	EVP_DigestInit_ex(s->diff_sha, EVP_sha256(), NULL);
	snprintf(tmp, sizeof(tmp), ".data.tmp%d", (int)getpid());
	l.data = openat(layers_fd, tmp, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (l.data < 0) {
		rc = err_set(err, err_from_errno(errno), errno, "create a file in the image cache");
	} else if (refill(s)) {
		static const uint8_t zstd_magic[] = { 0x28, 0xb5, 0x2f, 0xfd };

		if (s->in_len > 2 && s->in[0] == 0x1f && s->in[1] == 0x8b) {
			s->kind = GZIP;
			inflateInit2(&s->z, 15 + 16);
		} else if (s->in_len > 4 && memcmp(s->in, zstd_magic, 4) == 0) {
			s->kind = ZSTD;
			s->zstd = ZSTD_createDStream();
			ZSTD_DCtx_setParameter(s->zstd, ZSTD_d_windowLogMax, 27);
		}
		rc = buf_append(&l.index, INDEX_MAGIC, sizeof(INDEX_MAGIC)) ? read_tar(&l) : -ERR_NO_MEMORY;
		if (rc == 0)
			rc = check_digest(s->blob_sha, blob_digest, "a layer's blob", err);
		if (rc == 0)
			rc = check_digest(s->diff_sha, diff_id, "a layer's content (diff_id)", err);
		if (rc == 0)
			rc = commit(&l, layers_fd, tmp, diff_id);
	} else {
		rc = err->code ? -(int)err->code : err_set(err, ERR_INVALID, 0, "a layer is empty");
	}
	if (rc < 0)
		unlinkat(layers_fd, tmp, 0);
	*blocks = l.blocks;
	*bytes = l.bytes;
	fd_close(&l.data);
	if (s->kind == GZIP)
		inflateEnd(&s->z);
	ZSTD_freeDStream(s->zstd);
	EVP_MD_CTX_free(s->blob_sha);
	EVP_MD_CTX_free(s->diff_sha);
	buf_free(&l.index);
	free(s);
	return rc;
}
