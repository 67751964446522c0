/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "engine/run_plan.h"
#include "hypervisor/hypervisor.h"

/** note_once() - True the first time in this boot for this user: remembered in MSB_HOME/fallback-note. */
static bool note_once(int home_fd)
{
	struct buf boot = BUF_INIT(128), seen = BUF_INIT(128);
	bool first = false;

	if (file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 100, &boot, NULL) == 0) {
		buf_printf(&boot, "%u\n", (unsigned int)geteuid());
		first = file_read(home_fd, "fallback-note", 100, &seen, NULL) < 0 || seen.len != boot.len ||
			memcmp(seen.data, boot.data, boot.len) != 0;
		if (first)
			file_write_atomic(home_fd, "fallback-note", boot.data, boot.len, 0600, NULL);
	}
	buf_free(&boot);
	buf_free(&seen);
	return first;
}

int choose_hypervisor(enum hypervisor_choice choice, int home_fd, struct run_plan *plan, struct run_session *out,
		      struct error *err)
{
	struct monitor_config *m = &plan->spec.machine;
	struct kvm_probe probe;

	m->kind = HYPERVISOR_QEMU;
	if (choice != HYPERVISOR_CHOICE_QEMU) {
		kvm_probe(home_fd, &probe);
		if (probe.usable) {
			m->kind = HYPERVISOR_KVM;
			m->kvm_fd = kvm_open(err);
			return m->kvm_fd < 0 ? m->kvm_fd : 0;
		}
		if (choice == HYPERVISOR_CHOICE_KVM) {
			err_set(err, ERR_UNSUPPORTED, 0, "--hypervisor kvm: %s", probe.reason);
			return err_hint(err, "use --hypervisor auto or qemu to run without; msb doctor says more");
		}
		snprintf(out->fallback_reason, sizeof(out->fallback_reason), "%s", probe.reason);
	}
	out->on_qemu = true;
	if (!plan->paths.qemu[0] || access(plan->paths.qemu, X_OK) < 0) {
		err_set(err, ERR_NOT_FOUND, 0, "%s%sQEMU (qemu-system-x86_64) not found", out->fallback_reason,
			out->fallback_reason[0] ? ", and " : "");
		return err_hint(err, "apt-get install qemu-system-x86, or set MSB_QEMU_PATH");
	}
	m->qemu_path = plan->paths.qemu;
	if (out->fallback_reason[0] && isatty(STDERR_FILENO))
		out->note_fallback = note_once(home_fd);
	return 0;
}
