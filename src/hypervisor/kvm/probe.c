/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. That /dev/kvm opens says little: on some hosts (nested ones above all) guest ring 0 is
 * interpreted, slowly, and dies on the first unusual instruction. So a child process makes a throw-away machine, runs
 * a few loops in 64-bit ring 0, takes a breakpoint through an IDT, restores the FPU state with XRSTOR, and reports by
 * its exit status; the parent kills it after PROBE_LIMIT_MS. The verdict of a run that ended is remembered per boot,
 * user and device number. A device that is missing or may not be opened is looked at afresh every time, because the
 * user will mend exactly that.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/kvm.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "hypervisor/hypervisor.h"
#include "hypervisor/kvm/cpu.h"
#include "hypervisor/kvm/layout.h"

#define KVM_PATH "/dev/kvm"
#define CACHE_NAME "kvm-probe"
#define CACHE_VERSION "msb-kvm-probe 1"
#define CACHE_MAX 1024

#define PROBE_LIMIT_MS 2000
#define PROBE_MEMORY 0x10000
#define PROBE_GDT 0x1000
#define PROBE_IDT 0x2000
#define PROBE_TABLES 0x3000
#define PROBE_CODE 0x8000
#define PROBE_HANDLER 0x9000
#define PROBE_XSAVE 0xa000
#define PROBE_STACK 0xf000
#define PROBE_PORT_LAP 0xf1
#define PROBE_PORT_END 0xf2
#define PROBE_LAPS 4
/* 20,000 instructions take 10 us on hardware, 0.3 ms in a nested emulation, 10 ms where ring 0 is interpreted. */
#define PROBE_LAP_LIMIT_NS (4 * NSEC_PER_MSEC)
#define PROBE_EXITS_MAX 64

#define CR4_OSFXSR 0x200ULL
#define CR4_OSXSAVE 0x40000ULL
#define LEAF1_ECX_XSAVE (1U << 26)

/** How the child's run ended; its exit status. */
enum probe_result {
	PROBE_OK,
	PROBE_SET_UP,	 /* an ioctl failed; the text says which */
	PROBE_SLOW,	 /* ran, but as slowly as an interpreter */
	PROBE_NO_BREAK,	 /* loops ran, breakpoint or XRSTOR did not */
	PROBE_NOT_AT_ALL, /* not even the loops */
	PROBE_HANG,	 /* killed by the watchdog */
	PROBE_COUNT
};

/* mov $10000,%ecx; 1: dec %ecx; jnz 1b; out %al,$0xf1 - four times; then int3, fxsave, xrstor, out %al,$0xf2; hlt */
#define LAP 0xb9, 0x10, 0x27, 0x00, 0x00, 0xff, 0xc9, 0x75, 0xfc, 0xe6, PROBE_PORT_LAP
static const uint8_t probe_code[] = {
	LAP, LAP, LAP, LAP,
	0x45, 0x31, 0xc0,		/* xor %r8d,%r8d */
	0xcc,				/* int3: the handler sets bit 0 of r8 */
	0xbb, 0x00, 0xa0, 0x00, 0x00,	/* mov $PROBE_XSAVE,%ebx */
	0x0f, 0xae, 0x03,		/* fxsave (%rbx) */
	0x0f, 0xae, 0x0b,		/* fxrstor (%rbx) */
	0x31, 0xd2,			/* xor %edx,%edx */
	0xb8, 0x03, 0x00, 0x00, 0x00,	/* mov $3,%eax */
	0x0f, 0xae, 0x2b,		/* xrstor (%rbx); overwritten by nops where the host has no XSAVE */
	0x44, 0x88, 0xc0,		/* mov %r8b,%al */
	0xe6, PROBE_PORT_END,		/* out %al,$PROBE_PORT_END */
	0xf4,				/* hlt */
};
#define PROBE_XRSTOR_AT (sizeof(probe_code) - 9)
static const uint8_t probe_handler[] = { 0x49, 0x83, 0xc8, 0x01, 0x48, 0xcf }; /* or $1,%r8; iretq */

/** permission_hint() - Whom to ask for access to the device. The files are read as they are: msb is static, and other
 * sources of names would be loaded. */
static void permission_hint(struct error *err)
{
	FILE *groups = fopen("/etc/group", "re"), *users = fopen("/etc/passwd", "re");
	const struct group *group = NULL;
	const struct passwd *user = NULL;
	struct stat st;

	if (stat(KVM_PATH, &st) < 0)
		st = (struct stat){ .st_gid = 0 };
	while (groups && (group = fgetgrent(groups)) && group->gr_gid != st.st_gid)
		;
	while (users && (user = fgetpwent(users)) && user->pw_uid != geteuid())
		;
	if ((st.st_mode & S_IWGRP) && st.st_gid != 0)
		err_hint(err, "join the group that may use it: sudo usermod -aG %s %s, then log in again",
			 group ? group->gr_name : "kvm", user ? user->pw_name : "$USER");
	else
		err_hint(err, "only root may use it here; as root: chgrp kvm /dev/kvm && chmod 660 /dev/kvm, "
			      "and add %s to the group kvm", user ? user->pw_name : "the user");
	if (groups)
		fclose(groups);
	if (users)
		fclose(users);
}

int kvm_open(struct error *err)
{
	int fd = open(KVM_PATH, O_RDWR | O_CLOEXEC);
	int e = errno;
	int version;

	if (fd < 0 && (e == EACCES || e == EPERM)) {
		err_set(err, ERR_PERMISSION, e, "open %s", KVM_PATH);
		if (err)
			permission_hint(err);
		return -ERR_PERMISSION;
	}
	if (fd < 0 && (e == ENOENT || e == ENODEV || e == ENXIO)) {
		err_set(err, ERR_UNSUPPORTED, 0, "this machine has no %s", KVM_PATH);
		return err_hint(err, "switch virtualisation on in the firmware (or in the outer hypervisor) and load "
				     "kvm_intel or kvm_amd");
	}
	if (fd < 0)
		return err_set(err, ERR_SYSTEM, e, "open %s", KVM_PATH);
	version = ioctl(fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION) {
		fd_close(&fd);
		return err_set(err, ERR_UNSUPPORTED, 0, "%s has API version %d, not %d", KVM_PATH, version,
			       KVM_API_VERSION);
	}
	return fd;
}

/** probe_memory() - Memory of the throw-away machine: tables, IDT with one gate for vector 3, code. */
static uint8_t *probe_memory(int vm, bool xsave, struct error *err)
{
	uint8_t *mem = mmap(NULL, PROBE_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region slot = { .memory_size = PROBE_MEMORY };
	uint64_t gdt[4];
	/* Interrupt gate, present, ring 0: offset and selector 0x10. Source: Intel SDM 3, 6.14.1. */
	const uint64_t gate = (PROBE_HANDLER & 0xffffULL) | 0x10ULL << 16 | 0x8eULL << 40;

	if (mem == MAP_FAILED) {
		err_set(err, ERR_NO_MEMORY, errno, "memory of the probe");
		return NULL;
	}
	cpu_write_gdt(gdt);
	memcpy(mem + PROBE_GDT, gdt, sizeof(gdt));
	memcpy(mem + PROBE_IDT + 3 * 16, &gate, sizeof(gate));
	cpu_identity_map((uint64_t *)(void *)(mem + PROBE_TABLES), PROBE_TABLES);
	memcpy(mem + PROBE_CODE, probe_code, sizeof(probe_code));
	if (!xsave)
		memset(mem + PROBE_CODE + PROBE_XRSTOR_AT, 0x90, 3);
	memcpy(mem + PROBE_HANDLER, probe_handler, sizeof(probe_handler));
	slot.userspace_addr = (uint64_t)(uintptr_t)mem;
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0) {
		err_set(err, ERR_SYSTEM, errno, "KVM_SET_USER_MEMORY_REGION");
		return NULL;
	}
	return mem;
}

/** probe_vcpu() - Make the one processor, about to run the code. Return: its fd or negative code. */
static int probe_vcpu(int kvm, int vm, struct error *err)
{
	static struct cpuid_table cpuid;
	struct kvm_regs regs = { .rip = PROBE_CODE, .rsp = PROBE_STACK, .rflags = 2 };
	struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs = { { .xcr = 0, .value = 3 } } };
	const struct kvm_cpuid_entry2 *leaf1;
	bool xsave;
	int vcpu;

	if (cpu_supported_cpuid(kvm, &cpuid, err) < 0)
		return -(int)err->code;
	leaf1 = cpuid_find(&cpuid, 1, 0);
	xsave = leaf1 && (leaf1->ecx & LEAF1_ECX_XSAVE);
	if (!probe_memory(vm, xsave, err))
		return -(int)err->code;
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0)
		return err_set(err, ERR_SYSTEM, errno, "KVM_CREATE_VCPU");
	if (ioctl(vcpu, KVM_SET_CPUID2, &cpuid.head) < 0)
		return err_set(err, ERR_SYSTEM, errno, "KVM_SET_CPUID2");
	if (cpu_long_mode(vcpu, PROBE_TABLES, PROBE_GDT, PROBE_IDT, CR4_OSFXSR | (xsave ? CR4_OSXSAVE : 0), err) < 0)
		return -(int)err->code;
	if (xsave && ioctl(vcpu, KVM_SET_XCRS, &xcrs) < 0)
		return err_set(err, ERR_SYSTEM, errno, "KVM_SET_XCRS");
	if (ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
		return err_set(err, ERR_SYSTEM, errno, "KVM_SET_REGS");
	return vcpu;
}

/** probe_loop() - Run to the end. Return: the verdict; *slow_ns gets the time of the fastest lap. */
static enum probe_result probe_loop(int vcpu, struct kvm_run *run, int64_t *lap_ns, uint32_t *exit_reason)
{
	int64_t before = clock_monotonic_ns();
	unsigned int laps = 0;

	*lap_ns = INT64_MAX;
	for (unsigned int i = 0; i < PROBE_EXITS_MAX; i++) {
		int64_t now;

		if (ioctl(vcpu, KVM_RUN, 0) < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			*exit_reason = 0;
			break;
		}
		now = clock_monotonic_ns();
		*exit_reason = run->exit_reason;
		if (run->exit_reason != KVM_EXIT_IO || run->io.direction != KVM_EXIT_IO_OUT)
			break;
		if (run->io.port == PROBE_PORT_LAP) {
			*lap_ns = MIN(*lap_ns, now - before);
			before = now;
			laps++;
		} else if (run->io.port == PROBE_PORT_END) {
			uint8_t bits = *((uint8_t *)run + run->io.data_offset);

			if (laps != PROBE_LAPS || bits != 1)
				return PROBE_NO_BREAK;
			return *lap_ns > PROBE_LAP_LIMIT_NS ? PROBE_SLOW : PROBE_OK;
		}
	}
	return laps == PROBE_LAPS ? PROBE_NO_BREAK : PROBE_NOT_AT_ALL;
}

/** probe_child() - Everything the child does. @text: what went wrong, for people. */
static enum probe_result probe_child(int kvm, char *text, size_t size)
{
	static const struct { int cap; const char *name; } needed[] = {
		{ KVM_CAP_IRQCHIP, "IRQCHIP" }, { KVM_CAP_USER_MEMORY, "USER_MEMORY" },
		{ KVM_CAP_IOEVENTFD, "IOEVENTFD" }, { KVM_CAP_IRQFD, "IRQFD" },
		{ KVM_CAP_READONLY_MEM, "READONLY_MEM" }, { KVM_CAP_IMMEDIATE_EXIT, "IMMEDIATE_EXIT" },
		{ KVM_CAP_SET_TSS_ADDR, "SET_TSS_ADDR" }, { KVM_CAP_EXT_CPUID, "EXT_CPUID" },
	};
	struct error err = ERROR_INIT;
	enum probe_result result;
	struct kvm_run *run;
	uint32_t reason = 0;
	int64_t lap_ns;
	int vm;
	int vcpu;
	int run_size;

	for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
		if (ioctl(kvm, KVM_CHECK_EXTENSION, needed[i].cap) <= 0) {
			snprintf(text, size, "KVM here has no %s", needed[i].name);
			return PROBE_SET_UP;
		}
	}
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0) {
		snprintf(text, size, "KVM_CREATE_VM: %s", strerror(errno));
		return PROBE_SET_UP;
	}
	ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &(uint64_t){ LAYOUT_IDENTITY_MAP });
	ioctl(vm, KVM_SET_TSS_ADDR, LAYOUT_TSS);
	vcpu = probe_vcpu(kvm, vm, &err);
	if (vcpu < 0) {
		snprintf(text, size, "%s", err.text);
		return PROBE_SET_UP;
	}
	run_size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	run = run_size < (int)sizeof(*run) ? MAP_FAILED :
		mmap(NULL, (size_t)run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED) {
		snprintf(text, size, "map the vCPU: %s", strerror(errno));
		return PROBE_SET_UP;
	}
	result = probe_loop(vcpu, run, &lap_ns, &reason);
	if (result == PROBE_SLOW)
		snprintf(text, size, "KVM runs here, but interprets the guest kernel: %lld ns per instruction",
			 (long long)(lap_ns / 20000));
	else if (result == PROBE_NO_BREAK)
		snprintf(text, size, "KVM runs simple code here, but not what a kernel needs (KVM exit %u%s)", reason,
			 reason == KVM_EXIT_INTERNAL_ERROR ? ", internal error" : "");
	else if (result == PROBE_NOT_AT_ALL)
		snprintf(text, size, "KVM does not run 64-bit guest code here (KVM exit %u)", reason);
	return result;
}

/** probe_run() - Fork the child and wait for it, at most PROBE_LIMIT_MS. @text: filled unless PROBE_OK. */
static enum probe_result probe_run(int kvm, char *text, size_t size)
{
	int64_t deadline = clock_monotonic_ns() + PROBE_LIMIT_MS * NSEC_PER_MSEC;
	enum probe_result result = PROBE_HANG;
	pid_t parent = getpid();
	int ends[2];
	int status = 0;
	ssize_t n = -1;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0) {
		snprintf(text, size, "pipe: %s", strerror(errno));
		return PROBE_HANG;
	}
	pid = fork();
	if (pid == 0) {
		char said[160] = "";

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(PROBE_HANG);
		result = probe_child(kvm, said, sizeof(said));
		if (fd_write_full(ends[1], said, sizeof(said)) < 0)
			_exit(PROBE_HANG);
		_exit((int)result);
	}
	fd_close(&ends[1]);
	if (pid < 0) {
		snprintf(text, size, "fork: %s", strerror(errno));
		fd_close(&ends[0]);
		return PROBE_HANG;
	}
	for (;;) {
		struct pollfd p = { .fd = ends[0], .events = POLLIN };
		int64_t left_ns = deadline - clock_monotonic_ns();
		int rc = left_ns <= 0 ? 0 : poll(&p, 1, (int)(left_ns / NSEC_PER_MSEC) + 1);

		if (rc < 0 && errno == EINTR)
			continue;
		if (rc > 0) {
			char said[160];

			n = fd_read_full(ends[0], said, sizeof(said));
			if (n == sizeof(said)) {
				said[sizeof(said) - 1] = '\0';
				snprintf(text, size, "%s", said);
			}
		}
		break;
	}
	if (n != 160)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	fd_close(&ends[0]);
	if (n == 160 && WIFEXITED(status) && WEXITSTATUS(status) < PROBE_COUNT)
		return (enum probe_result)WEXITSTATUS(status);
	snprintf(text, size, n < 0 ? "the KVM trial run did not end within %d ms" : "the KVM trial run died (%d)",
		 n < 0 ? PROBE_LIMIT_MS : status);
	return PROBE_HANG;
}

/** cache_key() - First line of the cache file: boot id, user and device number. Return: false when unknown. */
static bool cache_key(int kvm, char *key, size_t size)
{
	char boot_id[40] = "";
	struct stat st;
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : fd_read_full(fd, boot_id, sizeof(boot_id) - 1);

	fd_close(&fd);
	if (n < 36 || fstat(kvm, &st) < 0)
		return false;
	boot_id[36] = '\0';
	snprintf(key, size, CACHE_VERSION " boot=%s uid=%u rdev=%u:%u", boot_id, (unsigned int)geteuid(),
		 major(st.st_rdev), minor(st.st_rdev));
	return true;
}

/** cache_read() - Take the remembered verdict. Return: false when there is none for this key. */
static bool cache_read(int dirfd, const char *key, struct kvm_probe *out)
{
	struct buf text = BUF_INIT(CACHE_MAX);
	struct error ignored = ERROR_INIT;
	bool found = false;
	const char *s;

	if (file_read(dirfd, CACHE_NAME, CACHE_MAX, &text, &ignored) == 0 && (s = buf_cstr(&text)) &&
	    strlen(s) == text.len && strncmp(s, key, strlen(key)) == 0 && s[strlen(key)] == '\n') {
		const char *verdict = s + strlen(key) + 1;

		found = true;
		if (strcmp(verdict, "usable\n") == 0)
			out->usable = true;
		else if (strncmp(verdict, "unusable ", 9) == 0)
			snprintf(out->reason, sizeof(out->reason), "%.*s", (int)strcspn(verdict + 9, "\n"),
				 verdict + 9);
		else
			found = false;
	}
	out->cached = found;
	buf_free(&text);
	return found;
}

/** cache_write() - Remember the verdict; that it cannot be written is no failure. */
static void cache_write(int dirfd, const char *key, const struct kvm_probe *probe)
{
	struct buf text = BUF_INIT(CACHE_MAX);
	struct error ignored = ERROR_INIT;

	if (probe->usable)
		buf_printf(&text, "%s\nusable\n", key);
	else
		buf_printf(&text, "%s\nunusable %s\n", key, probe->reason);
	if (!text.failed)
		file_write_atomic(dirfd, CACHE_NAME, text.data, text.len, 0600, &ignored);
	buf_free(&text);
}

void kvm_probe(int cache_dirfd, struct kvm_probe *out)
{
	static const char not_here[] = "sandboxes run on emulation (QEMU) instead; for full speed use a host with "
				       "hardware virtualisation or nested virtualisation";
	struct error err = ERROR_INIT;
	_cleanup_fd_ int kvm = kvm_open(&err);
	enum probe_result result;
	char key[160];
	bool have_key;

	memset(out, 0, sizeof(*out));
	if (kvm < 0) {
		snprintf(out->reason, sizeof(out->reason), "%s", err.text);
		snprintf(out->hint, sizeof(out->hint), "%s", err.hint);
		return;
	}
	have_key = cache_key(kvm, key, sizeof(key));
	if (have_key && cache_dirfd >= 0 && cache_read(cache_dirfd, key, out)) {
		if (!out->usable)
			snprintf(out->hint, sizeof(out->hint), "%s", not_here);
		return;
	}
	result = probe_run(kvm, out->reason, sizeof(out->reason));
	out->usable = result == PROBE_OK;
	if (out->usable)
		out->reason[0] = '\0';
	else
		snprintf(out->hint, sizeof(out->hint), "%s", not_here);
	/* A run that did not end may be the fault of a busy moment: ask again next time. */
	if (have_key && cache_dirfd >= 0 && result != PROBE_HANG)
		cache_write(cache_dirfd, key, out);
}
