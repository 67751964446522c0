/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "registry/exchange.h"

#define BACKOFF_MS 300 /* the first; doubled each time */
#define ACCEPT_MANIFEST                                                                         \
	"application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, " \
	"application/vnd.docker.distribution.manifest.list.v2+json, "                           \
	"application/vnd.docker.distribution.manifest.v2+json"

/** exchange_endpoint() - Who is asked now. */
struct endpoint *exchange_endpoint(const struct exchange *x)
{
	return &x->client->endpoint[x->endpoint];
}

/** exchange_later() - Go on from client_step(), not from here. */
void exchange_later(struct exchange *x, int64_t delay_ns)
{
	x->wake_ns = clock_monotonic_ns() + delay_ns;
}

/** leave() - Free what an exchange holds and take it off the list. */
static void leave(struct exchange *x)
{
	for (struct exchange **at = &x->client->exchanges; *at; at = &(*at)->next)
		if (*at == x) {
			*at = x->next;
			break;
		}
	hop_cancel(&x->hop);
	buf_free(&x->body);
	free(x->url);
	x->url = NULL;
	secret_free(&x->authorization);
	x->wake_ns = 0;
	x->waiting = false;
}

/** exchange_finish() */
void exchange_finish(struct exchange *x)
{
	struct error err = x->phase == PHASE_NEAREST ? x->verdict : x->failure;
	char subject[400];

	if (err.code != ERR_NONE && x->kind != EXCHANGE_PING) {
		say_subject(x, subject);
		if (!err.hint[0])
			say_unreachable_hint(x->client, &err);
		if (x->tried[0])
			err_wrap(&err, "%s (%s)", subject, x->tried);
		else
			err_wrap(&err, "%s", subject);
	}
	leave(x);
	x->ops->done(x->arg, err.code != ERR_NONE ? &err : NULL);
}

/** ask_nearest() - It is not there: find out what is, for the hint. */
static void ask_nearest(struct exchange *x)
{
	x->verdict = x->failure;
	err_clear(&x->failure);
	x->phase = PHASE_NEAREST;
	x->endpoint = x->missing - 1;
	x->plain = false;
	x->tried_token = x->tried_basic = false;
	exchange_send(x);
	exchange_later(x, NEAREST_SECONDS * NSEC_PER_SEC);
}

/** exchange_give_up() - This endpoint fails for good, as x->failure says: the next one, or the end. */
void exchange_give_up(struct exchange *x)
{
	struct endpoint *e = exchange_endpoint(x);
	char note[512];
	size_t n;

	if (x->phase == PHASE_NEAREST) {
		exchange_finish(x);
		return;
	}
	if (e->mirror) {
		e->down |= !e->reached;
		do
			x->endpoint++;
		while (exchange_endpoint(x)->mirror && exchange_endpoint(x)->down);
		n = strlen(x->tried);
		snprintf(x->tried + n, sizeof(x->tried) - n, "%smirror: %s", n ? "; " : "", x->failure.text);
		snprintf(note, sizeof(note), "mirror: %.300s; asking %.100s", x->failure.text,
			 exchange_endpoint(x)->host);
		x->ops->note(x->arg, note);
		err_clear(&x->failure);
		x->attempts = 0;
		x->plain = false;
		x->tried_token = x->tried_basic = false;
		if (x->phase == PHASE_EXPLAIN)
			x->phase = PHASE_ASK;
		exchange_later(x, 0);
		return;
	}
	if (x->missing)
		ask_nearest(x);
	else
		exchange_finish(x);
}

/** backoff_ns() - Twice as long each time, a third more or less, so that many clients do not come back as one. */
static int64_t backoff_ns(unsigned int attempt)
{
	uint32_t random = 0;
	int64_t ms = BACKOFF_MS << (attempt - 1);

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
		random = (uint32_t)clock_monotonic_ns();
	return (ms * 2 / 3 + (int64_t)(random % (uint64_t)(ms * 2 / 3))) * NSEC_PER_MSEC;
}

/** exchange_try_again() - What is in x->failure may pass: wait and ask again, if there were not too many attempts. */
void exchange_try_again(struct exchange *x)
{
	struct endpoint *e = exchange_endpoint(x);
	bool progress = x->at - x->progress >= PROGRESS_BYTES;
	uint64_t seconds = 0;
	int64_t delay;
	char note[512];

	if (progress) {
		x->attempts = 0;
		x->progress = x->at;
	}
	x->attempts++;
	if (x->phase == PHASE_NEAREST || (e->mirror && !progress) || x->attempts >= ATTEMPTS_MAX) {
		if (x->attempts >= ATTEMPTS_MAX)
			err_wrap(&x->failure, "after %u attempts", x->attempts);
		exchange_give_up(x);
		return;
	}
	delay = backoff_ns(x->attempts);
	if (retry_after_parse(x->hop.answer.retry_after, clock_realtime_ns() / NSEC_PER_SEC, &seconds)) {
		if (seconds > RETRY_AFTER_MAX_S || x->waited_s + seconds > TOTAL_WAIT_S) {
			exchange_give_up(x);
			return;
		}
		x->waited_s += seconds;
		delay = MAX(delay, (int64_t)seconds * NSEC_PER_SEC);
	}
	/* Nothing was reached yet: an answer is due soon. */
	if (!e->reached && (x->attempts >= 3 || clock_monotonic_ns() + delay >= x->connect_end_ns)) {
		exchange_give_up(x);
		return;
	}
	snprintf(note, sizeof(note), "%.400s; trying again in %.1f s", x->failure.text, (double)delay / NSEC_PER_SEC);
	x->ops->note(x->arg, note);
	err_clear(&x->failure);
	x->tried_token = x->tried_basic = false;
	exchange_later(x, delay);
}

/**
 * exchange_connect_ms() - How long this hop may take to connect: what is left, shared with the endpoints that are still
 * to come.
 */
long exchange_connect_ms(const struct exchange *x)
{
	const struct endpoint *e = exchange_endpoint(x);
	int64_t left = (x->connect_end_ns - clock_monotonic_ns()) / NSEC_PER_MSEC;
	long shares = 0;

	if (e->reached)
		left = CONNECT_MS;
	else
		for (size_t i = x->endpoint; i < x->client->endpoint_count; i++)
			shares += !x->client->endpoint[i].down;
	left /= MAX(shares, 1);
	if (e->scheme == SCHEME_AUTO && !x->plain)
		left = MIN(left, TLS_TRY_MS);
	return MAX(left, CONNECT_LEAST_MS);
}

/** exchange_hop() - To x->url. @own: it is the endpoint's own origin, so its credentials may go there. */
void exchange_hop(struct exchange *x, bool own)
{
	const struct endpoint *e = exchange_endpoint(x);
	bool blob = x->kind == EXCHANGE_BLOB && x->phase == PHASE_ASK;
	char host[256];

	secret_free(&x->authorization);
	if (own && x->token && token_good(x->token)) {
		x->authorization = authorization_bearer(x->token);
		x->serial = x->token->serial;
	} else if (own && e->use_basic && e->credentials.found) {
		x->authorization = authorization_basic(&e->credentials);
	}
	x->abroad = !own;
	x->judged = x->passing_on = false;
	buf_free(&x->body);
	x->body.max = x->phase == PHASE_NEAREST	     ? JSON_LIST_MAX
		      : x->kind == EXCHANGE_MANIFEST ? MANIFEST_BYTES_MAX
						     : JSON_ANSWER_MAX;
	x->hop.url = x->url;
	x->hop.authorization = x->authorization;
	x->hop.accept = x->phase == PHASE_NEAREST || blob || x->kind == EXCHANGE_PING ? NULL : ACCEPT_MANIFEST;
	x->hop.head = x->kind == EXCHANGE_HEAD && x->phase == PHASE_ASK;
	x->hop.from = blob ? x->at : 0;
	x->hop.verify = own ? !e->insecure : !(host_canonical(x->url, host) && host_insecure(x->client, host));
	x->hop.connect_ms = exchange_connect_ms(x);
	if (hop_start(x->client->http, &x->hop, &x->failure) < 0)
		exchange_later(x, 0); /* exchange_wake() sees the failure */
	secret_free(&x->authorization);
}

/** make_path() - Of what is wanted now. Return: owned. */
static char *make_path(const struct exchange *x)
{
	const char *repository = x->client->reference.repository;
	char *out = NULL;
	int n;

	if (x->kind == EXCHANGE_PING)
		n = asprintf(&out, "/v2/");
	else if (x->phase == PHASE_NEAREST && x->missing_name)
		n = asprintf(&out, "/v2/_catalog?n=1000");
	else if (x->phase == PHASE_NEAREST)
		n = asprintf(&out, "/v2/%s/tags/list?n=1000", repository);
	else
		n = asprintf(&out, "/v2/%s/%s/%s", repository, x->kind == EXCHANGE_BLOB ? "blobs" : "manifests",
			     x->name);
	return n < 0 ? NULL : out;
}

/** exchange_send() - To the endpoint itself, with the token that its requests need if there is one. */
void exchange_send(struct exchange *x)
{
	struct endpoint *e = exchange_endpoint(x);
	_cleanup_(freep) char *path = make_path(x);

	free(x->url);
	x->url = path ? endpoint_url(e, x->plain, path) : NULL;
	if (!x->url) {
		err_set(&x->failure, ERR_NO_MEMORY, 0, "out of memory");
		exchange_later(x, 0);
		return;
	}
	x->redirects = 0;
	if (!x->tried_token)
		x->token = x->phase == PHASE_NEAREST && x->missing_name ? NULL : e->usual;
	if (x->token && hop_running(&x->token->hop)) {
		x->waiting = true;
		return;
	}
	exchange_hop(x, true);
}

void exchange_token_done(struct exchange *x)
{
	const struct token *t = x->token;

	x->waiting = false;
	if (token_good(t)) {
		exchange_send(x);
		return;
	}
	x->failure = t->failure;
	if (t->passing)
		exchange_try_again(x);
	else
		exchange_give_up(x);
}

void exchange_wake(struct exchange *x)
{
	x->wake_ns = 0;
	if (x->phase == PHASE_NEAREST)
		exchange_finish(x); /* time is up */
	else if (x->failure.code != ERR_NONE)
		exchange_give_up(x);
	else if (x->kind == EXCHANGE_BLOB && x->at == x->size)
		exchange_complete(x); /* all of it is there already */
	else
		exchange_send(x);
}

void exchange_start(struct client *client, struct exchange *x)
{
	x->client = client;
	x->phase = PHASE_ASK;
	x->endpoint = 0;
	while (client->endpoint[x->endpoint].mirror && client->endpoint[x->endpoint].down)
		x->endpoint++;
	x->token = NULL;
	x->url = x->authorization = NULL;
	x->plain = x->judged = x->told_info = x->tried_token = x->tried_basic = x->abroad = x->waiting = false;
	x->attempts = 0;
	x->skip = 0;
	x->progress = x->at;
	x->waited_s = 0;
	x->connect_end_ns = clock_monotonic_ns() + CONNECT_MS * NSEC_PER_MSEC;
	x->body = (struct buf)BUF_INIT(JSON_ANSWER_MAX);
	x->missing = 0;
	x->missing_name = false;
	x->tried[0] = '\0';
	err_clear(&x->failure);
	x->hop.on_bytes = exchange_on_bytes;
	x->hop.on_end = exchange_on_end;
	x->hop.arg = x;
	x->next = client->exchanges;
	client->exchanges = x;
	exchange_later(x, 0);
}

void exchange_cancel(struct exchange *x)
{
	leave(x);
}

void exchange_resume(struct exchange *x)
{
	hop_resume(&x->hop);
}
