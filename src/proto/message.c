/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each message is described by a table of fields (key, kind, place in the struct); one encoder and one decoder serve
 * all of them.
 */
#include "proto/message.h"

#include <limits.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>

#include "base/macros.h"
#include "proto/cbor.h"

const char *const msg_rlimit_names[MSG_RLIMIT_NAMES] = {
	[RLIMIT_CPU] = "cpu",		[RLIMIT_FSIZE] = "fsize",   [RLIMIT_DATA] = "data",
	[RLIMIT_STACK] = "stack",	[RLIMIT_CORE] = "core",	    [RLIMIT_RSS] = "rss",
	[RLIMIT_NPROC] = "nproc",	[RLIMIT_NOFILE] = "nofile", [RLIMIT_MEMLOCK] = "memlock",
	[RLIMIT_AS] = "as",		[RLIMIT_LOCKS] = "locks",   [RLIMIT_SIGPENDING] = "sigpending",
	[RLIMIT_MSGQUEUE] = "msgqueue", [RLIMIT_NICE] = "nice",	    [RLIMIT_RTPRIO] = "rtprio",
	[RLIMIT_RTTIME] = "rttime",
};

enum field_kind { FIELD_UINT, FIELD_BOOL, FIELD_STRING, FIELD_STRINGS, FIELD_RLIMITS, FIELD_MOUNTS };

struct field {
	uint64_t key;
	enum field_kind kind;
	size_t offset;
};

#define FIELD(type, name, key_, kind_) { .key = (key_), .kind = (kind_), .offset = offsetof(struct type, name) }

static const struct field hello_fields[] = {
	FIELD(msg_hello, version, 1, FIELD_UINT),
	FIELD(msg_hello, kernel_ns, 2, FIELD_UINT),
};
static const struct field boot_fields[] = {
	FIELD(msg_boot, hostname, 1, FIELD_STRING),	FIELD(msg_boot, upper, 2, FIELD_UINT),
	FIELD(msg_boot, upper_bytes, 3, FIELD_UINT),	FIELD(msg_boot, tmp_bytes, 4, FIELD_UINT),
	FIELD(msg_boot, realtime_ns, 5, FIELD_UINT),	FIELD(msg_boot, user, 6, FIELD_STRING),
	FIELD(msg_boot, workdir, 7, FIELD_STRING),	FIELD(msg_boot, env, 8, FIELD_STRINGS),
	FIELD(msg_boot, root, 9, FIELD_UINT),		FIELD(msg_boot, tmpfs_count, 10, FIELD_MOUNTS),
	FIELD(msg_boot, restricted, 11, FIELD_BOOL),	FIELD(msg_boot, init, 12, FIELD_STRING),
	FIELD(msg_boot, init_args, 13, FIELD_STRINGS),	FIELD(msg_boot, init_env, 14, FIELD_STRINGS),
	FIELD(msg_boot, mkdirs, 15, FIELD_STRINGS),	FIELD(msg_boot, removes, 16, FIELD_STRINGS),
	FIELD(msg_boot, ip4, 17, FIELD_STRING),		FIELD(msg_boot, gateway4, 18, FIELD_STRING),
	FIELD(msg_boot, ip6, 19, FIELD_STRING),		FIELD(msg_boot, gateway6, 20, FIELD_STRING),
};
static const struct field ready_fields[] = {
	FIELD(msg_ready, uid, 1, FIELD_UINT),
	FIELD(msg_ready, gid, 2, FIELD_UINT),
	FIELD(msg_ready, boot_ns, 3, FIELD_UINT),
};
static const struct field failed_fields[] = {
	FIELD(msg_failed, kind, 1, FIELD_UINT),
	FIELD(msg_failed, sys_errno, 2, FIELD_UINT),
	FIELD(msg_failed, text, 3, FIELD_STRING),
};
static const struct field exec_fields[] = {
	FIELD(msg_exec, argv, 1, FIELD_STRINGS),    FIELD(msg_exec, env, 2, FIELD_STRINGS),
	FIELD(msg_exec, cwd, 3, FIELD_STRING),	    FIELD(msg_exec, user, 4, FIELD_STRING),
	FIELD(msg_exec, tty, 5, FIELD_BOOL),	    FIELD(msg_exec, stdin_open, 6, FIELD_BOOL),
	FIELD(msg_exec, rows, 7, FIELD_UINT),	    FIELD(msg_exec, cols, 8, FIELD_UINT),
	FIELD(msg_exec, rlimit_count, 9, FIELD_RLIMITS),
};
static const struct field started_fields[] = { FIELD(msg_started, pid, 1, FIELD_UINT) };
static const struct field resize_fields[] = {
	FIELD(msg_resize, rows, 1, FIELD_UINT),
	FIELD(msg_resize, cols, 2, FIELD_UINT),
};
static const struct field signal_fields[] = { FIELD(msg_signal, number, 1, FIELD_UINT) };
static const struct field taken_fields[] = { FIELD(msg_taken, bytes, 1, FIELD_UINT) };
static const struct field clock_fields[] = { FIELD(msg_clock, realtime_ns, 1, FIELD_UINT) };
static const struct field exited_fields[] = {
	FIELD(msg_exited, signaled, 1, FIELD_BOOL),
	FIELD(msg_exited, code, 2, FIELD_UINT),
	FIELD(msg_exited, oom, 3, FIELD_BOOL),
	FIELD(msg_exited, disk_full, 4, FIELD_BOOL),
};
static const struct field shutdown_fields[] = { FIELD(msg_shutdown, grace_ms, 1, FIELD_UINT) };
static const struct field stats_fields[] = {
	FIELD(msg_stats, memory_total, 1, FIELD_UINT), FIELD(msg_stats, memory_available, 2, FIELD_UINT),
	FIELD(msg_stats, upper_total, 3, FIELD_UINT),  FIELD(msg_stats, upper_free, 4, FIELD_UINT),
	FIELD(msg_stats, oom_kills, 5, FIELD_UINT),    FIELD(msg_stats, cpu_ns, 6, FIELD_UINT),
	FIELD(msg_stats, processes, 7, FIELD_UINT),
};
static const struct field put_fields[] = {
	FIELD(msg_put, path, 1, FIELD_STRING),
	FIELD(msg_put, name, 2, FIELD_STRING),
	FIELD(msg_put, user, 3, FIELD_BOOL),
};
static const struct field get_fields[] = { FIELD(msg_get, path, 1, FIELD_STRING) };
static const struct field entry_fields[] = {
	FIELD(msg_entry, path, 1, FIELD_STRING),    FIELD(msg_entry, type, 2, FIELD_UINT),
	FIELD(msg_entry, mode, 3, FIELD_UINT),	    FIELD(msg_entry, has_owner, 4, FIELD_BOOL),
	FIELD(msg_entry, uid, 5, FIELD_UINT),	    FIELD(msg_entry, gid, 6, FIELD_UINT),
	FIELD(msg_entry, mtime_ns, 7, FIELD_UINT),  FIELD(msg_entry, size, 8, FIELD_UINT),
	FIELD(msg_entry, target, 9, FIELD_STRING),
};
static const struct field done_fields[] = {
	FIELD(msg_done, entries, 1, FIELD_UINT),
	FIELD(msg_done, bytes, 2, FIELD_UINT),
};

/** put_rlimits() - An array of [resource, soft, hard]. */
static bool put_rlimits(struct buf *out, const struct msg_exec *m)
{
	bool ok = m->rlimit_count <= MSG_RLIMITS_MAX && cbor_put_head(out, CBOR_ARRAY, m->rlimit_count);

	for (uint32_t i = 0; ok && i < m->rlimit_count; i++)
		ok = cbor_put_head(out, CBOR_ARRAY, 3) && cbor_put_head(out, CBOR_UINT, m->rlimits[i].resource) &&
		     cbor_put_head(out, CBOR_UINT, m->rlimits[i].soft) &&
		     cbor_put_head(out, CBOR_UINT, m->rlimits[i].hard);
	return ok;
}

/** put_mounts() - An array of [path, bytes, mode, read_only, noexec, nosuid, nodev]. */
static bool put_mounts(struct buf *out, const struct msg_boot *m)
{
	bool ok = m->tmpfs_count <= MSG_MOUNTS_MAX && cbor_put_head(out, CBOR_ARRAY, m->tmpfs_count);

	for (uint32_t i = 0; ok && i < m->tmpfs_count; i++) {
		const struct msg_mount *t = &m->tmpfs[i];

		ok = cbor_put_head(out, CBOR_ARRAY, 7) && cbor_put_string(out, t->path) &&
		     cbor_put_head(out, CBOR_UINT, t->bytes) && cbor_put_head(out, CBOR_UINT, t->mode) &&
		     cbor_put_bool(out, t->read_only) && cbor_put_bool(out, t->noexec) &&
		     cbor_put_bool(out, t->nosuid) && cbor_put_bool(out, t->nodev);
	}
	return ok;
}

/** put_field() - Key and value; absent strings were left out by the caller. */
static bool put_field(struct buf *out, const struct field *f, const void *m)
{
	const char *at = (const char *)m + f->offset;
	const struct msg_strings *list = (const void *)at;
	bool ok = cbor_put_head(out, CBOR_UINT, f->key);

	switch (f->kind) {
	case FIELD_UINT:
		return ok && cbor_put_head(out, CBOR_UINT, *(const uint64_t *)(const void *)at);
	case FIELD_BOOL:
		return ok && cbor_put_bool(out, *(const bool *)(const void *)at);
	case FIELD_STRING:
		return ok && cbor_put_string(out, *(const char *const *)(const void *)at);
	case FIELD_STRINGS:
		ok = ok && list->count <= MSG_STRINGS_MAX && cbor_put_head(out, CBOR_ARRAY, list->count);
		for (uint32_t i = 0; ok && i < list->count; i++)
			ok = cbor_put_string(out, list->item[i]);
		return ok;
	case FIELD_RLIMITS:
		return ok && put_rlimits(out, m);
	case FIELD_MOUNTS:
		return ok && put_mounts(out, m);
	}
	return false;
}

/** is_absent() - A string field that holds NULL. */
static bool is_absent(const struct field *f, const void *m)
{
	const char *at = (const char *)m + f->offset;

	return f->kind == FIELD_STRING && !*(const char *const *)(const void *)at;
}

/** encode() - The whole map. */
static bool encode(struct buf *out, const struct field *fields, size_t count, const void *m)
{
	size_t present = 0;
	bool ok;

	for (size_t i = 0; i < count; i++)
		present += !is_absent(&fields[i], m);
	ok = cbor_put_head(out, CBOR_MAP, present);
	for (size_t i = 0; ok && i < count; i++)
		if (!is_absent(&fields[i], m))
			ok = put_field(out, &fields[i], m);
	return ok && !out->failed;
}

/** get_rlimits() - See put_rlimits(). */
static void get_rlimits(struct reader *r, struct msg_exec *m)
{
	uint64_t n = cbor_head(r, CBOR_ARRAY);

	r->failed |= n > MSG_RLIMITS_MAX;
	for (uint64_t i = 0; i < n && !r->failed; i++) {
		r->failed |= cbor_head(r, CBOR_ARRAY) != 3;
		m->rlimits[i].resource = cbor_head(r, CBOR_UINT);
		m->rlimits[i].soft = cbor_head(r, CBOR_UINT);
		m->rlimits[i].hard = cbor_head(r, CBOR_UINT);
		m->rlimit_count++;
	}
}

/** get_mounts() - See put_mounts(). */
static void get_mounts(struct reader *r, struct msg_boot *m)
{
	uint64_t n = cbor_head(r, CBOR_ARRAY);

	r->failed |= n > MSG_MOUNTS_MAX;
	for (uint64_t i = 0; i < n && !r->failed; i++) {
		struct msg_mount *t = &m->tmpfs[i];

		r->failed |= cbor_head(r, CBOR_ARRAY) != 7;
		t->path = cbor_string(r);
		t->bytes = cbor_head(r, CBOR_UINT);
		t->mode = cbor_head(r, CBOR_UINT);
		t->read_only = cbor_bool(r);
		t->noexec = cbor_bool(r);
		t->nosuid = cbor_bool(r);
		t->nodev = cbor_bool(r);
		m->tmpfs_count++;
	}
}

/** clear_field() - Nothing. Of lists only the count: the rest is large and need not be touched. */
static void clear_field(const struct field *f, void *m)
{
	char *at = (char *)m + f->offset;

	switch (f->kind) {
	case FIELD_UINT:
		*(uint64_t *)(void *)at = 0;
		break;
	case FIELD_BOOL:
		*(bool *)(void *)at = false;
		break;
	case FIELD_STRING:
		*(const char **)(void *)at = NULL;
		break;
	case FIELD_STRINGS:
		((struct msg_strings *)(void *)at)->count = 0;
		break;
	case FIELD_RLIMITS:
	case FIELD_MOUNTS:
		*(uint32_t *)(void *)at = 0;
		break;
	}
}

/** get_field() - One value into its place. */
static void get_field(struct reader *r, const struct field *f, void *m)
{
	char *at = (char *)m + f->offset;
	struct msg_strings *list = (void *)at;
	uint64_t n;

	switch (f->kind) {
	case FIELD_UINT:
		*(uint64_t *)(void *)at = cbor_head(r, CBOR_UINT);
		break;
	case FIELD_BOOL:
		*(bool *)(void *)at = cbor_bool(r);
		break;
	case FIELD_STRING:
		*(const char **)(void *)at = cbor_string(r);
		break;
	case FIELD_STRINGS:
		n = cbor_head(r, CBOR_ARRAY);
		r->failed |= n > MSG_STRINGS_MAX;
		for (uint64_t i = 0; i < n && !r->failed; i++)
			list->item[list->count++] = cbor_string(r);
		break;
	case FIELD_RLIMITS:
		get_rlimits(r, m);
		break;
	case FIELD_MOUNTS:
		get_mounts(r, m);
		break;
	}
}

/** decode() - Exactly one map over the whole input; keys ascend, so that none comes twice. */
static bool decode(const uint8_t *p, size_t n, const struct field *fields, size_t count, void *m)
{
	struct reader r = reader_init(p, n);
	uint64_t pairs = cbor_head(&r, CBOR_MAP), last = 0;

	for (size_t i = 0; i < count; i++)
		clear_field(&fields[i], m);
	for (uint64_t i = 0; i < pairs && !r.failed; i++) {
		uint64_t key = cbor_head(&r, CBOR_UINT);
		size_t j;

		r.failed |= i > 0 && key <= last;
		last = key;
		for (j = 0; j < count && fields[j].key != key; j++)
			;
		if (j < count)
			get_field(&r, &fields[j], m);
		else
			cbor_skip(&r);
	}
	return !r.failed && r.left == 0;
}

#define MESSAGE(name)                                                                                                  \
	bool msg_encode_##name(struct buf *out, const struct msg_##name *m)                                            \
	{                                                                                                              \
		return encode(out, name##_fields, ARRAY_LEN(name##_fields), m);                                        \
	}                                                                                                              \
	bool msg_decode_##name(const uint8_t *p, size_t n, struct msg_##name *m)                                       \
	{                                                                                                              \
		return decode(p, n, name##_fields, ARRAY_LEN(name##_fields), m);                                       \
	}

MESSAGE(hello)
MESSAGE(boot)
MESSAGE(ready)
MESSAGE(failed)
MESSAGE(exec)
MESSAGE(started)
MESSAGE(resize)
MESSAGE(signal)
MESSAGE(taken)
MESSAGE(clock)
MESSAGE(exited)
MESSAGE(shutdown)
MESSAGE(stats)
MESSAGE(put)
MESSAGE(get)
MESSAGE(entry)
MESSAGE(done)

bool msg_entry_path_ok(const char *path)
{
	unsigned int depth = 0;

	if (!*path)
		return true;
	for (;; path++) {
		size_t n = strcspn(path, "/");

		if (n == 0 || n > NAME_MAX || (n == 1 && path[0] == '.') || (n == 2 && memcmp(path, "..", 2) == 0))
			return false;
		path += n;
		if (!*path)
			return true;
		if (++depth == MSG_ENTRY_DEPTH_MAX)
			return false;
	}
}
