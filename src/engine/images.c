/* SPDX-License-Identifier: Apache-2.0 */
/* What a user can ask for about images; the work is done by msb-image and msb-registry. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "engine/helper.h"

/** need() - A program that lies beside msb. */
static int need(const char *path, const char *name, const char *what, struct error *err)
{
	if (path[0])
		return 0;
	err_set(err, ERR_NOT_FOUND, 0, "%s, the program that %s, is not beside msb", name, what);
	return err_hint(err, "copy %s next to msb, or run scripts/setup.sh again", name);
}

/** begin() - msb-image VERB. */
static int begin(struct helper_line *line, const struct engine_paths *paths, const char *verb, bool quiet,
		 struct error *err)
{
	*line = (struct helper_line){ .count = 0 };
	helper_add(line, paths->helper);
	helper_add(line, verb);
	if (quiet)
		helper_add(line, "--quiet");
	return need(paths->helper, "msb-image", "reads images", err);
}

int engine_load(const struct engine_paths *paths, const char *path, const char *const *tags, size_t tag_count,
		bool quiet, struct error *err)
{
	static struct helper_line line;

	if (begin(&line, paths, "load", quiet, err) < 0)
		return -(int)err->code;
	helper_add_each(&line, "--tag", tags, tag_count);
	helper_add(&line, paths->home);
	if (path)
		helper_add(&line, path);
	return helper_run(&line, NULL, -1, err);
}

int engine_pull(const struct engine_paths *paths, const struct pull_spec *spec, struct error *err)
{
	static struct helper_line line, network;

	if (begin(&line, paths, "pull", spec->quiet, err) < 0 ||
	    need(paths->registry, "msb-registry", "speaks with registries", err) < 0)
		return -(int)err->code;
	if (spec->again)
		helper_add(&line, "--again");
	helper_add(&line, paths->home);
	helper_add(&line, spec->reference);
	network = (struct helper_line){ .count = 0 };
	helper_add(&network, paths->registry);
	helper_add(&network, "serve");
	if (spec->insecure)
		helper_add(&network, "--insecure");
	helper_add_each(&network, "--ca-certs", spec->ca_certs, spec->ca_cert_count);
	helper_add(&network, paths->home);
	helper_add(&network, spec->reference);
	return helper_run(&line, &network, -1, err);
}

int engine_save(const struct engine_paths *paths, const char *const *references, size_t count, bool oci,
		const char *path, struct error *err)
{
	static struct helper_line line;

	if (begin(&line, paths, "save", false, err) < 0)
		return -(int)err->code;
	if (oci)
		helper_add(&line, "--oci");
	if (path)
		helper_add_each(&line, "--output", &path, 1);
	helper_add(&line, paths->home);
	for (size_t i = 0; i < count; i++)
		helper_add(&line, references[i]);
	return helper_run(&line, NULL, -1, err);
}

int engine_image_inspect(const struct engine_paths *paths, const char *reference, bool json, struct error *err)
{
	static struct helper_line line;

	if (begin(&line, paths, "inspect", false, err) < 0)
		return -(int)err->code;
	if (json)
		helper_add(&line, "--json");
	helper_add(&line, paths->home);
	helper_add(&line, reference);
	return helper_run(&line, NULL, -1, err);
}

/**
 * start_tar() - tar(1) over a directory: it knows this host's attributes and sparse files.
 * @pid: set. Return: the reading end of its output, or a negative code.
 */
static int start_tar(const char *dir, pid_t *pid, struct error *err)
{
	int out[2];

	if (pipe2(out, O_CLOEXEC) < 0)
		return err_set(err, ERR_SYSTEM, errno, "pipe");
	*pid = fork();
	if (*pid == 0) {
		sigset_t none;

		prctl(PR_SET_PDEATHSIG, SIGTERM);
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		dup2(out[1], STDOUT_FILENO);
		execlp("tar", "tar", "--format=pax", "--numeric-owner", "--sort=name", "--xattrs", "--xattrs-include=*",
		       "--pax-option=delete=atime,delete=ctime", "--one-file-system", "-C", dir, "-cf", "-", ".",
		       (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	if (*pid > 0)
		return out[0];
	close(out[0]);
	return err_set(err, ERR_SYSTEM, errno, "fork");
}

/** import_directory() - Through tar and a pipe. */
static int import_directory(struct helper_line *line, const char *dir, struct error *err)
{
	int status = 0, rc;
	pid_t pid;
	_cleanup_fd_ int from = start_tar(dir, &pid, err);

	if (from < 0)
		return from;
	rc = helper_run(line, NULL, from, err);
	fd_close(&from);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (rc == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
		err_set(err, ERR_INVALID, 0, "import %s: tar could not read all of it", dir);
		return err_hint(err, "what it said is above; the image has the files that could be read");
	}
	return rc;
}

int engine_import(const struct engine_paths *paths, const char *path, const char *const *tags, size_t tag_count,
		  bool quiet, struct error *err)
{
	static struct helper_line line;
	struct stat st;

	if (begin(&line, paths, "import", quiet, err) < 0)
		return -(int)err->code;
	helper_add_each(&line, "--tag", tags, tag_count);
	helper_add(&line, paths->home);
	if (!path)
		return helper_run(&line, NULL, -1, err);
	if (stat(path, &st) < 0)
		return err_set(err, err_from_errno(errno), errno, "import %s", path);
	if (S_ISDIR(st.st_mode))
		return import_directory(&line, path, err);
	helper_add(&line, path);
	return helper_run(&line, NULL, -1, err);
}

int engine_registry(const struct engine_paths *paths, const char *const *words, size_t count, int input,
		    struct error *err)
{
	static struct helper_line line;

	line = (struct helper_line){ .count = 0 };
	if (need(paths->registry, "msb-registry", "speaks with registries", err) < 0)
		return -(int)err->code;
	helper_add(&line, paths->registry);
	for (size_t i = 0; i < count; i++)
		helper_add(&line, words[i]);
	return helper_run(&line, NULL, input, err);
}
