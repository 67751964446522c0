/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli/creation.h"
#include "confine/confine.h"
#include "engine/kernel_file.h"
#include "engine/lifecycle.h"
#include "hypervisor/hypervisor.h"

/** row() - One finding. */
static void row(const char *mark, const char *what, const char *detail, const char *hint)
{
	printf("  %s %-22s %s\n", mark, what, detail);
	if (hint && hint[0])
		printf("      → %s\n", hint);
}

/** confinement_row() - What this host grants to lock in the machine's processes. */
static void confinement_row(void)
{
	static const struct {
		unsigned int rung;
		const char *name;
	} names[] = {
		{ CONFINE_NO_NEW_PRIVS, "no_new_privs" }, { CONFINE_NAMESPACES, "namespaces" },
		{ CONFINE_EMPTY_ROOT, "empty root" },	  { CONFINE_OWN_PROC, "own /proc" },
		{ CONFINE_LANDLOCK, "Landlock" },	  { CONFINE_SECCOMP, "seccomp" },
	};
	struct confine_report report;
	struct buf got = BUF_INIT(256), missing = BUF_INIT(256), hint = BUF_INIT(600);

	confine_probe(&report);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct buf *list = report.rungs & names[i].rung ? &got : &missing;

		buf_printf(list, "%s%s", list->len ? ", " : "", names[i].name);
	}
	if (missing.len)
		buf_printf(&hint, "this host does not grant: %s%s%s", buf_cstr(&missing), report.note[0] ? "; " : "",
			   report.note);
	row(missing.len ? "!" : "✓", "confinement", got.len ? buf_cstr(&got) : "none",
	    hint.len ? buf_cstr(&hint) : NULL);
	buf_free(&got);
	buf_free(&missing);
	buf_free(&hint);
}

/** mend() - doctor --fix, before the checks, which then show what came of it. Return: 0, or the exit status. */
static int mend(const struct engine_paths *paths, bool yes)
{
	int status;

	if (doctor_fixes(paths) == 0) {
		printf("There is nothing to mend.\n\n");
		return 0;
	}
	fflush(stdout);
	status = confirm(yes, "doctor --fix", "This changes what is listed above.");
	if (status == 0)
		status = doctor_fix(paths);
	printf("\n");
	return status;
}

int command_doctor(int argc, char **argv)
{
	static bool fix, yes;
	static const struct option_row rows[] = {
		{ 0, "fix", NULL, "mend what can be mended", OPTION_FLAG, &fix, 0, 0 },
		{ 'y', "yes", NULL, "with --fix: do not ask", OPTION_FLAG, &yes, 0, 0 },
	};
	static const struct command help = { "doctor", "Check this host: what works, what is missing, what to do.",
					     "[--fix [-y]]", NULL };
	struct engine_paths paths;
	struct error err = ERROR_INIT;
	struct kvm_probe probe;
	struct utsname u;
	struct parsed p;
	struct error err_kernel = ERROR_INIT;
	_cleanup_fd_ int home = -1;
	_cleanup_fd_ int kernel = -1;
	struct error err_settings = ERROR_INIT;
	bool ok = true, home_ok, qemu;
	int status;

	if (parse_options(rows, ARRAY_LEN(rows), 0, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, rows, ARRAY_LEN(rows));
		return 0;
	}
	if (p.extra_count) {
		err_set(&err, ERR_USAGE, 0, "doctor: unexpected \"%.100s\"", p.extra[0]);
		return usage_error(&err);
	}
	home_ok = engine_paths(&paths, ENGINE_READ, &err) == 0;
	if (fix && home_ok) {
		status = mend(&paths, yes);
		if (status)
			return status;
	}
	if (home_ok && machine_settings(paths.home, NULL, &err_settings) < 0)
		ok = false;
	err_clear(&err);
	uname(&u);
	printf("Platform:       %s %s %s\nVersion:        msb %s\n", u.sysname, u.machine, u.release, MSB_VERSION);
	home_ok = engine_paths(&paths, ENGINE_WRITE, &err) == 0;
	printf("Home:           %s\n\n", paths.home[0] ? paths.home : "-");
	home = home_ok ? open(paths.home, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	kvm_probe(home, &probe);
	qemu = paths.qemu[0] && access(paths.qemu, X_OK) == 0;
	if (probe.usable)
		row("✓", "KVM", "usable", NULL);
	else
		row(qemu ? "!" : "✗", "KVM", probe.reason, probe.hint);
	if (!probe.usable && qemu && !probe.hint[0])
		printf("      → sandboxes run on QEMU's software CPU instead: slower, and a weaker boundary\n");
	if (qemu)
		row("✓", "QEMU", paths.qemu, NULL);
	else
		row(probe.usable ? "!" : "✗", "QEMU", "qemu-system-x86_64 not found",
		    "apt-get install qemu-system-x86");
	ok &= probe.usable || qemu;
	kernel = kernel_file_open(&paths, &err_kernel);
	if (kernel >= 0)
		row("✓", "guest kernel", paths.kernel, NULL);
	else
		row("✗", "guest kernel", err_kernel.text, err_kernel.hint);
	ok &= kernel >= 0;
	if (paths.helper[0])
		row("✓", "msb-image", paths.helper, NULL);
	else
		row("✗", "msb-image", "not beside msb", "copy it next to msb");
	ok &= paths.helper[0] != '\0';
	if (paths.gateway[0])
		row("✓", "msb-gateway", paths.gateway, NULL);
	else
		row("✗", "msb-gateway", "not beside msb: no network in sandboxes", "copy it next to msb");
	ok &= paths.gateway[0] != '\0';
	if (access("/usr/sbin/mke2fs", X_OK) == 0 || access("/sbin/mke2fs", X_OK) == 0)
		row("✓", "mke2fs", "writable disks are ext4 files", NULL);
	else
		row("!", "mke2fs", "not found: writable layers live in memory", "apt-get install e2fsprogs");
	if (home_ok)
		row("✓", "state folder", "writable", NULL);
	else
		row("✗", "state folder", err.text, err.hint);
	ok &= home_ok;
	if (home_ok && engine_check(&paths, &err) < 0) {
		row("✗", "list of sandboxes", err.text, err.hint);
		ok = false;
	}
	if (err_settings.code)
		row("✗", "config.json", err_settings.text, err_settings.hint);
	confinement_row();
	doctor_fixes(&paths);
	printf("\n%s\n", ok ? "Host setup is ready." : "Something is missing; see ✗ above.");
	return ok ? 0 : 1;
}
