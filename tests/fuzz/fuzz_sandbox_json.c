/* SPDX-License-Identifier: Apache-2.0 */
// sources: src/engine/sandbox_json.c src/proto/message.c src/proto/cbor.c src/base/buf.c src/base/log.c src/base/error.c
// sources: src/engine/net_json.c src/net/spec.c src/net/ip.c src/net/policy/policy.c src/net/policy/rule.c
// sources: src/net/policy/group.c src/base/nearest.c src/base/num.c
// libs: -ljansson
/* The file that says what a sandbox is. What is taken has every string, is written again, and stays the same then. */
#include <stdlib.h>
#include <string.h>

#include "engine/sandbox_json.h"

/** all_there() - Every word of a list. */
static void all_there(const char *const *words, size_t count)
{
	if (count > MSG_STRINGS_MAX)
		abort();
	for (size_t i = 0; i < count; i++)
		if (!words[i] || strlen(words[i]) > SANDBOX_JSON_MAX)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct sandbox_json j, again;
	struct error err = ERROR_INIT;
	char *text, *same, *given = n <= SANDBOX_JSON_MAX ? malloc(n + 1) : NULL;
	const struct run_spec *s = &j.spec;

	if (!given)
		return 0;
	memcpy(given, data, n);
	given[n] = '\0';
	if (sandbox_json_decode(given, &j, &err) < 0) {
		if (!err.text[0])
			abort();
		free(given);
		return 0;
	}
	if (!s->name || !s->image || s->tmpfs_count > MSG_MOUNTS_MAX || s->rlimit_count > MSG_RLIMITS_MAX)
		abort();
	all_there(s->env, s->env_count);
	all_there((const char *const *)(uintptr_t)s->command, s->command_count);
	all_there(s->labels, s->label_count);
	all_there(s->mkdirs, s->mkdir_count);
	all_there(s->removes, s->remove_count);
	all_there(s->init_args, s->init_arg_count);
	all_there(s->init_env, s->init_env_count);
	for (size_t i = 0; i < s->tmpfs_count; i++)
		if (!s->tmpfs[i].path)
			abort();
	text = sandbox_json_encode(s, j.created_ns, NULL);
	if (!text || sandbox_json_decode(text, &again, NULL) < 0)
		abort();
	same = sandbox_json_encode(&again.spec, again.created_ns, NULL);
	if (!same || strcmp(text, same) != 0)
		abort();
	free(text);
	free(same);
	sandbox_json_free(&again);
	sandbox_json_free(&j);
	free(given);
	return 0;
}
