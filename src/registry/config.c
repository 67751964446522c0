/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "registry/parse.h"

struct config {
	char path[CONFIG_PATH_MAX];
	json_t *root, *registries, *hosts;
};

/** check_hosts() - Names of hosts are names. */
static int check_hosts(const struct config *config, struct error *err)
{
	const char *host;
	json_t *entry;

	json_object_foreach(config->hosts, host, entry)
	{
		char name[256];

		if (!host_canonical(host, name))
			return err_set(err, ERR_INVALID, 0, "%s: registries.hosts: \"%.200s\" is no host name",
				       config->path, host);
	}
	return 0;
}

struct config *config_load(const char *home, struct error *err)
{
	struct config *config = calloc(1, sizeof(*config));

	if (!config) {
		err_set(err, ERR_NO_MEMORY, 0, "out of memory");
		return NULL;
	}
	config->root = config_file_load(home, CONFIG_REGISTRIES, config->path, err);
	config->registries = json_object_get(config->root, "registries");
	config->hosts = json_object_get(config->registries, "hosts");
	if (config->root && check_hosts(config, err) == 0)
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
