/* SPDX-License-Identifier: Apache-2.0 */
// sources: src/base/num.c
/*
 * USER against a guest's /etc/passwd and /etc/group. The input: USER up to the first NUL, passwd up to the second,
 * group. Whatever the files say, the result is whole, a refusal is said to be the user's, and a number is taken as it
 * is.
 */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char passwd_path[64], group_path[64];
#define AGENT_PASSWD passwd_path
#define AGENT_GROUP group_path
#include "agent/user.c"

bool fail(struct failure *f, enum msg_failure kind, int sys_errno, const char *fmt, ...)
{
	va_list ap;

	f->kind = kind;
	f->sys_errno = sys_errno;
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
	return false;
}

/** file() - A memory file with this content, and a path to it. */
static void file(int *fd, char *path, size_t size, const uint8_t *data, size_t n)
{
	if (*fd < 0)
		*fd = memfd_create("fuzz-user", MFD_CLOEXEC);
	if (*fd < 0 || ftruncate(*fd, 0) < 0 || pwrite(*fd, data, n, 0) != (ssize_t)n)
		abort();
	snprintf(path, size, "/proc/self/fd/%d", *fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static int passwd = -1, group = -1;
	const uint8_t *end = n ? memchr(data, 0, n) : NULL, *second;
	const char *spec = (const char *)data;
	struct failure f = { 0 };
	struct user u;
	uint64_t number;

	if (!end)
		return 0;
	second = memchr(end + 1, 0, n - (size_t)(end + 1 - data));
	if (!second)
		second = data + n;
	file(&passwd, passwd_path, sizeof(passwd_path), end + 1, (size_t)(second - end - 1));
	file(&group, group_path, sizeof(group_path), second, n - (size_t)(second - data));
	if (!user_resolve(spec, &u, &f)) {
		if (f.kind != MSG_FAIL_BAD_USER || !f.text[0])
			abort();
		return 0;
	}
	if (!memchr(u.home, 0, sizeof(u.home)) || !u.home[0] || u.group_count > USER_GROUPS_MAX ||
	    u.uid == UINT32_MAX || u.gid == UINT32_MAX)
		abort();
	if (num_parse_u64(spec, UINT32_MAX - 1, &number) && u.uid != number)
		abort();
	return 0;
}
