/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "state/state.h"

#define RETRY_MS 5

bool sandbox_name_valid(const char *name)
{
	static const char rest[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t n = strspn(name, rest);

	return n > 0 && n <= SANDBOX_NAME_MAX && !name[n] && isalnum((unsigned char)name[0]);
}

/** offset_of() - FNV-1a; two names on one byte only wait for each other. */
static off_t offset_of(const char *name)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 0x100000001b3u;
	return (off_t)(h >> 2);
}

int name_lock(int home_fd, const char *name, int limit_ms, struct error *err)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = offset_of(name), .l_len = 1 };
	int64_t end = clock_monotonic_ns() + limit_ms * NSEC_PER_MSEC;
	_cleanup_fd_ int fd = -1;

	if (mkdirat(home_fd, "db", 0700) < 0 && errno != EEXIST)
		return err_set(err, err_from_errno(errno), errno, "create db in MSB_HOME");
	fd = openat(home_fd, "db/locks", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, err_from_errno(errno), errno, "open db/locks in MSB_HOME");
	/* There is no wait with a limit; a lock is held for milliseconds, and only then is it asked for again. */
	while (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
		if (errno != EAGAIN && errno != EACCES && errno != EINTR)
			return err_set(err, ERR_SYSTEM, errno, "lock sandbox %s", name);
		if (clock_monotonic_ns() >= end) {
			err_set(err, ERR_TIMEOUT, 0, "sandbox %s is busy with another command", name);
			return err_hint(err, "try again when that one has ended");
		}
		poll(NULL, 0, RETRY_MS);
	}
	return TAKE_FD(fd);
}
