/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/credentials.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "registry/parse.h"

#define STORE "secrets/registries"
#define ENTRY_BYTES_MAX (PASSWORD_MAX * 6 + 4096) /* JSON may write a byte as six */

void credentials_wipe(struct credentials *c)
{
	explicit_bzero(c, sizeof(*c));
}

/** wipe_buf() - For secrets that were in a buffer. */
static void wipe_buf(struct buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->cap);
	buf_free(b);
}
#define _cleanup_secret_ _cleanup_(wipe_buf)

/** open_store() - Return: owned fd of the directory, or -1 with errno. */
static int open_store(const char *home)
{
	char path[4096];

	if (snprintf(path, sizeof(path), "%s/" STORE, home) >= (int)sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/** read_private() - A file of the store; others must not be able to read it. */
static int read_private(int dir, const char *home, const char *name, struct buf *out, struct error *err)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_set(err, err_from_errno(errno), errno, "read %s/" STORE "/%s", home, name);
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077)) {
		err_set(err, ERR_PERMISSION, 0, "%s/" STORE "/%s must be a file that only you can read", home, name);
		return err_hint(err, "chmod 600 %s/" STORE "/%s", home, name);
	}
	return file_read(dir, name, ENTRY_BYTES_MAX, out, err);
}

/** copy() - A string member that fits. */
static bool copy(const json_t *o, const char *key, char *out, size_t room)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s && snprintf(out, room, "%s", s) < (int)room;
}

int store_get(const char *home, const char *host, struct credentials *out, struct error *err)
{
	_cleanup_fd_ int dir = open_store(home);
	_cleanup_secret_ struct buf raw = BUF_INIT(ENTRY_BYTES_MAX);
	json_t *j;
	int rc;

	*out = (struct credentials){ .source = "the credentials of msb registry login" };
	if (dir < 0)
		return errno == ENOENT ? 0 : err_set(err, err_from_errno(errno), errno, "open %s/" STORE, home);
	rc = read_private(dir, home, host, &raw, err);
	if (rc == -ERR_NOT_FOUND) {
		err_clear(err);
		return 0;
	}
	if (rc < 0)
		return rc;
	j = json_loadb((const char *)raw.data, raw.len, 0, NULL);
	out->found = copy(j, "username", out->username, sizeof(out->username)) &&
		     copy(j, "password", out->password, sizeof(out->password));
	json_decref(j);
	if (out->found)
		return 0;
	err_set(err, ERR_INVALID, 0, "%s/" STORE "/%s is not what msb registry login writes", home, host);
	return err_hint(err, "msb registry login %s", host);
}

int store_put(const char *home, const char *host, const struct credentials *c, struct error *err)
{
	_cleanup_secret_ struct buf raw = BUF_INIT(ENTRY_BYTES_MAX);
	_cleanup_fd_ int dir = -1;
	char path[4096];
	json_t *j;
	size_t n;

	if (snprintf(path, sizeof(path), "%s/" STORE, home) >= (int)sizeof(path))
		return err_set(err, ERR_LIMIT, 0, "%s: path too long", home);
	if (dir_make_parents(path, 0700, err) < 0)
		return -(int)err->code;
	dir = open_store(home);
	if (dir < 0)
		return err_set(err, err_from_errno(errno), errno, "open %s", path);
	j = json_pack("{s:s, s:s}", "username", c->username, "password", c->password);
	n = json_dumpb(j, NULL, 0, JSON_COMPACT);
	if (n == 0 || !buf_extend(&raw, n)) {
		json_decref(j);
		return err_set(err, ERR_INVALID, 0, "user name and password must be UTF-8 text");
	}
	json_dumpb(j, (char *)raw.data, n, JSON_COMPACT);
	json_decref(j);
	return file_write_atomic(dir, host, raw.data, raw.len, 0600, err);
}

int store_remove(const char *home, const char *host, struct error *err)
{
	_cleanup_fd_ int dir = open_store(home);

	if (dir >= 0 && unlinkat(dir, host, 0) == 0)
		return 1;
	return errno == ENOENT ? 0 : err_set(err, err_from_errno(errno), errno, "remove %s/" STORE "/%s", home, host);
}

int store_each(const char *home, int (*fn)(void *arg, const char *host), void *arg, struct error *err)
{
	int fd = open_store(home), rc = 0;
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *e;
	char name[256];

	if (!dir) {
		fd_close(&fd);
		return errno == ENOENT ? 0 : err_set(err, err_from_errno(errno), errno, "open %s/" STORE, home);
	}
	while (rc == 0 && (e = readdir(dir)))
		if (host_canonical(e->d_name, name) && strcmp(name, e->d_name) == 0)
			rc = fn(arg, name);
	closedir(dir);
	return rc;
}

/** incomplete() - The entry of config.json does not lead to a password. */
static int incomplete(const struct config *config, const char *host, const char *what, struct error *err)
{
	err_set(err, ERR_INVALID, 0, "%s: registries.hosts.%s.auth: %s", config_path(config), host, what);
	return err_hint(err, "for example {\"username\": \"USER\", \"password_env\": \"VARIABLE\"}");
}

/** from_config() - Follow an auth entry of config.json. */
static int from_config(const char *home, const struct config *config, const char *host, struct credentials *out,
		       struct error *err)
{
	_cleanup_secret_ struct buf raw = BUF_INIT(ENTRY_BYTES_MAX);
	_cleanup_fd_ int dir = -1;
	struct config_host entry;
	const char *password;

	if (!config_host(config, host, &entry) || entry.auth == CONFIG_AUTH_NONE)
		return 0;
	snprintf(out->source, sizeof(out->source), "the credentials that config.json names");
	if (entry.auth == CONFIG_AUTH_MULTIPLE || entry.auth == CONFIG_AUTH_UNSET)
		return incomplete(config, host, "give exactly one of store, password_env and secret_name", err);
	if (entry.auth == CONFIG_AUTH_STORE) { /* the store was asked before */
		incomplete(config, host, "the store has no password for it", err);
		return err_hint(err, "msb registry login %s -u %s", host, entry.username[0] ? entry.username : "USER");
	}
	if (!entry.username[0])
		return incomplete(config, host, "username is missing", err);
	if (entry.auth == CONFIG_AUTH_ENV) {
		password = getenv(entry.value);
		if (!password || !*password) {
			incomplete(config, host, "the variable that password_env names is not set", err);
			return err_hint(err, "export %s=...", entry.value);
		}
	} else {
		if (!entry.value[0] || strchr(entry.value, '/') || entry.value[0] == '.')
			return incomplete(config, host, "secret_name must be the name of a file", err);
		dir = open_store(home);
		if (dir < 0 && errno != ENOENT)
			return err_set(err, err_from_errno(errno), errno, "open %s/" STORE, home);
		if (dir < 0 || faccessat(dir, entry.value, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
			incomplete(config, host, "there is no file of secret_name", err);
			return err_hint(err, "write the password into MSB_HOME/" STORE "/%.60s, chmod 600",
					entry.value);
		}
		if (read_private(dir, home, entry.value, &raw, err) < 0)
			return -(int)err->code;
		password = buf_cstr(&raw);
		while (raw.len && strchr("\r\n", raw.data[raw.len - 1]))
			raw.data[--raw.len] = '\0';
	}
	if (!password || !*password || strlen(password) >= sizeof(out->password) ||
	    strlen(entry.username) >= sizeof(out->username))
		return incomplete(config, host, "the password is empty, or user name or password too long", err);
	snprintf(out->username, sizeof(out->username), "%s", entry.username);
	snprintf(out->password, sizeof(out->password), "%s", password);
	out->found = true;
	return 0;
}

int credentials_find(const char *home, const struct config *config, const char *host, struct credentials *out,
		     struct error *err)
{
	char name[256];
	int rc;

	*out = (struct credentials){ .found = false };
	if (!host_canonical(host, name))
		return 0;
	rc = store_get(home, name, out, err);
	if (rc == 0 && !out->found)
		rc = from_config(home, config, name, out, err);
	if (rc == 0 && !out->found)
		rc = docker_get(name, out, err);
	if (rc == 0 && !out->found)
		out->source[0] = '\0';
	return rc;
}
