/* SPDX-License-Identifier: Apache-2.0 */
/* What a sandbox gets before it starts: its scripts at every boot, copies of host files at its first. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "engine/copy.h"
#include "engine/run_plan.h"

/** open_next() - files/N, for writing. Return: owned fd */
static int open_next(int dir_fd, unsigned int *next, bool once, struct error *err)
{
	char name[32];
	int fd;

	snprintf(name, sizeof(name), "files/%u%s", (*next)++, once ? ".once" : "");
	fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd >= 0 ? fd : err_set(err, err_from_errno(errno), errno, "write the files of the sandbox");
}

/** put_copy() - One SRC:DST. */
static int put_copy(int dir_fd, const struct copy_spec *c, bool once, unsigned int *next, struct error *err)
{
	_cleanup_fd_ int fd = open_next(dir_fd, next, once, err);
	struct copy_out out = COPY_OUT_INIT(fd);
	const char *name = strrchr(c->source, '/') ? strrchr(c->source, '/') + 1 : c->source;
	int rc = fd < 0 ? fd : copy_put(&out, c->source, c->target, *name ? name : NULL, false, err);

	buf_free(&out.pending);
	return rc < 0 ? err_wrap(err, "--copy") : 0;
}

int files_prepare(int dir_fd, const struct run_spec *spec, struct error *err)
{
	bool once = spec->root_disk.kind != ROOT_DISK_TMPFS; /* which is empty again at each start */
	unsigned int next = 0;
	int rc = 0;

	if (spec->script_count == 0 && spec->copy_count == 0)
		return 0;
	if (mkdirat(dir_fd, "files", 0700) < 0)
		return err_set(err, err_from_errno(errno), errno, "make the folder for the files of the sandbox");
	if (spec->script_count) {
		_cleanup_fd_ int fd = open_next(dir_fd, &next, false, err);
		struct copy_out out = COPY_OUT_INIT(fd);

		rc = fd < 0 ? fd : copy_put_scripts(&out, spec->scripts, spec->script_count, err);
		buf_free(&out.pending);
	}
	for (size_t i = 0; rc == 0 && i < spec->copy_count; i++)
		rc = put_copy(dir_fd, &spec->copies[i], once, &next, err);
	return rc;
}
