/* SPDX-License-Identifier: Apache-2.0 */
/* msb install, uninstall: sandboxes as commands of the host. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli/alias.h"
#include "cli/cli.h"
#include "cli/units.h"
#include "image/store.h"

static struct {
	const char *name, *workdir, *shell;
	uint64_t memory, cpus;
	struct string_list env;
	bool force, no_pull, temporary, list, quiet;
} o;

static const struct option_row install_rows[] = {
	{ 'n', "name", "COMMAND", "name of the command (the image's)", OPTION_STRING, &o.name, 0, 0 },
	{ 'm', "memory", "SIZE", "memory of the machine (512M)", OPTION_SIZE, &o.memory, 1, UNIT_MEMORY_MIB_MAX },
	{ 'c', "cpus", "N", "virtual CPUs (1)", OPTION_NUMBER, &o.cpus, 1, UNIT_CPUS_MAX },
	{ 'e', "env", "KEY=VALUE", "environment variable; KEY alone copies the host's at each call", OPTION_LIST,
	  &o.env, 0, 0 },
	{ 'w', "workdir", "DIR", "working directory in the guest", OPTION_STRING, &o.workdir, 0, 0 },
	{ 0, "shell", "PROGRAM", "shell when no command is given (/bin/sh)", OPTION_STRING, &o.shell, 0, 0 },
	{ 0, "tmp", NULL, "a fresh sandbox for each call, instead of one that is kept", OPTION_FLAG, &o.temporary, 0,
	  0 },
	{ 0, "no-pull", NULL, "do not fetch the image now", OPTION_FLAG, &o.no_pull, 0, 0 },
	{ 'f', "force", NULL, "replace the file of that name", OPTION_FLAG, &o.force, 0, 0 },
	{ 'l', "list", NULL, "list the installed commands", OPTION_FLAG, &o.list, 0, 0 },
	{ 'q', "quiet", NULL, "no progress; with --list: names only", OPTION_FLAG, &o.quiet, 0, 0 },
	{ 'v', "volume", "SPEC", NULL, OPTION_LATER, NULL, 0, 0 },
};

/** read_alias() - What the script NAME in a folder says. Return: false when it is none of ours. */
static bool read_alias(int dir, const char *name, struct alias_info *out)
{
	struct buf text = BUF_INIT(ALIAS_BYTES_MAX + 1);
	_cleanup_fd_ int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	bool ours = false;
	uint8_t *to;

	/* Only the head matters; a program in the same folder may be large. */
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		size_t n = MIN((size_t)st.st_size, sizeof(*out) * 2);

		to = buf_extend(&text, n);
		ours = to && fd_pread_full(fd, to, n, 0) == (ssize_t)n && buf_cstr(&text) &&
		       alias_read(buf_cstr(&text), out);
	}
	buf_free(&text);
	return ours;
}

int alias_each(const char *home, int (*what)(const char *path, struct error *err), struct error *err)
{
	struct alias_info info;
	struct dirent **entries = NULL;
	char dir[PATH_MAX], path[PATH_MAX];
	_cleanup_fd_ int fd = -1;
	int count, rc = 0;

	snprintf(dir, sizeof(dir), "%s/bin", home);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	count = fd < 0 ? 0 : MAX(0, scandir(dir, &entries, NULL, alphasort));
	for (int i = 0; i < count; i++) {
		if (rc == 0 && read_alias(fd, entries[i]->d_name, &info) &&
		    snprintf(path, sizeof(path), "%s/%s", dir, entries[i]->d_name) < (int)sizeof(path))
			rc = what(path, err);
		free(entries[i]);
	}
	free(entries);
	return rc;
}

/** list() - NAME IMAGE MODE COMMAND. */
static int list(const struct engine_paths *paths)
{
	struct alias_info info;
	struct dirent **entries = NULL;
	char dir[PATH_MAX];
	_cleanup_fd_ int fd = -1;
	int count, shown = 0, name_width = 4, image_width = 5;

	snprintf(dir, sizeof(dir), "%s/bin", paths->home);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	count = fd < 0 ? 0 : MAX(0, scandir(dir, &entries, NULL, alphasort));
	for (int i = 0; i < count; i++) {
		if (!read_alias(fd, entries[i]->d_name, &info)) {
			entries[i]->d_name[0] = '\0';
			continue;
		}
		name_width = MAX(name_width, (int)strlen(entries[i]->d_name));
		image_width = MAX(image_width, (int)strlen(info.image));
		shown++;
	}
	if (!shown)
		fprintf(stderr, "No installed commands.\n");
	else if (!o.quiet)
		printf("%-*s    %-*s    %-9s    COMMAND\n", name_width, "NAME", image_width, "IMAGE", "MODE");
	for (int i = 0; i < count; i++) {
		const char *name = entries[i]->d_name;

		if (*name && o.quiet)
			puts(name);
		else if (*name && read_alias(fd, name, &info))
			printf("%-*s    %-*s    %-9s    %s\n", name_width, name, image_width, info.image, info.mode,
			       info.command);
		free(entries[i]);
	}
	free(entries);
	return 0;
}

/** check_options() - As run checks them, so that a command that is installed can start. */
static int check_options(struct error *err)
{
	const char *entry;

	for (size_t i = 0; i < o.env.count; i++) {
		if (unit_env("env", o.env.item[i], &entry, err) < 0)
			return -(int)err->code;
		if (entry != o.env.item[i])
			free((char *)(uintptr_t)entry);
	}
	if (o.workdir && unit_guest_path("workdir", o.workdir, err) < 0)
		return -(int)err->code;
	return o.shell ? unit_program("shell", o.shell, err) : 0;
}

/** collect_options() - The options that the script passes to run. Return: how many words. */
static size_t collect_options(const char *out[2 * ARGS_LIST_MAX + 8])
{
	static char memory[24], cpus[24];
	size_t n = 0;

	snprintf(memory, sizeof(memory), "%lluM", (unsigned long long)o.memory);
	snprintf(cpus, sizeof(cpus), "%llu", (unsigned long long)o.cpus);
	const struct {
		const char *name, *value;
	} single[] = {
		{ "-m", o.memory ? memory : NULL },
		{ "-c", o.cpus ? cpus : NULL },
		{ "-w", o.workdir },
		{ "--shell", o.shell },
	};

	for (size_t i = 0; i < ARRAY_LEN(single); i++) {
		if (!single[i].value)
			continue;
		out[n++] = single[i].name;
		out[n++] = single[i].value;
	}
	for (size_t i = 0; i < o.env.count; i++) {
		out[n++] = "-e";
		out[n++] = o.env.item[i];
	}
	return n;
}

/**
 * own_program() - An image that is named after its program is that program: python:3.12, whose CMD is python3, becomes
 * a command to which arguments are typed, and not one that runs its arguments (contract 1.15, for all others).
 */
static void own_program(struct alias *a, const struct image *img)
{
	char name[ALIAS_NAME_MAX + 1];
	const char *program;
	size_t n;

	if (a->command_count || img->entrypoint.count || img->cmd.count == 0)
		return;
	alias_name_of(a->image, name);
	n = strlen(name);
	program = strrchr(img->cmd.item[0], '/') ? strrchr(img->cmd.item[0], '/') + 1 : img->cmd.item[0];
	if (strncmp(program, name, n) != 0 || program[n + strspn(program + n, "0123456789.")] != '\0')
		return;
	a->command = img->cmd.item;
	a->command_count = img->cmd.count;
}

/** look() - Find the image in the store. *found: owned */
static int look(const struct engine_paths *paths, const char *image, struct image **found, struct error *err)
{
	_cleanup_fd_ int home = open(paths->home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct image_store *store = image_store_open(home, err);
	int rc = store ? image_store_find(store, image, found, err) : -(int)err->code;

	image_store_close(store);
	return rc;
}

/** fetch() - The image is here, or is pulled unless that is not wanted. *found: owned, NULL when it is not here */
static int fetch(const struct engine_paths *paths, const char *image, struct image **found, struct error *err)
{
	const struct pull_spec pull = { .reference = image, .quiet = o.quiet };
	int rc = look(paths, image, found, err);

	if (rc != -ERR_NOT_FOUND)
		return rc;
	err_clear(err);
	if (o.no_pull)
		return 0;
	return engine_pull(paths, &pull, err) < 0 ? -(int)err->code : look(paths, image, found, err);
}

/** say_paths() - How the shell finds the new command: whether bin is on PATH, and what else has its name. */
static void say_paths(const char *bin, const char *name)
{
	const char *path = getenv("PATH");
	char all[PATH_MAX], ours[PATH_MAX], dir[PATH_MAX], file[PATH_MAX + ALIAS_NAME_MAX + 2],
		other[sizeof(file)] = "";
	char *rest = all;
	bool on_path = false, first = false;

	snprintf(all, sizeof(all), "%s", path ? path : "");
	if (!realpath(bin, ours))
		return;
	while (rest) {
		const char *next = strsep(&rest, ":");

		if (!realpath(*next ? next : ".", dir))
			continue;
		snprintf(file, sizeof(file), "%s/%s", dir, name);
		if (strcmp(dir, ours) == 0) {
			on_path = true;
			first |= !*other;
		} else if (!*other && access(file, X_OK) == 0) {
			memcpy(other, file, sizeof(other));
		}
	}
	if (!on_path)
		fprintf(stderr, "  → %s is not on PATH: export PATH=\"%s:$PATH\"\n", bin, bin);
	if (*other && first)
		fprintf(stderr, "warn: %s hides %s\n", name, other);
	else if (*other)
		fprintf(stderr, "warn: %s hides the new command%s\n", other,
			on_path ? ": its folder comes first on PATH" : "");
}

/** check_free() - Nothing is in the way of the new script. */
static int check_free(const char *path, struct error *err)
{
	struct stat st;

	if (lstat(path, &st) < 0 || (o.force && !S_ISDIR(st.st_mode)))
		return 0;
	err_set(err, ERR_EXISTS, 0, "install: %s exists", path);
	return err_hint(err, "%s",
			S_ISDIR(st.st_mode) ? "it is a directory; choose another name with --name"
					    : "replace it with --force, or choose another name with --name");
}

/** write_script() - Into bin, whole or not at all. */
static int write_script(const struct alias *a, const char *bin, const char *path, struct error *err)
{
	struct buf text = BUF_INIT(2 * ALIAS_BYTES_MAX);
	int rc = alias_write(a, &text, err);

	if (rc == 0)
		rc = dir_make_parents(bin, 0755, err);
	if (rc == 0)
		rc = file_write_atomic(AT_FDCWD, path, text.data, text.len, 0755, err);
	if (rc == 0 && chmod(path, 0755) < 0) /* whatever the umask */
		rc = err_set(err, err_from_errno(errno), errno, "chmod %s", path);
	buf_free(&text);
	return rc;
}

/** install() - One command, all of it checked. */
static int install(struct alias *a, struct error *err)
{
	const char *options[2 * ARGS_LIST_MAX + 8], *given = getenv("MSB_HOME");
	char bin[PATH_MAX], path[PATH_MAX], self[PATH_MAX];
	struct engine_paths paths;
	struct image *img = NULL; /* kept for the life of the process */
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return err_set(err, ERR_SYSTEM, errno, "the path of msb");
	self[n] = '\0';
	if (engine_paths(&paths, ENGINE_WRITE, err) < 0)
		return -(int)err->code;
	snprintf(bin, sizeof(bin), "%s/bin", paths.home);
	snprintf(path, sizeof(path), "%s/%s", bin, a->name);
	if (check_free(path, err) < 0)
		return -(int)err->code;
	if (!engine_image_is_path(a->image) && fetch(&paths, a->image, &img, err) < 0)
		return -(int)err->code;
	if (img)
		own_program(a, img);
	a->msb = self;
	a->home = given && *given ? paths.home : NULL;
	a->options = options;
	a->option_count = collect_options(options);
	if (write_script(a, bin, path, err) < 0)
		return -(int)err->code;
	if (!o.quiet)
		fprintf(stderr, "✓ Installed %s\n", path);
	say_paths(bin, a->name);
	return 0;
}

/** check_words() - Which image, which command; the command's name. */
static int check_words(const struct parsed *p, struct alias *a, char name[ALIAS_NAME_MAX + 1], struct error *err)
{
	static char real[PATH_MAX];
	char reference[REFERENCE_MAX];

	if (p->word_count == 0) {
		err_set(err, ERR_USAGE, 0, "install: which image?");
		return err_hint(err, "msb install python:3.12; msb install --list shows what is installed");
	}
	if (p->extra_count) {
		err_set(err, ERR_USAGE, 0, "install: unexpected \"%.100s\" after the image", p->extra[0]);
		return err_hint(err, "a command follows \"--\": msb install %.40s -- %.40s", p->words[0], p->extra[0]);
	}
	a->image = p->words[0];
	if (engine_image_is_path(a->image)) { /* it is called from other folders */
		if (!realpath(a->image, real))
			return err_set(err, err_from_errno(errno), errno, "install: %s", a->image);
		a->image = real;
	} else if (reference_normalise(a->image, reference, err) < 0) {
		err->code = ERR_USAGE;
		return -(int)ERR_USAGE;
	}
	alias_name_of(a->image, name);
	a->name = o.name ? o.name : name;
	a->temporary = o.temporary;
	a->command = p->tail;
	a->command_count = p->tail_count;
	if (p->has_tail && p->tail_count && !p->tail[0][0])
		return err_set(err, ERR_USAGE, 0, "install: the name of the program is empty");
	return alias_check_name(a->name, err);
}

/** report() - A failure and the exit status. */
static int report(const struct error *err)
{
	if (err->code == ERR_USAGE)
		return usage_error(err);
	print_error(err);
	return err->code == ERR_CANCELLED ? 130 : 1;
}

int command_install(int argc, char **argv)
{
	static const struct command help = {
		"install", "Make a sandbox a command of this host: a script in MSB_HOME/bin that calls msb run.",
		"[OPTIONS] IMAGE [-- COMMAND...]",
		"What is typed behind the new command is passed on, behind COMMAND where one is given. The sandbox is "
		"kept\n"
		"between calls, under the command's name, unless --tmp is given.\n"
	};
	struct engine_paths paths;
	char name[ALIAS_NAME_MAX + 1];
	struct error err = ERROR_INIT;
	struct alias alias = { 0 };
	struct parsed p;

	if (parse_options(install_rows, ARRAY_LEN(install_rows), 1, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, install_rows, ARRAY_LEN(install_rows));
		return 0;
	}
	if (o.list) {
		if (p.word_count || p.has_tail) {
			err_set(&err, ERR_USAGE, 0, "install --list: unexpected \"%.100s\"",
				p.word_count ? p.words[0] : "--");
			return usage_error(&err);
		}
		return engine_paths(&paths, ENGINE_READ, &err) < 0 ? report(&err) : list(&paths);
	}
	if (check_words(&p, &alias, name, &err) < 0 || check_options(&err) < 0)
		return report(&err);
	block_signals(); /* a pull is ended in order */
	return install(&alias, &err) < 0 ? report(&err) : 0;
}

/** uninstall() - One script, if it is one of ours. */
static int uninstall(int dir, const char *name, struct error *err)
{
	struct alias_info info;
	struct stat st;

	if (dir < 0 || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		err_set(err, ERR_NOT_FOUND, 0, "uninstall: there is no command %s", name);
		return err_hint(err, "msb install --list shows what is installed");
	}
	if (!read_alias(dir, name, &info)) {
		err_set(err, ERR_INVALID, 0, "uninstall: %s was not made by msb install", name);
		return err_hint(err, "remove it yourself if it is in the way");
	}
	return unlinkat(dir, name, 0) < 0 ? err_set(err, err_from_errno(errno), errno, "uninstall %s", name) : 0;
}

int command_uninstall(int argc, char **argv)
{
	static bool quiet;
	static const struct option_row rows[] = {
		{ 'q', "quiet", NULL, "print nothing", OPTION_FLAG, &quiet, 0, 0 },
	};
	static const struct command help = { "uninstall",
					     "Remove commands that msb install made. Their sandboxes and images stay.",
					     "ALIAS...", NULL };
	struct engine_paths paths;
	struct error err = ERROR_INIT;
	char bin[PATH_MAX];
	_cleanup_fd_ int dir = -1;
	struct parsed p;
	int status = 0;

	if (parse_options(rows, ARRAY_LEN(rows), ARRAY_LEN(p.words), argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, rows, ARRAY_LEN(rows));
		return 0;
	}
	if (p.word_count == 0 || p.extra_count) {
		err_set(&err, ERR_USAGE, 0,
			p.extra_count ? "uninstall: more than %zu commands" : "uninstall: which command?",
			ARRAY_LEN(p.words));
		return usage_error(&err);
	}
	for (size_t i = 0; i < p.word_count; i++)
		if (alias_check_name(p.words[i], &err) < 0)
			return usage_error(&err);
	if (engine_paths(&paths, ENGINE_READ, &err) < 0)
		return report(&err);
	snprintf(bin, sizeof(bin), "%s/bin", paths.home);
	dir = open(bin, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < p.word_count; i++) {
		err_clear(&err);
		if (uninstall(dir, p.words[i], &err) < 0)
			status = report(&err);
		else if (!quiet)
			fprintf(stderr, "✓ Removed %s\n", p.words[i]);
	}
	return status;
}
