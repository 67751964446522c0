/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/exchange.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"

#define HUB_AUTHORITY "registry-1.docker.io"

bool host_insecure(const struct client *client, const char *host)
{
	struct config_host entry;

	return client->insecure || (config_host(client->config, host, &entry) && entry.insecure);
}

bool endpoint_plain_allowed(const struct endpoint *e)
{
	return e->insecure || e->scheme == SCHEME_HTTP || host_is_loopback(e->authority);
}

char *endpoint_url(const struct endpoint *e, bool plain, const char *path)
{
	char *out = NULL;
	bool http = plain || e->scheme == SCHEME_HTTP;

	return asprintf(&out, "%s://%s%s%s", http ? "http" : "https", e->authority, e->prefix, path) < 0 ? NULL : out;
}

/** add_endpoint() - @url: host[:port], with a scheme and a path when it is a mirror's. */
static int add_endpoint(struct client *client, const char *home, const char *url, bool mirror, struct error *err)
{
	struct endpoint *e = &client->endpoint[client->endpoint_count];
	const char *rest = url, *path;
	size_t n;

	e->mirror = mirror;
	e->scheme = SCHEME_AUTO;
	if (strncasecmp(url, "https://", 8) == 0) {
		e->scheme = SCHEME_HTTPS;
		rest = url + 8;
	} else if (strncasecmp(url, "http://", 7) == 0) {
		e->scheme = SCHEME_HTTP;
		rest = url + 7;
	}
	n = strcspn(rest, "/");
	path = rest + n;
	while (*path == '/' && path[1] == '/')
		path++;
	if ((e->scheme == SCHEME_AUTO && strstr(url, "://")) || !host_canonical(url, e->host) ||
	    n >= sizeof(e->authority) || strlen(path) >= sizeof(e->prefix) || strpbrk(path, "?# \t")) {
		err_set(err, ERR_INVALID, 0, "%s: \"%.200s\" is no URL of a registry", config_path(client->config),
			url);
		return err_hint(err, "expected host[:port], or http(s)://host[:port]/path for a mirror");
	}
	snprintf(e->authority, sizeof(e->authority), "%.*s", (int)n, rest);
	if (!mirror && strcmp(e->host, REFERENCE_HUB) == 0)
		snprintf(e->authority, sizeof(e->authority), HUB_AUTHORITY);
	snprintf(e->prefix, sizeof(e->prefix), "%s", path);
	n = strlen(e->prefix);
	if (n && e->prefix[n - 1] == '/')
		e->prefix[n - 1] = '\0';
	e->insecure = host_insecure(client, e->host);
	if (e->scheme == SCHEME_AUTO && !endpoint_plain_allowed(e))
		e->scheme = SCHEME_HTTPS;
	client->endpoint_count++;
	return home ? credentials_find(home, client->config, e->host, &e->credentials, err) : 0;
}

/** new_client() - Configuration and CA files. */
static struct client *new_client(const char *home, const struct client_options *options, struct error *err)
{
	struct client *client = calloc(1, sizeof(*client));
	const char *files[2 * CONFIG_LIST_MAX];
	size_t count;

	if (!client) {
		err_set(err, ERR_NO_MEMORY, 0, "out of memory");
		return NULL;
	}
	client->insecure = options->insecure;
	client->config = config_load(home, err);
	if (client->config) {
		count = config_ca_certs(client->config, files);
		for (size_t i = 0; i < options->ca_count; i++)
			files[count++] = options->ca_files[i];
		client->http = http_new(files, count, err);
	}
	if (client->http)
		return client;
	client_free(client);
	return NULL;
}

struct client *client_new(const char *home, const char *reference, const struct client_options *options,
			  struct error *err)
{
	struct client *client = new_client(home, options, err);
	struct config_host entry;
	int rc;

	if (!client)
		return NULL;
	rc = reference_parse(reference, &client->reference, err);
	config_host(client->config, client->reference.registry, &entry);
	for (size_t i = 0; rc == 0 && i < entry.mirror_count; i++)
		rc = add_endpoint(client, home, entry.mirrors[i], true, err);
	if (rc == 0)
		rc = add_endpoint(client, home, client->reference.registry, false, err);
	if (rc == 0)
		return client;
	client_free(client);
	return NULL;
}

struct client *client_new_login(const char *home, const char *host, const struct credentials *c,
				const struct client_options *options, struct error *err)
{
	struct client *client = new_client(home, options, err);

	if (!client)
		return NULL;
	snprintf(client->reference.registry, sizeof(client->reference.registry), "%s", host);
	if (add_endpoint(client, NULL, host, false, err) < 0) {
		client_free(client);
		return NULL;
	}
	client->endpoint[0].credentials = *c;
	return client;
}

struct client *client_new_idle(struct error *err)
{
	struct client *client = calloc(1, sizeof(*client));

	if (client && (client->http = http_new(NULL, 0, err)))
		return client;
	if (!client)
		err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	free(client);
	return NULL;
}

void client_free(struct client *client)
{
	if (!client)
		return;
	while (client->exchanges)
		exchange_cancel(client->exchanges);
	for (size_t i = 0; i < client->endpoint_count; i++) {
		struct endpoint *e = &client->endpoint[i];

		for (size_t k = 0; k < TOKENS_MAX && e->token[k]; k++) {
			hop_cancel(&e->token[k]->hop);
			buf_free(&e->token[k]->body);
			free(e->token[k]->url);
			explicit_bzero(e->token[k]->value, sizeof(e->token[k]->value));
			free(e->token[k]);
		}
	}
	http_free(client->http);
	config_free(client->config);
	explicit_bzero(client, sizeof(*client));
	free(client);
}

int client_step(struct client *client, struct curl_waitfd *fds, unsigned int count, int wait_ms, struct error *err)
{
	int64_t now = clock_monotonic_ns();

	for (const struct exchange *x = client->exchanges; x; x = x->next)
		if (x->wake_ns && x->wake_ns < now + wait_ms * NSEC_PER_MSEC)
			wait_ms = x->wake_ns <= now ? 0 : (int)((x->wake_ns - now) / NSEC_PER_MSEC) + 1;
	if (http_step(client->http, fds, count, wait_ms, err) < 0)
		return -(int)err->code;
	now = clock_monotonic_ns();
	/* Waking one may start, end or free others: look again from the start. Each wakes once, as it clears its
	 * wake_ns. */
	for (struct exchange *x = client->exchanges; x;) {
		if (x->wake_ns && x->wake_ns <= now) {
			exchange_wake(x);
			x = client->exchanges;
		} else {
			x = x->next;
		}
	}
	return 0;
}
