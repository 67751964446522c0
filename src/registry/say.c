/* SPDX-License-Identifier: Apache-2.0 */
/* What the user reads when a registry cannot be asked or does not give what was asked for. */
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <string.h>

#include "base/nearest.h"
#include "registry/client.h"

#define STORED_SIGNED "CA certificate in a file: --ca-certs FILE; not checked at all: --insecure"

/** place() - host[:port] of a URL, for texts. */
static void place(const char *url, char out[160])
{
	const char *rest = strstr(url, "://");

	rest = rest ? rest + 3 : url;
	snprintf(out, 160, "%.*s", (int)MIN(strcspn(rest, "/?#"), 150), rest);
}

void say_subject(const struct exchange *x, char out[400])
{
	const struct reference *r = &x->client->reference;
	bool digest = strncmp(x->name, "sha256:", 7) == 0;

	snprintf(out, 400, "%.120s/%.160s%s%s%.*s%s", r->registry, r->repository,
		 x->kind == EXCHANGE_BLOB ? ", blob " : "",
		 x->kind == EXCHANGE_BLOB ? ""
		 : digest		  ? "@"
					  : ":",
		 digest ? 19 : 60, x->name, digest ? "..." : "");
}

bool is_temporary(int status)
{
	return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

bool is_certificate_failure(const struct hop *hop)
{
	return hop->code == CURLE_PEER_FAILED_VERIFICATION;
}

/** say_certificate() - Which of the things that can be wrong with it is. */
static int say_certificate(const struct hop *hop, const char *host, struct error *err)
{
	switch (hop->certificate) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		err_set(err, ERR_PERMISSION, 0, "the certificate of %s has expired", host);
		return err_hint(err, "its owner must renew it; to connect all the same: --insecure");
	case X509_V_ERR_CERT_NOT_YET_VALID:
		err_set(err, ERR_PERMISSION, 0,
			"the certificate of %s is not valid yet: is this machine's clock right?", host);
		return err_hint(err, "to connect all the same: --insecure");
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		err_set(err, ERR_PERMISSION, 0, "the certificate of %s is signed by itself, not by a known CA", host);
		return err_hint(err, STORED_SIGNED);
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
		err_set(err, ERR_PERMISSION, 0,
			"the certificate of %s is signed by a CA that this machine does not know", host);
		return err_hint(err, STORED_SIGNED);
	default:
		break;
	}
	if (strstr(hop->text, "match"))
		err_set(err, ERR_PERMISSION, 0, "the certificate of %s belongs to another host", host);
	else
		err_set(err, ERR_PERMISSION, 0, "the certificate of %s cannot be verified: %.150s", host, hop->text);
	return err_hint(err, "use the name that it is made for; to connect all the same: --insecure");
}

int say_transport(const struct hop *hop, const struct endpoint *e, const char *url, struct error *err)
{
	char host[160], proxy[256], via[300] = "";
	const char *text = hop->text[0] ? hop->text : curl_easy_strerror(hop->code);

	place(url, host);
	http_proxy(url, proxy);
	if (proxy[0])
		snprintf(via, sizeof(via), " (through the proxy %.200s)", proxy);
	if (is_certificate_failure(hop))
		return say_certificate(hop, host, err);
	if (hop->proxy_status >= 300)
		return err_set(err, ERR_CLOSED, 0, "the proxy %s does not connect to %s: it answers %ld", proxy, host,
			       hop->proxy_status);
	switch ((int)hop->code) { /* of the library's many codes, those with a better text than its own */
	case CURLE_COULDNT_RESOLVE_PROXY:
		return err_set(err, ERR_CLOSED, 0,
			       "the proxy %s cannot be found: no such name, or no name server answers", proxy);
	case CURLE_COULDNT_RESOLVE_HOST:
		return err_set(err, ERR_CLOSED, 0, "%s cannot be found: no such name, or no name server answers", host);
	case CURLE_COULDNT_CONNECT:
		return err_set(err, ERR_CLOSED, 0, "cannot connect to %s%s%s%s", host, via, hop->sys_errno ? ": " : "",
			       hop->sys_errno ? strerror(hop->sys_errno) : "");
	case CURLE_OPERATION_TIMEDOUT:
		if (hop->stalled)
			return err_set(err, ERR_TIMEOUT, 0, "%s sent less than %d bytes a second for %d s%s", host,
				       STALL_BYTES, STALL_SECONDS, via);
		return err_set(err, ERR_TIMEOUT, 0, "no answer from %s%s", host, via);
	case CURLE_PARTIAL_FILE:
	case CURLE_GOT_NOTHING:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
		return err_set(err, ERR_CLOSED, 0, "the connection to %s was lost%s", host, via);
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_WEIRD_SERVER_REPLY:
		return err_set(err, ERR_PROTOCOL, 0, "%s does not answer in HTTP", host);
	case CURLE_WRITE_ERROR:
		return err_set(err, ERR_PROTOCOL, 0, "%s answers with more than %u bytes of headers", host,
			       HEADERS_BYTES_MAX);
	case CURLE_SSL_CONNECT_ERROR:
		if (!strstr(text, "wrong version number"))
			return err_set(err, ERR_PROTOCOL, 0, "TLS with %s failed: %.150s", host, text);
		err_set(err, ERR_PROTOCOL, 0, "%s does not speak TLS", host);
		return err_hint(
			err,
			"plain HTTP, if that is meant: --insecure, or registries.hosts.%.60s.insecure in config.json",
			e->host);
	default:
		return err_set(err, ERR_CLOSED, 0, "%s: %.200s%s", host, text, via);
	}
}

void say_unreachable_hint(const struct client *client, struct error *err)
{
	err_hint(err,
		 "without it: msb load -i FILE, msb image import DIR|TAR -t NAME, or registries.hosts.%.40s.mirrors in "
		 "config.json",
		 client->reference.registry);
}

/** as_whom() - "asked anonymously", or "asked as ann with the credentials of msb registry login". */
static void as_whom(const struct endpoint *e, char out[200])
{
	if (e->credentials.found)
		snprintf(out, 200, "asked as %.60s with %s", e->credentials.username, e->credentials.source);
	else
		snprintf(out, 200, "asked anonymously");
}

int say_unauthorised(const struct endpoint *e, const char *said, struct error *err)
{
	if (e->credentials.found)
		err_set(err, ERR_PERMISSION, 0, "%s does not accept %s (user %.60s)%s%.100s", e->host,
			e->credentials.source, e->credentials.username, said[0] ? ": " : "", said);
	else
		err_set(err, ERR_PERMISSION, 0, "%s wants a user name and password (asked anonymously)", e->host);
	return err_hint(err, "msb registry login %.60s -u USER%s", e->host,
			e->credentials.found ? " stores others" : "");
}

const char *suggest_known(const char *repository)
{
	static const char *const known[] = {
		"alpine",	 "amazonlinux", "bash",	 "busybox",   "caddy",	 "composer", "debian",	  "docker",
		"elasticsearch", "fedora",	"gcc",	 "golang",    "gradle",	 "haproxy",  "httpd",	  "influxdb",
		"julia",	 "mariadb",	"maven", "memcached", "mongo",	 "mysql",    "nginx",	  "node",
		"openjdk",	 "perl",	"php",	 "postgres",  "python",	 "pypy",     "rabbitmq",  "redis",
		"registry",	 "ruby",	"rust",	 "swift",     "traefik", "ubuntu",   "wordpress",
	};
	const char *name = strncmp(repository, "library/", 8) == 0 ? repository + 8 : NULL;
	const char *near = name && !strchr(name, '/') ? nearest(name, known, ARRAY_LEN(known)) : NULL;

	return near && strcmp(near, name) != 0 ? near : NULL;
}

int say_refused(const struct exchange *x, const struct endpoint *e, int status, const struct registry_error *said,
		struct error *err)
{
	const struct reference *r = &x->client->reference;
	bool hub = strcmp(e->host, REFERENCE_HUB) == 0;
	const char *near = hub ? suggest_known(r->repository) : NULL;
	char whom[200];

	if (!hub && status == 401)
		return say_unauthorised(e, said->message, err);
	as_whom(e, whom);
	if (hub) /* the Hub does not tell a private repository from none */
		err_set(err, ERR_PERMISSION, 0, "Docker Hub has no such repository, or it is private (%s)", whom);
	else
		err_set(err, ERR_PERMISSION, 0, "%s refuses it: %d%s%.100s (%s)", e->host, status,
			said->message[0] ? ", " : "", said->message, whom);
	if (near)
		return err_hint(err, "did you mean %s%s%s? A private one: msb registry login %s -u USER", near,
				r->tag[0] ? ":" : "", r->tag, e->host);
	return err_hint(err, "msb registry login %s -u USER%s", e->host,
			e->credentials.found ? " (another user or password may be needed)" : "");
}

int say_missing(const struct exchange *x, const struct endpoint *e, const struct registry_error *said,
		struct error *err)
{
	bool digest = strncmp(x->name, "sha256:", 7) == 0;
	char whom[200];

	as_whom(e, whom);
	if (x->kind == EXCHANGE_PING) {
		err_set(err, ERR_PROTOCOL, 0, "%s is no registry: it has no /v2/", e->host);
		return err_hint(err, "check the name of the host");
	}
	if (!said->code[0]) {
		err_set(err, ERR_NOT_FOUND, 0, "%s answers 404, not in the words of a registry: is it one?", e->host);
		return err_hint(err, "check the name of the host");
	}
	if (strcmp(said->code, "NAME_UNKNOWN") == 0) {
		err_set(err, ERR_NOT_FOUND, 0, "%s has no repository %.120s (%s)", e->host,
			x->client->reference.repository, whom);
		if (e->credentials.found)
			return err_hint(err, "check the name");
		return err_hint(err, "check the name; a private one: msb registry login %.60s -u USER", e->host);
	}
	if (x->kind == EXCHANGE_BLOB) {
		err_set(err, ERR_NOT_FOUND, 0, "%s does not have this blob (%s)", e->host, whom);
		return err_hint(err, "the registry has lost a part of the image: it must be pushed again");
	}
	/* Whether the repository is there at all, not every registry says: see name_nearest(). */
	err_set(err, ERR_NOT_FOUND, 0, "%s has no %.120s with this %s (%s)", e->host, x->client->reference.repository,
		digest ? "digest" : "tag", whom);
	return err_hint(err, digest ? "check the digest, or name a tag" : "check the tag");
}

int say_status(const struct endpoint *e, const char *url, const struct answer *a, const struct registry_error *said,
	       struct error *err)
{
	char host[160], whom[200];

	place(url, host);
	as_whom(e, whom);
	if (a->status == 429) {
		bool seconds = strspn(a->retry_after, "0123456789") == strlen(a->retry_after);

		err_set(err, ERR_LIMIT, 0, "%s: too many requests (%s)%s%.60s%s", host, whom,
			a->retry_after[0] ? "; it says to come back after " : "", a->retry_after,
			a->retry_after[0] && seconds ? " s" : "");
		return err_hint(err,
				e->credentials.found
					? "wait, or use a mirror: registries.hosts.%.60s.mirrors in config.json"
					: "a known user has a higher limit: msb registry login %.60s -u USER",
				e->host);
	}
	return err_set(err, a->status >= 500 ? ERR_CLOSED : ERR_PROTOCOL, 0, "%s answers %d%s%.120s", host, a->status,
		       said->message[0] ? ": " : "", said->message);
}
