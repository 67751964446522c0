/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kernel_file.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"

#define HEADERS_MAX 64 /* a kernel has five or six */

int kernel_file_check(int fd, const char *name, struct error *err)
{
	Elf64_Phdr ph[HEADERS_MAX];
	Elf64_Ehdr h = { 0 };
	struct stat st;
	size_t n;

	if (fstat(fd, &st) < 0)
		return err_set(err, ERR_SYSTEM, errno, "guest kernel %s", name);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_INVALID, 0, "guest kernel %s is not a regular file", name);
	if (fd_pread_full(fd, &h, sizeof(h), 0) != (ssize_t)sizeof(h) || memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 ||
	    h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_machine != EM_X86_64 || h.e_type != ET_EXEC || h.e_phnum == 0 ||
	    h.e_phnum > HEADERS_MAX || h.e_phentsize != sizeof(ph[0]))
		return err_set(err, ERR_INVALID, 0, "guest kernel %s is not a kernel for x86-64 (ELF)", name);
	n = h.e_phnum * sizeof(ph[0]);
	if (fd_pread_full(fd, ph, n, (off_t)h.e_phoff) != (ssize_t)n)
		return err_set(err, ERR_INVALID, 0, "guest kernel %s is truncated", name);
	for (size_t i = 0; i < h.e_phnum; i++)
		if (ph[i].p_offset > (uint64_t)st.st_size || ph[i].p_filesz > (uint64_t)st.st_size - ph[i].p_offset)
			return err_set(err, ERR_INVALID, 0, "guest kernel %s is truncated", name);
	return 0;
}

int kernel_file_open(const struct engine_paths *paths, struct error *err)
{
	_cleanup_fd_ int fd = -1;

	if (!paths->kernel[0]) {
		err_set(err, ERR_NOT_FOUND, 0, "no guest kernel in %s/lib nor in the build cache",
			paths->home[0] ? paths->home : "MSB_HOME");
		return err_hint(err, "run scripts/setup.sh, or set MSB_LIBKRUNFW_PATH to a vmlinux of kernel/build.sh");
	}
	fd = open(paths->kernel, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a fifo would wait for its writer */
	if (fd < 0)
		err_set(err, err_from_errno(errno), errno, "guest kernel %s", paths->kernel);
	if (fd < 0 || kernel_file_check(fd, paths->kernel, err) < 0)
		return err_hint(err, "run scripts/setup.sh to make it again, or check MSB_LIBKRUNFW_PATH");
	return TAKE_FD(fd);
}
