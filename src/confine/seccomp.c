/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. One straight classic-BPF program, made here: another architecture's or x32's calls kill the
 * process; each denied number is one comparison that returns EPERM; clone() is allowed without namespace flags, and
 * clone3, whose flags lie in memory where a filter cannot look, is "not implemented", after which the C library uses
 * clone(). prctl() is allowed but for the parent-death signal, which a confined process keeps. A program that knows no
 * other way to get at a socket than connect() may call it: the kernel hands the call to the parent, which answers one.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "confine/confine.h"

#define ANSWERS_MAX 1000 /* to one connection */
#define LISTENER SECCOMP_FILTER_FLAG_NEW_LISTENER
#define WAIT_KILLABLE (1UL << 5) /* SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, which older headers do not know */
#define FILTER_MAX 512
#define X32_BIT 0x40000000u
#define SOCK_TYPE_MASK 0xf /* the rest of a type are flags */
#define NAMESPACE_FLAGS \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)
#define SYS_FROM_451 451 /* cachestat and whatever is newer than this list */

static const unsigned short denied[] = {
	/* sockets: inherited ones are used with sendmsg and recvmsg */
	SYS_bind, SYS_listen,
	/* other programs, other processes */
	SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_kcmp, SYS_pidfd_getfd,
	SYS_process_madvise, SYS_process_mrelease, SYS_setpriority, SYS_move_pages, SYS_migrate_pages,
	/* namespaces, mounts, roots */
	SYS_unshare, SYS_setns, SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_open_tree, SYS_move_mount,
	SYS_fsopen, SYS_fsconfig, SYS_fsmount, SYS_fspick, SYS_mount_setattr, SYS_open_by_handle_at,
	SYS_name_to_handle_at, SYS_quotactl, SYS_quotactl_fd, SYS_fanotify_init, SYS_landlock_create_ruleset,
	/* kernel interfaces with a history, or that act behind this filter's back */
	SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register, SYS_bpf, SYS_perf_event_open, SYS_userfaultfd,
	SYS_add_key, SYS_request_key, SYS_keyctl, SYS_modify_ldt, SYS_personality, SYS_vmsplice, SYS_lookup_dcookie,
	/* the machine */
	SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_kexec_file_load, SYS_reboot,
	SYS_swapon, SYS_swapoff, SYS_sethostname, SYS_setdomainname, SYS_settimeofday, SYS_clock_settime, SYS_adjtimex,
	SYS_clock_adjtime, SYS_iopl, SYS_ioperm, SYS_syslog, SYS_acct, SYS_vhangup, SYS_mknod, SYS_mknodat,
	/* identity */
	SYS_setuid, SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid, SYS_setresgid, SYS_setgroups, SYS_setfsuid,
	SYS_setfsgid, SYS_capset, SYS_setsid, SYS_setpgid,
};

static const unsigned short denied_sockets[] = { SYS_socket, SYS_socketpair, SYS_connect };
static const unsigned short denied_accept[] = { SYS_accept, SYS_accept4 };
static const unsigned short denied_exec[] = { SYS_execve, SYS_execveat };

static const unsigned short denied_open[] = {
	SYS_open, SYS_openat, SYS_openat2, SYS_creat, SYS_truncate, SYS_rename, SYS_renameat, SYS_renameat2, SYS_unlink,
	SYS_unlinkat, SYS_rmdir, SYS_mkdir, SYS_mkdirat, SYS_link, SYS_linkat, SYS_symlink, SYS_symlinkat, SYS_chmod,
	SYS_fchmodat, SYS_chown, SYS_lchown, SYS_fchownat, SYS_setxattr, SYS_lsetxattr, SYS_removexattr,
	SYS_lremovexattr, SYS_utime, SYS_utimes, SYS_futimesat, SYS_utimensat, SYS_inotify_add_watch, SYS_chdir,
};

static const unsigned short denied_fork[] = { SYS_fork, SYS_vfork };

struct filter {
	struct sock_filter code[FILTER_MAX];
	size_t count;
	bool failed;
};

/** emit() - Append one instruction. */
static void emit(struct filter *f, struct sock_filter ins)
{
	if (f->count == FILTER_MAX) {
		f->failed = true;
		return;
	}
	f->code[f->count++] = ins;
}

/** emit_stmt() - An instruction without a jump. */
static void emit_stmt(struct filter *f, unsigned short code, unsigned int k)
{
	emit(f, (struct sock_filter)BPF_STMT(code, k));
}

/** emit_if() - When the accumulator passes (op k), run the next `then` instructions, else skip them. */
static void emit_if(struct filter *f, unsigned short op, unsigned int k, unsigned char then)
{
	emit(f, (struct sock_filter)BPF_JUMP(BPF_JMP | op | BPF_K, k, 0, then));
}

/** emit_deny() - These system call numbers (in the accumulator) fail with EPERM. */
static void emit_deny(struct filter *f, const unsigned short *numbers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		emit_if(f, BPF_JEQ, numbers[i], 1);
		emit_stmt(f, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	}
}

/** emit_streams() - Behind the test for socket() or socketpair(): streams only. Five steps, the last one refuses. */
static void emit_streams(struct filter *f)
{
	emit_stmt(f, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1]));
	emit_stmt(f, BPF_ALU | BPF_AND | BPF_K, SOCK_TYPE_MASK);
	emit_if(f, BPF_JEQ, SOCK_STREAM, 1);
	emit_stmt(f, BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	emit_stmt(f, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
}

/**
 * emit_client() - Sockets of a network client only: TCP and UDP. Pairs are streams: a pair of datagram sockets could be
 * connected anew, to a service of this machine that listens at a path.
 */
static void emit_client(struct filter *f)
{
	const unsigned int arg0 = offsetof(struct seccomp_data, args[0]);

	emit_if(f, BPF_JEQ, SYS_socket, 6);
	emit_stmt(f, BPF_LD | BPF_W | BPF_ABS, arg0);
	emit_if(f, BPF_JEQ, AF_INET, 1);
	emit_stmt(f, BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	emit_if(f, BPF_JEQ, AF_INET6, 1);
	emit_stmt(f, BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	emit_stmt(f, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	emit_if(f, BPF_JEQ, SYS_socketpair, 5);
	emit_streams(f);
}

/** emit_brokered() - Unix stream sockets, which the parent connects. */
static void emit_brokered(struct filter *f)
{
	const unsigned int arg0 = offsetof(struct seccomp_data, args[0]);

	emit_if(f, BPF_JEQ, SYS_socket, 7);
	emit_stmt(f, BPF_LD | BPF_W | BPF_ABS, arg0);
	emit_if(f, BPF_JEQ, AF_UNIX, 4);
	emit_streams(f);
	emit_if(f, BPF_JEQ, SYS_connect, 1);
	emit_stmt(f, BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
}

/** build() - The whole program. @exec: other programs may be started. @brokered: see emit_brokered() */
static void build(struct filter *f, unsigned int extra, bool exec, bool brokered)
{
	const unsigned int nr = offsetof(struct seccomp_data, nr), arg0 = offsetof(struct seccomp_data, args[0]);
	const unsigned int arg1 = offsetof(struct seccomp_data, args[1]);

	emit_stmt(f, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	emit(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0));
	emit_stmt(f, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	emit_stmt(f, BPF_LD | BPF_W | BPF_ABS, nr);
	emit_if(f, BPF_JGE, X32_BIT, 1);
	emit_stmt(f, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	emit_if(f, BPF_JGE, SYS_FROM_451, 1);
	emit_stmt(f, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
	emit_if(f, BPF_JEQ, SYS_clone3, 1);
	emit_stmt(f, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
	emit_deny(f, denied, ARRAY_LEN(denied));
	if (extra & CONFINE_ALLOW_CLIENT)
		emit_client(f);
	if (brokered)
		emit_brokered(f);
	if (!(extra & CONFINE_ALLOW_CLIENT))
		emit_deny(f, denied_sockets, ARRAY_LEN(denied_sockets));
	if (!(extra & CONFINE_ALLOW_ACCEPT))
		emit_deny(f, denied_accept, ARRAY_LEN(denied_accept));
	if (!exec)
		emit_deny(f, denied_exec, ARRAY_LEN(denied_exec));
	if (extra & CONFINE_DENY_OPEN)
		emit_deny(f, denied_open, ARRAY_LEN(denied_open));
	if (extra & CONFINE_DENY_FORK)
		emit_deny(f, denied_fork, ARRAY_LEN(denied_fork));
	/* clone: no namespaces; without processes only threads. The low half of the flags holds all of these. */
	emit_if(f, BPF_JEQ, SYS_clone, extra & CONFINE_DENY_FORK ? 6 : 4);
	emit_stmt(f, BPF_LD | BPF_W | BPF_ABS, arg0);
	emit_if(f, BPF_JSET, NAMESPACE_FLAGS, 1);
	emit_stmt(f, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	if (extra & CONFINE_DENY_FORK) {
		emit(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0));
		emit_stmt(f, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
		emit_stmt(f, BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	} else {
		emit_stmt(f, BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	/* Living on without the parent. */
	emit_if(f, BPF_JEQ, SYS_prctl, 4);
	emit_stmt(f, BPF_LD | BPF_W | BPF_ABS, arg0);
	emit_if(f, BPF_JEQ, PR_SET_PDEATHSIG, 1);
	emit_stmt(f, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	emit_stmt(f, BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	/* Typing into the user's terminal. The kernel looks at the low half of the request. */
	emit_if(f, BPF_JEQ, SYS_ioctl, 5);
	emit_stmt(f, BPF_LD | BPF_W | BPF_ABS, arg1);
	emit_if(f, BPF_JEQ, TIOCSTI, 1);
	emit_stmt(f, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	emit_if(f, BPF_JEQ, TIOCLINUX, 1);
	emit_stmt(f, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	emit_stmt(f, BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
}

/** install() - The filter, on all threads; with a broker, on the only one. */
static int install(unsigned int extra, bool exec, int *broker, struct error *err)
{
	struct filter f = { .count = 0 };
	struct sock_fprog program;
	long rc;

	build(&f, extra, exec, broker);
	if (f.failed)
		return err_set(err, ERR_INTERNAL, 0, "confine: the filter does not fit");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set(err, ERR_SYSTEM, errno, "confine: no_new_privs");
	program = (struct sock_fprog){ .len = (unsigned short)f.count, .filter = f.code };
	/* An answer that crosses a signal is lost, where the kernel (before 5.19) cannot keep signals from the call. */
	rc = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		     broker ? LISTENER | WAIT_KILLABLE : SECCOMP_FILTER_FLAG_TSYNC, &program);
	if (rc < 0 && broker && errno == EINVAL)
		rc = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, LISTENER, &program);
	if (rc < 0)
		return err_set(err, ERR_SYSTEM, errno, "confine: system call filter");
	if (broker)
		*broker = (int)rc;
	else if (rc > 0)
		return err_set(err, ERR_SYSTEM, 0, "confine: thread %ld could not be filtered", rc);
	return 0;
}

int confine_deny_dangerous(unsigned int extra, struct error *err)
{
	return install(extra, false, NULL, err);
}

int confine_filter_program(int *broker, struct error *err)
{
	int rc = install(CONFINE_DENY_FORK, true, broker, err);

	/* The kernel grants one of them; a container may have one of its own. */
	if (rc < 0 && broker)
		err_hint(err, "QEMU needs this for its network card: KVM or --no-network do not");
	return rc;
}

int confine_answer_connect(int broker, int sock, int gone, struct error *err)
{
	_cleanup_fd_ int owned = broker;
	struct pollfd p[2] = { { .fd = broker, .events = POLLIN }, { .fd = gone, .events = POLLIN } };

	for (int tries = 0; tries < ANSWERS_MAX; tries++) {
		struct seccomp_notif call = { .id = 0 };
		struct seccomp_notif_addfd put = { .flags = SECCOMP_ADDFD_FLAG_SETFD, .newfd_flags = O_CLOEXEC };
		struct seccomp_notif_resp answer = { .val = 0 };

		if (poll(p, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return err_set(err, ERR_SYSTEM, errno, "confine: wait for a connection");
		}
		if (!(p[0].revents & POLLIN))
			return err_set(err, ERR_CLOSED, 0, "confine: the program ended before it connected");
		if (ioctl(owned, SECCOMP_IOCTL_NOTIF_RECV, &call) == 0) {
			put.id = answer.id = call.id;
			put.srcfd = (uint32_t)sock;
			put.newfd = (uint32_t)call.data.args[0];
			if (ioctl(owned, SECCOMP_IOCTL_NOTIF_ADDFD, &put) >= 0 &&
			    ioctl(owned, SECCOMP_IOCTL_NOTIF_SEND, &answer) == 0)
				return 0;
		}
		/* A call that a signal interrupted meanwhile is no more; it is made, and told of, again. */
		if (errno != ENOENT && errno != EINTR)
			return err_set(err, ERR_SYSTEM, errno, "confine: answer a connection");
	}
	return err_set(err, ERR_SYSTEM, 0, "confine: a connection is interrupted again and again");
}
