/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "hypervisor/hypervisor.h"

void kernel_command_line(const struct monitor_config *cfg, char *out, size_t size)
{
	/* Nothing of the sandbox's configuration is here: it reaches the agent as its first message. */
	snprintf(out, size, "%s quiet panic=-1 reboot=t random.trust_cpu=on no_timer_check%s",
		 cfg->early_console ? "earlyprintk=ttyS0 console=ttyS0 ignore_loglevel" : "console=hvc0",
		 cfg->kind == HYPERVISOR_QEMU ? " clocksource=tsc tsc=nowatchdog" : "");
}
