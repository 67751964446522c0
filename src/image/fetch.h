/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The seam between the program that has the network and the one that has the store.
 *
 * msb starts two programs for a pull: msb-registry (HTTP, TLS, credentials; no store) and msb-image (manifests, layers,
 * store; no network), joined by a SOCK_SEQPACKET pair, descriptor FETCH_CONTROL_FD in both. Over it msb-image passes
 * one end of a new SOCK_STREAM pair (a one-byte message with one descriptor): a channel. msb-registry ends at the end
 * of file of the control socket.
 *
 * On a channel, one request (struct fetch_request) at a time; the answer is a sequence of frames: any number of NOTE,
 * one INFO, any number of STORED, any number of BYTES, then END or FAILED. Then the next request, or the end of file.
 * Both ends are this machine's; numbers are in host order. Each side treats the other's bytes as hostile.
 *
 * With the request for a blob may come a descriptor of a file, open for writing. Then the blob's bytes are written into
 * it, each at its place, and STORED says how far they go: they need not be copied through the channel and from there to
 * the file that keeps them anyway. Only what the file does not take (its disk is full) comes as BYTES.
 */
#ifndef MSB_IMAGE_FETCH_H
#define MSB_IMAGE_FETCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define FETCH_CONTROL_FD 3
#define FETCH_BYTES_MAX (256u << 10) /* body of one frame */
#define FETCH_CHANNELS_MAX 64

enum fetch_kind {
	FETCH_HEAD = 1, /* of a manifest: only INFO (its digest) and END */
	FETCH_MANIFEST, /* manifest or index */
	FETCH_BLOB,
	FETCH_DISTRUST, /* the last answer was not what its digest says: END when it came from a mirror, which is not
			 * asked again, else FAILED: there is nobody else */
};

struct fetch_request {
	uint32_t kind;
	uint32_t zero;
	uint64_t offset; /* BLOB: first byte wanted */
	uint64_t size;	 /* BLOB: of the whole, as its descriptor says: fewer or more is a failure. MANIFEST: the most
			    wanted */
	char name[256];	 /* tag, or sha256:HEX */
};

enum fetch_frame_type {
	FETCH_INFO = 1, /* struct fetch_info */
	FETCH_NOTE,	/* text: what is being tried again, and why; for the user */
	FETCH_BYTES,
	FETCH_END,    /* empty: everything was sent */
	FETCH_FAILED, /* struct fetch_failure */
	FETCH_STORED, /* uint64_t: the bytes before this one of the blob are in the file; more each time */
};

struct fetch_frame {
	uint32_t type;
	uint32_t length; /* of what follows */
};

struct fetch_info {
	uint64_t size;	 /* of what follows in BYTES; HEAD: of the manifest. UINT64_MAX: the registry did not say */
	char digest[80]; /* Docker-Content-Digest, or "" */
	char media_type[128]; /* Content-Type without parameters */
	char source[256];     /* host that answered: the registry, or the mirror */
};

struct fetch_failure {
	uint32_t code; /* enum err_code: ERR_NOT_FOUND, ERR_PERMISSION (credentials), ERR_TIMEOUT, ERR_CLOSED,
			  ERR_LIMIT... */
	int32_t zero;
	char text[480];
	char hint[160];
};

/** fetch_open() - A new channel over the control socket. Return: owned fd, or a negative code. */
int fetch_open(int control_fd, struct error *err);
/** fetch_distrust() - After a wrong answer: is there another source to ask? */
bool fetch_distrust(int channel);
/** fetch_ask() - Send a request. @name: tag or digest. @file: borrowed, for a blob's bytes; or -1 */
int fetch_ask(int channel, enum fetch_kind kind, const char *name, uint64_t offset, uint64_t size, int file,
	      struct error *err);

/**
 * fetch_next() - The next piece of the answer. Notes go to @note (NULL: dropped).
 * @info: filled by the first call after fetch_ask(), which returns 0 bytes then
 * @to:   room for FETCH_BYTES_MAX
 * @stored: how far the blob's file goes, unchanged where this piece does not say; NULL when no file was given
 * Return: bytes in @to (>= 0) with *end set when the answer is complete, or a negative code: what msb-registry says, or
 * ERR_CLOSED when it is gone.
 */
ssize_t fetch_next(int channel, struct fetch_info *info, void *to, uint64_t *stored, bool *end,
		   void (*note)(void *arg, const char *text), void *arg, struct error *err);

#endif
