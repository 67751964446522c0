/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/sandbox_json.h"

#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "engine/net_json.h"

#define VERSION 1

static const char *const root_kinds[] = { [ROOT_DISK_DEFAULT] = "default",
					  [ROOT_DISK_MANAGED] = "managed",
					  [ROOT_DISK_TMPFS] = "tmpfs",
					  [ROOT_DISK_FLAT] = "flat",
					  [ROOT_DISK_FILE] = "file" };
static const char *const hypervisors[] = {
	[HYPERVISOR_CHOICE_AUTO] = "auto", [HYPERVISOR_CHOICE_KVM] = "kvm", [HYPERVISOR_CHOICE_QEMU] = "qemu"
};

/** What is written, and whether all of it could be. */
struct out {
	bool bad;
};

/** put() - A value that could be made; json_string() makes none of a text that is not UTF-8. */
static void put(struct out *out, json_t *to, const char *key, json_t *value)
{
	out->bad |= json_object_set_new(to, key, value) < 0;
}

/** put_string() - Unless it is NULL. */
static void put_string(struct out *out, json_t *to, const char *key, const char *value)
{
	if (value)
		put(out, to, key, json_string(value));
}

/** put_number() - Unless it is the default, 0. */
static void put_number(struct out *out, json_t *to, const char *key, uint64_t value)
{
	if (value)
		put(out, to, key, json_integer((json_int_t)value));
}

/** put_flag() - When it is set. */
static void put_flag(struct out *out, json_t *to, const char *key, bool value)
{
	if (value)
		put(out, to, key, json_true());
}

/** put_list() - Unless it is empty. */
static void put_list(struct out *out, json_t *to, const char *key, const char *const *words, size_t count)
{
	json_t *list = count ? json_array() : NULL;

	for (size_t i = 0; i < count; i++)
		out->bad |= json_array_append_new(list, json_string(words[i])) < 0;
	if (count)
		put(out, to, key, list);
}

/** put_tmpfs() - Each as an object. */
static void put_tmpfs(struct out *out, json_t *to, const struct run_spec *spec)
{
	json_t *list = spec->tmpfs_count ? json_array() : NULL;

	for (size_t i = 0; i < spec->tmpfs_count; i++) {
		const struct msg_mount *m = &spec->tmpfs[i];
		json_t *one = json_object();

		put_string(out, one, "path", m->path);
		put_number(out, one, "bytes", m->bytes);
		put_number(out, one, "mode", m->mode);
		put_flag(out, one, "read_only", m->read_only);
		put_flag(out, one, "noexec", m->noexec);
		put_flag(out, one, "nosuid", m->nosuid);
		put_flag(out, one, "nodev", m->nodev);
		out->bad |= json_array_append_new(list, one) < 0;
	}
	if (spec->tmpfs_count)
		put(out, to, "tmpfs", list);
}

/** put_rlimits() - By their names; unlimited is -1. */
static void put_rlimits(struct out *out, json_t *to, const struct run_spec *spec)
{
	json_t *all = spec->rlimit_count ? json_object() : NULL;

	for (size_t i = 0; i < spec->rlimit_count; i++)
		put(out, all, msg_rlimit_names[spec->rlimits[i].resource],
		    json_pack("[I,I]", (json_int_t)spec->rlimits[i].soft, (json_int_t)spec->rlimits[i].hard));
	if (spec->rlimit_count)
		put(out, to, "rlimits", all);
}

/** put_root_disk() - Unless it is the default. */
static void put_root_disk(struct out *out, json_t *to, const struct root_disk *r)
{
	json_t *one;

	if (r->kind == ROOT_DISK_DEFAULT)
		return;
	one = json_object();
	put_string(out, one, "kind", root_kinds[r->kind]);
	put_number(out, one, "size_mib", r->size_mib);
	put_string(out, one, "path", r->path);
	put_flag(out, one, "qcow2", r->qcow2);
	put(out, to, "root_disk", one);
}

char *sandbox_json_encode(const struct run_spec *spec, int64_t created_ns, struct error *err)
{
	json_t *root = json_object(), *c = json_object();
	struct out out = { 0 };
	char *text;

	put_number(&out, c, "memory_mib", spec->memory_mib ? spec->memory_mib : RUN_MEMORY_MIB);
	put_number(&out, c, "cpus", spec->cpus ? spec->cpus : 1);
	put_list(&out, c, "env", spec->env, spec->env_count);
	put_string(&out, c, "workdir", spec->workdir);
	put_string(&out, c, "user", spec->user);
	put_string(&out, c, "hostname", spec->hostname);
	put_string(&out, c, "shell", spec->shell);
	put_string(&out, c, "entrypoint", spec->entrypoint);
	put_list(&out, c, "command", (const char *const *)spec->command, spec->command_count);
	put_rlimits(&out, c, spec);
	put_root_disk(&out, c, &spec->root_disk);
	put_list(&out, c, "labels", spec->labels, spec->label_count);
	put_tmpfs(&out, c, spec);
	put_list(&out, c, "mkdir", spec->mkdirs, spec->mkdir_count);
	put_list(&out, c, "rm", spec->removes, spec->remove_count);
	put_string(&out, c, "init", spec->init);
	put_list(&out, c, "init_args", spec->init_args, spec->init_arg_count);
	put_list(&out, c, "init_env", spec->init_env, spec->init_env_count);
	put_flag(&out, c, "restricted", spec->restricted);
	put_number(&out, c, "max_duration_s", spec->max_duration_s);
	put_number(&out, c, "idle_timeout_s", spec->idle_timeout_s);
	if (spec->net)
		put(&out, c, "network", net_json_encode(spec->net));
	if (spec->hypervisor != HYPERVISOR_CHOICE_AUTO)
		put_string(&out, c, "hypervisor", hypervisors[spec->hypervisor]);
	put(&out, root, "version", json_integer(VERSION));
	put_string(&out, root, "name", spec->name);
	put_string(&out, root, "image", spec->image);
	put_string(&out, root, "digest", spec->digest);
	put(&out, root, "created_ns", json_integer(created_ns));
	put_flag(&out, root, "remove_at_end", spec->place && spec->place->remove_at_end);
	put(&out, root, "config", c);
	text = out.bad ? NULL : json_dumps(root, JSON_INDENT(2));
	json_decref(root);
	if (!text) {
		err_set(err, ERR_INVALID, 0, "the sandbox's configuration cannot be kept: a text is not UTF-8");
		err_hint(err, "use UTF-8 in names, paths, environment and command");
	}
	return text;
}

/** What is read, and what went wrong first. */
struct in {
	struct sandbox_json *j;
	bool bad;
};

/** get_string() - NULL when absent. */
static const char *get_string(struct in *in, json_t *from, const char *key)
{
	json_t *v = json_object_get(from, key);

	in->bad |= v && !json_is_string(v);
	return v && json_is_string(v) ? json_string_value(v) : NULL;
}

/** get_number() - 0 when absent. */
static uint64_t get_number(struct in *in, json_t *from, const char *key, uint64_t max)
{
	json_t *v = json_object_get(from, key);
	json_int_t n = v && json_is_integer(v) ? json_integer_value(v) : 0;

	in->bad |= v && (!json_is_integer(v) || n < 0 || (uint64_t)n > max);
	return n < 0 ? 0 : (uint64_t)n;
}

/** get_flag() - false when absent. */
static bool get_flag(struct in *in, json_t *from, const char *key)
{
	json_t *v = json_object_get(from, key);

	in->bad |= v && !json_is_boolean(v);
	return json_is_true(v);
}

/** get_list() - Words, in an array that sandbox_json_free() frees. */
static const char *const *get_list(struct in *in, json_t *from, const char *key, size_t *count)
{
	json_t *v = json_object_get(from, key);
	size_t n = json_array_size(v);
	const char **words;

	*count = 0;
	in->bad |= v && !json_is_array(v);
	if (n == 0 || n > MSG_STRINGS_MAX) {
		in->bad |= n > MSG_STRINGS_MAX;
		return NULL;
	}
	words = calloc(n + 1, sizeof(*words));
	if (!words) {
		in->bad = true;
		return NULL;
	}
	words[0] = in->j->lists; /* the chain hides before the first word */
	in->j->lists = words;
	for (size_t i = 0; i < n; i++) {
		words[i + 1] = json_string_value(json_array_get(v, i));
		in->bad |= !words[i + 1];
	}
	*count = n;
	return words + 1;
}

/** get_part() - An object or array; NULL when absent. */
static json_t *get_part(struct in *in, json_t *from, const char *key, json_type type)
{
	json_t *v = json_object_get(from, key);

	in->bad |= v && json_typeof(v) != type;
	return v;
}

/** get_choice() - Which of the names. */
static size_t get_choice(struct in *in, json_t *from, const char *key, const char *const *names, size_t count)
{
	const char *name = get_string(in, from, key);

	for (size_t i = 0; name && i < count; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	in->bad |= name != NULL;
	return 0;
}

/** get_tmpfs() - The reverse of put_tmpfs(). */
static void get_tmpfs(struct in *in, json_t *from)
{
	json_t *list = get_part(in, from, "tmpfs", JSON_ARRAY), *one;
	size_t i;

	in->bad |= json_array_size(list) > MSG_MOUNTS_MAX;
	if (in->bad)
		return;
	json_array_foreach(list, i, one)
	{
		in->j->tmpfs[i] = (struct msg_mount){ .path = get_string(in, one, "path"),
						      .bytes = get_number(in, one, "bytes", UINT64_MAX),
						      .mode = get_number(in, one, "mode", 07777),
						      .read_only = get_flag(in, one, "read_only"),
						      .noexec = get_flag(in, one, "noexec"),
						      .nosuid = get_flag(in, one, "nosuid"),
						      .nodev = get_flag(in, one, "nodev") };
		in->bad |= !in->j->tmpfs[i].path;
	}
	in->j->spec.tmpfs = in->j->tmpfs;
	in->j->spec.tmpfs_count = json_array_size(list);
}

/** get_rlimits() - The reverse of put_rlimits(). */
static void get_rlimits(struct in *in, json_t *from)
{
	json_t *all = get_part(in, from, "rlimits", JSON_OBJECT);

	for (size_t i = 0; all && i < MSG_RLIMIT_NAMES; i++) {
		json_t *two = json_object_get(all, msg_rlimit_names[i]);

		if (!two)
			continue;
		in->bad |= json_array_size(two) != 2 || !json_is_integer(json_array_get(two, 0)) ||
			   !json_is_integer(json_array_get(two, 1));
		in->j->rlimits[in->j->spec.rlimit_count++] =
			(struct msg_rlimit){ .resource = i,
					     .soft = (uint64_t)json_integer_value(json_array_get(two, 0)),
					     .hard = (uint64_t)json_integer_value(json_array_get(two, 1)) };
	}
	in->j->spec.rlimits = in->j->rlimits;
}

int sandbox_json_decode(const char *text, struct sandbox_json *out, struct error *err)
{
	struct run_spec *s = &out->spec;
	struct in in = { .j = out };
	json_error_t why;
	json_t *c, *disk;

	memset(out, 0, sizeof(*out));
	out->root = json_loads(text, JSON_REJECT_DUPLICATES, &why);
	if (!out->root)
		return err_set(err, ERR_INVALID, 0, "sandbox.json is damaged: line %d: %.100s", why.line, why.text);
	if (json_integer_value(json_object_get(out->root, "version")) > VERSION) {
		sandbox_json_free(out);
		return err_set(err, ERR_UNSUPPORTED, 0, "the sandbox was made by a newer msb");
	}
	c = json_object_get(out->root, "config");
	disk = get_part(&in, c, "root_disk", JSON_OBJECT);
	s->name = get_string(&in, out->root, "name");
	s->image = get_string(&in, out->root, "image");
	s->digest = get_string(&in, out->root, "digest");
	out->created_ns = (int64_t)get_number(&in, out->root, "created_ns", INT64_MAX);
	out->remove_at_end = get_flag(&in, out->root, "remove_at_end");
	s->memory_mib = get_number(&in, c, "memory_mib", UINT32_MAX);
	s->cpus = (unsigned int)get_number(&in, c, "cpus", 1024);
	s->env = get_list(&in, c, "env", &s->env_count);
	s->workdir = get_string(&in, c, "workdir");
	s->user = get_string(&in, c, "user");
	s->hostname = get_string(&in, c, "hostname");
	s->shell = get_string(&in, c, "shell");
	s->entrypoint = get_string(&in, c, "entrypoint");
	s->command = (char *const *)(uintptr_t)get_list(&in, c, "command", &s->command_count);
	get_rlimits(&in, c);
	s->root_disk.kind = (enum root_disk_kind)get_choice(&in, disk, "kind", root_kinds, ARRAY_LEN(root_kinds));
	s->root_disk.size_mib = get_number(&in, disk, "size_mib", UINT32_MAX);
	s->root_disk.path = get_string(&in, disk, "path");
	s->root_disk.qcow2 = get_flag(&in, disk, "qcow2");
	s->labels = get_list(&in, c, "labels", &s->label_count);
	get_tmpfs(&in, c);
	s->mkdirs = get_list(&in, c, "mkdir", &s->mkdir_count);
	s->removes = get_list(&in, c, "rm", &s->remove_count);
	s->init = get_string(&in, c, "init");
	s->init_args = get_list(&in, c, "init_args", &s->init_arg_count);
	s->init_env = get_list(&in, c, "init_env", &s->init_env_count);
	s->restricted = get_flag(&in, c, "restricted");
	s->max_duration_s = get_number(&in, c, "max_duration_s", UINT32_MAX);
	s->idle_timeout_s = get_number(&in, c, "idle_timeout_s", UINT32_MAX);
	in.bad |= !net_json_decode(json_object_get(c, "network"), &out->net);
	s->net = &out->net;
	s->hypervisor = (enum hypervisor_choice)get_choice(&in, c, "hypervisor", hypervisors, ARRAY_LEN(hypervisors));
	if (in.bad || !s->name || !s->image || !json_is_object(c)) {
		sandbox_json_free(out);
		return err_set(err, ERR_INVALID, 0, "sandbox.json is damaged");
	}
	return 0;
}

void sandbox_json_free(struct sandbox_json *j)
{
	while (j->lists) {
		void **first = j->lists;

		j->lists = *first;
		free(first);
	}
	net_spec_free(&j->net);
	json_decref(j->root);
	j->root = NULL;
}
