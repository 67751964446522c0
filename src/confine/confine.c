/* SPDX-License-Identifier: Apache-2.0 */
#include "confine/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

#define NEW_ROOT "/tmp" /* only the mount point, in a mount namespace of our own */

static bool have_namespaces; /* in the child: what confine_fork() got */
static uid_t outer_uid;
static gid_t outer_gid;

pid_t confine_fork(bool *in_user_ns)
{
	unsigned long flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
	pid_t pid;

	outer_uid = geteuid();
	outer_gid = getegid();
	*in_user_ns = outer_uid != 0;
	pid = (pid_t)syscall(SYS_clone, flags | (*in_user_ns ? CLONE_NEWUSER : 0) | SIGCHLD, 0, 0, 0, 0);
	if (pid >= 0) {
		have_namespaces = true;
		return pid;
	}
	*in_user_ns = false;
	have_namespaces = false;
	return fork();
}

/** write_file() - One write to a /proc file. */
static int write_file(const char *path, const char *text)
{
	_cleanup_fd_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -1;
}

/** map_identity() - The one uid and gid of the user namespace. */
static int map_identity(struct error *err)
{
	char uid[64], gid[64];

	snprintf(uid, sizeof(uid), "%d %u 1", CONFINE_UID, outer_uid);
	snprintf(gid, sizeof(gid), "%d %u 1", CONFINE_UID, outer_gid);
	if (write_file("/proc/self/setgroups", "deny") < 0 || write_file("/proc/self/uid_map", uid) < 0 ||
	    write_file("/proc/self/gid_map", gid) < 0)
		return err_set(err, ERR_SYSTEM, errno, "confine: map the user");
	return 0;
}

/** make_root() - tmpfs with /usr read-only, the usual links into it, and our own /proc. */
static int make_root(struct error *err)
{
	static const char *const links[][2] = {
		{ "usr/bin", NEW_ROOT "/bin" },	  { "usr/sbin", NEW_ROOT "/sbin" },   { "usr/lib", NEW_ROOT "/lib" },
		{ "usr/lib32", NEW_ROOT "/lib32" }, { "usr/lib64", NEW_ROOT "/lib64" },
	};

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", NEW_ROOT, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64k,mode=755") < 0 ||
	    mkdir(NEW_ROOT "/usr", 0755) < 0 || mkdir(NEW_ROOT "/proc", 0755) < 0 ||
	    mount("/usr", NEW_ROOT "/usr", NULL, MS_BIND | MS_REC, NULL) < 0)
		return err_set(err, ERR_SYSTEM, errno, "confine: build an empty root");
	/* In a user namespace flags that the host locked must be repeated; nosuid and nodev are ours anyway. */
	if (mount(NULL, NEW_ROOT "/usr", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) < 0 &&
	    mount(NULL, NEW_ROOT "/usr", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_RELATIME,
		  NULL) < 0)
		return err_set(err, ERR_SYSTEM, errno, "confine: make /usr read-only");
	for (size_t i = 0; i < ARRAY_LEN(links); i++)
		if (symlink(links[i][0], links[i][1]) < 0)
			return err_set(err, ERR_SYSTEM, errno, "confine: build an empty root");
	if (mount("proc", NEW_ROOT "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return err_set(err, ERR_SYSTEM, errno, "confine: mount /proc");
	if (mount(NULL, NEW_ROOT, NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64k,mode=755") < 0 ||
	    chdir(NEW_ROOT) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 ||
	    chdir("/") < 0)
		return err_set(err, ERR_SYSTEM, errno, "confine: enter the empty root");
	return 0;
}

int confine_program(bool in_user_ns, struct error *err)
{
	struct rlimit none = { 0, 0 };

	if (in_user_ns && map_identity(err) < 0)
		return -(int)err->code;
	if (have_namespaces && make_root(err) < 0)
		return -(int)err->code;
	if (!in_user_ns && outer_uid == 0) {
		if (setgroups(0, NULL) < 0 || setresgid(CONFINE_UID, CONFINE_UID, CONFINE_UID) < 0 ||
		    setresuid(CONFINE_UID, CONFINE_UID, CONFINE_UID) < 0)
			return err_set(err, ERR_SYSTEM, errno, "confine: give up root");
	}
	setrlimit(RLIMIT_CORE, &none);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set(err, ERR_SYSTEM, errno, "confine: no_new_privs");
	return 0;
}

int confine_die_with(int lifeline, struct error *err)
{
	struct pollfd p = { .fd = lifeline, .events = POLLIN };

	/* After the change of identity, which clears it. A parent that died before is seen by its pipe. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return err_set(err, ERR_SYSTEM, errno, "confine: parent-death signal");
	if (poll(&p, 1, 0) != 0)
		return err_set(err, ERR_CLOSED, 0, "confine: the parent is gone");
	return 0;
}
