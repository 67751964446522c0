/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "registry/commands.h"

/** What a registry says to credentials; travels through a pipe. */
struct verdict {
	bool answered; /* and so err.code decides: ERR_NONE is yes */
	bool asked;    /* for credentials, at all */
	struct error err;
};

/** read_password() - Standard input without the end of its line. */
static int read_password(struct credentials *c, struct error *err)
{
	ssize_t n = fd_read_full(STDIN_FILENO, c->password, sizeof(c->password));

	if (n < 0)
		return err_set(err, ERR_SYSTEM, errno, "read the password");
	if (n == (ssize_t)sizeof(c->password))
		return err_set(err, ERR_LIMIT, 0, "the password is longer than %zu bytes", sizeof(c->password) - 1);
	while (n > 0 && (c->password[n - 1] == '\n' || c->password[n - 1] == '\r'))
		n--;
	c->password[n] = '\0';
	if (strlen(c->password) != (size_t)n)
		return err_set(err, ERR_INVALID, 0, "the password has a zero byte in it");
	return n ? 0 : err_set(err, ERR_INVALID, 0, "the password is empty");
}

/** A request to /v2/ and what became of it. */
struct ping {
	struct exchange x;
	bool done;
	struct error err;
};

/** on_done(), on_note(), on_info(), on_bytes() - Of the ping. */
static void on_done(void *arg, const struct error *err)
{
	struct ping *ping = arg;

	ping->done = true;
	if (err)
		ping->err = *err;
}

static void on_note(void *arg, const char *text)
{
	(void)arg;
	fprintf(stderr, "%s\n", text);
}

static void on_info(void *arg, const struct fetch_info *info)
{
	(void)arg;
	(void)info;
}

static bool on_bytes(void *arg, const uint8_t *p, size_t n)
{
	(void)arg;
	(void)p;
	(void)n;
	return true;
}

/** ask() - Does the registry accept these credentials? Runs in a process of its own, confined. */
static void ask(struct client *client, struct verdict *out)
{
	static const struct exchange_ops ops = { .note = on_note, .info = on_info, .bytes = on_bytes, .done = on_done };
	struct ping ping = { .x = { .kind = EXCHANGE_PING, .ops = &ops } };
	const struct endpoint *e = &client->endpoint[0];
	int rc = confine_client(&out->err);

	out->answered = rc < 0;
	ping.x.arg = &ping;
	if (rc == 0)
		exchange_start(client, &ping.x);
	while (rc == 0 && !ping.done)
		rc = client_step(client, NULL, 0, 60000, &out->err);
	if (rc < 0)
		return;
	out->err = ping.err;
	out->asked = ping.x.tried_basic || ping.x.tried_token;
	/* A certificate or TLS failure is an answer too: what to do about it is the user's decision. */
	out->answered = ping.err.code == ERR_NONE || ping.err.code == ERR_PERMISSION || ping.err.code == ERR_PROTOCOL;
	if (ping.err.code == ERR_PERMISSION && out->asked) {
		err_clear(&out->err);
		err_set(&out->err, ERR_PERMISSION, 0,
			"%s does not accept this user name and password; nothing was stored", e->host);
		err_hint(&out->err, "to store them all the same: --no-verify");
	}
}

/** verify_credentials() - In a child, so that this process can still write the store. */
static int verify_credentials(struct client *client, struct verdict *out, struct error *err)
{
	_cleanup_fd_ int from = -1;
	_cleanup_fd_ int to = -1;
	int pair[2], status;
	pid_t pid;
	bool whole;

	if (pipe2(pair, O_CLOEXEC) < 0)
		return err_set(err, ERR_SYSTEM, errno, "pipe");
	from = pair[0];
	to = pair[1];
	pid = fork();
	if (pid < 0)
		return err_set(err, ERR_SYSTEM, errno, "fork");
	if (pid == 0) {
		struct verdict v = { .answered = false };

		ask(client, &v);
		_exit(fd_write_full(to, &v, sizeof(v)) < 0);
	}
	fd_close(&to);
	whole = fd_read_full(from, out, sizeof(*out)) == sizeof(*out);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!whole)
		return err_set(err, ERR_INTERNAL, 0, "the process that asks the registry ended unexpectedly");
	out->err.text[sizeof(out->err.text) - 1] = out->err.hint[sizeof(out->err.hint) - 1] = '\0';
	return 0;
}

/** check_and_store() - With the password read. */
static int check_and_store(const char *home, const char *host, struct credentials *c, bool verify,
			   const struct client_options *options, struct error *err)
{
	struct client *client = verify ? client_new_login(home, host, c, options, err) : NULL;
	struct verdict v = { .answered = false };
	int rc = 0;

	if (verify)
		rc = client ? verify_credentials(client, &v, err) : -(int)err->code;
	client_free(client);
	if (rc < 0)
		return rc;
	if (v.answered && v.err.code != ERR_NONE) {
		*err = v.err;
		return -(int)err->code;
	}
	if (store_put(home, host, c, err) < 0)
		return -(int)err->code;
	if (verify && !v.answered)
		fprintf(stderr, "warning: stored without being checked: %s\n", v.err.text);
	else if (verify && !v.asked)
		fprintf(stderr, "warning: stored without being checked: %s asks for no credentials\n", host);
	printf("Stored the credentials of %s for %s.\n", c->username, host);
	return 0;
}

int login(const char *home, const char *host, const char *username, bool verify, const struct client_options *options,
	  struct error *err)
{
	struct credentials c = { .found = true, .source = "this user name and password" };
	char name[256];
	int rc;

	if (!host_canonical(host, name))
		return err_set(err, ERR_INVALID, 0,
			       "\"%.200s\" is no registry: expected a host name, and :port where needed", host);
	if (!*username || strlen(username) >= sizeof(c.username) || strchr(username, ':'))
		return err_set(err, ERR_INVALID, 0, "the user name is empty, too long or has a ':' in it");
	snprintf(c.username, sizeof(c.username), "%s", username);
	rc = read_password(&c, err);
	if (rc == 0)
		rc = check_and_store(home, name, &c, verify, options, err);
	credentials_wipe(&c);
	return rc;
}

int logout(const char *home, const char *host, struct error *err)
{
	char name[256];
	int rc;

	if (!host_canonical(host, name))
		return err_set(err, ERR_INVALID, 0,
			       "\"%.200s\" is no registry: expected a host name, and :port where needed", host);
	rc = store_remove(home, name, err);
	if (rc == 0)
		fprintf(stderr, "warning: nothing is stored for %s\n", name);
	else if (rc > 0)
		printf("Removed the credentials for %s.\n", name);
	return rc < 0 ? rc : 0;
}
