/* SPDX-License-Identifier: Apache-2.0 */
/** Changing the configuration of a sandbox. contract 1.9, modify */
#ifndef MSB_ENGINE_MODIFY_H
#define MSB_ENGINE_MODIFY_H

#include "engine/lifecycle.h"

#define MODIFY_CHANGES_MAX 2048

/** What is asked for; what is NULL or 0 stays as it is. */
struct modify_spec {
	const char *const *env, *const *env_removes, *const *labels, *const *label_removes;
	size_t env_count, env_remove_count, label_count, label_remove_count;
	const char *workdir;
	uint64_t memory_mib, cpus;
};

enum modify_when {
	MODIFY_LIVE,	   /* from now on: for what is started in it later, where it runs */
	MODIFY_NEXT_START, /* it runs, and this cannot be changed under it */
};

struct modify_change {
	char what[200]; /* "env FOO=bar" */
	enum modify_when when;
};

enum modify_policy {
	MODIFY_ALL_OR_NOTHING, /* only when nothing has to wait */
	MODIFY_AT_NEXT_START,  /* what has to wait waits */
	MODIFY_RESTART,	       /* and it is restarted for that */
	MODIFY_DRY_RUN,
};

/**
 * engine_modify() - Plan and, unless the policy forbids it, change.
 * @changes: room for MODIFY_CHANGES_MAX. Return: 0; ERR_EXISTS when something has to wait and may not
 */
int engine_modify(const struct engine_paths *paths, const char *name, const struct modify_spec *spec,
		  enum modify_policy policy, struct modify_change *changes, size_t *count, struct error *err);

#endif
