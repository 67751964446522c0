/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Requests to the registry of one repository, and to its mirrors: everything between "this manifest, please" and single
 * hops: which host, https or http, credentials and tokens, redirects, trying again, and what to say when it fails.
 *
 * Theory of operation. A client has endpoints in the order in which they are tried: mirrors, then the registry. An
 * exchange is one request; it works itself through endpoints, and per endpoint through attempts:
 *
 *   send -> [token] -> hop -> redirect -> hop ... -> whole: done
 *                       |-> 401: token or password, send again (once each)
 *                       |-> lost connection, 429, 5xx: wait, send again from the byte reached (ATTEMPTS_MAX without
 * progress)
 *                       '-> anything else: the next endpoint, or failed
 *
 * What a registry controls: status, headers, bytes and pace. What bounds it: hops per attempt, attempts without
 * progress, sizes, STALL_SECONDS, TOTAL_WAIT_S. Credentials of an endpoint go to its own origin and, over TLS or where
 * the endpoint itself is not, to the token server that it names; never along a redirect.
 */
#ifndef MSB_REGISTRY_CLIENT_H
#define MSB_REGISTRY_CLIENT_H

#include "base/buf.h"
#include "base/macros.h"
#include "image/fetch.h"
#include "image/reference.h"
#include "registry/config.h"
#include "registry/credentials.h"
#include "registry/http.h"
#include "registry/json.h"

#define ENDPOINTS_MAX (CONFIG_LIST_MAX + 1)
#define TOKENS_MAX 4 /* scopes in use at one endpoint: this repository, none, the catalog */
#define SCOPE_MAX 640
#define MANIFEST_BYTES_MAX MIB(4) /* what registries accept at most */
#define CONNECT_MS 8000		  /* all hosts together until one is reached: an answer within 10 s */
#define CONNECT_LEAST_MS 400
#define TLS_TRY_MS 3000 /* where http is next: a server that does not know TLS may just wait */
#define REDIRECTS_MAX 5
#define ATTEMPTS_MAX 5
#define PROGRESS_BYTES (64u << 10) /* so many new bytes, and the attempts are counted anew */
#define RETRY_AFTER_MAX_S 60
#define TOTAL_WAIT_S 180  /* of one request, as registries told it to wait */
#define NEAREST_SECONDS 3 /* to find out what there is instead */

enum scheme { SCHEME_AUTO, SCHEME_HTTPS, SCHEME_HTTP };

/** A token for one scope. */
struct token {
	char scope[SCOPE_MAX];
	char value[TOKEN_MAX]; /* "" while there is none */
	unsigned int serial;   /* of the value */
	int64_t expires_ns;
	struct hop hop; /* asking for one */
	struct buf body;
	char *url;
	struct client *client;
	struct endpoint *endpoint;
	struct error failure; /* of the last asking */
	bool passing;	      /* the failure may pass */
};

struct endpoint {
	char host[256];	     /* [:port], as configuration and credentials name it */
	char authority[256]; /* [:port], where it is reached: registry-1.docker.io */
	char prefix[128];    /* of paths; mirrors may have one */
	bool mirror;
	bool insecure; /* plain HTTP and any certificate will do */
	enum scheme scheme;
	bool reached;	/* answered once: later failures may pass */
	bool down;	/* a mirror that was given up */
	bool use_basic; /* it has asked for it */
	struct credentials credentials;
	struct token *token[TOKENS_MAX];
	struct token *usual; /* what requests for the repository needed last */
};

struct client_options {
	bool insecure;
	const char *ca_files[CONFIG_LIST_MAX];
	size_t ca_count;
};

struct client {
	struct http *http;
	struct config *config;
	struct reference reference;
	struct endpoint endpoint[ENDPOINTS_MAX];
	size_t endpoint_count;
	bool insecure;
	struct exchange *exchanges;
};

enum exchange_kind {
	EXCHANGE_HEAD = FETCH_HEAD,
	EXCHANGE_MANIFEST = FETCH_MANIFEST,
	EXCHANGE_BLOB = FETCH_BLOB,
	EXCHANGE_PING, /* is there a registry, and does it accept the credentials? */
};

/** Who asks. All are called from client_step(). */
struct exchange_ops {
	void (*note)(void *arg, const char *text);
	void (*info)(void *arg, const struct fetch_info *info);
	/** Return: false: not now; exchange_resume() follows. */
	bool (*bytes)(void *arg, const uint8_t *p, size_t n);
	/** @err: NULL: everything was sent. The exchange is free to be started again, or to be freed. */
	void (*done)(void *arg, const struct error *err);
};

enum exchange_phase {
	PHASE_ASK,     /* what was asked for */
	PHASE_EXPLAIN, /* HEAD failed, and its answer has no body: the same as GET */
	PHASE_NEAREST, /* it is not there: what is? */
};

struct exchange {
	/* by the caller of exchange_start() */
	enum exchange_kind kind;
	char name[256]; /* tag or digest */
	uint64_t at;	/* BLOB: next byte wanted */
	uint64_t size;	/* as in struct fetch_request */
	const struct exchange_ops *ops;
	void *arg;
	/* private */
	struct client *client;
	struct exchange *next;
	enum exchange_phase phase;
	size_t endpoint;
	struct hop hop;
	struct token *token; /* awaited, or used last */
	unsigned int serial; /* of the token that was sent */
	bool waiting;	     /* for that token */
	char *url;	     /* of the hop */
	char *authorization;
	bool plain;	 /* http after https was no TLS */
	bool judged;	 /* the head of this answer was looked at */
	bool passing_on; /* its body is what was asked for */
	bool told_info;
	bool tried_token, tried_basic;
	bool abroad; /* the hop goes to a host that the endpoint has redirected to */
	unsigned int redirects, attempts;
	uint64_t skip;	   /* bytes of this answer that were sent before */
	uint64_t progress; /* at, when attempts were last counted anew */
	int64_t wake_ns;   /* when to try again; 0: not waiting */
	int64_t connect_end_ns;
	uint64_t waited_s;
	struct buf body; /* a manifest, an error */
	struct error failure;
	struct error verdict; /* PHASE_NEAREST: what the failure was */
	size_t missing;	      /* the last endpoint that said it is not there, + 1 */
	bool missing_name;    /* not even the repository */
	char tried[200];      /* mirrors that failed */
};

/** client_new() - Read configuration, CA files and credentials. Return: owned, or NULL. */
struct client *client_new(const char *home, const char *reference, const struct client_options *options,
			  struct error *err);
/** client_new_login() - For one host and these credentials; no mirrors. */
struct client *client_new_login(const char *home, const char *host, const struct credentials *c,
				const struct client_options *options, struct error *err);
/** client_new_idle() - One for client_step() only: it knows no registry. */
struct client *client_new_idle(struct error *err);
void client_free(struct client *client);
/** client_step() - Wait for network, timers or @fds, at most @wait_ms; do what is to be done. */
int client_step(struct client *client, struct curl_waitfd *fds, unsigned int count, int wait_ms, struct error *err);

/** exchange_start() - Begin; ops->done is never called before this returns. */
void exchange_start(struct client *client, struct exchange *x);
/** exchange_cancel() - Nothing of it is called any more. */
void exchange_cancel(struct exchange *x);
/** exchange_resume() - Bytes are welcome again. */
void exchange_resume(struct exchange *x);

/* Between the files of the client. */
/** endpoint_url() - scheme://authority/prefix + path. Return: owned, NULL without memory. */
char *endpoint_url(const struct endpoint *e, bool plain, const char *path);
/** endpoint_plain_allowed() - May it be spoken to without TLS? */
bool endpoint_plain_allowed(const struct endpoint *e);
/** host_insecure() - Does the user allow anything for this host? */
bool host_insecure(const struct client *client, const char *host);

/** token_for() - The endpoint's token of a scope, made on first use; NULL: too many scopes. */
struct token *token_for(struct client *client, struct endpoint *e, const char *scope);
bool token_good(const struct token *t);
/** token_ask() - Begin to get one where a challenge says, unless that is going on already. */
int token_ask(struct token *t, const struct challenge *c, long connect_ms, struct error *err);
/**
 * authorization_bearer(), authorization_basic() - A header's value. Return: owned, to be wiped; NULL without memory.
 */
char *authorization_bearer(const struct token *t);
char *authorization_basic(const struct credentials *c);
void secret_free(char **s);

/** say_subject() - docker.io/library/python:3.12, or ... blob sha256:0123456789ab. */
void say_subject(const struct exchange *x, char out[400]);
/** say_transport() - Why a hop failed without an answer. @url: where to. Return: negative code. */
int say_transport(const struct hop *hop, const struct endpoint *e, const char *url, struct error *err);
/** say_unauthorised() - 401 of the registry or its token server. @said: in its words, or "" */
int say_unauthorised(const struct endpoint *e, const char *said, struct error *err);
/** say_refused() - 401 or 403. */
int say_refused(const struct exchange *x, const struct endpoint *e, int status, const struct registry_error *said,
		struct error *err);
/** say_missing() - 404. */
int say_missing(const struct exchange *x, const struct endpoint *e, const struct registry_error *said,
		struct error *err);
/** say_status() - Any other status. */
int say_status(const struct endpoint *e, const char *url, const struct answer *a, const struct registry_error *said,
	       struct error *err);
/** say_unreachable_hint() - The three ways on when there is no network. */
void say_unreachable_hint(const struct client *client, struct error *err);
/** suggest_known() - A name of Docker Hub's own images close to this one, or NULL. */
const char *suggest_known(const char *repository);
/** is_temporary() - May this status pass? */
bool is_temporary(int status);
/** is_certificate_failure() */
bool is_certificate_failure(const struct hop *hop);

#endif
