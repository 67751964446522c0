/* SPDX-License-Identifier: Apache-2.0 */
/** The subcommands of msb-registry. */
#ifndef MSB_REGISTRY_COMMANDS_H
#define MSB_REGISTRY_COMMANDS_H

#include "registry/client.h"

/** confine_client() - All files were read: from here on only the network. */
int confine_client(struct error *err);

/** serve() - Answer channels over FETCH_CONTROL_FD until its end of file. */
int serve(const char *home, const char *reference, const struct client_options *options, struct error *err);
/** login() - Check and store a password that comes on standard input. */
int login(const char *home, const char *host, const char *username, bool verify, const struct client_options *options,
	  struct error *err);
int logout(const char *home, const char *host, struct error *err);
/** list() - Who is known where, and from which source; no passwords. */
int list(const char *home, struct error *err);

#endif
