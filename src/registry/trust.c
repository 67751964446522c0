/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/trust.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/fd.h"

#define PEM_BYTES_MAX MIB(16)

struct trust {
	X509_STORE *store;
	struct buf system; /* PEM; empty once it is parsed */
};

/** add_pem() - Every certificate of a PEM text. Return: how many. */
static size_t add_pem(X509_STORE *store, const struct buf *pem)
{
	BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->len);
	X509 *certificate;
	size_t count = 0;

	while (bio && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		count += X509_STORE_add_cert(store, certificate) == 1;
		X509_free(certificate);
	}
	BIO_free(bio);
	ERR_clear_error(); /* the end of the text is an error to OpenSSL */
	return count;
}

/** read_system() - The bundle that SSL_CERT_FILE, curl's build or the distribution name; a host may have none. */
static void read_system(struct buf *out)
{
	CURL *easy = curl_easy_init();
	char *built_in = NULL;
	const char *named = getenv("SSL_CERT_FILE");

	if (easy)
		curl_easy_getinfo(easy, CURLINFO_CAINFO, &built_in);
	{
		const char *const places[] = { named && *named ? named : built_in, "/etc/ssl/certs/ca-certificates.crt",
					       "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem" };

		for (size_t i = 0; i < ARRAY_LEN(places) && out->len == 0; i++)
			if (places[i] && file_read(AT_FDCWD, places[i], PEM_BYTES_MAX, out, NULL) < 0)
				buf_free(out);
	}
	curl_easy_cleanup(easy);
}

struct trust *trust_new(const char *const *files, size_t count, struct error *err)
{
	struct trust *trust = calloc(1, sizeof(*trust));

	if (!trust || !(trust->store = X509_STORE_new())) {
		free(trust);
		err_set(err, ERR_NO_MEMORY, 0, "out of memory");
		return NULL;
	}
	trust->system.max = PEM_BYTES_MAX;
	for (size_t i = 0; i < count; i++) {
		struct buf pem = BUF_INIT(PEM_BYTES_MAX);
		int rc = file_read(AT_FDCWD, files[i], PEM_BYTES_MAX, &pem, err);

		if (rc == 0 && add_pem(trust->store, &pem) == 0)
			rc = err_set(err, ERR_INVALID, 0, "%s has no certificate in it (PEM is what is expected)",
				     files[i]);
		buf_free(&pem);
		if (rc < 0) {
			err_wrap(err, "CA certificates");
			err_hint(
				err,
				"--ca-certs, and registries.ca_certs in config.json, name files with PEM certificates");
			trust_free(trust);
			return NULL;
		}
	}
	read_system(&trust->system);
	return trust;
}

void trust_free(struct trust *trust)
{
	if (!trust)
		return;
	X509_STORE_free(trust->store);
	buf_free(&trust->system);
	free(trust);
}

/** verify() - For OpenSSL: a server has shown its certificate. Only now the system's are parsed: it takes a while. */
static int verify(X509_STORE_CTX *ctx, void *arg)
{
	struct trust *trust = arg;

	if (trust->system.len) {
		add_pem(trust->store, &trust->system);
		buf_free(&trust->system);
	}
	return X509_verify_cert(ctx);
}

void trust_apply(struct trust *trust, void *ssl_ctx)
{
	SSL_CTX_set1_cert_store(ssl_ctx, trust->store);
	SSL_CTX_set_cert_verify_callback(ssl_ctx, verify, trust);
}
