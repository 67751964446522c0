/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry/commands.h"

#define ROWS_MAX 1024

/** One host and one place that knows its user. The lower the rank, the earlier it is asked. */
struct row {
	char host[256];
	char username[USERNAME_MAX];
	char source[80];
	int rank;
};

struct rows {
	struct row row[ROWS_MAX];
	size_t count;
	const char *home;
	struct error *err;
};

/** add() - Rows beyond the last are left out. */
static void add(struct rows *rows, const char *host, const char *username, const char *source, int rank)
{
	struct row *row = &rows->row[rows->count];

	if (rows->count == ROWS_MAX)
		return;
	rows->count++;
	snprintf(row->host, sizeof(row->host), "%s", host);
	snprintf(row->username, sizeof(row->username), "%s", *username ? username : "-");
	snprintf(row->source, sizeof(row->source), "%s", source);
	row->rank = rank;
	/* They end on a terminal, and helpers and files say what they like. */
	for (char *p = row->username; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
}

/** from_store() - One file of the store; those that secret_name means are none of login's. */
static int from_store(void *arg, const char *host)
{
	struct rows *rows = arg;
	struct credentials c;
	struct error err = ERROR_INIT;

	if (store_get(rows->home, host, &c, &err) == 0 && c.found)
		add(rows, host, c.username, "file", 0);
	credentials_wipe(&c);
	return 0;
}

/** from_docker() - One entry of docker's configuration. */
static void from_docker(void *arg, const char *host, const char *username, const char *helper)
{
	char source[80];

	snprintf(source, sizeof(source), "docker-credential-%.50s", helper ? helper : "");
	add(arg, host, username, helper ? source : "docker", helper ? 3 : 2);
}

/** from_config() - All entries of config.json that have an auth. */
static void from_config(struct rows *rows, const struct config *config)
{
	static const char *const names[] = {
		[CONFIG_AUTH_NONE] = "",
		[CONFIG_AUTH_UNSET] = "unset",
		[CONFIG_AUTH_STORE] = "keyring",
		[CONFIG_AUTH_ENV] = "password_env",
		[CONFIG_AUTH_SECRET] = "secret_name",
		[CONFIG_AUTH_MULTIPLE] = "multiple",
	};
	struct config_host entry;
	char host[256];

	for (size_t i = 0; config_each(config, i, host); i++)
		if (config_host(config, host, &entry) && entry.auth != CONFIG_AUTH_NONE)
			add(rows, host, entry.username, names[entry.auth], 1);
}

/** compare() - By host, then in the order of asking. */
static int compare(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int d = strcmp(x->host, y->host);

	return d ? d : x->rank - y->rank;
}

/** print() - The table. */
static void print(struct rows *rows)
{
	size_t host = strlen("REGISTRY"), user = strlen("USERNAME");

	qsort(rows->row, rows->count, sizeof(rows->row[0]), compare);
	for (size_t i = 0; i < rows->count; i++) {
		host = MAX(host, strlen(rows->row[i].host));
		user = MAX(user, strlen(rows->row[i].username));
	}
	if (rows->count)
		printf("%-*s    %-*s    SOURCE\n", (int)host, "REGISTRY", (int)user, "USERNAME");
	else
		fprintf(stderr, "No registries configured.\n");
	for (size_t i = 0; i < rows->count; i++)
		printf("%-*s    %-*s    %s\n", (int)host, rows->row[i].host, (int)user, rows->row[i].username,
		       rows->row[i].source);
}

int list(const char *home, struct error *err)
{
	struct config *config = config_load(home, err);
	struct rows *rows = calloc(1, sizeof(*rows));
	int rc = config && rows ? 0 : config ? err_set(err, ERR_NO_MEMORY, 0, "out of memory") : -(int)err->code;

	if (rc == 0) {
		rows->home = home;
		from_config(rows, config);
		rc = store_each(home, from_store, rows, err);
	}
	if (rc == 0)
		rc = docker_each(from_docker, rows, err);
	if (rc == 0)
		print(rows);
	config_free(config);
	free(rows);
	return rc;
}
