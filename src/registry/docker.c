/* SPDX-License-Identifier: Apache-2.0 */
/* Docker's config.json and its credential helpers (docker-credential-NAME). */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "registry/credentials.h"
#include "registry/parse.h"

#define DOCKER_CONFIG_MAX MIB(1)
#define HELPER_BYTES_MAX KIB(256)
#define HELPER_SECONDS 60 /* it may ask the user to unlock a store */
#define KEYS_MAX 7

/** The names under which docker may know a host. */
struct keys {
	char item[KEYS_MAX][300];
	size_t count;
};

/** make_keys() - In the order in which they are tried. */
static void make_keys(const char *host, struct keys *out)
{
	static const char *const hub[] = { "https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io" };

	out->count = 0;
	snprintf(out->item[out->count++], sizeof(out->item[0]), "%s", host);
	snprintf(out->item[out->count++], sizeof(out->item[0]), "https://%s", host);
	for (size_t i = 0; strcmp(host, "docker.io") == 0 && i < ARRAY_LEN(hub); i++)
		snprintf(out->item[out->count++], sizeof(out->item[0]), "%s", hub[i]);
}

/** load() - Docker's configuration. Return: owned, or NULL: none, or err is set. */
static json_t *load(struct error *err)
{
	struct buf raw = BUF_INIT(DOCKER_CONFIG_MAX);
	const char *folder = getenv("DOCKER_CONFIG"), *home = getenv("HOME");
	char path[4096];
	json_t *j = NULL;
	json_error_t where;
	int rc;

	if (folder && *folder)
		snprintf(path, sizeof(path), "%s/config.json", folder);
	else if (home && *home)
		snprintf(path, sizeof(path), "%s/.docker/config.json", home);
	else
		return NULL;
	rc = file_read(AT_FDCWD, path, DOCKER_CONFIG_MAX, &raw, err);
	if (rc == 0) {
		j = json_loadb((const char *)raw.data, raw.len, 0, &where);
		if (!j) {
			err_set(err, ERR_INVALID, 0, "docker's configuration %s, line %d: %s", path, where.line,
				where.text);
			err_hint(err, "correct that file; DOCKER_CONFIG can name another folder");
		}
	} else if (rc == -ERR_NOT_FOUND) {
		err_clear(err);
	}
	if (raw.data)
		explicit_bzero(raw.data, raw.cap);
	buf_free(&raw);
	return j;
}

/** split_auth() - Base64 of user:password. */
static bool split_auth(const char *auth, struct credentials *out)
{
	size_t n = strlen(auth);
	uint8_t plain[USERNAME_MAX + PASSWORD_MAX];
	const uint8_t *colon;
	long len;

	if (n == 0 || n > sizeof(plain))
		return false;
	len = base64_decode(auth, n, plain);
	colon = len > 0 ? memchr(plain, ':', (size_t)len) : NULL;
	if (!colon || colon == plain || colon - plain >= USERNAME_MAX || plain + len - colon > PASSWORD_MAX ||
	    memchr(plain, 0, (size_t)len)) {
		explicit_bzero(plain, sizeof(plain));
		return false;
	}
	memcpy(out->username, plain, (size_t)(colon - plain));
	out->username[colon - plain] = '\0';
	memcpy(out->password, colon + 1, (size_t)(plain + len - colon - 1));
	out->password[plain + len - colon - 1] = '\0';
	explicit_bzero(plain, sizeof(plain));
	return out->password[0];
}

/** read_bounded() - Until end of file, with a limit of bytes and time. */
static bool read_bounded(int fd, struct buf *out)
{
	int64_t end = clock_monotonic_ns() + HELPER_SECONDS * NSEC_PER_SEC;
	uint8_t chunk[4096];

	for (;;) {
		int64_t left_ms = (end - clock_monotonic_ns()) / NSEC_PER_MSEC;
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n;

		if (left_ms <= 0 || (poll(&p, 1, (int)left_ms) < 0 && errno != EINTR))
			return false;
		if (!p.revents)
			continue;
		n = read(fd, chunk, sizeof(chunk));
		if (n <= 0)
			return n == 0;
		if (!buf_append(out, chunk, (size_t)n))
			return false;
	}
}

/**
 * run_helper() - docker-credential-NAME VERB with a line on its stdin. Return: its exit status, or -1: not run to its
 * end.
 */
static int run_helper(const char *name, const char *verb, const char *input, struct buf *out)
{
	_cleanup_fd_ int in_read = -1;
	_cleanup_fd_ int in_write = -1;
	_cleanup_fd_ int out_read = -1;
	_cleanup_fd_ int out_write = -1;
	posix_spawn_file_actions_t actions;
	char program[128];
	char *const argv[] = { program, (char *)(uintptr_t)verb, NULL };
	int in[2], o[2], status, rc;
	bool whole;
	pid_t pid;

	if (strchr(name, '/') ||
	    snprintf(program, sizeof(program), "docker-credential-%s", name) >= (int)sizeof(program))
		return -1;
	if (pipe2(in, O_CLOEXEC) < 0)
		return -1;
	in_read = in[0];
	in_write = in[1];
	if (pipe2(o, O_CLOEXEC) < 0)
		return -1;
	out_read = o[0];
	out_write = o[1];
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in_read, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, out_write, STDOUT_FILENO);
	rc = posix_spawnp(&pid, program, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (rc != 0)
		return -1;
	fd_close(&in_read);
	fd_close(&out_write);
	/* Shorter than a pipe holds. A helper that ends without reading it says why by its exit status. */
	if (fd_write_full(in_write, input, strlen(input)) < 0 && errno != EPIPE)
		out->failed = true;
	fd_close(&in_write);
	whole = read_bounded(out_read, out) && !out->failed;
	if (!whole)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return whole && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/**
 * ask_helper() - One key of one helper. One that is not there is passed over: what is left of a Docker Desktop, say.
 */
static void ask_helper(const char *name, const char *key, struct credentials *out)
{
	struct buf answer = BUF_INIT(HELPER_BYTES_MAX);
	int status = run_helper(name, "get", key, &answer);
	const char *username, *secret;
	json_t *j;

	if (status < 0)
		fprintf(stderr, "warning: docker's configuration names docker-credential-%.64s, which cannot be run\n",
			name);
	j = status == 0 ? json_loadb((const char *)answer.data, answer.len, 0, NULL) : NULL;
	username = json_string_value(json_object_get(j, "Username"));
	secret = json_string_value(json_object_get(j, "Secret"));
	/* <token> says that the secret is an identity token, for another way of asking for tokens: not a password. */
	if (username && secret && *secret && strcmp(username, "<token>") != 0 &&
	    snprintf(out->username, sizeof(out->username), "%s", username) < (int)sizeof(out->username) &&
	    snprintf(out->password, sizeof(out->password), "%s", secret) < (int)sizeof(out->password)) {
		snprintf(out->source, sizeof(out->source), "the credentials of docker-credential-%.64s", name);
		out->found = true;
	}
	json_decref(j);
	if (answer.data)
		explicit_bzero(answer.data, answer.cap);
	buf_free(&answer);
}

int docker_get(const char *host, struct credentials *out, struct error *err)
{
	json_t *j = load(err);
	const json_t *auths = json_object_get(j, "auths"), *helpers = json_object_get(j, "credHelpers");
	const char *store = json_string_value(json_object_get(j, "credsStore"));
	struct keys keys;
	int rc = j || err->code == ERR_NONE ? 0 : -(int)err->code;

	make_keys(host, &keys);
	for (size_t i = 0; !out->found && i < keys.count; i++) {
		const char *auth = json_string_value(json_object_get(json_object_get(auths, keys.item[i]), "auth"));

		if (auth && split_auth(auth, out)) {
			snprintf(out->source, sizeof(out->source), "the credentials of docker's config.json");
			out->found = true;
		}
	}
	for (size_t i = 0; !out->found && i < keys.count; i++) {
		const char *helper = json_string_value(json_object_get(helpers, keys.item[i]));

		if (helper)
			ask_helper(helper, keys.item[i], out);
	}
	for (size_t i = 0; !out->found && store && *store && i < keys.count; i++)
		ask_helper(store, keys.item[i], out);
	json_decref(j);
	return rc;
}

/** list_helper() - What a helper says it knows: {"key": "user"}. Return: owned, or NULL. */
static json_t *list_helper(const char *name)
{
	struct buf answer = BUF_INIT(HELPER_BYTES_MAX);
	json_t *j = NULL;

	if (run_helper(name, "list", "", &answer) == 0)
		j = json_loadb((const char *)answer.data, answer.len, 0, NULL);
	buf_free(&answer);
	return j;
}

int docker_each(void (*fn)(void *arg, const char *host, const char *username, const char *helper), void *arg,
		struct error *err)
{
	json_t *j = load(err), *value, *known;
	const char *key, *store = json_string_value(json_object_get(j, "credsStore"));
	struct credentials c;
	char host[256];

	if (!j)
		return err->code == ERR_NONE ? 0 : -(int)err->code;
	json_object_foreach(json_object_get(j, "auths"), key, value)
	{
		const char *auth = json_string_value(json_object_get(value, "auth"));

		if (auth && host_canonical(key, host) && split_auth(auth, &c))
			fn(arg, host, c.username, NULL);
		credentials_wipe(&c);
	}
	json_object_foreach(json_object_get(j, "credHelpers"), key, value)
	{
		const char *helper = json_string_value(value);
		const char *user;

		if (!helper || !host_canonical(key, host))
			continue;
		known = list_helper(helper);
		user = json_string_value(json_object_get(known, key));
		fn(arg, host, user ? user : "-", helper);
		json_decref(known);
	}
	known = store && *store ? list_helper(store) : NULL;
	json_object_foreach(known, key, value)
	{
		const char *user = json_string_value(value);

		if (user && host_canonical(key, host))
			fn(arg, host, user, store);
	}
	json_decref(known);
	json_decref(j);
	return 0;
}
