/* SPDX-License-Identifier: Apache-2.0 */
/* What an exchange makes of the answers to its hops. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry/exchange.h"

#define SCHEMA1 "application/vnd.docker.distribution.manifest.v1+"

/** failed() - Set the failure of this endpoint where it is known already. */
#define failed(x, ...) (err_set(&(x)->failure, __VA_ARGS__), false)

/**
 * judge_blob() - The head of an answer that brings (a part of) a blob. Return: false: x->failure says what is wrong.
 */
static bool judge_blob(struct exchange *x, const struct endpoint *e)
{
	const struct answer *a = &x->hop.answer;
	uint64_t first = 0, last, total, whole;

	if (a->status == 206) {
		if (!content_range_parse(a->range, &first, &last, &total) || first != x->hop.from ||
		    (total != NOT_SAID && total != x->size) || last >= x->size)
			return failed(x, ERR_PROTOCOL, 0, "%s was asked for bytes %llu to %llu and answers with \"%s\"",
				      e->host, (unsigned long long)x->hop.from, (unsigned long long)x->size - 1,
				      a->range);
	}
	x->skip = x->at - first; /* a 200 to a range begins anew */
	whole = a->length == NOT_SAID ? x->size : first + a->length;
	if (whole != x->size)
		return failed(x, ERR_PROTOCOL, 0, "%s has %llu bytes of it, the manifest says %llu", e->host,
			      (unsigned long long)whole, (unsigned long long)x->size);
	return true;
}

/** tell_info() - Once for each request, however many attempts it takes. */
static void tell_info(struct exchange *x, uint64_t size)
{
	const struct answer *a = &x->hop.answer;
	struct fetch_info info = { .size = size };

	if (x->told_info)
		return;
	x->told_info = true;
	snprintf(info.digest, sizeof(info.digest), "%s", a->digest);
	snprintf(info.media_type, sizeof(info.media_type), "%s", a->type);
	snprintf(info.source, sizeof(info.source), "%s", exchange_endpoint(x)->host);
	x->ops->info(x->arg, &info);
}

/** judge() - The head of an answer is complete. Return: false: x->failure says what is wrong. */
static bool judge(struct exchange *x)
{
	struct endpoint *e = exchange_endpoint(x);
	const struct answer *a = &x->hop.answer;

	x->judged = true;
	e->reached = true;
	if (e->scheme == SCHEME_AUTO && !x->abroad)
		e->scheme = x->plain ? SCHEME_HTTP : SCHEME_HTTPS;
	x->passing_on = x->phase != PHASE_NEAREST && (a->status == 200 || a->status == 206);
	if (!x->passing_on || x->kind == EXCHANGE_PING)
		return true;
	if (x->kind == EXCHANGE_BLOB) {
		if (!judge_blob(x, e))
			return false;
		tell_info(x, x->size - x->at);
		return true;
	}
	if (strncmp(a->type, SCHEMA1, strlen(SCHEMA1)) == 0)
		return failed(x, ERR_UNSUPPORTED, 0, "%s has only a manifest of the old form (schema 1)", e->host);
	if (strcmp(a->type, "text/html") == 0)
		return failed(x, ERR_PROTOCOL, 0, "%s answers with a web page: it is no registry", e->host);
	if (x->kind == EXCHANGE_HEAD)
		tell_info(x, a->length);
	return true;
}

/** exchange_on_bytes() - Of an answer's body. */
enum hop_verdict exchange_on_bytes(void *arg, const uint8_t *p, size_t n)
{
	struct exchange *x = arg;
	size_t skip;

	if (!x->judged && !judge(x))
		return HOP_STOP;
	if (!x->passing_on || x->kind == EXCHANGE_PING) /* what an error's body says beyond the limit does not matter */
		return buf_append(&x->body, p, n) ? HOP_MORE : HOP_STOP;
	if (x->kind == EXCHANGE_HEAD)
		return HOP_STOP;
	if (x->kind == EXCHANGE_MANIFEST) {
		if (x->body.len + n <= MIN(x->size, MANIFEST_BYTES_MAX) && buf_append(&x->body, p, n))
			return HOP_MORE;
		err_set(&x->failure, ERR_LIMIT, 0, "the manifest is larger than %llu bytes",
			(unsigned long long)MIN(x->size, MANIFEST_BYTES_MAX));
		return HOP_STOP;
	}
	skip = MIN(n, x->skip);
	if (n - skip > x->size - x->at) {
		err_set(&x->failure, ERR_PROTOCOL, 0, "%s sends more than the %llu bytes that the manifest says",
			exchange_endpoint(x)->host, (unsigned long long)x->size);
		return HOP_STOP;
	}
	if (n > skip && !x->ops->bytes(x->arg, p + skip, n - skip))
		return HOP_WAIT;
	x->skip -= skip;
	x->at += n - skip;
	return HOP_MORE;
}

/**
 * is_plain() - Failed an https request because http is what is spoken there? The endpoint's scheme is known then, or
 * tried next.
 */
static bool is_plain(const struct exchange *x, const struct endpoint *e)
{
	const struct hop *hop = &x->hop;
	bool no_tls = hop->code == CURLE_SSL_CONNECT_ERROR || (hop->connected && !hop->stalled);

	if (x->abroad || hop->answer.status || is_certificate_failure(hop) || strncmp(x->url, "https:", 6) != 0)
		return false;
	/* The same port serves http and https only where the user names one. */
	return e->scheme == SCHEME_HTTP || (e->scheme == SCHEME_AUTO && (no_tls || !strchr(e->authority, ':')));
}

/** is_final() - Would asking again change nothing? */
static bool is_final(const struct hop *hop)
{
	return is_certificate_failure(hop) || hop->code == CURLE_WRITE_ERROR ||
	       hop->code == CURLE_UNSUPPORTED_PROTOCOL || hop->code == CURLE_WEIRD_SERVER_REPLY ||
	       hop->proxy_status / 100 == 4 ||
	       (hop->code == CURLE_SSL_CONNECT_ERROR &&
		(strstr(hop->text, "wrong version") || strstr(hop->text, "alert")));
}

/** lost() - The hop failed without a whole answer. */
static void lost(struct exchange *x)
{
	struct endpoint *e = exchange_endpoint(x);
	const struct hop *hop = &x->hop;

	if (is_plain(x, e)) {
		x->plain = true;
		exchange_later(x, 0);
		return;
	}
	if (x->kind == EXCHANGE_BLOB && x->at == x->size) {
		exchange_finish(x);
		return;
	}
	e->reached |= hop->connected;
	say_transport(hop, e, x->url, &x->failure);
	if ((!hop->connected || hop->proxy_status >= 300) && !x->abroad)
		say_unreachable_hint(x->client, &x->failure);
	if (is_final(hop))
		exchange_give_up(x);
	else
		exchange_try_again(x);
}

/**
 * unauthorised() - 401 of the endpoint itself: authenticate as it says. Return: false when that was done and did not
 * help.
 */
static bool unauthorised(struct exchange *x)
{
	struct endpoint *e = exchange_endpoint(x);
	const struct challenge *c = &x->hop.answer.challenge;
	char scope[SCOPE_MAX] = "";
	struct token *t;

	if (c->bearer) {
		if (c->scope[0])
			snprintf(scope, sizeof(scope), "%s", c->scope);
		else if (x->kind != EXCHANGE_PING)
			snprintf(scope, sizeof(scope), "repository:%s:pull", x->client->reference.repository);
		t = token_for(x->client, e, scope);
		/* Another exchange may have got or renewed the token while this one was under way. */
		if (t && token_good(t) && (t != x->token || t->serial != x->serial)) {
			x->token = t;
			exchange_send(x);
			return true;
		}
		if (x->tried_token)
			return false;
		x->token = t;
		x->tried_token = true;
		if (!x->token || token_ask(x->token, c, exchange_connect_ms(x), &x->failure) < 0) {
			if (x->failure.code == ERR_NONE)
				err_set(&x->failure, ERR_LIMIT, 0, "%s wants too many tokens", e->host);
			exchange_give_up(x);
			return true;
		}
		if (x->phase != PHASE_NEAREST)
			e->usual = x->token;
		x->waiting = true;
		return true;
	}
	if (!c->basic || !e->credentials.found || x->tried_basic)
		return false;
	x->tried_basic = true;
	e->use_basic = true;
	exchange_send(x);
	return true;
}

/** origin() - scheme://host:port of a URL, as curl understands it. Return: false when it is no http(s) URL. */
static bool origin(CURLU *u, char out[300])
{
	char *scheme = NULL, *host = NULL, *port = NULL, *user = NULL;
	bool good = curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
		    curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
		    curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
		    curl_url_get(u, CURLUPART_USER, &user, 0) != CURLUE_OK &&
		    (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0) &&
		    snprintf(out, 300, "%s://%s:%s", scheme, host, port) < 300;

	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	curl_free(user);
	return good;
}

/** follow() - A redirect: the same question elsewhere, with credentials only if it is the endpoint's own origin. */
static void follow(struct exchange *x)
{
	const struct endpoint *e = exchange_endpoint(x);
	CURLU *u = curl_url();
	_cleanup_(freep) char *own_url = endpoint_url(e, x->plain, "/");
	char *next = NULL, own[300], from[300], to[300];
	bool good = u && own_url && curl_url_set(u, CURLUPART_URL, own_url, 0) == CURLUE_OK && origin(u, own) &&
		    curl_url_set(u, CURLUPART_URL, x->url, 0) == CURLUE_OK && origin(u, from) &&
		    curl_url_set(u, CURLUPART_URL, x->hop.answer.location, 0) == CURLUE_OK && origin(u, to) &&
		    curl_url_get(u, CURLUPART_URL, &next, 0) == CURLUE_OK;

	curl_url_cleanup(u);
	if (!good)
		err_set(&x->failure, ERR_PROTOCOL, 0, "%s redirects to \"%.150s\", which is no usable URL", e->host,
			x->hop.answer.location);
	else if (strncmp(from, "https:", 6) == 0 && strncmp(to, "http:", 5) == 0)
		err_set(&x->failure, ERR_PROTOCOL, 0,
			"%s redirects from https to %.150s, which anybody on the way could change", e->host, to);
	else if (++x->redirects > REDIRECTS_MAX)
		err_set(&x->failure, ERR_PROTOCOL, 0, "%s redirects more than %d times", e->host, REDIRECTS_MAX);
	if (x->failure.code != ERR_NONE) {
		curl_free(next);
		exchange_give_up(x);
		return;
	}
	free(x->url);
	x->url = strdup(next);
	curl_free(next);
	if (x->url) {
		exchange_hop(x, strcmp(own, to) == 0);
		return;
	}
	err_set(&x->failure, ERR_NO_MEMORY, 0, "out of memory");
	exchange_give_up(x);
}

/** exchange_complete() - The answer that was wanted, whole. */
void exchange_complete(struct exchange *x)
{
	const struct endpoint *e = exchange_endpoint(x);

	if (x->kind == EXCHANGE_MANIFEST) {
		tell_info(x, x->body.len);
		x->ops->bytes(x->arg, x->body.data, x->body.len);
	} else if (x->kind == EXCHANGE_BLOB && x->at == x->size) {
		tell_info(x, 0);
	} else if (x->kind == EXCHANGE_BLOB) {
		err_set(&x->failure, ERR_PROTOCOL, 0, "%s ended after %llu of %llu bytes", e->host,
			(unsigned long long)x->at, (unsigned long long)x->size);
		if (x->hop.answer.framed)
			exchange_give_up(x);
		else
			exchange_try_again(x); /* a cut connection looks the same */
		return;
	}
	exchange_finish(x);
}

/** refuse() - An answer that is a refusal of what was asked. */
static void refuse(struct exchange *x)
{
	const struct endpoint *e = exchange_endpoint(x);
	int status = x->hop.answer.status;
	struct registry_error said;

	/* The answer to HEAD cannot say why. */
	if (x->hop.head) {
		x->phase = PHASE_EXPLAIN;
		exchange_send(x);
		return;
	}
	registry_error_parse(x->body.data, x->body.len, &said);
	if (x->abroad || (status != 401 && status != 403 && status != 404)) {
		say_status(e, x->url, &x->hop.answer, &said, &x->failure);
	} else if (status != 404) {
		say_refused(x, e, status, &said, &x->failure);
	} else {
		if (x->kind != EXCHANGE_PING && x->kind != EXCHANGE_BLOB) {
			x->missing = x->endpoint + 1;
			x->missing_name = strcmp(said.code, "NAME_UNKNOWN") == 0;
		}
		say_missing(x, e, &said, &x->failure);
	}
	exchange_give_up(x);
}

/** name_nearest() - A list of what there is came: the hint. Return: false when another one is asked for first. */
static bool name_nearest(struct exchange *x)
{
	const struct reference *r = &x->client->reference;
	bool hub = strncmp(r->repository, "library/", 8) == 0 && strcmp(r->registry, REFERENCE_HUB) == 0;
	const char *host = strcmp(r->registry, REFERENCE_HUB) == 0 ? "" : r->registry;
	struct registry_error said;
	char found[256];
	size_t count;

	/* Many registries say of a missing repository that its manifest is unknown. Its list of tags does not. */
	if (!x->missing_name && x->hop.answer.status == 404 && registry_error_parse(x->body.data, x->body.len, &said) &&
	    strcmp(said.code, "NAME_UNKNOWN") == 0) {
		x->missing_name = true;
		if (x->verdict.code == ERR_NOT_FOUND) {
			err_clear(&x->verdict);
			say_missing(x, exchange_endpoint(x), &said, &x->verdict);
		}
		exchange_send(x);
		return false;
	}
	if (x->hop.answer.status == 200 && !x->missing_name &&
	    list_nearest(x->body.data, x->body.len, "tags", x->name, found))
		err_hint(&x->verdict, "did you mean %s%s%s:%s?", host, *host ? "/" : "", r->repository + (hub ? 8 : 0),
			 found);
	else if (x->hop.answer.status == 200 && !x->missing_name &&
		 (count = list_some(x->body.data, x->body.len, "tags", found)))
		err_hint(&x->verdict, count == 1 ? "its only tag is %s" : "its tags are %s", found);
	else if (x->hop.answer.status == 200 && x->missing_name &&
		 list_nearest(x->body.data, x->body.len, "repositories", r->repository, found))
		err_hint(&x->verdict, "did you mean %s%s%s%s%s?", host, *host ? "/" : "",
			 found + (hub && strncmp(found, "library/", 8) == 0 ? 8 : 0), r->tag[0] ? ":" : "", r->tag);
	else if (x->missing_name && suggest_known(r->repository) && hub)
		err_hint(&x->verdict, "did you mean %s%s%s?", suggest_known(r->repository), r->tag[0] ? ":" : "",
			 r->tag);
	return true;
}

/** exchange_on_end() - The hop ended. */
void exchange_on_end(void *arg)
{
	struct exchange *x = arg;
	const struct answer *a = &x->hop.answer;

	if (x->failure.code != ERR_NONE) { /* exchange_on_bytes() has judged */
		exchange_give_up(x);
		return;
	}
	if (x->hop.end == HOP_FAILED) {
		lost(x);
		return;
	}
	if (!x->judged && !judge(x)) {
		exchange_give_up(x);
		return;
	}
	if (a->status >= 301 && a->status <= 308 && a->status != 304 && a->location[0] && x->phase != PHASE_NEAREST) {
		follow(x);
	} else if (a->status == 401 && !x->abroad && unauthorised(x)) {
		return;
	} else if (x->phase == PHASE_NEAREST) {
		if (name_nearest(x))
			exchange_finish(x);
	} else if (x->passing_on) {
		exchange_complete(x);
	} else if (is_temporary(a->status)) {
		struct registry_error said;

		registry_error_parse(x->body.data, x->body.len, &said);
		say_status(exchange_endpoint(x), x->url, a, &said, &x->failure);
		exchange_try_again(x);
	} else {
		refuse(x);
	}
}
