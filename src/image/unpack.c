/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A blob's bytes go through: SHA-256 (blob), decompression, SHA-256 (diff_id, which sees every byte of the tar, padding
 * included), the tar reader, the layer writer. Nothing waits for the whole of anything.
 */
#include "image/unpack.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/macros.h"
#include "image/layer_writer.h"

#define CHUNK (256u << 10)
#define ZSTD_WINDOW_LOG_MAX 27 /* 128 MiB: what the format asks every decoder to take, and no more */
#define STREAM_BYTES_MAX (LAYER_BYTES_MAX + (1ULL << 30)) /* headers besides the contents */

enum compression { PLAIN, GZIP, ZSTD };

struct unpack {
	const struct blob_source *source;
	enum compression kind;
	z_stream z;
	bool z_ready;
	ZSTD_DStream *zstd;
	EVP_MD_CTX *blob_sha, *diff_sha;
	struct layer_writer *writer;
	struct tar *tar;
	uint8_t *in, *out; /* CHUNK each */
	uint64_t total;
	bool ended; /* the compressed stream is at the end of a member or frame */
};

void digest_text(const uint8_t *p, char out[DIGEST_HEX + 1])
{
	for (int i = 0; i < DIGEST_HEX / 2; i++)
		snprintf(out + 2 * i, 3, "%02x", p[i]);
}

void digest_hex(const void *p, size_t n, char out[DIGEST_HEX + 1])
{
	uint8_t sum[EVP_MAX_MD_SIZE];

	EVP_Digest(p, n, sum, NULL, EVP_sha256(), NULL);
	digest_text(sum, out);
}

/** feed() - Bytes of the tar. */
static int feed(struct unpack *u, const uint8_t *p, size_t n, struct error *err)
{
	u->total += n;
	if (u->total > STREAM_BYTES_MAX)
		return err_set(err, ERR_LIMIT, 0, "the layer unpacks to more than 10 GiB");
	EVP_DigestUpdate(u->diff_sha, p, n);
	if (u->tar && tar_feed(u->tar, p, n, err) < 0)
		return err->code == ERR_INVALID ? err_wrap(err, "the layer's tar is damaged") : -(int)err->code;
	return 0;
}

/** feed_gzip() - Compressed bytes; members may follow one another. */
static int feed_gzip(struct unpack *u, size_t n, struct error *err)
{
	u->z.next_in = u->in;
	u->z.avail_in = (unsigned int)n;
	for (;;) {
		int rc;

		if (u->ended) {
			if (u->z.avail_in == 0)
				return 0;
			inflateReset(&u->z);
			u->ended = false;
		}
		u->z.next_out = u->out;
		u->z.avail_out = CHUNK;
		rc = inflate(&u->z, Z_NO_FLUSH);
		if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
			return err_set(err, ERR_INVALID, 0, "the layer's gzip data is damaged");
		if (u->z.avail_out < CHUNK && feed(u, u->out, CHUNK - u->z.avail_out, err) < 0)
			return -(int)err->code;
		u->ended = rc == Z_STREAM_END;
		if (!u->ended && u->z.avail_out)
			return 0; /* all input is taken, and all output out */
	}
}

/** feed_zstd() - Compressed bytes. */
static int feed_zstd(struct unpack *u, size_t n, struct error *err)
{
	ZSTD_inBuffer in = { u->in, n, 0 };

	for (;;) {
		ZSTD_outBuffer out = { u->out, CHUNK, 0 };
		size_t rc;

		if (u->ended && in.pos == in.size)
			return 0;
		rc = ZSTD_decompressStream(u->zstd, &out, &in);
		if (ZSTD_isError(rc))
			return err_set(err, ERR_INVALID, 0, "the layer's zstd data is damaged");
		if (out.pos && feed(u, u->out, out.pos, err) < 0)
			return -(int)err->code;
		u->ended = rc == 0;
		if (!u->ended && in.pos == in.size && out.pos < CHUNK)
			return 0;
	}
}

/** detect() - The compression, by the first bytes (media types lie). */
static int detect(struct unpack *u, size_t n, struct error *err)
{
	static const uint8_t zstd_magic[] = { 0x28, 0xb5, 0x2f, 0xfd };

	if (n > 2 && u->in[0] == 0x1f && u->in[1] == 0x8b) {
		u->kind = GZIP;
		u->z_ready = inflateInit2(&u->z, 15 + 16) == Z_OK;
		return u->z_ready ? 0 : err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	}
	/* A skippable frame may come first (seekable zstd, zstd:chunked). */
	if (n > 4 && (memcmp(u->in, zstd_magic, 4) == 0 ||
		      ((u->in[0] & 0xf0) == 0x50 && memcmp(u->in + 1, "\x2a\x4d\x18", 3) == 0))) {
		u->kind = ZSTD;
		u->zstd = ZSTD_createDStream();
		if (!u->zstd)
			return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
		ZSTD_DCtx_setParameter(u->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
		return 0;
	}
	u->kind = PLAIN;
	u->ended = true;
	return 0;
}

/** read_blob() - All of it through all of us. */
static int read_blob(struct unpack *u, struct error *err)
{
	bool first = true;
	size_t have = 0;

	for (;;) {
		/* The first piece must be long enough to know the compression by. */
		ssize_t n = u->source->read(u->source->arg, u->in + have, CHUNK - have, err);
		int rc;

		if (n < 0)
			return (int)n;
		have += (size_t)n;
		if (first && n > 0 && have < 8)
			continue;
		if (have == 0)
			break;
		if (first && detect(u, have, err) < 0)
			return -(int)err->code;
		first = false;
		EVP_DigestUpdate(u->blob_sha, u->in, have);
		rc = u->kind == GZIP   ? feed_gzip(u, have, err)
		     : u->kind == ZSTD ? feed_zstd(u, have, err)
				       : feed(u, u->in, have, err);
		if (rc < 0)
			return rc;
		have = 0;
	}
	if (first)
		return err_set(err, ERR_INVALID, 0, "a layer is empty");
	if (!u->ended)
		return err_set(err, ERR_INVALID, 0, "the layer's compressed data is truncated");
	return u->tar && tar_finish(u->tar, err) < 0 ? err_wrap(err, "the layer's tar is damaged") : 0;
}

/** check_digest() - Finish a SHA-256 and compare. */
static int check_digest(EVP_MD_CTX *ctx, const char *want, const char *what, struct error *err)
{
	uint8_t sum[EVP_MAX_MD_SIZE];
	char hex[DIGEST_HEX + 1];

	EVP_DigestFinal_ex(ctx, sum, NULL);
	digest_text(sum, hex);
	if (want && strcmp(want, hex) != 0)
		return err_set(err, ERR_INVALID, 0,
			       "%s is sha256:%.12s..., expected sha256:%.12s...: it is damaged or forged", what, hex,
			       want);
	return 0;
}

/** prepare() - Buffers and digests. */
static int prepare(struct unpack *u, struct error *err)
{
	u->in = malloc(CHUNK);
	u->out = malloc(CHUNK);
	u->blob_sha = EVP_MD_CTX_new();
	u->diff_sha = EVP_MD_CTX_new();
	if (!u->in || !u->out || !u->blob_sha || !u->diff_sha || !EVP_DigestInit_ex(u->blob_sha, EVP_sha256(), NULL) ||
	    !EVP_DigestInit_ex(u->diff_sha, EVP_sha256(), NULL))
		return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	return 0;
}

/** prepare_writer() - Where the layer goes. */
static int prepare_writer(struct unpack *u, int layers_fd, const char *diff_id, struct error *err)
{
	u->writer = layer_writer_new(layers_fd, diff_id, err);
	if (!u->writer)
		return -(int)err->code;
	u->tar = tar_new(&layer_sink, u->writer);
	return u->tar ? 0 : err_set(err, ERR_NO_MEMORY, 0, "out of memory");
}

/** release() - Everything. */
static void release(struct unpack *u)
{
	tar_free(u->tar);
	layer_writer_free(u->writer);
	if (u->z_ready)
		inflateEnd(&u->z);
	ZSTD_freeDStream(u->zstd);
	EVP_MD_CTX_free(u->blob_sha);
	EVP_MD_CTX_free(u->diff_sha);
	free(u->in);
	free(u->out);
}

int layer_unpack(int layers_fd, const struct blob_source *source, const char *blob_digest, const char *diff_id,
		 uint64_t *blocks, char note[300], struct error *err)
{
	struct unpack u = { .source = source };
	int rc = prepare(&u, err);

	note[0] = '\0';
	if (rc == 0)
		rc = prepare_writer(&u, layers_fd, diff_id, err);
	if (rc == 0)
		rc = read_blob(&u, err);
	if (rc == 0)
		rc = check_digest(u.blob_sha, blob_digest, "a layer's blob", err);
	if (rc == 0)
		rc = check_digest(u.diff_sha, diff_id, "a layer's content (diff_id)", err);
	if (rc == 0)
		rc = layer_writer_commit(u.writer, blocks, err);
	if (rc == 0 && layer_writer_note(u.writer))
		snprintf(note, 300, "%s", layer_writer_note(u.writer));
	release(&u);
	return rc;
}

int layer_diff_id(const struct blob_source *source, char out[DIGEST_HEX + 1], uint64_t *size, struct error *err)
{
	struct unpack u = { .source = source };
	uint8_t sum[EVP_MAX_MD_SIZE];
	int rc = prepare(&u, err);

	if (rc == 0)
		rc = read_blob(&u, err);
	if (rc == 0) {
		EVP_DigestFinal_ex(u.diff_sha, sum, NULL);
		digest_text(sum, out);
		*size = u.total;
	}
	release(&u);
	return rc;
}
