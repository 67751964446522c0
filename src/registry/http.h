/* SPDX-License-Identifier: Apache-2.0 */
/**
 * One HTTP request and its answer (a hop), many at once, over libcurl's multi interface: all on one thread.
 *
 * Nothing is followed, retried or authenticated here, and only what the hop says is sent: no cookies, no .netrc, no
 * automatic redirects. So no header can reach a host that its hop does not name. HTTP/1.1 on purpose: with one
 * connection per transfer a paused one takes up neither memory (HTTP/2's window is 32 MiB) nor the others' connection.
 */
#ifndef MSB_REGISTRY_HTTP_H
#define MSB_REGISTRY_HTTP_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "registry/parse.h"

#define HTTP_CHUNK_MAX (64u << 10) /* most that hop->on_bytes gets at once */
#define STALL_SECONDS 30	   /* slower than STALL_BYTES per second for so long is a stall */
#define STALL_BYTES 1024

struct http;

enum hop_verdict {
	HOP_MORE,
	HOP_WAIT, /* not taken: the same bytes again after hop_resume() */
	HOP_STOP, /* no more of this answer */
};

enum hop_end {
	HOP_WHOLE,   /* the answer came whole */
	HOP_STOPPED, /* on_bytes said so */
	HOP_FAILED,  /* see code */
};

struct hop {
	/* by the caller; the strings are copied */
	const char *url;
	const char *authorization; /* value of the header, or NULL */
	const char *accept;
	uint64_t from; /* first byte wanted; 0: no Range header */
	long connect_ms;
	bool head;
	bool verify; /* the certificate */
	/** The next piece of the body; hop->answer is complete. May not start or cancel hops. */
	enum hop_verdict (*on_bytes)(void *arg, const uint8_t *p, size_t n);
	/** The end; the hop may be started again, or freed. */
	void (*on_end)(void *arg);
	void *arg;
	/* what came */
	struct answer answer;
	enum hop_end end;
	CURLcode code;
	int sys_errno;		    /* of a failed connection */
	bool connected;		    /* to the server, or the proxy */
	bool stalled;		    /* code is CURLE_OPERATION_TIMEDOUT then */
	long proxy_status;	    /* what a proxy said to CONNECT; 0: nothing */
	long certificate;	    /* X509_V_ERR_..., 0: none */
	char text[CURL_ERROR_SIZE]; /* curl's words; "" when it has none */
	/* private */
	struct http *http;
	struct hop *next;
	CURL *easy;
	struct curl_slist *headers;
	bool paused, stopped;
	int64_t stall_ns; /* when it is too slow, if nothing more comes */
};

/**
 * http_new() - Reads the system's and the extra CA certificates, so that it can be confined afterwards.
 * @ca_files: PEM files that are trusted besides the system's
 */
struct http *http_new(const char *const *ca_files, size_t ca_count, struct error *err);
void http_free(struct http *http);

/** hop_start() - Send the request. on_end is never called before this returns. */
int hop_start(struct http *http, struct hop *hop, struct error *err);
/** hop_cancel() - Forget it, running or not; not inside on_bytes. */
void hop_cancel(struct hop *hop);
/** hop_resume() - After HOP_WAIT. */
void hop_resume(struct hop *hop);
/** hop_running() - Started, and its end not yet told. */
static inline bool hop_running(const struct hop *hop)
{
	return hop->easy;
}

/**
 * http_step() - Wait for the network or for these descriptors, and do what is to be done.
 * @fds: poll()ed besides; revents are filled. @wait_ms: at most
 */
int http_step(struct http *http, struct curl_waitfd *fds, unsigned int count, int wait_ms, struct error *err);

/** http_proxy() - The proxy that the environment names for this URL, without its password, or "". For texts. */
void http_proxy(const char *url, char out[256]);

#endif
