/* SPDX-License-Identifier: Apache-2.0 */
/* Landlock by raw system calls: the C library has no wrappers and old headers lack the newer rights. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "confine/confine.h"

/* Source: include/uapi/linux/landlock.h of Linux 6.12. */
#define SYS_CREATE_RULESET 444
#define SYS_ADD_RULE 445
#define SYS_RESTRICT_SELF 446
#define CREATE_RULESET_VERSION 1u
#define RULE_PATH_BENEATH 1
#define FS_EXECUTE (1u << 0)
#define FS_READ_FILE (1u << 2)
#define FS_READ_DIR (1u << 3)
#define FS_RUN (FS_EXECUTE | FS_READ_FILE | FS_READ_DIR)
#define FS_ABI_1 0x1fffu      /* execute, write, read, make and remove */
#define FS_REFER (1u << 13)   /* ABI 2 */
#define FS_TRUNCATE (1u << 14) /* ABI 3 */
#define FS_IOCTL_DEV (1u << 15) /* ABI 5 */
#define NET_BIND 1u	      /* ABI 4 */
#define NET_CONNECT 2u
#define SCOPE_ABSTRACT_UNIX 1u /* ABI 6 */
#define SCOPE_SIGNAL 2u

struct ruleset_attr {
	uint64_t handled_fs;
	uint64_t handled_net;
	uint64_t scoped;
};

struct path_beneath_attr {
	uint64_t allowed;
	int32_t parent_fd;
} __attribute__((packed));

bool confine_have_landlock(void)
{
	return syscall(SYS_CREATE_RULESET, NULL, 0, CREATE_RULESET_VERSION) > 0;
}

/**
 * make_ruleset() - All that this kernel can forbid, of the network `net`. Return: owned fd, -1: no Landlock, -2: error.
 */
static int make_ruleset(bool signals, uint64_t net, int *abi, struct error *err)
{
	struct ruleset_attr attr = { .handled_fs = FS_ABI_1 };
	size_t size = sizeof(uint64_t);
	int fd;

	*abi = (int)syscall(SYS_CREATE_RULESET, NULL, 0, CREATE_RULESET_VERSION);
	if (*abi <= 0) {
		*abi = 0;
		return -1; /* ENOSYS, EOPNOTSUPP, or a filter of a container */
	}
	if (*abi >= 2)
		attr.handled_fs |= FS_REFER;
	if (*abi >= 3)
		attr.handled_fs |= FS_TRUNCATE;
	if (*abi >= 4) {
		attr.handled_net = net;
		size = 2 * sizeof(uint64_t);
	}
	if (*abi >= 5)
		attr.handled_fs |= FS_IOCTL_DEV;
	if (*abi >= 6) {
		attr.scoped = SCOPE_ABSTRACT_UNIX | (signals ? SCOPE_SIGNAL : 0);
		size = 3 * sizeof(uint64_t);
	}
	fd = (int)syscall(SYS_CREATE_RULESET, &attr, size, 0);
	if (fd >= 0)
		return fd;
	err_set(err, ERR_SYSTEM, errno, "confine: make a Landlock rule set");
	return -2;
}

/** enforce() - From here on. */
static int enforce(int ruleset, int abi, struct error *err)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set(err, ERR_SYSTEM, errno, "confine: no_new_privs");
	if (syscall(SYS_RESTRICT_SELF, ruleset, 0) < 0)
		return err_set(err, ERR_SYSTEM, errno, "confine: enforce Landlock");
	return abi;
}

int confine_landlock_none(struct error *err)
{
	int abi;
	/* Signals stay possible: the monitor must be able to end the QEMU that it started before. */
	_cleanup_fd_ int ruleset = make_ruleset(false, NET_BIND | NET_CONNECT, &abi, err);

	if (ruleset < 0)
		return ruleset == -1 ? 0 : -(int)err->code;
	return enforce(ruleset, abi, err);
}

int confine_landlock_connect(struct error *err)
{
	int abi;
	_cleanup_fd_ int ruleset = make_ruleset(true, NET_BIND, &abi, err);

	if (ruleset < 0)
		return ruleset == -1 ? 0 : -(int)err->code;
	return enforce(ruleset, abi, err);
}

/** allow() - Read (and run) what fd names. Anonymous files (memfd) need no rule and take none. */
static int allow(int ruleset, int fd, uint64_t rights, struct error *err)
{
	struct path_beneath_attr rule = { .allowed = rights, .parent_fd = fd };
	struct stat st;

	if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
		rule.allowed &= ~(uint64_t)FS_READ_DIR;
	if (syscall(SYS_ADD_RULE, ruleset, RULE_PATH_BENEATH, &rule, 0) < 0 && errno != EBADFD)
		return err_set(err, ERR_SYSTEM, errno, "confine: add a Landlock rule");
	return 0;
}

/** A folder or file, and what may be done with it. */
struct place {
	const char *path;
	uint64_t rights;
};
#define LIBRARIES                                                                                                      \
	{ "/usr", FS_EXECUTE | FS_READ_FILE | FS_READ_DIR }, { "/lib", FS_EXECUTE | FS_READ_FILE | FS_READ_DIR },      \
	{ "/lib32", FS_EXECUTE | FS_READ_FILE | FS_READ_DIR }, { "/lib64", FS_EXECUTE | FS_READ_FILE | FS_READ_DIR },  \
	{ "/etc/ld.so.cache", FS_READ_FILE }

/** allow_places() - Those that exist. */
static int allow_places(int ruleset, const struct place *places, size_t count, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		_cleanup_fd_ int fd = open(places[i].path, O_PATH | O_CLOEXEC);

		if (fd >= 0 && allow(ruleset, fd, places[i].rights, err) < 0)
			return -(int)err->code;
	}
	return 0;
}

int confine_landlock_client(struct error *err)
{
	static const struct place places[] = {
		LIBRARIES,
		{ "/etc/resolv.conf", FS_READ_FILE },
		{ "/etc/hosts", FS_READ_FILE },
		{ "/etc/nsswitch.conf", FS_READ_FILE },
		{ "/etc/host.conf", FS_READ_FILE },
		{ "/etc/gai.conf", FS_READ_FILE },
		{ "/etc/services", FS_READ_FILE },
	};
	int abi;
	_cleanup_fd_ int ruleset = make_ruleset(true, NET_BIND, &abi, err);

	if (ruleset < 0)
		return ruleset == -1 ? 0 : -(int)err->code;
	if (allow_places(ruleset, places, ARRAY_LEN(places), err) < 0)
		return -(int)err->code;
	return enforce(ruleset, abi, err);
}

int confine_landlock_program(const int *readable, size_t count, struct error *err)
{
	static const struct place places[] = {
		LIBRARIES,
		{ "/bin", FS_EXECUTE | FS_READ_FILE | FS_READ_DIR },
		{ "/proc", FS_READ_FILE | FS_READ_DIR },
	};
	int abi;
	_cleanup_fd_ int ruleset = make_ruleset(true, NET_BIND | NET_CONNECT, &abi, err);

	if (ruleset < 0)
		return ruleset == -1 ? 0 : -(int)err->code;
	if (allow_places(ruleset, places, ARRAY_LEN(places), err) < 0)
		return -(int)err->code;
	for (size_t i = 0; i < count; i++)
		if (allow(ruleset, readable[i], FS_READ_FILE, err) < 0)
			return -(int)err->code;
	return enforce(ruleset, abi, err);
}
