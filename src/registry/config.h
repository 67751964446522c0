/* SPDX-License-Identifier: Apache-2.0 */
/** What config.json says below "registries". */
#ifndef MSB_REGISTRY_CONFIG_H
#define MSB_REGISTRY_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "config/config_file.h"

struct config;

enum config_auth {
	CONFIG_AUTH_NONE,     /* the host has no entry auth */
	CONFIG_AUTH_UNSET,    /* the entry names no source */
	CONFIG_AUTH_STORE,    /* store: what msb registry login has stored */
	CONFIG_AUTH_ENV,      /* password_env: VALUE is the variable */
	CONFIG_AUTH_SECRET,   /* secret_name: VALUE is the file below secrets/registries */
	CONFIG_AUTH_MULTIPLE, /* more than one of them */
};

/** One host's entry. The strings belong to the config. */
struct config_host {
	bool insecure;
	const char *mirrors[CONFIG_LIST_MAX];
	size_t mirror_count;
	enum config_auth auth;
	const char *username; /* "" when not said */
	const char *value;
};

/**
 * config_load() - The part registries of config_file_load(). Return: owned, or NULL.
 */
struct config *config_load(const char *home, struct error *err);
void config_free(struct config *config);
/** config_host() - Entry of a host; each name of Docker Hub finds it. Return: false when there is none. */
bool config_host(const struct config *config, const char *host, struct config_host *out);
/** config_each() - The name of the index-th host, as host_canonical() writes it. Return: false behind the last. */
bool config_each(const struct config *config, size_t index, char out[256]);
/** config_ca_certs() - Files. Return: how many. */
size_t config_ca_certs(const struct config *config, const char *out[CONFIG_LIST_MAX]);
const char *config_path(const struct config *config);

#endif
