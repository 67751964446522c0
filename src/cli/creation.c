/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/creation.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/num.h"
#include "cli/units.h"
#include "image/store.h"

#define ENV_FILE_MAX (1u << 20)
#define SCRIPT_MAX (1u << 20)

struct creation creation;

const char creation_details[] = ROOT_DISK_DETAILS
	"\n"
	"Rules of the network (--net-rule), several with commas; the first that matches decides:\n"
	"  allow|deny[:DIRECTION]@TARGET[:PROTOCOL[:PORTS]]\n"
	"  DIRECTION   egress (from the guest), ingress (to published ports) or any (egress)\n"
	"  TARGET      any, dns (the gateway's), 10.0.0.0/8, 1.2.3.4, [2001:db8::]/32, example.com,\n"
	"              domain=intranet, suffix=example.com (and all names below it), or a group of addresses:\n"
	"              public, private, host, meta (of cloud providers), loopback, link-local, multicast\n"
	"  PROTOCOL    any, tcp, udp, icmpv4 or icmpv6 (any)\n"
	"  PORTS       80, 8000-8999 or any (any)\n"
	"With rules alone nothing else is allowed, DNS neither: a rule on a name lets that name be asked for.\n"
	"msb net explain NAME HOST[:PORT] says what a sandbox's rules make of a connection.\n";

/** add_env() - One more entry. @option: where it came from. */
static int add_env(struct string_list *env, const char *option, const char *entry, struct error *err)
{
	if (env->count == ARGS_LIST_MAX)
		return err_set(err, ERR_USAGE, 0, "--%s: more than %d variables", option, ARGS_LIST_MAX);
	if (unit_env(option, entry, &env->item[env->count], err) < 0)
		return -(int)err->code;
	env->count++;
	return 0;
}

/** add_env_file() - One entry a line; blank lines and # comments are passed over. */
static int add_env_file(struct string_list *env, const char *path, struct error *err)
{
	struct buf b = BUF_INIT(ENV_FILE_MAX + 1);
	char *rest;

	if (file_read(AT_FDCWD, path, ENV_FILE_MAX, &b, err) < 0)
		return err_wrap(err, "--env-file");
	rest = buf_cstr(&b); /* kept for the life of the process */
	while (rest) {
		char *line = strsep(&rest, "\n");

		line += strspn(line, " \t");
		line[strcspn(line, "\r")] = '\0';
		if (*line && *line != '#' && add_env(env, "env-file", line, err) < 0)
			return -(int)err->code;
	}
	return 0;
}

/** choose() - --hypervisor, else MSB_HYPERVISOR, else auto. */
static int choose(enum hypervisor_choice *out, struct error *err)
{
	const char *value = creation.hypervisor ? creation.hypervisor : getenv("MSB_HYPERVISOR");

	*out = HYPERVISOR_CHOICE_AUTO;
	if (!value || !*value || strcmp(value, "auto") == 0)
		return 0;
	if (strcmp(value, "kvm") == 0)
		*out = HYPERVISOR_CHOICE_KVM;
	else if (strcmp(value, "qemu") == 0)
		*out = HYPERVISOR_CHOICE_QEMU;
	else
		return err_set(err, ERR_USAGE, 0, "MSB_HYPERVISOR: \"%s\" is not auto, kvm or qemu", value);
	return 0;
}

/** policy() - --pull. */
static enum pull_policy policy(void)
{
	if (!creation.pull || strcmp(creation.pull, "if-missing") == 0)
		return PULL_IF_MISSING;
	return strcmp(creation.pull, "always") == 0 ? PULL_ALWAYS : PULL_NEVER;
}

/** choose_root() - IMAGE and what goes above it; a disk image is alone. */
static int choose_root(const char *image, struct root_disk *out, struct error *err)
{
	char reference[REFERENCE_MAX];

	if (creation.root_disk && creation.upper_size) {
		err_set(err, ERR_USAGE, 0, "--root-disk and --oci-upper-size exclude each other");
		return err_hint(err, "use --root-disk SIZE");
	}
	if (creation.upper_size)
		*out = (struct root_disk){ .kind = ROOT_DISK_MANAGED, .size_mib = creation.upper_size };
	if (creation.root_disk && root_disk_parse(creation.root_disk, out, err) < 0)
		return -(int)err->code;
	if (!engine_image_is_path(image))
		return reference_normalise(image, reference, err);
	if (out->kind != ROOT_DISK_DEFAULT) {
		err_set(err, ERR_USAGE, 0, "--%s does not go with a disk image as the root: it is written itself",
			creation.upper_size ? "oci-upper-size" : "root-disk");
		return err_hint(err, "--root-disk is for images such as python:3.12");
	}
	return 0;
}

/** is_hostname() - It becomes a line of /etc/hosts: no blank, no control character. */
static bool is_hostname(const char *name)
{
	size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");

	return n > 0 && n <= MSG_HOSTNAME_MAX && !name[n];
}

/** check_name() - --name. */
static int check_name(struct error *err)
{
	if (!creation.name || sandbox_name_valid(creation.name))
		return 0;
	err_set(err, ERR_USAGE, 0, "--name: \"%.140s\" is not a name", creation.name);
	return err_hint(err, "1 to %d letters, digits, '.', '_' or '-', the first a letter or digit", SANDBOX_NAME_MAX);
}

/* contract 1.1 */
int check_labels(struct string_list *labels, struct error *err)
{
	static const char *const reserved[] = { "sandbox.", "microsandbox.", "service." };

	for (size_t i = 0; i < labels->count; i++) {
		const char *text = labels->item[i];
		char *with;

		if (!*text || *text == '=')
			return err_set(err, ERR_USAGE, 0, "--label: \"%.100s\" has no key", text);
		for (size_t j = 0; j < ARRAY_LEN(reserved); j++)
			if (strncmp(text, reserved[j], strlen(reserved[j])) == 0)
				return err_set(err, ERR_USAGE, 0, "--label: keys that begin with \"%s\" are reserved",
					       reserved[j]);
		if (strchr(text, '='))
			continue;
		if (asprintf(&with, "%s=", text) < 0)
			return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
		labels->item[i] = with; /* kept for the life of the process */
	}
	return 0;
}

/** tmpfs_option() - One of OPTS. */
static bool tmpfs_option(const char *word, struct msg_mount *m)
{
	char *end;

	if (strcmp(word, "ro") == 0 || strcmp(word, "readonly") == 0)
		m->read_only = true;
	else if (strcmp(word, "noexec") == 0)
		m->noexec = true;
	else if (strcmp(word, "nosuid") == 0)
		m->nosuid = true;
	else if (strcmp(word, "nodev") == 0)
		m->nodev = true;
	else if (strncmp(word, "mode=", 5) == 0 && word[5]) {
		m->mode = strtoul(word + 5, &end, 8);
		return !*end && m->mode <= 07777 && m->mode;
	} else
		return strcmp(word, "rw") == 0;
	return true;
}

/** parse_tmpfs() - PATH[:SIZE][:OPTS]. contract 3.4 */
static int parse_tmpfs(const char *text, struct msg_mount *m, struct error *err)
{
	char *copy = strdup(text), *rest = copy, *word; /* kept for the life of the process */
	uint64_t mib;

	if (!copy)
		return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	*m = (struct msg_mount){ .path = strsep(&rest, ":") };
	if (m->path[0] != '/' || strcmp(m->path, "/") == 0) {
		err_set(err, ERR_USAGE, 0, "--tmpfs: \"%.200s\" is not an absolute path in the guest", m->path);
		return err_hint(err, "--tmpfs /scratch:100M");
	}
	word = strsep(&rest, ":");
	if (word && isdigit((unsigned char)*word)) {
		if (unit_size_mib("tmpfs", word, 1, UNIT_MEMORY_MIB_MAX, &mib, err) < 0)
			return -(int)err->code;
		m->bytes = mib << 20;
		word = strsep(&rest, ":");
	}
	while (word && (copy = strsep(&word, ",")))
		if (!tmpfs_option(copy, m)) {
			err_set(err, ERR_USAGE, 0, "--tmpfs: \"%.100s\" is neither a size nor an option", copy);
			return err_hint(err, "PATH[:SIZE][:ro,noexec,nosuid,nodev,mode=1777]");
		}
	return rest ? err_set(err, ERR_USAGE, 0, "--tmpfs: \"%.100s\" is too much", rest) : 0;
}

/** check_paths() - Absolute paths in the guest. */
static int check_paths(const char *option, const struct string_list *list, struct error *err)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->item[i][0] != '/' || strcmp(list->item[i], "/") == 0)
			return err_set(err, ERR_USAGE, 0, "--%s: \"%.200s\" is not an absolute path in the guest",
				       option, list->item[i]);
	return 0;
}

/** unescape() - \\n \\t \\r \\\\ \\" \\'; other escapes stay as they are. contract 1.8 */
static void unescape(const char *from, struct buf *out)
{
	static const char letters[] = "ntr\\\"'", means[] = "\n\t\r\\\"'";

	for (; *from; from++) {
		const char *at = *from == '\\' && from[1] ? strchr(letters, from[1]) : NULL;

		if (at)
			from++;
		buf_append(out, at ? &means[at - letters] : from, 1);
	}
}

/** add_script() - One more. @body: NULL: from the file */
static int add_script(const char *option, const char *name, size_t name_len, const char *file, const char *body,
		      bool raw, struct run_spec *spec, struct error *err)
{
	static struct script_spec scripts[SCRIPTS_MAX];
	struct script_spec *s = &scripts[spec->script_count];
	struct buf text = BUF_INIT(SCRIPT_MAX + 4096);
	const char *shell = creation.shell ? creation.shell : "/bin/sh";
	char *copy = strndup(name, name_len);

	if (!copy || spec->script_count == SCRIPTS_MAX)
		return err_set(err, ERR_USAGE, 0, "--%s: more than %d scripts", option, SCRIPTS_MAX);
	if (!sandbox_name_valid(copy))
		return err_set(err, ERR_USAGE, 0, "--%s: \"%.100s\" is not a name for a script", option, copy);
	for (size_t i = 0; i < spec->script_count; i++)
		if (strcmp(scripts[i].name, copy) == 0)
			return err_set(err, ERR_USAGE, 0, "--%s: \"%s\" was given twice", option, copy);
	if (file) {
		if (file_read(AT_FDCWD, file, SCRIPT_MAX, &text, err) < 0)
			return err_wrap(err, "--%s", option);
	} else if (raw) {
		buf_append_str(&text, body);
	} else {
		buf_printf(&text, strchr(shell, '/') ? "#!%s\n" : "#!/usr/bin/env %s\n", shell);
		unescape(body, &text);
		if (text.data[text.len - 1] != '\n')
			buf_append_str(&text, "\n");
	}
	if (text.failed)
		return err_set(err, ERR_LIMIT, 0, "--%s: %s is longer than %u bytes", option, copy, SCRIPT_MAX);
	*s = (struct script_spec){ .name = copy, .data = text.data, .size = text.len };
	spec->scripts = scripts;
	spec->script_count++;
	return 0;
}

/** add_scripts() - The whole family. */
static int add_scripts(struct run_spec *spec, struct error *err)
{
	const struct {
		const char *option;
		const struct string_list *list;
		bool file, text, raw;
	} families[] = { { "script", &creation.scripts, true, true, false },
			 { "script-path", &creation.script_paths, true, false, false },
			 { "script-raw", &creation.script_raws, false, true, true } };

	for (size_t i = 0; i < ARRAY_LEN(families); i++)
		for (size_t j = 0; j < families[i].list->count; j++) {
			const char *text = families[i].list->item[j];
			size_t n = strcspn(text, families[i].file && families[i].text ? ":="
						 : families[i].file		      ? ":"
										      : "=");

			if (!text[n]) {
				err_set(err, ERR_USAGE, 0, "--%s: \"%.100s\" has no %s", families[i].option, text,
					families[i].file ? "file" : "text");
				return err_hint(err, "--script NAME:FILE, or --script NAME='echo hello'");
			}
			if (add_script(families[i].option, text, n, text[n] == ':' ? text + n + 1 : NULL,
				       text[n] == '=' ? text + n + 1 : NULL, families[i].raw, spec, err) < 0)
				return -(int)err->code;
		}
	return 0;
}

/** add_copies() - SRC:DST. */
static int add_copies(struct run_spec *spec, struct error *err)
{
	static struct copy_spec copies[COPIES_MAX];
	const struct string_list *lists[] = { &creation.copies, &creation.copy_files, &creation.copy_dirs };
	static const char *const options[] = { "copy", "copy-file", "copy-dir" };

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		for (size_t j = 0; j < lists[i]->count; j++) {
			const char *text = lists[i]->item[j], *colon = strrchr(text, ':');
			char *source;

			if (!colon || colon == text || colon[1] != '/') {
				err_set(err, ERR_USAGE, 0, "--%s: \"%.200s\" is not SRC:DST", options[i], text);
				return err_hint(err, "DST is an absolute path in the guest");
			}
			source = strndup(text, (size_t)(colon - text));
			if (!source || spec->copy_count == COPIES_MAX)
				return err_set(err, ERR_USAGE, 0, "--%s: more than %d copies", options[i], COPIES_MAX);
			copies[spec->copy_count++] = (struct copy_spec){ .source = source, .target = colon + 1 };
		}
	spec->copies = copies;
	return 0;
}

/** check_values() - What a single option shows to be wrong. */
static int check_values(struct error *err)
{
	if (check_name(err) < 0 || check_labels(&creation.labels, err) < 0 ||
	    check_paths("mkdir", &creation.mkdirs, err) < 0 || check_paths("rm-path", &creation.removes, err) < 0)
		return -(int)err->code;
	if (creation.hostname && !is_hostname(creation.hostname))
		return err_set(err, ERR_USAGE, 0,
			       "--hostname: \"%.70s\" is not 1 to %d letters, digits, '.', '_' or '-'",
			       creation.hostname, MSG_HOSTNAME_MAX);
	if ((creation.shell && unit_program("shell", creation.shell, err) < 0) ||
	    (creation.workdir && unit_guest_path("workdir", creation.workdir, err) < 0))
		return -(int)err->code;
	if (creation.init && strcmp(creation.init, "auto") != 0 && creation.init[0] != '/')
		return err_set(err, ERR_USAGE, 0, "--init: \"%.100s\" is neither auto nor an absolute path",
			       creation.init);
	if (!creation.init && (creation.init_args.count || creation.init_env.count))
		return err_set(err, ERR_USAGE, 0, "--init-%s needs --init", creation.init_args.count ? "arg" : "env");
	if (creation.rlimits.count > MSG_RLIMITS_MAX)
		return err_set(err, ERR_USAGE, 0, "--rlimit: given more than %d times", MSG_RLIMITS_MAX);
	if (creation.tmpfs.count > MSG_MOUNTS_MAX)
		return err_set(err, ERR_USAGE, 0, "--tmpfs: given more than %d times", MSG_MOUNTS_MAX);
	return 0;
}

int creation_spec(const char *image, struct run_spec *spec, struct create_options *how, struct error *err)
{
	static struct msg_rlimit limits[MSG_RLIMITS_MAX];
	static struct msg_mount mounts[MSG_MOUNTS_MAX];
	static struct net_spec network;
	static struct string_list env;
	const struct creation *c = &creation;

	if (choose_root(image, &spec->root_disk, err) < 0 || choose(&spec->hypervisor, err) < 0 ||
	    check_values(err) < 0 || creation_network(&network, err) < 0) {
		err->code = ERR_USAGE; /* the command line alone shows it */
		return -(int)err->code;
	}
	for (size_t i = 0; i < c->env.count; i++)
		if (add_env(&env, "env", c->env.item[i], err) < 0)
			return -(int)err->code;
	for (size_t i = 0; i < c->rlimits.count; i++)
		if (unit_rlimit("rlimit", c->rlimits.item[i], &limits[i], err) < 0)
			return -(int)err->code;
	for (size_t i = 0; i < c->tmpfs.count; i++)
		if (parse_tmpfs(c->tmpfs.item[i], &mounts[i], err) < 0)
			return -(int)err->code;
	how->replace = c->replace || c->replace_timeout;
	how->replace_grace_ms = STOP_GRACE_MS;
	if (c->replace_timeout &&
	    unit_duration_ms("replace-with-timeout", c->replace_timeout, true, &how->replace_grace_ms, err) < 0)
		return -(int)err->code;
	if (add_copies(spec, err) < 0 || add_scripts(spec, err) < 0)
		return -(int)err->code;
	/* The command line's own come last and win. */
	if (c->env_files.count) {
		static struct string_list all;

		for (size_t i = 0; i < c->env_files.count; i++)
			if (add_env_file(&all, c->env_files.item[i], err) < 0)
				return -(int)err->code;
		for (size_t i = 0; i < env.count; i++)
			if (add_env(&all, "env", env.item[i], err) < 0)
				return -(int)err->code;
		env = all;
	}
	spec->image = image;
	spec->pull_spec = (struct pull_spec){ .quiet = c->quiet,
					      .insecure = c->insecure,
					      .ca_certs = c->ca_certs.item,
					      .ca_cert_count = c->ca_certs.count };
	spec->pull = policy();
	spec->name = c->name;
	spec->memory_mib = c->memory;
	spec->cpus = (unsigned int)c->cpus;
	spec->env = env.item;
	spec->env_count = env.count;
	spec->workdir = c->workdir;
	spec->user = c->user;
	spec->hostname = c->hostname;
	spec->shell = c->shell;
	spec->entrypoint = c->entrypoint;
	spec->rlimits = limits;
	spec->rlimit_count = c->rlimits.count;
	spec->labels = c->labels.item;
	spec->label_count = c->labels.count;
	spec->tmpfs = mounts;
	spec->tmpfs_count = c->tmpfs.count;
	spec->mkdirs = c->mkdirs.item;
	spec->mkdir_count = c->mkdirs.count;
	spec->removes = c->removes.item;
	spec->remove_count = c->removes.count;
	spec->init = c->init;
	spec->init_args = c->init_args.item;
	spec->init_arg_count = c->init_args.count;
	spec->init_env = c->init_env.item;
	spec->init_env_count = c->init_env.count;
	spec->net = &network;
	spec->restricted = c->security && strcmp(c->security, "restricted") == 0;
	spec->max_duration_s = c->max_duration;
	spec->idle_timeout_s = c->idle_timeout;
	return 0;
}

bool creation_is_plain(void)
{
	const struct creation *c = &creation;

	return !c->name && !c->max_duration && !c->idle_timeout && !c->scripts.count && !c->script_paths.count &&
	       !c->script_raws.count && !c->copies.count && !c->copy_files.count && !c->copy_dirs.count;
}

const char *creation_given(void)
{
	const struct creation *c = &creation;
	const struct {
		const char *option;
		bool given;
	} all[] = {
		{ "--memory", c->memory },
		{ "--cpus", c->cpus },
		{ "--env", c->env.count || c->env_files.count },
		{ "--workdir", c->workdir },
		{ "--user", c->user },
		{ "--hostname", c->hostname },
		{ "--shell", c->shell },
		{ "--entrypoint", c->entrypoint },
		{ "--label", c->labels.count },
		{ "--max-duration", c->max_duration },
		{ "--idle-timeout", c->idle_timeout },
		{ "--tmpfs", c->tmpfs.count },
		{ "--script", c->scripts.count || c->script_paths.count || c->script_raws.count },
		{ "--copy", c->copies.count || c->copy_files.count || c->copy_dirs.count },
		{ "--mkdir", c->mkdirs.count },
		{ "--rm-path", c->removes.count },
		{ "--rlimit", c->rlimits.count },
		{ "--security", c->security },
		{ "--deployment-profile", c->deployment },
		{ "--init", c->init },
		{ "--root-disk", c->root_disk || c->upper_size },
	};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (all[i].given)
			return all[i].option;
	return creation_network_given();
}

int failed_status(const struct error *err)
{
	if (err->code == ERR_USAGE)
		return usage_error(err);
	if (err->code != ERR_CANCELLED)
		print_error(err);
	switch ((int)err->code) {
	case ERR_GUEST_NOT_FOUND:
		return 127;
	case ERR_GUEST_NOT_EXECUTABLE:
		return 126;
	case ERR_CANCELLED:
		return 130;
	default:
		return EXIT_MSB_FAILED;
	}
}
