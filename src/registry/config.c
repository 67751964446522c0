/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/config.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/nearest.h"
#include "registry/parse.h"

#define CONFIG_BYTES_MAX MIB(1)

struct config {
	char path[4096];
	json_t *root, *registries, *hosts;
};

/** warn_unknown() - Say which members of an object mean nothing. */
static void warn_unknown(const struct config *config, const char *where, json_t *o, const char *const *known,
			 size_t count)
{
	const char *key;
	json_t *value;

	json_object_foreach(o, key, value)
	{
		const char *near = nearest(key, known, count);

		if (near && strcmp(near, key) == 0)
			continue;
		fprintf(stderr, "warning: %s: %s.%.64s means nothing%s%s%s\n", config->path, where, key,
			near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
	}
}

/** wrong() - A member is not what it must be. */
static int wrong(const struct config *config, const char *where, const char *key, const char *must, struct error *err)
{
	return err_set(err, ERR_INVALID, 0, "%s: %s.%s must be %s", config->path, where, key, must);
}

/** is_string_list() - An array of at most CONFIG_LIST_MAX strings, or absent. */
static bool is_string_list(const json_t *list)
{
	const json_t *item;
	size_t i;

	if (!list)
		return true;
	if (!json_is_array(list) || json_array_size(list) > CONFIG_LIST_MAX)
		return false;
	json_array_foreach(list, i, item) if (!json_is_string(item)) return false;
	return true;
}

/** check_auth() - Types and keys of one auth entry. */
static int check_auth(const struct config *config, const char *where, json_t *auth, struct error *err)
{
	static const char *const known[] = { "username", "store", "password_env", "secret_name" };
	char place[400];

	if (!auth)
		return 0;
	if (!json_is_object(auth))
		return wrong(config, where, "auth", "an object", err);
	snprintf(place, sizeof(place), "%s.auth", where);
	warn_unknown(config, place, auth, known, ARRAY_LEN(known));
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		const json_t *v = json_object_get(auth, known[i]);

		if (v && !json_is_string(v))
			return wrong(config, place, known[i], "a string", err);
	}
	if (json_object_get(auth, "store") && strcmp(json_string_value(json_object_get(auth, "store")), "keyring") != 0)
		return wrong(config, place, "store", "\"keyring\" (what msb registry login has stored)", err);
	return 0;
}

/** check() - All types and keys, so that reading needs no more of it. */
static int check(struct config *config, struct error *err)
{
	static const char *const known[] = { "ca_certs", "hosts" };
	static const char *const host_known[] = { "auth", "insecure", "mirrors" };
	const char *host;
	json_t *entry;

	if (!json_is_object(config->root))
		return err_set(err, ERR_INVALID, 0, "%s: must be an object: { ... }", config->path);
	config->registries = json_object_get(config->root, "registries");
	if (!config->registries)
		return 0;
	if (!json_is_object(config->registries))
		return err_set(err, ERR_INVALID, 0, "%s: registries must be an object", config->path);
	warn_unknown(config, "registries", config->registries, known, ARRAY_LEN(known));
	if (!is_string_list(json_object_get(config->registries, "ca_certs")))
		return wrong(config, "registries", "ca_certs", "a list of at most 16 paths", err);
	config->hosts = json_object_get(config->registries, "hosts");
	if (config->hosts && !json_is_object(config->hosts))
		return wrong(config, "registries", "hosts", "an object", err);
	json_object_foreach(config->hosts, host, entry)
	{
		const json_t *insecure = json_object_get(entry, "insecure");
		char where[300], name[256];

		snprintf(where, sizeof(where), "registries.hosts.%.256s", host);
		if (!host_canonical(host, name))
			return err_set(err, ERR_INVALID, 0, "%s: registries.hosts: \"%.200s\" is no host name",
				       config->path, host);
		if (!json_is_object(entry))
			return err_set(err, ERR_INVALID, 0, "%s: %s must be an object", config->path, where);
		warn_unknown(config, where, entry, host_known, ARRAY_LEN(host_known));
		if (insecure && !json_is_boolean(insecure))
			return wrong(config, where, "insecure", "true or false", err);
		if (!is_string_list(json_object_get(entry, "mirrors")))
			return wrong(config, where, "mirrors", "a list of at most 16 URLs", err);
		if (check_auth(config, where, json_object_get(entry, "auth"), err) < 0)
			return -(int)err->code;
	}
	return 0;
}

struct config *config_load(const char *home, struct error *err)
{
	struct config *config = calloc(1, sizeof(*config));
	struct buf raw = BUF_INIT(CONFIG_BYTES_MAX);
	const char *named = getenv("MSB_CONFIG_PATH");
	json_error_t where;
	int rc;

	if (!config) {
		err_set(err, ERR_NO_MEMORY, 0, "out of memory");
		return NULL;
	}
	snprintf(config->path, sizeof(config->path), "%s%s", named && *named ? named : home,
		 named && *named ? "" : "/config.json");
	rc = file_read(AT_FDCWD, config->path, CONFIG_BYTES_MAX, &raw, err);
	if (rc == -ERR_NOT_FOUND && !(named && *named)) {
		err_clear(err);
		rc = 0;
	} else if (rc == 0) {
		config->root = json_loadb((const char *)raw.data, raw.len, JSON_REJECT_DUPLICATES, &where);
		if (config->root)
			rc = check(config, err);
		else
			rc = err_set(err, ERR_INVALID, 0, "%s, line %d: %s", config->path, where.line, where.text);
	}
	buf_free(&raw);
	if (rc == 0)
		return config;
	if (err->code == ERR_INVALID)
		err_hint(err, "correct that file; MSB_CONFIG_PATH can name another");
	config_free(config);
	return NULL;
}

void config_free(struct config *config)
{
	if (config)
		json_decref(config->root);
	free(config);
}

/** strings() - Copy out the strings of a list. */
static size_t strings(const json_t *list, const char *out[CONFIG_LIST_MAX])
{
	size_t n = json_array_size(list);

	for (size_t i = 0; i < n; i++)
		out[i] = json_string_value(json_array_get(list, i));
	return n;
}

/** read_auth() - Which source an auth entry names. */
static void read_auth(const json_t *auth, struct config_host *out)
{
	static const struct {
		const char *key;
		enum config_auth kind;
	} sources[] = {
		{ "store", CONFIG_AUTH_STORE },
		{ "password_env", CONFIG_AUTH_ENV },
		{ "secret_name", CONFIG_AUTH_SECRET },
	};
	const json_t *username = json_object_get(auth, "username");

	out->username = username ? json_string_value(username) : "";
	out->auth = auth ? CONFIG_AUTH_UNSET : CONFIG_AUTH_NONE;
	for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
		const json_t *value = json_object_get(auth, sources[i].key);

		if (!value)
			continue;
		out->auth = out->auth == CONFIG_AUTH_UNSET ? sources[i].kind : CONFIG_AUTH_MULTIPLE;
		out->value = json_string_value(value);
	}
}

bool config_host(const struct config *config, const char *host, struct config_host *out)
{
	char wanted[256], name[256];
	const char *key;
	json_t *entry;

	*out = (struct config_host){ .username = "" };
	if (!host_canonical(host, wanted))
		return false;
	json_object_foreach(config->hosts, key, entry)
	{
		if (!host_canonical(key, name) || strcmp(name, wanted) != 0)
			continue;
		out->insecure = json_is_true(json_object_get(entry, "insecure"));
		out->mirror_count = strings(json_object_get(entry, "mirrors"), out->mirrors);
		read_auth(json_object_get(entry, "auth"), out);
		return true;
	}
	return false;
}

bool config_each(const struct config *config, size_t index, char out[256])
{
	const char *key;
	json_t *entry;

	json_object_foreach(config->hosts, key, entry) if (index-- == 0) return host_canonical(key, out);
	return false;
}

size_t config_ca_certs(const struct config *config, const char *out[CONFIG_LIST_MAX])
{
	return strings(json_object_get(config->registries, "ca_certs"), out);
}

const char *config_path(const struct config *config)
{
	return config->path;
}
