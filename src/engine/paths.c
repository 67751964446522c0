/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/engine.h"

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
#include "sandbox/sandbox.h"

/** remember_newest() - Keep path in best when it is a readable regular file younger than *best_time. */
static void remember_newest(const char *path, char *best, size_t size, time_t *best_time)
{
	struct stat st;

	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) || access(path, R_OK) < 0)
		return;
	if (best[0] && st.st_mtime <= *best_time)
		return;
	snprintf(best, size, "%s", path);
	*best_time = st.st_mtime;
}

/** search_dir() - The newest file of dir whose name begins with prefix and ends with suffix (or dir/x/suffix). */
static void search_dir(const char *dir, const char *prefix, const char *suffix, bool nested, char *best, size_t size)
{
	time_t best_time = 0;
	struct dirent *e;
	DIR *d = opendir(dir);

	if (!d)
		return;
	while ((e = readdir(d))) {
		char path[PATH_MAX];
		size_t n = strlen(e->d_name), m = strlen(suffix);

		if (e->d_name[0] == '.')
			continue;
		if (nested)
			snprintf(path, sizeof(path), "%s/%s/%s", dir, e->d_name, suffix);
		else if (strncmp(e->d_name, prefix, strlen(prefix)) == 0 && n >= m &&
			 strcmp(e->d_name + n - m, suffix) == 0)
			snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		else
			continue;
		remember_newest(path, best, size, &best_time);
	}
	closedir(d);
}

static const char *chosen_kernel;

void engine_use_kernel(const char *path)
{
	chosen_kernel = path;
}

/** find_kernel() - See struct engine_paths. */
static void find_kernel(struct engine_paths *out)
{
	const char *given = getenv("MSB_LIBKRUNFW_PATH");
	const char *cache = getenv("XDG_CACHE_HOME");
	const char *home = getenv("HOME");
	char dir[PATH_MAX];

	if (!given || !*given)
		given = chosen_kernel;
	if (given) {
		snprintf(out->kernel, sizeof(out->kernel), "%s", given);
		return;
	}
	snprintf(dir, sizeof(dir), "%s/lib", out->home);
	if (out->home[0])
		search_dir(dir, "libkrunfw-", ".vmlinux", false, out->kernel, sizeof(out->kernel));
	if (out->kernel[0])
		return;
	if (cache && *cache)
		snprintf(dir, sizeof(dir), "%s/microsandbox/kernel", cache);
	else if (home && *home)
		snprintf(dir, sizeof(dir), "%s/.cache/microsandbox/kernel", home);
	else
		return;
	search_dir(dir, "", "vmlinux", true, out->kernel, sizeof(out->kernel));
}

/** find_program() - name on PATH or in the usual system folders. */
static void find_program(const char *name, char *out, size_t size)
{
	const char *path = getenv("PATH");
	char all[4096];
	char *save = all;

	snprintf(all, sizeof(all), "%s:/usr/local/bin:/usr/bin:/bin:/usr/libexec", path ? path : "");
	out[0] = '\0';
	while (save) {
		char *dir = strsep(&save, ":");

		if (dir[0] != '/')
			continue;
		snprintf(out, size, "%s/%s", dir, name);
		if (access(out, X_OK) == 0)
			return;
	}
	out[0] = '\0';
}

/** find_helper() - A program of ours beside this one, symbolic links resolved, else in HOME/bin; "" when missing. */
static void find_helper(const char *home, const char *name, char out[1024])
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	out[0] = '\0';
	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
		if (slash) {
			*slash = '\0';
			snprintf(out, 1024, "%.990s/%s", self, name);
		}
	}
	if (access(out, X_OK) < 0 && home[0])
		snprintf(out, 1024, "%.990s/bin/%s", home, name);
	if (access(out, X_OK) < 0)
		out[0] = '\0';
}

/** choose_home() - MSB_HOME, made absolute, or ~/.microsandbox. A path that does not fit is refused, never cut. */
static int choose_home(char *out, size_t size, struct error *err)
{
	const char *given = getenv("MSB_HOME");
	const char *home = getenv("HOME");
	char cwd[PATH_MAX];
	int n;

	if (given && given[0] == '/') {
		n = snprintf(out, size, "%s", given);
	} else if (given && *given) {
		if (!getcwd(cwd, sizeof(cwd)))
			return err_set(err, err_from_errno(errno), errno, "the folder that MSB_HOME=%s starts from",
				       given);
		n = snprintf(out, size, "%s/%s", cwd, given);
	} else if (home && home[0] == '/') {
		n = snprintf(out, size, "%s/.microsandbox", home);
	} else {
		err_set(err, ERR_NOT_FOUND, 0, "neither MSB_HOME nor HOME is set");
		return err_hint(err, "export MSB_HOME=/path/to/a/folder");
	}
	if (n < 0 || n >= (int)size) {
		err_set(err, ERR_LIMIT, 0, "the state folder's path is longer than %zu bytes", size - 1);
		return err_hint(err, "set MSB_HOME to a shorter path");
	}
	return 0;
}

/** given_qemu() - MSB_QEMU_PATH, absolute and without links: QEMU starts in another folder, behind another root. */
static void given_qemu(const char *given, char *out, size_t size)
{
	char real[PATH_MAX];

	if (!realpath(given, real) || strlen(real) >= size)
		snprintf(out, size, "%s", given); /* not there: whoever needs it says so */
	else
		snprintf(out, size, "%s", real);
}

/** prepare_home() - The state folder exists with its parts, and can be written. */
static int prepare_home(const struct engine_paths *p, struct error *err)
{
	static const char *const folders[] = { "", "/sandboxes", "/cache" };
	char path[PATH_MAX];

	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		snprintf(path, sizeof(path), "%s%s", p->home, folders[i]);
		if (dir_make_parents(path, 0700, err) < 0)
			return err_hint(err, "choose another place with MSB_HOME");
	}
	if (access(p->home, W_OK) < 0) {
		err_set(err, ERR_PERMISSION, errno, "%s cannot be written", p->home);
		return err_hint(err, "choose another place with MSB_HOME");
	}
	return 0;
}

int engine_paths(struct engine_paths *out, enum engine_access how, struct error *err)
{
	const char *given = getenv("MSB_QEMU_PATH");
	struct stat st;
	int rc;

	memset(out, 0, sizeof(*out));
	rc = choose_home(out->home, sizeof(out->home), err);
	if (rc < 0)
		out->home[0] = '\0';
	if (given && *given)
		given_qemu(given, out->qemu, sizeof(out->qemu));
	else
		find_program("qemu-system-x86_64", out->qemu, sizeof(out->qemu));
	find_helper(out->home, "msb-image", out->helper);
	find_helper(out->home, "msb-registry", out->registry);
	find_helper(out->home, "msb-gateway", out->gateway);
	if (rc == 0 && stat(out->home, &st) == 0 && st.st_uid != geteuid()) {
		err_set(err, ERR_PERMISSION, 0, "%s belongs to another user (uid %u)", out->home, st.st_uid);
		rc = err_hint(err, "set MSB_HOME to a folder of your own");
	}
	if (rc == 0 && how == ENGINE_WRITE)
		rc = prepare_home(out, err);
	find_kernel(out);
	return rc;
}

void engine_sweep(const struct engine_paths *paths)
{
	char dir[PATH_MAX];

	snprintf(dir, sizeof(dir), "%s/sandboxes", paths->home);
	sandbox_sweep(dir);
}
