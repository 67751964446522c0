/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config_file.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/nearest.h"

#define MEMBERS_MAX 24
#define PLACE_MAX 400
#define VALUE_SHOWN 60

enum kind {
	OBJECT,
	ANY, /* other programs' business: not looked at */
	FLAG,
	NUMBER,
	TEXT,
	WORD,	  /* no blanks, not empty, not "/" */
	ABSOLUTE, /* a path that begins with / */
	CHOICE,
	TEXT_LIST,
};

/** A key; "*" stands for any name. */
struct key {
	const char *name;
	enum kind kind;
	const struct key *members; /* of an object; ends with a nameless one */
	const char *choices;	   /* with | between them */
	json_int_t min, max;
	bool unused; /* of the public tool's files; this version does nothing by it */
};

static const struct key database_keys[] = {
	{ "url", TEXT, .unused = true },
	{ "max_connections", NUMBER, .min = 1, .max = 1000, .unused = true },
	{ "connect_timeout_secs", NUMBER, .min = 0, .max = 86400, .unused = true },
	{ "busy_timeout_secs", NUMBER, .min = 0, .max = 86400, .unused = true },
	{ 0 },
};
static const struct key path_keys[] = {
	{ "libkrunfw", ABSOLUTE },
	{ "msb", TEXT, .unused = true },
	{ "cache", TEXT, .unused = true },
	{ "sandboxes", TEXT, .unused = true },
	{ "volumes", TEXT, .unused = true },
	{ "snapshots", TEXT, .unused = true },
	{ "logs", TEXT, .unused = true },
	{ "secrets", TEXT, .unused = true },
	{ 0 },
};
static const struct key oci_keys[] = {
	{ "root_disk", TEXT },
	{ "upper_size_mib", NUMBER, .min = 16, .max = 8 << 20 },
	{ 0 },
};
static const struct key sandbox_keys[] = {
	{ "cpus", NUMBER, .min = 1, .max = 32 },
	{ "memory_mib", NUMBER, .min = 1, .max = 1 << 22 },
	{ "shell", WORD },
	{ "workdir", ABSOLUTE },
	{ "oci", OBJECT, oci_keys },
	{ "cpu_placement", TEXT, .unused = true },
	{ "placement_profile", TEXT, .unused = true },
	{ "thp", TEXT, .unused = true },
	{ "metrics_sample_interval_ms", NUMBER, .min = 0, .max = 86400000, .unused = true },
	{ "disable_metrics_sample", FLAG, .unused = true },
	{ 0 },
};
static const struct key ssh_keys[] = {
	{ "inactivity_timeout_secs", NUMBER, .min = 0, .max = 1 << 30, .unused = true },
	{ 0 },
};
static const struct key auth_keys[] = {
	{ "username", TEXT },
	{ "store", CHOICE, .choices = "keyring" },
	{ "password_env", TEXT },
	{ "secret_name", TEXT },
	{ 0 },
};
static const struct key host_keys[] = {
	{ "auth", OBJECT, auth_keys },
	{ "insecure", FLAG },
	{ "mirrors", TEXT_LIST },
	{ 0 },
};
static const struct key hosts_keys[] = { { "*", OBJECT, host_keys }, { 0 } };
static const struct key registry_keys[] = { { "ca_certs", TEXT_LIST }, { "hosts", OBJECT, hosts_keys }, { 0 } };
static const struct key all_keys[] = {
	{ "hypervisor", CHOICE, .choices = "auto|kvm|qemu" },
	{ "log_level", CHOICE, .choices = "error|warn|info|debug|trace" },
	{ "paths", OBJECT, path_keys },
	{ "sandbox_defaults", OBJECT, sandbox_keys },
	{ "registries", OBJECT, registry_keys },
	{ "home", TEXT, .unused = true },
	{ "deployment_profile", TEXT, .unused = true },
	{ "database", OBJECT, database_keys },
	{ "ssh", OBJECT, ssh_keys },
	{ "runtime", ANY },
	{ "metrics", ANY },
	{ "active_profile", ANY },
	{ "profiles", ANY },
	{ 0 },
};

/** Where in which file. */
struct place {
	const char *file, *key; /* "" for the whole file */
	bool quiet;		/* no warnings */
};

/** say() - A warning, on one line whatever the file says. */
static void say(const struct place *at, const char *what, const char *near)
{
	char key[PLACE_MAX];
	size_t n = (size_t)snprintf(key, sizeof(key), "%s", at->key);

	if (at->quiet)
		return;
	for (size_t i = 0; i < MIN(n, sizeof(key) - 1); i++)
		if (iscntrl((unsigned char)key[i]))
			key[i] = '?';
	fprintf(stderr, "warn: %s: %s %s%s%s%s\n", at->file, key, what, near ? "; did you mean " : "", near ? near : "",
		near ? "?" : "");
}

/** wrong() - A value is not what it must be. */
static int wrong(const struct place *at, const json_t *value, const char *must, struct error *err)
{
	char *shown = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

	err_set(err, ERR_INVALID, 0, "%s: %s%smust be %s, not %.*s%s", at->file, at->key, *at->key ? " " : "", must,
		VALUE_SHOWN, shown ? shown : "this", shown && strlen(shown) > VALUE_SHOWN ? "..." : "");
	free(shown);
	return -(int)ERR_INVALID;
}

/** is_choice() - One of "a|b|c". */
static bool is_choice(const char *text, const char *choices)
{
	size_t n = strlen(text);

	for (const char *at = choices; n && at; at = strchr(at, '|'), at = at ? at + 1 : NULL)
		if (strncmp(at, text, n) == 0 && (at[n] == '|' || !at[n]))
			return true;
	return false;
}

/** check_choice() - The error lists them. */
static int check_choice(const struct place *at, const struct key *key, const json_t *value, struct error *err)
{
	const char *text = json_string_value(value);
	char must[100] = "";
	size_t n = 0;

	if (text && is_choice(text, key->choices))
		return 0;
	for (const char *c = key->choices; *c && n + 4 < sizeof(must); c++) {
		if (c == key->choices)
			must[n++] = '"';
		if (*c == '|') {
			memcpy(must + n, "\", \"", 4);
			n += 4;
		} else {
			must[n++] = *c;
		}
	}
	must[n] = '"';
	return wrong(at, value, must, err);
}

/** check_list() - Strings, not too many. */
static int check_list(const struct place *at, const json_t *value, struct error *err)
{
	const json_t *item;
	char must[60];
	bool good = json_is_array(value) && json_array_size(value) <= CONFIG_LIST_MAX;
	size_t i;

	json_array_foreach(value, i, item) good &= json_is_string(item);
	snprintf(must, sizeof(must), "a list of at most %d strings", CONFIG_LIST_MAX);
	return good ? 0 : wrong(at, value, must, err);
}

/** check_leaf() - A value that is no object. */
static int check_leaf(const struct place *at, const struct key *key, const json_t *value, struct error *err)
{
	const char *text = json_string_value(value);
	char must[80];

	switch (key->kind) {
	case OBJECT:
	case ANY:
		return 0;
	case FLAG:
		return json_is_boolean(value) ? 0 : wrong(at, value, "true or false", err);
	case NUMBER:
		if (json_is_integer(value) && json_integer_value(value) >= key->min &&
		    json_integer_value(value) <= key->max)
			return 0;
		snprintf(must, sizeof(must), "a number from %lld to %lld", (long long)key->min, (long long)key->max);
		return wrong(at, value, must, err);
	case TEXT:
		return text ? 0 : wrong(at, value, "a string", err);
	case WORD:
		return text && *text && strcmp(text, "/") != 0 && !strpbrk(text, " \t\r\n")
			       ? 0
			       : wrong(at, value, "a program, by path or name", err);
	case ABSOLUTE:
		return text && text[0] == '/' ? 0 : wrong(at, value, "an absolute path", err);
	case CHOICE:
		return check_choice(at, key, value, err);
	case TEXT_LIST:
		return check_list(at, value, err);
	}
	return 0;
}

/** find_key() - The row for a name, else NULL and the nearest. */
static const struct key *find_key(const struct key *keys, const char *name, const char **near)
{
	const char *names[MEMBERS_MAX];
	size_t n = 0;

	for (const struct key *key = keys; key->name; key++) {
		if (strcmp(key->name, name) == 0 || strcmp(key->name, "*") == 0)
			return key;
		if (n < MEMBERS_MAX)
			names[n++] = key->name;
	}
	*near = nearest(name, names, n);
	return NULL;
}

/** check_object() - All members of an object. No deeper than the table. @part: at the top */
static int check_object(const struct place *at, const struct key *keys, enum config_part part, json_t *object,
			struct error *err)
{
	bool top = !*at->key;
	const char *name;
	json_t *value;
	void *next;

	if (!json_is_object(object))
		return wrong(at, object, "an object: { ... }", err);
	json_object_foreach_safe(object, next, name, value)
	{
		char inner[PLACE_MAX];
		const struct place place = { at->file, inner, at->quiet };
		const char *near = NULL;
		const struct key *key = find_key(keys, name, &near);
		int rc;

		if (top && (key && strcmp(key->name, "registries") == 0) != (part == CONFIG_REGISTRIES))
			continue;
		snprintf(inner, sizeof(inner), "%s%s%.256s", at->key, top ? "" : ".", name);
		if (!key) {
			say(&place, "means nothing", near);
		} else if (json_is_null(value)) {
			json_object_del(object, name); /* as if it were not there */
		} else {
			rc = key->kind == OBJECT ? check_object(&place, key->members, part, value, err)
						 : check_leaf(&place, key, value, err);
			if (rc < 0)
				return rc;
			if (key->unused)
				say(&place, "is not used by this version", NULL);
		}
	}
	return 0;
}

json_t *config_file_parse(const char *path, const void *text, size_t size, enum config_part part, bool quiet,
			  struct error *err)
{
	const struct place whole = { path, "", quiet };
	json_error_t where;
	json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &where);

	if (!root)
		err_set(err, ERR_INVALID, 0, "%s, line %d: %s", path, where.line, where.text);
	else if (check_object(&whole, all_keys, part, root, err) == 0)
		return root;
	json_decref(root);
	return NULL;
}

json_t *config_file_load(const char *home, enum config_part part, char path[CONFIG_PATH_MAX], struct error *err)
{
	struct buf raw = BUF_INIT(CONFIG_BYTES_MAX);
	const char *named = getenv("MSB_CONFIG_PATH");
	json_t *root = NULL;
	int rc;

	if (named && !*named)
		named = NULL;
	snprintf(path, CONFIG_PATH_MAX, "%s%s", named ? named : home, named ? "" : "/config.json");
	rc = file_read(AT_FDCWD, path, CONFIG_BYTES_MAX, &raw, err);
	if (rc == 0) {
		root = config_file_parse(path, raw.data ? (const char *)raw.data : "", raw.len, part, false, err);
	} else if (rc == -ERR_NOT_FOUND && !named) {
		err_clear(err);
		root = json_object();
		if (!root)
			err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	}
	buf_free(&raw);
	if (!root && err->code == ERR_INVALID)
		err_hint(err, "correct that file; MSB_CONFIG_PATH can name another");
	return root;
}
