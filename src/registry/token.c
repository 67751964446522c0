/* SPDX-License-Identifier: Apache-2.0 */
/* Bearer tokens: asked for where a challenge says, once for all exchanges that need the same scope. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "registry/exchange.h"

#define TOKEN_MARGIN_NS (5 * NSEC_PER_SEC) /* not used any more so long before its end */

void secret_free(char **s)
{
	if (*s)
		explicit_bzero(*s, strlen(*s));
	free(*s);
	*s = NULL;
}

char *authorization_bearer(const struct token *t)
{
	char *out = NULL;

	return asprintf(&out, "Bearer %s", t->value) < 0 ? NULL : out;
}

char *authorization_basic(const struct credentials *c)
{
	char plain[USERNAME_MAX + PASSWORD_MAX], *out;
	int n = snprintf(plain, sizeof(plain), "%s:%s", c->username, c->password);

	out = malloc((size_t)n * 4 / 3 + 16);
	if (out) {
		memcpy(out, "Basic ", 6);
		base64_encode((const uint8_t *)plain, (size_t)n, out + 6);
	}
	explicit_bzero(plain, sizeof(plain));
	return out;
}

struct token *token_for(struct client *client, struct endpoint *e, const char *scope)
{
	for (size_t i = 0; i < TOKENS_MAX; i++) {
		struct token *t = e->token[i];

		if (!t) {
			t = calloc(1, sizeof(*t));
			if (!t)
				return NULL;
			snprintf(t->scope, sizeof(t->scope), "%s", scope);
			t->client = client;
			t->endpoint = e;
			t->body.max = JSON_ANSWER_MAX;
			return e->token[i] = t;
		}
		if (strcmp(t->scope, scope) == 0)
			return t;
	}
	return NULL;
}

bool token_good(const struct token *t)
{
	return t->value[0] && clock_monotonic_ns() < t->expires_ns - TOKEN_MARGIN_NS;
}

/** on_bytes() - Of the token server's answer. */
static enum hop_verdict on_bytes(void *arg, const uint8_t *p, size_t n)
{
	struct token *t = arg;

	return buf_append(&t->body, p, n) ? HOP_MORE : HOP_STOP;
}

/** judge() - What the token server said. */
static void judge(struct token *t)
{
	const struct answer *a = &t->hop.answer;
	struct endpoint *e = t->endpoint;
	struct registry_error said;
	uint64_t seconds;

	t->passing = false;
	if (t->hop.end == HOP_FAILED) {
		t->passing = !is_certificate_failure(&t->hop);
		say_transport(&t->hop, e, t->url, &t->failure);
	} else if (a->status == 200 && token_parse(t->body.data, t->body.len, t->value, &seconds)) {
		t->serial++;
		t->expires_ns = clock_monotonic_ns() + (int64_t)seconds * NSEC_PER_SEC;
	} else if (a->status == 401 || a->status == 403 || a->status == 400) {
		registry_error_parse(t->body.data, t->body.len, &said);
		say_unauthorised(e, said.message, &t->failure);
	} else if (a->status == 200) {
		err_set(&t->failure, ERR_PROTOCOL, 0, "the token server of %s answered without a usable token",
			e->host);
	} else {
		registry_error_parse(t->body.data, t->body.len, &said);
		t->passing = is_temporary(a->status);
		say_status(e, t->url, a, &said, &t->failure);
	}
}

/** on_end() - Tell all who wait. */
static void on_end(void *arg)
{
	struct token *t = arg;

	judge(t);
	if (t->body.data)
		explicit_bzero(t->body.data, t->body.cap);
	buf_free(&t->body);
	free(t->url);
	t->url = NULL;
	for (struct exchange *x = t->client->exchanges, *next; x; x = next) {
		next = x->next;
		if (x->waiting && x->token == t)
			exchange_token_done(x);
	}
}

/** make_url() - realm?service=...&scope=... */
static char *make_url(const struct token *t, const struct challenge *c)
{
	char *service = curl_easy_escape(NULL, c->service, 0), *scope = curl_easy_escape(NULL, t->scope, 0),
	     *out = NULL;
	int n = service && scope ? asprintf(&out, "%s%cservice=%s%s%s", c->realm, strchr(c->realm, '?') ? '&' : '?',
					    service, t->scope[0] ? "&scope=" : "", scope)
				 : -1;

	curl_free(service);
	curl_free(scope);
	return n < 0 ? NULL : out;
}

int token_ask(struct token *t, const struct challenge *c, long connect_ms, struct error *err)
{
	const struct endpoint *e = t->endpoint;
	char host[256], *authorization = NULL;
	int rc;

	if (hop_running(&t->hop))
		return 0;
	t->value[0] = '\0';
	err_clear(&t->failure);
	if (!host_canonical(c->realm, host))
		return err_set(err, ERR_PROTOCOL, 0, "%s wants a token but does not say where from", e->host);
	/* A password in clear text, only because the registry says so? */
	if (strncmp(c->realm, "https://", 8) != 0 &&
	    (strncmp(c->realm, "http://", 7) != 0 || !(host_is_loopback(host) || host_insecure(t->client, host) ||
						       (e->scheme == SCHEME_HTTP && !host_is_loopback(e->host)))))
		return err_set(err, ERR_PROTOCOL, 0, "%s sends credentials to %.200s, which is not https", e->host,
			       c->realm);
	t->url = make_url(t, c);
	if (t->url && e->credentials.found)
		authorization = authorization_basic(&e->credentials);
	t->hop.url = t->url;
	t->hop.authorization = authorization;
	t->hop.accept = "application/json";
	t->hop.connect_ms = connect_ms;
	t->hop.verify = !host_insecure(t->client, host) && !(e->insecure && strcmp(host, e->host) == 0);
	t->hop.on_bytes = on_bytes;
	t->hop.on_end = on_end;
	t->hop.arg = t;
	if (!t->url || (e->credentials.found && !authorization))
		rc = err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	else
		rc = hop_start(t->client->http, &t->hop, err);
	secret_free(&authorization);
	if (rc < 0) {
		free(t->url);
		t->url = NULL;
	}
	return rc;
}
