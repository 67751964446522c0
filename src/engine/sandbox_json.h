/* SPDX-License-Identifier: Apache-2.0 */
/**
 * sandboxes/NAME/sandbox.json: what a persistent sandbox is. Written once when it is made, replaced whole when it is
 * modified; a copy is in the database. Keys: version, name, image, digest, created_ns, config {...}.
 */
#ifndef MSB_ENGINE_SANDBOX_JSON_H
#define MSB_ENGINE_SANDBOX_JSON_H

#include <jansson.h>

#include "engine/engine.h"

#define SANDBOX_JSON_MAX (4u << 20)

/** sandbox_json_encode() - @created_ns: CLOCK_REALTIME. Return: owned text, or NULL. */
char *sandbox_json_encode(const struct run_spec *spec, int64_t created_ns, struct error *err);

/** A decoded sandbox.json: everything in spec points into it. */
struct sandbox_json {
	json_t *root; /* owned */
	struct run_spec spec;
	int64_t created_ns;
	bool remove_at_end; /* a detached one without a name of the user's */
	struct msg_mount tmpfs[MSG_MOUNTS_MAX];
	struct msg_rlimit rlimits[MSG_RLIMITS_MAX];
	struct net_spec net; /* owned */
	void *lists;	     /* owned, chained */
};

/** sandbox_json_decode() - Return: 0; ERR_INVALID (a damaged file); ERR_UNSUPPORTED (of a newer msb). */
int sandbox_json_decode(const char *text, struct sandbox_json *out, struct error *err);
void sandbox_json_free(struct sandbox_json *j);

#endif
