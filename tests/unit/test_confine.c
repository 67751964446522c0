/* SPDX-License-Identifier: Apache-2.0 */
/* Each rung is tried in a forked child, which exits with the number of the first check that failed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "confine/confine.h"

#define CHECK(cond)                                                                                                    \
	do {                                                                                                           \
		if (!(cond))                                                                                           \
			return __LINE__ - start;                                                                       \
	} while (0)

/** in_child() - Run fn in a child. Return: its exit status (0: all checks passed), or -1 when a signal ended it. */
static int in_child(int (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(fn());
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/** nothing() - A thread. */
static void *nothing(void *arg)
{
	return arg;
}

/** refused() - Did the last system call fail with EPERM? */
static bool refused(long rc)
{
	return rc < 0 && errno == EPERM;
}

/** filter_child() - The common filter: no sockets, programs, namespaces; files, threads and processes as before. */
static int filter_child(void)
{
	const int start = __LINE__;
	char *const args[] = { (char *)"/bin/true", NULL };
	struct error err = ERROR_INIT;
	pthread_t thread;
	int pair[2], status, fd;
	pid_t pid;

	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	CHECK(confine_deny_dangerous(0, &err) == 0);
	CHECK(refused(socket(AF_INET, SOCK_STREAM, 0)));
	CHECK(refused(socketpair(AF_UNIX, SOCK_STREAM, 0, (int[2]){ 0, 0 })));
	CHECK(refused(execve("/bin/true", args, NULL)));
	CHECK(refused(syscall(SYS_execveat, AT_FDCWD, "/bin/true", args, NULL, 0)));
	CHECK(refused(unshare(CLONE_NEWUSER)));
	CHECK(refused(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)));
	CHECK(syscall(SYS_clone3, NULL, 0) < 0 && errno == ENOSYS);
	CHECK(refused(syscall(SYS_io_uring_setup, 1, NULL)));
	CHECK(refused(syscall(SYS_bpf, 0, NULL, 0)));
	CHECK(refused(ptrace(PTRACE_TRACEME, 0, NULL, NULL)));
	CHECK(refused(syscall(SYS_process_vm_readv, getpid(), NULL, 0, NULL, 0, 0)));
	CHECK(refused(syscall(SYS_keyctl, 0, 0, 0, 0, 0)));
	CHECK(refused(syscall(SYS_mount, "a", "b", "c", 0, NULL)));
	CHECK(refused(syscall(SYS_ioctl, 0, 0x5412, "x")));
	CHECK(refused(syscall(SYS_ioctl, 0, 0xffffffff00005412UL, "x")));
	/* What must still work. */
	CHECK(fd_send_msg(pair[0], "x", 1, &pair[1], 1) == 0);
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK(pthread_create(&thread, NULL, nothing, NULL) == 0 && pthread_join(thread, NULL) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		_exit(7);
	CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7);
	return 0;
}

/** strict_child() - And no files by path, no processes. */
static int strict_child(void)
{
	const int start = __LINE__;
	struct error err = ERROR_INIT;
	pthread_t thread;

	CHECK(confine_deny_dangerous(CONFINE_DENY_OPEN | CONFINE_DENY_FORK, &err) == 0);
	CHECK(refused(open("/dev/null", O_RDWR | O_CLOEXEC)));
	CHECK(refused(unlink("/nonexistent")));
	CHECK(refused(chmod("/nonexistent", 0)));
	CHECK(refused(fork()));
	CHECK(refused(syscall(SYS_vfork)));
	CHECK(refused(socket(AF_UNIX, SOCK_STREAM, 0)));
	CHECK(pthread_create(&thread, NULL, nothing, NULL) == 0 && pthread_join(thread, NULL) == 0);
	CHECK(fd_memfd("still", 4096, false) >= 0);
	return 0;
}

/** client_child() - A network client: TCP and UDP out, nothing else; name resolution's files, no others. */
static int client_child(void)
{
	const int start = __LINE__;
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(1) };
	struct error err = ERROR_INIT;
	int abi = confine_landlock_client(&err), fd, pair[2];
	pthread_t thread;

	CHECK(abi >= 0);
	CHECK(confine_deny_dangerous(CONFINE_DENY_FORK | CONFINE_ALLOW_CLIENT, &err) == 0);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0);
	CHECK(connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno == ECONNREFUSED);
	CHECK(refused(bind(fd, (struct sockaddr *)&to, sizeof(to))));
	CHECK(refused(listen(fd, 1)));
	CHECK(socket(AF_INET6, SOCK_DGRAM, 0) >= 0 || errno == EAFNOSUPPORT);
	CHECK(refused(socket(AF_UNIX, SOCK_STREAM, 0)));
	CHECK(refused(socket(AF_NETLINK, SOCK_RAW, 0)));
	CHECK(refused(socket(AF_PACKET, SOCK_RAW, 0)));
	CHECK(refused(socket(AF_VSOCK, SOCK_STREAM, 0)));
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	CHECK(refused(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair)));
	CHECK(refused(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair)));
	CHECK(refused(fork()));
	CHECK(pthread_create(&thread, NULL, nothing, NULL) == 0 && pthread_join(thread, NULL) == 0);
	if (abi == 0)
		return 0;
	CHECK(open("/etc/hosts", O_RDONLY | O_CLOEXEC) >= 0 || errno == ENOENT);
	CHECK(open("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES);
	CHECK(open("/proc/self/environ", O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES);
	CHECK(open("/tmp/msb-landlock-test", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) < 0 && errno == EACCES);
	return 0;
}

/** filtered_program() - What QEMU may not do; it can still be started. Returns only on failure. */
static int filtered_program(void)
{
	const int start = __LINE__;
	char *const args[] = { (char *)"true", NULL };
	struct error err = ERROR_INIT;
	pthread_t thread;
	int signo = 0;

	CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
	CHECK(confine_filter_program(NULL, &err) == 0);
	CHECK(refused(prctl(PR_SET_PDEATHSIG, 0)));
	CHECK(prctl(PR_GET_PDEATHSIG, &signo) == 0 && signo == SIGKILL);
	CHECK(refused(socket(AF_UNIX, SOCK_DGRAM, 0)));
	CHECK(refused(unshare(CLONE_NEWUSER)));
	CHECK(refused(fork()));
	CHECK(pthread_create(&thread, NULL, nothing, NULL) == 0 && pthread_join(thread, NULL) == 0);
	CHECK(open("/dev/null", O_RDWR | O_CLOEXEC) >= 0);
	execv("/bin/true", args);
	return 255;
}

/** brokered_program() - What becomes of the sockets of a program whose parent connects them. @joint: to the parent */
static int brokered_program(int joint)
{
	const int start = __LINE__;
	struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = "/run/dbus/system_bus_socket" };
	struct error err = ERROR_INIT;
	int broker = -1, fd;
	char byte = 0;

	CHECK(confine_filter_program(&broker, &err) == 0 && broker >= 0);
	CHECK(fd_send_msg(joint, "", 1, &broker, 1) == 0);
	close(broker);
	CHECK(refused(socket(AF_INET, SOCK_STREAM, 0)));
	CHECK(refused(socket(AF_UNIX, SOCK_DGRAM, 0)));
	CHECK(refused(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)));
	CHECK(refused(socket(AF_NETLINK, SOCK_RAW, 0)));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0);
	CHECK(refused(bind(fd, (struct sockaddr *)&to, sizeof(to))));
	CHECK(connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
	CHECK(read(fd, &byte, 1) == 1 && byte == '!');
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0);
	CHECK(errno == ENOSYS);
	return 0;
}

static void on_alarm(int number)
{
	(void)number;
}

/** interrupted_program() - Its connect() begins anew every 50 us, until it is answered quickly enough. */
static int interrupted_program(int joint)
{
	const int start = __LINE__;
	struct itimerval often = { { .tv_usec = 50 }, { .tv_usec = 50 } }, never = { { .tv_sec = 0 } };
	struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = "/x" };
	int broker = -1, fd;
	char byte = 0;

	sigaction(SIGALRM, &(struct sigaction){ .sa_handler = on_alarm, .sa_flags = SA_RESTART }, NULL);
	CHECK(confine_filter_program(&broker, NULL) == 0);
	CHECK(fd_send_msg(joint, "", 1, &broker, 1) == 0);
	close(broker);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	CHECK(connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
	CHECK(read(fd, &byte, 1) == 1 && byte == '!');
	return 0;
}

/** other_abi_child() - Calls by x32 numbers are no way around. */
static int other_abi_child(void)
{
	struct error err = ERROR_INIT;

	if (confine_deny_dangerous(0, &err) == 0)
		syscall(0x40000000 | SYS_getpid);
	return 1;
}

/** landlock_child() - No file by path; open descriptors go on working. */
static int landlock_child(void)
{
	const int start = __LINE__;
	struct error err = ERROR_INIT;
	int before = open("/usr", O_RDONLY | O_DIRECTORY | O_CLOEXEC), mem = fd_memfd("m", 1, false), abi;
	char path[32];

	CHECK(before >= 0 && mem >= 0);
	abi = confine_landlock_none(&err);
	CHECK(abi >= 0);
	if (abi == 0)
		return 0;
	CHECK(open("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES);
	CHECK(openat(before, "bin", O_RDONLY | O_DIRECTORY | O_CLOEXEC) < 0 && errno == EACCES);
	CHECK(mkdir("/tmp/msb-landlock-test", 0700) < 0 && errno == EACCES);
	CHECK(fd_pwrite_full(mem, "x", 1, 0) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", mem);
	CHECK(open(path, O_RDONLY | O_CLOEXEC) >= 0); /* anonymous files are not file system access */
	return 0;
}

/** program_child() - In the child of confine_fork(): what a program would find. */
static int program_child(bool in_user_ns, bool root)
{
	const int start = __LINE__;
	struct error err = ERROR_INIT;
	struct confine_report report;

	CHECK(confine_program(in_user_ns, NULL, 0, &report, &err) == 0);
	CHECK(report.rungs & CONFINE_NO_NEW_PRIVS);
	if (root && !in_user_ns) {
		CHECK(report.rungs & CONFINE_IDENTITY);
		CHECK(getuid() == CONFINE_UID && geteuid() == CONFINE_UID && getgid() == CONFINE_UID);
		CHECK(setuid(0) < 0);
		CHECK(getgroups(0, NULL) == 0);
	}
	if (report.rungs & CONFINE_NAMESPACES)
		CHECK(getpid() == 1);
	if (report.rungs & CONFINE_EMPTY_ROOT) {
		CHECK(open("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0);
		CHECK(access("/home", F_OK) < 0 && access("/tmp", F_OK) < 0);
		CHECK(access("/usr/bin", X_OK) == 0 && access("/bin/sh", X_OK) == 0);
		CHECK(open("/usr/msb-test", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) < 0);
		CHECK(mkdir("/msb-test", 0700) < 0);
	}
	if (report.rungs & CONFINE_LANDLOCK)
		CHECK(open("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0);
	return 0;
}

/** run_program() - confine_fork() and program_child(). */
static int run_program(void)
{
	bool in_user_ns, root = geteuid() == 0;
	pid_t pid = confine_fork(&in_user_ns);
	int status;

	if (pid == 0)
		_exit(program_child(in_user_ns, root));
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return 255;
	return WEXITSTATUS(status);
}

/** run_program_as_user() - The same from an ordinary user. */
static int run_program_as_user(void)
{
	struct error err = ERROR_INIT;

	/* A change of identity hides /proc/self from its new owner until the process is made dumpable again. */
	if (confine_drop_privileges(&err) < 0 || prctl(PR_SET_DUMPABLE, 1) < 0)
		return 254;
	return run_program();
}

/** lifeline_child() - A grandchild dies with this child. */
static int lifeline_child(void)
{
	const int start = __LINE__;
	struct error err = ERROR_INIT;
	int death[2], ready[2], go[2], life[2];
	pid_t middle;
	char byte;

	CHECK(pipe2(death, O_CLOEXEC) == 0 && pipe2(ready, O_CLOEXEC) == 0 && pipe2(go, O_CLOEXEC) == 0);
	middle = fork();
	CHECK(middle >= 0);
	if (middle == 0) {
		if (pipe2(life, O_CLOEXEC) < 0)
			_exit(1);
		if (fork() == 0) {
			close(death[0]);
			close(go[1]);
			close(life[1]);
			if (confine_die_with(life[0], &err) < 0 || write(ready[1], "r", 1) != 1)
				_exit(1);
			pause();
			_exit(0);
		}
		close(death[1]);
		close(go[1]);
		_exit(read(go[0], &byte, 1) < 0);
	}
	close(death[1]);
	CHECK(read(ready[0], &byte, 1) == 1);
	CHECK(kill(middle, SIGKILL) == 0);
	alarm(5); /* a hang is a failure */
	CHECK(read(death[0], &byte, 1) == 0);
	return 0;
}

/** capabilities_child() - Root without capabilities may do nothing that only root may. */
static int capabilities_child(void)
{
	const int start = __LINE__;
	struct error err = ERROR_INIT;
	char status[4096] = "";
	_cleanup_fd_ int fd = -1;

	CHECK(confine_drop_capabilities(&err) == 0);
	CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	CHECK(sethostname("x", 1) < 0 && errno == EPERM);
	fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && read(fd, status, sizeof(status) - 1) > 0);
	CHECK(strstr(status, "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n") != NULL);
	return 0;
}

/** fds_child() - Only the kept ones stay. */
static int fds_child(void)
{
	const int start = __LINE__;
	int a = dup(0), b = dup(0), c = dup(0), keep[] = { -1, 2, c, 0, 1, a };

	CHECK(a >= 0 && b >= 0 && c >= 0);
	fd_close_except(keep, ARRAY_LEN(keep));
	CHECK(fcntl(a, F_GETFD) >= 0 && fcntl(c, F_GETFD) >= 0 && fcntl(0, F_GETFD) >= 0);
	CHECK(fcntl(b, F_GETFD) < 0);
	return 0;
}

/** old_fds_child() - The same where close_range() is refused. */
static int old_fds_child(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close_range, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = ARRAY_LEN(code), .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		return 255;
	return fds_child();
}

static void test_filter(void **state)
{
	(void)state;
	assert_int_equal(in_child(filter_child), 0);
}

static void test_filter_strict(void **state)
{
	(void)state;
	assert_int_equal(in_child(strict_child), 0);
}

static void test_client(void **state)
{
	(void)state;
	assert_int_equal(in_child(client_child), 0);
}

static void test_filter_program(void **state)
{
	(void)state;
	assert_int_equal(in_child(filtered_program), 0);
}

/** heard_broker() - What brokered_program() sends. */
static int heard_broker(int joint)
{
	int fds[FD_PASS_MAX];
	size_t count = 0;
	char byte;

	assert_int_equal(fd_recv_msg(joint, &byte, 1, fds, &count), 1);
	assert_int_equal(count, 1);
	return fds[0];
}

static void test_brokered_connect(void **state)
{
	struct error err = ERROR_INIT;
	int joint[2], pair[2], status, pidfd;
	pid_t pid;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, joint), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(write(pair[0], "!", 1), 1);
	pid = fork();
	if (pid == 0)
		_exit(brokered_program(joint[1]));
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	assert_true(pidfd >= 0);
	assert_int_equal(confine_answer_connect(heard_broker(joint[0]), pair[1], pidfd, &err), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(pidfd);
	/* one that signals interrupt */
	for (int i = 0; i < 20; i++) {
		assert_int_equal(write(pair[0], "!", 1), 1);
		pid = fork();
		if (pid == 0)
			_exit(interrupted_program(joint[1]));
		pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
		assert_int_equal(confine_answer_connect(heard_broker(joint[0]), pair[1], pidfd, &err), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		close(pidfd);
	}
	/* a program that ends instead */
	pid = fork();
	if (pid == 0) {
		int broker;

		confine_filter_program(&broker, NULL);
		fd_send_msg(joint[1], "", 1, &broker, 1);
		_exit(0);
	}
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	assert_int_equal(confine_answer_connect(heard_broker(joint[0]), pair[1], pidfd, &err), -ERR_CLOSED);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(pidfd);
	close(joint[0]);
	close(joint[1]);
	close(pair[0]);
	close(pair[1]);
}

static void test_filter_other_abi(void **state)
{
	(void)state;
	assert_int_equal(in_child(other_abi_child), -1);
}

static void test_landlock(void **state)
{
	(void)state;
	assert_int_equal(in_child(landlock_child), 0);
}

static void test_program(void **state)
{
	(void)state;
	assert_int_equal(in_child(run_program), 0);
}

static void test_program_as_user(void **state)
{
	(void)state;
	assert_int_equal(in_child(run_program_as_user), 0);
}

static void test_die_with(void **state)
{
	struct error err = ERROR_INIT;
	int life[2];

	(void)state;
	assert_int_equal(in_child(lifeline_child), 0);
	assert_int_equal(pipe(life), 0);
	close(life[1]);
	assert_int_equal(confine_die_with(life[0], &err), -ERR_CLOSED);
	close(life[0]);
}

static void test_capabilities(void **state)
{
	(void)state;
	assert_int_equal(in_child(capabilities_child), 0);
}

static void test_close_fds(void **state)
{
	(void)state;
	assert_int_equal(in_child(fds_child), 0);
	assert_int_equal(in_child(old_fds_child), 0);
}

static void test_probe(void **state)
{
	struct confine_report report;

	(void)state;
	confine_probe(&report);
	assert_true(report.rungs & CONFINE_NO_NEW_PRIVS);
	assert_true(report.rungs & CONFINE_SECCOMP);
	assert_int_equal(!!(report.rungs & CONFINE_LANDLOCK), report.landlock_abi > 0);
	print_message("# rungs 0x%x, Landlock ABI %d %s\n", report.rungs, report.landlock_abi, report.note);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_filter),	    cmocka_unit_test(test_filter_strict),
		cmocka_unit_test(test_filter_other_abi), cmocka_unit_test(test_landlock),
		cmocka_unit_test(test_program),	    cmocka_unit_test(test_program_as_user),
		cmocka_unit_test(test_client),	    cmocka_unit_test(test_die_with),    cmocka_unit_test(test_close_fds),
		cmocka_unit_test(test_probe),	    cmocka_unit_test(test_filter_program),
		cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_brokered_connect),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
