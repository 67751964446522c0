/* SPDX-License-Identifier: Apache-2.0 */
// sources: src/proto/message.c src/proto/cbor.c src/base/buf.c src/base/log.c src/base/error.c
/*
 * The first byte chooses the message, the rest is its body. What decodes has its strings in the input, is encoded
 * again, decodes again, and is encoded to the same bytes from then on.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "proto/message.h"

/** inside() - A string that lies in the input, its NUL included. */
static void inside(const char *s, const uint8_t *p, size_t n)
{
	if (s && ((const uint8_t *)s < p || !memchr(s, 0, n - (size_t)((const uint8_t *)s - p))))
		abort();
}

/** inside_all() - Every string of a list. */
static void inside_all(const struct msg_strings *list, const uint8_t *p, size_t n)
{
	if (list->count > MSG_STRINGS_MAX)
		abort();
	for (uint32_t i = 0; i < list->count; i++) {
		if (!list->item[i])
			abort();
		inside(list->item[i], p, n);
	}
}

/** check_path() - A path that is let through has no way up and no empty name. */
static void check_path(const char *path)
{
	char slashed[4096];

	if (!path || !msg_entry_path_ok(path) || !*path ||
	    snprintf(slashed, sizeof(slashed), "/%s/", path) >= (int)sizeof(slashed))
		return;
	if (strstr(slashed, "/../") || strstr(slashed, "/./") || strstr(slashed, "//"))
		abort();
}

#define TRIP(name)                                                                                                     \
	static struct msg_##name *trip_##name(const uint8_t *p, size_t n)                                              \
	{                                                                                                              \
		static struct msg_##name m, second;                                                                    \
		struct buf a = BUF_INIT(MIB(2)), b = BUF_INIT(MIB(2));                                                 \
                                                                                                                       \
		if (!msg_decode_##name(p, n, &m))                                                                      \
			return NULL;                                                                                   \
		if (!msg_encode_##name(&a, &m) || !msg_decode_##name(a.data, a.len, &second) ||                        \
		    !msg_encode_##name(&b, &second) || a.len != b.len || memcmp(a.data, b.data, a.len) != 0)           \
			abort();                                                                                       \
		buf_free(&a);                                                                                          \
		buf_free(&b);                                                                                          \
		return &m;                                                                                             \
	}

TRIP(hello)
TRIP(boot)
TRIP(ready)
TRIP(failed)
TRIP(exec)
TRIP(started)
TRIP(resize)
TRIP(signal)
TRIP(taken)
TRIP(clock)
TRIP(exited)
TRIP(shutdown)
TRIP(stats)
TRIP(put)
TRIP(get)
TRIP(entry)
TRIP(done)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const struct msg_boot *boot;
	const struct msg_failed *failed;
	const struct msg_exec *exec;
	const struct msg_put *put;
	const struct msg_get *get;
	const struct msg_entry *entry;
	unsigned int kind = n ? data[0] % 17 : 0;

	if (n == 0)
		return 0;
	data++;
	n--;
	switch (kind) {
	case 0:
		boot = trip_boot(data, n);
		if (boot) {
			inside(boot->hostname, data, n);
			inside(boot->user, data, n);
			inside(boot->workdir, data, n);
			inside_all(&boot->env, data, n);
			inside(boot->init, data, n);
			inside(boot->ip4, data, n);
			inside(boot->gateway4, data, n);
			inside(boot->ip6, data, n);
			inside(boot->gateway6, data, n);
			inside_all(&boot->init_args, data, n);
			inside_all(&boot->init_env, data, n);
			inside_all(&boot->mkdirs, data, n);
			inside_all(&boot->removes, data, n);
			if (boot->tmpfs_count > MSG_MOUNTS_MAX)
				abort();
			for (uint32_t i = 0; i < boot->tmpfs_count; i++)
				inside(boot->tmpfs[i].path, data, n);
		}
		break;
	case 1:
		exec = trip_exec(data, n);
		if (exec) {
			inside(exec->cwd, data, n);
			inside(exec->user, data, n);
			inside_all(&exec->argv, data, n);
			inside_all(&exec->env, data, n);
		}
		break;
	case 2:
		failed = trip_failed(data, n);
		if (failed)
			inside(failed->text, data, n);
		break;
	case 3:
		trip_hello(data, n);
		break;
	case 4:
		trip_ready(data, n);
		break;
	case 5:
		trip_started(data, n);
		break;
	case 6:
		trip_resize(data, n);
		break;
	case 7:
		trip_signal(data, n);
		break;
	case 8:
		trip_clock(data, n);
		break;
	case 9:
		trip_exited(data, n);
		break;
	case 10:
		trip_taken(data, n);
		break;
	case 11:
		trip_shutdown(data, n);
		break;
	case 12:
		trip_stats(data, n);
		break;
	case 13:
		put = trip_put(data, n);
		if (put) {
			inside(put->path, data, n);
			inside(put->name, data, n);
		}
		break;
	case 14:
		get = trip_get(data, n);
		if (get)
			inside(get->path, data, n);
		break;
	case 15:
		entry = trip_entry(data, n);
		if (entry) {
			inside(entry->path, data, n);
			inside(entry->target, data, n);
			check_path(entry->path);
		}
		break;
	default:
		trip_done(data, n);
	}
	return 0;
}
