/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/macros.h"
#include "registry/trust.h"

struct http {
	CURLM *multi;
	struct trust *trust;
	struct hop *running;
};

struct http *http_new(const char *const *ca_files, size_t ca_count, struct error *err)
{
	struct http *http = calloc(1, sizeof(*http));

	if (!http || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !(http->multi = curl_multi_init())) {
		free(http);
		err_set(err, ERR_NO_MEMORY, 0, "libcurl cannot be initialised");
		return NULL;
	}
	http->trust = trust_new(ca_files, ca_count, err);
	if (!http->trust) {
		http_free(http);
		return NULL;
	}
	return http;
}

void http_free(struct http *http)
{
	if (!http)
		return;
	while (http->running)
		hop_cancel(http->running);
	curl_multi_cleanup(http->multi);
	trust_free(http->trust);
	free(http);
}

/** on_header() - For curl: one line of the head. */
static size_t on_header(char *line, size_t one, size_t n, void *arg)
{
	struct hop *hop = arg;

	return answer_header(&hop->answer, line, one * n) ? one * n : 0;
}

/** allow_time() - Each STALL_BYTES that come are worth a second, of which there are never more than STALL_SECONDS. */
static void allow_time(struct hop *hop, size_t bytes)
{
	int64_t most = clock_monotonic_ns() + STALL_SECONDS * NSEC_PER_SEC;

	hop->stall_ns = MIN(most, hop->stall_ns + (int64_t)bytes * (NSEC_PER_SEC / STALL_BYTES));
}

/** on_body() - For curl: bytes of the body. */
static size_t on_body(char *data, size_t one, size_t n, void *arg)
{
	struct hop *hop = arg;
	enum hop_verdict verdict = hop->on_bytes(hop->arg, (const uint8_t *)data, one * n);

	if (verdict == HOP_WAIT) {
		hop->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	hop->stopped = verdict == HOP_STOP;
	allow_time(hop, one * n);
	return hop->stopped ? 0 : one * n;
}

/** on_tls() - For curl: our set of trusted certificates instead of one that is read for each connection. */
static CURLcode on_tls(CURL *easy, void *ssl_ctx, void *arg)
{
	const struct hop *hop = arg;

	(void)easy;
	trust_apply(hop->http->trust, ssl_ctx);
	return CURLE_OK;
}

/** add_header() - "name: value". */
static bool add_header(struct hop *hop, const char *name, const char *value)
{
	size_t n = strlen(name) + strlen(value) + 3;
	char *line = malloc(n);
	struct curl_slist *longer = NULL;

	if (line) {
		snprintf(line, n, "%s: %s", name, value);
		longer = curl_slist_append(hop->headers, line);
		explicit_bzero(line, n);
		free(line);
	}
	if (longer)
		hop->headers = longer;
	return longer;
}

/** release() - Take the transfer out of curl's hands and wipe what was secret. */
static void release(struct hop *hop)
{
	struct hop **at = &hop->http->running;

	while (*at && *at != hop)
		at = &(*at)->next;
	if (*at)
		*at = hop->next;
	curl_multi_remove_handle(hop->http->multi, hop->easy);
	curl_easy_cleanup(hop->easy);
	for (struct curl_slist *h = hop->headers; h; h = h->next)
		explicit_bzero(h->data, strlen(h->data));
	curl_slist_free_all(hop->headers);
	hop->headers = NULL;
	hop->easy = NULL;
}

/** url_host() - Host of a URL, as curl understands it; "" for none. */
static void url_host(const char *url, char out[256], bool *tls)
{
	CURLU *u = curl_url();
	char *host = NULL, *scheme = NULL;

	out[0] = '\0';
	*tls = false;
	if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK) {
		snprintf(out, 256, "%s", host);
		*tls = strcmp(scheme, "https") == 0;
	}
	curl_free(host);
	curl_free(scheme);
	curl_url_cleanup(u);
}

int hop_start(struct http *http, struct hop *hop, struct error *err)
{
	char range[40], host[256];
	CURL *easy = curl_easy_init();
	bool good, tls;

	hop->http = http;
	hop->answer = (struct answer){ .length = NOT_SAID };
	hop->end = HOP_FAILED;
	hop->code = CURLE_OK;
	hop->sys_errno = 0;
	hop->connected = hop->stalled = hop->paused = hop->stopped = false;
	hop->proxy_status = hop->certificate = 0;
	hop->text[0] = '\0';
	hop->stall_ns = clock_monotonic_ns() + STALL_SECONDS * NSEC_PER_SEC;
	if (!easy)
		return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	hop->easy = easy;
	hop->next = http->running;
	http->running = hop;
	url_host(hop->url, host, &tls);
	snprintf(range, sizeof(range), "bytes=%llu-", (unsigned long long)hop->from);
	good = (!hop->authorization || add_header(hop, "Authorization", hop->authorization)) &&
	       (!hop->accept || add_header(hop, "Accept", hop->accept)) &&
	       (!hop->from || add_header(hop, "Range", range));
	good = good && curl_easy_setopt(easy, CURLOPT_URL, hop->url) == CURLE_OK;
	good = good && curl_easy_setopt(easy, CURLOPT_HTTPHEADER, hop->headers) == CURLE_OK;
	good = good && curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
	good = good && curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_tls) == CURLE_OK;
	/* As docker does, and as nobody wants it otherwise: this machine itself is not asked for by a proxy. */
	good = good && (!host_is_loopback(host) || curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK);
	if (!good) {
		release(hop);
		return err_set(err, ERR_INTERNAL, 0, "libcurl refuses an option");
	}
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "msb/" MSB_VERSION);
	curl_easy_setopt(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_NOBODY, hop->head ? 1L : 0L);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* a name server that is silent must not hold up the answer */
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, hop->connect_ms);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)HTTP_CHUNK_MAX);
	curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
	curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, hop);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, hop->verify ? 1L : 0L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, hop->verify ? 2L : 0L);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, hop);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, hop);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, hop->text);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, hop);
	if (curl_multi_add_handle(http->multi, easy) == CURLM_OK)
		return 0;
	release(hop);
	return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
}

void hop_cancel(struct hop *hop)
{
	if (hop->easy)
		release(hop);
}

void hop_resume(struct hop *hop)
{
	if (!hop->easy || !hop->paused)
		return;
	hop->paused = false;
	hop->stall_ns = clock_monotonic_ns() + STALL_SECONDS * NSEC_PER_SEC;
	curl_easy_pause(hop->easy, CURLPAUSE_CONT);
}

/** finish() - The transfer ended with this code: gather what is known of it, and tell. */
static void finish(struct hop *hop, CURLcode code)
{
	long sys_errno = 0;
	const char *address = NULL;

	hop->code = code;
	hop->end = code == CURLE_OK ? HOP_WHOLE : hop->stopped ? HOP_STOPPED : HOP_FAILED;
	curl_easy_getinfo(hop->easy, CURLINFO_OS_ERRNO, &sys_errno);
	curl_easy_getinfo(hop->easy, CURLINFO_PRIMARY_IP, &address);
	curl_easy_getinfo(hop->easy, CURLINFO_HTTP_CONNECTCODE, &hop->proxy_status);
	curl_easy_getinfo(hop->easy, CURLINFO_SSL_VERIFYRESULT, &hop->certificate);
	hop->sys_errno = (int)sys_errno;
	hop->connected = address && *address;
	release(hop);
	hop->on_end(hop->arg);
}

/** end_stalled() - End one transfer that is too slow. Return: false when there is none (any more). */
static bool end_stalled(struct http *http)
{
	int64_t now = clock_monotonic_ns();

	for (struct hop *hop = http->running; hop; hop = hop->next) {
		if (hop->paused || now < hop->stall_ns)
			continue;
		hop->stalled = true;
		finish(hop, CURLE_OPERATION_TIMEDOUT);
		return true;
	}
	return false;
}

int http_step(struct http *http, struct curl_waitfd *fds, unsigned int count, int wait_ms, struct error *err)
{
	int running, left;
	CURLMsg *msg;

	/* A second at most, so that stalls are seen. */
	if (curl_multi_poll(http->multi, fds, count, http->running ? MIN(wait_ms, 1000) : wait_ms, NULL) != CURLM_OK ||
	    curl_multi_perform(http->multi, &running) != CURLM_OK)
		return err_set(err, ERR_INTERNAL, 0, "libcurl failed");
	while ((msg = curl_multi_info_read(http->multi, &left))) {
		struct hop *hop = NULL;

		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&hop);
		if (msg->msg == CURLMSG_DONE && hop)
			finish(hop, msg->data.result);
	}
	while (end_stalled(http))
		;
	return 0;
}

/** in_no_proxy() - Is the host in this list of NO_PROXY? Names match with what is below them. */
static bool in_no_proxy(const char *list, const char *host)
{
	size_t host_len = strlen(host);

	while (*list) {
		size_t n;

		list += strspn(list, ", .");
		n = strcspn(list, ", ");
		if (n == 1 && *list == '*')
			return true;
		if (n && n <= host_len && strncasecmp(host + host_len - n, list, n) == 0 &&
		    (n == host_len || host[host_len - n - 1] == '.'))
			return true;
		list += n;
	}
	return false;
}

/** environment() - The first of these variables that is set and not empty. */
static const char *environment(const char *const *names)
{
	for (; *names; names++) {
		const char *value = getenv(*names);

		if (value && *value)
			return value;
	}
	return NULL;
}

void http_proxy(const char *url, char out[256])
{
	/* HTTP_PROXY in capitals is what a web server sets from a client's "Proxy:" header; curl passes it over as
	 * well. */
	static const char *const plain[] = { "http_proxy", "all_proxy", "ALL_PROXY", NULL };
	static const char *const secure[] = { "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", NULL };
	static const char *const none[] = { "no_proxy", "NO_PROXY", NULL };
	const char *proxy, *no, *at, *scheme;
	char host[256];
	bool tls;

	out[0] = '\0';
	url_host(url, host, &tls);
	proxy = environment(tls ? secure : plain);
	no = environment(none);
	if (!proxy || host_is_loopback(host) || (no && in_no_proxy(no, host)))
		return;
	at = strrchr(proxy, '@');
	scheme = strstr(proxy, "://");
	if (at && scheme && scheme < at)
		snprintf(out, 256, "%.*s%s", (int)(scheme + 3 - proxy), proxy, at + 1);
	else
		snprintf(out, 256, "%s", at ? at + 1 : proxy);
}
