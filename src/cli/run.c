/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli/cli.h"
#include "cli/root_disk.h"
#include "cli/units.h"
#include "config/settings.h"
#include "image/store.h"

#define ENV_FILE_MAX (1u << 20)

static struct {
	uint64_t memory, cpus, timeout;
	struct string_list env, env_files, rlimits, ca_certs;
	const char *workdir, *user, *hostname, *shell, *entrypoint, *hypervisor, *pull, *root_disk;
	uint64_t upper_size;
	bool tty, no_tty, quiet, interactive, rm, insecure;
} o;

static const struct option_row rows[] = {
	{ 'm', "memory", "SIZE", "memory of the machine (512M)", OPTION_SIZE, &o.memory, 1, UNIT_MEMORY_MIB_MAX },
	{ 'c', "cpus", "N", "virtual CPUs (1)", OPTION_NUMBER, &o.cpus, 1, UNIT_CPUS_MAX },
	{ 'e', "env", "KEY=VALUE", "environment variable; KEY alone copies the host's", OPTION_LIST, &o.env, 0, 0 },
	{ 0, "env-file", "FILE", "environment variables, one KEY=VALUE a line", OPTION_LIST, &o.env_files, 0, 0 },
	{ 'w', "workdir", "DIR", "working directory in the guest", OPTION_STRING, &o.workdir, 0, 0 },
	{ 'u', "user", "USER", "user in the guest: name, uid, name:group, uid:gid", OPTION_STRING, &o.user, 0, 0 },
	{ 'H', "hostname", "HOST", "host name of the guest", OPTION_STRING, &o.hostname, 0, 0 },
	{ 0, "shell", "PROGRAM", "shell when no command is given (/bin/sh)", OPTION_STRING, &o.shell, 0, 0 },
	{ 0, "entrypoint", "PROGRAM", "replaces the image's ENTRYPOINT", OPTION_STRING, &o.entrypoint, 0, 0 },
	{ 't', "tty", NULL, "give the command a terminal", OPTION_FLAG, &o.tty, 0, 0 },
	{ 0, "no-tty", NULL, "never give the command a terminal", OPTION_FLAG, &o.no_tty, 0, 0 },
	{ 0, "timeout", "TIME", "end the command after 30s, 5m, 1h", OPTION_DURATION, &o.timeout, 0, 0 },
	{ 0, "rlimit", "NAME=SOFT[:HARD]", "resource limit of the command (nofile=1024)", OPTION_LIST, &o.rlimits, 0,
	  0 },
	{ 0, "pull", "always|if-missing|never", "fetch the image? (if-missing)", OPTION_STRING, &o.pull, 0, 0 },
	{ 0, "insecure", NULL, "pull: plain HTTP and unchecked certificates are good enough", OPTION_FLAG, &o.insecure,
	  0, 0 },
	{ 0, "ca-certs", "FILE", "pull: trust these certificates (PEM) too", OPTION_LIST, &o.ca_certs, 0, 0 },
	{ 0, "root-disk", "DISK", "what the sandbox writes to; see below (4G)", OPTION_STRING, &o.root_disk, 0, 0 },
	{ 0, "oci-upper-size", "SIZE", NULL, OPTION_SIZE, &o.upper_size, ROOT_DISK_MIB_MIN, ROOT_DISK_MIB_MAX },
	{ 0, "hypervisor", "auto|kvm|qemu", "what runs the machine (auto; MSB_HYPERVISOR)", OPTION_STRING,
	  &o.hypervisor, 0, 0 },
	{ 'q', "quiet", NULL, "no notes", OPTION_FLAG, &o.quiet, 0, 0 },
	/* Docker habits: what they ask for is the default here. */
	{ 'i', "interactive", NULL, NULL, OPTION_FLAG, &o.interactive, 0, 0 },
	{ 0, "rm", NULL, NULL, OPTION_FLAG, &o.rm, 0, 0 },
	/* Known, not there yet: named so that the message is right. */
	{ 'n', "name", "NAME", NULL, OPTION_LATER, NULL, 0, 0 },
	{ 'v', "volume", "SPEC", NULL, OPTION_LATER, NULL, 0, 0 },
	{ 'p', "port", "SPEC", NULL, OPTION_LATER, NULL, 0, 0 },
	{ 'd', "detach", NULL, NULL, OPTION_LATER, NULL, 0, 0 },
	{ 0, "replace", NULL, NULL, OPTION_LATER, NULL, 0, 0 },
	{ 0, "tmpfs", "SPEC", NULL, OPTION_LATER, NULL, 0, 0 },
	{ 0, "script", "SPEC", NULL, OPTION_LATER, NULL, 0, 0 },
	{ 0, "secret", "SPEC", NULL, OPTION_LATER, NULL, 0, 0 },
	{ 0, "max-duration", "TIME", NULL, OPTION_LATER, NULL, 0, 0 },
	{ 0, "idle-timeout", "TIME", NULL, OPTION_LATER, NULL, 0, 0 },
	{ 0, "label", "LABEL", NULL, OPTION_LATER, NULL, 0, 0 },
};

static const struct command help = { "run", "Run a command in a fresh virtual machine made from an image.",
				     "[OPTIONS] IMAGE [-- COMMAND...]", root_disk_details };

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
	const char *value = o.hypervisor ? o.hypervisor : getenv("MSB_HYPERVISOR");

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
	if (!o.pull || strcmp(o.pull, "if-missing") == 0)
		return PULL_IF_MISSING;
	return strcmp(o.pull, "always") == 0 ? PULL_ALWAYS : PULL_NEVER;
}

/** use_settings() - What config.json says where the command line says nothing. */
static int use_settings(const char *home, const char *image, struct error *err)
{
	static struct settings s;
	const char *hypervisor = getenv("MSB_HYPERVISOR");
	struct root_disk disk;

	if (settings_load(home, &s, err) < 0)
		return -(int)err->code;
	if (s.log_level)
		log_default(s.log_level);
	engine_use_kernel(s.kernel);
	if (!o.hypervisor && !(hypervisor && *hypervisor))
		o.hypervisor = s.hypervisor;
	if (!o.memory)
		o.memory = s.memory_mib;
	if (!o.cpus)
		o.cpus = s.cpus;
	if (!o.shell)
		o.shell = s.shell;
	if (!o.workdir)
		o.workdir = s.workdir;
	if (o.root_disk || o.upper_size || engine_image_is_path(image))
		return 0;
	o.upper_size = s.upper_size_mib;
	if (!s.root_disk || strcmp(s.root_disk, "managed") == 0)
		return 0;
	if (root_disk_parse(s.root_disk, &disk, err) < 0) {
		err->code = ERR_INVALID;
		return err_wrap(err, "%s: sandbox_defaults.oci.root_disk", s.path);
	}
	o.root_disk = s.root_disk;
	o.upper_size = 0;
	return 0;
}

/** choose_root() - IMAGE and what goes above it; a disk image is alone. */
static int choose_root(const char *image, struct root_disk *out, struct error *err)
{
	char reference[REFERENCE_MAX];
	uint64_t memory = o.memory ? o.memory : RUN_MEMORY_MIB;

	if (o.root_disk && o.upper_size) {
		err_set(err, ERR_USAGE, 0, "--root-disk and --oci-upper-size exclude each other");
		return err_hint(err, "use --root-disk SIZE");
	}
	if (o.upper_size)
		*out = (struct root_disk){ .kind = ROOT_DISK_MANAGED, .size_mib = o.upper_size };
	if (o.root_disk && root_disk_parse(o.root_disk, out, err) < 0)
		return -(int)err->code;
	if (out->kind == ROOT_DISK_TMPFS && out->size_mib > memory) {
		err_set(err, ERR_USAGE, 0, "--root-disk: a tmpfs of %llu MiB does not fit into %llu MiB of memory",
			(unsigned long long)out->size_mib, (unsigned long long)memory);
		return err_hint(err, "use a larger -m, or --root-disk SIZE for a disk");
	}
	if (!engine_image_is_path(image))
		return reference_normalise(image, reference, err);
	if (out->kind != ROOT_DISK_DEFAULT) {
		err_set(err, ERR_USAGE, 0, "--%s does not go with a disk image as the root: it is written itself",
			o.upper_size ? "oci-upper-size" : "root-disk");
		return err_hint(err, "--root-disk is for images such as python:3.12");
	}
	return 0;
}

/** check_words() - Exactly one image, the command behind --. */
static int check_words(const struct parsed *p, struct error *err)
{
	struct buf line = BUF_INIT(90);
	const char *words;

	if (p->word_count == 0) {
		err_set(err, ERR_USAGE, 0, "run: which image?");
		return err_hint(err, "msb run IMAGE -- COMMAND; msb images lists what is here");
	}
	if (p->extra_count == 0)
		return 0;
	if (o.rm && p->words[0][0] == '/') { /* "--rm PATH" of other releases: removes it before the boot */
		err_set(err, ERR_USAGE, 0, "--rm %.100s: removing paths is not supported yet", p->words[0]);
		return err_hint(err, "a bare --rm (remove the sandbox at its end) is what run does anyway");
	}
	for (size_t i = 0; i < p->extra_count; i++)
		if (strcmp(p->extra[i], "--") != 0)
			buf_printf(&line, " %s", p->extra[i]);
	words = buf_cstr(&line);
	err_set(err, ERR_USAGE, 0, "run: unexpected \"%.100s\" after the image: a command follows \"--\"", p->extra[0]);
	err_hint(err, "did you mean: msb run %.40s --%s", p->words[0], words ? words : " ...");
	buf_free(&line);
	return -(int)ERR_USAGE;
}

/** is_hostname() - It becomes a line of /etc/hosts: no blank, no control character. */
static bool is_hostname(const char *name)
{
	size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");

	return n > 0 && n <= MSG_HOSTNAME_MAX && !name[n];
}

/** exit_status() - Of a failed start. */
static int exit_status(const struct error *err)
{
	switch ((int)err->code) {
	case ERR_USAGE:
		return EXIT_USAGE;
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

int block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGWINCH);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/** cancel_signals() - The same without SIGWINCH, to give up while booting. */
static int cancel_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/** cancelled_status() - 128 + the signal that is waiting. */
static int cancelled_status(int fd)
{
	struct signalfd_siginfo info;

	return read(fd, &info, sizeof(info)) == sizeof(info) ? 128 + (int)info.ssi_signo : 130;
}

/** run_session() - Start, pump, tear down. */
static int run_session(const struct run_spec *spec, bool quiet)
{
	static struct run_session s;
	struct error err = ERROR_INIT;
	int signals = block_signals(), cancel = cancel_signals(), status;

	if (engine_run_start(spec, cancel, &s, &err) < 0) {
		if (err.code == ERR_CANCELLED)
			return cancelled_status(cancel);
		if (err.code == ERR_USAGE)
			return usage_error(&err);
		print_error(&err);
		return exit_status(&err);
	}
	if (s.nothing_to_run) {
		fprintf(stderr, "warn: no command provided and stdin is not a terminal\n");
		return 0;
	}
	if (s.note_fallback && !quiet && isatty(STDERR_FILENO))
		fprintf(stderr, "note: running on QEMU's software CPU, which is slower: %s (msb doctor says more)\n",
			s.fallback_reason);
	status = attach(&s, spec->tty, spec->stdin_open, signals, o.timeout);
	if (s.exited) {
		engine_run_finish(&s, NULL);
		return status;
	}
	if (engine_run_finish(&s, &err) == 0)
		err_set(&err, ERR_CLOSED, 0, "the sandbox ended unexpectedly");
	print_error(&err);
	return EXIT_MSB_FAILED;
}

int command_run(int argc, char **argv)
{
	static struct msg_rlimit limits[MSG_RLIMITS_MAX];
	static struct string_list env;
	struct engine_paths paths;
	struct run_spec spec = { 0 };
	struct error err = ERROR_INIT;
	struct parsed p;
	struct winsize w = { 0 };
	bool terminal = isatty(STDIN_FILENO);

	if (parse_options(rows, ARRAY_LEN(rows), 1, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, rows, ARRAY_LEN(rows));
		return 0;
	}
	if (check_words(&p, &err) < 0)
		return usage_error(&err);
	if (engine_paths(&paths, ENGINE_READ, &err) < 0 || use_settings(paths.home, p.words[0], &err) < 0) {
		print_error(&err);
		return EXIT_MSB_FAILED;
	}
	if (choose_root(p.words[0], &spec.root_disk, &err) < 0 || choose(&spec.hypervisor, &err) < 0)
		return usage_error(&err);
	if (o.tty && o.no_tty) {
		err_set(&err, ERR_USAGE, 0, "--tty and --no-tty exclude each other");
		return usage_error(&err);
	}
	for (size_t i = 0; i < o.env_files.count; i++)
		if (add_env_file(&env, o.env_files.item[i], &err) < 0) {
			if (err.code == ERR_USAGE)
				return usage_error(&err);
			print_error(&err);
			return exit_status(&err);
		}
	for (size_t i = 0; i < o.env.count; i++)
		if (add_env(&env, "env", o.env.item[i], &err) < 0)
			return usage_error(&err);
	if (o.rlimits.count > MSG_RLIMITS_MAX) {
		err_set(&err, ERR_USAGE, 0, "--rlimit: given more than %d times", MSG_RLIMITS_MAX);
		return usage_error(&err);
	}
	for (size_t i = 0; i < o.rlimits.count; i++)
		if (unit_rlimit("rlimit", o.rlimits.item[i], &limits[i], &err) < 0)
			return usage_error(&err);
	if (o.hostname && !is_hostname(o.hostname)) {
		err_set(&err, ERR_USAGE, 0, "--hostname: \"%.70s\" is not 1 to %d letters, digits, '.', '_' or '-'",
			o.hostname, MSG_HOSTNAME_MAX);
		return usage_error(&err);
	}
	if ((o.shell && unit_program("shell", o.shell, &err) < 0) ||
	    (o.workdir && unit_guest_path("workdir", o.workdir, &err) < 0))
		return usage_error(&err);
	if (engine_paths(&paths, ENGINE_WRITE, &err) < 0) {
		print_error(&err);
		return EXIT_MSB_FAILED;
	}
	engine_sweep(&paths);
	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &w) < 0 || !w.ws_row || !w.ws_col)
		w = (struct winsize){ .ws_row = 24, .ws_col = 80 };
	spec.image = p.words[0];
	spec.pull = policy();
	spec.pull_spec = (struct pull_spec){
		.quiet = o.quiet, .insecure = o.insecure, .ca_certs = o.ca_certs.item, .ca_cert_count = o.ca_certs.count
	};
	spec.command = p.tail;
	spec.command_count = p.tail_count;
	spec.memory_mib = o.memory;
	spec.cpus = (unsigned int)o.cpus;
	spec.env = env.item;
	spec.env_count = env.count;
	spec.workdir = o.workdir;
	spec.user = o.user;
	spec.hostname = o.hostname;
	spec.shell = o.shell;
	spec.entrypoint = o.entrypoint;
	spec.rlimits = limits;
	spec.rlimit_count = o.rlimits.count;
	spec.interactive = terminal && !o.no_tty;
	spec.tty = o.tty || spec.interactive;
	spec.stdin_open = true;
	spec.rows = w.ws_row;
	spec.cols = w.ws_col;
	spec.term = getenv("TERM");
	if (spec.term && (!*spec.term || strcmp(spec.term, "dumb") == 0))
		spec.term = NULL;
	spec.progress_fd = -1;
	return run_session(&spec, o.quiet);
}
