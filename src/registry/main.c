/* SPDX-License-Identifier: Apache-2.0 */
/* msb-registry: the only program of msb that speaks with registries, and the only one that links libcurl. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "confine/confine.h"
#include "registry/commands.h"

int confine_client(struct error *err)
{
	/* A rung that may be refused: the root of a container can be the only user that it has. */
	if (confine_drop_privileges(err) < 0)
		err_clear(err);
	prctl(PR_SET_DUMPABLE, 0); /* a change of identity has reset it */
	if (confine_landlock_client(err) < 0)
		return -(int)err->code;
	return confine_deny_dangerous(CONFINE_DENY_FORK | CONFINE_ALLOW_CLIENT, err);
}

/** usage() - Return: the exit status. */
static int usage(void)
{
	fprintf(stderr, "usage: msb-registry serve [--insecure] [--ca-certs PEM]... MSB_HOME REFERENCE\n"
			"       msb-registry login [--no-verify] [--insecure] [--ca-certs PEM]... MSB_HOME HOST USER\n"
			"       msb-registry logout MSB_HOME HOST\n"
			"       msb-registry ls MSB_HOME\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct rlimit none = { 0, 0 };
	struct client_options options = { .insecure = false };
	struct error err = ERROR_INIT;
	bool verify = true;
	const char *command;
	int i = 2, rest, rc;

	/* Passwords are in this memory: no core, no debugger. */
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a file that may not grow further says so */
	if (argc < 2)
		return usage();
	command = argv[1];
	for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
		if (strcmp(argv[i], "--insecure") == 0)
			options.insecure = true;
		else if (strcmp(argv[i], "--no-verify") == 0)
			verify = false;
		else if (strcmp(argv[i], "--ca-certs") == 0 && i + 1 < argc && options.ca_count < CONFIG_LIST_MAX)
			options.ca_files[options.ca_count++] = argv[++i];
		else
			return usage();
	}
	rest = argc - i;
	if (strcmp(command, "serve") == 0 && rest == 2)
		rc = serve(argv[i], argv[i + 1], &options, &err);
	else if (strcmp(command, "login") == 0 && rest == 3)
		rc = login(argv[i], argv[i + 1], argv[i + 2], verify, &options, &err);
	else if (strcmp(command, "logout") == 0 && rest == 2)
		rc = logout(argv[i], argv[i + 1], &err);
	else if (strcmp(command, "ls") == 0 && rest == 1)
		rc = list(argv[i], &err);
	else
		return usage();
	if (rc == 0)
		return 0;
	fprintf(stderr, "error: %s\n", err.text);
	if (err.hint[0])
		fprintf(stderr, "  → %s\n", err.hint);
	return 1;
}
