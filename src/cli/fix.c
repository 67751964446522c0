/* SPDX-License-Identifier: Apache-2.0 */
/* msb doctor --fix: what can be mended without knowing more than the host shows. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli/cli.h"
#include "engine/lifecycle.h"

#define CPUINFO_MAX (1u << 20)

/** kvm_module() - The module that /dev/kvm lacks, NULL when it is there or the CPU has no virtualisation. */
static const char *kvm_module(void)
{
	struct buf info = BUF_INIT(CPUINFO_MAX);
	const char *text, *module = NULL;

	if (access("/dev/kvm", F_OK) == 0)
		return NULL;
	/* A machine of many CPUs says more than fits: the first CPU's flags do. */
	(void)file_read(AT_FDCWD, "/proc/cpuinfo", CPUINFO_MAX, &info, NULL);
	text = buf_cstr(&info);
	if (text && strstr(text, " vmx"))
		module = "kvm_intel";
	else if (text && strstr(text, " svm"))
		module = "kvm_amd";
	buf_free(&info);
	return module;
}

/** wants_kvm() - Is only the module missing, and may we load it? */
static bool wants_kvm(const struct engine_paths *paths, char *what, size_t size)
{
	const char *module = kvm_module();

	(void)paths;
	if (!module || geteuid() != 0)
		return false;
	snprintf(what, size, "modprobe %s, for /dev/kvm", module);
	return true;
}

/** load_kvm() - modprobe. */
static int load_kvm(const struct engine_paths *paths, struct error *err)
{
	const char *module = kvm_module();
	int status = -1;
	pid_t pid;

	(void)paths;
	if (!module)
		return 0;
	pid = fork();
	if (pid == 0) {
		execlp("modprobe", "modprobe", module, (char *)NULL);
		_exit(127);
	}
	if (pid < 0)
		return err_set(err, ERR_SYSTEM, errno, "fork");
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && access("/dev/kvm", F_OK) == 0)
		return 0;
	err_set(err, ERR_SYSTEM, 0, "modprobe %s made no /dev/kvm", module);
	return err_hint(err, "is virtualisation switched on in the firmware, or in the outer hypervisor?");
}

/* What must be ours alone. */
static const char *const private_folders[] = { "", "/secrets", "/secrets/registries", "/db", "/sandboxes" };

/** open_folder() - The first folder that others can look into. Return: false when there is none. */
static bool open_folder(const struct engine_paths *paths, char *path, size_t size, mode_t *mode)
{
	struct stat st;

	for (size_t i = 0; i < ARRAY_LEN(private_folders); i++) {
		snprintf(path, size, "%s%s", paths->home, private_folders[i]);
		if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid())
			continue;
		*mode = st.st_mode & 07777;
		if (*mode & 077 || (*mode & 0700) != 0700)
			return true;
	}
	return false;
}

/** wants_modes() - Can others look into our folders, or we not? */
static bool wants_modes(const struct engine_paths *paths, char *what, size_t size)
{
	char path[1100];
	mode_t mode;

	if (!open_folder(paths, path, sizeof(path), &mode))
		return false;
	snprintf(what, size, "chmod 700 %s (it is %03o)", path, mode);
	return true;
}

/** set_modes() - All of them. */
static int set_modes(const struct engine_paths *paths, struct error *err)
{
	char path[1100];
	mode_t mode;

	while (open_folder(paths, path, sizeof(path), &mode))
		if (chmod(path, 0700) < 0)
			return err_set(err, err_from_errno(errno), errno, "chmod 700 %s", path);
	return 0;
}

/** wants_database() - Is the list of sandboxes damaged? */
static bool wants_database(const struct engine_paths *paths, char *what, size_t size)
{
	struct error err = ERROR_INIT;

	if (engine_check(paths, &err) == 0 || err.code != ERR_INVALID)
		return false;
	snprintf(what, size, "set the damaged %s/db/msb.db aside, make a new one from what is in %s/sandboxes",
		 paths->home, paths->home);
	return true;
}

/** wants_home() - Is there no state folder? */
static bool wants_home(const struct engine_paths *paths, char *what, size_t size)
{
	if (!paths->home[0] || access(paths->home, F_OK) == 0)
		return false;
	snprintf(what, size, "make the state folder %s", paths->home);
	return true;
}

/** make_home() - As the first command that needs it would. */
static int make_home(const struct engine_paths *paths, struct error *err)
{
	struct engine_paths made;

	(void)paths;
	return engine_paths(&made, ENGINE_WRITE, err);
}

/* In this order; each is asked again right before it is done. */
static const struct fix {
	bool (*wanted)(const struct engine_paths *paths, char *what, size_t size);
	int (*apply)(const struct engine_paths *paths, struct error *err);
} fixes[] = {
	{ wants_home, make_home },
	{ wants_modes, set_modes },
	{ wants_database, engine_rebuild },
	{ wants_kvm, load_kvm },
};

size_t doctor_fixes(const struct engine_paths *paths)
{
	char what[1200];
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_LEN(fixes); i++) {
		if (!fixes[i].wanted(paths, what, sizeof(what)))
			continue;
		if (!count++)
			printf("\nWhat msb doctor --fix can mend:\n");
		printf("  %s\n", what);
	}
	return count;
}

int doctor_fix(const struct engine_paths *paths)
{
	struct error err = ERROR_INIT;
	char what[1200];
	int status = 0;

	for (size_t i = 0; i < ARRAY_LEN(fixes); i++) {
		err_clear(&err);
		if (!fixes[i].wanted(paths, what, sizeof(what)))
			continue;
		if (fixes[i].apply(paths, &err) == 0) {
			fprintf(stderr, "✓ %s\n", what);
			continue;
		}
		print_error(&err);
		status = 1;
	}
	return status;
}
