/* SPDX-License-Identifier: Apache-2.0 */
#include "confine/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/mount.h>
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
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

#define NEW_ROOT "/tmp" /* only the mount point, in a mount namespace of our own */

static bool have_namespaces; /* in the child: what confine_fork() got */
static uid_t outer_uid;
static gid_t outer_gid;

/** raw_clone() - fork() with namespace flags. */
static pid_t raw_clone(unsigned long flags)
{
	return (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
}

pid_t confine_fork(bool *in_user_ns)
{
	unsigned long flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
	pid_t pid = -1;

	outer_uid = geteuid();
	outer_gid = getegid();
	have_namespaces = true;
	*in_user_ns = false;
	if (outer_uid == 0)
		pid = raw_clone(flags);
	if (pid < 0) {
		*in_user_ns = true;
		pid = raw_clone(flags | CLONE_NEWUSER);
	}
	if (pid >= 0)
		return pid;
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

/** make_read_only() - A mount and what lies below it, keeping the flags that the host locked. */
static int make_read_only(const char *path)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV };

	return (int)syscall(SYS_mount_setattr, AT_FDCWD, path, AT_RECURSIVE, &attr, sizeof(attr));
}

/** make_root() - tmpfs with /usr read-only, the usual links into it, and our own /proc. */
static int make_root(struct confine_report *report, struct error *err)
{
	static const char *const links[][2] = {
		{ "usr/bin", NEW_ROOT "/bin" },	    { "usr/sbin", NEW_ROOT "/sbin" },	{ "usr/lib", NEW_ROOT "/lib" },
		{ "usr/lib32", NEW_ROOT "/lib32" }, { "usr/lib64", NEW_ROOT "/lib64" },
	};
	bool own_proc = true;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", NEW_ROOT, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64k,mode=755") < 0 ||
	    mkdir(NEW_ROOT "/usr", 0755) < 0 || mkdir(NEW_ROOT "/proc", 0755) < 0 ||
	    mount("/usr", NEW_ROOT "/usr", NULL, MS_BIND | MS_REC, NULL) < 0)
		return err_set(err, ERR_SYSTEM, errno, "confine: build an empty root");
	if (make_read_only(NEW_ROOT "/usr") < 0)
		return err_set(err, ERR_SYSTEM, errno, "confine: make /usr read-only");
	for (size_t i = 0; i < ARRAY_LEN(links); i++)
		if (symlink(links[i][0], links[i][1]) < 0)
			return err_set(err, ERR_SYSTEM, errno, "confine: build an empty root");
	/* Where the host's /proc has parts masked, a new one is refused. Its processes are not ours to touch anyway. */
	if (mount("proc", NEW_ROOT "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0) {
		own_proc = false;
		if (mount("/proc", NEW_ROOT "/proc", NULL, MS_BIND | MS_REC, NULL) < 0 ||
		    make_read_only(NEW_ROOT "/proc") < 0)
			return err_set(err, ERR_SYSTEM, errno, "confine: mount /proc");
	}
	if (mount(NULL, NEW_ROOT, NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
		  "size=64k,mode=755") < 0 ||
	    chdir(NEW_ROOT) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 ||
	    chdir("/") < 0)
		return err_set(err, ERR_SYSTEM, errno, "confine: enter the empty root");
	report->rungs |= CONFINE_EMPTY_ROOT | (own_proc ? CONFINE_OWN_PROC : 0u);
	return 0;
}

/** drop_identity() - From root to nobody; capabilities go with it. */
static int drop_identity(struct error *err)
{
	if (setgroups(0, NULL) < 0 || setresgid(CONFINE_UID, CONFINE_UID, CONFINE_UID) < 0 ||
	    setresuid(CONFINE_UID, CONFINE_UID, CONFINE_UID) < 0)
		return err_set(err, ERR_SYSTEM, errno, "confine: give up root");
	return 0;
}

/** no_gain() - No way to get more than now, no core dumps with a guest's memory. */
static int no_gain(struct error *err)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set(err, ERR_SYSTEM, errno, "confine: no_new_privs");
	return 0;
}

int confine_drop_privileges(struct error *err)
{
	if (geteuid() == 0 && drop_identity(err) < 0)
		return -(int)err->code;
	return no_gain(err);
}

int confine_drop_capabilities(struct error *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { .effective = 0 } };

	if (syscall(SYS_capset, &header, none) < 0)
		return err_set(err, ERR_SYSTEM, errno, "confine: give up capabilities");
	return no_gain(err);
}

/** missing() - A rung that the host refuses: say why, once, and climb on. */
static void missing(struct confine_report *report, struct error *why)
{
	if (!report->note[0])
		snprintf(report->note, sizeof(report->note), "%s", why->text);
	err_clear(why);
}

int confine_program(bool in_user_ns, const int *readable, size_t count, struct confine_report *report,
		    struct error *err)
{
	struct error why = ERROR_INIT;
	int abi;

	*report = (struct confine_report){ .rungs = 0 };
	if (have_namespaces)
		report->rungs |= CONFINE_NAMESPACES;
	else
		snprintf(report->note, sizeof(report->note), "confine: the host allows no namespaces");
	if (in_user_ns && map_identity(err) < 0)
		return -(int)err->code;
	if (in_user_ns)
		report->rungs |= CONFINE_USER_NS;
	if (have_namespaces && make_root(report, &why) < 0)
		missing(report, &why);
	if (!in_user_ns && outer_uid == 0) {
		/* Root that may not become another (some containers): only behind a wall of another kind. */
		if (drop_identity(&why) < 0)
			missing(report, &why);
		else
			report->rungs |= CONFINE_IDENTITY;
	}
	if (no_gain(err) < 0)
		return -(int)err->code;
	report->rungs |= CONFINE_NO_NEW_PRIVS;
	abi = confine_landlock_program(readable, count, &why);
	if (abi > 0) {
		report->rungs |= CONFINE_LANDLOCK;
		report->landlock_abi = abi;
	} else if (abi < 0) {
		missing(report, &why);
	} else if (!report->note[0]) {
		snprintf(report->note, sizeof(report->note), "confine: the kernel has no Landlock");
	}
	if (geteuid() == 0 && !(report->rungs & (CONFINE_EMPTY_ROOT | CONFINE_LANDLOCK)))
		return err_set(err, ERR_UNSUPPORTED, 0, "%s; nothing would keep a guest from root's files",
			       report->note);
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

void confine_probe(struct confine_report *out)
{
	int pair[2];
	bool in_user_ns;
	pid_t pid;

	*out = (struct confine_report){ .rungs = 0 };
	if (pipe2(pair, O_CLOEXEC) < 0)
		return;
	pid = confine_fork(&in_user_ns);
	if (pid == 0) {
		struct error err = ERROR_INIT;
		struct confine_report report;

		if (confine_program(in_user_ns, NULL, 0, &report, &err) < 0)
			snprintf(report.note, sizeof(report.note), "%.159s", err.text);
		else if (confine_deny_dangerous(CONFINE_DENY_OPEN | CONFINE_DENY_FORK, &err) == 0)
			report.rungs |= CONFINE_SECCOMP;
		_exit(fd_write_full(pair[1], &report, sizeof(report)) < 0);
	}
	close(pair[1]);
	if (fd_read_full(pair[0], out, sizeof(*out)) != (ssize_t)sizeof(*out))
		*out = (struct confine_report){ .rungs = 0, .note = "confine: the probe failed" };
	out->note[sizeof(out->note) - 1] = '\0';
	close(pair[0]);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}
