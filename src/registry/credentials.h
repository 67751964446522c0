/* SPDX-License-Identifier: Apache-2.0 */
/**
 * User names and passwords of registries. Order: what msb registry login stored; config.json; docker's configuration;
 * none. Nothing here prints or logs a password, and each is wiped when it is no longer needed.
 */
#ifndef MSB_REGISTRY_CREDENTIALS_H
#define MSB_REGISTRY_CREDENTIALS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "registry/config.h"

#define USERNAME_MAX 256
#define PASSWORD_MAX 8192 /* access tokens of clouds are used as passwords: 1 to 4 KiB */

struct credentials {
	bool found;
	char username[USERNAME_MAX];
	char password[PASSWORD_MAX];
	char source[128]; /* for texts: "the credentials of msb registry login" */
};

void credentials_wipe(struct credentials *c);

/**
 * credentials_find() - First hit of all places. Runs docker's credential helpers. Return: 0 (found or not), or
 * negative.
 */
int credentials_find(const char *home, const struct config *config, const char *host, struct credentials *out,
		     struct error *err);

/** store_get() - What login stored for this (canonical) host. Return: 0 with out->found, or a negative code. */
int store_get(const char *home, const char *host, struct credentials *out, struct error *err);
/** store_put() - Keep it: directory 0700, file 0600. */
int store_put(const char *home, const char *host, const struct credentials *c, struct error *err);
/** store_remove() - Return: 1, 0 when nothing was stored, or a negative code. */
int store_remove(const char *home, const char *host, struct error *err);
/** store_each() - Call fn for each stored host. */
int store_each(const char *home, int (*fn)(void *arg, const char *host), void *arg, struct error *err);

/** docker_get() - From docker's configuration. As store_get(). */
int docker_get(const char *host, struct credentials *out, struct error *err);
/** docker_each() - Call fn for each host in docker's configuration. @helper: NULL, or the helper that knows it. */
int docker_each(void (*fn)(void *arg, const char *host, const char *username, const char *helper), void *arg,
		struct error *err);

#endif
