/* SPDX-License-Identifier: Apache-2.0 */
/* Starting and ending QEMU, without a guest: other programs stand in for it; their arguments do not matter to them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "confine/confine.h"
#include "hypervisor/hypervisor.h"

/** config() - A machine whose files are empty. */
static struct monitor_config config(const char *program)
{
	struct monitor_config cfg = {
		.kind = HYPERVISOR_QEMU,
		.cpus = 1,
		.memory_bytes = MIB(64),
		.kernel_fd = fd_memfd("kernel", 4096, false),
		.initrd_fd = fd_memfd("initrd", 4096, false),
		.console_fd = open("/dev/null", O_WRONLY | O_CLOEXEC),
		.qemu_path = program,
	};

	assert_true(cfg.kernel_fd >= 0 && cfg.initrd_fd >= 0 && cfg.console_fd >= 0);
	return cfg;
}

/** config_close() - Undo config(). */
static void config_close(struct monitor_config *cfg)
{
	fd_close(&cfg->kernel_fd);
	fd_close(&cfg->initrd_fd);
	fd_close(&cfg->console_fd);
}

/** count_fds() - Open descriptors of this process below 256. */
static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/** wait_end() - Until the process ended; fails after 10 s. */
static void wait_end(const struct qemu *q)
{
	struct pollfd p = { .fd = qemu_pidfd(q), .events = POLLIN };

	assert_int_equal(poll(&p, 1, 10000), 1);
}

static void test_command_line(void **state)
{
	struct monitor_config cfg = { .kind = HYPERVISOR_QEMU };
	char line[512], again[512], *at;
	double khz;

	(void)state;
	kernel_command_line(&cfg, line, sizeof(line));
	assert_non_null(strstr(line, "console=hvc0"));
	assert_null(strstr(line, "ttyS0"));
	assert_non_null(strstr(line, "panic=-1"));
	at = strstr(line, "tsc_early_khz=");
	assert_non_null(at);
	khz = strtod(at + strlen("tsc_early_khz="), NULL);
	assert_true(khz > 100e3 && khz < 20e6);
	kernel_command_line(&cfg, again, sizeof(again));
	assert_string_equal(line, again);
	cfg.early_console = true;
	kernel_command_line(&cfg, line, sizeof(line));
	assert_non_null(strstr(line, "earlyprintk=ttyS0"));
	cfg.kind = HYPERVISOR_KVM;
	kernel_command_line(&cfg, line, sizeof(line));
	assert_null(strstr(line, "tsc_early_khz"));
}

static void test_ends_well(void **state)
{
	struct monitor_config cfg = config("/usr/bin/true");
	struct error err = ERROR_INIT;
	struct vm_end end;
	struct qemu *q;
	int pair[2], before = count_fds(), n;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	q = qemu_start(&cfg, &(struct qemu_device){ .id = VIRTIO_ID_BLK, .sock = pair[1] }, 1, &err);
	assert_non_null(q);
	wait_end(q);
	assert_int_equal(qemu_finish(q, &end, &err), 0);
	assert_int_equal(end.how, VM_END_OFF);
	/* The device's end went to the child and nowhere else. */
	n = (int)read(pair[0], &(char){ 0 }, 1);
	assert_int_equal(n, 0);
	close(pair[0]);
	assert_int_equal(count_fds(), before);
	config_close(&cfg);
}

static void test_fails(void **state)
{
	struct monitor_config cfg = config("/usr/bin/expr"); /* does not know -M: status 2 and a complaint */
	struct error err = ERROR_INIT;
	struct vm_end end;
	struct qemu *q = qemu_start(&cfg, NULL, 0, &err);

	(void)state;
	assert_non_null(q);
	wait_end(q);
	assert_int_equal(qemu_finish(q, &end, &err), -ERR_SYSTEM);
	assert_non_null(strstr(err.text, "status 2"));
	assert_non_null(strstr(err.text, "syntax error"));
	config_close(&cfg);
}

static void test_stopped(void **state)
{
	struct monitor_config cfg = config("/usr/bin/qemu-system-x86_64");
	struct error err = ERROR_INIT;
	struct vm_end end;
	struct qemu *q;

	(void)state;
	if (access(cfg.qemu_path, X_OK) < 0) {
		config_close(&cfg);
		skip();
	}
	q = qemu_start(&cfg, NULL, 0, &err);
	assert_non_null(q);
	/* Held before it gets as far as to complain about its kernel. */
	assert_int_equal(syscall(SYS_pidfd_send_signal, qemu_pidfd(q), SIGSTOP, NULL, 0), 0);
	assert_int_equal(qemu_finish(q, &end, &err), 0);
	assert_int_equal(end.how, VM_END_STOPPED);
	config_close(&cfg);
}

static void test_missing(void **state)
{
	struct monitor_config cfg = config("/usr/bin/no-such-qemu");
	struct error err = ERROR_INIT;
	int pair[2], before = count_fds();

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_null(qemu_start(&cfg, &(struct qemu_device){ .id = VIRTIO_ID_RNG, .sock = pair[1] }, 1, &err));
	assert_int_equal(err.code, ERR_UNSUPPORTED);
	assert_non_null(strstr(err.text, "/usr/bin/no-such-qemu"));
	close(pair[0]);
	assert_int_equal(count_fds(), before);
	assert_true(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD); /* reaped */
	config_close(&cfg);
}

static void test_refuses_device(void **state)
{
	struct monitor_config cfg = config("/usr/bin/true");
	struct error err = ERROR_INIT;
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_null(qemu_start(&cfg, &(struct qemu_device){ .id = VIRTIO_ID_CONSOLE, .sock = pair[1] }, 1, &err));
	assert_int_equal(err.code, ERR_INTERNAL);
	close(pair[0]);
	config_close(&cfg);
}

/** without_landlock() - As an ordinary user of a kernel that has none: may QEMU write to the file of the guest kernel? */
static int without_landlock(const char *path)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_landlock_create_ruleset, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = ARRAY_LEN(code), .filter = code };
	struct monitor_config cfg = config("/usr/bin/qemu-system-x86_64");
	struct error err = ERROR_INIT;
	char link[64], target[256];
	struct vm_end end;
	struct qemu *q;
	bool shared = false;
	pid_t pid = 0;

	fd_close(&cfg.kernel_fd);
	cfg.kernel_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (cfg.kernel_fd < 0 || confine_drop_privileges(&err) < 0 || prctl(PR_SET_DUMPABLE, 1) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		return 2;
	q = qemu_start(&cfg, NULL, 0, &err);
	if (!q || syscall(SYS_pidfd_send_signal, qemu_pidfd(q), SIGSTOP, NULL, 0) < 0)
		return 3;
	snprintf(link, sizeof(link), "/proc/self/task/%d/children", (int)getpid());
	if (fd_pread_full(open(link, O_RDONLY), target, 32, 0) > 0)
		pid = (pid_t)strtol(target, NULL, 10);
	for (int fd = 0; pid > 0 && fd < 64; fd++) {
		ssize_t n;

		snprintf(link, sizeof(link), "/proc/%d/fd/%d", (int)pid, fd);
		n = readlink(link, target, sizeof(target) - 1);
		shared |= n > 0 && strncmp(target, path, (size_t)n) == 0;
	}
	return qemu_finish(q, &end, &err) == 0 && pid > 0 ? shared : 4;
}

static void test_kernel_is_not_shared(void **state)
{
	char path[] = "/tmp/msb-test-kernel.XXXXXX";
	int fd = mkstemp(path), status;
	pid_t pid;

	(void)state;
	assert_true(fd >= 0);
	if (geteuid() == 0)
		assert_int_equal(fchown(fd, CONFINE_UID, CONFINE_UID), 0);
	close(fd);
	if (access("/usr/bin/qemu-system-x86_64", X_OK) < 0) {
		unlink(path);
		skip();
	}
	pid = fork();
	if (pid == 0)
		_exit(without_landlock(path));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	unlink(path);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_command_line), cmocka_unit_test(test_ends_well), cmocka_unit_test(test_fails),
		cmocka_unit_test(test_stopped),	     cmocka_unit_test(test_missing),   cmocka_unit_test(test_refuses_device),
		cmocka_unit_test(test_kernel_is_not_shared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
