/* SPDX-License-Identifier: Apache-2.0 */
/**
 * What a registry says in its headers. The bytes are hostile: every text has a fixed room, what does not fit or does
 * not follow the grammar counts as not said. Nothing here allocates.
 */
#ifndef MSB_REGISTRY_PARSE_H
#define MSB_REGISTRY_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEADERS_BYTES_MAX (64u << 10) /* of one answer, all its headers */
#define LOCATION_MAX 8192	      /* signed URLs of object stores have 1 to 3 KiB */
#define NOT_SAID UINT64_MAX

/** How to authenticate (RFC 7235, RFC 6750): one answer may offer both. */
struct challenge {
	bool basic;
	bool bearer;
	char realm[1024]; /* these three are the bearer's */
	char service[256];
	char scope[640];
};

/** The head of an answer. */
struct answer {
	int status;	 /* 0: none came */
	uint64_t length; /* Content-Length, or NOT_SAID */
	bool framed;	 /* its end is marked: by a length or by chunks */
	char type[128];	 /* Content-Type without parameters, in lower case */
	char digest[80]; /* Docker-Content-Digest */
	char range[96];	 /* Content-Range */
	char retry_after[64];
	char location[LOCATION_MAX];
	struct challenge challenge;
	size_t bytes; /* of headers so far */
};

/**
 * answer_header() - Take in one line of the head, a new status line included. Return: false when there are too many.
 */
bool answer_header(struct answer *a, const char *line, size_t n);
/** challenge_parse() - The value of one WWW-Authenticate header, added to what others said. */
void challenge_parse(const char *s, size_t n, struct challenge *out);
/** content_range_parse() - "bytes 5-9/10". @total: NOT_SAID for "*". Return: false when it is anything else. */
bool content_range_parse(const char *s, uint64_t *first, uint64_t *last, uint64_t *total);
/** retry_after_parse() - Seconds, or a date (RFC 7231). @now: seconds since 1970. Return: false when neither. */
bool retry_after_parse(const char *s, int64_t now, uint64_t *seconds);
/** base64_decode() - Strict, padding optional. @out: room for n bytes. Return: bytes, or -1. */
long base64_decode(const char *s, size_t n, uint8_t *out);
/** base64_encode() - @out: room for 4 * (n + 2) / 3 + 1. */
void base64_encode(const uint8_t *p, size_t n, char *out);
/**
 * host_canonical() - Lower case, without scheme and path; each name of Docker Hub is docker.io. Return: false: no host.
 */
bool host_canonical(const char *typed, char out[256]);
/** host_is_loopback() - 127.0.0.0/8, ::1, localhost; a port may follow. */
bool host_is_loopback(const char *host);

#endif
