/* SPDX-License-Identifier: Apache-2.0 */
/* msb self uninstall: what scripts/setup.sh and msb install put on this host goes again. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli/alias.h"
#include "cli/cli.h"
#include "engine/lifecycle.h"

#define RC_BYTES_MAX (1u << 20)
#define PATH_MARK " # added by msb setup\n"

/* Below MSB_HOME: programs and what belongs to them, by pattern; nothing else of these folders is touched. */
static const char *const programs[][2] = {
	{ "bin", "msb" },
	{ "bin", "msb-image" },
	{ "bin", "msb-gateway" },
	{ "bin", "msb-registry" },
	{ "lib", "libkrunfw-*.vmlinux" },
	{ "share/man/man1", "msb.1" },
	{ "share/man/man1", "msb-*.1" },
};
/* The user's: they stay, unless --all. */
static const char *const kept[] = { "cache", "sandboxes", "volumes", "snapshots", "db",		 "run",
				    "logs",  "secrets",	  "tls",     "ssh",	  "config.json", "kvm-probe" };
/* Removed when nothing is in them any more, the inner ones first. */
static const char *const folders[] = { "share/man/man1", "share/man", "share", "bin", "lib", "" };
static const char *const start_files[] = { ".bashrc", ".zshrc", ".profile" };

/** What is done with each thing that is found. */
typedef int (*visit)(const char *path, struct error *err);

/** show() - List it. */
static int show(const char *path, struct error *err)
{
	(void)err;
	printf("  %s\n", path);
	return 0;
}

/** remove_path() - A file, or a folder with all in it. */
static int remove_path(const char *path, struct error *err)
{
	struct stat st;

	if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return dir_remove_tree(AT_FDCWD, path, err);
	return unlink(path) < 0 && errno != ENOENT ? err_set(err, err_from_errno(errno), errno, "remove %s", path) : 0;
}

/** each_program() - Programs, manual pages, kernels, and the commands of msb install. */
static int each_program(const char *home, visit what, struct error *err)
{
	for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
		struct dirent **entries = NULL;
		char dir[PATH_MAX], path[PATH_MAX];
		int count, rc = 0;

		snprintf(dir, sizeof(dir), "%s/%s", home, programs[i][0]);
		count = MAX(0, scandir(dir, &entries, NULL, alphasort));
		for (int k = 0; k < count; k++) {
			if (rc == 0 && fnmatch(programs[i][1], entries[k]->d_name, FNM_PERIOD) == 0 &&
			    snprintf(path, sizeof(path), "%s/%s", dir, entries[k]->d_name) < (int)sizeof(path))
				rc = what(path, err);
			free(entries[k]);
		}
		free(entries);
		if (rc < 0)
			return rc;
	}
	return alias_each(home, what, err);
}

/** each_kept() - What the user has made. */
static int each_kept(const char *home, visit what, struct error *err)
{
	for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
		char path[PATH_MAX];
		struct stat st;

		snprintf(path, sizeof(path), "%s/%s", home, kept[i]);
		if (lstat(path, &st) == 0 && what(path, err) < 0)
			return -(int)err->code;
	}
	return 0;
}

/** path_line() - A shell's start-up file without the line of setup for this home. Return: was there one? */
static bool path_line(const char *home, const char *file, char real[PATH_MAX], struct buf *rest)
{
	struct buf line = BUF_INIT(PATH_MAX), text = BUF_INIT(RC_BYTES_MAX);
	const char *wanted, *at, *found = NULL;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", getenv("HOME") ?: "", file);
	buf_printf(&line, "export PATH=\"%s/bin:$PATH\"" PATH_MARK, home);
	wanted = buf_cstr(&line);
	if (wanted && realpath(path, real) && file_read(AT_FDCWD, real, RC_BYTES_MAX, &text, NULL) == 0) {
		at = buf_cstr(&text);
		for (found = at ? strstr(at, wanted) : NULL; found && found != at && found[-1] != '\n';)
			found = strstr(found + 1, wanted);
		if (found) {
			buf_append(rest, at, (size_t)(found - at));
			buf_append_str(rest, found + strlen(wanted));
		}
	}
	buf_free(&line);
	buf_free(&text);
	return found && !rest->failed;
}

/** each_start_file() - Show the lines, or take them out. */
static int each_start_file(const char *home, bool take_out, struct error *err)
{
	for (size_t i = 0; i < ARRAY_LEN(start_files); i++) {
		struct buf rest = BUF_INIT(RC_BYTES_MAX);
		char real[PATH_MAX];
		struct stat st;
		int rc = 0;

		if (path_line(home, start_files[i], real, &rest)) {
			if (!take_out)
				printf("  the PATH line of setup in %s\n", real);
			else if (stat(real, &st) == 0)
				rc = file_write_atomic(AT_FDCWD, real, rest.data, rest.len, st.st_mode & 07777, err);
		}
		buf_free(&rest);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/** check_idle() - Nothing runs that only msb could stop. */
static int check_idle(const struct engine_paths *paths, struct error *err)
{
	struct sandbox_record *list = NULL;
	size_t count = 0;

	if (engine_list(paths, &list, &count, err) < 0)
		return -(int)err->code;
	for (size_t i = 0; i < count && !err->code; i++) {
		if (!state_is_live(list[i].state))
			continue;
		err_set(err, ERR_EXISTS, 0, "self uninstall: sandbox %s is running", list[i].name);
		err_hint(err, "msb stop %s", list[i].name);
	}
	sandbox_records_free(list, count);
	return -(int)err->code;
}

/** remove_all() - In an order that leaves msb there until the last. */
static int remove_all(const char *home, bool everything, struct error *err)
{
	char path[PATH_MAX];

	if ((everything && each_kept(home, remove_path, err) < 0) || each_start_file(home, true, err) < 0 ||
	    each_program(home, remove_path, err) < 0)
		return -(int)err->code;
	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		snprintf(path, sizeof(path), "%s%s%s", home, *folders[i] ? "/" : "", folders[i]);
		rmdir(path); /* what is not empty has something of the user's in it */
	}
	return 0;
}

int command_self_uninstall(int argc, char **argv)
{
	static bool all, yes;
	static const struct option_row rows[] = {
		{ 0, "all", NULL, "sandboxes, volumes, images and passwords too", OPTION_FLAG, &all, 0, 0 },
		{ 'y', "yes", NULL, "do not ask", OPTION_FLAG, &yes, 0, 0 },
	};
	static const struct command help = {
		"self uninstall", "Remove msb from MSB_HOME: programs, commands made by msb install, manual.",
		"[--all] [-y]", NULL
	};
	struct engine_paths paths;
	struct error err = ERROR_INIT;
	struct parsed p;
	int status;

	if (parse_options(rows, ARRAY_LEN(rows), 0, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, rows, ARRAY_LEN(rows));
		return 0;
	}
	if (p.extra_count) {
		err_set(&err, ERR_USAGE, 0, "self uninstall: unexpected \"%.100s\"", p.extra[0]);
		return usage_error(&err);
	}
	if (engine_paths(&paths, ENGINE_READ, &err) < 0 || check_idle(&paths, &err) < 0) {
		print_error(&err);
		return 1;
	}
	printf("This goes:\n");
	each_program(paths.home, show, &err);
	each_start_file(paths.home, false, &err);
	if (!all)
		printf("This stays (--all removes it too):\n");
	each_kept(paths.home, show, &err);
	fflush(stdout);
	status = confirm(yes, "self uninstall", "This cannot be undone.");
	if (status)
		return status;
	if (remove_all(paths.home, all, &err) < 0) {
		print_error(&err);
		return 1;
	}
	fprintf(stderr, "✓ Removed msb from %s\n", paths.home);
	return 0;
}
